"""Every measurement runs to its end with real nodes and finds what it looks for."""

from __future__ import annotations

from pathlib import Path

from node.bench import follow, reconnect, screening
from node.bench.pair import Pair


def ignore(_done: int) -> None:
    """Nobody watches."""


def test_an_application_and_a_serial_are_found_through_the_desk(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.fill(100, ignore)
    try:
        pair.origin.start()
        screened = screening.measure(pair.origin, pair.filled, 3, ignore)
        traced = screening.trace(pair.origin, pair.filled, 3, ignore)
    finally:
        pair.stop()
    assert (screened.n, screened.alerts, traced.n) == (3, 100, 3)
    assert 0 < screened.p50_ms <= screened.p99_ms
    assert 0 < traced.p50_ms <= traced.p99_ms


def test_followers_of_many_states_are_all_told_of_every_alert(tmp_path: Path) -> None:
    pair = Pair(tmp_path, follow.GUESTS[:3])
    pair.fill(20, ignore)
    try:
        told = follow.measure(pair, 3, 2, ignore)
    finally:
        pair.stop()
    assert (told.n, told.clients) == (2, 4)
    assert 0 < told.p50_ms <= told.p99_ms


def test_a_peer_that_holds_everything_is_told_so_in_few_bytes(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.fill(reconnect.LOGS, ignore, reconnect.audiences(pair.follower.state))
    try:
        again = reconnect.measure(pair, 1, ignore)
    finally:
        pair.stop()
    assert (again.logs, again.entries) == (reconnect.LOGS, reconnect.LOGS)
    assert again.bytes <= 20_000
    assert again.resigned_bytes <= 45_000
