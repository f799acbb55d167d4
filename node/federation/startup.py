"""Start-up comparison: before its first signature a node asks the members of its logs what they hold of them.

Signing is paused until every own log is settled. Members that do not answer are asked again, at once when trust
changes and every half minute, so that a member that comes up later settles what waits. See node.ledger.startup for the
rules and node.ledger.recover for learning entries back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import grpc
import structlog
from dief.v1 import federation_pb2, federation_pb2_grpc
from sqlalchemy import Connection

from node import audit
from node.alerts import project
from node.federation.follower import CHANNEL_OPTIONS, Credentials
from node.federation.peers import followable
from node.federation.trust import LiveTrust
from node.identity.errors import IdentityError
from node.ledger import logs
from node.ledger.anchor import Anchor
from node.ledger.checkpoint import Checkpoint, NoteVerifier, open_checkpoint
from node.ledger.errors import LedgerError
from node.ledger.ingest import Source
from node.ledger.recover import bury, close_lost, learn_back, root_at
from node.ledger.startup import Decision, Finding, MemberMemory, Memories, decide
from node.ledger.writer import LogWriter
from node.ops.clock import now_ms
from node.store.engine import Store

ASK_SECONDS = 5
FETCH_SECONDS = 30
RETRY_SECONDS = 30

log = structlog.get_logger(__name__)
Held = dict[bytes, tuple[int, Checkpoint]]


class StartupComparison:
    """Settles every own log, then lets the writer sign."""

    def __init__(
        self,
        *,
        store: Store,
        writer: LogWriter,
        anchor: Anchor,
        trust: LiveTrust,
        credentials: Credentials,
        own_state: str,
        federation: str,
        verifier: NoteVerifier,
        on_settled: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._writer = writer
        self._anchor = anchor
        self._trust = trust
        self._credentials = credentials
        self._own = Source(federation, own_state, own_state, (verifier,))
        self._on_settled = on_settled
        writer.pause("The start-up comparison with the members of the own logs is not done yet.")

    async def run(self) -> None:
        """Compare again and again until everything is settled."""
        while True:
            changed = self._trust.changed
            if await self.compare():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await changed.wait()

    async def compare(self) -> bool:
        """Ask, decide, learn back, close; whether signing goes on."""
        answers = await self._ask_all()
        findings = await self._store.run_read(lambda conn: self._decide(conn, answers))
        learnt = [
            await self._learn(log_id, finding.learn_from)
            for log_id, finding in findings.items()
            if finding.decision is Decision.LEARN_BACK
        ]
        if any(learnt):
            findings = await self._store.run_read(lambda conn: self._decide(conn, answers))
        waiting = [
            each.reason for each in findings.values() if each.decision in (Decision.WAIT, Decision.LEARN_BACK)
        ]
        await self._store.run_write(lambda conn: self._close(conn, findings, Decision.LOST))
        if waiting:
            self._writer.pause(waiting[0])
            log.warning("signing_waits", logs=len(waiting), reason=waiting[0])
            return False
        await self._go_on()
        return True

    async def resume(self, actor: str, reason: str) -> list[bytes]:
        """An operator's word: go on from what the database holds; logs that it lacks signed entries of are closed.

        Returns:
            Ids of the logs that were closed as lost.
        """
        answers = await self._ask_all()
        findings = await self._store.run_read(lambda conn: self._decide(conn, answers))

        def write(conn: Connection) -> list[bytes]:
            closed = self._close(conn, findings, Decision.LOST, Decision.LEARN_BACK)
            closed += self._bury(conn, findings, Decision.WAIT)
            closed += self._close_behind_anchor(conn)
            audit.record(
                conn,
                actor=actor,
                action=audit.AuditAction.SIGNING_RESUMED,
                purpose=reason,
                detail={"closed": len(closed)},
            )
            return closed

        closed = await self._store.run_write(write)
        await self._go_on()
        return closed

    async def _go_on(self) -> None:
        self._writer.resume()
        await self._store.run_write(self._writer.anchor_held)
        self._on_settled()
        log.info("signing_allowed")

    # -- asking ----------------------------------------------------------------------------------------------------

    async def _ask_all(self) -> dict[str, Held | None]:
        """What each followable peer holds of own logs; None for those that did not answer."""
        peers = sorted(followable(self._trust.state, self._own.own_state))
        answers = await asyncio.gather(*(self._ask(peer) for peer in peers))
        return dict(zip(peers, answers, strict=True))

    async def _ask(self, peer: str) -> Held | None:
        try:
            async with self._channel(peer) as channel:
                stub: federation_pb2_grpc.FederationServiceAsyncStub = (
                    federation_pb2_grpc.FederationServiceStub(channel)
                )
                answer = await stub.CompareCheckpoints(
                    federation_pb2.CompareCheckpointsRequest(all_of_caller=True), timeout=ASK_SECONDS
                )
        except (grpc.RpcError, IdentityError, OSError):
            return None
        held: Held = {}
        for each in answer.logs:
            with suppress(LedgerError):
                held[each.log_id] = (each.size, self._opened(each.log_id, each.checkpoint))
        return held

    def _opened(self, log_id: bytes, note: bytes) -> Checkpoint:
        return open_checkpoint(
            note,
            self._own.verifiers,
            federation=self._own.federation,
            origin=self._own.origin,
            log_id=log_id,
        )

    def _channel(self, peer: str) -> grpc.aio.Channel:
        view = self._trust.state.view
        participant = None if view is None else view.participant(peer)
        if participant is None or not participant.endpoints:
            raise OSError("the roster names no endpoint")
        return grpc.aio.secure_channel(participant.endpoints[0], self._credentials(peer), CHANNEL_OPTIONS)

    # -- deciding --------------------------------------------------------------------------------------------------

    def _decide(self, conn: Connection, answers: dict[str, Held | None]) -> dict[bytes, Finding]:
        held = {each.log_id: each for each in logs.load_all(conn, own=True) if not each.state.stopped}
        stopped = {each.log_id for each in logs.load_all(conn, own=True) if each.state.stopped}
        known = set(held) | set(self._anchor.all())
        for answer in answers.values():
            known |= set(answer or ())
        return {
            log_id: decide(self._memories(conn, log_id, held.get(log_id), answers))
            for log_id in sorted(known - stopped)
        }

    def _memories(
        self, conn: Connection, log_id: bytes, held: logs.HeldLog | None, answers: dict[str, Held | None]
    ) -> Memories:
        anchored = self._anchor.get(log_id)
        members = [state for state in (held.members if held else answers) if state != self._own.own_state]
        found = []
        for state, answer in answers.items():
            if answer is not None and log_id in answer:
                size, checkpoint = answer[log_id]
                found.append(
                    MemberMemory(
                        state,
                        size,
                        checkpoint.size,
                        self._agrees(conn, held, checkpoint.size, checkpoint.root),
                    )
                )
        return Memories(
            database_size=-1 if held is None else held.size,
            anchor=anchored,
            anchor_agrees=None
            if anchored is None
            else self._agrees(conn, held, anchored.size, anchored.root),
            anchor_remembered=0 if held is None else held.anchored_size,
            others=members,
            answers=found,
            silent=[state for state in members if answers.get(state) is None],
        )

    def _agrees(self, conn: Connection, held: logs.HeldLog | None, size: int, root: bytes) -> bool | None:
        found = None if held is None else root_at(conn, held, size)
        return None if found is None else found == root

    # -- carrying out ----------------------------------------------------------------------------------------------

    async def _learn(self, log_id: bytes, peer: str) -> bool:
        """Fetch what the database lacks of one own log from a member; whether all of it came."""
        try:
            async with self._channel(peer) as channel:
                stub: federation_pb2_grpc.FederationServiceAsyncStub = (
                    federation_pb2_grpc.FederationServiceStub(channel)
                )
                while True:
                    size = await self._store.run_read(lambda conn: _size(conn, log_id))
                    answer = await stub.GetEntries(
                        federation_pb2.GetEntriesRequest(log_id=log_id, first_seq=size), timeout=FETCH_SECONDS
                    )
                    if not answer.batch.entries:
                        return True
                    await self._store.run_write(lambda conn, batch=answer.batch: self._store_own(conn, batch))  # type: ignore[misc]
        except (grpc.RpcError, IdentityError, LedgerError, OSError) as error:
            log.warning("learning_back_failed", peer=peer, error=type(error).__name__)
            return False

    def _store_own(self, conn: Connection, batch: federation_pb2.Batch) -> None:
        project.apply(conn, learn_back(conn, self._own, batch, now_ms()))

    def _close(self, conn: Connection, findings: dict[bytes, Finding], *decisions: Decision) -> list[bytes]:
        closed = []
        for log_id, finding in findings.items():
            held = logs.load(conn, log_id)
            if finding.decision in decisions and held is not None and not held.state.stopped:
                close_lost(conn, held, finding.reason)
                closed.append(log_id)
                log.error("own_log_lost", log=log_id.hex()[:16], reason=finding.reason)
        return closed + self._bury(conn, findings, *decisions)

    def _bury(self, conn: Connection, findings: dict[bytes, Finding], *decisions: Decision) -> list[bytes]:
        """Own logs that are only known by name: the next start must not wait for them again."""
        buried = []
        for log_id, finding in findings.items():
            if finding.decision in decisions and logs.load(conn, log_id) is None:
                bury(conn, self._own.own_state, log_id, finding.reason)
                buried.append(log_id)
                log.error("own_log_lost", log=log_id.hex()[:16], reason=finding.reason)
        return buried

    def _close_behind_anchor(self, conn: Connection) -> list[bytes]:
        closed = []
        for held in logs.load_all(conn, own=True):
            anchored = self._anchor.get(held.log_id)
            if not held.state.stopped and anchored is not None and anchored.size > held.size:
                close_lost(
                    conn, held, "An operator decided to go on without signed entries that are missing here."
                )
                closed.append(held.log_id)
        return closed


def _size(conn: Connection, log_id: bytes) -> int:
    held = logs.load(conn, log_id)
    return 0 if held is None else held.size
