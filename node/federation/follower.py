"""One follower a peer: connect, follow, verify, store, and start again after every fault.

- CONNECTING → CATCHING_UP → LIVE; ERASE_ONLY while the roster is expired or the peer is removed.
- The channel trusts only the CA bundle that the roster gives that State, so no other State's CA can answer for it (I9).
- Connections end by themselves when trust changes, certificates renew, a faulty log is due for another try, or after
  an hour; each time it goes on from what is stored (I5).
- A peer that fails costs its own follower a backoff, nothing else (I12). So does what nobody thought of: it is counted,
  told by class and place, and tried again; a follower never ends before it is cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import grpc
import structlog
from dief.v1 import federation_pb2_grpc, operator_pb2

from node.federation.backoff import Backoff
from node.federation.preparing import Preparers
from node.federation.progress import LogFaults, Progress
from node.federation.session import Session, Surroundings, code_of
from node.federation.trust import LiveTrust
from node.ledger.checkpoint import Ed25519NoteVerifier, trust_domain
from node.ledger.ingest import Source
from node.ops.counters import refused
from node.ops.errors import DiefError
from node.ops.failures import failure
from node.ops.tasks import end
from node.store.engine import Store

CONNECTION_SECONDS = 3600
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
AWAY = (grpc.RpcError, OSError, TimeoutError)

log = structlog.get_logger(__name__)

Credentials = Callable[[str], grpc.ChannelCredentials]
"""Channel credentials towards a State: its bundle as the only root, this node's certificate."""


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
        self._trust = trust
        self._credentials = credentials
        self._backoff = Backoff()
        self._faults = LogFaults()
        self._receipts_due = asyncio.Event()
        self._shown = asyncio.Event()
        self._log = log.bind(peer=peer)
        self._around = Surroundings(
            store=store,
            trust=trust,
            preparers=preparers,
            on_roster=on_roster,
            on_current=on_current,
            backup_horizon_days=backup_horizon_days,
            progress=self.progress,
            faults=self._faults,
            receipts_due=self._receipts_due,
            log=self._log,
        )

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
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the follower
                delay = self._backoff.next()
                self._failed(error, round(delay, 1))
            self.progress.state = operator_pb2.PEER_STATE_CONNECTING
            if delay:
                await self._rest(delay)

    def _failed(self, error: Exception, retry_s: float) -> None:
        """Tell the operator; logs get no text of a peer or of a library, which may carry content."""
        if isinstance(error, AWAY):
            self.progress.last_error = _describe(error)
            self._log.info("peer_unreachable", error=code_of(error), retry_s=retry_s)
        elif isinstance(error, DiefError):
            refused.inc(error.reason)
            self.progress.last_error = error.diagnosis
            self._log.warning("follower_failed", reason=error.reason, detail=error.diagnosis, retry_s=retry_s)
        else:
            refused.inc("FOLLOWER_FAILED")
            self.progress.last_error = f"This node failed ({type(error).__name__}); it tries again."
            self._log.error("follower_failed", retry_s=retry_s, **failure(error))

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
            session = asyncio.create_task(Session(stub, source, self._around, self._backoff.reset).run())
            over = asyncio.create_task(self._until_over(changed))
            try:
                done, _ = await asyncio.wait({session, over}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                await end(session, over)

    async def _until_over(self, changed: asyncio.Event) -> None:
        """Return when this connection should be made anew."""
        deadline = time.monotonic() + CONNECTION_SECONDS
        while True:
            now = time.monotonic()
            due = min(self._faults.next_after(now), deadline)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(max(due - now, 0.01), 1.0)):
                    await changed.wait()
                return
            if time.monotonic() >= min(self._faults.next_after(now), deadline):
                return


def _describe(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {(error.details() or '')[:200]}"
    return f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__
