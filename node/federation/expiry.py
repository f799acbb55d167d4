"""Erasing what has expired, without the origin's help and without trusting one clock.

Expiry hides an alert at once, by this node's clock (node.alerts.queries). Destroying it needs more: the moment must
have passed for 24 hours by this node's clock *and* by the median time of fresh checkpoints of its peers. A clock that
jumps, here or at one peer, can therefore hide, but not destroy. Without a fresh peer nothing is destroyed.

Source: design.md 6, Clocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median_low

from sqlalchemy import Connection, select

from node.alerts import project
from node.alerts.upkeep import expire, expired_unprojected
from node.ledger import logs, storing
from node.ledger.events import Applied
from node.store.tables import table
from node.store.tables.alerts import Alert

ALERT = table(Alert)
AGREEMENT_MS = 24 * 3_600_000
FRESH_MS = 2 * 3_600_000


def agreed_moment(now_ms: int, checkpoints: Iterable[tuple[str, int, int]]) -> int | None:
    """The moment before which expiries may be carried out; None where no other clock says anything fresh.

    Args:
        now_ms: This node's clock.
        checkpoints: Of peers' logs: origin, time signed into the checkpoint, this node's clock when it was verified.
    """
    newest: dict[str, int] = {}
    for origin, signed_ms, verified_ms in checkpoints:
        if abs(now_ms - verified_ms) <= FRESH_MS:
            newest[origin] = max(newest.get(origin, 0), signed_ms)
    if not newest:
        return None
    return min(now_ms, median_low(newest.values())) - AGREEMENT_MS


def erase_expired(conn: Connection, now_ms: int) -> tuple[bytes, ...]:
    """Erase body, salt and indicators of what has expired for long enough.

    Args:
        conn: Write transaction.
        now_ms: This node's clock.

    Returns:
        UUIDs of the alerts concerned, to be forgotten elsewhere too.
    """
    agreed = agreed_moment(
        now_ms,
        ((log.origin, log.checkpoint_ms, log.verified_ms) for log in logs.load_all(conn, own=False)),
    )
    if agreed is None:
        return ()
    storing.forgive_expired(conn, min(now_ms, agreed + AGREEMENT_MS))
    unseen = storing.erase_expired(conn, expired_unprojected(conn, agreed))
    project.apply(conn, Applied(erased=unseen))
    uuids: set[bytes] = set()
    while entries := expire(conn, agreed):
        storing.erase_expired(conn, entries)
        uuids |= set(conn.execute(select(ALERT.c.uuid).where(ALERT.c.entry_id.in_(entries))).scalars())
    return tuple(sorted(uuids))
