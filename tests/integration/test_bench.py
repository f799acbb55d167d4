"""Every measurement runs to its end with real nodes and finds what it looks for."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from node.bench import follow, load, load_registry, reconnect, screening, watch
from node.bench.pair import BenchError, Pair
from tests.support.databases import Databases


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


def test_the_watch_is_loaded_and_each_alert_meets_its_records(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    try:
        found = watch.measure(pair, 1_500, 5, ignore, ignore)
    finally:
        pair.stop()
    assert (found.n, found.names, found.alerts) == (1_500, 150, 5)
    assert found.records_per_s > 0
    assert 0 < found.p50_ms <= found.p99_ms


def test_a_registry_is_loaded_by_an_adapter_of_its_own_and_leaves_nothing_behind(
    tmp_path: Path, databases: Databases
) -> None:
    url = databases.url(migrated=False)
    pair = Pair(tmp_path)
    loaded: list[int] = []
    limited: list[int] = []
    try:
        found = load.measure(pair, url, 3_000, load.Jobs(ignore, loaded.append, limited.append))
    finally:
        pair.stop()
    assert (found.n, found.registry, found.changes) == (3_000, databases.kind, load.CHANGES)
    assert found.ratio_to_limit == found.rows_per_s / found.limit_per_s > 0
    assert 0 < found.later_seconds < found.later_whole_seconds
    assert sum(limited) == 3_000
    assert sum(loaded) <= 3_000
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    assert not sa.inspect(engine).has_table(load_registry.TABLE)
    engine.dispose()


def test_a_registry_that_cannot_be_made_is_told_without_its_password(tmp_path: Path) -> None:
    for url in ("postgresql://bench:hidden@127.0.0.1:1/none", "no-such-kind://bench:hidden@127.0.0.1/none"):
        with (
            pytest.raises(BenchError) as told,
            load_registry.registry(url, tmp_path, 1, ignore),
        ):
            pass
        assert "hidden" not in str(told.value) + told.value.mend
