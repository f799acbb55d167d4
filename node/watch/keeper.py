"""Following the alerts: each new one is matched against all records, and hits of those that are gone are cleared.

Rules:
- Where it stands is stored with the hits, so a kill loses none and doubles none (I5).
- After an upgrade that changed the normal forms it makes the index of alerts anew before anything is matched.
- It works in slices, so that a large watch never keeps the writer from the peers (I12).
- A hit is cleared for an alert that is gone or revised only while the copies of its origin's logs are current: an
  alert that moves to another audience is first told there and then erased here, and list parts of a revision may be
  on their way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection, Row, Table, func, select, update

from node.alerts.project import ALERT
from node.alerts.upkeep import reindex
from node.ops.counters import refused
from node.store.engine import Store
from node.store.tables import table
from node.store.tables.watch import WatchPosition
from node.watch import hits, records
from node.watch.matching import KEY, load, pairs, parts_before, records_with

POSITION: Table = table(WatchPosition)
ROWS_AT_ONCE = 200
PARTS_AT_ONCE = 20
PAIRS_AT_ONCE = 500
LOOK_EVERY_S = 0.5
CLEAR_EVERY_S = 5.0
REST = 9
"""After a look at all open hits, so many times as long without one: a tenth of a reader at most."""
HITS_AT_ONCE = 500
REINDEX_AT_ONCE = 100
"""Each may be a list part with thousands of serials."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Position:
    """Where matching stands: see node.store.tables.watch.WatchPosition."""

    alert_id: int = 0
    record_id: int = 0
    until_id: int = 0
    part_id: int = 0


class WatchKeeper:
    """One a node.

    Args:
        store: The store.
        origin_current: Whether the copies of an origin's logs are current; true for the own State.
        now: This node's clock, milliseconds.
    """

    def __init__(
        self, *, store: Store, origin_current: Callable[[str], bool], now: Callable[[], int]
    ) -> None:
        self._store = store
        self._origin_current = origin_current
        self._now = now

    async def run(self) -> None:
        """Go on until cancelled; a failure is logged and tried again (I12)."""
        loop = asyncio.get_running_loop()
        clear_at = rested_at = 0.0
        rebuilt = news = False
        while True:
            try:
                if not rebuilt:
                    await self.rebuild()
                    rebuilt = True
                while await self._store.run_read(self._behind):
                    await self._store.run_write(self.step)
                    news = True
                begun = loop.time()
                if begun >= (rested_at if news else clear_at):
                    await self.clear_gone()
                    news = False
                    ended = loop.time()
                    rested_at = ended + REST * (ended - begun)
                    clear_at = max(rested_at, ended + CLEAR_EVERY_S)
            except Exception as error:  # noqa: BLE001 - whatever it was, the watch goes on
                refused.inc("WATCH_FAILED")
                log.error("watch_failed", error=type(error).__name__)
            await asyncio.sleep(LOOK_EVERY_S)

    def step(self, conn: Connection) -> bool:
        """Match the next slice of alerts; whether there was anything to do.

        Args:
            conn: Write transaction.
        """
        now_ms = self._now()
        at = _position(conn)
        newest = _newest(conn)
        if newest <= at.alert_id:
            return False
        if conn.execute(select(KEY.c.record_id).limit(1)).first() is None:
            _move(conn, _Position(newest))
            return True
        if not at.until_id:
            at = replace(at, until_id=min(newest, at.alert_id + ROWS_AT_ONCE))
        rows = range(at.alert_id + 1, at.until_id + 1)
        parts = [part for part in parts_before(conn, rows) if part > at.part_id]
        for part in sorted(parts)[:PARTS_AT_ONCE]:
            resume = _match(conn, range(part, part + 1), at.record_id, now_ms)
            if resume is not None:
                _move(conn, replace(at, record_id=resume))
                return True
            at = replace(at, record_id=0, part_id=part)
        if len(parts) > PARTS_AT_ONCE:
            _move(conn, at)
            return True
        resume = _match(conn, rows, at.record_id, now_ms)
        _move(conn, _Position(at.until_id) if resume is None else replace(at, record_id=resume))
        return True

    async def clear_gone(self) -> int:
        """Clear hits whose alerts are gone; how many."""
        cleared = after = 0
        while True:
            found, after = await self._store.run_read(partial(self._gone, after=after))
            due = [known.id for known, reason in found if self._may_clear(known.origin, reason)]
            if due:
                cleared += await self._store.run_write(partial(self._clear, ids=due))
            if not after:
                return cleared

    def _gone(self, conn: Connection, after: int) -> tuple[list[tuple[Row[Any], int]], int]:
        return hits.gone(conn, after, HITS_AT_ONCE, self._now(), all_matched=not self._behind(conn))

    def _clear(self, conn: Connection, ids: list[int]) -> int:
        """Clear those of `ids`, of one page, that are still to be cleared in this transaction."""
        now_ms = self._now()
        wanted = set(ids)
        matched = not self._behind(conn)
        found, _ = hits.gone(conn, min(ids) - 1, HITS_AT_ONCE, now_ms, upto=max(ids), all_matched=matched)
        due = [(known, reason) for known, reason in found if known.id in wanted]
        for known, reason in due:
            hits.clear(conn, known, reason, now_ms)
        return len(due)

    def _may_clear(self, origin: str, reason: int) -> bool:
        return reason == hits.EXPIRED or self._origin_current(origin)

    def _behind(self, conn: Connection) -> bool:
        return _newest(conn) > _position(conn).alert_id

    async def rebuild(self) -> None:
        """Make the index of alerts, and then the keys of records, anew where older normal forms made them."""
        while await self._store.run_write(partial(reindex, limit=REINDEX_AT_ONCE)):
            log.info("alerts_reindexing")
        after = 0
        while after := await self._store.run_write(partial(self._rebuild_slice, after=after)):
            log.info("watch_rebuilding")

    def _rebuild_slice(self, conn: Connection, after: int) -> int:
        return records.rebuild(conn, after, self._now())


def _match(conn: Connection, rows: range, after: int, now_ms: int) -> int | None:
    """Match rows of alerts with the next records; the record to go on after, None where all were matched.

    The last record of a full slice may be cut short, so it comes again; it can not be the only one, because a record
    meets a row once and a slice holds more pairs than rows.
    """
    found = records_with(conn, rows, after, PAIRS_AT_ONCE)
    hits.fold(conn, pairs(conn, load(conn, found), found, now_ms), now_ms, some_rows=True)
    return sorted(found)[-2] if sum(map(len, found.values())) == PAIRS_AT_ONCE else None


def _newest(conn: Connection) -> int:
    return int(conn.execute(select(func.max(ALERT.c.id))).scalar() or 0)


def _position(conn: Connection) -> _Position:
    columns = (POSITION.c.alert_id, POSITION.c.record_id, POSITION.c.until_id, POSITION.c.part_id)
    row = conn.execute(select(*columns).where(POSITION.c.id == 1)).first()
    return _Position() if row is None else _Position(*row)


def _move(conn: Connection, to: _Position) -> None:
    values = asdict(to)
    if conn.execute(update(POSITION).where(POSITION.c.id == 1).values(**values)).rowcount == 0:
        conn.execute(POSITION.insert().values(id=1, **values))
