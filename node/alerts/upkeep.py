"""What changes projections without a new entry: expiry, a newer program, newer normal forms."""

from __future__ import annotations

from sqlalchemy import Connection, Integer, delete, literal, select

from node.alerts.indicators import facts, keys
from node.alerts.normal import NORMAL_FORM_VERSION
from node.alerts.prepare import list_part_keys, prepare
from node.alerts.project import (
    ALERT,
    INDICATOR,
    LOG,
    UNPROJECTED,
    Prepare,
    Projection,
    delete_indicators,
    indicator_rows,
    newest_id,
    prepare_all,
    write,
)
from node.alerts.reading import alert_of, part_of
from node.alerts.states import Held
from node.ledger.events import StoredEntry
from node.ledger.header import parse_header
from node.ledger.state import split_entry_id
from node.store.engine import bulk_insert
from node.store.tables import table
from node.store.tables.ledger import SEQ_BITS, Entry

ENTRY = table(Entry)

_UNERASED = (Held.CONTENT, Held.HIDDEN, Held.INVALID)


def expire(conn: Connection, agreed_ms: int, limit: int = 1000) -> tuple[int, ...]:
    """Blank the content columns and delete the indicators of alerts whose expiry has passed.

    Queries hide them at once without this; it destroys, so the moment is one that other clocks agree with
    (design.md 6, Clocks), never this node's clock alone. The bodies are the ledger's to erase.

    Args:
        conn: Write transaction.
        agreed_ms: Moment that is agreed to have passed, milliseconds since the epoch.
        limit: At most this many at a time; repeat until nothing comes back.

    Returns:
        Keys of the entries concerned.
    """
    due = select(ALERT.c.entry_id).where(ALERT.c.expires_ms <= agreed_ms, ALERT.c.held.in_(_UNERASED))
    entries = tuple(conn.execute(due.order_by(ALERT.c.id).limit(limit)).scalars())
    write(conn, (), entries)
    return entries


def expired_unprojected(conn: Connection, agreed_ms: int) -> tuple[int, ...]:
    """Entries that could not be projected, still have a body, and have expired by their headers.

    Expiry acts on headers, so it covers event kinds that this version does not understand (design.md 4).

    Args:
        conn: Snapshot.
        agreed_ms: As in `expire`.

    Returns:
        Keys of the entries concerned.
    """
    query = (
        select(UNPROJECTED.c.entry_id, ENTRY.c.header, LOG.c.log_id)
        .where(
            ENTRY.c.id == UNPROJECTED.c.entry_id,
            ENTRY.c.salt.is_not(None),
            LOG.c.id == ENTRY.c.id.bitwise_rshift(literal(SEQ_BITS, Integer())),
        )
        .order_by(UNPROJECTED.c.entry_id)
    )
    due = []
    for entry_id, header, log_id in conn.execute(query):
        expires_ms = parse_header(header, log_id, split_entry_id(entry_id)[1]).expires_ms
        if expires_ms is not None and expires_ms <= agreed_ms:
            due.append(entry_id)
    return tuple(due)


def reproject(
    conn: Connection, limit: int = 1000, after: int = -1, parse: Prepare = prepare
) -> tuple[int, Projection]:
    """Look again at entries that could not be projected: a newer version may understand them (I10).

    Args:
        conn: Write transaction.
        limit: At most this many at a time.
        after: Key of the last entry looked at before, -1 to begin.
        parse: How entries are read.

    Returns:
        Key of the last entry looked at, -1 when there are none left, and what changed.
    """
    query = (
        select(UNPROJECTED.c.entry_id, UNPROJECTED.c.received_ms, ENTRY.c.header, ENTRY.c.body)
        .add_columns(LOG.c.id, LOG.c.log_id, LOG.c.origin, LOG.c.reader_role)
        .where(
            UNPROJECTED.c.entry_id > after,
            ENTRY.c.id == UNPROJECTED.c.entry_id,
            LOG.c.id == ENTRY.c.id.bitwise_rshift(literal(SEQ_BITS, Integer())),
        )
        .order_by(UNPROJECTED.c.entry_id)
        .limit(limit)
    )
    stored = []
    for entry_id, received_ms, header, body, log_pk, log_id, origin, reader_role in conn.execute(query):
        facts_ = parse_header(header, log_id, split_entry_id(entry_id)[1])
        stored.append(
            StoredEntry(
                entry_id, log_pk, log_id, origin, facts_.seq, facts_.kind, facts_.subject, facts_.revision,
                facts_.committed_ms, facts_.expires_ms, reader_role, body, received_ms,
            )
        )  # fmt: skip
    if not stored:
        return -1, Projection()
    ids = [entry.entry_id for entry in stored]
    above = newest_id(conn)
    conn.execute(delete(UNPROJECTED).where(UNPROJECTED.c.entry_id.in_(ids)))
    conn.execute(delete(ALERT).where(ALERT.c.entry_id.in_(ids)))
    return ids[-1], write(conn, prepare_all(conn, stored, parse), above=above)


def reindex(conn: Connection, limit: int = 1000) -> int:
    """Make index rows again that an earlier version of the normal forms made.

    Args:
        conn: Write transaction.
        limit: At most this many alerts at a time; repeat until 0 comes back.

    Returns:
        How many alerts were done.
    """
    old = (
        select(ALERT.c.id, ALERT.c.part, ENTRY.c.header, ENTRY.c.body)
        .where(ALERT.c.held == Held.CONTENT, ALERT.c.normal_form != NORMAL_FORM_VERSION)
        .where(ENTRY.c.id == ALERT.c.entry_id)
        .order_by(ALERT.c.id)
        .limit(limit)
    )
    rows = conn.execute(old).all()
    ids = [row.id for row in rows]
    delete_indicators(conn, ids)
    made = []
    for row in rows:
        if row.body is not None:
            pairs = list_part_keys(part_of(row.body)) if row.part else keys(facts(alert_of(row.body)))
            made += indicator_rows(row.id, pairs)
    bulk_insert(conn, INDICATOR, ("id", "key", "kind"), made)
    conn.execute(ALERT.update().where(ALERT.c.id.in_(ids)).values(normal_form=NORMAL_FORM_VERSION))
    return len(ids)
