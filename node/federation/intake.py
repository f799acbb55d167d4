"""What a follower does with a frame: verify, store, project and move the cursor, all in one transaction.

- A fault of one log stops that log for this session and is counted; the frames of all other logs go on (I12).
- Evidence of a lie is stored and stops the log for good (I4).
- An entry that is authentic but invalid or unknown is stored and reported to the origin (I10).
"""

from __future__ import annotations

from dataclasses import dataclass

from dief.v1 import federation_pb2
from sqlalchemy import Connection, update

from node.alerts import project
from node.alerts.prepare import prepare
from node.federation import receipts
from node.ledger import logs
from node.ledger.errors import LedgerError, LogEvidenceError
from node.ledger.events import Applied
from node.ledger.ingest import Source, ingest, ingest_prelude
from node.ledger.logs import LOG
from node.ledger.state import LogState
from node.store.tables import table
from node.store.tables.federation import Peer
from node.store.tables.ledger import Evidence

PEER = table(Peer)
EVIDENCE = table(Evidence)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one frame brought; `owing` where the origin must be told of something that needs no scrubbing first."""

    entries: int = 0
    erased: int = 0
    current: tuple[int, ...] = ()
    owing: bool = False


def take_batch(
    conn: Connection,
    source: Source,
    batch: federation_pb2.Batch,
    now_ms: int,
    ready: project.Prepare | None = None,
) -> Taken:
    """Verify and store a batch, project it, and note what is owed to the origin.

    Args:
        conn: Write transaction.
        source: Expectations about the origin.
        batch: As received.
        now_ms: This node's clock.
        ready: What was prepared of this batch beforehand.

    Raises:
        LedgerError: See node.ledger.ingest; the caller rolls back and calls `note_fault`.
    """
    applied = ingest(conn, source, batch, now_ms)
    projection = project.apply(conn, applied, ready or prepare)
    if applied.erased:
        receipts.owe_erased(conn, applied.erased, now_ms)
    if projection.unprojected:
        receipts.owe_unprojected(
            conn,
            source.origin,
            [(entry_id, _receipt_kind(reason)) for entry_id, reason in projection.unprojected],
            now_ms,
        )
    return Taken(len(applied.stored), len(applied.erased), projection.current, bool(projection.unprojected))


def take_prelude(conn: Connection, source: Source, prelude: federation_pb2.Prelude, now_ms: int) -> Taken:
    """Verify erasing headers and erase, before anything else is shown.

    Raises:
        LedgerError: As `take_batch`.
    """
    erased = ingest_prelude(conn, source, prelude, now_ms)
    if erased:
        project.apply(conn, Applied(erased=erased))
        receipts.owe_erased(conn, erased, now_ms)
    return Taken(0, len(erased))


def note_fault(conn: Connection, log_id: bytes, error: LedgerError, now_ms: int) -> None:
    """Stop a log after a fault or a lie; keep the evidence where there is some."""
    if isinstance(error, LogEvidenceError):
        conn.execute(
            EVIDENCE.insert().values(
                log_id=log_id,
                verdict=error.verdict,
                first_note=error.first_note,
                second_note=error.second_note,
                proof=error.proof,
                found_ms=now_ms,
            )
        )
    state = LogState.EVIDENCE if isinstance(error, LogEvidenceError) else LogState.FAULT
    log = logs.load(conn, log_id)
    if log is None or log.own or log.state is LogState.EVIDENCE:
        return
    if state is LogState.FAULT and log.state in (LogState.CLOSED, LogState.LOST):
        return
    conn.execute(
        update(LOG).where(LOG.c.id == log.pk).values(state=state.value, detail=error.diagnosis[:500])
    )


def note_contact(conn: Connection, state: str, now_ms: int, software: str) -> None:
    """Remember when a peer was last heard of and what it runs."""
    values = {"last_contact_ms": now_ms, "software": software[:64], "last_error": ""}
    if conn.execute(update(PEER).where(PEER.c.state == state).values(**values)).rowcount == 0:
        conn.execute(PEER.insert().values(state=state, **values))


def _receipt_kind(reason: str) -> int:
    return receipts.NOT_UNDERSTOOD if reason == "NOT_UNDERSTOOD" else receipts.INVALID_BODY
