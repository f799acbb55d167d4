"""Rows in the order of a watermark: late ones and ties arrive, old ones are not read for ever.

Rules:
- A run begins behind the last (watermark, key) *less the overlap*, because a row that commits late carries an
  older mark, and because a row may change twice within one tick of the clock.
- That window is settled once it was read after the overlap had passed since its newest mark: by the registry's
  own clock, or by ours since the mark was first seen. A settled window is read again only if rows have joined
  it (or, where it fits into one page, have left it); so a bulk update that gives 200,000 rows one mark is not
  read again for ever.
- A mark that lies in the registry's future does not move the place: rows written before that day would be lost.
- While the registry's clock stands before a time that it showed once (it was set back, summer time ended),
  reading begins as much earlier. Our own clock measures lengths of time only: a registry whose clock is behind
  ours loses nothing.
- What this misses is found by the comparison of keys: a row that joins a settled window between the same two
  runs in which another one leaves it, and one that commits later than the overlap.

Source: cases meltano/sdk#2154, singer-io/tap-mysql#131.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from registry_adapters.sources.sql_marks import less_seconds, moment_of, slack_of, tick_of
from registry_adapters.sources.sql_relation import Found, Place, Relation, Since

_UNSETTLED: Final = -1


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some rows, and where a run stands behind each.

    Attributes:
        rows: In the relation's columns.
        state: What all of them share.
        moves: Whether a run that stops behind one of them goes on from its own place.
        place: Otherwise where it goes on from; None: from the beginning.
    """

    rows: list[Found]
    state: dict[str, Any]
    moves: bool
    place: Place | None


class Watermark:
    """Follows one relation.

    Args:
        relation: What is read.
        order: The watermark, then what tells rows of one mark apart.
        overlap: How late a row may commit, seconds.
        clock: Ours, seconds since the epoch.
        registry_clock: The registry's, seconds since the epoch; None where it has none that we can ask.
    """

    def __init__(
        self,
        relation: Relation,
        order: tuple[str, ...],
        overlap: float,
        clock: Callable[[], float],
        registry_clock: Callable[[], float | None],
    ) -> None:
        self._relation = relation
        self._order = order
        self._overlap = overlap
        self._clock = clock
        self._registry_clock = registry_clock
        self.state: dict[str, Any] = {}

    @property
    def place_of(self) -> Callable[[Found], Found]:
        """A function from a row to its place."""
        return self._relation.picker(self._order)

    def stretches(self, state: dict[str, Any]) -> Iterator[Stretch]:
        """Rows from a state on; afterwards `self.state` is the one to begin the next run with.

        Args:
            state: Its own part of a cursor; empty at the beginning.
        """
        ours, theirs = self._clock(), self._registry_clock()
        newest: Place | None = state.get("after")
        back, peak = _set_back(state.get("clocks"), ours, theirs)
        begin = self._begin(state, back)
        clocks = [ours, theirs, peak] if theirs is not None else None
        shared = {"window": _UNSETTLED, "clocks": clocks}
        place_of = self.place_of
        moved = False
        for chunk in self._relation.ordered(self._order, begin):
            known, new, future = self._parted(chunk, newest, theirs)
            if known:
                yield Stretch(known, shared, False, newest)
            if new:
                mark = newest[0] if newest is not None else None
                newest = place_of(new[-1])
                moved = moved or newest[0] != mark
                yield Stretch(new, shared, True, None)
            if future:
                yield Stretch(future, shared, False, newest)
        self.state = {"clocks": clocks}
        if newest is not None:
            self.state |= {"after": newest, **self._window(state, newest, begin, moved, ours, theirs)}

    def _window(
        self,
        state: dict[str, Any],
        newest: Place,
        begin: Place | Since | None,
        moved: bool,
        ours: float,
        theirs: float | None,
    ) -> dict[str, Any]:
        """What the next run needs to know of the window before the newest mark."""
        mark = newest[0]
        moment = moment_of(mark)
        seen = self._clock() if moved else state.get("seen", self._clock())
        old = moment is not None and theirs is not None and theirs - moment > self._overlap + slack_of(mark)
        waited = not moved and isinstance(begin, Since) and ours - seen > self._overlap + tick_of(mark)
        kept = not moved and bool(state.get("settled"))
        count = self._relation.count(self._order[0], self._start(mark, 0.0), mark)
        return {"window": count, "seen": seen, "settled": old or waited or kept}

    def _begin(self, state: dict[str, Any], set_back: float) -> Place | Since | None:
        after: Place | None = state.get("after")
        if after is None:
            return None
        held = state.get("window", _UNSETTLED)
        if held >= 0 and state.get("settled") and not set_back:
            count = self._relation.count(self._order[0], self._start(after[0], 0.0), after[0])
            if count == held or self._relation.database.fetch_size < count < held:
                return after
        return Since(self._start(after[0], set_back))

    def _start(self, mark: Any, set_back: float) -> Any:
        return less_seconds(mark, self._overlap + set_back)

    def _parted(
        self, chunk: list[Found], newest: Place | None, theirs: float | None
    ) -> tuple[list[Found], list[Found], list[Found]]:
        """A chunk as rows not behind the newest place, rows behind it, and rows of the future."""
        place_of = self.place_of
        begin = 0
        if newest is not None and not _is_behind(place_of(chunk[0]), newest):
            begin = next((i for i, row in enumerate(chunk) if _is_behind(place_of(row), newest)), len(chunk))
        end = len(chunk)
        if theirs is not None:
            while end > begin and _is_future(place_of(chunk[end - 1])[0], theirs):
                end -= 1
        return chunk[:begin], chunk[begin:end], chunk[end:]


def _set_back(clocks: list[float] | None, ours: float, theirs: float | None) -> tuple[float, float | None]:
    """How far the registry's clock stood, since the last run began, before the latest time that it ever showed.

    Args:
        clocks: Of the last run's beginning: ours, the registry's, the latest that the registry's ever showed.
        ours: Our clock now.
        theirs: The registry's now.

    Returns:
        Seconds, 0 where it runs as it should, and the latest time that it ever showed.
    """
    if theirs is None or not clocks:
        return 0.0, theirs
    earliest = min(clocks[1], theirs, theirs - (ours - clocks[0]))
    back = clocks[2] - earliest
    return (back if back > 1.0 else 0.0), max(clocks[2], theirs)


def _is_behind(here: Place, newest: Place) -> bool:
    """Whether a place lies behind another; the database's order is taken where Python cannot compare."""
    try:
        return tuple(here) > tuple(newest)
    except TypeError:
        return True


def _is_future(mark: Any, theirs: float) -> bool:
    moment = moment_of(mark)
    return (
        moment is not None and moment - tick_of(mark) > theirs + slack_of(mark) + 1.0 and moment > -math.inf
    )
