"""A follower ends equal to its origin, erasures first, whatever it missed (I3, I5, I6)."""

from pathlib import Path

import pytest
from dief.v1 import federation_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from node.ledger import logs, reading, storing
from node.ledger.merkle import CompactRange, consistency_proof, leaf_hash, verify_consistency
from node.ledger.state import LogState, entry_id, split_entry_id
from node.ledger.storing import EXPIRY_TOLERANCE_MS
from tests.support.databases import Databases
from tests.support.ledger import (
    HOUR_MS,
    START_MS,
    FollowerStore,
    ForgedLog,
    Origin,
    checked_root,
    entries,
    event,
    named,
)

OTHERS = named("XA", "XB", "XE")


@pytest.fixture
def origin(databases: Databases, tmp_path: Path) -> Origin:
    return Origin(databases.open(), tmp_path / "anchor.log")


@pytest.fixture
def follower(databases: Databases, origin: Origin) -> FollowerStore:
    return FollowerStore(databases.open(), "XB", origin)


def assert_equal(origin: Origin, follower: FollowerStore) -> None:
    """Headers, bodies, roots and states of every log agree."""
    own, held = origin.logs(), follower.logs()
    assert [log.log_id for log in held] == [log.log_id for log in own]
    for theirs, ours in zip(own, held, strict=True):
        assert entries(follower.store, ours) == entries(origin.store, theirs)
        assert (ours.size, ours.checkpoint, ours.state) == (theirs.size, theirs.checkpoint, theirs.state)
        assert checked_root(follower.store, ours) == ours.checkpoint_root


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_i5_a_follower_ends_equal_to_its_origin(origin: Origin, follower: FollowerStore, limit: int) -> None:
    origin.append(*[event(b"%d" % n) for n in range(30)])
    origin.append(event(b"other"), audience=OTHERS)
    assert len(follower.sync(limit).stored) == 33
    origin.append(event(b"more", erases=((b"", 3),)))
    assert [erased.seq for erased in follower.sync(limit).erased] == [3]
    assert_equal(origin, follower)
    assert follower.sync(limit).stored == ()


def test_a_log_of_thousands_is_proven_from_its_stored_subtrees(
    origin: Origin, follower: FollowerStore
) -> None:
    origin.append(*[event(b"%d" % n) for n in range(1200)])
    follower.sync(500)
    origin.append(event())
    follower.sync()
    assert_equal(origin, follower)
    for store, log in ((origin.store, origin.log), (follower.store, follower.logs()[0])):
        leaves = [leaf_hash(header) for header, _, _ in entries(store, log)]
        with store.read() as conn:
            reader = reading.subtree_reader(conn, log)
            for size in (1, 255, 256, 257, 1023):
                tree = CompactRange()
                tree.extend(leaves[:size])
                proof = consistency_proof(size, log.size, reader)
                verify_consistency(size, tree.root(), log.size, log.checkpoint_root, proof)


def test_i6_erasures_come_before_anything_else_is_shown(origin: Origin, follower: FollowerStore) -> None:
    """XB was away: the first frame of its next sync erases, before a single new entry is read."""
    origin.append(*[event(b"%d" % n) for n in range(10)])
    follower.sync()
    origin.append(*[event(b"new %d" % n) for n in range(20)])
    origin.append(event(b"last", erases=((b"", 4), (b"", 25))))
    applied = follower.sync(most=1)
    assert applied.stored == ()
    assert [erased.seq for erased in applied.erased] == [4, 25]
    assert entries(follower.store, follower.logs()[0])[4][1:] == (None, None)
    assert follower.logs()[0].size == 11
    follower.sync(5)
    assert_equal(origin, follower)


def test_i6_a_move_erases_in_the_old_log_of_every_follower(origin: Origin, follower: FollowerStore) -> None:
    origin.append(event(b"moved"))
    follower.sync()
    origin.append(event(b"moved", erases=((origin.log.log_id, 1),)), audience=OTHERS)
    assert [erased.seq for erased in follower.sync().erased] == [1]
    assert_equal(origin, follower)


def test_a_follower_crosses_epochs(origin: Origin, follower: FollowerStore) -> None:
    origin.append(event())
    follower.sync()
    origin.members = ("XA", "XB", "XE")
    origin.append(event())
    follower.sync()
    assert_equal(origin, follower)
    assert [log.state for log in follower.logs()] == [LogState.CLOSED, LogState.LIVE]


