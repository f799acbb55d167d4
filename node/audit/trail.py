"""Appending to the hash-chained trail, and checking it.

- A record's hash covers every field, each with its length before it, and the hash of the record before: changing,
  dropping, inserting or swapping a record breaks the chain at that place.
- Cutting records off the end is seen only against a head kept elsewhere: `head` is what to keep.
- The first record is chained to 32 zero bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, select

from node.ops.clock import now_ms
from node.store.tables import table
from node.store.tables.audit import AuditRecord

AUDIT = table(AuditRecord)
GENESIS_HASH = bytes(32)
VERIFY_CHUNK = 1000
_INSERT = AUDIT.insert()
_NEWEST = select(AUDIT.c.id, AUDIT.c.hash).order_by(AUDIT.c.id.desc()).limit(1)


class AuditAction(StrEnum):
    """Acts that are recorded."""

    READ = "READ"
    LISTED = "LISTED"
    SCREENED = "SCREENED"
    RANGE_SENT = "RANGE_SENT"
    DRAFT_CREATED = "DRAFT_CREATED"
    DRAFT_DECIDED = "DRAFT_DECIDED"
    RELEASED = "RELEASED"
    WITHDRAWN = "WITHDRAWN"
    POLICY_LOADED = "POLICY_LOADED"
    PEER_ADMITTED = "PEER_ADMITTED"
    PEER_DENIED = "PEER_DENIED"
    PEER_ALLOWED = "PEER_ALLOWED"
    FEDERATION_SET = "FEDERATION_SET"
    ROSTER_TRUSTED = "ROSTER_TRUSTED"
    SIGNING_RESUMED = "SIGNING_RESUMED"
    EXPIRED = "EXPIRED"
    HIT_DECIDED = "HIT_DECIDED"
    HITS_DELIVERED = "HITS_DELIVERED"


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record: its number (0 = none yet) and hash."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What checking the trail found.

    Attributes:
        records: How many were checked.
        broken_at: Number of the first record that does not fit, or None.
    """

    records: int
    broken_at: int | None


def chain_hash(
    previous: bytes, number: int, at_ms: int, actor: str, action: str, subject: str, purpose: str, detail: str
) -> bytes:
    """SHA-256 over the hash before and every field, each as an 8-byte big-endian length and its UTF-8 bytes."""
    digest = hashlib.sha256(previous)
    for field in (str(number), str(at_ms), actor, action, subject, purpose, detail):
        data = field.encode()
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.digest()


def record(
    conn: Connection,
    *,
    actor: str,
    action: AuditAction,
    subject: str = "",
    purpose: str = "",
    detail: Mapping[str, str | int] | None = None,
) -> None:
    """Append one act in the caller's transaction.

    Args:
        conn: Write transaction of the act; writers of the trail are serial (one write transaction at a time).
        actor: SPIFFE ID of who did it, or "node".
        action: What was done.
        subject: Resource name, log id or State; never content.
        purpose: Purpose that the actor stated.
        detail: Counts and references.
    """
    last = head(conn)
    number = last.number + 1
    at_ms = now_ms()
    text = json.dumps(detail or {}, sort_keys=True, separators=(",", ":"))
    conn.execute(
        _INSERT,
        {
            "id": number,
            "at_ms": at_ms,
            "actor": actor,
            "action": action.value,
            "subject": subject,
            "purpose": purpose,
            "detail": text,
            "hash": chain_hash(last.hash, number, at_ms, actor, action.value, subject, purpose, text),
        },
    )


def head(conn: Connection) -> Head:
    """The newest record, to be kept elsewhere."""
    row = conn.execute(_NEWEST).one_or_none()
    return Head(0, GENESIS_HASH) if row is None else Head(row.id, bytes(row.hash))


def verify(conn: Connection, kept: Head | None = None) -> VerifyResult:
    """Check the whole chain, and that it still contains a head that was kept elsewhere.

    Args:
        conn: Snapshot.
        kept: A head read earlier, or None.
    """
    previous, number = GENESIS_HASH, 0
    while True:
        rows = conn.execute(
            select(AUDIT).where(AUDIT.c.id > number).order_by(AUDIT.c.id).limit(VERIFY_CHUNK)
        ).all()
        for row in rows:
            expected = chain_hash(
                previous, number + 1, row.at_ms, row.actor, row.action, row.subject, row.purpose, row.detail
            )
            if row.id != number + 1 or row.hash != expected:
                return VerifyResult(number, number + 1)
            previous, number = expected, row.id
            if kept is not None and number == kept.number and previous != kept.hash:
                return VerifyResult(number - 1, number)
        if not rows:
            break
    if kept is not None and number < kept.number:
        return VerifyResult(number, number + 1)
    return VerifyResult(number, None)
