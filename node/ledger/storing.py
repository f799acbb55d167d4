"""Storing entries whose headers are verified, and carrying out what their headers erase.

- Erasures act on headers: they cover event kinds that this version does not understand.
- A body that a known erasure names is never written, whatever order things arrive in (I6).
- Only entries of the same origin can be erased; an order against another origin's entry has no effect.
- What many headers erase is erased by the many: one frame of a hostile origin can name hundreds of thousands (I11).
- A body that is missing though nothing erases it, and that has not expired, is noted: the log is then INCOMPLETE.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, select, update

from node.ledger.events import Applied, Erased, StoredEntry
from node.ledger.header import HeaderFacts, parse_header
from node.ledger.logs import LOG, HeldLog, load_pk
from node.ledger.merkle import Subtree as SubtreeRoot
from node.ledger.state import LogState, entry_id, split_entry_id
from node.store.engine import bulk_insert
from node.store.tables import table
from node.store.tables.ledger import Entry, Erasure, Missing, Subtree

ENTRY = table(Entry)
ERASURE_TABLE = table(Erasure)
MISSING = table(Missing)
SUBTREE = table(Subtree)
EXPIRY_TOLERANCE_MS = 48 * 3_600_000
_CHUNK = 500
"""Keys that one statement names."""


# Statements are made once: making one takes several times as long as running it.
_ERASED_BETWEEN = select(ERASURE_TABLE.c.target_seq, ERASURE_TABLE.c.eraser_id).where(
    ERASURE_TABLE.c.target_log == bindparam("target"),
    ERASURE_TABLE.c.target_seq.between(bindparam("first"), bindparam("last")),
)
_MISSING_BETWEEN = (
    select(func.count())
    .select_from(MISSING)
    .where(MISSING.c.entry_id >= bindparam("low"), MISSING.c.entry_id < bindparam("high"))
)


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
    ordered = known_erasures(conn, log, first, last)
    gone = {*ordered, *(position for target, position, _ in orders if target == log.log_id)}
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
    erased += tuple(
        Erased(base | seq, log.log_id, log.origin, seq, by)
        for seq, by in ordered.items()
        if split_entry_id(by)[0] != log.pk
    )
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
    ordered: dict[bytes, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for target, position, by in orders:
        ordered[target][position].add(entry_id(log.pk, by))
    erased: list[Erased] = []
    for target, positions in ordered.items():
        before = _erasers(conn, target, list(positions))
        fresh = {position: by - before[position] for position, by in positions.items()}
        rows = [(target, position, by) for position, bys in fresh.items() for by in sorted(bys)]
        bulk_insert(conn, ERASURE_TABLE, ("target_log", "target_seq", "eraser_id"), rows)
        pk = _pk_of_same_origin(conn, log, target)
        if not pk:
            continue
        counted = _of_same_origin(conn, log, set().union(*before.values()))
        now = {
            entry_id(pk, position): Erased(entry_id(pk, position), target, log.origin, position, min(bys))
            for position, bys in fresh.items()
            if bys and not before[position] & counted
        }
        erased += now.values()
        if _blank(conn, list(now)) and pk != log.pk:
            other = load_pk(conn, pk)
            refresh_completeness(conn, other)
            other.save(conn)
    return tuple(erased)


def _erasers(conn: Connection, target: bytes, positions: Sequence[int]) -> defaultdict[int, set[int]]:
    """Entries that are known to erase positions of a log."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    for some in _chunks(positions):
        query = select(ERASURE_TABLE.c.target_seq, ERASURE_TABLE.c.eraser_id).where(
            ERASURE_TABLE.c.target_log == target, ERASURE_TABLE.c.target_seq.in_(some)
        )
        for position, by in conn.execute(query):
            found[position].add(by)
    return found


def _pk_of_same_origin(conn: Connection, log: HeldLog, target: bytes) -> int:
    """Key of a log of the same origin; 0 where it is not held or another origin's."""
    if target == log.log_id:
        return log.pk
    row = conn.execute(select(LOG.c.id, LOG.c.origin).where(LOG.c.log_id == target)).one_or_none()
    return row.id if row is not None and row.origin == log.origin else 0


