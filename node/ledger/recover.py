"""Getting own entries back from members, and closing what can not be got back.

Nothing is believed that this node's own signature does not cover: a member that gives entries back is checked like any
other peer.
"""

from __future__ import annotations

from dief.v1 import federation_pb2
from sqlalchemy import Connection

from node.ledger import logs
from node.ledger.events import Applied
from node.ledger.ingest import Source, advance
from node.ledger.merkle import CompactRange, leaf_hash
from node.ledger.state import LogState, entry_id
from node.ledger.storing import ENTRY

CHUNK = 10_000


def learn_back(conn: Connection, own: Source, batch: federation_pb2.Batch, now_ms: int) -> Applied:
    """Store own entries that a member gave back.

    Args:
        conn: Write transaction.
        own: This State as its own origin: its log keys are the verifiers.
        batch: As the member answered GetEntries.
        now_ms: This node's clock.

    Raises:
        LedgerError: They are not what this node signed; nothing is stored.
    """
    return advance(conn, own, batch, now_ms, own=True)


def close_lost(conn: Connection, log: logs.HeldLog, reason: str) -> None:
    """Close an own log whose signed entries can not be got back: it takes nothing more, the next epoch cites it."""
    log.state = LogState.LOST
    log.detail = reason[:500]
    log.save(conn)


def bury(conn: Connection, own_state: str, log_id: bytes, reason: str) -> None:
    """Remember an own log of which nothing is left here or at any member: it is lost, and is not asked for again."""
    log = logs.create(
        conn,
        log_id=log_id,
        origin=own_state,
        own=True,
        audience_key=b"",
        members=(),
        reader_role=0,
        epoch=0,
    )
    close_lost(conn, log, reason)


def root_at(conn: Connection, log: logs.HeldLog, size: int) -> bytes | None:
    """Root that the stored headers of a log had at a size; None where fewer are stored."""
    if size > log.size:
        return None
    if size == log.size:
        return log.tree.root()
    tree = CompactRange()
    for first in range(0, size, CHUNK):
        last = min(size, first + CHUNK)
        rows = conn.execute(
            ENTRY.select()
            .with_only_columns(ENTRY.c.header)
            .where(ENTRY.c.id >= entry_id(log.pk, first), ENTRY.c.id < entry_id(log.pk, 0) + last)
            .order_by(ENTRY.c.id)
        )
        tree.extend([leaf_hash(header) for header in rows.scalars()])
    return tree.root()
