"""Folding pairs into hits, and clearing them: one hit a record and alert, a higher version with each change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dief.v1 import codes_pb2, desk_pb2, watch_pb2
from sqlalchemy import Connection, Row, Table, bindparam, select, union_all, update

from node.alerts.project import ALERT
from node.alerts.states import View, standing
from node.ops.ids import uuid7
from node.store.tables import table
from node.store.tables.watch import HitRow
from node.watch.matching import MAX_MATCHES, Pair, Watched

HIT: Table = table(HitRow)
OPEN = int(watch_pb2.HIT_STATE_OPEN)
DECIDED = int(watch_pb2.HIT_STATE_DECIDED)
CLEARED = int(watch_pb2.HIT_STATE_CLEARED)
EXPIRED = int(watch_pb2.CLEAR_REASON_EXPIRED)
UNDECIDED = int(codes_pb2.HIT_DECISION_UNSPECIFIED)
_LASTING = frozenset({int(codes_pb2.HIT_DECISION_SAME), int(codes_pb2.HIT_DECISION_SAME_BUT_LAWFUL)})
_REASONS = {
    desk_pb2.ALERT_STANDING_WITHDRAWN: int(watch_pb2.CLEAR_REASON_WITHDRAWN),
    desk_pb2.ALERT_STANDING_UNFOUNDED: int(watch_pb2.CLEAR_REASON_UNFOUNDED),
    desk_pb2.ALERT_STANDING_EXPIRED: int(watch_pb2.CLEAR_REASON_EXPIRED),
    desk_pb2.ALERT_STANDING_HIDDEN: int(watch_pb2.CLEAR_REASON_HIDDEN),
}
_CHUNK = 400
# Statements are made once: making one takes many times as long as running it.
_OF_PAIR = select(HIT).where(
    HIT.c.stream_id == bindparam("stream"),
    HIT.c.record_key == bindparam("record"),
    HIT.c.subject_id == bindparam("subject"),
)
_NEW = HIT.insert()


@dataclass(frozen=True, slots=True)
class _Head:
    subject_id: int
    origin: str
    uuid: bytes
    revision: int


def fold(conn: Connection, pairs: Sequence[Pair], now_ms: int, *, some_rows: bool = False) -> int:
    """Make or change the hits of pairs that meet now.

    Args:
        conn: Write transaction.
        pairs: What meets.
        now_ms: This node's clock.
        some_rows: Only some rows of each alert were looked at, of a head with many list parts for example: what the
            others gave between the same record and revision stands.

    Returns:
        Number of hits that are new or changed.
    """
    heads = _heads(conn, {pair.head for pair in pairs})
    changed = 0
    for pair in pairs:
        head = heads[pair.head]
        who = {"stream": pair.record.stream_id, "record": pair.record.key, "subject": head.subject_id}
        known = conn.execute(_OF_PAIR, who).one_or_none()
        values = _met(pair, head)
        if some_rows and known is not None and known.state != CLEARED:
            _add_known(values, known)
        if known is None:
            conn.execute(
                _NEW,
                {
                    "uuid": uuid7().bytes,
                    "origin": head.origin,
                    "alert_uuid": head.uuid,
                    "subject_id": head.subject_id,
                    "stream_id": pair.record.stream_id,
                    "record_key": pair.record.key,
                    "state": OPEN,
                    "clear_reason": 0,
                    **_no_decision(),
                    "version": 1,
                    "due": True,
                    "found_ms": now_ms,
                    "changed_ms": now_ms,
                    **values,
                },
            )
            changed += 1
        elif known.state == CLEARED or any(getattr(known, name) != value for name, value in values.items()):
            if known.state == CLEARED or known.decision not in _LASTING:
                values |= {"state": OPEN, "clear_reason": 0, **_no_decision()}
            _change(conn, known, now_ms, values)
            changed += 1
    return changed


def clear_missing(conn: Connection, record: Watched, met: Iterable[int], now_ms: int) -> None:
    """Clear the hits of a record that changed, but for those of the heads that it still meets."""
    kept = {head.subject_id for head in _heads(conn, set(met)).values()}
    for known in _of_record(conn, record.stream_id, record.key):
        if known.subject_id not in kept:
            clear(conn, known, watch_pb2.CLEAR_REASON_RECORD_CHANGED, now_ms)


def clear_record(conn: Connection, stream_id: int, key: str, now_ms: int) -> None:
    """Clear the hits of a record that is not under watch any more."""
    for known in _of_record(conn, stream_id, key):
        clear(conn, known, watch_pb2.CLEAR_REASON_RECORD_GONE, now_ms)


def gone(
    conn: Connection,
    after: int,
    limit: int,
    now_ms: int,
    *,
    upto: int | None = None,
    all_matched: bool = False,
) -> tuple[list[tuple[Row[Any], int]], int]:
    """Hits that stand although their alert, or the revision that gave them, does not; with the reason.

    Args:
        conn: Snapshot.
        after: Only hits with a higher id.
        limit: Look at so many.
        now_ms: This node's clock.
        upto: Only hits with an id up to this.
        all_matched: Whether every row of an alert was matched: what a newer revision still gives has been renewed.

    Returns:
        The hits, and the last id looked at, 0 where all were.
    """
    bounds = [HIT.c.id > after] if upto is None else [HIT.c.id > after, HIT.c.id <= upto]
    standing_now = union_all(
        *(
            select(
                select(HIT.c.id)
                .where(HIT.c.state == state, *bounds)
                .order_by(HIT.c.id)
                .limit(limit)
                .subquery()
            )
            for state in (OPEN, DECIDED)
        )
    ).subquery()  # of both states at once a database would read all that are left, for each page
    query = (
        select(HIT, ALERT.c.held, ALERT.c.expires_ms, ALERT.c.revision.label("current"))
        .join(standing_now, standing_now.c.id == HIT.c.id)
        .outerjoin(
            ALERT,
            (ALERT.c.subject_id == HIT.c.subject_id) & (ALERT.c.head.bitwise_and(int(View.EVERYBODY)) != 0),
        )
        .order_by(HIT.c.id)
        .limit(limit)
    )
    rows = conn.execute(query).all()
    found = []
    for row in rows:
        if row.held is None:
            found.append((row, int(watch_pb2.CLEAR_REASON_WITHDRAWN)))
            continue
        now = desk_pb2.AlertStanding.ValueType(standing(row.held, row.expires_ms, now_ms))
        reason = _REASONS.get(now)
        if reason is None and all_matched and now in _SHOWN and row.revision < row.current:
            reason = int(watch_pb2.CLEAR_REASON_REVISED)
        if reason is not None:
            found.append((row, reason))
    return found, rows[-1].id if len(rows) == limit else 0


def clear(conn: Connection, known: Row[Any], reason: int, now_ms: int) -> None:
    """Clear one hit; nothing is left of how it met."""
    if known.state != CLEARED:
        _change(
            conn,
            known,
            now_ms,
            {"state": CLEARED, "clear_reason": int(reason), "matches": "[]", "strength": 0},
        )


def decide(conn: Connection, known: Row[Any], decision: int, by: str, now_ms: int) -> None:
    """Record an officer's decision."""
    _change(
        conn,
        known,
        now_ms,
        {"state": DECIDED, "decision": decision, "decided_by": by, "decided_ms": now_ms},
    )


