"""The list parts of an alert in pages, for those who ask for one alert."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from node.alerts.project import ALERT
from node.alerts.records import ENTRY, AlertRecord
from node.alerts.states import Held


@dataclass(frozen=True, slots=True)
class PartPage:
    """Keys of the entries of some list parts, and whether more follow."""

    entry_ids: tuple[int, ...]
    more: bool


def list_parts_page(conn: Connection, record: AlertRecord, after: int, max_bytes: int) -> PartPage:
    """Some list parts that the current revision of an alert cites, in the order of the log.

    Reads no more bodies than fit, whatever the alert has.

    Args:
        conn: Snapshot.
        record: The alert.
        after: Key of the last part of the page before; 0 for the first page.
        max_bytes: The page ends where bodies come to more than that; one part always fits.
    """
    found: list[int] = []
    total = 0
    for key, size in _cited(conn, record, after):
        total += size
        if found and total > max_bytes:
            return PartPage(tuple(found), more=True)
        found.append(key)
    return PartPage(tuple(found), more=False)


def _cited(conn: Connection, record: AlertRecord, after: int) -> Iterator[tuple[int, int]]:
    """Keys and sizes of cited parts behind a key."""
    wanted = frozenset(record.part_digests)
    if not wanted:
        return
    keys = conn.execute(
        select(ALERT.c.entry_id)
        .where(
            ALERT.c.uuid == record.uuid,
            ALERT.c.origin == record.origin,
            ALERT.c.log_pk == record.log_pk,
            ALERT.c.part.is_(True),
            ALERT.c.held == Held.CONTENT,
            ALERT.c.entry_id > after,
        )
        .order_by(ALERT.c.entry_id)
    ).scalars()
    for key in keys.all():
        body = conn.execute(select(ENTRY.c.body).where(ENTRY.c.id == key)).scalar_one_or_none()
        if body is not None and hashlib.sha256(body).digest() in wanted:
            yield key, len(body)
