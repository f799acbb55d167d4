"""An origin that lies or errs: each fault has its name, nothing of it is stored (I3, I4, I10, I12)."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dief.v1 import federation_pb2, log_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from node.federation.intake import note_fault
from node.ledger import logs
from node.ledger.checkpoint import Verdict
from node.ledger.errors import (
    CheckpointSignatureError,
    LedgerError,
    LogDivergedError,
    LogEvidenceError,
    LogFaultError,
    MalformedCheckpointError,
    ProofError,
    UnknownCheckpointKeyError,
    WrongLogError,
)
from node.ledger.evidence import judge, rewritten_root
from node.ledger.merkle import verify_consistency
from node.ledger.state import EPOCH_CLOSED, ERASURE, MAX_BODY_SIZE, MAX_SEQ, LogState
from tests.support.databases import Databases
from tests.support.ledger import (
    START_MS,
    Clock,
    FollowerStore,
    ForgedLog,
    Frame,
    checked_root,
    entries,
    everything,
    flipped,
    named,
)

Batch = federation_pb2.Batch


def follower_of(databases: Databases, forged: ForgedLog, held: int = 0) -> FollowerStore:
    """A follower that already holds the first entries of a forged log, under a checkpoint of that size."""
    follower = FollowerStore(databases.open(), "XB", forged)
    if held:
        follower.take(forged.batch(0, held, forged.sign(held)))
    return follower


def _entry(batch: Batch, at: int, **changes: bytes) -> Batch:
    for name, value in changes.items():
        setattr(batch.entries[at], name, value)
    return batch


def _flip(name: str) -> Callable[[Batch], Batch]:
    def change(batch: Batch) -> Batch:
        setattr(batch.entries[1], name, flipped(getattr(batch.entries[1], name), 77))
        return batch

    return change


def _drop(batch: Batch) -> Batch:
    del batch.entries[1]
    return batch


def _repeat(batch: Batch) -> Batch:
    batch.entries.insert(1, batch.entries[1])
    return batch


def _swap(batch: Batch) -> Batch:
    kept = [batch.entries[at] for at in (0, 2, 1)]
    changed = Batch(log_id=batch.log_id, first_seq=batch.first_seq, entries=kept, checkpoint=batch.checkpoint)
    changed.consistency_proof.extend(batch.consistency_proof)
    return changed


def _other_log(batch: Batch) -> Batch:
    batch.log_id = flipped(batch.log_id)
    return batch


def _beyond(batch: Batch) -> Batch:
    batch.first_seq += 1
    return batch


FAULTY_BATCHES: dict[str, tuple[Callable[[Batch], Batch], type[LedgerError]]] = {
    "flipped_bit_in_header": (_flip("header"), LogFaultError),
    "flipped_bit_in_body": (_flip("body"), LogFaultError),
    "flipped_bit_in_salt": (_flip("salt"), LogFaultError),
    "header_that_does_not_parse": (lambda b: _entry(b, 1, header=b"\xff\xff\xff"), LogFaultError),
    "empty_header": (lambda b: _entry(b, 1, header=b""), LogFaultError),
    "oversized_header": (lambda b: _entry(b, 1, header=b"\x22" + b"\x00" * (128 * 1024)), LogFaultError),
    "body_without_salt": (lambda b: _entry(b, 1, salt=b""), LogFaultError),
    "salt_without_body": (lambda b: _entry(b, 1, body=b""), LogFaultError),
    "short_salt": (lambda b: _entry(b, 1, salt=b"s"), LogFaultError),
    "dropped_entry": (_drop, LogFaultError),
    "repeated_entry": (_repeat, LogFaultError),
    "reordered_entries": (_swap, LogFaultError),
    "gap_before_the_batch": (_beyond, LogFaultError),
    "another_log_id": (_other_log, LogFaultError),
}


@pytest.mark.parametrize("name", FAULTY_BATCHES)
def test_i3_i10_a_faulty_batch_is_refused_whole(databases: Databases, name: str) -> None:
    change, error = FAULTY_BATCHES[name]
    forged = ForgedLog().fill(9)
    follower = follower_of(databases, forged, held=4)
    follower.refuses(change(forged.batch(4, 7)), error)
    follower.take(forged.batch(4))
    assert follower.logs()[0].size == 10


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("header_bit", ProofError),
        ("proof_bit", ProofError),
        ("no_proof", ProofError),
        ("proof_too_long", ProofError),
        ("checkpoint_bit", CheckpointSignatureError),
        ("no_checkpoint", LogFaultError),
        ("malformed_checkpoint", MalformedCheckpointError),
        ("empty_batch", LogFaultError),
    ],
)
def test_i3_a_first_batch_that_no_checkpoint_covers_leaves_no_log(
    databases: Databases, name: str, error: type[LedgerError]
) -> None:
    forged = ForgedLog().fill(6)
    batch = forged.batch(0, 3)
    if name == "header_bit":
        header = log_pb2.EntryHeader.FromString(batch.entries[2].header)
        header.subject = "alerts/other"
        batch.entries[2].header = header.SerializeToString()
    elif name == "proof_bit":
        batch.consistency_proof[0] = flipped(batch.consistency_proof[0])
    elif name == "no_proof":
        del batch.consistency_proof[:]
    elif name == "proof_too_long":
        batch.consistency_proof.append(b"x" * 32)
    elif name == "checkpoint_bit":
        batch.checkpoint = (
            forged.sign(root=b"r" * 32).split(b"\n\n")[0] + b"\n\n" + batch.checkpoint.split(b"\n\n")[1]
        )
    elif name == "no_checkpoint":
        batch.checkpoint = b""
    elif name == "malformed_checkpoint":
        batch.checkpoint = b"xa.dief/00\n1\n"
    else:
        del batch.entries[:]
    follower = follower_of(databases, forged)
    follower.refuses(batch, error)
    assert follower.logs() == []


def test_i3_a_checkpoint_by_another_key_covers_nothing(databases: Databases) -> None:
    forged = ForgedLog().fill(3)
    follower = follower_of(databases, forged)
    stranger = Ed25519PrivateKey.generate()
    note = forged.sign()
    batch = forged.batch(checkpoint=note)
    batch.checkpoint = forged.sign(key=stranger)
    follower.refuses(batch, UnknownCheckpointKeyError)
    batch.checkpoint = forged.sign(state="XE", key=forged.key)
    follower.refuses(batch, WrongLogError)


def test_i3_a_checkpoint_of_another_log_covers_nothing(databases: Databases) -> None:
    key = Ed25519PrivateKey.generate()
    forged, other = ForgedLog(key=key).fill(3), ForgedLog(key=key, genesis={"salt": b"t" * 32}).fill(3)
    follower = follower_of(databases, forged)
    batch = forged.batch()
    batch.checkpoint = other.sign()
    follower.refuses(batch, WrongLogError)


def test_i3_entries_beyond_the_checkpoint_are_not_taken(databases: Databases) -> None:
    forged = ForgedLog().fill(5)
    follower = follower_of(databases, forged, held=3)
    batch = forged.batch(3, 6)
    batch.checkpoint = forged.sign(5)
    follower.refuses(batch, LogFaultError)
    follower.refuses(Batch(log_id=forged.log_id, first_seq=3, entries=forged.entries[3:]), LogFaultError)


GENESES: dict[str, dict[str, object]] = {
    "another_federation": {"federation": "other"},
    "another_origin": {"origin": "XE"},
    "without_the_reader": {"members": ["XA", "XE"]},
    "without_the_origin": {"members": ["XB", "XE"]},
    "unsorted_members": {"members": ["XB", "XA"]},
    "repeated_members": {"members": ["XA", "XA", "XB"]},
    "no_members": {"members": []},
    "epoch_nought": {"epoch": 0},
    "short_salt": {"salt": b"short"},
    "no_audience": {"audience": None},
    "no_moment": {"opened_at": None},
    "reader_role_of_its_own": {"reader_role": 1},
}


@pytest.mark.parametrize("name", GENESES)
def test_i2_a_log_with_a_wrong_genesis_is_not_begun(databases: Databases, name: str) -> None:
    forged = ForgedLog(genesis=GENESES[name]).fill(2)
    follower = follower_of(databases, forged)
    follower.refuses(forged.batch(), LogFaultError)
    assert follower.logs() == []


def test_a_log_id_that_is_not_the_digest_of_its_genesis_is_refused(databases: Databases) -> None:
    forged = ForgedLog(log_id=b"i" * 32).fill(1)
    follower_of(databases, forged).refuses(forged.batch(), LogFaultError)


def test_a_log_is_begun_by_its_genesis_only(databases: Databases) -> None:
    forged = ForgedLog().fill(3)
    follower_of(databases, forged).refuses(forged.batch(1), LogFaultError)


HEADERS: dict[str, dict[str, object]] = {
    "no_kind": {"kind": 0},
    "second_genesis": {"kind": 1},
    "another_position": {"seq": 3},
    "another_log": {"log_id": b"l" * 32},
    "no_moment": {"committed_at": None},
    "moment_before_1970": {"committed_at": Timestamp(seconds=-1)},
    "moment_after_9999": {"committed_at": Timestamp(seconds=1 << 62)},
    "impossible_nanos": {"committed_at": Timestamp(seconds=1, nanos=-1)},
    "expiry_after_9999": {"expires_at": Timestamp(seconds=1 << 62)},
    "expiry_in_1970": {"expires_at": Timestamp()},
    "short_digest": {"body_digest": b"d"},
    "size_without_digest": {"body_digest": b"", "body_size": 4},
    "oversized_body": {"body_size": MAX_BODY_SIZE + 1},
    "long_subject": {"subject": "s" * 129},
    "erases_itself": {"erases": [log_pb2.Erasure(seq=2)]},
    "erases_ahead_by_its_log_id": {"erases": [log_pb2.Erasure(log_id=b"", seq=9)]},
    "erases_a_genesis": {"erases": [log_pb2.Erasure(log_id=b"o" * 32, seq=0)]},
    "erases_a_short_log_id": {"erases": [log_pb2.Erasure(log_id=b"o", seq=1)]},
    "erases_a_position_no_log_has": {"erases": [log_pb2.Erasure(log_id=b"o" * 32, seq=MAX_SEQ + 1)]},
    "erases_the_largest_number": {"erases": [log_pb2.Erasure(log_id=b"o" * 32, seq=(1 << 64) - 1)]},
    "erases_too_much": {"erases": [log_pb2.Erasure(log_id=b"o" * 32, seq=n + 1) for n in range(4097)]},
}


@pytest.mark.parametrize("name", HEADERS)
def test_i10_a_header_that_breaks_a_rule_stops_its_log(sqlite_databases: Databases, name: str) -> None:
    forged = ForgedLog().fill(1).add(**HEADERS[name])
    follower = follower_of(sqlite_databases, forged, held=2)
    follower.refuses(forged.batch(2), LogFaultError)


def test_i4_two_roots_of_one_size_are_evidence(databases: Databases) -> None:
    forged = ForgedLog().fill(4)
    follower = follower_of(databases, forged, held=5)
    lie = forged.sign(root=b"r" * 32, time_ms=START_MS + 1)
    evidence = follower.refuses(Batch(log_id=forged.log_id, first_seq=5, checkpoint=lie), LogEvidenceError)
    assert evidence.verdict == Verdict.EVIDENCE_SPLIT.name
    assert (evidence.first_note, evidence.second_note) == (forged.sign(), lie)


def test_i4_a_later_time_on_a_smaller_log_is_evidence(databases: Databases) -> None:
    forged = ForgedLog().fill(4)
    follower = follower_of(databases, forged, held=5)
    shrunk = forged.sign(3, time_ms=START_MS + 1)
    evidence = follower.refuses(Batch(log_id=forged.log_id, first_seq=5, checkpoint=shrunk), LogEvidenceError)
    assert evidence.verdict == Verdict.EVIDENCE_SHRINK.name
    prelude = forged.prelude(1)
    prelude.checkpoint = shrunk
    assert follower.refuses(prelude, LogEvidenceError).verdict == Verdict.EVIDENCE_SHRINK.name


def test_i4_an_older_checkpoint_is_a_fault_and_no_evidence(databases: Databases) -> None:
    forged = ForgedLog().fill(4)
    follower = follower_of(databases, forged, held=5)
    for note in (forged.sign(3), forged.sign(5, time_ms=START_MS - 1), forged.sign(3, time_ms=START_MS - 1)):
        follower.refuses(Batch(log_id=forged.log_id, first_seq=5, checkpoint=note), LogFaultError)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7, 8, 9, 13])
def test_i4_a_rewritten_history_is_evidence_once_the_origin_proves_it(
    sqlite_databases: Databases, size: int
) -> None:
    forged = ForgedLog().fill(size - 1)
    follower = follower_of(sqlite_databases, forged, held=size)
    held = forged.opened(follower.logs()[0].checkpoint)
    forged.clock.now += 1
    forged.add(b"another story", at=1).fill(4)
    diverged = follower.refuses(forged.batch(size), LogDivergedError)
    assert diverged.reason == "LOG_DIVERGED"
    assert diverged.other_root is None
    assert diverged.next_leaf is not None
    new = forged.opened(diverged.new_note)
    other_root = rewritten_root(held, new, diverged.next_leaf, forged.inclusion(size, new.size))
    assert other_root == forged.root(size)
    proof = forged.consistency(size, new.size)
    evidence = judge(held, new, proof, other_root)
    assert evidence is not None
    assert evidence.verdict == Verdict.EVIDENCE_REWRITE.name
    assert evidence.proof == other_root + b"".join(proof)
    verify_consistency(size, evidence.proof[:32], new.size, new.root, proof)
    assert judge(held, new, proof, None) is None
    assert judge(held, new, proof, held.root) is None
    assert rewritten_root(held, new, diverged.next_leaf, proof) is None


def test_i4_a_history_rewritten_during_the_catch_up_is_found_when_its_place_is_passed(
    databases: Databases,
) -> None:
    """The checkpoint that was held is not forgotten for a newer one that the entries happen to fit."""
    forged = ForgedLog().fill(19)
    follower = FollowerStore(databases.open(), "XB", forged)
    follower.take(forged.batch(0, 5))
    first = forged.opened(follower.logs()[0].checkpoint)
    forged.clock.now += 1
    forged.add(b"another story", at=15).fill(4)
    follower.take(forged.batch(5, 10))
    forged.clock.now += 1
    forged.fill(1)
    follower.take(forged.batch(10, 12))
    diverged = follower.refuses(forged.batch(12), LogDivergedError)
    assert diverged.held_note == first.note
    new = forged.opened(diverged.new_note)
    evidence = judge(first, new, forged.consistency(20, new.size), diverged.other_root)
    assert evidence is not None
    assert evidence.verdict == Verdict.EVIDENCE_REWRITE.name


def test_i4_checkpoints_passed_on_the_way_are_forgotten(databases: Databases) -> None:
    forged = ForgedLog().fill(9)
    follower = FollowerStore(databases.open(), "XB", forged)
    for first in range(0, 10, 2):
        forged.clock.now += 1
        follower.take(forged.batch(first, first + 2))
        forged.fill(1)
    assert any(row[0] == "PendingCheckpoint" for row in everything(follower.store))
    follower.take(forged.batch(10))
    assert not any(row[0] == "PendingCheckpoint" for row in everything(follower.store))
    assert checked_root(follower.store, follower.logs()[0]) == forged.root()


def test_i4_a_checkpoint_that_came_with_a_prelude_must_be_met_too(databases: Databases) -> None:
    forged = ForgedLog().fill(3)
    follower = follower_of(databases, forged, held=4)
    forged.add(kind=ERASURE, body=None, erases=[log_pb2.Erasure(seq=1)])
    prelude = forged.prelude(4)
    follower.take(prelude)
    forged.clock.now += 1
    forged.add(b"instead", at=4)
    evidence = follower.refuses(forged.batch(4), LogEvidenceError)
    assert evidence.first_note == prelude.checkpoint
    forged.fill(1)
    assert follower.refuses(forged.batch(4), LogDivergedError).held_note == prelude.checkpoint


def test_i4_entries_that_miss_the_held_checkpoint_without_a_second_one_are_a_fault(
    databases: Databases,
) -> None:
    forged = ForgedLog().fill(9)
    follower = FollowerStore(databases.open(), "XB", forged)
    note = forged.sign()
    follower.take(forged.batch(0, 5, note))
    forged.add(b"another", at=7)
    batch = Batch(log_id=forged.log_id, first_seq=5, entries=forged.entries[5:], checkpoint=note)
    follower.refuses(batch, LogFaultError)


def test_i10_an_unknown_kind_is_stored(databases: Databases) -> None:
    forged = ForgedLog().add(b"news", kind=9999).add(b"odd", kind=-3)
    follower = follower_of(databases, forged)
    assert [entry.kind for entry in follower.take(forged.batch()).stored] == [1, 9999, -3]
    assert follower.logs()[0].state is LogState.LIVE


def test_a_missing_body_that_nothing_erases_keeps_its_log_from_being_live(databases: Databases) -> None:
    forged = ForgedLog().fill(3)
    batch = forged.batch()
    batch.entries[2].ClearField("salt")
    batch.entries[2].ClearField("body")
    follower = follower_of(databases, forged)
    follower.take(batch)
    log = follower.logs()[0]
    assert (log.size, log.state) == (4, LogState.INCOMPLETE)
    forged.add(kind=ERASURE, body=None, erases=[log_pb2.Erasure(seq=2)])
    follower.take(forged.batch(4))
    assert follower.logs()[0].state is LogState.LIVE


def test_a_missing_body_erased_from_another_log_of_the_origin_makes_its_log_live_again(
    databases: Databases,
) -> None:
    forged = ForgedLog().fill(3)
    batch = forged.batch()
    batch.entries[2].ClearField("salt")
    batch.entries[2].ClearField("body")
    follower = follower_of(databases, forged)
    follower.take(batch)
    other = ForgedLog(key=forged.key, genesis={"salt": b"t" * 32})
    other.add(kind=ERASURE, body=None, erases=[log_pb2.Erasure(log_id=forged.log_id, seq=2)])
    follower.take(other.batch())
    assert [log.state for log in follower.logs()] == [LogState.LIVE, LogState.LIVE]


@pytest.mark.parametrize(("hours", "state"), [(47, LogState.LIVE), (49, LogState.INCOMPLETE)])
def test_a_body_may_be_missing_from_two_days_before_its_expiry(
    databases: Databases, hours: int, state: LogState
) -> None:
    expires = Timestamp(seconds=START_MS // 1000 + hours * 3600)
    forged = ForgedLog().add(b"soon gone", expires_at=expires)
    batch = forged.batch()
    batch.entries[1].ClearField("salt")
    batch.entries[1].ClearField("body")
    follower = follower_of(databases, forged)
    follower.take(batch)
    assert follower.logs()[0].state is state


def test_only_the_origin_of_an_entry_can_erase_it(databases: Databases) -> None:
    """Neither by name, nor early, nor so that the origin's own erasure would go unnoticed."""
    store = databases.open()
    honest = ForgedLog(state="XA").fill(3)
    liar = ForgedLog(state="XE", genesis={"members": ["XB", "XE"], "audience": named("XE", "XB")})
    liar.add(kind=ERASURE, body=None, erases=[log_pb2.Erasure(log_id=honest.log_id, seq=n) for n in (1, 2)])
    of_honest, of_liar = FollowerStore(store, "XB", honest), FollowerStore(store, "XB", liar)
    assert of_liar.take(liar.batch()).erased == ()
    of_honest.take(honest.batch())
    liar.add(kind=ERASURE, body=None, erases=[log_pb2.Erasure(log_id=honest.log_id, seq=3)])
    assert of_liar.take(liar.batch(2)).erased == ()
    log = of_honest.logs()[0]
    assert [body for _, _, body in entries(store, log)][1:] == [b"body 1", b"body 2", b"body 3"]
    honest.add(kind=ERASURE, body=None, erases=[log_pb2.Erasure(seq=1), log_pb2.Erasure(seq=3)])
    assert [erased.seq for erased in of_honest.take(honest.batch(4)).erased] == [1, 3]
    assert [body for _, _, body in entries(store, log)][1:4] == [None, b"body 2", None]


