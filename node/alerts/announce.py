"""What a peer that keeps no copy must be told of a log: changes that meet its filter, and every ending."""

from __future__ import annotations

from collections.abc import Collection

from dief.v1.codes_pb2 import URGENCY_IMMEDIATE
from dief.v1.federation_pb2 import AlertFilter
from sqlalchemy import Connection, select

from node.alerts.project import ALERT
from node.alerts.queries import matches as matches
from node.alerts.states import Held
from node.ledger.state import entry_id, split_entry_id
from node.store.tables import table
from node.store.tables.ledger import Erasure

ERASURE = table(Erasure)


def to_announce(conn: Connection, log_pk: int, first: int, size: int, asked: AlertFilter) -> list[int]:
    """Positions in [first, size) of one log: current alerts that meet the filter, and all entries that erase.

    Args:
        conn: Snapshot.
        log_pk: The log.
        first: First position not told yet.
        size: Entries held.
        asked: The peer's filter.
    """
    low, high = entry_id(log_pk, first), entry_id(log_pk, size)
    about = select(ALERT.c.entry_id).where(
        ALERT.c.entry_id >= low,
        ALERT.c.entry_id < high,
        ALERT.c.part.is_(False),
        ALERT.c.held == Held.CONTENT,
        matches(asked),
    )
    ending = select(ERASURE.c.eraser_id).where(ERASURE.c.eraser_id >= low, ERASURE.c.eraser_id < high)
    keys = set(conn.execute(about).scalars()) | set(conn.execute(ending).scalars())
    return sorted(split_entry_id(key)[1] for key in keys)


def immediate_logs(conn: Connection, log_pks: Collection[int]) -> set[int]:
    """Those of the logs that hold an IMMEDIATE alert."""
    query = (
        select(ALERT.c.log_pk)
        .where(
            ALERT.c.log_pk.in_(log_pks), ALERT.c.urgency == URGENCY_IMMEDIATE, ALERT.c.held == Held.CONTENT
        )
        .distinct()
    )
    return set(conn.execute(query).scalars())
