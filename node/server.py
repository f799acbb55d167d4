"""The composition root: settings become stores, listeners, followers and timers, and stop in order.

Nothing is wired anywhere else. One event loop carries both listeners and all followers; writes go through one thread.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import grpc
import structlog
from dief.v1 import (
    desk_pb2,
    desk_pb2_grpc,
    federation_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection
from sqlalchemy import Connection

from node import audit
from node.alerts.upkeep import reproject
from node.federation import receipts
from node.federation.expiry import erase_expired
from node.federation.feed import Feed
from node.federation.follower import Follower
from node.federation.peers import Peers
from node.federation.preparing import Preparers
from node.federation.rosters import RosterFetcher
from node.federation.startup import StartupComparison
from node.federation.trust import LiveTrust
from node.identity.credentials import NationalCredentials, NodeCredentials
from node.identity.errors import NoRosterError
from node.identity.pem import read_ed25519_key
from node.identity.renewal import Renewer, way_of
from node.ledger.anchor import Anchor
from node.ledger.checkpoint import Ed25519NoteSigner, Ed25519NoteVerifier, trust_domain
from node.ledger.writer import LogWriter
from node.ops.clock import now_ms
from node.ops.counters import refused
from node.ops.errors import DiefError
from node.ops.failures import failure
from node.ops.settings import Settings
from node.ops.tasks import end
from node.release import Policy, ReleaseDesk, forget_content
from node.services.desk import DeskServicer
from node.services.federation import FederationServicer, News
from node.services.guard import FederationGuard, NationalGuard
from node.services.limits import Limits
from node.services.operator import NodeFacts, OperatorServicer
from node.services.ranges import RangeTrail
from node.services.registry import RegistryServicer
from node.store.engine import Store
from node.store.migrations import migrate
from node.watch.keeper import WatchKeeper

RESIGN_EVERY_S = 300
RESIGN_OLDER_THAN_MS = 3_600_000 - 300_000
SCRUB_EVERY_S = 1
TRUST_POLL_S = 5
RENEWAL_EVERY_S = 600
EXPIRY_EVERY_S = 60
POLICY_EVERY_S = 2
REPROJECT_AT_ONCE = 200
AGAIN_S = 5
"""After a job failed that should never end."""
DRAIN_SECONDS = 5
COLLECT_AFTER = (50_000, 20, 20)
"""Garbage collection is rarer than Python's default: batches make many objects at once and no cycles."""
MAX_MESSAGE_BYTES = 8 << 20
SERVER_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_concurrent_streams", 64),
    ("grpc.so_reuseport", 0),
]

log = structlog.get_logger(__name__)