def test_i6_an_erasure_that_came_before_its_target_s_log_still_counts_and_is_told(
    databases: Databases,
) -> None:
    target, other = ForgedLog().fill(2), ForgedLog(genesis={"salt": b"t" * 32})
    other.key = target.key
    other.add(kind=ERASURE, body=None, erases=[log_pb2.Erasure(log_id=target.log_id, seq=2)])
    follower = FollowerStore(databases.open(), "XB", target)
    assert follower.take(other.batch()).erased == ()
    applied = follower.take(target.batch())
    assert [(erased.log_id, erased.seq) for erased in applied.erased] == [(target.log_id, 2)]
    assert [entry.body for entry in applied.stored][1:] == [b"body 1", None]


def test_no_position_reaches_into_another_log(databases: Databases) -> None:
    """A tree can be signed as large as one likes; keys of entries can not grow into the next log's."""
    forged = ForgedLog().fill(2)
    follower = follower_of(databases, forged, held=3)
    huge = forged.sign(1 << 41, root=b"r" * 32)
    follower.refuses(Batch(log_id=forged.log_id, first_seq=3, checkpoint=huge), LogFaultError)
    prelude = forged.prelude(1)
    prelude.checkpoint = huge
    follower.refuses(prelude, LogFaultError)


def test_a_closed_epoch_takes_erasing_entries_only(databases: Databases) -> None:
    forged = ForgedLog().fill(2).add(kind=EPOCH_CLOSED, body=None)
    follower = follower_of(databases, forged, held=4)
    assert follower.logs()[0].state is LogState.CLOSED
    forged.add(kind=ERASURE, body=None, erases=[log_pb2.Erasure(seq=1)])
    follower.take(forged.batch(4))
    assert follower.logs()[0].state is LogState.CLOSED
    forged.add(b"one more")
    follower.refuses(forged.batch(5), LogFaultError)


