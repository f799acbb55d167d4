"""FederationService: what peers may ask. Every call authenticates anew, every stream again while it runs (I9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import grpc
import structlog
from dief.v1 import federation_pb2, federation_pb2_grpc, handling_pb2, log_pb2
from google.protobuf.message import Message

from node import __version__
from node.alerts import announce, queries
from node.federation import receipts
from node.federation.errors import LogNotFoundError
from node.federation.feed import Feed, FeedState
from node.federation.trust import LiveTrust
from node.identity.certificates import PeerIdentity
from node.identity.trust_store import envelopes_after
from node.ledger import logs, reading
from node.ledger.errors import LedgerError
from node.ledger.logs import HeldLog
from node.ledger.merkle import consistency_proof, inclusion_proof
from node.ledger.state import split_entry_id
from node.ops.clock import now_ms, to_timestamp
from node.ops.errors import DiefError
from node.ops.tasks import end
from node.services import errors
from node.services.guard import FederationGuard
from node.services.limits import Limits
from node.services.ranges import Range, RangeTrail
from node.store.engine import Store

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)
Frame = federation_pb2.FollowResponse

WRITE_SECONDS = 60
ABORT_SECONDS = 5
MAX_ROSTERS = 16
NODES = frozenset({int(handling_pb2.READER_ROLE_UNSPECIFIED), int(handling_pb2.READER_ROLE_LAW_ENFORCEMENT)})
"""Reader roles of a member's node: it holds all of a log and enforces the role at home."""

log = structlog.get_logger(__name__)


class NodeStoppingError(DiefError):
    """The node is about to end."""

    default_reason = "UNAVAILABLE"
    default_mend = "Connect again in a moment."


class News:
    """Tells streams which logs have grown; `publish` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queues: set[_Mailbox] = set()

    def publish(self, log_ids: frozenset[bytes]) -> None:
        """Wake every stream for these logs."""
        self._loop.call_soon_threadsafe(self._deliver, log_ids)

    def _deliver(self, log_ids: frozenset[bytes]) -> None:
        for mailbox in self._queues:
            mailbox.put(log_ids)

    def subscribe(self) -> _Mailbox:
        """A mailbox that collects log ids until it is closed."""
        mailbox = _Mailbox(self._queues)
        self._queues.add(mailbox)
        return mailbox


class _Mailbox:
    def __init__(self, registry: set[_Mailbox]) -> None:
        self._registry = registry
        self._ids: set[bytes] = set()
        self._event = asyncio.Event()

    def put(self, log_ids: frozenset[bytes]) -> None:
        self._ids |= log_ids
        self._event.set()

    async def take(self, timeout: float) -> set[bytes]:
        """Log ids since the last call, waiting up to `timeout` seconds; empty when there are none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()
        self._event.clear()
        ids, self._ids = self._ids, set()
        return ids

    def close(self) -> None:
        self._registry.discard(self)


