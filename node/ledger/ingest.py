"""Taking a peer's log in: verify, then store, everything of a batch in one transaction.

- A log begins with its genesis: `log_id` is its digest, federation, origin and membership must be right.
- A batch continues exactly where the held log ends; its headers are checked one by one, its bodies against digests.
- Nothing is stored that a checkpoint of the origin does not cover (I3): the batch's end is proven to be a prefix of a
  checkpoint that is signed with a key of the admitted roster.
- The newest checkpoint held must continue in every later one; sizes and times never go back (I4). A checkpoint beyond
  the entries held is kept until the entries have led to it, even when newer ones have come meanwhile.
- After the entry that closes an epoch only erasing entries follow. A genesis that cites a lost epoch ends that one.
- A frame erases no more entries than an honest one can name: each costs the one writer time (I11).
- No log is larger than the keys of its entries allow: a position beyond would name another log's entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import protovalidate
from dief.v1 import federation_pb2, log_pb2
from google.protobuf.message import DecodeError
from sqlalchemy import Connection, bindparam, delete, select

from node.ledger import logs, storing
from node.ledger.checkpoint import (
    Checkpoint,
    NoteVerifier,
    Verdict,
    compare,
    open_checkpoint,
    parse_checkpoint,
)
from node.ledger.errors import LogDivergedError, LogEvidenceError, LogFaultError, ProofError
from node.ledger.events import Applied, Erased
from node.ledger.header import HeaderFacts, body_digest, parse_header
from node.ledger.merkle import CompactRange, Subtree, leaf_hash, verify_consistency, verify_inclusion
from node.ledger.state import EPOCH_CLOSED, MAX_SEQ, SALT_SIZE, LogState, audience_key
from node.store.tables import table
from node.store.tables.ledger import PendingCheckpoint

PENDING = table(PendingCheckpoint)
MAX_ERASES_A_FRAME = 1 << 18
"""More do not fit in a batch of the 1 MiB that origins send: erasing one entry takes four bytes and more."""
_PENDING_NOTES = select(PENDING.c.note).where(PENDING.c.log_pk == bindparam("log_pk"))


@dataclass(frozen=True, slots=True)
class Source:
    """From whom a log is taken, and what must be true of it.

    Attributes:
        federation: Own federation.
        own_state: This State; it must be a member.
        origin: State whose node answers.
        verifiers: Its log keys by the admitted roster.
    """

    federation: str
    own_state: str
    origin: str
    verifiers: tuple[NoteVerifier, ...]


def ingest(conn: Connection, source: Source, batch: federation_pb2.Batch, now_ms: int) -> Applied:
    """Verify a batch and store it with the advanced tree and checkpoint.

    Args:
        conn: Write transaction; the caller rolls it back on an error.
        source: Expectations about the origin.
        batch: As received.
        now_ms: This node's clock.

    Raises:
        LogFaultError, ProofError, CheckpointError: Stop this log and fetch it again.
        LogEvidenceError: Two signatures contradict each other.
        LogDivergedError: They may; a consistency proof from the origin decides.
    """
    return advance(conn, source, batch, now_ms, own=False)


def advance(
    conn: Connection, source: Source, batch: federation_pb2.Batch, now_ms: int, *, own: bool
) -> Applied:
    """`ingest`, or the same for an own log that a member gives back (node.ledger.recover)."""
    log = logs.load(conn, batch.log_id)
    if log is None:
        log = _begin(conn, source, batch, own=own)
    if log.origin != source.origin or log.own != own:
        raise LogFaultError("The log belongs to another origin.")
    if log.state.stopped:
        raise LogFaultError(f"The log is stopped here ({log.state.value}).")
    if batch.first_seq != log.size:
        raise LogFaultError(f"The batch begins at {batch.first_seq}, but {log.size} entries are held.")
    entries = _checked_entries(log, batch)
    new = _newer(log, source, batch)
    pending = _pending(conn, log, source)
    _check_against_held(log, source, pending, new)
    tree, subtrees = _extend(log, source, [entry.facts for entry in entries], new, pending)
    _cover(log, batch, tree, new, entries)
    if new is not None:
        if log.checkpoint_size > tree.size:
            _keep_pending(conn, log.pk, log.checkpoint_size, log.checkpoint)
        _take(log, new, now_ms)
    if pending:
        conn.execute(delete(PENDING).where(PENDING.c.log_pk == log.pk, PENDING.c.size <= tree.size))
    if any(entry.facts.kind == EPOCH_CLOSED for entry in entries):
        log.state = LogState.CLOSED
    elif log.state is LogState.FAULT:
        log.state, log.detail = LogState.LIVE, ""
    log.tree = tree
    log.size = tree.size
    applied = storing.store(conn, log, entries, subtrees, now_ms)
    log.save(conn)
    return applied


def ingest_prelude(
    conn: Connection, source: Source, prelude: federation_pb2.Prelude, now_ms: int
) -> tuple[Erased, ...]:
    """Verify erasing headers beyond the held log, and erase what they erase before anything else arrives (I6).

    Raises:
        As `ingest`.
    """
    log = logs.load(conn, prelude.log_id)
    if log is None or log.origin != source.origin or log.own or log.state is LogState.EVIDENCE:
        raise LogFaultError("A prelude speaks of a log that is not held from this origin.")
    checkpoint = _open(source, log.log_id, prelude.checkpoint)
    _check_against_held(log, source, _pending(conn, log, source), checkpoint)
    if checkpoint.size > max(log.size, log.checkpoint_size):
        _keep_pending(conn, log.pk, checkpoint.size, checkpoint.note)
    orders = []
    for proven in prelude.headers:
        seq = _seq_of(proven.header)
        facts = parse_header(proven.header, log.log_id, seq)
        verify_inclusion(facts.leaf, seq, checkpoint.size, list(proven.inclusion_proof), checkpoint.root)
        orders += [(target or log.log_id, position, seq) for target, position in facts.erases]
        _counted(len(orders))
    erased = storing.order_erasures(conn, log, orders)
    storing.refresh_completeness(conn, log)
    log.save(conn)
    return erased


def verify_proven_entry(source: Source, proven: log_pb2.ProvenEntry) -> tuple[Checkpoint, HeaderFacts]:
    """Check an answer that proves itself: header in the signed tree, body as the header says (I3).

    Raises:
        LogFaultError, ProofError, CheckpointError: It does not prove itself.
    """
    try:
        header = log_pb2.EntryHeader.FromString(proven.entry.header)
    except DecodeError:
        raise LogFaultError("The header of a proven entry does not parse.") from None
    facts = parse_header(proven.entry.header, header.log_id, header.seq)
    checkpoint = _open(source, header.log_id, proven.checkpoint)
    verify_inclusion(
        leaf_hash(proven.entry.header),
        facts.seq,
        checkpoint.size,
        list(proven.inclusion_proof),
        checkpoint.root,
    )
    _checked_body(facts, proven.entry)
    return checkpoint, facts


def _open(source: Source, log_id: bytes, note: bytes) -> Checkpoint:
    checkpoint = open_checkpoint(
        note, source.verifiers, federation=source.federation, origin=source.origin, log_id=log_id
    )
    if checkpoint.size > MAX_SEQ + 1:
        raise LogFaultError("The checkpoint is of a log larger than a log can be.")
    return checkpoint


def _begin(conn: Connection, source: Source, batch: federation_pb2.Batch, *, own: bool) -> logs.HeldLog:
    if batch.first_seq != 0 or not batch.entries:
        raise LogFaultError("A log that is not held yet must begin with its genesis.")
    body = batch.entries[0].body
    if hashlib.sha256(body).digest() != batch.log_id:
        raise LogFaultError("The genesis is not the one that the log id names.")
    try:
        genesis = log_pb2.Genesis.FromString(body)
        protovalidate.validate(genesis)
    except (DecodeError, protovalidate.ValidationError):
        raise LogFaultError("The genesis breaks a rule of its message.") from None
    if genesis.federation != source.federation or genesis.origin != source.origin:
        raise LogFaultError("The genesis is of another federation or origin.")
    members = tuple(genesis.members)
    if source.own_state not in members or source.origin not in members or list(members) != sorted(members):
        raise LogFaultError(
            "This State or the origin is not a member by the genesis, or members are not sorted."
        )
    if genesis.reader_role != genesis.audience.reader_role:
        raise LogFaultError("The genesis narrows readers otherwise than its audience.")
    if genesis.previous.lost_state:
        _end_lost(conn, source, genesis.previous.log_id)
    return logs.create(
        conn,
        log_id=batch.log_id,
        origin=source.origin,
        own=own,
        audience_key=audience_key(genesis.audience),
        members=members,
        reader_role=genesis.reader_role,
        epoch=genesis.epoch,
    )


def _end_lost(conn: Connection, source: Source, log_id: bytes) -> None:
    """The origin lost the state of an epoch: it takes nothing more, its successor erases into it."""
    lost = logs.load(conn, log_id)
    if lost is not None and lost.origin == source.origin and not lost.state.stopped:
        lost.state, lost.detail = LogState.LOST, "Its origin lost its state; the next epoch goes on."
        lost.save(conn)


def _checked_entries(log: logs.HeldLog, batch: federation_pb2.Batch) -> list[storing.NewEntry]:
    entries = []
    closed = log.state is LogState.CLOSED
    erases = 0
    for seq, entry in enumerate(batch.entries, log.size):
        facts = parse_header(entry.header, log.log_id, seq)
        if facts.erases:
            erases = _counted(erases + len(facts.erases))
        if closed and not facts.erases:
            raise LogFaultError(f"The entry at position {seq} erases nothing, but the epoch is closed.")
        closed = closed or facts.kind == EPOCH_CLOSED
        salt, body = _checked_body(facts, entry)
        entries.append(storing.NewEntry(facts, salt, body))
    return entries


def _counted(erases: int) -> int:
    if erases > MAX_ERASES_A_FRAME:
        raise LogFaultError(f"A frame erases more than {MAX_ERASES_A_FRAME} entries.")
    return erases


def _checked_body(facts: HeaderFacts, entry: log_pb2.Entry) -> tuple[bytes | None, bytes | None]:
    salt = entry.salt
    if not salt:
        if entry.body:
            raise LogFaultError(f"The body at position {facts.seq} came without its salt.")
        return None, None
    body = entry.body
    if len(salt) != SALT_SIZE or len(body) != facts.body_size or body_digest(salt, body) != facts.body_digest:
        raise LogFaultError(f"The body at position {facts.seq} is not the one that its header digests.")
    return salt, body


def _newer(log: logs.HeldLog, source: Source, batch: federation_pb2.Batch) -> Checkpoint | None:
    """The batch's checkpoint, verified; None where it is the one held or there is none."""
    if batch.checkpoint and batch.checkpoint != log.checkpoint:
        return _open(source, log.log_id, batch.checkpoint)
    if not log.checkpoint:
        raise LogFaultError("No checkpoint covers the first batch.")
    return None


