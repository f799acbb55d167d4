"""Rows whose keys stand in a change table, an audit table or an outbox.

Rules:
- The position in the change table is noted first, then all rows are read once, then the rows of the keys that
  entries name. What an entry says of values is not read: the row's current state counts, and a key that has no
  row any more is a deleted row.
- Where the order is an integer, numbers that are missing are waited for (sql_gaps): they are taken before a
  transaction commits. Where it is a moment, the table is followed like a watermark, with its overlap.
- An entry is passed only when the rows of its key were handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from registry_adapters.keys import join_key
from registry_adapters.source import Cursor, Milestone, Row
from registry_adapters.sources.sql_gaps import Gaps
from registry_adapters.sources.sql_relation import Found, Relation, as_given
from registry_adapters.sources.sql_rows import RowMaker
from registry_adapters.sources.sql_settings import ChangesSettings
from registry_adapters.sources.sql_watermark import Watermark

Position = Generator[Row | Milestone, None, dict[str, Any]]
_LOOKED_BACK: Final = 5000
_RANGES_AT_ONCE: Final = 50


class Changes:
    """Follows a change table.

    Args:
        relation: What rows are read from.
        entries: The change table.
        settings: `[source.changes]`.
        maker: Makes rows of the relation.
        watermark: Follows `entries` where their order is a moment.
        clock: Ours, seconds since the epoch.
    """

    def __init__(
        self,
        relation: Relation,
        entries: Relation,
        settings: ChangesSettings,
        maker: RowMaker,
        watermark: Watermark,
        clock: Callable[[], float],
    ) -> None:
        self._relation = relation
        self._entries = entries
        self._settings = settings
        self._maker = maker
        self._watermark = watermark
        self._clock = clock
        operation = (settings.operation,) if settings.operation else ()
        self._columns = tuple(dict.fromkeys((settings.order, *settings.key, *operation)))
        self._key_parts = [self._columns.index(name) for name in settings.key]
        self._says = self._columns.index(settings.operation) if settings.operation else None

    def begin(self) -> dict[str, Any]:
        """The position before anything is read; entries that are in flight now lie behind it."""
        latest = self._entries.largest(self._settings.order, _LOOKED_BACK)
        if not latest:
            return {"empty": True}
        numbers = [number for number in map(_whole, latest) if number is not None]
        if len(numbers) < len(latest):
            return {"after": [latest[0]]}
        gaps = Gaps(min(numbers) - 1 if len(numbers) == _LOOKED_BACK else None)
        gaps.read(sorted(numbers), self._clock())
        return gaps.state()

    def read(self, held: dict[str, Any], other: dict[str, Any]) -> Position:
        """Rows of the keys that entries name, from a position on.

        Args:
            held: The position, as `begin` or an earlier run gave it.
            other: The rest of the cursor's state.

        Returns:
            Rows and milestones; at the end the cursor's state for the next run, which the last milestone carries.
        """
        if held.get("empty"):
            first = self._entries.largest(self._settings.order, 1)
            if first:
                held = {} if _whole(first[0]) is None else Gaps().state()
        if "largest" in held:
            held = yield from self._by_number(held, other)
        elif not held.get("empty"):
            held = yield from self._by_moment(held, other)
        last = self._cursor(held, other)
        yield Milestone(last)
        return dict(last.state)

    def _by_number(self, held: dict[str, Any], other: dict[str, Any]) -> Position:
        gaps = Gaps(held["largest"], held["missing"])
        now = self._clock()
        gaps.forget(now - self._settings.gap_seconds)
        for within, begin in self._where(gaps):
            for chunk in self._entries.ordered((self._settings.order,), begin, self._columns, within):
                yield from self._rows(chunk, self._cursor(gaps.state(), other))
                numbers = [_whole(entry[0]) for entry in chunk]
                gaps.read([number for number in numbers if number is not None], now)
                yield Milestone(self._cursor(gaps.state(), other))
        return gaps.state()

    def _where(
        self, gaps: Gaps
    ) -> Iterator[tuple[Callable[[sa.FromClause], sa.ColumnElement[bool]] | None, Sequence[Any] | None]]:
        """Conditions for the entries in gaps, then those behind the largest number."""
        ranges, largest = gaps.ranges, gaps.largest
        for begin in range(0, len(ranges), _RANGES_AT_ONCE):
            part = ranges[begin : begin + _RANGES_AT_ONCE]

            def within(
                source: sa.FromClause, part: Sequence[tuple[int, int]] = part
            ) -> sa.ColumnElement[bool]:
                order = source.c[self._settings.order]
                return sa.or_(*(order.between(as_given(first), as_given(last)) for first, last in part))

            yield within, None
        yield None, None if largest is None else [largest]

    def _by_moment(self, held: dict[str, Any], other: dict[str, Any]) -> Position:
        pick = self._entries.picker(self._columns)
        done = held
        for stretch in self._watermark.stretches(held):
            yield from self._rows([pick(entry) for entry in stretch.rows], self._cursor(done, other))
            place = self._watermark.place_of(stretch.rows[-1]) if stretch.moves else stretch.place
            done = {**stretch.state, "after": place}
            yield Milestone(self._cursor(done, other))
        return self._watermark.state

    def _rows(self, entries: Sequence[Found], cursor: Cursor) -> Iterator[Row]:
        """The current rows of the keys that some entries name."""
        keys: dict[str, tuple[Found, Found]] = {}
        ended: dict[str, Any] = {}
        for entry in entries:
            written = tuple(entry[part] for part in self._key_parts)
            if None in written:
                continue
            key = self._relation.own_form(self._maker.key, written)
            if None in key:
                continue
            text = join_key(key)
            keys[text] = (key, written)
            if self._says is not None and str(entry[self._says]) in self._settings.deletes:
                ended[text] = entry[0]
        found, gone = self._relation.by_keys(self._maker.key, (key for key, _ in keys.values()))
        deleted = self._deleted(ended, keys)
        for row in found:
            made = self._maker.row(row, cursor)
            yield self._maker.gone(made.key, cursor) if made.key in deleted and made.key else made
        for key in gone:
            yield self._maker.gone(join_key(key), cursor)

    def _deleted(self, ended: dict[str, Any], keys: dict[str, tuple[Found, Found]]) -> set[str]:
        """Of keys that an entry calls deleted, those whose newest entry of all says so."""
        if not ended:
            return set()
        written = [keys[text][1] for text in ended]
        latest = self._entries.latest(self._settings.key, written, self._settings.order)
        return {text for text, order in ended.items() if latest.get(join_key(keys[text][1])) == order}

    def _cursor(self, held: dict[str, Any], other: dict[str, Any]) -> Cursor:
        return Cursor("sql", {**other, "changes": held})


def _whole(value: Any) -> int | None:
    """An order that is a whole number; None where it is something else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return None
