"""Fetching newer rosters: any peer may hand one on, the signatures alone decide (design: Trust)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import structlog
from dief.v1 import federation_pb2, federation_pb2_grpc
from sqlalchemy import Connection

from node import audit
from node.federation.follower import CHANNEL_OPTIONS, Credentials
from node.federation.trust import LiveTrust
from node.identity import trust_store
from node.identity.errors import IdentityError
from node.ops.clock import now_ms
from node.ops.counters import refused
from node.store.engine import Store

FETCH_SECONDS = 20
log = structlog.get_logger(__name__)


class RosterFetcher:
    """Fetches versions that a peer says it holds, one fetch at a time."""

    def __init__(self, store: Store, trust: LiveTrust, credentials: Credentials) -> None:
        self._store = store
        self._trust = trust
        self._credentials = credentials
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def wanted(self, peer: str, version: int) -> None:
        """A peer holds a newer roster; fetch it in the background."""
        task = asyncio.create_task(self._fetch(peer, version))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, peer: str, version: int) -> None:
        async with self._lock:
            view = self._trust.state.view
            if view is None or view.version >= version:
                return
            participant = view.participant(peer)
            if participant is None or not participant.endpoints:
                return
            try:
                async with grpc.aio.secure_channel(
                    participant.endpoints[0], self._credentials(peer), CHANNEL_OPTIONS
                ) as channel:
                    stub: federation_pb2_grpc.FederationServiceAsyncStub = (
                        federation_pb2_grpc.FederationServiceStub(channel)
                    )
                    answer = await stub.GetRoster(
                        federation_pb2.GetRosterRequest(after_version=view.version), timeout=FETCH_SECONDS
                    )
                if not answer.envelopes:
                    return
                await self._store.run_write(self._taking(answer, peer))
            except grpc.RpcError as error:
                log.info("roster_fetch_failed", peer=peer, error=type(error).__name__)
                return
            except IdentityError as error:
                refused.inc(error.reason)
                log.error("roster_refused", peer=peer, reason=error.reason, detail=error.diagnosis)
                return
            await self._trust.refresh_if_changed()

    def _taking(self, answer: federation_pb2.GetRosterResponse, peer: str) -> Callable[[Connection], None]:
        def take(conn: Connection) -> None:
            for envelope in answer.envelopes:
                version = trust_store.update(conn, envelope, now_ms()).version
                audit.record(
                    conn,
                    actor="node",
                    action=audit.AuditAction.ROSTER_TRUSTED,
                    subject=f"version {version}",
                    detail={"from": peer},
                )

        return take
