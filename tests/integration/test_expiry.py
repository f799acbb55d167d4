"""An expired alert is hidden at once and destroyed only when other clocks agree (I6)."""

from __future__ import annotations

from pathlib import Path

import pytest
from dief.v1 import event_pb2, federation_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from node.alerts import queries
from node.federation.expiry import AGREEMENT_MS, erase_expired
from node.federation.intake import take_batch
from node.ledger.events import NewEvent
from node.ledger.storing import ENTRY
from node.ops.clock import from_timestamp
from node.store.engine import Store
from tests.support.alerts import minimal_alert
from tests.support.databases import Databases
from tests.support.ledger import (
    PUBLISHED,
    START_MS,
    FollowerStore,
    ForgedLog,
    Origin,
    checked_root,
    named,
)

HOUR_MS = 3_600_000


@pytest.fixture
def follower(tmp_path: Path) -> FollowerStore:
    """XB holds two alerts of XA; the first expires an hour after the start."""
    origin_store, own = Store.open(f"sqlite:///{tmp_path}/xa.db"), Store.open(f"sqlite:///{tmp_path}/xb.db")
    origin_store.create_all()
    own.create_all()
    origin = Origin(origin_store, tmp_path / "anchor.log")
    events = []
    for number, hours in ((1, 1), (2, 100_000)):
        alert = minimal_alert("XA", number=number, states=("XA", "XB"), serial=f"EXPIRES {number}")
        alert.handling.expires_on.FromMilliseconds(START_MS + hours * HOUR_MS)
        body = event_pb2.AlertPublished(alert=alert).SerializeToString()
        expires = from_timestamp(alert.handling.expires_on)
        events.append(NewEvent(PUBLISHED, alert.name, 1, body, expires))
    origin.append(*events, audience=named("XA", "XB"))
    made = FollowerStore(own, "XB", origin)
    for frame in origin.frames({}):
        assert isinstance(frame, federation_pb2.Batch)
        with own.write() as conn:
            take_batch(conn, made.source, frame, START_MS)
    return made


def bodies(store: Store) -> list[bool]:
    with store.read() as conn:
        return [row.body is not None for row in conn.execute(ENTRY.select().order_by(ENTRY.c.id))]


def current(store: Store, now_ms: int) -> int:
    with store.read() as conn:
        return len(queries.list_alerts(conn, now_ms).records)


def test_i6_expiry_hides_at_once_and_destroys_a_day_later_when_a_peer_agrees(follower: FollowerStore) -> None:
    store = follower.store
    later = START_MS + 2 * HOUR_MS
    assert current(store, START_MS) == 2
    assert current(store, later) == 1
    with store.write() as conn:
        assert erase_expired(conn, later) == ()
    assert bodies(store) == [True, True, True]
    much_later = START_MS + HOUR_MS + AGREEMENT_MS + HOUR_MS
    with store.write() as conn:
        assert erase_expired(conn, much_later) == (), "no fresh checkpoint of a peer says so"
    follower.origin.clock.now = much_later
    assert isinstance(follower.origin, Origin)
    with follower.origin.store.write() as conn:
        follower.origin.writer.resign(conn, much_later)
    for frame in follower.origin.frames(follower.cursors()):
        assert isinstance(frame, federation_pb2.Batch)
        with store.write() as conn:
            take_batch(conn, follower.source, frame, much_later)
    with store.write() as conn:
        assert len(erase_expired(conn, much_later)) == 1
    assert bodies(store) == [True, False, True]
    assert current(store, much_later) == 1
    assert b"EXPIRES 1" not in b"".join(
        path.read_bytes() for path in Path(str(store.url.database)).parent.glob("xb.db*") if store.scrub()
    )


def test_i6_what_this_version_does_not_understand_expires_too(databases: Databases) -> None:
    """Expiry acts on headers, not on what a body means."""
    expires = Timestamp(seconds=(START_MS + HOUR_MS) // 1000)
    forged = ForgedLog().add(b"from a later version", kind=9999, expires_at=expires)
    forged.add(b"no alert at all", subject="alerts/XA/x", expires_at=expires).add(b"for ever", kind=9999)
    made = FollowerStore(databases.open(), "XB", forged)
    much_later = START_MS + HOUR_MS + AGREEMENT_MS + HOUR_MS
    for frame, at in ((forged.batch(), START_MS), (None, much_later)):
        forged.clock.now = at
        with made.store.write() as conn:
            take_batch(conn, made.source, frame or forged.batch(4), at)
    with made.store.write() as conn:
        erase_expired(conn, START_MS + HOUR_MS + AGREEMENT_MS - 1)
    assert bodies(made.store) == [True, True, True, True]
    with made.store.write() as conn:
        erase_expired(conn, much_later)
        erase_expired(conn, much_later)
    assert bodies(made.store) == [True, False, False, True]
    assert checked_root(made.store, made.logs()[0]) == forged.root()
