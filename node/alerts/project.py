"""Projecting: what the ledger stored and erased becomes rows of alerts and their index, in the same transaction.

Rules:
- Everything here goes by the batch; bodies are not copied.
- An erasure blanks the row's content and deletes its indicators; the row itself stays as the header does (I6).
- An authentic entry of which nothing can be shown is noted in `unprojected`, to be looked at again (I10).
- One writer at a time: keys follow the highest one in the table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from dief.v1 import handling_pb2
from sqlalchemy import Connection, Integer, bindparam, delete, func, literal, select, update

from node.alerts.bodies import LEDGER_KINDS, Refusal
from node.alerts.columns import BLANK
from node.alerts.normal import NORMAL_FORM_VERSION
from node.alerts.prepare import Prepared, is_part, prepare
from node.alerts.states import Held, Row, set_heads
from node.ledger.events import Applied, StoredEntry
from node.store.engine import bulk_insert
from node.store.tables import table
from node.store.tables.alerts import INDICATOR_BITS, Alert, Indicator, Unprojected
from node.store.tables.ledger import Log

ALERT = table(Alert)
INDICATOR = table(Indicator)
UNPROJECTED = table(Unprojected)
LOG = table(Log)
ALERT_OF_INDICATOR = INDICATOR.c.id.bitwise_rshift(literal(INDICATOR_BITS, Integer()))
"""`alert.id` of an index row; a shift is by an INTEGER, also where the value is a BIGINT."""

Prepare = Callable[[StoredEntry, handling_pb2.Audience], Prepared]
Subject = tuple[str, bytes]
T = TypeVar("T")

_CHUNK = 500
_ALERT_COLUMNS = (
    "id", "subject_id", "entry_id", "log_pk", "origin", "uuid", "revision", "part", "held", "head", "reader_role",
    "committed_ms", "received_ms", "expires_ms", "normal_form", "status", "urgency", "stages", "categories",
    "concerned",
)  # fmt: skip
_STATE_COLUMNS = (
    ALERT.c.id, ALERT.c.subject_id, ALERT.c.entry_id, ALERT.c.log_pk, ALERT.c.revision, ALERT.c.part, ALERT.c.held,
    ALERT.c.head, ALERT.c.reader_role,
)  # fmt: skip
_KEPT = frozenset({Held.ERASED, Held.WITHDRAWN, Held.UNFOUNDED})
_BLANK_VALUES = {"normal_form": 0, **BLANK._asdict()}


@dataclass(frozen=True, slots=True)
class Projection:
    """What a batch changed.

    Attributes:
        current: Entries of the batch that are now what their alert is, with content.
        parts: Entries of the batch that are list parts with content.
        erased: Entries whose content was projected here and is now gone.
        unprojected: Entries of the batch of which nothing is shown, with the reason: the origin is told.
    """

    current: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()
    erased: tuple[int, ...] = ()
    unprojected: tuple[tuple[int, Refusal], ...] = ()


# Statements are made once: making one takes several times as long as running it.
_AUDIENCES = select(LOG.c.id, LOG.c.audience_key).where(LOG.c.id.in_(bindparam("pks", expanding=True)))
_NEWEST_ID = select(func.max(ALERT.c.id))
_ROWS_OF = (
    select(ALERT.c.origin, ALERT.c.uuid, *_STATE_COLUMNS)
    .where(ALERT.c.uuid.in_(bindparam("uuids", expanding=True)))
    .order_by(ALERT.c.id)
)


def audiences(conn: Connection, log_pks: Collection[int]) -> dict[int, handling_pb2.Audience]:
    """Audiences of logs by their keys."""
    rows = conn.execute(_AUDIENCES, {"pks": list(log_pks)})
    return {pk: handling_pb2.Audience.FromString(key) for pk, key in rows}


def prepare_all(
    conn: Connection, stored: Iterable[StoredEntry], prepare: Prepare = prepare
) -> list[tuple[StoredEntry, Prepared]]:
    """Prepare the entries of a batch that are not the ledger's own."""
    entries = [entry for entry in stored if entry.kind not in LEDGER_KINDS]
    known = audiences(conn, {entry.log_pk for entry in entries}) if entries else {}
    return [(entry, prepare(entry, known[entry.log_pk])) for entry in entries]


def apply(conn: Connection, applied: Applied, prepare: Prepare = prepare) -> Projection:
    """Project what one append or one verified batch changed.

    Args:
        conn: The write transaction that changed it.
        applied: What it stored and erased.
        prepare: How an entry is prepared, or where to find what was prepared before.
    """
    return write(
        conn, prepare_all(conn, applied.stored, prepare), [erased.entry_id for erased in applied.erased]
    )