class FederationServicer(federation_pb2_grpc.FederationServiceServicer):
    """Serves peers; see protos/dief/v1/federation.proto for who may call what."""

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
        self._on_follow = on_follow
        self._stopping = asyncio.Event()

    def end_streams(self) -> None:
        """End every stream, now and from now on; for a node that stops."""
        self._stopping.set()

    # -- streams -----------------------------------------------------------------------------------------------

    async def Follow(self, request: federation_pb2.FollowRequest, context: Context) -> None:  # type: ignore[override]
        await self._stream(request, context, lambda peer: self._follow(peer, request, context))

    async def WatchAlerts(  # type: ignore[override]
        self, request: federation_pb2.WatchAlertsRequest, context: Context
    ) -> None:
        await self._stream(request, context, lambda peer: self._watch(peer, request, context))

    async def _stream(
        self, request: Message, context: Context, pump: Callable[[PeerIdentity], Awaitable[None]]
    ) -> None:
        """Run a stream's pump beside the watch over its right to exist."""
        try:
            peer = self._guard.peer(
                context, erase_only_allowed=isinstance(request, federation_pb2.FollowRequest)
            )
            errors.validate(request)
            if isinstance(request, federation_pb2.FollowRequest):
                self._on_follow(peer.state)
            erase_only = isinstance(request, federation_pb2.FollowRequest) and self._guard.erase_only(
                peer.state
            )
            with self._limits.hold(peer.state, "stream"):
                task = asyncio.ensure_future(pump(peer))
                try:
                    await self._watch_over(task, peer, erase_only=erase_only)
                finally:
                    await end(task)
        except DiefError as error:
            with suppress(TimeoutError):
                async with asyncio.timeout(ABORT_SECONDS):
                    await errors.abort(context, error)

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
        with suppress(TimeoutError):
            task.result()

    async def _follow(
        self, peer: PeerIdentity, request: federation_pb2.FollowRequest, context: Context
    ) -> None:
        view = self._trust.state.view
        erasures_only = self._guard.erase_only(peer.state)
        mailbox = self._news.subscribe()
        try:
            state = self._feed.start(peer.state, request, erasures_only=erasures_only)
            hello = federation_pb2.Hello(
                roster_version=0 if view is None else view.version,
                server_time=to_timestamp(now_ms()),
                software=__version__,
            )
            await self._write(context, Frame(hello=hello))
            for frame in await self._store.run_read(lambda conn: self._feed.open_frames(conn, state)):
                await self._send(context, peer, frame)
            await self._drain(context, peer, state, None)
            await self._write(context, Frame(caught_up=federation_pb2.CaughtUp()))
            while True:
                ids = await mailbox.take(self._heartbeat)
                if ids:
                    await self._drain(context, peer, state, ids)
                else:
                    await self._drain(context, peer, state, None)
                    await self._write(context, Frame(heartbeat=_heartbeat()))
        finally:
            mailbox.close()

    async def _drain(
        self, context: Context, peer: PeerIdentity, state: FeedState, ids: set[bytes] | None
    ) -> None:
        """Send everything beyond the stream's positions, log by log."""
        for held in await self._store.run_read(lambda conn: self._feed.pending(conn, state, ids)):
            while True:
                frames, more = await self._store.run_read(lambda conn, h=held: self._next(conn, state, h))  # type: ignore[misc]
                for frame in frames:
                    await self._send(context, peer, frame)
                if not more:
                    break

    def _next(self, conn: Any, state: FeedState, held: HeldLog) -> tuple[list[Frame], bool]:
        current = self._feed.readable_log(conn, state.peer, held.log_id)
        if current is None:
            return [], False
        frames = self._feed.next_frames(conn, state, current)
        return frames, not state.erasures_only and state.cursors[held.log_id].size < current.size

    async def _send(self, context: Context, peer: PeerIdentity, frame: Frame) -> None:
        batch = frame.batch
        if batch.entries:
            await self._trail.record(
                [Range(str(peer.spiffe_id), batch.log_id, batch.first_seq, len(batch.entries), "Follow")]
            )
        await self._write(context, frame)

    async def _write(self, context: Context, message: Message) -> None:
        async with asyncio.timeout(WRITE_SECONDS):
            await context.write(message)

    async def _watch(
        self, peer: PeerIdentity, request: federation_pb2.WatchAlertsRequest, context: Context
    ) -> None:
        mailbox = self._news.subscribe()
        try:
            sizes = await self._store.run_read(
                lambda conn: {each.log_id: each.size for each in self._feed.readable_logs(conn, peer.state)}
            )
            await context.send_initial_metadata(())
            while True:
                ids = await mailbox.take(self._heartbeat)
                if not ids:
                    await self._write(context, federation_pb2.WatchAlertsResponse(heartbeat=_heartbeat()))
                for log_id in ids:
                    async for proven, seq in self._news_of(peer, request, log_id, sizes):
                        await self._trail.record([Range(str(peer.spiffe_id), log_id, seq, 1, "WatchAlerts")])
                        await self._write(context, federation_pb2.WatchAlertsResponse(entry=proven))
        finally:
            mailbox.close()

    async def _news_of(
        self,
        peer: PeerIdentity,
        request: federation_pb2.WatchAlertsRequest,
        log_id: bytes,
        sizes: dict[bytes, int],
    ) -> AsyncIterator[tuple[log_pb2.ProvenEntry, int]]:
        def read(conn: Any) -> list[tuple[log_pb2.ProvenEntry, int]]:
            held = self._feed.readable_log(conn, peer.state, log_id)
            if held is None:
                return []
            first = sizes.get(log_id, 0)
            wanted = announce.to_announce(conn, held.pk, first, held.size, request.filter)
            sizes[log_id] = held.size
            proven = ((reading.prove_entry(conn, held, seq), seq) for seq in wanted)
            return [(entry, seq) for entry, seq in proven if entry is not None]

        for each in await self._store.run_read(read):
            yield each

    # -- calls -------------------------------------------------------------------------------------------------

    async def _call(
        self,
        request: Request,
        context: Context,
        work: Callable[[Request, PeerIdentity], Awaitable[Answer]],
        *,
        erase_only_allowed: bool = False,
    ) -> Answer:
        try:
            peer = self._guard.peer(context, erase_only_allowed=erase_only_allowed)
            errors.validate(request)
            with self._limits.hold(peer.state, "call"):
                return await work(request, peer)
        except DiefError as error:
            await errors.abort(context, error)

    async def GetRoster(
        self, request: federation_pb2.GetRosterRequest, context: Context
    ) -> federation_pb2.GetRosterResponse:
        async def work(
            asked: federation_pb2.GetRosterRequest, _peer: PeerIdentity
        ) -> federation_pb2.GetRosterResponse:
            view = self._trust.state.view
            envelopes = await self._store.run_read(
                lambda conn: envelopes_after(conn, asked.after_version, MAX_ROSTERS)
            )
            return federation_pb2.GetRosterResponse(
                envelopes=envelopes, latest_version=0 if view is None else view.version
            )

        return await self._call(request, context, work, erase_only_allowed=True)

    async def GetEntries(
        self, request: federation_pb2.GetEntriesRequest, context: Context
    ) -> federation_pb2.GetEntriesResponse:
        async def work(
            asked: federation_pb2.GetEntriesRequest, peer: PeerIdentity
        ) -> federation_pb2.GetEntriesResponse:
            def read(conn: Any) -> federation_pb2.Batch:
                held = self._readable(conn, peer, asked.log_id)
                if asked.first_seq > held.size:
                    raise LogNotFoundError("The log has no such position.")
                return reading.read_batch(
                    conn, held, asked.first_seq, asked.limit or reading.MAX_BATCH_ENTRIES
                )

            batch = await self._store.run_read(read)
            await self._trail.record(
                [Range(str(peer.spiffe_id), batch.log_id, batch.first_seq, len(batch.entries), "GetEntries")]
            )
            return federation_pb2.GetEntriesResponse(batch=batch)

        return await self._call(request, context, work)

    async def GetProof(
        self, request: federation_pb2.GetProofRequest, context: Context
    ) -> federation_pb2.GetProofResponse:
        async def work(
            asked: federation_pb2.GetProofRequest, peer: PeerIdentity
        ) -> federation_pb2.GetProofResponse:
            def read(conn: Any) -> federation_pb2.GetProofResponse:
                held = self._readable(conn, peer, asked.log_id)
                size = asked.tree_size or held.checkpoint_size
                reader = reading.subtree_reader(conn, held)
                try:
                    if asked.WhichOneof("proof") == "consistency_from":
                        proof = consistency_proof(asked.consistency_from, size, reader)
                    else:
                        proof = inclusion_proof(asked.inclusion_of, size, reader)
                except (ValueError, LedgerError):
                    raise LogNotFoundError("The log has no such position or size.") from None
                return federation_pb2.GetProofResponse(proof=proof, checkpoint=held.checkpoint)

            return await self._store.run_read(read)

        return await self._call(request, context, work)

    async def CompareCheckpoints(
        self, request: federation_pb2.CompareCheckpointsRequest, context: Context
    ) -> federation_pb2.CompareCheckpointsResponse:
        async def work(
            asked: federation_pb2.CompareCheckpointsRequest, peer: PeerIdentity
        ) -> federation_pb2.CompareCheckpointsResponse:
            def read(conn: Any) -> federation_pb2.CompareCheckpointsResponse:
                held = [logs.load(conn, log_id) for log_id in asked.log_ids]
                if asked.all_of_caller:
                    held += logs.load_all(conn, origin=peer.state)
                answer = federation_pb2.CompareCheckpointsResponse()
                for each in held:
                    if each is not None and self._trust.may_hold(each, peer.state):
                        answer.logs.add(log_id=each.log_id, size=each.size, checkpoint=each.checkpoint)
                return answer

            return await self._store.run_read(read)

        return await self._call(request, context, work)

    async def SendReceipts(
        self, request: federation_pb2.SendReceiptsRequest, context: Context
    ) -> federation_pb2.SendReceiptsResponse:
        async def work(
            asked: federation_pb2.SendReceiptsRequest, peer: PeerIdentity
        ) -> federation_pb2.SendReceiptsResponse:
            new = await self._store.run_write(lambda conn: receipts.record(conn, peer.state, asked.receipts))
            return federation_pb2.SendReceiptsResponse(recorded=new)

        return await self._call(request, context, work, erase_only_allowed=True)

    async def QueryAlerts(
        self, request: federation_pb2.QueryAlertsRequest, context: Context
    ) -> federation_pb2.QueryAlertsResponse:
        async def work(
            asked: federation_pb2.QueryAlertsRequest, peer: PeerIdentity
        ) -> federation_pb2.QueryAlertsResponse:
            def read(conn: Any) -> federation_pb2.QueryAlertsResponse:
                readable = {each.pk: each for each in self._feed.readable_logs(conn, peer.state)}
                page = queries.list_in_logs(
                    conn,
                    now_ms(),
                    readable,
                    filter_=asked.filter,
                    paging=queries.Paging(asked.page_size, asked.page_token),
                )
                answer = federation_pb2.QueryAlertsResponse(next_page_token=page.next_page_token)
                for record in page.records:
                    proven = reading.prove_entry(conn, readable[record.log_pk], record.seq)
                    if proven is not None:
                        answer.alerts.append(proven)
                return answer

            answer = await self._store.run_read(read)
            await self._record_answers(peer, answer.alerts, "QueryAlerts")
            return answer

        return await self._call(request, context, work)

    async def GetAlert(
        self, request: federation_pb2.GetAlertRequest, context: Context
    ) -> federation_pb2.GetAlertResponse:
        async def work(
            asked: federation_pb2.GetAlertRequest, peer: PeerIdentity
        ) -> federation_pb2.GetAlertResponse:
            def read(conn: Any) -> federation_pb2.GetAlertResponse:
                readable = {each.pk: each for each in self._feed.readable_logs(conn, peer.state)}
                record = queries.get_alert(
                    conn, asked.name, now_ms(), reader_roles=NODES, log_pks=set(readable)
                )
                if record is None or record.log_pk not in readable:
                    raise LogNotFoundError("There is no such alert.")
                held = readable[record.log_pk]
                positions = [record.seq]
                if record.alert is not None:
                    positions += [
                        split_entry_id(part.entry_id)[1] for part in queries.list_parts(conn, record)
                    ]
                proven = [reading.prove_entry(conn, held, seq) for seq in positions]
                entries = [entry for entry in proven if entry is not None]
                return federation_pb2.GetAlertResponse(alert=entries[0], list_parts=entries[1:])

            answer = await self._store.run_read(read)
            await self._record_answers(peer, [answer.alert, *answer.list_parts], "GetAlert")
            return answer

        return await self._call(request, context, work)

    async def _record_answers(self, peer: PeerIdentity, answers: Any, what: str) -> None:
        ranges = []
        for proven in answers:
            header = log_pb2.EntryHeader.FromString(proven.entry.header)
            ranges.append(Range(str(peer.spiffe_id), header.log_id, header.seq, 1, what))
        await self._trail.record(ranges)

    def _readable(self, conn: Any, peer: PeerIdentity, log_id: bytes) -> HeldLog:
        """An own log that the peer may hold, or the peer's own log as this node holds it (it may have lost it)."""
        held = self._feed.readable_log(conn, peer.state, log_id)
        if held is None:
            held = logs.load(conn, log_id)
            if held is None or held.own or held.origin != peer.state:
                raise LogNotFoundError("There is no such log.")
        return held


def _heartbeat() -> federation_pb2.Heartbeat:
    return federation_pb2.Heartbeat(server_time=to_timestamp(now_ms()))
