"""New files of an SFTP server, fetched into the drop folder before it is read.

Rules:
- A file is fetched when it is finished: with `handover = "done"` when `<name>.done` lies beside it, otherwise when it
  has looked the same for `settle_seconds`. That is measured by our clock, within the run: the server's may be wrong.
- Links on the server are not followed.
- It comes into a file with another name and gets its own only when it is whole and still looks as it did on the server,
  so what is read is never half a file. One that changed meanwhile waits for the next run.
- What was fetched is remembered by name, size and time of change, beside the files: a file that was moved out of the
  folder does not come again, one that was sent again with corrections does.
- Files come from the oldest to the newest. Where one cannot be fetched, none behind it is, so that order is kept.
- A server that is away does not keep what was fetched before from being read; the run fails behind it.
- One process at a time fetches into a folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from registry_adapters.errors import SourceError
from registry_adapters.source import Cursor, Milestone, Restoring, Row, Source, SourceReport
from registry_adapters.sources.drop_folder import is_wanted
from registry_adapters.sources.file_settings import FolderSettings
from registry_adapters.sources.sftp_session import Looks, Session, connected
from registry_adapters.sources.sftp_settings import SftpSettings

_PART: Final = ".fetch.part"
_LOCK: Final = ".fetch.lock"
_MEMORY: Final = ".fetch.json"
_MAX_NAME_BYTES: Final = 250


class SftpFetch:
    """Fetches what is new.

    Args:
        settings: `[fetch]` of the mapping.
        source: `[source]`, which says what is wanted and where it goes.
        home: Folder of the mapping file.
        wait: Waits some seconds.
    """

    def __init__(
        self,
        settings: SftpSettings,
        source: FolderSettings,
        home: Path,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._source = source
        self._home = home
        self._folder = home / source.folder
        self._wait = wait
        self.waiting: list[str] = []
        self.fetched: list[str] = []

    def run(self) -> None:
        """Fetch what is finished and new.

        Raises:
            MappingError: A file or variable that the mapping names cannot be used.
            SourceError: The server or the folder failed; what was fetched stays.
        """
        self.waiting.clear()
        self.fetched.clear()
        self.make_folder()
        with _locked(self._folder) as mine:
            if mine:
                asyncio.run(self._run())

    def make_folder(self) -> None:
        """Make the drop folder where it does not exist.

        Raises:
            SourceError: It cannot be made.
        """
        with _ours():
            self._folder.mkdir(parents=True, exist_ok=True)

    async def _run(self) -> None:
        memory = _remembered(self._folder / _MEMORY)
        async with connected(self._settings, self._home) as session:
            listed = await session.listing()
            fresh = self._fresh(listed, memory)
            if fresh and self._source.handover == "age" and self._source.settle_seconds:
                await self._wait(self._source.settle_seconds)
                again = await session.listing()
                self.waiting += [name for name in fresh if name in again and again[name] != fresh[name]]
                fresh = {name: looks for name, looks in fresh.items() if again.get(name) == looks}
            gone = memory.keys() - listed.keys()
            for name in gone:
                del memory[name]
            for name in sorted(fresh, key=lambda name: (fresh[name].changed, name)):
                await self._take(session, name, fresh[name], memory)
            if gone:
                self._remember(memory)

    def _fresh(self, listed: dict[str, Looks], memory: dict[str, Looks]) -> dict[str, Looks]:
        """Files that are wanted and not had: finished ones, where the registry says which are."""
        source = self._source
        done = source.handover == "done"
        wanted = {
            name: looks
            for name, looks in listed.items()
            if is_wanted(PurePosixPath(name)) and fnmatchcase(name, source.pattern)
        }
        if len(wanted) > source.max_files:
            raise SourceError(
                f"The SFTP server offers {len(wanted)} files, more than max_files = {source.max_files}.",
                "Have files removed there that were read long ago.",
                reason="TOO_MANY_FILES",
            )
        fresh = {}
        for name, looks in wanted.items():
            mark = name + ".done"
            if done and mark not in listed:
                self.waiting.append(name)
            elif memory.get(name) != looks or (done and memory.get(mark) != listed[mark]):
                self._check(name, looks)
                fresh[name] = looks
        return fresh

    def _check(self, name: str, looks: Looks) -> None:
        if len(os.fsencode(name)) > _MAX_NAME_BYTES:
            raise SourceError(
                f"A file on the SFTP server has a name of more than {_MAX_NAME_BYTES} bytes.",
                "Have it sent with a shorter one.",
                reason="SERVER_NAMES_UNFIT",
            )
        if looks.size > self._source.max_file_bytes:
            raise SourceError(
                f"{name!a} has {looks.size} bytes, more than max_file_bytes = {self._source.max_file_bytes}.",
                "Have it sent in parts, or raise the limit.",
                reason="FILE_TOO_LARGE",
            )

    async def _take(self, session: Session, name: str, looks: Looks, memory: dict[str, Looks]) -> None:
        """Fetch a file, and the one that says that it is finished behind it."""
        if memory.get(name) != looks:
            if not await self._fetched(session, name, looks):
                return
            self.fetched.append(name)
            memory[name] = looks
        if self._source.handover == "done":
            mark = name + ".done"
            marked = await session.look(mark)
            if marked is None or marked.size > self._source.max_file_bytes:
                return
            if await self._fetched(session, mark, marked):
                memory[mark] = marked
        self._remember(memory)

    async def _fetched(self, session: Session, name: str, looks: Looks) -> bool:
        """Whether a file came whole and looks on the server as it did before."""
        part = self._folder / _PART
        try:
            with _ours():
                descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                done = 0
                async for chunk in session.content(name, looks.size):
                    with _ours():
                        done += _write(descriptor, chunk)
                with _ours():
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if done != looks.size or await session.look(name) != looks:
                self.waiting.append(name)
                return False
            with _ours():
                # The server's clock may be ahead of ours; that the file has settled is known here.
                changed = max(0.0, min(looks.changed, time.time() - self._source.settle_seconds))
                os.utime(part, (changed, changed))
                part.replace(self._folder / name)
                _sync(self._folder)
        finally:
            with suppress(OSError):
                part.unlink()
        return True

    def _remember(self, memory: dict[str, Looks]) -> None:
        part = self._folder / (_MEMORY + ".part")
        held = {name: [looks.size, looks.changed] for name, looks in memory.items()}
        with _ours(), part.open("w", encoding="ascii") as file:
            json.dump(held, file)
            file.flush()
            os.fsync(file.fileno())
            part.replace(self._folder / _MEMORY)


class FetchingSource:
    """A source of files that are fetched before they are read.

    Args:
        inner: Reads the drop folder.
        fetch: Fills it.
    """

    def __init__(self, inner: Source, fetch: SftpFetch) -> None:
        self._inner = inner
        self._fetch = fetch
        noticed = getattr(inner, "report", None)
        self.report = noticed if isinstance(noticed, SourceReport) else SourceReport()

    @property
    def kind(self) -> str:
        """That of the files."""
        return self._inner.kind

    def columns(self) -> tuple[str, ...]:
        """Columns of the newest file that is in the folder."""
        self._fetch.make_folder()
        return self._inner.columns()

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows behind the cursor of what is in the folder once the server was asked; see the module's rules."""
        failure: SourceError | None = None
        try:
            self._fetch.run()
        except SourceError as error:
            failure = error
        yield from self._inner.read(cursor)
        self.report.waiting += [name for name in self._fetch.waiting if name not in self.report.waiting]
        self.report.facts["fetched"] = f"{len(self._fetch.fetched)} files"
        if failure is not None:
            raise failure

    def restored(self, row: Row) -> Row:
        """A row of the quarantine as the source of files would read it now."""
        return self._inner.restored(row) if isinstance(self._inner, Restoring) else row


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether this process is the one that fetches into a folder."""
    with _ours():
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextmanager
def _ours() -> Iterator[None]:
    """What fails here is our folder, not the server."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"The drop folder cannot be written: {os.strerror(error.errno or 0)}.",
            "Check its permissions and free space; the next run goes on.",
            reason="FETCH_FAILED",
        ) from None


def _write(descriptor: int, data: bytes) -> int:
    """All of some bytes; how many."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    return len(data)


def _remembered(path: Path) -> dict[str, Looks]:
    """What was fetched before; nothing where that cannot be read, so that files come again rather than never."""
    try:
        held = json.loads(path.read_text(encoding="ascii"))
        return {str(name): Looks(int(size), int(changed)) for name, (size, changed) in held.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
