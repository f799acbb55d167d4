"""Tells open streams which logs have grown."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class News:
    """Tells streams which logs have grown; `publish` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queues: set[Mailbox] = set()

    def publish(self, log_ids: frozenset[bytes]) -> None:
        """Wake every stream for these logs."""
        self._loop.call_soon_threadsafe(self._deliver, log_ids)

    def _deliver(self, log_ids: frozenset[bytes]) -> None:
        for mailbox in self._queues:
            mailbox.put(log_ids)

    def subscribe(self) -> Mailbox:
        """A mailbox that collects log ids until it is closed."""
        mailbox = Mailbox(self._queues)
        self._queues.add(mailbox)
        return mailbox


class Mailbox:
    """Log ids that have grown since the last look."""

    def __init__(self, registry: set[Mailbox]) -> None:
        self._registry = registry
        self._ids: set[bytes] = set()
        self._event = asyncio.Event()

    def put(self, log_ids: frozenset[bytes]) -> None:
        """Add log ids and wake who waits."""
        self._ids |= log_ids
        self._event.set()

    async def take(self, timeout: float) -> set[bytes]:
        """Log ids since the last call, waiting up to `timeout` seconds; empty when there are none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()
        self._event.clear()
        ids, self._ids = self._ids, set()
        return ids

    def close(self) -> None:
        """Collect nothing more."""
        self._registry.discard(self)
