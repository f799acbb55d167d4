"""Faulty logs are tried again later and later, and not more of them are remembered than is good (I11, I12)."""

from __future__ import annotations

from math import inf

from node.federation.progress import FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS, MOST_FAULTY_LOGS, LogFaults


def test_each_fault_of_a_log_makes_the_next_try_later() -> None:
    faults = LogFaults(clock=lambda: 1000.0)
    waits = []
    for _ in range(12):
        faults.note(b"log", for_good=False)
        waits.append(faults.next_after(1000.0) - 1000.0)
    assert waits[0] <= FIRST_RETRY_SECONDS
    assert LAST_RETRY_SECONDS / 2 <= waits[-1] <= LAST_RETRY_SECONDS
    faults.clear(b"log")
    assert faults.next_after(0.0) == inf


def test_i4_a_log_whose_origin_lied_is_never_due() -> None:
    faults = LogFaults(clock=lambda: 1000.0)
    faults.note(b"lied", for_good=True)
    assert faults.next_after(0.0) == inf
    faults.note(b"other", for_good=False)
    assert 1000.0 < faults.next_after(0.0) < inf
    assert faults.next_after(2000.0) == inf


def test_i11_no_more_logs_are_remembered_than_the_limit() -> None:
    faults = LogFaults()
    for number in range(MOST_FAULTY_LOGS + 500):
        faults.note(b"%d" % number, for_good=number % 2 == 0)
    assert len(faults) == MOST_FAULTY_LOGS
