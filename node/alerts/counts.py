"""How many alerts stand how, and how many entries are not shown."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, func, select

from node.alerts.bodies import Refusal
from node.alerts.project import ALERT, LOG, UNPROJECTED
from node.alerts.queries import EVERYBODY
from node.alerts.records import DOUBTED
from node.alerts.states import standing, view_of
from node.ledger.state import entry_id


def count_alerts(
    conn: Connection, now_ms: int, *, reader_roles: Collection[int] = EVERYBODY
) -> dict[int, int]:
    """How many alerts stand how, by AlertStanding; what the reader may not know is not counted."""
    view = view_of(reader_roles)
    expired = (ALERT.c.expires_ms <= now_ms).label("expired")
    doubted = LOG.c.state.in_(DOUBTED).label("doubted")
    query = (
        select(ALERT.c.held, expired, doubted, func.count())
        .where(LOG.c.id == ALERT.c.log_pk, ALERT.c.head.bitwise_and(int(view)) != 0)
        .group_by(ALERT.c.held, expired, doubted)
    )
    counts: dict[int, int] = {}
    for held, has_expired, in_doubt, count in conn.execute(query):
        stands = standing(held, now_ms if has_expired else None, now_ms, in_doubt=in_doubt)
        counts[stands] = counts.get(stands, 0) + count
    return counts


def count_unprojected(conn: Connection, log_pk: int) -> dict[Refusal, int]:
    """How many entries of a log are stored but not shown, by reason."""
    query = (
        select(UNPROJECTED.c.reason, func.count())
        .where(
            UNPROJECTED.c.entry_id >= entry_id(log_pk, 0), UNPROJECTED.c.entry_id < entry_id(log_pk + 1, 0)
        )
        .group_by(UNPROJECTED.c.reason)
    )
    return {Refusal(reason): count for reason, count in conn.execute(query)}
