"""Reading alerts: one, a page, counts. Bodies come from `entry`.

Rules:
- An expiry hides at once, by this node's clock, without any write.
- Alerts in logs for law enforcement do not exist for other readers: not in pages, not in counts.
- A page token holds a position. Alerts are ordered by when they first became known here, newest first; a revision does
  not move one, so every alert comes exactly once while others come and go.
- Readers who may see only some logs (peers without a copy) are answered from those logs alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from dief.v1 import desk_pb2
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.event_pb2 import AlertRevised
from dief.v1.federation_pb2 import AlertFilter
from sqlalchemy import ColumnElement, Connection, Row, Select, exists, or_, select, true

from node.alerts import states
from node.alerts.errors import PageTokenError
from node.alerts.project import ALERT, LOG
from node.alerts.reading import event_of, part_of
from node.alerts.states import Held, code_bits, name_of, standing, uuid_of, view_of
from node.ledger.state import LogState, split_entry_id
from node.ops.clock import from_timestamp
from node.store.tables import table
from node.store.tables.ledger import Entry

ENTRY = table(Entry)

EVERYBODY = (0,)
"""Reader roles of somebody without the law-enforcement role."""

DEFAULT_PAGE = 100
MAX_PAGE = 500
_READABLE = frozenset({desk_pb2.ALERT_STANDING_CURRENT, desk_pb2.ALERT_STANDING_ORIGIN_IN_DOUBT})
_UNERASED = (Held.CONTENT, Held.HIDDEN, Held.INVALID)
_WITHDRAWALS = (Held.WITHDRAWN, Held.UNFOUNDED)
DOUBTED = (LogState.EVIDENCE.value, LogState.FAULT.value)
"""States of logs whose alerts are shown with a warning."""
_COLUMNS = (
    ALERT.c.id, ALERT.c.subject_id, ALERT.c.entry_id, ALERT.c.log_pk, ALERT.c.origin, ALERT.c.uuid, ALERT.c.revision,
    ALERT.c.part, ALERT.c.held, ALERT.c.head, ALERT.c.reader_role, ALERT.c.committed_ms, ALERT.c.received_ms,
    ALERT.c.expires_ms, LOG.c.state,
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
        seq: Position in it.
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
    seq: int
    alert: DiversionAlert | None
    part_digests: tuple[bytes, ...]
    committed_ms: int
    received_ms: int
    expires_ms: int | None
    reader_role: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some alerts, and the token for the next ones, empty after the last."""

    records: tuple[AlertRecord, ...]
    next_page_token: str


