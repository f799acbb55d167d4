"""Fetching newer rosters: any peer may hand one on, the signatures alone decide (design: Trust).

- One fetch at a time, and one waiting a peer, however often it says that it holds a newer one (I11).
- Two rosters of one version, both signed, are the gravest thing that can happen to the federation: the first one
  stays, an alarm rises, and both are kept as files that anybody can check (`dief roster verify`). Where a peer's
  newer roster follows another one than is trusted here, the peer is asked for that other one, to have it in hand.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import structlog
from dief.v1 import federation_pb2, federation_pb2_grpc
from dief.v1.roster_pb2 import RosterEnvelope
from sqlalchemy import Connection

from node import audit
from node.federation.follower import CHANNEL_OPTIONS, Credentials
from node.federation.session import Stub, code_of
from node.federation.trust import LiveTrust
from node.identity import dsse, pem, roster, trust_store
from node.identity.errors import IdentityError, RosterDigestError, RosterForkError
from node.ops.clock import now_ms
from node.ops.counters import refused
from node.ops.failures import failure
from node.store.engine import Store

FETCH_SECONDS = 20
MOST_EVIDENCE_FILES = 32
log = structlog.get_logger(__name__)


class RosterFetcher:
    """Fetches versions that a peer says it holds."""

    def __init__(self, store: Store, trust: LiveTrust, credentials: Credentials, evidence: Path) -> None:
        """Fetch nothing yet.

        Args:
            store: Where trusted rosters are.
            trust: Told of a new one.
            credentials: Towards a State.
            evidence: Folder for forked rosters, made when needed.
        """
        self._store = store
        self._trust = trust
        self._credentials = credentials
        self._evidence = evidence
        self._lock = asyncio.Lock()
        self._fetching: dict[str, asyncio.Task[None]] = {}

    def wanted(self, peer: str, version: int) -> None:
        """A peer holds a newer roster; fetch it in the background."""
        if peer not in self._fetching:
            task = asyncio.create_task(self._fetch(peer, version))
            self._fetching[peer] = task
            task.add_done_callback(lambda _: self._fetching.pop(peer))

    async def _fetch(self, peer: str, version: int) -> None:
        async with self._lock:
            view = self._trust.state.view
            participant = None if view is None else view.participant(peer)
            if view is None or view.version >= version or participant is None or not participant.endpoints:
                return
            try:
                async with grpc.aio.secure_channel(
                    participant.endpoints[0], self._credentials(peer), CHANNEL_OPTIONS
                ) as channel:
                    stub: Stub = federation_pb2_grpc.FederationServiceStub(channel)
                    try:
                        await self._take(stub, peer, view.version)
                    except RosterDigestError:
                        await self._take(stub, peer, view.version - 1)
                        raise
            except grpc.RpcError as error:
                log.info("roster_fetch_failed", peer=peer, error=code_of(error))
            except IdentityError as error:
                refused.inc(error.reason)
                log.error("roster_refused", peer=peer, reason=error.reason, detail=error.diagnosis)
            except Exception as error:  # noqa: BLE001 - the next word of a newer roster tries again
                refused.inc("ROSTER_FETCH_FAILED")
                log.error("roster_fetch_failed", peer=peer, **failure(error))

    async def _take(self, stub: Stub, peer: str, after_version: int) -> None:
        """Fetch what comes after a version, trust it and tell.

        Raises:
            RosterError: A rule is broken; nothing of the answer is trusted.
        """
        request = federation_pb2.GetRosterRequest(after_version=after_version)
        answer = await stub.GetRoster(request, timeout=FETCH_SECONDS)
        offered: list[RosterEnvelope] = []

        def write(conn: Connection) -> None:
            for envelope in answer.envelopes:
                offered.append(envelope)
                held = self._trust.state.view
                version = trust_store.update(conn, envelope, now_ms()).version
                if held is not None and version > held.version:
                    audit.record(
                        conn,
                        actor="node",
                        action=audit.AuditAction.ROSTER_TRUSTED,
                        subject=f"version {version}",
                        detail={"from": peer},
                    )

        try:
            await self._store.run_write(write)
        except RosterForkError:
            held = await self._store.run_read(trust_store.newest_envelope)
            keep_forked(self._evidence, *([] if held is None else [held]), offered[-1])
            raise
        await self._trust.refresh_if_changed()


def keep_forked(folder: Path, *envelopes: RosterEnvelope) -> None:
    """Keep rosters of one version as files that are named by version and digest; what is there already stays."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for envelope in envelopes:
            version, digest = roster.parse(envelope).version, roster.digest_of(envelope)
            path = folder / f"roster-{version}-{digest.hex()[:16]}.json"
            if not path.exists() and len(list(folder.iterdir())) < MOST_EVIDENCE_FILES:
                pem.write_atomic(path, dsse.to_json(envelope))
            log.error("roster_fork_kept", version=version, digest=digest.hex(), file=path.name)
    except OSError as error:
        log.error("roster_fork_not_kept", error=error.strerror)
