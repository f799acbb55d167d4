"""How much one caller may have under way at once, and how much of the store all callers together may use (I11).

The store has few threads. A caller's slow work waits for its own turn, not for everybody's:

- Each caller has a small number of turns of each kind; further work of it waits.
- All callers together leave one reading thread to the desk and the node's own work.
- Work that was given up goes on on its thread, so its turn lasts until it ends: asking and hanging up wins nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

from node.federation.errors import StreamQuotaError

T = TypeVar("T")
Kind = Literal["read", "write"]

READS_PER_CALLER = 2
ALL_READS = 3
"""One less than the store has threads for reading."""
WRITES_PER_CALLER = 1


class Limits:
    """Counts of open streams and running calls by caller, and turns at the store; for the event loop only."""

    def __init__(self, *, streams: int, calls: int) -> None:
        self._most = {"stream": streams, "call": calls}
        self._open: Counter[tuple[str, str]] = Counter()
        self._turns: dict[tuple[str, Kind], asyncio.Semaphore] = {}
        self._reads = asyncio.Semaphore(ALL_READS)

    @contextmanager
    def hold(self, caller: str, what: str) -> Iterator[None]:
        """Hold one "stream" or "call" of a caller for the length of a block.

        Raises:
            StreamQuotaError: The caller already has the most it may have.
        """
        key = (caller, what)
        if self._open[key] >= self._most[what]:
            raise StreamQuotaError(f"There are already {self._open[key]} {what}s of this caller under way.")
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1

    async def turn(self, caller: str, kind: Kind, work: Callable[[], Awaitable[T]]) -> T:
        """Run work at the store when it is the caller's turn.

        Args:
            caller: State.
            kind: Whether it reads or writes.
            work: Called once; runs to its end even if the caller is cancelled meanwhile.
        """
        own = self._turns.get((caller, kind))
        if own is None:
            own = asyncio.Semaphore(READS_PER_CALLER if kind == "read" else WRITES_PER_CALLER)
            self._turns[caller, kind] = own
        await own.acquire()
        try:
            if kind == "read":
                await self._reads.acquire()
        except BaseException:
            own.release()
            raise
        task = asyncio.ensure_future(work())
        task.add_done_callback(lambda done: self._end(done, own, kind))
        return await asyncio.shield(task)

    def _end(self, task: asyncio.Future[T], own: asyncio.Semaphore, kind: Kind) -> None:
        if not task.cancelled():
            task.exception()
        own.release()
        if kind == "read":
            self._reads.release()

    def open_streams(self, caller: str) -> int:
        """Streams that a caller has open now."""
        return self._open[(caller, "stream")]