def test_a_genesis_that_cites_a_lost_epoch_ends_that_one(databases: Databases) -> None:
    lost = ForgedLog().fill(2)
    follower = follower_of(databases, lost, held=3)
    cited = log_pb2.PreviousEpoch(log_id=lost.log_id, checkpoint=lost.sign(), lost_state=True)
    following = ForgedLog(key=lost.key, genesis={"epoch": 2, "previous": cited})
    follower.take(following.batch())
    assert [log.state for log in follower.logs()] == [LogState.LOST, LogState.LIVE]
    with follower.store.write() as conn:
        note_fault(conn, follower.logs()[0].log_id, LogFaultError("The log is stopped here (LOST)."), 0)
    assert follower.logs()[0].state is LogState.LOST, (
        "what is lost stays lost, whatever its origin sends of it"
    )
    lost.fill(1)
    follower.refuses(lost.batch(3), LogFaultError)
    following.add(kind=ERASURE, body=None, erases=[log_pb2.Erasure(log_id=lost.log_id, seq=1)])
    assert len(follower.take(following.batch(1)).erased) == 1


PRELUDES: dict[str, tuple[Callable[[ForgedLog, federation_pb2.Prelude], object], type[LedgerError]]] = {
    "header_bit": (
        lambda _, p: setattr(p.headers[0], "header", flipped(p.headers[0].header, 100)),
        LogFaultError,
    ),
    "header_that_does_not_parse": (lambda _, p: setattr(p.headers[0], "header", b"\xff"), LogFaultError),
    "proof_bit": (
        lambda _, p: p.headers[0].inclusion_proof.__setitem__(0, flipped(p.headers[0].inclusion_proof[0])),
        ProofError,
    ),
    "proof_missing": (lambda _, p: p.headers[0].ClearField("inclusion_proof"), ProofError),
    "another_key": (
        lambda f, p: setattr(p, "checkpoint", f.sign(key=Ed25519PrivateKey.generate())),
        UnknownCheckpointKeyError,
    ),
    "unknown_log": (lambda _, p: setattr(p, "log_id", b"u" * 32), LogFaultError),
    "malformed_checkpoint": (lambda _, p: setattr(p, "checkpoint", b"no"), MalformedCheckpointError),
}


