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
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from dief.v1.federation_pb2 import AlertFilter
from sqlalchemy import ColumnElement, Connection, Row, Select, exists, or_, true

from node.alerts import states
from node.alerts.errors import PageTokenError
from node.alerts.project import ALERT
from node.alerts.records import AlertRecord, records, rows_of_alerts
from node.alerts.states import Held, code_bits, uuid_of, view_of
from node.ops.clock import from_timestamp

EVERYBODY = (0,)
"""Reader roles of somebody without the law-enforcement role."""

DEFAULT_PAGE = 100
MAX_PAGE = 500
_UNERASED = (Held.CONTENT, Held.HIDDEN, Held.INVALID)
_WITHDRAWALS = (Held.WITHDRAWN, Held.UNFOUNDED)


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
    query = rows_of_alerts().where(ALERT.c.uuid == uuid, ALERT.c.origin == origin)
    query = query.where(_for_roles(reader_roles) if log_pks is None else ALERT.c.log_pk.in_(sorted(log_pks)))
    rows = {row.id: row for row in conn.execute(query)}
    now = states.current(_state(row) for row in rows.values())
    if now is None:
        return None
    return records(conn, [rows[now.id]], now_ms, doubted_origins)[0]


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
    query = rows_of_alerts().where(
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
    query = rows_of_alerts().where(
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
    return Page(tuple(records(conn, rows[:size], now_ms, doubted_origins)), token)


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
