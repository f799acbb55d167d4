"""The one who writes this State's own logs: append = sign = store, in one transaction.

- The audience decides the log: one log an audience, its members fixed at opening. When the audience gains an admitted
  member, the log is closed by its last entry and the next epoch opens (I2: membership never grows).
- Time and size of checkpoints never go back, also where the clock does (see `resign`); a checkpoint leaves only after
  it is committed and anchored (`may_leave`).
- An erasure of an entry in another own log becomes an ERASURE entry there, in the same transaction; only a log that
  was closed for lost state is erased into from its successor.
- Nothing is signed before the start-up comparison allows it (`pause`, `resume`), and nothing ever on top of a log
  that the anchor knows further than the database: a node never forks itself.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dief.v1 import handling_pb2, log_pb2
from sqlalchemy import Connection

from node.ledger import logs, storing
from node.ledger.anchor import Anchor, Anchored
from node.ledger.checkpoint import NoteSigner, sign_checkpoint
from node.ledger.errors import AnchorError, EntryTooLargeError, LogClosedError, SigningPausedError
from node.ledger.events import Applied, NewEvent
from node.ledger.header import make_header
from node.ledger.state import EPOCH_CLOSED, ERASURE, GENESIS, MAX_BODY_SIZE, SALT_SIZE, LogState, audience_key
from node.ops.clock import now_ms, to_timestamp
from node.store.engine import after_commit, waiting_for_commit

Members = Callable[[handling_pb2.Audience], tuple[str, ...]]
"""Members that a log of this audience would have now, sorted, the own State included."""

MAX_ERASES_AN_ENTRY = 1000
AHEAD_TOLERANCE_MS = 60_000
"""A checkpoint further ahead of the clock than this was signed while the clock ran ahead."""


class LogWriter:
    """Appends to the own logs. Every method takes the caller's write transaction and commits nothing itself."""

    def __init__(
        self,
        *,
        federation: str,
        origin: str,
        signer: NoteSigner,
        anchor: Anchor,
        members: Members,
        clock: Callable[[], int] = now_ms,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._federation = federation
        self._origin = origin
        self._signer = signer
        self._anchor = anchor
        self._members = members
        self._clock = clock
        self._monotonic = monotonic
        self._signed: dict[bytes, float] = {}
        self._listeners: list[Callable[[frozenset[bytes]], None]] = []
        self._paused = ""
        self._erasures = 0

    @property
    def paused(self) -> str:
        """Why nothing may be signed, in words; empty where it may."""
        return self._paused

    def pause(self, why: str) -> None:
        """Sign nothing until `resume`."""
        self._paused = why

    def resume(self) -> None:
        """Sign again."""
        self._paused = ""

    @property
    def erasures(self) -> int:
        """How often own entries were erased since the start: the store has to be scrubbed when it grew (I6)."""
        return self._erasures

    def subscribe(self, listener: Callable[[frozenset[bytes]], None]) -> None:
        """Have `listener` called with the ids of logs that grew, once what they grew by may leave."""
        self._listeners.append(listener)

    def may_leave(self, log_id: bytes, checkpoint_size: int) -> bool:
        """Whether a stored checkpoint is anchored, so that it may be sent."""
        anchored = self._anchor.get(log_id)
        return anchored is not None and anchored.size >= checkpoint_size

    def append(
        self, conn: Connection, audience: handling_pb2.Audience, events: Sequence[NewEvent]
    ) -> Applied:
        """Append events to the log of an audience, opening it or its next epoch where needed.

        Args:
            conn: Write transaction.
            audience: The originator's choice.
            events: In order. Their `erases` may name any own log.

        Raises:
            SigningPausedError: The start-up comparison has not allowed signing.
            EntryTooLargeError: A body is over 512 KiB; nothing was appended.
        """
        self._check(events)
        log = self._current(conn, audience)
        here: list[NewEvent] = []
        elsewhere: dict[bytes, list[int]] = defaultdict(list)
        for event in events:
            kept = []
            for target, position in event.erases:
                if target in (b"", log.log_id):
                    kept.append((b"", position))
                    continue
                other = logs.load(conn, target)
                if other is not None and other.state is LogState.LOST:
                    kept.append((target, position))
                else:
                    elsewhere[target].append(position)
            here.append(replace(event, erases=tuple(kept)))
        parts = [self._append(conn, log, here)]
        for target, positions in elsewhere.items():
            parts.append(self.erase(conn, target, positions))
        return _joined(parts)

    def append_to(self, conn: Connection, log_id: bytes, events: Sequence[NewEvent]) -> Applied:
        """Append erasing events to one own log, whether it is closed or not.

        Raises:
            LogClosedError: The log is not an own one that takes such entries, or an event erases nothing.
            SigningPausedError: See `append`.
        """
        self._check(events)
        found = logs.load(conn, log_id)
        if found is None or not found.own or found.state.stopped:
            raise LogClosedError("This log takes no entries.")
        log = logs.load_locked(conn, found.pk)
        if not all(event.erases for event in events):
            raise LogClosedError("Only erasing entries can be appended to a given log.")
        return self._append(conn, log, events)

    def erase(self, conn: Connection, log_id: bytes, positions: Sequence[int]) -> Applied:
        """Append ERASURE entries for positions of one own log."""
        ordered = sorted(positions)
        events = [
            NewEvent(
                kind=ERASURE,
                erases=tuple((b"", seq) for seq in ordered[start : start + MAX_ERASES_AN_ENTRY]),
            )
            for start in range(0, len(ordered), MAX_ERASES_AN_ENTRY)
        ]
        return self.append_to(conn, log_id, events)

    def resign(self, conn: Connection, older_than_ms: int) -> int:
        """Sign every own log again whose checkpoint is older than a moment, so that silence is not mistaken.

        After a clock that ran ahead was set right, checkpoints are younger than now. Their age then counts from the
        last signing by the monotonic clock, and each new one is a millisecond later than the one before: followers
        see that the log is alive, and time never goes back.

        Returns:
            How many were signed.
        """
        if self._paused:
            return 0
        signed = 0
        now = self._clock()
        for found in logs.load_all(conn, own=True):
            if found.state.stopped or not self._is_old(found, older_than_ms, now):
                continue
            log = logs.load_locked(conn, found.pk)
            if not self._behind_anchor(log):
                self._sign(conn, log, at_least=log.checkpoint_ms + 1)
                signed += 1
        return signed

    def _is_old(self, log: logs.HeldLog, older_than_ms: int, now: int) -> bool:
        if log.checkpoint_ms <= now + AHEAD_TOLERANCE_MS:
            return log.checkpoint_ms < older_than_ms
        signed = self._signed.get(log.log_id)
        return signed is None or self._monotonic() - signed > (now - older_than_ms) / 1000

    def anchor_held(self, conn: Connection) -> None:
        """Anchor what the database holds of own logs where the anchor lacks it, so that it may leave."""
        lacking = {}
        for log in logs.load_all(conn, own=True):
            held = self._anchor.get(log.log_id)
            if not log.state.stopped and (held is None or held.size < log.checkpoint_size):
                lacking[log.log_id] = Anchored(log.checkpoint_size, log.checkpoint_root, log.checkpoint_ms)
        self._publish(conn, lacking)

    def close_epoch(self, conn: Connection, log: logs.HeldLog) -> Applied:
        """Append the last content entry; from then on the log takes erasing entries only."""
        applied = self._append(conn, log, [NewEvent(kind=EPOCH_CLOSED)])
        log.state = LogState.CLOSED
        log.save(conn)
        return applied

    def _check(self, events: Sequence[NewEvent]) -> None:
        if self._paused:
            raise SigningPausedError(self._paused)
        for event in events:
            if event.body is not None and len(event.body) > MAX_BODY_SIZE:
                raise EntryTooLargeError(f"A body has {len(event.body)} bytes; 524288 is the limit.")

    def _current(self, conn: Connection, audience: handling_pb2.Audience) -> logs.HeldLog:
        key = audience_key(audience)
        members = self._members(audience)
        found = logs.newest_epoch(conn, key)
        if found is None:
            return self._open(conn, audience, members, None)
        newest = logs.load_locked(conn, found.pk)
        if newest.state in (LogState.LIVE, LogState.INCOMPLETE):
            if set(members) <= set(newest.members):
                return newest
            self.close_epoch(conn, newest)
        return self._open(conn, audience, members, newest)

    def _open(
        self,
        conn: Connection,
        audience: handling_pb2.Audience,
        members: tuple[str, ...],
        previous: logs.HeldLog | None,
    ) -> logs.HeldLog:
        genesis = log_pb2.Genesis(
            federation=self._federation,
            origin=self._origin,
            audience=audience,
            members=members,
            reader_role=audience.reader_role,
            epoch=1 if previous is None else previous.epoch + 1,
            salt=os.urandom(SALT_SIZE),
            opened_at=to_timestamp(self._clock()),
        )
        if previous is not None:
            genesis.previous.log_id = previous.log_id
            genesis.previous.checkpoint = previous.checkpoint
            genesis.previous.lost_state = previous.state is LogState.LOST
        body = genesis.SerializeToString(deterministic=True)
        log = logs.create(
            conn,
            log_id=hashlib.sha256(body).digest(),
            origin=self._origin,
            own=True,
            audience_key=audience_key(audience),
            members=members,
            reader_role=audience.reader_role,
            epoch=genesis.epoch,
        )
        self._append(conn, log, [NewEvent(kind=GENESIS, body=body)])
        return log

    def _append(self, conn: Connection, log: logs.HeldLog, events: Sequence[NewEvent]) -> Applied:
        if self._behind_anchor(log):
            raise SigningPausedError("The anchor file knows a later signature of this log than the database.")
        now = max(self._clock(), log.checkpoint_ms)
        entries = []
        for seq, event in enumerate(events, log.size):
            salt = os.urandom(SALT_SIZE)
            facts = make_header(log.log_id, seq, event, salt, now)
            entries.append(storing.NewEntry(facts, None if event.body is None else salt, event.body))
        subtrees = log.tree.extend([entry.facts.leaf for entry in entries])
        applied = storing.store(conn, log, entries, subtrees, now)
        log.size = log.tree.size
        self._sign(conn, log)
        if applied.erased:
            after_commit(conn, self._note_erasure)
        return applied

    def _note_erasure(self) -> None:
        self._erasures += 1

    def _behind_anchor(self, log: logs.HeldLog) -> bool:
        anchored = self._anchor.get(log.log_id)
        if anchored is None or anchored.size < log.checkpoint_size:
            return False
        return anchored.size > log.checkpoint_size or anchored.root != log.checkpoint_root

    def _sign(self, conn: Connection, log: logs.HeldLog, at_least: int = 0) -> None:
        checkpoint = sign_checkpoint(
            self._signer,
            federation=self._federation,
            origin=self._origin,
            log_id=log.log_id,
            size=log.size,
            root=log.tree.root(),
            time_ms=max(self._clock(), log.checkpoint_ms, at_least),
        )
        log.checkpoint = checkpoint.note
        log.checkpoint_size = checkpoint.size
        log.checkpoint_root = checkpoint.root
        log.checkpoint_ms = log.verified_ms = checkpoint.time_ms
        anchored = self._anchor.get(log.log_id)
        log.anchored_size = 0 if anchored is None else anchored.size
        log.save(conn)
        self._publish(conn, {log.log_id: Anchored(checkpoint.size, checkpoint.root, checkpoint.time_ms)})

    def _publish(self, conn: Connection, signed: dict[bytes, Anchored]) -> None:
        """Anchor and announce once the transaction is on disk: one line a log, however often it was signed."""
        waiting = waiting_for_commit(conn, _Publication)
        if waiting is None:
            waiting = _Publication(self._published)
            after_commit(conn, waiting)
        waiting.signed.update(signed)

    def _published(self, signed: dict[bytes, Anchored]) -> None:
        if not signed:
            return
        self._signed.update(dict.fromkeys(signed, self._monotonic()))
        try:
            self._anchor.put(signed)
        except OSError as error:
            self.pause(f"The anchor file can not be written ({error.strerror}); nothing more is signed.")
            return
        except AnchorError as error:
            self.pause(error.diagnosis)
            return
        for listener in self._listeners:
            listener(frozenset(signed))


@dataclass(frozen=True)
class _Publication:
    """What becomes of one transaction's signatures after its commit."""

    publish: Callable[[dict[bytes, Anchored]], None]
    signed: dict[bytes, Anchored] = field(default_factory=dict)

    def __call__(self) -> None:
        self.publish(self.signed)


def _joined(parts: Sequence[Applied]) -> Applied:
    return Applied(
        tuple(entry for part in parts for entry in part.stored),
        tuple(erased for part in parts for erased in part.erased),
    )