@pytest.mark.parametrize("name", PRELUDES)
def test_i6_a_prelude_that_does_not_prove_itself_erases_nothing(databases: Databases, name: str) -> None:
    change, error = PRELUDES[name]
    forged = ForgedLog().fill(3)
    follower = follower_of(databases, forged, held=4)
    forged.add(kind=ERASURE, body=None, erases=[log_pb2.Erasure(seq=1)])
    prelude = forged.prelude(4)
    change(forged, prelude)
    follower.refuses(prelude, error)


def test_i12_a_fault_in_one_log_leaves_the_others_alone(databases: Databases) -> None:
    key = Ed25519PrivateKey.generate()
    bad = ForgedLog(key=key).fill(5)
    good = ForgedLog(key=key, genesis={"salt": b"t" * 32}).fill(5)
    follower = FollowerStore(databases.open(), "XB", bad)
    frames: list[Frame] = [bad.batch(0, 2), good.batch(0, 3), _flip("body")(bad.batch(2, 6)), good.batch(3)]
    for frame in frames[:2]:
        follower.take(frame)
    follower.refuses(frames[2], LogFaultError)
    follower.take(frames[3])
    assert [(log.size, log.state) for log in follower.logs()] == [(2, LogState.LIVE), (6, LogState.LIVE)]


def test_i4_a_log_stopped_for_evidence_takes_nothing_more(databases: Databases) -> None:
    forged = ForgedLog(clock=Clock()).fill(3)
    follower = follower_of(databases, forged, held=2)
    with follower.store.write() as conn:
        log = logs.load(conn, forged.log_id)
        assert log is not None
        log.state = LogState.EVIDENCE
        log.save(conn)
    follower.refuses(forged.batch(2), LogFaultError)
    follower.refuses(forged.prelude(1), LogFaultError)


def test_a_log_of_another_origin_can_not_be_continued(databases: Databases) -> None:
    forged = ForgedLog().fill(3)
    follower = follower_of(databases, forged, held=2)
    stranger = ForgedLog(state="XE", genesis={"members": ["XB", "XE"]})
    stranger.log_id = forged.log_id
    other = FollowerStore(follower.store, "XB", stranger)
    batch = forged.batch(2)
    batch.checkpoint = stranger.sign()
    other.refuses(batch, LogFaultError)
    prelude = forged.prelude(1)
    prelude.checkpoint = stranger.sign()
    other.refuses(prelude, LogFaultError)
