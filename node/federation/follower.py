"""One follower a peer: connect, follow, verify, store, and start again after every fault.

- CONNECTING → CATCHING_UP → LIVE; ERASE_ONLY while the roster is expired or the peer is removed.
- The channel trusts only the CA bundle that the roster gives that State, so no other State's CA can answer for it (I9).
- Connections end by themselves when trust changes, certificates renew, a faulty log is due for another try, or after
  an hour; each time it goes on from what is stored (I5).
- While one batch is stored the next ones are read and prepared; they are stored in the order in which they came.
- A peer that fails costs its own follower a backoff, nothing else (I12).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
import structlog
from dief.v1 import federation_pb2, federation_pb2_grpc, operator_pb2
from sqlalchemy import Connection

from node import __version__
from node.federation import intake, receipts
from node.federation.backoff import Backoff
from node.federation.preparing import Ahead, Assumed, Pending, Preparers
from node.federation.read_ahead import ReadAhead
from node.federation.trust import LiveTrust
from node.ledger import logs
from node.ledger.checkpoint import Ed25519NoteVerifier, open_checkpoint, trust_domain
from node.ledger.errors import LedgerError, LogDivergedError, LogEvidenceError
from node.ledger.evidence import judge, rewritten_root
from node.ledger.ingest import Source
from node.ops.clock import now_ms
from node.ops.counters import refused
from node.ops.tasks import end
from node.store.engine import Store

CONNECTION_SECONDS = 3600
SILENCE_SECONDS = 60
FAULT_RETRY_SECONDS = 2.0
SHORTEST_REST_SECONDS = 0.2
MAX_FRAME_BYTES = 4 << 20
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
]
RETRYABLE = (grpc.RpcError, OSError, TimeoutError)

State: TypeAlias = "operator_pb2.PeerState.ValueType"
log = structlog.get_logger(__name__)

Credentials = Callable[[str], grpc.ChannelCredentials]
"""Channel credentials towards a State: its bundle as the only root, this node's certificate."""


@dataclass(slots=True)
class Progress:
    """How replication from one peer stands."""

    state: State = operator_pb2.PEER_STATE_CONNECTING
    last_contact_ms: int = 0
    last_error: str = ""
    software: str = ""
    lag: dict[bytes, int] = field(default_factory=dict)