def _blank(conn: Connection, keys: Sequence[int]) -> bool:
    """Remove salts and bodies of entries; whether one of them was missing, and is so no more."""
    missed = 0
    for some in _chunks(keys):
        conn.execute(
            update(ENTRY).where(ENTRY.c.id.in_(some), ENTRY.c.salt.is_not(None)).values(salt=None, body=None)
        )
        missed += conn.execute(delete(MISSING).where(MISSING.c.entry_id.in_(some))).rowcount
    return missed > 0


def _chunks(values: Sequence[int]) -> Iterator[Sequence[int]]:
    return (values[i : i + _CHUNK] for i in range(0, len(values), _CHUNK))


def known_erasures(conn: Connection, log: HeldLog, first: int, last: int) -> dict[int, int]:
    """Positions of `log` between two, inclusive, that verified headers of its origin already erase, and which."""
    rows = conn.execute(_ERASED_BETWEEN, {"target": log.log_id, "first": first, "last": last}).all()
    allowed = _of_same_origin(conn, log, {row.eraser_id for row in rows})
    return {row.target_seq: row.eraser_id for row in rows if row.eraser_id in allowed}


def _of_same_origin(conn: Connection, log: HeldLog, erasers: set[int]) -> set[int]:
    """Those of some erasing entries that stand in logs of the origin of `log`: nobody else's order counts."""
    pks = {split_entry_id(key)[0] for key in erasers}
    allowed = pks & {log.pk}
    if others := pks - allowed:
        query = select(LOG.c.id).where(LOG.c.id.in_(others), LOG.c.origin == log.origin)
        allowed |= set(conn.execute(query).scalars())
    return {key for key in erasers if split_entry_id(key)[0] in allowed}


def refresh_completeness(conn: Connection, log: HeldLog) -> None:
    """Set `log.state` to INCOMPLETE or back, by whether a body is missing without a reason."""
    if log.state not in (LogState.LIVE, LogState.INCOMPLETE):
        return
    low, high = entry_id(log.pk, 0), entry_id(log.pk + 1, 0)
    count = conn.execute(_MISSING_BETWEEN, {"low": low, "high": high}).scalar_one()
    log.state = LogState.INCOMPLETE if count else LogState.LIVE
    log.detail = f"{count} bodies are missing that nothing erases." if count else ""


def erase_expired(conn: Connection, keys: Sequence[int]) -> tuple[Erased, ...]:
    """Remove body and salt of entries whose headers let them expire; the caller has checked that the moment passed.

    Returns:
        Those that still had a body; `by_entry_id` is the entry itself, since its own header orders it.
    """
    erased = []
    held: dict[int, HeldLog] = {}
    for some in _chunks(keys):
        query = select(ENTRY.c.id).where(ENTRY.c.id.in_(some), ENTRY.c.salt.is_not(None))
        for key in conn.execute(query.order_by(ENTRY.c.id)).scalars().all():
            pk, seq = split_entry_id(key)
            if pk not in held:
                held[pk] = load_pk(conn, pk)
            erased.append(Erased(key, held[pk].log_id, held[pk].origin, seq, key))
        conn.execute(update(ENTRY).where(ENTRY.c.id.in_(some)).values(salt=None, body=None))
    return tuple(erased)


def forgive_expired(conn: Connection, now_ms: int) -> int:
    """Missing bodies whose expiry has passed meanwhile are not missing any more; their logs may be LIVE again.

    Returns:
        How many logs that concerned.
    """
    rows = conn.execute(
        select(ENTRY.c.id, ENTRY.c.header).join(MISSING, MISSING.c.entry_id == ENTRY.c.id)
    ).all()
    held: dict[int, HeldLog] = {}
    forgiven = []
    for key, header in rows:
        pk, seq = split_entry_id(key)
        if pk not in held:
            held[pk] = load_pk(conn, pk)
        if _expired(parse_header(header, held[pk].log_id, seq), now_ms):
            forgiven.append(key)
    for some in _chunks(forgiven):
        conn.execute(delete(MISSING).where(MISSING.c.entry_id.in_(some)))
    concerned = {split_entry_id(key)[0] for key in forgiven}
    for pk in concerned:
        refresh_completeness(conn, held[pk])
        held[pk].save(conn)
    return len(concerned)


def _expired(facts: HeaderFacts, now_ms: int) -> bool:
    return facts.expires_ms is not None and facts.expires_ms <= now_ms + EXPIRY_TOLERANCE_MS
