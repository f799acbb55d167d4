"""The drop folder that a registry puts its files into, alike for every kind of file.

Rules:
- A file is handed over when it has not changed for `settle_seconds`, or, with `handover = "done"`, when `<name>.done`
  lies beside it. Where that holds a SHA-256, a file that has another one waits: it was cut off or is not the one meant.
- Names that begin with a dot or end in .part, .tmp and the like are never read.
- A file is copied before it is read, up to the size that it had. One that changed meanwhile waits for the next run; one
  that vanished before is none; one that vanishes later is read from the copy.
- Which files were read is kept in the cursor by name and SHA-256. A file sent again with corrections is read again.
- A link that leads out of the folder stops the run, and so does more than the settings allow.
- What a file kind cannot read as a whole stops the run before the file's first row, so that the order of files is kept.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import os
import re
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any, Final

from registry_adapters.errors import SourceError
from registry_adapters.source import Cursor, Milestone, Row, SourceReport
from registry_adapters.sources.file_settings import FolderSettings

_UNFINISHED: Final = (".part", ".tmp", ".done", ".filepart", ".crdownload")
_CHUNK: Final = 1 << 20
_MAX_MARK_BYTES: Final = 4096
_NAME_BYTES: Final = 4
_MARK_BYTES: Final = 11
_MEND_COPY: Final = "Check its permissions and the free space of the temporary folder (TMPDIR)."
_MEND_FOLDER: Final = "Check `folder` of [source] and its permissions."


@dataclass(slots=True)
class Taken:
    """A file that is read now, from a copy of it.

    Attributes:
        name: Its name below the folder.
        file: The copy, open at its beginning.
        begin: Place up to which rows were read before; 0 at the beginning.
        scan: Name of the complete pass that the file is, "" where it holds changes only.
        kept: What the kind keeps from file to file; a change counts once the file is read to its end.
        again: A file of this name was read before.
    """

    name: str
    file: IO[bytes]
    begin: int
    scan: str
    kept: dict[str, Any]
    again: bool
    _kind: str
    _before: dict[str, Any]

    def cursor(self, place: int) -> Cursor:
        """The cursor behind a row of this file.

        Args:
            place: Where the row stands; grows from row to row.
        """
        return Cursor(self._kind, self._before, [place])


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    path: Path
    size: int
    changed_ns: int
    inode: int

    @property
    def looks(self) -> tuple[int, int, int]:
        return self.size, self.changed_ns, self.inode


@dataclass(slots=True)
class _Memory:
    """What is known of files while the process lives, so that a run over unchanged files reads none of them."""

    digests: dict[str, tuple[tuple[int, int, int], str]] = field(default_factory=dict)
    first_seen: dict[str, tuple[tuple[int, int, int], float]] = field(default_factory=dict)


class DropFolder:
    """Files that are handed over and were not read yet.

    Args:
        kind: Kind of the source, for its cursors.
        settings: `[source]` of the mapping.
        home: Folder of the mapping file.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, kind: str, settings: FolderSettings, home: Path, clock: Callable[[], float] = time.time
    ) -> None:
        self._kind = kind
        self._settings = settings
        self._folder = home / settings.folder
        self._clock = clock
        self._memory = _Memory()
        self.report = SourceReport()

    def read(
        self, cursor: Cursor | None, rows: Callable[[Taken], Iterator[Row]]
    ) -> Iterator[Row | Milestone]:
        """Rows of every file that was not read yet, and a milestone behind each file.

        Args:
            cursor: Where to go on.
            rows: Gives the rows of a file behind `begin`.

        Raises:
            SourceError: The folder or a file cannot be read.
        """
        state = dict(cursor.state) if cursor else {}
        place = cursor.after if cursor and cursor.after is not None else state.get("after")
        files = self._handed_over()
        present = {_name_mark(file.name) for file in files}
        done = _Marks(state.get("done"), present)
        kept: dict[str, Any] = dict(state.get("kept") or {})
        for file in files:
            name = _name_mark(file.name)
            if done.has(name, self._remembered(file)):
                continue
            with _temporary(file.name) as copy:
                digest = self._copied(file, copy)
                if digest is None:
                    continue
                mark = _content_mark(file.name, digest)
                if done.has(name, mark):
                    continue
                before = {"done": done.text, "kept": kept, "file": digest}
                begin = int(place[0]) if place and state.get("file") == digest else 0
                scan = digest if self._is_complete(file.name) else ""
                taken = Taken(file.name, copy, begin, scan, dict(kept), done.knows(name), self._kind, before)
                yield from rows(taken)
            done.add(name, mark)
            kept = taken.kept
            yield Milestone(Cursor(self._kind, {"done": done.text, "kept": kept}), taken.scan)

    @contextmanager
    def newest(self) -> Iterator[Taken | None]:
        """The last file that is handed over, to look at its columns; None where there is none."""
        files = self._handed_over()
        with _temporary("A file") as copy:
            found = None
            while files and found is None:
                file = files.pop()
                copy.seek(0)
                copy.truncate()
                if self._copied(file, copy) is not None:
                    found = Taken(file.name, copy, 0, "", {}, False, self._kind, {})
            yield found

    def _is_complete(self, name: str) -> bool:
        pattern = self._settings.complete_pattern
        return self._settings.complete or (pattern is not None and PurePosixPath(name).match(pattern))

    def _handed_over(self) -> list[_File]:
        if not self._folder.is_dir():
            raise SourceError("The drop folder does not exist.", "Make it, or mend `folder` of [source].")
        try:
            found = [path for path in self._folder.glob(self._settings.pattern) if is_wanted(path)]
            inside = self._folder.resolve()
        except OSError as error:
            raise SourceError(f"The drop folder cannot be read: {error.strerror}.", _MEND_FOLDER) from None
        self.report.waiting.clear()
        ready = []
        for path in found:
            file = self._seen(path, inside)
            if file is None:
                continue
            if self._is_ready(file):
                ready.append(file)
            else:
                self.report.waiting.append(file.name)
        if len(ready) > self._settings.max_files:
            raise SourceError(
                f"The drop folder holds {len(ready)} files, more than max_files = {self._settings.max_files}.",
                "Move files that were read long ago out of it.",
                reason="TOO_MANY_FILES",
            )
        names = {file.name for file in ready}
        for memory in (self._memory.digests, self._memory.first_seen):
            for gone in memory.keys() - names - {*self.report.waiting}:
                del memory[gone]
        if self._settings.order == "name":
            return sorted(ready, key=lambda file: _natural(file.name))
        return sorted(ready, key=lambda file: (file.changed_ns, _natural(file.name)))

    def _seen(self, path: Path, inside: Path) -> _File | None:
        """A file as it looks now; None where it vanished or is none."""
        name = _printable(path.relative_to(self._folder))
        try:
            real = path.resolve(strict=True)
            if not real.is_relative_to(inside):
                raise SourceError(
                    f"{name} is a link that leads out of the drop folder.",
                    "Put the file itself into the folder.",
                    reason="LINK_LEADS_OUT",
                )
            looks = real.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SourceError(f"{name} cannot be looked at: {error.strerror}.", _MEND_FOLDER) from None
        except RuntimeError:  # a link to itself, before Python 3.13
            return None
        if not stat.S_ISREG(looks.st_mode):
            return None
        if looks.st_size > self._settings.max_file_bytes:
            raise SourceError(
                f"{name} has {looks.st_size} bytes, more than max_file_bytes = {self._settings.max_file_bytes}.",
                "Have it sent in parts, or raise the limit.",
                reason="FILE_TOO_LARGE",
            )
        return _File(name, real, looks.st_size, looks.st_mtime_ns, looks.st_ino)

    def _is_ready(self, file: _File) -> bool:
        if self._settings.handover == "done":
            return file.path.with_name(file.path.name + ".done").exists()
        now = self._clock()
        if now - file.changed_ns / 1e9 >= self._settings.settle_seconds:
            return True
        # The clock of the machine that wrote it may be ahead: then count from when it was first seen like this.
        looks, since = self._memory.first_seen.setdefault(file.name, (file.looks, now))
        if looks != file.looks:
            self._memory.first_seen[file.name] = file.looks, now
            return False
        return self._settings.settle_seconds <= now - since

    def _remembered(self, file: _File) -> bytes | None:
        """The mark of a file that was read through before and looks as it did then."""
        looks, digest = self._memory.digests.get(file.name, (None, ""))
        return _content_mark(file.name, digest) if looks == file.looks else None

    def _copied(self, file: _File, copy: IO[bytes]) -> str | None:
        """Copy a file; its SHA-256, or None where it changed or vanished meanwhile, or is not the one meant."""
        digest = hashlib.sha256()
        try:
            with _opened(file.path) as original:
                left = file.size
                while left and (chunk := original.read(min(left, _CHUNK))):
                    digest.update(chunk)
                    copy.write(chunk)
                    left -= len(chunk)
            copy.flush()
            looks = file.path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceError(
                f"{file.name} cannot be copied: {os.strerror(error.errno or 0)}.",
                _MEND_COPY,
                reason="COPY_FAILED",
            ) from None
        copy.seek(0)
        found = digest.hexdigest()
        if (looks.st_size, looks.st_mtime_ns, looks.st_ino) != file.looks or left:
            self.report.waiting.append(file.name)
            return None
        if self._settings.handover == "done" and _announced(file.path) not in ("", found):
            self.report.waiting.append(file.name)
            self.report.facts["sha256"] = f"{file.name} has not the SHA-256 that its done file names"
            return None
        self._memory.digests[file.name] = file.looks, found
        return found