class Follower:
    """Follows one peer until it is cancelled."""

    def __init__(
        self,
        *,
        peer: str,
        own_state: str,
        federation: str,
        store: Store,
        trust: LiveTrust,
        credentials: Credentials,
        on_roster: Callable[[str, int], None],
        on_current: Callable[[tuple[int, ...]], None],
        backup_horizon_days: int | None,
        preparers: Preparers,
    ) -> None:
        self.peer = peer
        self.progress = Progress()
        self._own_state = own_state
        self._federation = federation
        self._store = store
        self._trust = trust
        self._credentials = credentials
        self._on_roster = on_roster
        self._on_current = on_current
        self._horizon = backup_horizon_days
        self._preparers = preparers
        self._backoff = Backoff()
        self._faults: dict[bytes, tuple[Backoff, float]] = {}
        self._receipts_due = asyncio.Event()
        self._shown = asyncio.Event()
        self._log = log.bind(peer=peer)

    def wake_receipts(self) -> None:
        """Receipts that this follower owes may have become sendable."""
        self._receipts_due.set()

    def peer_shown(self) -> None:
        """The peer has called this node, so it is there: waiting longer to call it makes no sense."""
        self._shown.set()

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            changed = self._trust.changed
            self._shown.clear()
            try:
                await self._session()
                delay = 0.0 if changed.is_set() else self._backoff.next()
            except RETRYABLE as error:
                delay = self._backoff.next()
                self.progress.last_error = _describe(error)
                self._log.info("peer_unreachable", error=self.progress.last_error, retry_s=round(delay, 1))
            self.progress.state = operator_pb2.PEER_STATE_CONNECTING
            if delay:
                await self._rest(delay)

    async def _rest(self, seconds: float) -> None:
        """Wait; shorter where trust changes or the peer calls."""
        changed = asyncio.create_task(self._trust.changed.wait())
        shown = asyncio.create_task(self._shown.wait())
        try:
            await asyncio.wait({changed}, timeout=min(seconds, SHORTEST_REST_SECONDS))
            if not changed.done():
                await asyncio.wait(
                    {changed, shown},
                    timeout=max(0.0, seconds - SHORTEST_REST_SECONDS),
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            await end(changed, shown)

    async def _session(self) -> None:
        view = self._trust.state.view
        participant = None if view is None else view.participant(self.peer)
        if view is None or participant is None or not participant.endpoints:
            self.progress.last_error = "The roster names no endpoint of this State."
            await self._trust.changed.wait()
            return
        changed = self._trust.changed
        endpoint = participant.endpoints[0]
        source = Source(
            federation=self._federation,
            own_state=self._own_state,
            origin=self.peer,
            verifiers=tuple(
                Ed25519NoteVerifier(trust_domain(self._federation, self.peer), key.public_key)
                for key in view.log_keys(self.peer)
            ),
        )
        async with grpc.aio.secure_channel(
            endpoint, self._credentials(self.peer), CHANNEL_OPTIONS
        ) as channel:
            stub: federation_pb2_grpc.FederationServiceAsyncStub = federation_pb2_grpc.FederationServiceStub(
                channel
            )
            sender = asyncio.create_task(self._send_receipts(stub))
            reader = asyncio.create_task(self._read(stub, source))
            over = asyncio.create_task(self._until_over(changed))
            try:
                done, _ = await asyncio.wait({sender, reader, over}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                await end(sender, reader, over)

    async def _until_over(self, changed: asyncio.Event) -> None:
        """Return when this connection should be made anew."""
        deadline = time.monotonic() + CONNECTION_SECONDS
        while True:
            now = time.monotonic()
            due = min([retry_at for _, retry_at in self._faults.values() if retry_at > now], default=deadline)
            wait = min(due, deadline) - now
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, 1.0) if wait > 0 else 0.01):
                    await changed.wait()
                return
            if time.monotonic() >= deadline or any(
                now < retry_at <= time.monotonic() for _, retry_at in self._faults.values()
            ):
                return

    async def _read(self, stub: federation_pb2_grpc.FederationServiceAsyncStub, source: Source) -> None:
        request, assumed = await self._store.run_read(self._request)
        ahead = Ahead(self._preparers, self.peer, assumed)
        call = stub.Follow(request)
        skipped: set[bytes] = set()

        async def read() -> object:
            async with asyncio.timeout(SILENCE_SECONDS):
                frame = await call.read()
            if isinstance(frame, federation_pb2.FollowResponse):
                self.progress.last_contact_ms = now_ms()
            return frame

        def begin(frame: object) -> Pending | None:
            if not isinstance(frame, federation_pb2.FollowResponse) or not frame.HasField("batch"):
                return None
            return None if frame.batch.log_id in skipped else ahead.begin(frame.batch)

        frames = ReadAhead(read, begin)
        try:
            while True:
                frame, pending = await frames.next()
                if not isinstance(frame, federation_pb2.FollowResponse):
                    code = await call.code()
                    if code is not grpc.StatusCode.OK:
                        raise OSError(f"{code.name}: {await call.details()}")
                    return
                if frame.HasField("caught_up"):
                    ahead.rest()
                await self._handle(stub, source, request, frame, pending, skipped)
        finally:
            await frames.close()
            ahead.rest()

    async def _handle(
        self,
        stub: federation_pb2_grpc.FederationServiceAsyncStub,
        source: Source,
        request: federation_pb2.FollowRequest,
        frame: federation_pb2.FollowResponse,
        pending: Pending | None,
        skipped: set[bytes],
    ) -> None:
        match frame.WhichOneof("frame"):
            case "hello":
                await self._hello(frame.hello, request.erasures_only)
            case "prelude":
                await self._take(stub, source, frame.prelude.log_id, frame.prelude, None, skipped)
            case "batch":
                await self._take(stub, source, frame.batch.log_id, frame.batch, pending, skipped)
            case "log_error":
                skipped.add(frame.log_error.log_id)
                refused.inc(f"PEER_{frame.log_error.reason[:40]}")
                self._log.warning("log_error_from_peer", reason=frame.log_error.reason[:40])
            case "caught_up":
                self._backoff.reset()
                if not request.erasures_only:
                    self.progress.state = operator_pb2.PEER_STATE_LIVE
                self._store.release_memory()
                self._log.info("caught_up")
            case _:
                pass

    def _request(self, conn: Connection) -> tuple[federation_pb2.FollowRequest, dict[bytes, Assumed]]:
        """Where this node stands in each log, and for whom each is."""
        view = self._trust.state.view
        request = federation_pb2.FollowRequest(
            roster_version=0 if view is None else view.version,
            erasures_only=view is None or view.expired(now_ms()),
            software=__version__,
        )
        assumed = {}
        for held in logs.load_all(conn, origin=self.peer):
            if held.state.stopped:
                continue
            assumed[held.log_id] = (held.audience_key, held.reader_role)
            request.cursors.add(
                log_id=held.log_id,
                size=held.size,
                checkpoint_size=held.checkpoint_size,
                checkpoint_time_ms=held.checkpoint_ms,
            )
        return request, assumed

    async def _hello(self, hello: federation_pb2.Hello, erasures_only: bool) -> None:
        self.progress.last_error = ""
        self.progress.software = hello.software[:64]
        self.progress.state = (
            operator_pb2.PEER_STATE_ERASE_ONLY if erasures_only else operator_pb2.PEER_STATE_CATCHING_UP
        )
        contact = self.progress.last_contact_ms
        await self._store.run_write(
            lambda conn: intake.note_contact(conn, self.peer, contact, self.progress.software)
        )
        view = self._trust.state.view
        if view is None or hello.roster_version > view.version:
            self._on_roster(self.peer, hello.roster_version)
        self._receipts_due.set()

    async def _take(
        self,
        stub: federation_pb2_grpc.FederationServiceAsyncStub,
        source: Source,
        log_id: bytes,
        frame: federation_pb2.Batch | federation_pb2.Prelude,
        pending: Pending | None,
        skipped: set[bytes],
    ) -> None:
        if log_id in skipped:
            if pending is not None:
                pending.drop()
            return
        try:
            if isinstance(frame, federation_pb2.Batch):
                ready = None if pending is None else await pending.take(frame)
                taken = await self._store.run_write(
                    lambda conn: intake.take_batch(conn, source, frame, now_ms(), ready)
                )
            else:
                taken = await self._store.run_write(
                    lambda conn: intake.take_prelude(conn, source, frame, now_ms())
                )
        except LogDivergedError as error:
            await self._stop_log(log_id, await self._judge(stub, source, log_id, error), skipped)
            return
        except LedgerError as error:
            await self._stop_log(log_id, error, skipped)
            return
        self._faults.pop(log_id, None)
        if taken.owing:
            self._receipts_due.set()
        if taken.erased:
            await self._scrub()
        if taken.current:
            self._on_current(taken.current)

    async def _scrub(self) -> None:
        before = now_ms()
        if await self._store.run_scrub():
            await self._store.run_write(lambda conn: receipts.mark_scrubbed(conn, before))
            self._receipts_due.set()

    async def _stop_log(self, log_id: bytes, error: LedgerError, skipped: set[bytes]) -> None:
        skipped.add(log_id)
        refused.inc(error.reason)
        self._log.error("log_stopped", log=log_id.hex()[:16], reason=error.reason, detail=error.diagnosis)
        await self._store.run_write(lambda conn: intake.note_fault(conn, log_id, error, now_ms()))
        backoff, _ = self._faults.get(log_id, (Backoff(FAULT_RETRY_SECONDS, 300), 0.0))
        retry_at = float("inf") if isinstance(error, LogEvidenceError) else time.monotonic() + backoff.next()
        self._faults[log_id] = (backoff, retry_at)
        if isinstance(error, LogEvidenceError):
            self.progress.state = operator_pb2.PEER_STATE_QUARANTINED

    async def _judge(
        self,
        stub: federation_pb2_grpc.FederationServiceAsyncStub,
        source: Source,
        log_id: bytes,
        error: LogDivergedError,
    ) -> LedgerError:
        """Ask the origin for the proof that makes a divergence evidence (I4); without it, it stays a fault."""
        names = {"federation": self._federation, "origin": self.peer, "log_id": log_id}
        try:
            held = open_checkpoint(error.held_note, source.verifiers, **names)  # type: ignore[arg-type]
            new = open_checkpoint(error.new_note, source.verifiers, **names)  # type: ignore[arg-type]
            proof = await self._proof(stub, log_id, new.size, consistency_from=held.size)
            other_root = error.other_root
            if other_root is None and error.next_leaf is not None:
                path = await self._proof(stub, log_id, new.size, inclusion_of=held.size)
                other_root = rewritten_root(held, new, error.next_leaf, path)
        except (grpc.RpcError, LedgerError):
            return error
        return judge(held, new, proof, other_root) or error

    @staticmethod
    async def _proof(
        stub: federation_pb2_grpc.FederationServiceAsyncStub, log_id: bytes, size: int, **what: int
    ) -> list[bytes]:
        request = federation_pb2.GetProofRequest(log_id=log_id, tree_size=size, **what)
        answer = await stub.GetProof(request, timeout=30)
        return list(answer.proof)

    async def _send_receipts(self, stub: federation_pb2_grpc.FederationServiceAsyncStub) -> None:
        while True:
            await self._receipts_due.wait()
            self._receipts_due.clear()
            while True:
                keys, request = await self._store.run_read(
                    lambda conn: receipts.sendable(conn, self.peer, self._horizon)
                )
                if not keys:
                    break
                await stub.SendReceipts(request, timeout=60)
                await self._store.run_write(lambda conn, keys=keys: receipts.sent(conn, keys))  # type: ignore[misc]


def _describe(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {(error.details() or '')[:200]}"
    return f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__