def _extend(
    log: logs.HeldLog,
    source: Source,
    facts: Sequence[HeaderFacts],
    new: Checkpoint | None,
    pending: Sequence[Checkpoint],
) -> tuple[CompactRange, list[Subtree]]:
    """The tree after the batch; wherever it passes the size of a verified checkpoint, the roots must agree."""
    tree = log.tree.copy()
    leaves = [fact.leaf for fact in facts]
    end = log.size + len(leaves)
    newest = _held_checkpoint(log, source) if new is None else new
    marks = [*pending, _held_checkpoint(log, source)] if log.checkpoint else []
    subtrees: list[Subtree] = []
    for mark in sorted(marks, key=lambda mark: mark.size):
        if not tree.size <= mark.size <= end:
            continue
        subtrees += tree.extend(leaves[tree.size - log.size : mark.size - log.size])
        if tree.root() == mark.root:
            continue
        if newest.note == mark.note:
            raise LogFaultError("The entries do not lead to the checkpoint that was verified before.")
        raise LogDivergedError(
            "The entries do not lead to a checkpoint that was verified before.",
            held_note=mark.note,
            new_note=newest.note,
            other_root=tree.root(),
        )
    return tree, subtrees + tree.extend(leaves[tree.size - log.size :])


def _cover(
    log: logs.HeldLog,
    batch: federation_pb2.Batch,
    tree: CompactRange,
    new: Checkpoint | None,
    entries: Sequence[storing.NewEntry],
) -> None:
    """Prove that the tree is a prefix of a signed one, the new checkpoint's or the held one's (I3)."""
    size = log.checkpoint_size if new is None else new.size
    root = log.checkpoint_root if new is None else new.root
    if tree.size > size:
        raise LogFaultError("The newest checkpoint does not cover the batch.")
    try:
        verify_consistency(tree.size, tree.root(), size, root, list(batch.consistency_proof))
    except ProofError:
        if new is None or not log.checkpoint or log.checkpoint_size != log.size or new.size == log.size:
            raise
        raise LogDivergedError(
            "The new checkpoint does not continue the one held.",
            held_note=log.checkpoint,
            new_note=new.note,
            other_root=None,
            next_leaf=entries[0].facts.leaf if entries else None,
        ) from None


