"""Preparing bodies on another core while the writer stores the batch before.

Rules:
- Preparing is a pure function of header, body and audience, done in a child process that holds no key and opens no
  file. It says nothing about authenticity: what is prepared ahead is used for an entry only once that entry has been
  verified here as one of the very batch it was prepared from, and only if its log has the audience that was assumed.
- A batch goes in pieces. Whoever stores it prepares the pieces that the child has not begun, so both are busy.
- A child that hangs, ends or answers nonsense costs time, never a result. It ends at the end of its input, so with
  its node, however that ends.
"""

from __future__ import annotations

import asyncio
import marshal
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import structlog
from dief.v1 import federation_pb2, handling_pb2, log_pb2
from google.protobuf.message import DecodeError

from node.alerts.bodies import Refusal
from node.alerts.columns import Columns
from node.alerts.prepare import Prepared, prepare
from node.federation.preparing_child import Job, Packed, read_frame, write_frame
from node.ledger.events import StoredEntry
from node.ledger.state import audience_key

PIECE = 128
"""Entries that go to the child at once."""
WORTH_IT = 200
"""A batch of fewer entries is prepared where it is stored."""
MAX_CHILDREN = 4
PATIENCE_SECONDS = 10.0
"""For one piece, which takes some milliseconds on an idle machine."""
COMMAND = (sys.executable, "-P", "-m", "node.federation.preparing_child")

_REFUSALS = frozenset(Refusal)

Rows = dict[int, Packed]
Assumed = tuple[bytes, int]
"""Audience key and reader role of a log."""

log = structlog.get_logger(__name__)


class Ready:
    """What was prepared ahead of one batch; a node.alerts.project.Prepare for its entries."""

    def __init__(self, log_id: bytes, assumed: Assumed, rows: Mapping[int, Packed]) -> None:
        self._log_id = log_id
        self._audience, self._reader_role = assumed
        self._rows = rows
        self._compared: handling_pb2.Audience | None = None
        self._same = False

    def __call__(self, entry: StoredEntry, audience: handling_pb2.Audience) -> Prepared:
        """What is written of an entry: as prepared ahead, or prepared now where that is not of this very entry."""
        if audience is not self._compared:
            self._same = audience_key(audience) == self._audience
            self._compared = audience
        row = self._rows.get(entry.seq)
        if (
            row is None
            or entry.body is None
            or not self._same
            or entry.reader_role != self._reader_role
            or entry.log_id != self._log_id
        ):
            return prepare(entry, audience)
        uuid, held, refusal, expires_ms, columns, keys = row
        return Prepared(
            uuid, held, None if refusal is None else Refusal(refusal), expires_ms, Columns(*columns), keys
        )


class Pending:
    """A batch of which pieces are with the child."""

    def __init__(
        self,
        preparer: Preparer,
        batch: federation_pb2.Batch,
        assumed: Assumed,
        pieces: Sequence[Future[Rows]],
    ) -> None:
        self._preparer = preparer
        self._batch = batch
        self._assumed = assumed
        self._pieces = pieces

    async def take(self, batch: federation_pb2.Batch) -> Ready | None:
        """Wait for the piece in the child's hands, if any; what it has not begun is left to the caller.

        Args:
            batch: The object that `begin` was given; None comes back for any other one.
        """
        rows: Rows = {}
        for piece in self._left():
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    found: Rows = await asyncio.wrap_future(piece)
                rows.update(found)
            except TimeoutError:
                self._preparer.close()
        return Ready(batch.log_id, self._assumed, rows) if batch is self._batch else None

    def drop(self) -> None:
        """Nobody will take it."""
        self._left()

    def _left(self) -> list[Future[Rows]]:
        return [piece for piece in self._pieces if not piece.cancel()]