class Node:
    """One running node: `start`, then `stop`."""

    def __init__(self, settings: Settings) -> None:
        """Open store, keys and certificates.

        Raises:
            DiefError: A file, key or database is missing or wrong; says which, and the mend.
        """
        self._settings = settings
        state, federation = settings.state, settings.federation_name
        self._store = Store.open(settings.database_url)
        migrate(self._store)
        self._trust = LiveTrust(self._store, state)
        anchor = Anchor(settings.path(settings.log.anchor))
        signer = Ed25519NoteSigner(
            trust_domain(federation, state), read_ed25519_key(settings.path(settings.log.key))
        )
        self._writer = LogWriter(
            federation=federation,
            origin=state,
            signer=signer,
            anchor=anchor,
            members=self._trust.members,
        )
        self._feed = Feed(self._writer, self._trust)
        self._own = NodeCredentials(
            certificate=settings.path(settings.federation.certificate),
            key=settings.path(settings.federation.key),
        )
        self._national_own = NationalCredentials(
            certificate=settings.path(settings.national.certificate),
            key=settings.path(settings.national.key),
            client_ca=settings.path(settings.national.client_ca),
            crl=None if settings.national.crl is None else settings.path(settings.national.crl),
        )
        renewal = settings.federation
        self._renewer = Renewer(
            settings.path(renewal.certificate),
            settings.path(renewal.key),
            way_of(
                None
                if renewal.renewal_ca_certificate is None
                else settings.path(renewal.renewal_ca_certificate),
                None if renewal.renewal_ca_key is None else settings.path(renewal.renewal_ca_key),
                renewal.renewal_command,
            ),
        )
        policy = Policy.load(settings.path(settings.release.policy))
        self._policy_digest = policy.digest
        self._desk = ReleaseDesk(
            store=self._store,
            writer=self._writer,
            policy=policy,
            members=self._trust.members,
            own_state=state,
            now=now_ms,
        )
        self._rosters = RosterFetcher(
            self._store,
            self._trust,
            self._channel_credentials,
            evidence=settings.path(settings.log.anchor).parent / "evidence",
        )
        self._peers = Peers(own_state=state, trust=self._trust, make_follower=self._follower)
        self._startup = StartupComparison(
            store=self._store,
            writer=self._writer,
            anchor=anchor,
            trust=self._trust,
            credentials=self._channel_credentials,
            own_state=state,
            federation=federation,
            verifier=Ed25519NoteVerifier(signer.name, signer.public_key),
        )
        self._watch = WatchKeeper(store=self._store, origin_current=self._is_current, now=now_ms)
        self._limits = Limits(streams=renewal.max_streams_per_peer, calls=renewal.max_calls_per_peer)
        self._preparers = Preparers()
        self._started_ms = now_ms()
        self._scrubbed = -1
        self._policy_seen = (0, 0, 0)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen, follow and keep time."""
        settings = self._settings
        news = News(asyncio.get_running_loop())
        self._writer.subscribe(news.publish)
        self._federation = grpc.aio.server(options=SERVER_OPTIONS)
        self._peer_service = FederationServicer(
            store=self._store,
            trust=self._trust,
            guard=FederationGuard(self._trust),
            feed=self._feed,
            news=news,
            limits=self._limits,
            trail=RangeTrail(self._store),
            heartbeat_seconds=settings.federation.heartbeat_seconds,
            recheck_seconds=settings.federation.recheck_seconds,
            on_follow=self._peers.shown,
        )
        federation_pb2_grpc.add_FederationServiceServicer_to_server(self._peer_service, self._federation)
        federation_address = _bind(
            self._federation, settings.federation.listen, self._own.server(lambda: self._trust.state.view)
        )
        self._national = grpc.aio.server(options=SERVER_OPTIONS)
        national_address = _bind(self._national, settings.national.listen, self._national_own.server())
        await self._add_national_services(federation_address, national_address)
        await self._federation.start()
        await self._national.start()
        jobs: list[tuple[str, Coroutine[Any, Any, None]]] = [
            ("resign", _every(RESIGN_EVERY_S, self._resign)),
            ("scrub", _every(SCRUB_EVERY_S, self._scrub)),
            ("trust", _every(TRUST_POLL_S, self._trust.refresh_if_changed)),
            ("renewal", _every(RENEWAL_EVERY_S, self._renew)),
            ("startup", _kept(self._startup.run)),
            ("expiry", _every(EXPIRY_EVERY_S, self._expire)),
            ("policy", _every(POLICY_EVERY_S, self._adopt_policy)),
            ("reproject", _kept(self._reproject)),
            ("watch", _kept(self._watch.run)),
        ]
        if settings.federation.follow:
            jobs.append(("peers", _kept(self._peers.run)))
        self._tasks = [asyncio.create_task(job, name=name) for name, job in jobs]
        log.info(
            "node_started", state=settings.state, federation=federation_address, national=national_address
        )

    async def stop(self) -> None:
        """End followers, streams and calls; finish writes; close the store."""
        self._peer_service.end_streams()
        await end(*self._tasks)
        await asyncio.gather(self._federation.stop(DRAIN_SECONDS), self._national.stop(DRAIN_SECONDS))
        await asyncio.get_running_loop().run_in_executor(None, self._store.close)
        log.info("node_stopped")

    async def _add_national_services(self, federation_address: str, national_address: str) -> None:
        settings = self._settings
        guard = NationalGuard(
            state=settings.state,
            federation=settings.federation_name,
            ca=self._national_own.ca,
            crl=self._national_own.crl,
        )
        facts = NodeFacts(
            state=settings.state,
            federation=settings.federation_name,
            started_ms=self._started_ms,
            federation_address=federation_address,
            national_address=national_address,
            certificate_expires_ms=self._own.not_after_ms,
        )
        server = self._national
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(
            RegistryServicer(store=self._store, desk=self._desk, guard=guard), server
        )
        desk_pb2_grpc.add_DeskServiceServicer_to_server(
            DeskServicer(
                store=self._store, trust=self._trust, desk=self._desk, guard=guard, state=settings.state
            ),
            server,
        )
        operator_pb2_grpc.add_OperatorServiceServicer_to_server(
            OperatorServicer(
                facts=facts,
                store=self._store,
                trust=self._trust,
                peers=self._peers,
                writer=self._writer,
                guard=guard,
                limits=self._limits,
                resume_signing=self._startup.resume,
            ),
            server,
        )
        health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        await health.set("", health_pb2.HealthCheckResponse.SERVING)
        names = [
            desk_pb2.DESCRIPTOR.services_by_name["DeskService"].full_name,
            operator_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name,
            registry_pb2.DESCRIPTOR.services_by_name["RegistryService"].full_name,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        ]
        reflection.enable_server_reflection(names, server)

    def _follower(self, peer: str) -> Follower:
        return Follower(
            peer=peer,
            own_state=self._settings.state,
            federation=self._settings.federation_name,
            store=self._store,
            trust=self._trust,
            credentials=self._channel_credentials,
            on_roster=self._rosters.wanted,
            on_current=lambda _entries: None,
            backup_horizon_days=self._settings.log.backup_horizon_days,
            preparers=self._preparers,
        )

    def _is_current(self, origin: str) -> bool:
        """Whether nothing that an origin said is still to be read here."""
        follower = self._peers.follower(origin)
        return origin == self._settings.state or (
            follower is not None and follower.progress.state == operator_pb2.PEER_STATE_LIVE
        )

    def _channel_credentials(self, state: str) -> grpc.ChannelCredentials:
        view = self._trust.state.view
        if view is None:
            raise NoRosterError("This node trusts no roster yet.")
        return self._own.channel(view.bundle(state))

    async def _resign(self) -> None:
        await self._store.run_write(lambda conn: self._writer.resign(conn, now_ms() - RESIGN_OLDER_THAN_MS))

    async def _scrub(self) -> None:
        """Make erased bytes leave the files: own erasures, and those of peers that long readers held up."""
        erasures = self._writer.erasures
        if erasures == self._scrubbed and not await self._store.run_read(receipts.unscrubbed):
            return
        self._feed.forget_fresh()
        before = now_ms()
        if await self._store.run_scrub():
            self._scrubbed = erasures
            await self._store.run_write(lambda conn: receipts.mark_scrubbed(conn, before))
            self._peers.wake_receipts()

    async def _expire(self) -> None:
        def work(conn: Connection) -> int:
            uuids = erase_expired(conn, now_ms())
            if uuids:
                forget_content(conn, uuids)
                audit.record(
                    conn, actor="node", action=audit.AuditAction.EXPIRED, detail={"alerts": len(uuids)}
                )
            return len(uuids)

        if await self._store.run_write(work):
            self._scrubbed = -1

    async def _reproject(self) -> None:
        """Look once at what an earlier version of this program could not show (I10)."""
        after = -1
        while True:
            after, seen = await self._store.run_write(
                partial(reproject, limit=REPROJECT_AT_ONCE, after=after)
            )
            if after < 0:
                return
            log.info("reprojected", entries=REPROJECT_AT_ONCE, still_unprojected=len(seen.unprojected))

    async def _adopt_policy(self) -> None:
        """Decide by the policy file as it is now; one that is broken changes nothing and is told once."""
        path = self._settings.path(self._settings.release.policy)
        try:
            state = path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
        except OSError:
            seen = (0, 0, 0)
        if seen == self._policy_seen:
            return
        self._policy_seen = seen
        try:
            policy = await asyncio.to_thread(Policy.load, path)
        except DiefError as error:
            refused.inc("POLICY_BROKEN")
            log.error("policy_broken", reason=error.reason, mend="dief release policy-check")
            return
        if policy.digest != self._policy_digest:
            await self._store.run_write(lambda conn: self._desk.adopt(conn, policy))
            self._policy_digest = policy.digest
            log.info("policy_adopted", digest=policy.digest.hex()[:16], rules=len(policy.rules))

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        state = await loop.run_in_executor(None, lambda: self._renewer.check(now_ms()))
        if state.warning:
            log.warning("certificate", warning=state.warning)


async def serve(settings: Settings) -> None:
    """Run a node until SIGTERM or SIGINT."""
    node = Node(settings)
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    await node.start()
    await over.wait()
    await node.stop()


class ListenError(DiefError):
    """An address can not be listened on."""

    default_reason = "LISTEN"
    default_mend = "Stop what listens there, or choose another `listen` in the settings."


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> str:
    """Bind, and the address with the port that it became."""
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError:
        port = 0
    if not port:
        raise ListenError(f"{address} can not be listened on.")
    return f"{address.rpartition(':')[0]}:{port}"


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do something now and then again and again; a failure is told of and it is tried again later (I12)."""
    while True:
        await _succeeds(work)
        await asyncio.sleep(seconds)


async def _kept(work: Callable[[], Awaitable[None]]) -> None:
    """Do something until it ends by itself; after a failure it begins again."""
    while True:
        if await _succeeds(work):
            return
        await asyncio.sleep(AGAIN_S)


async def _succeeds(work: Callable[[], Awaitable[None]]) -> bool:
    try:
        await work()
    except Exception as error:  # noqa: BLE001 - whatever it is, the node goes on
        refused.inc("JOB_FAILED")
        log.error("job_failed", job=getattr(work, "__qualname__", ""), **failure(error))
        return False
    return True