def _held_checkpoint(log: logs.HeldLog, source: Source) -> Checkpoint:
    return Checkpoint(
        origin=source.origin,
        federation=source.federation,
        log_id=log.log_id,
        size=log.checkpoint_size,
        root=log.checkpoint_root,
        time_ms=log.checkpoint_ms,
        note=log.checkpoint,
    )


def _pending(conn: Connection, log: logs.HeldLog, source: Source) -> list[Checkpoint]:
    """Checkpoints that the entries must still lead to; their signatures were verified when they came."""
    notes = conn.execute(_PENDING_NOTES, {"log_pk": log.pk}).scalars()
    claims = [parse_checkpoint(note) for note in notes]
    return [
        Checkpoint(
            source.origin, source.federation, log.log_id, claim.size, claim.root, claim.time_ms, claim.note
        )
        for claim in claims
    ]


def _keep_pending(conn: Connection, log_pk: int, size: int, note: bytes) -> None:
    at = (PENDING.c.log_pk == log_pk) & (PENDING.c.size == size)
    if conn.execute(select(PENDING.c.size).where(at)).first() is None:
        conn.execute(PENDING.insert().values(log_pk=log_pk, size=size, note=note))


def _check_against_held(
    log: logs.HeldLog, source: Source, pending: Sequence[Checkpoint], new: Checkpoint | None
) -> None:
    """Two signatures that can not both be true are evidence, whatever else a frame brings (I4)."""
    if new is None or not log.checkpoint:
        return
    for held in (_held_checkpoint(log, source), *pending):
        verdict = compare(held, new)
        if verdict in (Verdict.EVIDENCE_SPLIT, Verdict.EVIDENCE_SHRINK):
            raise LogEvidenceError(
                "The origin signed two checkpoints of one log that can not both be true.",
                verdict=verdict.name,
                first_note=held.note,
                second_note=new.note,
            )
    if new.time_ms < log.checkpoint_ms or new.size < log.checkpoint_size:
        raise LogFaultError("A checkpoint older than the one held was sent.")


def _take(log: logs.HeldLog, checkpoint: Checkpoint, now_ms: int) -> None:
    log.checkpoint = checkpoint.note
    log.checkpoint_size = checkpoint.size
    log.checkpoint_root = checkpoint.root
    log.checkpoint_ms = checkpoint.time_ms
    log.verified_ms = now_ms


def _seq_of(raw: bytes) -> int:
    try:
        return log_pb2.EntryHeader.FromString(raw).seq
    except DecodeError:
        raise LogFaultError("A header of the prelude does not parse.") from None
