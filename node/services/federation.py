"""FederationService: what peers may ask. Every call authenticates anew, every stream again while it runs (I9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from dief.v1 import federation_pb2, federation_pb2_grpc, handling_pb2, log_pb2
from google.protobuf.message import Message
from sqlalchemy import Connection

from node.alerts import queries
from node.federation import receipts
from node.federation.errors import LogNotFoundError
from node.federation.feed import Feed
from node.federation.trust import LiveTrust
from node.identity.certificates import PeerIdentity
from node.identity.trust_store import envelopes_after
from node.ledger import logs, reading
from node.ledger.errors import LedgerError
from node.ledger.logs import HeldLog
from node.ledger.merkle import consistency_proof, inclusion_proof
from node.ops.clock import now_ms
from node.services import calls, pages, parts
from node.services.guard import FederationGuard
from node.services.limits import Limits
from node.services.news import News as News
from node.services.ranges import Range, RangeTrail
from node.services.streams import Streams
from node.store.engine import Store

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)
T = TypeVar("T")

WRITE_SECONDS = 60
MAX_ROSTERS = 16
MAX_PAGE_BYTES = 2 << 20
"""Of a page of alerts or list parts; a client's limit for a message is 4 MiB by default."""
NODES = frozenset({int(handling_pb2.READER_ROLE_UNSPECIFIED), int(handling_pb2.READER_ROLE_LAW_ENFORCEMENT)})
"""Reader roles of a member's node: it holds all of a log and enforces the role at home."""


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
        write_seconds: float = WRITE_SECONDS,
        on_follow: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._trust = trust
        self._guard = guard
        self._feed = feed
        self._limits = limits
        self._trail = trail
        self._streams = Streams(
            store=store,
            trust=trust,
            guard=guard,
            feed=feed,
            news=news,
            limits=limits,
            trail=trail,
            heartbeat_seconds=heartbeat_seconds,
            recheck_seconds=recheck_seconds,
            write_seconds=write_seconds,
            on_follow=on_follow,
        )

    def end_streams(self) -> None:
        """End every stream, now and from now on; for a node that stops."""
        self._streams.end()

    async def Follow(self, request: federation_pb2.FollowRequest, context: Context) -> None:  # type: ignore[override]
        await self._streams.follow(request, context)

    async def WatchAlerts(  # type: ignore[override]
        self, request: federation_pb2.WatchAlertsRequest, context: Context
    ) -> None:
        await self._streams.watch(request, context)

    async def _call(
        self,
        request: Request,
        context: Context,
        work: Callable[[Request, PeerIdentity], Awaitable[Answer]],
        *,
        erase_only_allowed: bool = False,
    ) -> Answer:
        return await calls.answer(
            request,
            context,
            lambda: self._guard.peer(context, erase_only_allowed=erase_only_allowed),
            work,
            lambda peer: self._limits.hold(peer.state, "call"),
        )

    async def _read(self, peer: PeerIdentity, work: Callable[[Connection], T]) -> T:
        return await self._limits.turn(peer.state, "read", lambda: self._store.run_read(work))

    async def GetRoster(
        self, request: federation_pb2.GetRosterRequest, context: Context
    ) -> federation_pb2.GetRosterResponse:
        async def work(
            asked: federation_pb2.GetRosterRequest, peer: PeerIdentity
        ) -> federation_pb2.GetRosterResponse:
            view = self._trust.state.view
            envelopes = await self._read(
                peer, lambda conn: envelopes_after(conn, asked.after_version, MAX_ROSTERS)
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
            def read(conn: Connection) -> federation_pb2.Batch:
                held = self._readable(conn, peer, asked.log_id)
                if asked.first_seq > held.size:
                    raise LogNotFoundError("The log has no such position.")
                return reading.read_batch(
                    conn, held, asked.first_seq, asked.limit or reading.MAX_BATCH_ENTRIES
                )

            batch = await self._read(peer, read)
            if batch.entries:
                sent = Range(
                    str(peer.spiffe_id), batch.log_id, batch.first_seq, len(batch.entries), "GetEntries"
                )
                await self._trail.record([sent])
            return federation_pb2.GetEntriesResponse(batch=batch)

        return await self._call(request, context, work)

    async def GetProof(
        self, request: federation_pb2.GetProofRequest, context: Context
    ) -> federation_pb2.GetProofResponse:
        async def work(
            asked: federation_pb2.GetProofRequest, peer: PeerIdentity
        ) -> federation_pb2.GetProofResponse:
            def read(conn: Connection) -> federation_pb2.GetProofResponse:
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

            return await self._read(peer, read)

        return await self._call(request, context, work)

    async def CompareCheckpoints(
        self, request: federation_pb2.CompareCheckpointsRequest, context: Context
    ) -> federation_pb2.CompareCheckpointsResponse:
        async def work(
            asked: federation_pb2.CompareCheckpointsRequest, peer: PeerIdentity
        ) -> federation_pb2.CompareCheckpointsResponse:
            def read(conn: Connection) -> federation_pb2.CompareCheckpointsResponse:
                held = [logs.load(conn, log_id) for log_id in asked.log_ids]
                if asked.all_of_caller:
                    held += logs.load_all(conn, origin=peer.state)
                answer = federation_pb2.CompareCheckpointsResponse()
                for each in held:
                    if each is not None and self._trust.may_hold(each, peer.state):
                        answer.logs.add(log_id=each.log_id, size=each.size, checkpoint=each.checkpoint)
                return answer

            return await self._read(peer, read)

        return await self._call(request, context, work)

    async def SendReceipts(
        self, request: federation_pb2.SendReceiptsRequest, context: Context
    ) -> federation_pb2.SendReceiptsResponse:
        async def work(
            asked: federation_pb2.SendReceiptsRequest, peer: PeerIdentity
        ) -> federation_pb2.SendReceiptsResponse:
            new = await self._limits.turn(
                peer.state,
                "write",
                lambda: self._store.run_write(lambda conn: receipts.record(conn, peer.state, asked.receipts)),
            )
            return federation_pb2.SendReceiptsResponse(recorded=new)

        return await self._call(request, context, work, erase_only_allowed=True)

    async def QueryAlerts(
        self, request: federation_pb2.QueryAlertsRequest, context: Context
    ) -> federation_pb2.QueryAlertsResponse:
        async def work(
            asked: federation_pb2.QueryAlertsRequest, peer: PeerIdentity
        ) -> federation_pb2.QueryAlertsResponse:
            def read(conn: Connection) -> federation_pb2.QueryAlertsResponse:
                readable = {each.pk: each for each in self._feed.readable_logs(conn, peer.state)}
                return pages.query(conn, readable, asked, now_ms(), MAX_PAGE_BYTES)

            answer = await self._read(peer, read)
            await self._record_answers(peer, answer.alerts, "QueryAlerts")
            return answer

        return await self._call(request, context, work)

    async def GetAlert(
        self, request: federation_pb2.GetAlertRequest, context: Context
    ) -> federation_pb2.GetAlertResponse:
        async def work(
            asked: federation_pb2.GetAlertRequest, peer: PeerIdentity
        ) -> federation_pb2.GetAlertResponse:
            def read(conn: Connection) -> federation_pb2.GetAlertResponse:
                readable = {each.pk: each for each in self._feed.readable_logs(conn, peer.state)}
                record = queries.get_alert(
                    conn, asked.name, now_ms(), reader_roles=NODES, log_pks=set(readable)
                )
                if record is None or record.log_pk not in readable:
                    raise LogNotFoundError("There is no such alert.")
                return parts.answer(conn, readable[record.log_pk], record, asked.page_token, MAX_PAGE_BYTES)

            answer = await self._read(peer, read)
            alert = [answer.alert] if answer.HasField("alert") else []
            await self._record_answers(peer, [*alert, *answer.list_parts], "GetAlert")
            return answer

        return await self._call(request, context, work)

    async def _record_answers(self, peer: PeerIdentity, answers: Any, what: str) -> None:
        ranges = []
        for proven in answers:
            header = log_pb2.EntryHeader.FromString(proven.entry.header)
            ranges.append(Range(str(peer.spiffe_id), header.log_id, header.seq, 1, what))
        await self._trail.record(ranges)

    def _readable(self, conn: Connection, peer: PeerIdentity, log_id: bytes) -> HeldLog:
        """An own log that the peer may hold, or the peer's own log as this node holds it (it may have lost it)."""
        held = self._feed.readable_log(conn, peer.state, log_id)
        if held is None:
            held = logs.load(conn, log_id)
            if held is None or held.own or held.origin != peer.state:
                raise LogNotFoundError("There is no such log.")
        return held