def test_a_silent_log_shows_that_it_is_alive(origin: Origin, follower: FollowerStore) -> None:
    origin.append(event())
    follower.sync()
    origin.clock.now += HOUR_MS
    with origin.store.write() as conn:
        origin.writer.resign(conn, origin.clock() - 1)
    follower.sync()
    (log,) = follower.logs()
    assert (log.checkpoint_ms, log.verified_ms) == (START_MS + HOUR_MS, START_MS + HOUR_MS)


def test_i5_a_frame_taken_twice_is_refused_and_changes_nothing(
    origin: Origin, follower: FollowerStore
) -> None:
    origin.append(event())
    (batch,) = origin.frames({})
    follower.take(batch)
    with pytest.raises(Exception, match="begins at 0"):
        follower.take(batch)
    assert_equal(origin, follower)


def test_a_batch_stays_near_one_mebibyte(origin: Origin, follower: FollowerStore) -> None:
    origin.append(*[event(bytes(300_000)) for _ in range(8)], event(bytes(512 * 1024)))
    frames = [frame for frame in origin.frames({}) if isinstance(frame, federation_pb2.Batch)]
    assert [len(frame.entries) for frame in frames] == [4, 3, 2, 1]
    assert all(frame.ByteSize() < (1 << 20) + 4096 for frame in frames)
    follower.sync()
    assert_equal(origin, follower)


def test_preludes_are_spread_over_frames_and_tell_only_what_concerns_the_caller(
    origin: Origin, follower: FollowerStore
) -> None:
    origin.append(*[event(b"%d" % n) for n in range(600)])
    follower.sync()
    for first in (1, 301):
        origin.append(*[event(erases=((b"", seq),)) for seq in range(first, first + 300)])
    with origin.store.read() as conn:
        held = follower.cursors()
        preludes = reading.read_preludes(conn, origin.log, held[origin.log.log_id], held)
        assert [len(prelude.headers) for prelude in preludes] == [500, 100]
        assert reading.read_preludes(conn, origin.log, 601, {origin.log.log_id: 1}) == []
        assert reading.read_preludes(conn, origin.log, origin.log.size, held) == []
    follower.sync()
    assert_equal(origin, follower)


def test_an_expired_body_is_erased_once_and_its_header_stays(databases: Databases) -> None:
    forged = ForgedLog().add(b"short-lived", expires_at=Timestamp(seconds=START_MS // 1000 + 3600))
    follower = FollowerStore(databases.open(), "XB", forged)
    follower.take(forged.batch())
    (log,) = follower.logs()
    key = entry_id(log.pk, 1)
    with follower.store.write() as conn:
        assert [erased.seq for erased in storing.erase_expired(conn, [key, entry_id(log.pk, 9)])] == [1]
        assert storing.erase_expired(conn, [key]) == ()
    assert entries(follower.store, log)[1][1:] == (None, None)
    assert checked_root(follower.store, log) == forged.root()


def test_a_missing_body_is_forgiven_once_it_would_have_expired_anyway(databases: Databases) -> None:
    expires_ms = START_MS + 30 * 24 * HOUR_MS
    forged = ForgedLog().add(b"long-lived", expires_at=Timestamp(seconds=expires_ms // 1000))
    batch = forged.batch()
    batch.entries[1].ClearField("salt")
    batch.entries[1].ClearField("body")
    follower = FollowerStore(databases.open(), "XB", forged)
    follower.take(batch)
    with follower.store.write() as conn:
        assert storing.forgive_expired(conn, START_MS) == 0
    assert follower.logs()[0].state is LogState.INCOMPLETE
    with follower.store.write() as conn:
        assert storing.forgive_expired(conn, expires_ms - EXPIRY_TOLERANCE_MS) == 1
    assert follower.logs()[0].state is LogState.LIVE


def test_keys_of_entries_hold_log_and_position() -> None:
    assert split_entry_id(entry_id(7, 9)) == (7, 9)
    for seq in (-1, 1 << 40):
        with pytest.raises(ValueError):
            entry_id(7, seq)


def test_logs_are_found_by_origin_and_key(origin: Origin, follower: FollowerStore) -> None:
    origin.append(event())
    follower.sync()
    with follower.store.read() as conn:
        (log,) = logs.load_all(conn, own=False)
        assert logs.load_pk(conn, log.pk) == log == logs.load(conn, log.log_id)
        assert logs.load_all(conn, own=True) == []
        assert logs.newest_epoch(conn, log.audience_key) is None
