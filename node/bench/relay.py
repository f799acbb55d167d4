"""A relay on loopback that counts the bytes of the connections through it, as a network would carry them over TCP."""

from __future__ import annotations

import asyncio

from node.bench.pair import LOOPBACK

CHUNK_BYTES = 1 << 16


class Relay:
    """Passes connections on to one address; one event loop's."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.sent = 0
        self.received = 0

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    @property
    def endpoint(self) -> str:
        """Address to connect to."""
        if self._server is None:
            raise RuntimeError("the relay has not started")
        return f"{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    @property
    def carried(self) -> int:
        """Bytes of both directions since the last `reset`."""
        return self.sent + self.received

    def reset(self) -> None:
        """Count from zero."""
        self.sent = self.received = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        for task in (
            asyncio.create_task(self._pass(reader, there_writer, up=True)),
            asyncio.create_task(self._pass(there_reader, writer, up=False)),
        ):
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                if up:
                    self.sent += len(data)
                else:
                    self.received += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