def _change(conn: Connection, known: Row[Any], now_ms: int, values: dict[str, Any]) -> None:
    conn.execute(
        update(HIT)
        .where(HIT.c.id == known.id)
        .values(version=known.version + 1, due=True, changed_ms=max(now_ms, known.changed_ms), **values)
    )


def _met(pair: Pair, head: _Head) -> dict[str, Any]:
    return {
        "record_kind": int(pair.record.content.kind),
        "reference": pair.record.content.reference,
        "record_digest": pair.record.digest,
        "revision": head.revision,
        "strength": max(meeting.strength for meeting in pair.meetings),
        "matches": json.dumps(
            [[meeting.kind, meeting.field, meeting.path, meeting.strength] for meeting in pair.meetings]
        ),
    }


def _add_known(values: dict[str, Any], known: Row[Any]) -> None:
    """Add the matches that a hit has already, where neither its record nor the revision has changed since."""
    if known.revision != values["revision"] or known.record_digest != values["record_digest"]:
        return
    before = {tuple(match) for match in json.loads(known.matches)}
    found = before | {tuple(match) for match in json.loads(values["matches"])}
    ordered = sorted(found, key=_strongest)[:MAX_MATCHES]
    values["strength"] = max(strength for *_, strength in ordered)
    values["matches"] = known.matches if set(ordered) == before else json.dumps(ordered)


def _strongest(match: tuple[Any, ...]) -> tuple[int, str, str, int]:
    kind, field, path, strength = match
    return -strength, field, path, kind


def _no_decision() -> dict[str, Any]:
    return {"decision": UNDECIDED, "decided_by": "", "decided_ms": 0}


def _heads(conn: Connection, ids: set[int]) -> dict[int, _Head]:
    wanted = sorted(ids)
    query = select(ALERT.c.id, ALERT.c.subject_id, ALERT.c.origin, ALERT.c.uuid, ALERT.c.revision)
    return {
        row.id: _Head(row.subject_id, row.origin, row.uuid, row.revision)
        for start in range(0, len(wanted), _CHUNK)
        for row in conn.execute(query.where(ALERT.c.id.in_(wanted[start : start + _CHUNK])))
    }


def _of_record(conn: Connection, stream_id: int, key: str) -> Sequence[Row[Any]]:
    return conn.execute(select(HIT).where(HIT.c.stream_id == stream_id, HIT.c.record_key == key)).all()


_SHOWN = frozenset({desk_pb2.ALERT_STANDING_CURRENT, desk_pb2.ALERT_STANDING_ORIGIN_IN_DOUBT})
