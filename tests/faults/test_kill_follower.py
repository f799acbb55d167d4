"""A follower killed with SIGKILL at random moments of its catch-up: nothing lost, nothing doubled (I5)."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dief.v1 import registry_pb2
from sqlalchemy import func, select

from node.ledger import logs
from node.ledger.state import entry_id
from node.ledger.storing import ENTRY
from node.store.engine import Store
from node.store.tables import table
from node.store.tables.alerts import Alert, Indicator
from tests.support.exchange import content
from tests.support.nodes import Federation, NodeProcess, registry
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(400)

ROUNDS = 25
A_ROUND = 120


def submit(node: NodeProcess, first: int, count: int) -> None:
    """Hand in records that a rule releases at once."""
    request = registry_pb2.SubmitRecordsRequest(stream="kills", cursor=str(first + count).encode())
    for number in range(first, first + count):
        alert = content(f"Number {number}", f"KILLROUND {number}", states=["XB"])
        record = request.records.add(key=f"k{number}", content_hash=hashlib.sha256(b"%d" % number).digest())
        record.draft.alert.CopyFrom(alert)
    with node.national("registry") as channel:
        answer = registry(channel).SubmitRecords(request, timeout=60)
    assert {outcome.result for outcome in answer.outcomes} == {registry_pb2.RECORD_RESULT_ACCEPTED}


def opened(node: NodeProcess) -> Store:
    return Store.open(node.settings.database_url)


def log_between(node: NodeProcess) -> tuple[logs.HeldLog, list[tuple[bytes, bytes, bytes]]] | None:
    """XA's log as a node holds it, with every row."""
    store = opened(node)
    try:
        with store.read() as conn:
            found = logs.load_all(conn, origin="XA")
            if not found:
                return None
            query = (
                select(ENTRY.c.header, ENTRY.c.salt, ENTRY.c.body)
                .where(ENTRY.c.id >= entry_id(found[0].pk, 0), ENTRY.c.id < entry_id(found[0].pk + 1, 0))
                .order_by(ENTRY.c.id)
            )
            return found[0], [tuple(row) for row in conn.execute(query)]
    finally:
        store.close()


def projected(node: NodeProcess) -> tuple[int, int, int]:
    """Rows of alerts, distinct alerts, indicators."""
    store = opened(node)
    try:
        with store.read() as conn:
            uuid = table(Alert).c.uuid
            rows, distinct = conn.execute(select(func.count(), func.count(uuid.distinct()))).one()
            return (
                rows,
                distinct,
                conn.execute(select(func.count()).select_from(table(Indicator))).scalar_one(),
            )
    finally:
        store.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Federation]:
    with Federation(tmp_path, ["XA", "XB"]) as federation:
        federation.start("XA")
        yield federation


def test_i5_a_follower_killed_at_random_moments_loses_and_doubles_nothing(pair: Federation) -> None:
    dice = random.Random(20261125)
    published = 0
    for _ in range(ROUNDS):
        submit(pair["XA"], published, A_ROUND)
        published += A_ROUND
        pair["XB"].start(wait=False)
        time.sleep(0.8 + dice.random() * 0.8)
        pair["XB"].kill()
        state = log_between(pair["XB"])
        if state is not None:
            held, entries = state
            assert len(entries) == held.size, "a part of a batch was stored"
    pair["XB"].start()

    def caught_up() -> bool:
        state = log_between(pair["XB"])
        return state is not None and state[0].size == published + 1

    until(caught_up, "XB holding everything", seconds=60)
    at_origin, at_follower = log_between(pair["XA"]), log_between(pair["XB"])
    assert at_origin is not None
    assert at_follower is not None
    assert at_follower[1] == at_origin[1]
    assert at_follower[0].tree.root() == at_origin[0].tree.root()
    assert projected(pair["XB"]) == projected(pair["XA"])
    assert projected(pair["XB"])[:2] == (published, published)
