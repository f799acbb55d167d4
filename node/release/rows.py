"""Reading and writing the rows of drafts and decisions; no rules here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from dief.v1 import draft_pb2
from sqlalchemy import Connection, Row, func, select, update

from node.release.errors import DraftNotFoundError
from node.store.tables import table
from node.store.tables.release import DecisionRow, DraftRow, RegistryRecordRow, RegistryStream

DRAFT = table(DraftRow)
DECISION = table(DecisionRow)
STREAM = table(RegistryStream)
RECORD = table(RegistryRecordRow)

PREFIX = "drafts/"
WAITING = int(draft_pb2.DRAFT_STATE_WAITING)
HELD = int(draft_pb2.DRAFT_STATE_HELD)
REFUSED = int(draft_pb2.DRAFT_STATE_REFUSED)
RELEASED = int(draft_pb2.DRAFT_STATE_RELEASED)
SUPERSEDED = int(draft_pb2.DRAFT_STATE_SUPERSEDED)
OPEN = (WAITING, HELD)

DraftRecord = Row[Any]
"""A row of the draft table."""


def draft_name(uuid: bytes) -> str:
    """Resource name of a draft."""
    text = uuid.hex()
    return f"{PREFIX}{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def find(conn: Connection, name: str) -> DraftRecord:
    """A draft by its resource name.

    Raises:
        DraftNotFoundError: There is none.
    """
    try:
        uuid = bytes.fromhex(name.removeprefix(PREFIX).replace("-", ""))
    except ValueError:
        uuid = b""
    row = conn.execute(select(DRAFT).where(DRAFT.c.uuid == uuid)).one_or_none()
    if row is None or draft_name(row.uuid) != name:
        raise DraftNotFoundError("There is no such draft.")
    return row


def by_id(conn: Connection, draft_id: int) -> DraftRecord:
    """A draft by its key."""
    return conn.execute(select(DRAFT).where(DRAFT.c.id == draft_id)).one()


def by_request(conn: Connection, drafter: str, request_id: str) -> DraftRecord | None:
    """The draft that a drafter's request made before."""
    query = select(DRAFT).where(DRAFT.c.drafter == drafter, DRAFT.c.request_id == request_id)
    return conn.execute(query).one_or_none()


def insert(conn: Connection, **values: Any) -> int:
    """Store a new draft; returns its key."""
    key = conn.execute(DRAFT.insert(), values).inserted_primary_key
    if key is None:
        raise RuntimeError("the database returned no key for a new draft")
    return int(key[0])


def change(conn: Connection, draft_id: int, now_ms: int, **values: Any) -> None:
    """Write to a draft; its version grows."""
    conn.execute(
        update(DRAFT)
        .where(DRAFT.c.id == draft_id)
        .values(version=DRAFT.c.version + 1, updated_ms=now_ms, **values)
    )


def decide(
    conn: Connection,
    draft_id: int,
    *,
    outcome: int,
    decided_by: str,
    legal_basis: str,
    reason: str,
    policy_digest: bytes,
    at_ms: int,
) -> None:
    """Store a decision."""
    conn.execute(
        DECISION.insert(),
        {
            "draft_id": draft_id,
            "outcome": outcome,
            "decided_by": decided_by,
            "legal_basis": legal_basis,
            "reason": reason,
            "policy_digest": policy_digest,
            "at_ms": at_ms,
        },
    )


def decisions(conn: Connection, draft_ids: Collection[int]) -> dict[int, list[Row[Any]]]:
    """Decisions over drafts, oldest first."""
    found: dict[int, list[Row[Any]]] = {draft_id: [] for draft_id in draft_ids}
    query = select(DECISION).where(DECISION.c.draft_id.in_(draft_ids)).order_by(DECISION.c.id)
    for row in conn.execute(query):
        found[row.draft_id].append(row)
    return found


def page(conn: Connection, states: Sequence[int], before_id: int | None, limit: int) -> list[DraftRecord]:
    """Drafts, newest first."""
    query = select(DRAFT).order_by(DRAFT.c.id.desc()).limit(limit)
    if states:
        query = query.where(DRAFT.c.state.in_(states))
    if before_id is not None:
        query = query.where(DRAFT.c.id < before_id)
    return list(conn.execute(query))


def in_state(conn: Connection, state: int) -> list[DraftRecord]:
    """All drafts of one state, oldest first."""
    return list(conn.execute(select(DRAFT).where(DRAFT.c.state == state).order_by(DRAFT.c.id)))


def waiting_drafts(conn: Connection) -> int:
    """How many drafts wait for a person."""
    return conn.execute(select(func.count()).select_from(DRAFT).where(DRAFT.c.state == WAITING)).scalar_one()


def excluded_before(conn: Connection, alert_uuid: bytes) -> frozenset[str]:
    """States that were left out when the newest revision of an alert was released."""
    text = conn.execute(
        select(DRAFT.c.excluded)
        .where(DRAFT.c.alert_uuid == alert_uuid, DRAFT.c.state == RELEASED)
        .order_by(DRAFT.c.released_revision.desc())
        .limit(1)
    ).scalar_one_or_none()
    return frozenset((text or "").split())


def forget_content(conn: Connection, alert_uuids: Collection[bytes], keep: Collection[int] = ()) -> None:
    """Erase what drafts held of alerts that are revised, withdrawn or expired (I6).

    Args:
        conn: Write transaction.
        alert_uuids: The alerts.
        keep: Keys of drafts that stay as they are.
    """
    conn.execute(
        update(DRAFT)
        .where(DRAFT.c.alert_uuid.in_(alert_uuids), DRAFT.c.state.not_in(OPEN), DRAFT.c.id.not_in(keep))
        .values(content=None)
    )
