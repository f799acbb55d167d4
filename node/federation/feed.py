"""What a peer is sent, in which order: erasures, then backlog, then live (design: Wire, Follow).

- Only own logs whose genesis names the peer and that it still may hold; the rest does not exist for it (I2).
- Preludes of a log bring headers beyond the cursor that erase something before it, as many frames as they need.
- Backlog goes log by log, logs with IMMEDIATE alerts first; within a log in order of seq.
- Only stored and anchored checkpoints leave.
- A log that this node has ended as lost gives what it still has; then the caller is told that it goes on no more.
- Every range is in the audit trail before it is sent (I8).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from dief.v1 import federation_pb2, log_pb2
from sqlalchemy import Connection

from node.alerts.announce import immediate_logs
from node.federation.errors import CursorAheadError
from node.federation.trust import LiveTrust
from node.ledger import logs, reading
from node.ledger.state import LogState
from node.ledger.writer import LogWriter

Frame = federation_pb2.FollowResponse
FRESH_BATCHES = 256
LOG_STOPPED = "LOG_STOPPED"


@dataclass(slots=True)
class Cursor:
    """How far one log has been sent on one stream."""

    size: int = 0
    checkpoint_ms: int = 0
    erasures_from: int = 0


@dataclass(slots=True)
class FeedState:
    """One stream's position in every log.

    Attributes:
        peer: The caller.
        erasures_only: Whether it is told of nothing but erasures.
        cursors: How far each log was sent.
        held: What the caller has of each.
        ended: Logs that it was told go on no more.
        diverged: Those of them that it holds more of than this node.
    """

    peer: str
    erasures_only: bool
    cursors: dict[bytes, Cursor] = field(default_factory=dict)
    held: dict[bytes, int] = field(default_factory=dict)
    ended: set[bytes] = field(default_factory=set)
    diverged: set[bytes] = field(default_factory=set)


class Feed:
    """Makes frames for peers from the store. Methods take a snapshot and are called on reader threads or inline."""

    def __init__(self, writer: LogWriter, trust: LiveTrust) -> None:
        self._writer = writer
        self._trust = trust
        self._fresh: dict[tuple[bytes, int, bytes], federation_pb2.Batch] = {}

    def start(self, peer: str, request: federation_pb2.FollowRequest, *, erasures_only: bool) -> FeedState:
        """Positions of a new stream, from the caller's cursors."""
        state = FeedState(peer, erasures_only or request.erasures_only)
        for cursor in request.cursors:
            state.cursors[cursor.log_id] = Cursor(cursor.size, cursor.checkpoint_time_ms, cursor.size)
            state.held[cursor.log_id] = cursor.size
        return state

    def open(self, conn: Connection, state: FeedState) -> tuple[list[Frame], list[bytes]]:
        """Begin a stream: forget cursors that are of no log of this node's.

        Returns:
            Errors of logs that the caller holds more of than this node, and the logs to send preludes of.
        """
        own = {log.log_id for log in logs.load_all(conn, own=True) if self._trust.may_hold(log, state.peer)}
        state.cursors = {log_id: cursor for log_id, cursor in state.cursors.items() if log_id in own}
        state.held = {log_id: size for log_id, size in state.held.items() if log_id in own}
        frames = []
        named = []
        for log in self._readable(conn, state):
            cursor = state.cursors.get(log.log_id)
            if cursor is None:
                continue
            if cursor.size > log.size:
                error = CursorAheadError("The caller holds more than the origin.")
                state.diverged.add(log.log_id)
                frames.append(_ended(state, log, error.reason, error.diagnosis))
            elif cursor.size < log.checkpoint_size:
                named.append(log.log_id)
        return frames, named

    def stopped(self, conn: Connection, state: FeedState) -> list[Frame]:
        """Errors of logs that this node has ended as lost, once all that it has of them was sent; each once."""
        return [
            _ended(state, log, LOG_STOPPED, "Its origin lost its state; the next epoch goes on.")
            for log in logs.load_all(conn, own=True)
            if log.state is LogState.LOST
            and log.log_id in state.cursors
            and log.log_id not in state.ended
            and self._trust.may_hold(log, state.peer)
            and not (self._may_leave(log, state.peer) and self._has_news(state, log))
        ]

    def whole_again(self, conn: Connection, state: FeedState) -> bool:
        """Whether a log that the caller held more of has all of it again, so that a new stream can go on with it."""
        return any(
            log is not None and log.size >= state.cursors[log.log_id].size
            for log in (logs.load(conn, log_id) for log_id in state.diverged)
        )

    def next_prelude(self, conn: Connection, state: FeedState, log: logs.HeldLog) -> list[Frame]:
        """The next prelude of one log, and advance the stream's position behind it; empty where none is left."""
        cursor = state.cursors[log.log_id]
        preludes = reading.read_preludes(conn, log, cursor.erasures_from, state.held, frames=1)
        if not preludes:
            cursor.erasures_from = log.checkpoint_size
            return []
        last = log_pb2.EntryHeader.FromString(preludes[-1].headers[-1].header)
        cursor.erasures_from = last.seq + 1
        return [Frame(prelude=prelude) for prelude in preludes]

    def pending(
        self, conn: Connection, state: FeedState, among: Collection[bytes] | None = None
    ) -> list[logs.HeldLog]:
        """Logs with something to send beyond the stream's positions, logs with IMMEDIATE alerts first.

        Args:
            conn: Snapshot.
            state: The stream.
            among: Only these logs; None = all.
        """
        found = [
            log
            for log in self._readable(conn, state)
            if (among is None or log.log_id in among) and self._has_news(state, log)
        ]
        if len(found) > 1:
            urgent = immediate_logs(conn, [log.pk for log in found])
            found.sort(key=lambda log: log.pk not in urgent)
        return found

    def next_frames(self, conn: Connection, state: FeedState, log: logs.HeldLog) -> list[Frame]:
        """The next batch of one log, and advance the stream's position; an erase-only stream gets preludes."""
        if state.erasures_only:
            return self.next_prelude(conn, state, log)
        cursor = state.cursors.setdefault(log.log_id, Cursor())
        batch = self._batch(conn, log, cursor.size)
        cursor.size += len(batch.entries)
        state.held[log.log_id] = cursor.size
        if cursor.size >= log.checkpoint_size:
            cursor.checkpoint_ms = log.checkpoint_ms
        return [Frame(batch=batch)]

    def _batch(self, conn: Connection, log: logs.HeldLog, first_seq: int) -> federation_pb2.Batch:
        if log.size - first_seq > reading.MAX_BATCH_ENTRIES // 10:
            return reading.read_batch(conn, log, first_seq)
        key = (log.log_id, first_seq, log.checkpoint)
        batch = self._fresh.get(key)
        if batch is None:
            batch = reading.read_batch(conn, log, first_seq)
            while len(self._fresh) >= FRESH_BATCHES:
                self._fresh.pop(next(iter(self._fresh)), None)
            self._fresh[key] = batch
        return batch

    def forget_fresh(self) -> None:
        """Drop cached batches, after an erasure: a cache must not outlive what it holds (I6)."""
        self._fresh.clear()

    def readable_log(self, conn: Connection, peer: str, log_id: bytes) -> logs.HeldLog | None:
        """One own log, if the peer may be sent anything of it."""
        log = logs.load(conn, log_id)
        if log is None or not log.own or not self._may_leave(log, peer):
            return None
        return log

    def readable_logs(self, conn: Connection, peer: str) -> list[logs.HeldLog]:
        """Every own log that the peer may be sent something of."""
        return [log for log in logs.load_all(conn, own=True) if self._may_leave(log, peer)]

    def _readable(self, conn: Connection, state: FeedState) -> Iterable[logs.HeldLog]:
        for log in self.readable_logs(conn, state.peer):
            if log.log_id not in state.ended and not (
                state.erasures_only and log.log_id not in state.cursors
            ):
                yield log

    def _may_leave(self, log: logs.HeldLog, peer: str) -> bool:
        return self._trust.may_hold(log, peer) and self._writer.may_leave(log.log_id, log.checkpoint_size)

    def _has_news(self, state: FeedState, log: logs.HeldLog) -> bool:
        cursor = state.cursors.get(log.log_id)
        if cursor is None:
            return True
        if state.erasures_only:
            return cursor.erasures_from < log.checkpoint_size
        return cursor.size < log.size or cursor.checkpoint_ms < log.checkpoint_ms


def _ended(state: FeedState, log: logs.HeldLog, reason: str, message: str) -> Frame:
    """Tell that a log goes on no more on this stream."""
    state.ended.add(log.log_id)
    return Frame(log_error=federation_pb2.LogError(log_id=log.log_id, reason=reason, message=message))