def get_alert(
    conn: Connection,
    name: str,
    now_ms: int,
    *,
    reader_roles: Collection[int] = EVERYBODY,
    log_pks: Collection[int] | None = None,
    doubted_origins: Collection[str] = (),
) -> AlertRecord | None:
    """One alert, whatever became of it; None where nothing is known, or nothing that this reader may know.

    Args:
        conn: Snapshot.
        name: "alerts/{origin}/{uuid7}".
        now_ms: This node's clock.
        reader_roles: Values of ReaderRole that the reader has.
        log_pks: Where a peer asks, the logs that it may hold: the only ones to answer from, whatever their role.
        doubted_origins: Origins that are shown with a warning, such as removed ones.
    """
    origin = name.removeprefix("alerts/")[:2]
    uuid = uuid_of(name, origin)
    if uuid is None:
        return None
    query = _joined().where(ALERT.c.uuid == uuid, ALERT.c.origin == origin)
    query = query.where(_for_roles(reader_roles) if log_pks is None else ALERT.c.log_pk.in_(sorted(log_pks)))
    rows = {row.id: row for row in conn.execute(query)}
    now = states.current(_state(row) for row in rows.values())
    if now is None:
        return None
    return _records(conn, [rows[now.id]], now_ms, doubted_origins)[0]


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page: at most `size` alerts (0 for 100, never more than 500), after the page that gave `token`."""

    size: int = 0
    token: str = ""


FIRST_PAGE = Paging()


def list_alerts(
    conn: Connection,
    now_ms: int,
    *,
    filter_: AlertFilter | None = None,
    origins: Collection[str] = (),
    show_gone: bool = False,
    reader_roles: Collection[int] = EVERYBODY,
    paging: Paging = FIRST_PAGE,
    doubted_origins: Collection[str] = (),
) -> Page:
    """A page of the alerts held here.

    Args:
        conn: Snapshot.
        now_ms: This node's clock.
        filter_: Conditions on the content; with `show_gone` they hold for what still has content.
        origins: Any of these origins, empty for all.
        show_gone: Also those without content: withdrawn, unfounded, expired, hidden.
        reader_roles: Values of ReaderRole that the reader has.
        paging: Which page.
        doubted_origins: Origins that are shown with a warning.

    Raises:
        PageTokenError: The token is not one of ours, or was given for other conditions.
    """
    asked = AlertFilter() if filter_ is None else filter_
    content = _content(now_ms)
    wanted = content & matches(asked)
    query = _joined().where(
        ALERT.c.head.bitwise_and(int(view_of(reader_roles))) != 0,
        _for_roles(reader_roles),
        or_(~content, wanted) if show_gone else wanted,
    )
    if origins:
        query = query.where(ALERT.c.origin.in_(sorted(set(origins))))
    question = _question(asked, sorted(set(origins)), show_gone, sorted(reader_roles))
    return _page(conn, query, question, now_ms, paging, doubted_origins)


def list_in_logs(
    conn: Connection,
    now_ms: int,
    log_pks: Collection[int],
    *,
    filter_: AlertFilter | None = None,
    paging: Paging = FIRST_PAGE,
) -> Page:
    """A page of the alerts that have content in some logs, answered from these logs alone: what a peer may query.

    Args:
        conn: Snapshot.
        now_ms: This node's clock.
        log_pks: Keys of the logs that the peer may hold.
        filter_: Conditions on the content.
        paging: Which page.

    Raises:
        PageTokenError: The token is not one of ours, or was given for other conditions.
    """
    asked = AlertFilter() if filter_ is None else filter_
    logs = sorted(set(log_pks))
    other = ALERT.alias("other")
    newer = (
        other.c.held.in_(_UNERASED)
        & other.c.log_pk.in_(logs)
        & (
            (other.c.revision > ALERT.c.revision)
            | ((other.c.revision == ALERT.c.revision) & (other.c.id > ALERT.c.id))
        )
    )
    ended = (
        other.c.held.in_(_WITHDRAWALS)
        & (other.c.log_pk == ALERT.c.log_pk)
        & (other.c.entry_id > ALERT.c.entry_id)
    )
    superseded = exists().where(
        other.c.subject_id == ALERT.c.subject_id, other.c.part.is_(False), or_(newer, ended)
    )
    query = _joined().where(
        ALERT.c.part.is_(False), ALERT.c.log_pk.in_(logs), _content(now_ms), matches(asked), ~superseded
    )
    return _page(conn, query, _question(asked, logs), now_ms, paging, ())


def _page(
    conn: Connection,
    query: Select[Any],
    question: bytes,
    now_ms: int,
    paging: Paging,
    doubted_origins: Collection[str],
) -> Page:
    size = min(paging.size or DEFAULT_PAGE, MAX_PAGE)
    if paging.token:
        query = query.where(ALERT.c.subject_id < _position(paging.token, question))
    rows = conn.execute(query.order_by(ALERT.c.subject_id.desc()).limit(size + 1)).all()
    token = _token(rows[size - 1].subject_id, question) if len(rows) > size else ""
    return Page(tuple(_records(conn, rows[:size], now_ms, doubted_origins)), token)


def records_of(
    conn: Connection, row_ids: Collection[int], now_ms: int, doubted_origins: Collection[str] = ()
) -> dict[int, AlertRecord]:
    """Records of rows that a search has found, by the keys of the rows."""
    rows = conn.execute(_joined().where(ALERT.c.id.in_(sorted(row_ids)))).all() if row_ids else []
    made = _records(conn, rows, now_ms, doubted_origins)
    return {row.id: record for row, record in zip(rows, made, strict=True)}


@dataclass(frozen=True, slots=True)
class HeldPart:
    """A list part that its alert cites: the key of its entry, and its position among the parts."""

    entry_id: int
    index: int
    body: bytes


def list_parts(conn: Connection, record: AlertRecord) -> tuple[HeldPart, ...]:
    """The list parts held of an alert that its current revision cites, in order.

    Fewer than `record.part_digests` where some are not held yet.
    """
    if not record.part_digests:
        return ()
    query = select(ALERT.c.entry_id, ENTRY.c.body).where(
        ALERT.c.uuid == record.uuid,
        ALERT.c.origin == record.origin,
        ALERT.c.log_pk == record.log_pk,
        ALERT.c.part.is_(True),
        ALERT.c.held == Held.CONTENT,
        ENTRY.c.id == ALERT.c.entry_id,
    )
    found = []
    for key, body in conn.execute(query):
        if body is not None and hashlib.sha256(body).digest() in record.part_digests:
            found.append(HeldPart(key, part_of(body).index, body))
    return tuple(sorted(found, key=_by_index))


def _by_index(part: HeldPart) -> int:
    return part.index


def _joined() -> Select[Any]:
    return select(*_COLUMNS).where(LOG.c.id == ALERT.c.log_pk)


def _for_roles(reader_roles: Collection[int]) -> ColumnElement[bool]:
    return ALERT.c.reader_role.in_(sorted({*EVERYBODY, *reader_roles}))


def _content(now_ms: int) -> ColumnElement[bool]:
    return (ALERT.c.held == Held.CONTENT) & or_(ALERT.c.expires_ms.is_(None), ALERT.c.expires_ms > now_ms)


def matches(asked: AlertFilter) -> ColumnElement[bool]:
    """The conditions of a filter over content columns; all of them, any value of each."""
    wanted: ColumnElement[bool] = true()
    if asked.statuses:
        wanted &= ALERT.c.status.in_(list(asked.statuses))
    if asked.stages:
        wanted &= ALERT.c.stages.bitwise_and(code_bits(asked.stages)) != 0
    if asked.categories:
        wanted &= ALERT.c.categories.bitwise_and(code_bits(asked.categories)) != 0
    if asked.concerned_states:
        wanted &= or_(*(ALERT.c.concerned.like(f"% {state} %") for state in asked.concerned_states))
    if asked.HasField("committed_since"):
        wanted &= ALERT.c.committed_ms >= from_timestamp(asked.committed_since)
    if asked.HasField("committed_before"):
        wanted &= ALERT.c.committed_ms < from_timestamp(asked.committed_before)
    return wanted


def _state(row: Row[Any]) -> states.Row:
    return states.Row(
        row.id,
        row.subject_id,
        row.entry_id,
        row.log_pk,
        row.revision,
        row.part,
        row.held,
        row.head,
        row.reader_role,
    )


def _records(
    conn: Connection, rows: Sequence[Row[Any]], now_ms: int, doubted_origins: Collection[str]
) -> list[AlertRecord]:
    standings = [
        standing(
            row.held, row.expires_ms, now_ms, in_doubt=row.state in DOUBTED or row.origin in doubted_origins
        )
        for row in rows
    ]
    readable = [row.entry_id for row, stands in zip(rows, standings, strict=True) if stands in _READABLE]
    events: dict[int, AlertRevised] = {}
    if readable:
        query = select(ENTRY.c.id, ENTRY.c.body).where(ENTRY.c.id.in_(readable), ENTRY.c.body.is_not(None))
        events = {key: event_of(body) for key, body in conn.execute(query)}
    return [
        _record(row, stands, events.get(row.entry_id)) for row, stands in zip(rows, standings, strict=True)
    ]


def _record(row: Row[Any], stands: int, event: AlertRevised | None) -> AlertRecord:
    return AlertRecord(
        name=name_of(row.origin, row.uuid),
        origin=row.origin,
        uuid=row.uuid,
        revision=row.revision,
        standing=stands,
        entry_id=row.entry_id,
        log_pk=row.log_pk,
        seq=split_entry_id(row.entry_id)[1],
        alert=None if event is None else event.alert,
        part_digests=() if event is None else tuple(event.list_part_digests),
        committed_ms=row.committed_ms,
        received_ms=row.received_ms,
        expires_ms=row.expires_ms,
        reader_role=row.reader_role,
    )


def _question(asked: AlertFilter, *others: object) -> bytes:
    """A short digest of what was asked, so that a token can not be used for another question."""
    text = asked.SerializeToString(deterministic=True) + repr(others).encode()
    return hashlib.sha256(text).digest()[:8]


def _token(position: int, question: bytes) -> str:
    return base64.urlsafe_b64encode(position.to_bytes(8, "big") + question).decode()


def _position(token: str, question: bytes) -> int:
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 16:
        raise PageTokenError("The page token is not one of this node's.")
    if raw[8:] != question:
        raise PageTokenError("The page token belongs to another filter.")
    return int.from_bytes(raw[:8], "big", signed=True)
