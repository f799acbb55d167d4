"""Storing entries whose headers are verified, and carrying out what their headers erase.

- Erasures act on headers: they cover event kinds that this version does not understand.
- A body that a known erasure names is never written, whatever order things arrive in (I6).
- Only entries of the same origin can be erased; an order against another origin's entry has no effect.
- A body that is missing though nothing erases it, and that has not expired, is noted: the log is then INCOMPLETE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, update

from node.ledger.events import Applied, Erased, StoredEntry
from node.ledger.header import HeaderFacts
from node.ledger.logs import LOG, HeldLog
from node.ledger.merkle import Subtree as SubtreeRoot
from node.ledger.state import LogState, entry_id
from node.store.engine import bulk_insert
from node.store.tables import table
from node.store.tables.ledger import Entry, Erasure, Missing, Subtree

ENTRY = table(Entry)
ERASURE_TABLE = table(Erasure)
MISSING = table(Missing)
SUBTREE = table(Subtree)
EXPIRY_TOLERANCE_MS = 48 * 3_600_000


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry about to be stored: verified header, and salt and body or None for both."""

    facts: HeaderFacts
    salt: bytes | None
    body: bytes | None


def store(
    conn: Connection,
    log: HeldLog,
    entries: Sequence[NewEntry],
    subtrees: Sequence[SubtreeRoot],
    now_ms: int,
) -> Applied:
    """Store consecutive entries of `log` and erase what they erase, in the caller's transaction.

    `log.size`, `log.tree` and the checkpoint are the caller's to advance and save; `log.state` is set here.
    """
    if not entries:
        return Applied()
    first, last = entries[0].facts.seq, entries[-1].facts.seq
    orders = [
        (target or log.log_id, position, entry.facts.seq)
        for entry in entries
        for target, position in entry.facts.erases
    ]
    gone = known_erasures(conn, log, first, last)
    gone.update(position for target, position, _ in orders if target == log.log_id)
    rows = []
    stored = []
    missing = []
    base = entry_id(log.pk, 0)
    for entry in entries:
        facts = entry.facts
        key = base | facts.seq
        body = entry.body
        if facts.seq in gone:
            body = None
        elif body is None and facts.body_digest and not _expired(facts, now_ms):
            missing.append((key,))
        rows.append((key, facts.raw, None if body is None else entry.salt, body))
        stored.append(
            StoredEntry(
                key, log.pk, log.log_id, log.origin, facts.seq, facts.kind, facts.subject, facts.revision,
                facts.committed_ms, facts.expires_ms, log.reader_role, body, now_ms,
            )
        )  # fmt: skip
    bulk_insert(conn, ENTRY, ("id", "header", "salt", "body"), rows)
    bulk_insert(conn, MISSING, ("entry_id",), missing)
    bulk_insert(
        conn,
        SUBTREE,
        ("log_pk", "level", "index", "hash"),
        [(log.pk, subtree.level, subtree.index, subtree.hash) for subtree in subtrees],
    )
    erased = order_erasures(conn, log, orders) if orders else ()
    refresh_completeness(conn, log)
    return Applied(tuple(stored), erased)


def order_erasures(
    conn: Connection, log: HeldLog, orders: Sequence[tuple[bytes, int, int]]
) -> tuple[Erased, ...]:
    """Record erasures that verified headers of `log` order, and carry out those whose target is held.

    Args:
        conn: Write transaction.
        log: The log whose headers order it.
        orders: Triples (target log id, target seq, seq of the ordering entry in `log`).

    Returns:
        What was not known before, one row a target.
    """
    erased = []
    targets = {log.log_id: (log.pk, log.size)}
    for target, position, by in orders:
        by_key = entry_id(log.pk, by)
        known = conn.execute(
            select(ERASURE_TABLE.c.eraser_id).where(
                ERASURE_TABLE.c.target_log == target, ERASURE_TABLE.c.target_seq == position
            )
        ).scalars()
        erasers = set(known)
        if by_key in erasers:
            continue
        conn.execute(ERASURE_TABLE.insert().values(target_log=target, target_seq=position, eraser_id=by_key))
        if target not in targets:
            row = conn.execute(
                select(LOG.c.id, LOG.c.size, LOG.c.origin).where(LOG.c.log_id == target)
            ).one_or_none()
            targets[target] = (row.id, row.size) if row is not None and row.origin == log.origin else (0, 0)
        pk, _size = targets[target]
        if not pk:
            continue
        key = entry_id(pk, position)
        conn.execute(update(ENTRY).where(ENTRY.c.id == key).values(salt=None, body=None))
        conn.execute(delete(MISSING).where(MISSING.c.entry_id == key))
        if not erasers:
            erased.append(Erased(key, target, log.origin, position, by_key))
    return tuple(erased)


def known_erasures(conn: Connection, log: HeldLog, first: int, last: int) -> set[int]:
    """Positions of `log` between two, inclusive, that verified headers of its origin already erase."""
    rows = conn.execute(
        select(ERASURE_TABLE.c.target_seq, ERASURE_TABLE.c.eraser_id).where(
            ERASURE_TABLE.c.target_log == log.log_id, ERASURE_TABLE.c.target_seq.between(first, last)
        )
    ).all()
    foreign = {row.eraser_id >> 40 for row in rows} - {log.pk}
    allowed = {log.pk}
    if foreign:
        allowed |= set(
            conn.execute(select(LOG.c.id).where(LOG.c.id.in_(foreign), LOG.c.origin == log.origin)).scalars()
        )
    return {row.target_seq for row in rows if row.eraser_id >> 40 in allowed}


def refresh_completeness(conn: Connection, log: HeldLog) -> None:
    """Set `log.state` to INCOMPLETE or back, by whether a body is missing without a reason."""
    if log.state not in (LogState.LIVE, LogState.INCOMPLETE):
        return
    low, high = entry_id(log.pk, 0), entry_id(log.pk + 1, 0)
    count = conn.execute(
        select(func.count()).select_from(MISSING).where(MISSING.c.entry_id >= low, MISSING.c.entry_id < high)
    ).scalar_one()
    log.state = LogState.INCOMPLETE if count else LogState.LIVE
    log.detail = f"{count} bodies are missing that nothing erases." if count else ""


def _expired(facts: HeaderFacts, now_ms: int) -> bool:
    return facts.expires_ms is not None and facts.expires_ms <= now_ms + EXPIRY_TOLERANCE_MS
