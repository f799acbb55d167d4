"""Numbers of a change table that commit in any order are read, each of them, whatever is read when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry_adapters.sources.sql_gaps import FIRST_GAP, MAX_GAPS, Gaps


def open_to(gaps: Gaps, number: int) -> bool:
    """Whether the next run asks for a number."""
    behind = gaps.largest is None or number > gaps.largest
    return behind or any(first <= number <= last for first, last in gaps.ranges)


@given(
    numbers=st.lists(st.integers(1, FIRST_GAP - 1), unique=True, min_size=1, max_size=60),
    cuts=st.lists(st.integers(1, 59), max_size=8),
)
def test_every_number_is_asked_for_until_it_was_read(numbers: list[int], cuts: list[int]) -> None:
    """Numbers become visible in the order of the list, a run at each cut; no run asks for less than what is new."""
    gaps = Gaps()
    read: set[int] = set()
    for end in sorted({min(cut, len(numbers)) for cut in cuts} | {len(numbers)}):
        visible = set(numbers[:end])
        assert all(open_to(gaps, number) for number in visible - read), "nothing visible is passed over"
        asked = sorted(number for number in visible if open_to(gaps, number))
        gaps = Gaps(**gaps.state())
        gaps.read([n for n in asked if gaps.largest is not None and n <= gaps.largest], 0.0)
        gaps.read([n for n in asked if gaps.largest is None or n > gaps.largest], 0.0)
        read |= visible
    assert not any(open_to(gaps, number) for number in numbers)


@given(steps=st.lists(st.integers(1, 9), min_size=1, max_size=3 * MAX_GAPS))
def test_gaps_stay_bounded_and_cover_what_is_missing(steps: list[int]) -> None:
    gaps = Gaps(0)
    numbers: list[int] = []
    for step in steps:
        numbers.append((numbers[-1] if numbers else 0) + step)
    gaps.read(numbers, 5.0)
    assert len(gaps.ranges) <= MAX_GAPS
    missing = set(range(1, numbers[-1])) - set(numbers)
    assert all(open_to(gaps, number) for number in missing)
    gaps.forget(before=6.0)
    assert gaps.ranges == ()
    assert gaps.largest == numbers[-1]
