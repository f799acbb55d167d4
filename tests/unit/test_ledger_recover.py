"""Getting own entries back from members, under the own signature only (I4, design: a node never forks itself)."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dief.v1 import federation_pb2

from node.ledger import logs, reading
from node.ledger.anchor import Anchored
from node.ledger.errors import LogFaultError, ProofError, SigningPausedError, UnknownCheckpointKeyError
from node.ledger.ingest import Source
from node.ledger.recover import bury, close_lost, learn_back, root_at
from node.ledger.state import LogState
from tests.support.databases import Databases
from tests.support.ledger import (
    FEDERATION,
    FollowerStore,
    ForgedLog,
    Origin,
    checked_root,
    entries,
    event,
    everything,
    flipped,
)

Batch = federation_pb2.Batch


@pytest.fixture
def origin(databases: Databases, tmp_path: Path) -> Origin:
    """Ten alerts, one of them erased again."""
    made = Origin(databases.open(), tmp_path / "anchor.log")
    made.append(*[event(b"%d" % n) for n in range(9)])
    made.append(event(b"9", erases=((b"", 2),)))
    return made


def own_source(origin: Origin) -> Source:
    return Source(FEDERATION, origin.state, origin.state, origin.verifiers)


def given_back(member: FollowerStore, first: int, limit: int = 1000) -> Batch:
    """What a member answers to GetEntries about the caller's log."""
    with member.store.read() as conn:
        return reading.read_batch(conn, member.logs()[0], first, limit)


def take_back(origin: Origin, batch: Batch) -> None:
    with origin.store.write() as conn:
        learn_back(conn, own_source(origin), batch, origin.clock())


@pytest.mark.parametrize("limit", [3, 1000])
def test_i4_an_empty_database_gets_everything_back_and_goes_on(
    databases: Databases, origin: Origin, limit: int
) -> None:
    member = FollowerStore(databases.open(), "XB", origin)
    member.sync()
    before = origin.log
    origin.reopen(databases.open())
    while not origin.logs() or origin.log.size < before.size:
        take_back(origin, given_back(member, origin.log.size if origin.logs() else 0, limit))
    assert (origin.log.own, origin.log.members, origin.log.epoch) == (True, ("XA", "XB"), 1)
    assert entries(origin.store, origin.log) == entries(member.store, member.logs()[0])
    origin.append(event(b"on"))
    assert (len(origin.logs()), origin.log.size) == (1, before.size + 1)
    member.sync()
    assert checked_root(member.store, member.logs()[0]) == origin.log.checkpoint_root


def test_i4_i6_an_older_copy_learns_back_what_was_erased_since(databases: Databases, tmp_path: Path) -> None:
    now, old = databases.open(), databases.open()
    origin = Origin(now, tmp_path / "anchor.log")
    origin.append(event(b"kept"), event(b"withdrawn later"))
    copy, member = FollowerStore(old, "XB", origin), FollowerStore(databases.open(), "XB", origin)
    copy.sync()
    with old.write() as conn:
        conn.execute(logs.LOG.update().values(own=True))
    origin.append(event(b"next", erases=((b"", 2),)))
    member.sync()
    origin.reopen(old)
    with pytest.raises(SigningPausedError):
        origin.append(event(b"fork"))
    take_back(origin, given_back(member, 3))
    assert entries(old, origin.log) == entries(now, origin.log)
    origin.append(event(b"on"))
    assert origin.log.size == 5


def test_what_the_own_key_did_not_sign_is_not_taken_back(databases: Databases, origin: Origin) -> None:
    member = FollowerStore(databases.open(), "XB", origin)
    member.sync()
    origin.reopen(databases.open())
    batch = given_back(member, 0)
    stranger = ForgedLog(key=Ed25519PrivateKey.generate()).fill(2)
    with pytest.raises(UnknownCheckpointKeyError):
        take_back(origin, stranger.batch())
    batch.entries[3].body = flipped(batch.entries[3].body)
    with pytest.raises(LogFaultError):
        take_back(origin, batch)
    batch = given_back(member, 0, 4)
    del batch.consistency_proof[:]
    with pytest.raises(ProofError):
        take_back(origin, batch)
    assert origin.logs() == []


def test_a_member_that_has_not_caught_up_can_prove_nothing(databases: Databases, origin: Origin) -> None:
    member = FollowerStore(databases.open(), "XB", origin)
    member.sync(limit=4, most=1)
    origin.reopen(databases.open())
    batch = given_back(member, 0)
    assert (len(batch.entries), len(batch.consistency_proof)) == (4, 0)
    with pytest.raises(ProofError):
        take_back(origin, batch)


def test_a_peers_log_is_no_own_log_and_the_other_way_round(databases: Databases, origin: Origin) -> None:
    forged = ForgedLog(state="XE", genesis={"members": ["XA", "XE"]}).fill(3)
    follower = FollowerStore(origin.store, "XA", forged)
    follower.take(forged.batch(0, 2, forged.sign(2)))
    before = everything(origin.store)
    source = Source(FEDERATION, "XE", "XE", forged.verifiers)
    with origin.store.write() as conn, pytest.raises(LogFaultError):
        learn_back(conn, source, forged.batch(2), origin.clock())
    batch = Batch(log_id=origin.log.log_id, first_seq=origin.log.size, checkpoint=origin.log.checkpoint)
    FollowerStore(origin.store, "XA", origin).refuses(batch, LogFaultError)
    assert everything(origin.store) == before


def test_a_lost_log_is_closed_and_the_next_epoch_cites_it(origin: Origin) -> None:
    origin.anchor.put({origin.log.log_id: Anchored(99, b"r" * 32, origin.clock())})
    with pytest.raises(SigningPausedError):
        origin.append(event())
    with origin.store.write() as conn:
        close_lost(conn, logs.load_locked(conn, origin.log.pk), "Nobody has it.")
    origin.append(event())
    lost, following = origin.logs()
    assert (lost.state, lost.detail, following.epoch) == (LogState.LOST, "Nobody has it.", 2)


def test_a_log_of_which_nothing_is_left_is_buried_beside_the_living(origin: Origin) -> None:
    with origin.store.write() as conn:
        bury(conn, "XA", b"g" * 32, "Nothing is left.")
    living, buried = origin.logs()
    assert (buried.log_id, buried.state, buried.size, buried.members) == (b"g" * 32, LogState.LOST, 0, ())
    origin.append(event())
    assert [log.size for log in origin.logs()] == [living.size + 1, 0]


def test_the_root_at_any_size_is_the_one_that_was_signed_then(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.ledger.recover.CHUNK", 3)
    origin = Origin(databases.open(), tmp_path / "anchor.log")
    signed = {}
    for number in range(8):
        origin.append(event(b"%d" % number))
        signed[origin.log.size] = origin.log.checkpoint_root
    with origin.store.read() as conn:
        for size, root in signed.items():
            assert root_at(conn, origin.log, size) == root
        assert root_at(conn, origin.log, origin.log.size + 1) is None