@contextmanager
def _temporary(name: str) -> Iterator[IO[bytes]]:
    """A temporary file; what goes wrong with it, or with others beside it, is told as what it is."""
    try:
        with tempfile.TemporaryFile() as copy:
            yield copy
    except (OSError, sqlite3.Error) as error:
        what = os.strerror(error.errno or 0) if isinstance(error, OSError) else type(error).__name__
        raise SourceError(
            f"{name} cannot be read from a temporary copy: {what}.", _MEND_COPY, reason="COPY_FAILED"
        ) from None


def _printable(path: Path) -> str:
    """A name that every terminal, log and database takes; other signs and bytes are escaped."""
    name = os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def is_wanted(path: PurePath) -> bool:
    """Whether a file may be one that is handed over, by its name."""
    return not path.name.startswith(".") and not path.name.endswith(_UNFINISHED)


def _opened(path: Path) -> IO[bytes]:
    """A regular file, opened without following a link that was put in its place, or waiting at a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a file")
    return file


def _announced(path: Path) -> str:
    """The SHA-256 in the done file of a file, "" where there is none."""
    try:
        with _opened(path.with_name(path.name + ".done")) as file:
            words = file.read(_MAX_MARK_BYTES).decode("ascii", "replace").split()
    except OSError:
        return ""
    return words[0].lower() if words and re.fullmatch(r"[0-9a-fA-F]{64}", words[0]) else ""


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A name as people order it: numbers in it as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), part) if i % 2 else (0, 0, part) for i, part in enumerate(parts)]


def _name_mark(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:_NAME_BYTES]


def _content_mark(name: str, digest: str) -> bytes:
    text = f"{name}\0{digest}".encode()
    return hashlib.sha256(text).digest()[: _MARK_BYTES - _NAME_BYTES]


class _Marks:
    """Which files were read, by name and content, small enough for thousands of them in a cursor.

    Args:
        held: Text of a cursor; where it cannot be read, files are read again rather than passed over.
        present: Marks of the names that are in the folder; others are forgotten.
    """

    def __init__(self, held: object, present: set[bytes]) -> None:
        try:
            data = base64.b64decode(held, validate=True) if isinstance(held, str) else b""
        except binascii.Error:
            data = b""
        marks = [data[i : i + _MARK_BYTES] for i in range(0, len(data), _MARK_BYTES)]
        self._marks = {m[:_NAME_BYTES]: m[_NAME_BYTES:] for m in marks if m[:_NAME_BYTES] in present}
        self._put_together()

    def knows(self, name: bytes) -> bool:
        """Whether a file of this name was read."""
        return name in self._marks

    def has(self, name: bytes, mark: bytes | None) -> bool:
        """Whether a file of this name was read with this content."""
        return mark is not None and self._marks.get(name) == mark

    def add(self, name: bytes, mark: bytes) -> None:
        """Note a file as read, in place of another content of its name."""
        again = name in self._marks
        self._marks[name] = mark
        if again:
            self._put_together()
        else:
            self._data += name + mark
            self.text = base64.b64encode(self._data).decode()

    def _put_together(self) -> None:
        self._data = bytearray().join(name + mark for name, mark in self._marks.items())
        self.text = base64.b64encode(self._data).decode()
