"""What is told of an alert: its record, from its row, its entry and its log."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from dief.v1 import desk_pb2
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.event_pb2 import AlertRevised
from sqlalchemy import BigInteger, Connection, Integer, Row, Select, bindparam, or_, select

from node.alerts.project import ALERT, LOG
from node.alerts.reading import event_of
from node.alerts.states import Held, name_of, standing, view_of
from node.ledger.state import LogState, split_entry_id
from node.store.tables import table
from node.store.tables.ledger import Entry

ENTRY = table(Entry)

DOUBTED = (LogState.EVIDENCE.value, LogState.FAULT.value)
"""States of logs whose alerts are shown with a warning."""

_READABLE = frozenset({desk_pb2.ALERT_STANDING_CURRENT, desk_pb2.ALERT_STANDING_ORIGIN_IN_DOUBT})
_COLUMNS = (
    ALERT.c.id, ALERT.c.subject_id, ALERT.c.entry_id, ALERT.c.log_pk, ALERT.c.origin, ALERT.c.uuid, ALERT.c.revision,
    ALERT.c.part, ALERT.c.held, ALERT.c.head, ALERT.c.reader_role, ALERT.c.committed_ms, ALERT.c.received_ms,
    ALERT.c.expires_ms, LOG.c.state, LOG.c.log_id, LOG.c.checkpoint_size, LOG.c.checkpoint_ms,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """An alert as held here.

    Attributes:
        name: "alerts/{origin}/{uuid7}".
        origin: Originating State.
        uuid: The 16 bytes of its UUID.
        revision: Revision of the entry that it is now.
        standing: Value of dief.v1.AlertStanding.
        entry_id: Key of that entry: with it the ledger finds header, body and proofs.
        log_pk: Key of its log.
        log_id: That log.
        checkpoint_size: Entries that the newest checkpoint of that log covers.
        checkpoint_ms: Time of that checkpoint.
        seq: Position in the log.
        header: Header of the entry, as it is hashed.
        alert: Content, None unless it stands CURRENT or ORIGIN_IN_DOUBT.
        part_digests: SHA-256 of the list parts that carry its further items.
        committed_ms: When the origin committed it, by the origin's clock.
        received_ms: When it was stored here.
        expires_ms: When it expires, or None.
        reader_role: Role a reader needs.
    """

    name: str
    origin: str
    uuid: bytes
    revision: int
    standing: int
    entry_id: int
    log_pk: int
    log_id: bytes
    checkpoint_size: int
    checkpoint_ms: int
    seq: int
    header: bytes
    alert: DiversionAlert | None
    part_digests: tuple[bytes, ...]
    committed_ms: int
    received_ms: int
    expires_ms: int | None
    reader_role: int


@dataclass(frozen=True, slots=True)
class Head:
    """What an alert with content is now.

    Attributes:
        row_id: Key of the row that it is.
        record: The alert as held.
        alert: Its content.
    """

    row_id: int
    record: AlertRecord
    alert: DiversionAlert


def rows_of_alerts() -> Select[Any]:
    """Rows with what a record needs of them and of their logs."""
    return select(*_COLUMNS).where(LOG.c.id == ALERT.c.log_pk)


_ENTRIES = select(ENTRY.c.id, ENTRY.c.header, ENTRY.c.body).where(
    ENTRY.c.id.in_(bindparam("entries", expanding=True))
)
_HEADS = (
    rows_of_alerts()
    .add_columns(ENTRY.c.header, ENTRY.c.body)
    .where(
        ALERT.c.subject_id.in_(bindparam("subjects", expanding=True)),
        ALERT.c.head.bitwise_and(bindparam("view", type_=Integer())) != 0,
        ALERT.c.held == Held.CONTENT,
        or_(ALERT.c.expires_ms.is_(None), ALERT.c.expires_ms > bindparam("now_ms", type_=BigInteger())),
        ENTRY.c.id == ALERT.c.entry_id,
        ENTRY.c.body.is_not(None),
    )
)


def records(
    conn: Connection, rows: Sequence[Row[Any]], now_ms: int, doubted_origins: Collection[str]
) -> list[AlertRecord]:
    """Records of rows that `rows_of_alerts` gave.

    Args:
        conn: Snapshot.
        rows: The rows.
        now_ms: This node's clock.
        doubted_origins: Origins that are shown with a warning.
    """
    keys = [row.entry_id for row in rows]
    entries = {row.id: row for row in conn.execute(_ENTRIES, {"entries": keys})} if keys else {}
    return [
        _record(
            row,
            stands := _stands(row, now_ms, doubted_origins),
            (entry := entries[row.entry_id]).header,
            event_of(entry.body) if stands in _READABLE and entry.body is not None else None,
        )
        for row in rows
    ]


def _stands(row: Row[Any], now_ms: int, doubted_origins: Collection[str]) -> int:
    in_doubt = row.state in DOUBTED or row.origin in doubted_origins
    return standing(row.held, row.expires_ms, now_ms, in_doubt=in_doubt)


def _record(row: Row[Any], stands: int, header: bytes, event: AlertRevised | None) -> AlertRecord:
    return AlertRecord(
        name=name_of(row.origin, row.uuid),
        origin=row.origin,
        uuid=row.uuid,
        revision=row.revision,
        standing=stands,
        entry_id=row.entry_id,
        log_pk=row.log_pk,
        log_id=row.log_id,
        checkpoint_size=row.checkpoint_size,
        checkpoint_ms=row.checkpoint_ms,
        seq=split_entry_id(row.entry_id)[1],
        header=header,
        alert=None if event is None else event.alert,
        part_digests=() if event is None else tuple(event.list_part_digests),
        committed_ms=row.committed_ms,
        received_ms=row.received_ms,
        expires_ms=row.expires_ms,
        reader_role=row.reader_role,
    )


def heads_of(
    conn: Connection,
    subject_ids: Collection[int],
    now_ms: int,
    *,
    reader_roles: Collection[int],
    doubted_origins: Collection[str] = (),
) -> dict[int, Head]:
    """What alerts are now that a search has found, of those with content in a reader's view.

    Args:
        conn: Snapshot.
        subject_ids: `alert.subject_id` of the alerts.
        now_ms: This node's clock.
        reader_roles: Values of ReaderRole that the reader has.
        doubted_origins: Origins that are shown with a warning.

    Returns:
        By `subject_id`.
    """
    if not subject_ids:
        return {}
    asked = {"subjects": sorted(subject_ids), "view": int(view_of(reader_roles)), "now_ms": now_ms}
    heads = {}
    for row in conn.execute(_HEADS, asked):
        event = event_of(row.body)
        record = _record(row, _stands(row, now_ms, doubted_origins), row.header, event)
        heads[row.subject_id] = Head(row.id, record, event.alert)
    return heads
