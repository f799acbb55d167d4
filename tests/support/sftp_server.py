"""A real SFTP server on loopback, and what a test wants to go wrong with it.

with SftpServer(folder) as server:
    server.put("a.csv", b"id\\n1\\n")
    server.on_read = lambda name, offset: server.drop_connections()
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import asyncssh


class SftpServer(AbstractContextManager["SftpServer"]):
    """The server.

    Args:
        root: The folder that it shows.
        password: Password of the user `adapter`, "" for none.
        client_key: Public key that it lets in, or None.
    """

    def __init__(self, root: Path, password: str = "", client_key: asyncssh.SSHKey | None = None) -> None:
        self.root = root
        self.password = password
        self.client_key = client_key
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0
        self.opened: list[str] = []
        self.changes: list[str] = []
        self.more_names: list[bytes] = []
        self.on_read: Callable[[str, int], object] = lambda name, offset: None
        self.on_list: Callable[[], object] = lambda: None
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._acceptor: asyncssh.SSHAcceptor | None = None

    def __enter__(self) -> SftpServer:
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def fingerprint(self) -> str:
        """Of its key."""
        return self.host_key.get_fingerprint("sha256")

    @property
    def known_hosts(self) -> str:
        """A line for a file known_hosts."""
        return f"[127.0.0.1]:{self.port} {self.host_key.export_public_key().decode()}"

    def put(self, name: str, data: bytes, age: float = 600) -> Path:
        """A file, changed `age` seconds ago."""
        path = self.root / name
        path.write_bytes(data)
        changed = path.stat().st_mtime - age
        os.utime(path, (changed, changed))
        return path

    def start(self) -> None:
        """Listen, on the same port as before where it did."""
        self._acceptor = self._do(self._listen())
        self.port = self._acceptor.get_port()

    def stop(self) -> None:
        """Go away in the middle of everything."""
        self._do(self._close())

    def drop_connections(self) -> None:
        """Cut every connection; called on the server's own thread."""
        for connection in list(self.connections):
            connection.abort()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_factory=lambda: _Gate(self),
            server_host_keys=[self.host_key],
            sftp_factory=lambda chan: _Files(chan, self),
            config=None,
            reuse_address=True,
        )

    async def _close(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
            self.drop_connections()
            await self._acceptor.wait_closed()
            self._acceptor = None


class _Gate(asyncssh.SSHServer):
    """Who may come in."""

    def __init__(self, owner: SftpServer) -> None:
        self._owner = owner

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._owner.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.connections.discard(self._conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return bool(self._owner.password)

    def validate_password(self, username: str, password: str) -> bool:
        return username == "adapter" and password == self._owner.password

    def public_key_auth_supported(self) -> bool:
        return self._owner.client_key is not None

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == "adapter" and key == self._owner.client_key


class _Files(asyncssh.SFTPServer):
    """The folder, and what goes wrong with it."""

    def __init__(self, chan: asyncssh.SSHServerChannel[bytes], owner: SftpServer) -> None:
        self._owner = owner
        super().__init__(chan, chroot=os.fsencode(owner.root))

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        self._owner.on_list()
        async for entry in super().scandir(path):
            yield entry
        for name in self._owner.more_names:
            attrs = asyncssh.SFTPAttrs(size=1, permissions=0o100600, mtime=1, atime=1)
            yield asyncssh.SFTPName(name, attrs=attrs)

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        name = Path(os.fsdecode(path)).name
        self._owner.opened.append(name)
        if pflags & (asyncssh.FXF_WRITE | asyncssh.FXF_APPEND):
            self._owner.changes.append(name)
        return super().open(path, pflags, attrs), name

    def read(self, file_obj: Any, offset: int, size: int) -> Any:
        self._owner.on_read(file_obj[1], offset)
        return super().read(file_obj[0], offset, size)

    def close(self, file_obj: Any) -> Any:
        return super().close(file_obj[0])
