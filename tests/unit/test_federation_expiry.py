"""Expiry destroys only what several clocks have called expired for a day (I6, design: Clocks)."""

from __future__ import annotations

import pytest

from node.federation.expiry import AGREEMENT_MS, FRESH_MS, agreed_moment

NOW = 1_800_000_000_000
YEAR = 365 * 86_400_000


def fresh(origin: str, time_ms: int = NOW, verified_ms: int = NOW) -> tuple[str, int, int]:
    return origin, time_ms, verified_ms


def test_i6_agreeing_clocks_carry_out_what_expired_a_day_ago() -> None:
    assert agreed_moment(NOW, [fresh("XB"), fresh("XE")]) == NOW - AGREEMENT_MS


def test_i6_without_another_clock_nothing_is_destroyed() -> None:
    assert agreed_moment(NOW, []) is None


def test_i6_old_checkpoints_are_no_clock() -> None:
    assert agreed_moment(NOW, [fresh("XB", NOW, NOW - FRESH_MS - 1)]) is None


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
def test_i6_a_jump_of_the_own_clock_destroys_nothing_early(jump: int) -> None:
    late = agreed_moment(NOW + jump, [fresh("XB", NOW, NOW + jump), fresh("XE", NOW, NOW + jump)])
    assert late is not None
    assert late <= NOW - AGREEMENT_MS


def test_i6_the_jump_itself_makes_all_checkpoints_old() -> None:
    assert agreed_moment(NOW + YEAR, [fresh("XB"), fresh("XE")]) is None


def test_i6_one_peer_with_a_clock_a_year_ahead_destroys_nothing_early() -> None:
    found = agreed_moment(NOW, [fresh("XB"), fresh("XE"), fresh("XD", NOW + YEAR)])
    assert found == NOW - AGREEMENT_MS


def test_i6_many_logs_of_one_peer_are_one_clock() -> None:
    liar = [fresh("XD", NOW - YEAR)] * 10
    assert agreed_moment(NOW, [*liar, fresh("XB"), fresh("XE")]) == NOW - AGREEMENT_MS
