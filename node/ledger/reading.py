"""Reading a log to send it on: batches, preludes and proofs from what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dief.v1 import federation_pb2, log_pb2
from sqlalchemy import Connection, select

from node.ledger.logs import HeldLog
from node.ledger.merkle import SubtreeReader, consistency_proof, inclusion_proof, leaf_hash
from node.ledger.state import entry_id, split_entry_id
from node.ledger.storing import ENTRY, ERASURE_TABLE, SUBTREE

MAX_BATCH_ENTRIES = 1000
MAX_BATCH_BYTES = 1 << 20
READ_AHEAD = 250
PRELUDE_HEADERS = 500
MAX_PRELUDE_BYTES = 1 << 20


def read_batch(
    conn: Connection, log: HeldLog, first_seq: int, limit: int = MAX_BATCH_ENTRIES
) -> federation_pb2.Batch:
    """Entries from a position on, at most about 1 MiB, with the consistency proof to the newest checkpoint.

    Args:
        conn: Snapshot in which `log` was loaded.
        log: The log. A peer's log that is still catching up with its checkpoint comes without a proof: only its
            origin could make it.
        first_seq: First position; at most `log.size`.
        limit: At most this many entries, 0 to 1000.
    """
    batch = federation_pb2.Batch(log_id=log.log_id, first_seq=first_seq, checkpoint=log.checkpoint)
    size = 0
    seq = first_seq
    end = min(log.size, first_seq + min(limit, MAX_BATCH_ENTRIES))
    while seq < end and size < MAX_BATCH_BYTES:
        rows = conn.execute(
            select(ENTRY.c.header, ENTRY.c.salt, ENTRY.c.body)
            .where(
                ENTRY.c.id >= entry_id(log.pk, seq), ENTRY.c.id < entry_id(log.pk, min(end, seq + READ_AHEAD))
            )
            .order_by(ENTRY.c.id)
        ).all()
        for header, salt, body in rows:
            entry_size = len(header) + (0 if body is None else len(body) + 32) + 16
            if batch.entries and size + entry_size > MAX_BATCH_BYTES:
                size = MAX_BATCH_BYTES
                break
            batch.entries.append(log_pb2.Entry(header=header, salt=salt or b"", body=body or b""))
            size += entry_size
            seq += 1
    end_size = first_seq + len(batch.entries)
    if end_size < log.checkpoint_size <= log.size:
        batch.consistency_proof.extend(
            consistency_proof(end_size, log.checkpoint_size, subtree_reader(conn, log))
        )
    return batch


def read_preludes(
    conn: Connection, log: HeldLog, cursor: int, held: Mapping[bytes, int], frames: int | None = None
) -> list[federation_pb2.Prelude]:
    """Headers beyond a cursor that erase what the caller holds, with proofs, in frames of about 1 MiB or 500 headers.

    Args:
        conn: Snapshot.
        log: The log.
        cursor: Entries of it that the caller holds, or has been told of in preludes.
        held: Entries that the caller holds of each log, by log id.
        frames: At most this many; None = all. The next ones begin behind the last header.
    """
    keys = _erasing(conn, log, cursor, held, None if frames is None else frames * PRELUDE_HEADERS)
    reader = subtree_reader(conn, log)
    preludes: list[federation_pb2.Prelude] = []
    size = 0
    for start in range(0, len(keys), PRELUDE_HEADERS):
        chunk = keys[start : start + PRELUDE_HEADERS]
        rows = conn.execute(
            select(ENTRY.c.id, ENTRY.c.header).where(ENTRY.c.id.in_(chunk)).order_by(ENTRY.c.id)
        )
        for key, header in rows:
            proof = inclusion_proof(split_entry_id(key)[1], log.checkpoint_size, reader)
            added = len(header) + 34 * len(proof) + 16
            full = preludes and (
                len(preludes[-1].headers) == PRELUDE_HEADERS or size + added > MAX_PRELUDE_BYTES
            )
            if not preludes or full:
                if len(preludes) == frames:
                    return preludes
                preludes.append(federation_pb2.Prelude(log_id=log.log_id, checkpoint=log.checkpoint))
                size = 0
            preludes[-1].headers.add(header=header, inclusion_proof=proof)
            size += added
    return preludes


def _erasing(
    conn: Connection, log: HeldLog, cursor: int, held: Mapping[bytes, int], limit: int | None
) -> list[int]:
    """Keys of the first entries beyond a cursor that erase something which is held."""
    rows = conn.execute(
        select(ERASURE_TABLE.c.eraser_id, ERASURE_TABLE.c.target_log, ERASURE_TABLE.c.target_seq)
        .where(
            ERASURE_TABLE.c.eraser_id >= entry_id(log.pk, cursor),
            ERASURE_TABLE.c.eraser_id < entry_id(log.pk, log.checkpoint_size),
        )
        .order_by(ERASURE_TABLE.c.eraser_id)
    )
    keys: list[int] = []
    for eraser, target, position in rows:
        if position < held.get(target, 0) and (not keys or keys[-1] != eraser):
            if len(keys) == limit:
                break
            keys.append(eraser)
    rows.close()
    return keys


def prove_entry(conn: Connection, log: HeldLog, seq: int) -> log_pb2.ProvenEntry | None:
    """One entry that proves itself against the newest checkpoint; None where the log has no such position."""
    row = conn.execute(
        select(ENTRY.c.header, ENTRY.c.salt, ENTRY.c.body).where(ENTRY.c.id == entry_id(log.pk, seq))
    ).one_or_none()
    if row is None or seq >= log.checkpoint_size:
        return None
    header, salt, body = row
    return log_pb2.ProvenEntry(
        entry=log_pb2.Entry(header=header, salt=salt or b"", body=body or b""),
        inclusion_proof=inclusion_proof(seq, log.checkpoint_size, subtree_reader(conn, log)),
        checkpoint=log.checkpoint,
    )


def subtree_reader(conn: Connection, log: HeldLog) -> SubtreeReader:
    """Answers subtree roots of a log from stored headers and stored roots; lives as long as one proof or batch."""

    def leaf_hashes(first: int, count: int) -> Sequence[bytes]:
        rows = conn.execute(
            select(ENTRY.c.header)
            .where(ENTRY.c.id >= entry_id(log.pk, first), ENTRY.c.id < entry_id(log.pk, first + count))
            .order_by(ENTRY.c.id)
        )
        return [leaf_hash(header) for header in rows.scalars()]

    def stored(level: int, first: int, count: int) -> Sequence[bytes]:
        return list(
            conn.execute(
                select(SUBTREE.c.hash)
                .where(
                    SUBTREE.c.log_pk == log.pk,
                    SUBTREE.c.level == level,
                    SUBTREE.c.index >= first,
                    SUBTREE.c.index < first + count,
                )
                .order_by(SUBTREE.c.index)
            ).scalars()
        )

    return SubtreeReader(log.size, leaf_hashes, stored)