def write(
    conn: Connection,
    prepared: Sequence[tuple[StoredEntry, Prepared]],
    erased: Sequence[int] = (),
    above: int = 0,
) -> Projection:
    """Write prepared entries, then erase.

    Args:
        conn: Write transaction.
        prepared: Entries with what is written of them, in the order of the log.
        erased: Keys of entries whose bodies are gone.
        above: New rows have higher keys than this, also where the rows with the highest keys have been deleted:
            whoever follows by the key never passes a row over.
    """
    about_alerts = [(entry, made) for entry, made in prepared if made.uuid is not None]
    subjects, gone = _held_rows(
        conn, {made.uuid for _, made in about_alerts if made.uuid is not None}, erased
    )
    before = {row.id: (row.held, row.head) for rows in subjects.values() for row in rows}
    next_id = max(newest_id(conn), above) + 1
    fresh: list[Row] = []
    for row_id, (entry, made) in enumerate(about_alerts, next_id):
        rows = subjects[(entry.origin, made.uuid or b"")]
        held = Held.ERASED if entry.entry_id in gone and made.held != Held.WITHDRAWN else made.held
        row = Row(
            row_id, rows[0].subject_id if rows else row_id, entry.entry_id, entry.log_pk, entry.revision,
            is_part(entry.kind), held, 0, entry.reader_role,
        )  # fmt: skip
        rows.append(row)
        fresh.append(row)
    erased_now = _erase_held(subjects.values(), gone, before)
    for rows in subjects.values():
        set_heads(rows)
    _insert(conn, about_alerts, fresh)
    _update(conn, subjects.values(), before)
    delete_indicators(conn, [row.id for row in erased_now])
    refused = _note_refusals(conn, prepared, gone)
    return Projection(
        tuple(row.entry_id for row in fresh if row.head and row.held == Held.CONTENT),
        tuple(row.entry_id for row in fresh if row.part and row.held == Held.CONTENT),
        tuple(row.entry_id for row in erased_now),
        refused,
    )


def newest_id(conn: Connection) -> int:
    """Highest key of a row, 0 where there is none."""
    return int(conn.execute(_NEWEST_ID).scalar() or 0)


def _held_rows(
    conn: Connection, uuids: set[bytes], erased: Sequence[int]
) -> tuple[defaultdict[Subject, list[Row]], set[int]]:
    """All rows of the alerts that a batch touches, oldest first, and the erased entries as a set."""
    uuids = set(uuids)
    for chunk in _chunks(erased):
        uuids.update(conn.execute(select(ALERT.c.uuid).where(ALERT.c.entry_id.in_(chunk))).scalars())
    subjects: defaultdict[Subject, list[Row]] = defaultdict(list)
    for some in _chunks(list(uuids)):
        for origin, uuid, *values in conn.execute(_ROWS_OF, {"uuids": some}):
            subjects[(origin, uuid)].append(Row(*values))
    return subjects, set(erased)


def _erase_held(
    subjects: Iterable[list[Row]], gone: set[int], before: dict[int, tuple[int, int]]
) -> list[Row]:
    """Mark rows that were held before this batch and are erased by it."""
    found = []
    if gone:
        for rows in subjects:
            for row in rows:
                if row.entry_id in gone and row.id in before and row.held not in _KEPT:
                    row.held = Held.ERASED
                    found.append(row)
    return found


def _insert(conn: Connection, about: Sequence[tuple[StoredEntry, Prepared]], fresh: Sequence[Row]) -> None:
    alert_rows = []
    index_rows: list[tuple[int, int, int]] = []
    for (entry, made), row in zip(about, fresh, strict=True):
        content = row.held == Held.CONTENT
        alert_rows.append(
            (
                row.id, row.subject_id, row.entry_id, row.log_pk, entry.origin, made.uuid, row.revision, row.part,
                row.held, row.head, row.reader_role, entry.committed_ms, entry.received_ms, made.expires_ms,
                NORMAL_FORM_VERSION if content else 0,
                *(made.columns if content else BLANK),
            )
        )  # fmt: skip
        if content and made.keys:
            index_rows += indicator_rows(row.id, made.keys)
    bulk_insert(conn, ALERT, _ALERT_COLUMNS, alert_rows)
    bulk_insert(conn, INDICATOR, ("id", "key", "kind"), index_rows)


def indicator_rows(alert_id: int, keys: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Index rows of one alert."""
    base = alert_id << INDICATOR_BITS
    return [(base + n, key, kind) for n, (kind, key) in enumerate(keys)]


def _update(conn: Connection, subjects: Iterable[list[Row]], before: dict[int, tuple[int, int]]) -> None:
    heads: list[dict[str, int]] = []
    blanks: list[dict[str, int]] = []
    for rows in subjects:
        for row in rows:
            known = before.get(row.id)
            if known is None or known == (row.held, row.head):
                continue
            values = {"row_id": row.id, "new_held": int(row.held), "new_head": int(row.head)}
            (blanks if known[0] != row.held else heads).append(values)
    change = update(ALERT).where(ALERT.c.id == bindparam("row_id"))
    change = change.values(held=bindparam("new_held"), head=bindparam("new_head"))
    if heads:
        conn.execute(change, heads)
    if blanks:
        conn.execute(change.values(**_BLANK_VALUES), blanks)


def delete_indicators(conn: Connection, alert_ids: Sequence[int]) -> None:
    """Delete the index rows of alerts: each a range of the primary key."""
    if alert_ids:
        conn.execute(
            delete(INDICATOR).where(INDICATOR.c.id >= bindparam("low"), INDICATOR.c.id < bindparam("high")),
            [{"low": row << INDICATOR_BITS, "high": (row + 1) << INDICATOR_BITS} for row in alert_ids],
        )


def _note_refusals(
    conn: Connection, prepared: Sequence[tuple[StoredEntry, Prepared]], gone: set[int]
) -> tuple[tuple[int, Refusal], ...]:
    refused = [
        (entry, made.refusal) for entry, made in prepared if made.refusal and entry.entry_id not in gone
    ]
    bulk_insert(
        conn,
        UNPROJECTED,
        ("entry_id", "reason", "received_ms"),
        [(entry.entry_id, reason.value, entry.received_ms) for entry, reason in refused],
    )
    for chunk in _chunks(list(gone)):
        conn.execute(delete(UNPROJECTED).where(UNPROJECTED.c.entry_id.in_(chunk)))
    return tuple((entry.entry_id, reason) for entry, reason in refused)


def _chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    return (values[i : i + _CHUNK] for i in range(0, len(values), _CHUNK))
