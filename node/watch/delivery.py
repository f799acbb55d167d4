"""Hits on their way: to the registry's adapter, at least once, and to officers, who decide.

A hit waits until the adapter acknowledges its newest version; one that changes after that waits again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from dief.v1 import codes_pb2, watch_pb2
from sqlalchemy import Connection, Row, func, select, update

from node.alerts.states import name_of
from node.ops.clock import to_timestamp
from node.ops.errors import DiefError
from node.watch import hits
from node.watch.hits import HIT
from node.watch.records import STREAM

_PREFIX = "hits/"
_MAX_INTEGER = (1 << 31) - 1
"""Of a column of type INTEGER."""
_FROM = HIT.join(STREAM, STREAM.c.id == HIT.c.stream_id)


class NoSuchHitError(DiefError):
    """There is no hit of that name."""

    default_reason = "NOT_FOUND"
    default_mend = "List hits to see their names."


class HitClearedError(DiefError):
    """A hit that is cleared needs no decision."""

    default_reason = "WRONG_STATE_FOR_STEP"
    default_mend = "Nothing is to be done: the alert or the record it rested on is gone."


@dataclass(frozen=True, slots=True)
class Page:
    """Hits, and the token of the next page, "" where this is the last."""

    hits: Sequence[watch_pb2.Hit]
    next_page_token: str


def pull(conn: Connection, stream_id: int, limit: int) -> tuple[list[watch_pb2.Hit], int]:
    """Hits of a stream that wait, oldest change first, and how many more there are."""
    waiting = (HIT.c.stream_id == stream_id) & HIT.c.due.is_(True)
    query = _query().where(waiting).order_by(HIT.c.changed_ms, HIT.c.id).limit(limit)
    found = [_message(row) for row in conn.execute(query)]
    total = conn.execute(select(func.count()).select_from(HIT).where(waiting)).scalar_one()
    return found, max(0, int(total) - len(found))


def acknowledge(conn: Connection, stream_id: int, deliveries: Sequence[tuple[str, int]]) -> int:
    """Take hits off the queue; how many of the versions named were waiting.

    Args:
        conn: Write transaction.
        stream_id: The stream of the registry that says so; hits of others are passed over.
        deliveries: Name and version of each.
    """
    done = 0
    for name, version in deliveries:
        uuid = _uuid(name)
        if uuid is None or version > _MAX_INTEGER:
            continue
        done += conn.execute(
            update(HIT)
            .where(
                HIT.c.uuid == uuid,
                HIT.c.stream_id == stream_id,
                HIT.c.version == version,
                HIT.c.due.is_(True),
            )
            .values(due=False)
        ).rowcount
    return done


def waiting(conn: Connection) -> tuple[int, int]:
    """Number of open hits, and of those that wait for an adapter."""
    opened = conn.execute(select(func.count()).select_from(HIT).where(HIT.c.state == hits.OPEN)).scalar_one()
    due = conn.execute(select(func.count()).select_from(HIT).where(HIT.c.due.is_(True))).scalar_one()
    return int(opened), int(due)


def listed(conn: Connection, states: Collection[int], page_size: int, page_token: str) -> Page:
    """Hits, newest first.

    Args:
        conn: Snapshot.
        states: Values of HitState; all where empty.
        page_size: At most so many.
        page_token: From the page before, or "".

    Raises:
        NoSuchHitError: The token is none.
    """
    query = _query()
    if states:
        query = query.where(HIT.c.state.in_(sorted(states)))
    if page_token:
        if not (page_token.isascii() and page_token.isdecimal() and int(page_token[:11]) <= _MAX_INTEGER):
            raise NoSuchHitError("The page token is none of this listing.", "Begin without a page token.")
        query = query.where(HIT.c.id < int(page_token))
    rows = conn.execute(query.order_by(HIT.c.id.desc()).limit(page_size + 1)).all()
    token = str(rows[page_size - 1].id) if len(rows) > page_size else ""
    return Page([_message(row) for row in rows[:page_size]], token)


def get(conn: Connection, name: str) -> watch_pb2.Hit:
    """One hit.

    Raises:
        NoSuchHitError: There is none of that name.
    """
    return _message(_row(conn, name))


def decide(conn: Connection, name: str, version: int, decision: int, by: str, now_ms: int) -> watch_pb2.Hit:
    """Record an officer's decision on the version that was read.

    Raises:
        NoSuchHitError: There is none of that name.
        StaleHitError: It changed since.
        HitClearedError: It is cleared.
    """
    row = _row(conn, name)
    if row.state == hits.CLEARED:
        raise HitClearedError("The hit is cleared.")
    if version and row.version != version:
        raise StaleHitError(f"The hit changed since: it has version {row.version} now.")
    hits.decide(conn, row, decision, by, now_ms)
    return _message(_row(conn, name))


class StaleHitError(DiefError):
    """The hit changed since it was read."""

    default_reason = "STALE"
    default_mend = "Read it again, then decide."


def _query() -> Any:
    return select(HIT, STREAM.c.caller, STREAM.c.name).select_from(_FROM)


def _row(conn: Connection, name: str) -> Row[Any]:
    uuid = _uuid(name)
    row = None if uuid is None else conn.execute(_query().where(HIT.c.uuid == uuid)).one_or_none()
    if row is None:
        raise NoSuchHitError("There is no such hit.")
    return row


def _uuid(name: str) -> bytes | None:
    try:
        return UUID(name.removeprefix(_PREFIX)).bytes if name.startswith(_PREFIX) else None
    except ValueError:
        return None


def _message(row: Row[Any]) -> watch_pb2.Hit:
    made = watch_pb2.Hit(
        name=f"{_PREFIX}{UUID(bytes=row.uuid)}",
        version=row.version,
        registry=row.caller,
        stream=row.name,
        key=row.record_key,
        reference=row.reference,
        record_kind=row.record_kind,
        state=row.state,
        clear_reason=row.clear_reason,
        alert=name_of(row.origin, row.alert_uuid),
        revision=row.revision,
        origin=row.origin,
        strength=row.strength,
        decision=row.decision,
        decided_by=row.decided_by,
        found_at=to_timestamp(row.found_ms),
        changed_at=to_timestamp(row.changed_ms),
    )
    if row.decided_ms:
        made.decided_at.CopyFrom(to_timestamp(row.decided_ms))
    for kind, field, path, strength in json.loads(row.matches):
        made.matches.add(
            kind=codes_pb2.IndicatorKind.ValueType(kind),
            field=field,
            path=path,
            strength=codes_pb2.MatchStrength.ValueType(strength),
        )
    return made
