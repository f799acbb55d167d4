"""Writes what was sent to whom into the audit trail, before it is sent, many streams sharing one commit (I8)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy import Connection

from node import audit
from node.store.engine import Store


@dataclass(frozen=True, slots=True)
class Range:
    """Entries [first, first + count) of one log, about to be sent to a peer; `what` names the call."""

    actor: str
    log_id: bytes
    first: int
    count: int
    what: str


class RangeTrail:
    """Group commit of ranges: one transaction takes everything that came while the last one was running."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[tuple[list[Range], asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def record(self, ranges: list[Range]) -> None:
        """Return when the ranges are in the trail and on disk."""
        if not ranges:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((ranges, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        await done

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await self._store.run_write(lambda conn, batch=batch: _write(conn, batch))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - every waiting stream must hear of it
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            for _, done in batch:
                if not done.done():
                    done.set_result(None)


def _write(conn: Connection, batch: list[tuple[list[Range], asyncio.Future[None]]]) -> None:
    for ranges, _ in batch:
        for each in ranges:
            audit.record(
                conn,
                actor=each.actor,
                action=audit.AuditAction.RANGE_SENT,
                subject=each.log_id.hex(),
                detail={"first": each.first, "count": each.count, "call": each.what},
            )