class Preparer:
    """One child process and the thread that speaks with it; `close` when done."""

    def __init__(self, slots: threading.Semaphore, command: Sequence[str]) -> None:
        self._slots = slots
        self._command = command
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="preparer")
        self._child: subprocess.Popen[bytes] | None = None
        self._greeted = False
        self._over = threading.Event()
        self._thread.submit(self._start)

    @property
    def usable(self) -> bool:
        """Whether the child has said that it is there, and has not failed since."""
        return self._greeted and not self._over.is_set()

    def begin(self, batch: federation_pb2.Batch, origin: str, assumed: Assumed) -> Pending:
        """Hand a batch over."""
        pieces = []
        for start in range(0, len(batch.entries), PIECE):
            piece = federation_pb2.Batch(
                log_id=batch.log_id,
                first_seq=batch.first_seq + start,
                entries=batch.entries[start : start + PIECE],
            )
            job = (piece.SerializeToString(), origin, *assumed)
            pieces.append(self._thread.submit(self._ask, job, piece.first_seq, len(piece.entries)))
        return Pending(self, batch, assumed, pieces)

    def close(self) -> None:
        """End the child; what it was doing is lost and prepared elsewhere."""
        self._over.set()
        self._kill()
        with suppress(RuntimeError):
            self._thread.submit(self._end)
        self._thread.shutdown(wait=False)

    def _start(self) -> None:
        if self._over.is_set():
            return
        try:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
            if self._over.is_set():
                self._kill()
            self._exchange(None)
        except (OSError, EOFError, ValueError) as error:
            self._fail(error)
        else:
            self._greeted = True

    def _ask(self, job: Job, first_seq: int, count: int) -> Rows:
        """Rows of one piece; none where the child fails."""
        if self._over.is_set():
            return {}
        try:
            answer = marshal.loads(self._exchange(marshal.dumps(job)))  # noqa: S302 - our own child's
            if not (isinstance(answer, list) and len(answer) == count and all(map(_is_row, answer))):
                raise ValueError("the child answered something else")
        except (OSError, EOFError, ValueError, TypeError) as error:
            self._fail(error)
            return {}
        return {seq: row for seq, row in enumerate(answer, first_seq) if row is not None}

    def _exchange(self, request: bytes | None) -> bytes:
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise EOFError
        if request is not None:
            write_frame(child.stdin, request)
        return read_frame(child.stdout)

    def _fail(self, error: Exception) -> None:
        if not self._over.is_set():
            self._over.set()
            log.warning("preparer_failed", error=type(error).__name__)

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    def _end(self) -> None:
        """Last on the thread: nothing reads or writes any more."""
        self._kill()
        if self._child is not None:
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
        self._slots.release()


class Preparers:
    """As many children as there are cores to spare, shared by all followers of a node."""

    def __init__(self, children: int | None = None, command: Sequence[str] = COMMAND) -> None:
        """Start none yet.

        Args:
            children: At most so many; by default one less than cores, at most 4.
            command: What a child runs.
        """
        self._slots = threading.Semaphore(min(_cores() - 1, MAX_CHILDREN) if children is None else children)
        self._command = command

    def take(self) -> Preparer | None:
        """A child of one's own, to be closed; None where all are taken."""
        return Preparer(self._slots, self._command) if self._slots.acquire(blocking=False) else None


class Ahead:
    """Hands the large batches of one session to a child, and knows the audiences of its logs."""

    def __init__(self, preparers: Preparers, origin: str, held: Mapping[bytes, Assumed]) -> None:
        """Start no child yet.

        Args:
            preparers: Where children come from.
            origin: The peer.
            held: Audience key and reader role of its logs, by their ids.
        """
        self._preparers = preparers
        self._origin = origin
        self._held = held
        self._begun: tuple[bytes, Assumed | None] = (b"", None)
        self._preparer: Preparer | None = None

    def begin(self, batch: federation_pb2.Batch) -> Pending | None:
        """Begin with a batch if it is worth it and there is a child."""
        if len(batch.entries) < WORTH_IT:
            return None
        if batch.first_seq == 0:
            self._begun = (batch.log_id, _audience_of_genesis(batch.entries[0].body))
        begun, assumed = self._begun
        if batch.log_id != begun:
            assumed = self._held.get(batch.log_id)
        if self._preparer is None:
            self._preparer = self._preparers.take()
        if assumed is None or self._preparer is None or not self._preparer.usable:
            return None
        return self._preparer.begin(batch, self._origin, assumed)

    def rest(self) -> None:
        """End the child until the next large batch."""
        if self._preparer is not None:
            self._preparer.close()
            self._preparer = None


async def _rows_of(piece: Future[Rows]) -> Rows:
    return await asyncio.wrap_future(piece)


def _audience_of_genesis(body: bytes) -> Assumed | None:
    try:
        genesis = log_pb2.Genesis.FromString(body)
    except DecodeError:
        return None
    return audience_key(genesis.audience), genesis.reader_role


def _is_row(row: object) -> bool:
    """Whether something has the form of a Packed, or is None."""
    if row is None:
        return True
    if not isinstance(row, tuple) or len(row) != 6:
        return False
    uuid, held, refusal, expires_ms, columns, keys = row
    return (
        isinstance(uuid, bytes | None)
        and isinstance(held, int)
        and (refusal is None or refusal in _REFUSALS)
        and isinstance(expires_ms, int | None)
        and isinstance(columns, tuple)
        and len(columns) == len(Columns._fields)
        and isinstance(keys, list | None)
    )


def _environment() -> dict[str, str]:
    """Without the node's settings, some of which are secret; modules come from where the node's come from."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("DIEF_")}
    return {**found, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
