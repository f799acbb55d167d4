"""A program whose lines are read: bounded in time and size, with little of our surroundings, and never left behind.

Rules:
- It gets no more of the environment than a path, a language, a time zone, a temporary folder and what the mapping
  names.
- It runs in a session of its own; where reading ends early, all of its processes are told to end, then killed.
- Its messages for people are counted, and kept only where the mapping says so: they may hold values.
- Silence counts only while we wait for it, not while the node is slow to take rows.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from registry_adapters.errors import MappingError, SourceError

_CHUNK: Final = 65536
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_MAX_KEPT: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        number: From 1.
        data: Its bytes without the end; where it is too long, its beginning.
        cut: It is too long.
    """

    number: int
    data: bytes
    cut: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may do.

    Attributes:
        idle_seconds: How long it may be silent.
        end_seconds: How long it may take to end.
        max_line_bytes: Bytes of a line.
    """

    idle_seconds: float
    end_seconds: float
    max_line_bytes: int


class Program(AbstractContextManager["Program"]):
    """A running program; leaving the context ends it.

    Args:
        command: It and its arguments.
        folder: Where it runs.
        names: Variables of the environment that it gets besides.
        limits: What it may do.
        keep: File for its messages, or None.

    Raises:
        MappingError: A variable is not set, or the file cannot be written.
        SourceError: It cannot be started.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, names: Sequence[str], limits: Limits, keep: Path | None
    ) -> None:
        self._limits = limits
        self.messages = 0
        surroundings = _environment(names)
        self._keep = None if keep is None else _opened(keep)
        try:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=surroundings,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            self._close_kept()
            raise SourceError(
                f"The tap cannot be started: {type(error).__name__}.",
                "Install it, and name it in `command` of [source] by its path.",
                reason="TAP_NOT_FOUND",
            ) from None
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                self._selector.register(stream, selectors.EVENT_READ)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(self._limits.end_seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._selector.close()
            for stream in (self._process.stdout, self._process.stderr):
                if stream is not None:
                    stream.close()
            self._close_kept()

    def lines(self) -> Iterator[Line]:
        """What it writes, line by line, until it closes its output.

        Raises:
            SourceError: It is silent for too long.
        """
        output = self._process.stdout
        held = bytearray()
        number, cut, limit = 0, False, self._limits.max_line_bytes
        while chunk := self._chunk(output):
            begin = 0
            while (end := chunk.find(b"\n", begin)) >= 0:
                number += 1
                held += chunk[begin:end]
                yield Line(number, bytes(held[:limit]), cut or len(held) > limit)
                held.clear()
                begin, cut = end + 1, False
            held += chunk[begin:]
            if len(held) > limit:
                del held[limit:]
                cut = True
        if held:
            yield Line(number + 1, bytes(held), cut)

    def outcome(self) -> int:
        """How it ended, once its output is closed; negative for a signal.

        Raises:
            SourceError: It does not end.
        """
        deadline = time.monotonic() + self._limits.end_seconds
        while self._selector.get_map() and time.monotonic() < deadline:
            self._drain(max(0.0, deadline - time.monotonic()))
        try:
            return self._process.wait(max(0.05, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise SourceError(
                f"The tap has said its last and does not end within end_seconds = {self._limits.end_seconds:g}.",
                "Run it by hand; raise end_seconds of [source] if it needs the time.",
                reason="TAP_HANGS",
            ) from None

    def _chunk(self, output: IO[bytes] | None) -> bytes:
        deadline = time.monotonic() + self._limits.idle_seconds
        while True:
            found = self._drain(max(0.0, deadline - time.monotonic()), output)
            if found is not None:
                return found
            if time.monotonic() >= deadline:
                raise SourceError(
                    f"The tap was silent for longer than idle_seconds = {self._limits.idle_seconds:g}.",
                    "Run it by hand; raise the limit if its registry needs the time.",
                    reason="TAP_HANGS",
                )

    def _drain(self, seconds: float, output: IO[bytes] | None = None) -> bytes | None:
        """What has come on `output`, b"" at its end; None where nothing has. Messages are counted on the way."""
        found: bytes | None = None
        for key, _ in self._selector.select(seconds):
            try:
                data = os.read(key.fd, _CHUNK)
            except BlockingIOError:
                continue
            if not data:
                self._selector.unregister(key.fileobj)
            if key.fileobj is output:
                found = data
            elif key.fileobj is self._process.stderr:
                self.messages += data.count(b"\n")
                self._kept(data)
        return found

    def _kept(self, data: bytes) -> None:
        if self._keep is not None and self._keep.tell() < _MAX_KEPT:
            with contextlib.suppress(OSError):  # a full disk must not stop the run for the sake of messages
                self._keep.write(data)

    def _close_kept(self) -> None:
        if self._keep is not None:
            self._keep.close()

    def _signal(self, number: signal.Signals) -> None:
        """To all processes of its session, also where the first of them has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _environment(names: Sequence[str]) -> Mapping[str, str]:
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise MappingError(
            f"The environment variable {', '.join(missing)} is not set.",
            "Set it for the adapter, or take it out of `environment` of [source].",
        )
    return {name: os.environ[name] for name in (*_PASSED_ON, *names) if name in os.environ}


def _opened(path: Path) -> IO[bytes]:
    try:
        return os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb", buffering=0
        )
    except OSError as error:
        raise MappingError(
            f"stderr_file cannot be written: {error.strerror}.", "Name a file that the adapter may write."
        ) from None
