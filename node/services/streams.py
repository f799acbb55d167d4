"""The streams of FederationService: what is pumped, and the watch over each stream's right to exist (I9).

- A stream is authorised when it opens, at each change of trust and every few seconds.
- One frame at a time is read, recorded and written, so that a client that does not read costs one frame, and loses its
  stream after a minute (I11).
- What the roster lets only erase is told of erasures and of nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import grpc
from dief.v1 import federation_pb2, log_pb2
from google.protobuf.message import Message
from sqlalchemy import Connection

from node import __version__
from node.alerts import announce
from node.federation.errors import StalledStreamError
from node.federation.feed import Feed, FeedState
from node.federation.trust import LiveTrust
from node.identity.certificates import PeerIdentity
from node.ledger import reading
from node.ledger.logs import HeldLog
from node.ops.clock import now_ms, to_timestamp
from node.ops.errors import DiefError
from node.ops.tasks import end
from node.services import calls, errors
from node.services.guard import FederationGuard
from node.services.limits import Limits
from node.services.news import News
from node.services.ranges import Range, RangeTrail
from node.store.engine import Store

Context = grpc.aio.ServicerContext[Any, Any]
Frame = federation_pb2.FollowResponse
T = TypeVar("T")

ABORT_SECONDS = 5


class NodeStoppingError(DiefError):
    """The node is about to end."""

    default_reason = "UNAVAILABLE"
    default_mend = "Connect again in a moment."


FRAMES_PER_READ = 256
"""Frames without entries that one look into the store may give."""


class Streams:
    """Runs Follow and WatchAlerts."""

    def __init__(
        self,
        *,
        store: Store,
        trust: LiveTrust,
        guard: FederationGuard,
        feed: Feed,
        news: News,
        limits: Limits,
        trail: RangeTrail,
        heartbeat_seconds: float,
        recheck_seconds: float,
        write_seconds: float,
        on_follow: Callable[[str], None],
    ) -> None:
        self._store = store
        self._trust = trust
        self._guard = guard
        self._feed = feed
        self._news = news
        self._limits = limits
        self._trail = trail
        self._heartbeat = heartbeat_seconds
        self._recheck = recheck_seconds
        self._write_seconds = write_seconds
        self._on_follow = on_follow
        self._stopping = asyncio.Event()

    def end(self) -> None:
        """End every stream, now and from now on; for a node that stops."""
        self._stopping.set()

    async def follow(self, request: federation_pb2.FollowRequest, context: Context) -> None:
        """Serve Follow until the client goes or may go on no more."""
        await self._run(
            request, context, lambda peer: self._follow(peer, request, context), erase_only_allowed=True
        )

    async def watch(self, request: federation_pb2.WatchAlertsRequest, context: Context) -> None:
        """Serve WatchAlerts, likewise."""
        await self._run(
            request, context, lambda peer: self._watch(peer, request, context), erase_only_allowed=False
        )

    async def _run(
        self,
        request: Message,
        context: Context,
        pump: Callable[[PeerIdentity], Awaitable[None]],
        *,
        erase_only_allowed: bool,
    ) -> None:
        """Run a stream's pump beside the watch over its right to exist."""
        try:
            peer = self._guard.peer(context, erase_only_allowed=erase_only_allowed)
            with self._limits.hold(peer.state, "stream"):
                await calls.check(request)
                if isinstance(request, federation_pb2.FollowRequest):
                    self._on_follow(peer.state)
                erase_only = erase_only_allowed and self._guard.erase_only(peer.state)
                task = asyncio.ensure_future(pump(peer))
                try:
                    await self._watch_over(task, peer, erase_only=erase_only)
                finally:
                    await end(task)
        except grpc.aio.InternalError:
            return  # The client is gone: nobody is left to be told anything.
        except Exception as error:  # noqa: BLE001 - gRPC would show the text of what is not caught here
            told = errors.told(error, request.DESCRIPTOR.name)
            with suppress(TimeoutError):
                async with asyncio.timeout(ABORT_SECONDS):
                    await errors.abort(context, told)

    async def _watch_over(self, task: asyncio.Future[Any], peer: PeerIdentity, *, erase_only: bool) -> None:
        while not task.done():
            changed = asyncio.ensure_future(self._trust.changed.wait())
            stopping = asyncio.ensure_future(self._stopping.wait())
            try:
                await asyncio.wait(
                    {task, changed, stopping}, timeout=self._recheck, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                await end(changed, stopping)
            if self._stopping.is_set():
                raise NodeStoppingError("This node stops.")
            if not task.done():
                self._guard.recheck(peer, erase_only=erase_only)
                if erase_only and not self._guard.erase_only(peer.state):
                    return
        task.result()

    # -- Follow ------------------------------------------------------------------------------------------------

    async def _follow(
        self, peer: PeerIdentity, request: federation_pb2.FollowRequest, context: Context
    ) -> None:
        view = self._trust.state.view
        mailbox = self._news.subscribe()
        try:
            state = self._feed.start(peer.state, request, erasures_only=self._guard.erase_only(peer.state))
            hello = federation_pb2.Hello(
                roster_version=0 if view is None else view.version,
                server_time=to_timestamp(now_ms()),
                software=__version__,
            )
            await self._write(context, Frame(hello=hello))
            await self._open(context, peer, state)
            await self._drain(context, peer, state, None)
            await self._write(context, Frame(caught_up=federation_pb2.CaughtUp()))
            while True:
                ids = await mailbox.take(self._heartbeat)
                if state.diverged and await self._whole_again(peer, state):
                    return
                if ids:
                    await self._drain(context, peer, state, ids)
                else:
                    await self._drain(context, peer, state, None)
                    await self._write(context, Frame(heartbeat=_heartbeat()))
        finally:
            mailbox.close()

    async def _whole_again(self, peer: PeerIdentity, state: FeedState) -> bool:
        return await self._read(peer, lambda conn: self._feed.whole_again(conn, state))

    async def _open(self, context: Context, peer: PeerIdentity, state: FeedState) -> None:
        """Send errors of logs that can not go on, and the erasures of all others."""
        frames, named = await self._read(peer, lambda conn: self._feed.open(conn, state))
        for frame in frames:
            await self._write(context, frame)
        for log_id in named:
            while frames := await self._preludes(peer, state, log_id):
                for frame in frames:
                    await self._write(context, frame)

    async def _preludes(self, peer: PeerIdentity, state: FeedState, log_id: bytes) -> list[Frame]:
        return await self._read(peer, lambda conn: self._prelude(conn, state, log_id))

    def _prelude(self, conn: Connection, state: FeedState, log_id: bytes) -> list[Frame]:
        held = self._feed.readable_log(conn, state.peer, log_id)
        return [] if held is None else self._feed.next_prelude(conn, state, held)

    async def _drain(
        self, context: Context, peer: PeerIdentity, state: FeedState, ids: set[bytes] | None
    ) -> None:
        """Send everything beyond the stream's positions, log by log, and tell of logs that have ended."""
        waiting = await self._read(peer, lambda conn: self._feed.pending(conn, state, ids))
        while waiting:
            frames, waiting = await self._read(peer, lambda conn, w=waiting: self._some(conn, state, w))  # type: ignore[misc]
            for frame in frames:
                await self._send(context, peer, frame)
        if ids is None:
            for frame in await self._read(peer, lambda conn: self._feed.stopped(conn, state)):
                await self._write(context, frame)

    def _some(
        self, conn: Connection, state: FeedState, waiting: list[HeldLog]
    ) -> tuple[list[Frame], list[HeldLog]]:
        """What is next of the first log, with that of logs before it that have been signed again and no more."""
        frames: list[Frame] = []
        for position, held in enumerate(waiting):
            found, more = self._next(conn, state, held)
            frames += found
            if more:
                return frames, waiting[position:]
            if len(frames) >= FRAMES_PER_READ or any(frame.batch.entries for frame in found):
                return frames, waiting[position + 1 :]
        return frames, []

    def _next(self, conn: Connection, state: FeedState, held: HeldLog) -> tuple[list[Frame], bool]:
        current = self._feed.readable_log(conn, state.peer, held.log_id)
        if current is None:
            return [], False
        frames = self._feed.next_frames(conn, state, current)
        cursor = state.cursors[held.log_id]
        if state.erasures_only:
            return frames, cursor.erasures_from < current.checkpoint_size
        return frames, cursor.size < current.size

    async def _send(self, context: Context, peer: PeerIdentity, frame: Frame) -> None:
        batch = frame.batch
        if batch.entries:
            await self._trail.record(
                [Range(str(peer.spiffe_id), batch.log_id, batch.first_seq, len(batch.entries), "Follow")]
            )
        await self._write(context, frame)

    # -- WatchAlerts -------------------------------------------------------------------------------------------

    async def _watch(
        self, peer: PeerIdentity, request: federation_pb2.WatchAlertsRequest, context: Context
    ) -> None:
        mailbox = self._news.subscribe()
        try:
            sizes = await self._read(
                peer,
                lambda conn: {each.log_id: each.size for each in self._feed.readable_logs(conn, peer.state)},
            )
            await context.send_initial_metadata(())
            while True:
                ids = await mailbox.take(self._heartbeat)
                if not ids:
                    await self._write(context, federation_pb2.WatchAlertsResponse(heartbeat=_heartbeat()))
                for log_id in ids:
                    await self._announce(peer, request, context, log_id, sizes)
        finally:
            mailbox.close()

    async def _announce(
        self,
        peer: PeerIdentity,
        request: federation_pb2.WatchAlertsRequest,
        context: Context,
        log_id: bytes,
        sizes: dict[bytes, int],
    ) -> None:
        """Send what is new in a log; each entry is read only when the one before has been taken."""

        def wanted(conn: Connection) -> list[int]:
            held = self._feed.readable_log(conn, peer.state, log_id)
            if held is None:
                return []
            first, sizes[log_id] = sizes.get(log_id, 0), held.size
            return announce.to_announce(conn, held.pk, first, held.size, request.filter)

        def prove(conn: Connection, seq: int) -> log_pb2.ProvenEntry | None:
            held = self._feed.readable_log(conn, peer.state, log_id)
            return None if held is None else reading.prove_entry(conn, held, seq)

        for seq in await self._read(peer, wanted):
            proven = await self._read(peer, lambda conn, seq=seq: prove(conn, seq))  # type: ignore[misc]
            if proven is not None:
                await self._trail.record([Range(str(peer.spiffe_id), log_id, seq, 1, "WatchAlerts")])
                await self._write(context, federation_pb2.WatchAlertsResponse(entry=proven))

    # -- both --------------------------------------------------------------------------------------------------

    async def _read(self, peer: PeerIdentity, work: Callable[[Connection], T]) -> T:
        return await self._limits.turn(peer.state, "read", lambda: self._store.run_read(work))

    async def _write(self, context: Context, message: Message) -> None:
        try:
            async with asyncio.timeout(self._write_seconds):
                await context.write(message)
        except TimeoutError:
            raise StalledStreamError(
                f"The stream was not read for {self._write_seconds:g} seconds."
            ) from None


def _heartbeat() -> federation_pb2.Heartbeat:
    return federation_pb2.Heartbeat(server_time=to_timestamp(now_ms()))
