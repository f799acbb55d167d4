"""Reading a stream a few frames ahead of the one that is being stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from node.ops.tasks import end

Frame = TypeVar("Frame")
Begun = TypeVar("Begun")

DEPTH = 2
"""Frames that wait; with about 1 MiB each, this bounds the memory."""


class ReadAhead(Generic[Frame, Begun]):
    """Reads in a task of its own, in order; an error comes after the frames before it."""

    def __init__(self, read: Callable[[], Awaitable[Frame]], begin: Callable[[Frame], Begun]) -> None:
        """Start reading.

        Args:
            read: The next frame; its error ends the reading.
            begin: What can be begun with a frame before its turn has come.
        """
        self._read = read
        self._begin = begin
        self._waiting: asyncio.Queue[tuple[Frame, Begun] | Exception] = asyncio.Queue(DEPTH)
        self._task = asyncio.create_task(self._run())

    async def next(self) -> tuple[Frame, Begun]:
        """The next frame and what was begun with it.

        Raises:
            Exception: What `read` or `begin` raised.
        """
        found = await self._waiting.get()
        if isinstance(found, Exception):
            raise found
        return found

    async def close(self) -> None:
        """Stop reading."""
        await end(self._task)

    async def _run(self) -> None:
        try:
            while True:
                frame = await self._read()
                await self._waiting.put((frame, self._begin(frame)))
        except Exception as error:  # noqa: BLE001 - handed on to whoever takes the next frame
            await self._waiting.put(error)
