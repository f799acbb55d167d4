"""What a review of the watch found: orders of events in which a hit was missed, lost a match or was told too early."""

from __future__ import annotations

import pytest
from dief.v1 import watch_pb2 as w
from sqlalchemy import func, select

from node.watch import hits
from node.watch.keeper import PAIRS_AT_ONCE
from node.watch.records import take
from tests.support.databases import Databases
from tests.support.projected import Logs, published
from tests.unit.test_watch import NOW_MS, SERIAL, Watch, alert


@pytest.fixture
def watch(databases: Databases) -> Watch:
    return Watch(Logs(databases.open()))


def test_an_alert_that_comes_while_a_slice_is_under_way_meets_every_record(watch: Watch) -> None:
    """I5: the slice ends where it began to end; what came meanwhile is matched from the first record on."""
    count = PAIRS_AT_ONCE + 7
    content = w.WatchRecord(kind=w.WATCH_RECORD_KIND_HOLDING)
    content.terms.add(kind=SERIAL, value="KT4401", field="serial")
    content.terms.add(kind=SERIAL, value="KT4402", field="other")
    with watch.store.write() as conn:
        take(conn, watch.stream, [(f"{n:05}", content) for n in range(count)], NOW_MS)
    log = watch.held.open()
    watch.held.tell(log, published(alert("KT-4401")))
    with watch.store.write() as conn:
        assert watch.keeper.step(conn)
    watch.held.tell(log, published(alert("KT-4402", number=2)))
    watch.settle()
    with watch.store.read() as conn:
        assert conn.execute(select(func.count()).select_from(hits.HIT)).scalar_one() == 2 * count
