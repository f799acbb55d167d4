"""Which numbers of a change table were read, although numbers are taken before a transaction commits; pure.

Rules:
- A number that is missing below the largest one read is a gap: its transaction may still commit. It is asked
  for in every run until it appears or has been missing for as long as the mapping says.
- Below the first number ever read, some count as missing too: they may be in flight.
- Gaps are kept as ranges, a bounded number of them: the nearest ones are joined, at the price of reading the
  entries between them again.

Source: case kamu-data/kamu-cli#1398.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

MAX_GAPS: Final = 200
FIRST_GAP: Final = 1000


class Gaps:
    """The numbers that were not read yet.

    Args:
        largest: Largest number read; None: none.
        missing: Ranges below it: first, last, and when it was first missed (our clock, seconds).
    """

    def __init__(self, largest: int | None = None, missing: Iterable[Sequence[float]] = ()) -> None:
        self.largest = largest
        self._missing = [(int(first), int(last), float(since)) for first, last, since in missing]

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """First and last number of each gap, smallest first."""
        return tuple((first, last) for first, last, _ in self._missing)

    def read(self, numbers: Iterable[int], now: float) -> None:
        """Note numbers that were read, in ascending order."""
        for number in numbers:
            if self.largest is None:
                self._missing.append((number - FIRST_GAP, number - 1, now))
                self.largest = number
            elif number > self.largest:
                if number > self.largest + 1:
                    self._missing.append((self.largest + 1, number - 1, now))
                self.largest = number
            else:
                self._fill(number)
        self._bound()

    def forget(self, before: float) -> None:
        """Give up gaps that have been missing since before a time."""
        self._missing = [gap for gap in self._missing if gap[2] >= before]

    def state(self) -> dict[str, Any]:
        """For a cursor."""
        return {"largest": self.largest, "missing": [list(gap) for gap in self._missing]}

    def _fill(self, number: int) -> None:
        for place, (first, last, since) in enumerate(self._missing):
            if first <= number <= last:
                rest = [(first, number - 1, since), (number + 1, last, since)]
                self._missing[place : place + 1] = [gap for gap in rest if gap[0] <= gap[1]]
                return

    def _bound(self) -> None:
        surplus = len(self._missing) - MAX_GAPS
        if surplus <= 0:
            return
        steps = range(1, len(self._missing))
        nearest = sorted(steps, key=lambda i: self._missing[i][0] - self._missing[i - 1][1])
        joined = set(nearest[:surplus])
        kept: list[tuple[int, int, float]] = []
        for place, gap in enumerate(self._missing):
            if place in joined:
                kept[-1] = (kept[-1][0], gap[1], max(kept[-1][2], gap[2]))
            else:
                kept.append(gap)
        self._missing = kept
