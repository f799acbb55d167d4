"""OperatorService: how the node stands, whom it trusts, and the two switches that act in seconds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from dief.v1 import desk_pb2, handling_pb2, operator_pb2, operator_pb2_grpc
from google.protobuf.message import Message
from sqlalchemy import Connection, select

from node import __version__, audit
from node.alerts import counts
from node.federation.intake import PEER
from node.federation.peers import Peers, peer_state
from node.federation.trust import LiveTrust
from node.identity import trust_store
from node.identity.errors import NoRosterError
from node.identity.spiffe import Kind, SpiffeId
from node.ledger import logs
from node.ledger.logs import HeldLog
from node.ledger.writer import LogWriter
from node.ops.clock import now_ms, to_timestamp
from node.ops.counters import refused
from node.release import waiting_drafts
from node.services import calls, errors
from node.services.guard import NationalGuard
from node.services.limits import Limits
from node.store.engine import Store

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)
CURRENT = int(desk_pb2.ALERT_STANDING_CURRENT)
EVERY_READER = frozenset(
    {int(handling_pb2.READER_ROLE_UNSPECIFIED), int(handling_pb2.READER_ROLE_LAW_ENFORCEMENT)}
)
OPERATORS = frozenset({Kind.OPERATOR})
DAY_MS = 86_400_000
ROSTER_WARNING_DAYS = 14
CERTIFICATE_WARNING_DAYS = 2


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What does not change while a node runs, and a look at what does."""

    state: str
    federation: str
    started_ms: int
    federation_address: str
    national_address: str
    certificate_expires_ms: Callable[[], int]


class OperatorServicer(operator_pb2_grpc.OperatorServiceServicer):
    """Serves operators; see protos/dief/v1/operator.proto."""

    def __init__(
        self,
        *,
        facts: NodeFacts,
        store: Store,
        trust: LiveTrust,
        peers: Peers,
        writer: LogWriter,
        guard: NationalGuard,
        limits: Limits,
        resume_signing: Callable[[str, str], Awaitable[list[bytes]]],
    ) -> None:
        self._facts = facts
        self._store = store
        self._trust = trust
        self._peers = peers
        self._writer = writer
        self._guard = guard
        self._limits = limits
        self._resume_signing = resume_signing

    async def _call(
        self, request: Request, context: Context, work: Callable[[Request, SpiffeId], Awaitable[Answer]]
    ) -> Answer:
        return await calls.answer(request, context, lambda: self._guard.caller(context, OPERATORS), work)

    async def GetStatus(
        self, request: operator_pb2.GetStatusRequest, context: Context
    ) -> operator_pb2.GetStatusResponse:
        async def work(_: operator_pb2.GetStatusRequest, _caller: SpiffeId) -> operator_pb2.GetStatusResponse:
            return await self._store.run_read(self._status)

        return await self._call(request, context, work)

    async def ListPeers(
        self, request: operator_pb2.ListPeersRequest, context: Context
    ) -> operator_pb2.ListPeersResponse:
        async def work(
            asked: operator_pb2.ListPeersRequest, _caller: SpiffeId
        ) -> operator_pb2.ListPeersResponse:
            found = [
                peer for peer in await self._store.run_read(self._peer_rows) if peer.state > asked.page_token
            ]
            size = asked.page_size or 512
            more = found[size - 1].state if len(found) > size else ""
            return operator_pb2.ListPeersResponse(peers=found[:size], next_page_token=more)

        return await self._call(request, context, work)

    async def AdmitPeer(
        self, request: operator_pb2.AdmitPeerRequest, context: Context
    ) -> operator_pb2.AdmitPeerResponse:
        async def work(
            asked: operator_pb2.AdmitPeerRequest, caller: SpiffeId
        ) -> operator_pb2.AdmitPeerResponse:
            if asked.state == self._facts.state:
                raise errors.InvalidRequestError([("state", "is the own State, which needs no admission")])

            def write(conn: Connection) -> None:
                trust_store.admit(conn, asked.state, asked.trust_digest or None, str(caller))
                audit.record(
                    conn, actor=str(caller), action=audit.AuditAction.PEER_ADMITTED, subject=asked.state
                )

            await self._store.run_write(write)
            await self._trust.refresh()
            return operator_pb2.AdmitPeerResponse(peer=await self._peer(asked.state))

        return await self._call(request, context, work)

    async def DenyPeer(
        self, request: operator_pb2.DenyPeerRequest, context: Context
    ) -> operator_pb2.DenyPeerResponse:
        async def work(
            asked: operator_pb2.DenyPeerRequest, caller: SpiffeId
        ) -> operator_pb2.DenyPeerResponse:
            def write(conn: Connection) -> None:
                trust_store.deny(conn, asked.state, asked.reason, str(caller))
                audit.record(
                    conn,
                    actor=str(caller),
                    action=audit.AuditAction.PEER_DENIED,
                    subject=asked.state,
                    purpose=asked.reason,
                )

            await self._store.run_write(write)
            await self._trust.refresh()
            return operator_pb2.DenyPeerResponse(peer=await self._peer(asked.state))

        return await self._call(request, context, work)

    async def AllowPeer(
        self, request: operator_pb2.AllowPeerRequest, context: Context
    ) -> operator_pb2.AllowPeerResponse:
        async def work(
            asked: operator_pb2.AllowPeerRequest, caller: SpiffeId
        ) -> operator_pb2.AllowPeerResponse:
            def write(conn: Connection) -> None:
                trust_store.allow(conn, asked.state)
                audit.record(
                    conn, actor=str(caller), action=audit.AuditAction.PEER_ALLOWED, subject=asked.state
                )

            await self._store.run_write(write)
            await self._trust.refresh()
            return operator_pb2.AllowPeerResponse(peer=await self._peer(asked.state))

        return await self._call(request, context, work)

    async def SetFederation(
        self, request: operator_pb2.SetFederationRequest, context: Context
    ) -> operator_pb2.SetFederationResponse:
        async def work(
            asked: operator_pb2.SetFederationRequest, caller: SpiffeId
        ) -> operator_pb2.SetFederationResponse:
            def write(conn: Connection) -> None:
                trust_store.set_stopped(conn, stopped=asked.stopped)
                audit.record(
                    conn,
                    actor=str(caller),
                    action=audit.AuditAction.FEDERATION_SET,
                    subject="stopped" if asked.stopped else "started",
                    purpose=asked.reason,
                )

            await self._store.run_write(write)
            await self._trust.refresh()
            return operator_pb2.SetFederationResponse(stopped=asked.stopped)

        return await self._call(request, context, work)

    async def UpdateRoster(
        self, request: operator_pb2.UpdateRosterRequest, context: Context
    ) -> operator_pb2.UpdateRosterResponse:
        async def work(
            asked: operator_pb2.UpdateRosterRequest, caller: SpiffeId
        ) -> operator_pb2.UpdateRosterResponse:
            def write(conn: Connection) -> None:
                if asked.trust_sha256:
                    version = trust_store.trust_first(
                        conn, asked.envelope, asked.trust_sha256, now_ms()
                    ).version
                else:
                    version = trust_store.update(conn, asked.envelope, now_ms()).version
                audit.record(
                    conn,
                    actor=str(caller),
                    action=audit.AuditAction.ROSTER_TRUSTED,
                    subject=f"version {version}",
                )

            await self._store.run_write(write)
            await self._trust.refresh()
            state = self._trust.state
            if state.view is None:
                raise NoRosterError("No roster is trusted after the update.")
            waiting = [
                code
                for code in state.view.states()
                if code not in state.admitted and code != self._facts.state
            ]
            return operator_pb2.UpdateRosterResponse(version=state.view.version, needs_admission=waiting)

        return await self._call(request, context, work)

    async def ShowRoster(
        self, request: operator_pb2.ShowRosterRequest, context: Context
    ) -> operator_pb2.ShowRosterResponse:
        async def work(
            _: operator_pb2.ShowRosterRequest, _caller: SpiffeId
        ) -> operator_pb2.ShowRosterResponse:
            envelope = await self._store.run_read(trust_store.newest_envelope)
            if envelope is None:
                raise NoRosterError("This node trusts no roster yet.")
            return operator_pb2.ShowRosterResponse(envelope=envelope)

        return await self._call(request, context, work)

    async def ResumeSigning(
        self, request: operator_pb2.ResumeSigningRequest, context: Context
    ) -> operator_pb2.ResumeSigningResponse:
        async def work(
            asked: operator_pb2.ResumeSigningRequest, caller: SpiffeId
        ) -> operator_pb2.ResumeSigningResponse:
            closed = await self._resume_signing(str(caller), asked.reason)
            return operator_pb2.ResumeSigningResponse(closed_logs=closed)

        return await self._call(request, context, work)

    async def _peer(self, code: str) -> operator_pb2.PeerStatus:
        for row in await self._store.run_read(self._peer_rows):
            if row.state == code:
                return row
        return operator_pb2.PeerStatus(state=code, denied=code in self._trust.state.denied)

    def _status(self, conn: Connection) -> operator_pb2.GetStatusResponse:
        state = self._trust.state
        facts = self._facts
        answer = operator_pb2.GetStatusResponse(
            state=facts.state,
            federation=facts.federation,
            software=__version__,
            started_at=to_timestamp(facts.started_ms),
            certificate_expires_at=to_timestamp(facts.certificate_expires_ms()),
            federation_stopped=state.stopped,
            signing_paused=self._writer.paused,
            peers=self._peer_rows(conn),
            alerts=counts.count_alerts(conn, now_ms(), reader_roles=EVERY_READER).get(CURRENT, 0),
            drafts_waiting=waiting_drafts(conn),
            federation_address=facts.federation_address,
            national_address=facts.national_address,
            refused=refused.snapshot(),
        )
        if state.view is not None:
            answer.roster_version = state.view.version
            answer.roster_expires_at.CopyFrom(to_timestamp(state.view.expires_ms))
        for held in sorted(logs.load_all(conn), key=lambda each: not each.own):
            answer.logs.append(_log_status(held, sum(counts.count_unprojected(conn, held.pk).values())))
        answer.warnings.extend(self._warnings())
        return answer

    def _warnings(self) -> list[str]:
        state = self._trust.state
        found = []
        if state.view is None:
            found.append(
                "No roster is trusted yet: get it from the Secretariat, then `dief roster trust FILE --sha256 ...`."
            )
        else:
            days = (state.view.expires_ms - now_ms()) // DAY_MS
            if days < 0:
                found.append(
                    "The roster has expired: only erasures flow. Get the next version, then `dief roster update FILE`."
                )
            elif days < ROSTER_WARNING_DAYS:
                found.append(f"The roster expires in {days} days: ask the Secretariat for the next version.")
        days = (self._facts.certificate_expires_ms() - now_ms()) // DAY_MS
        if days < CERTIFICATE_WARNING_DAYS:
            found.append(f"The node's certificate expires in {days} days: renew it with `dief pki renew`.")
        if state.stopped:
            found.append("The federation side is stopped: start it with `dief federation start`.")
        if self._writer.paused:
            found.append(f"Nothing is signed: {self._writer.paused}")
        found += [
            f"{code} changed its keys: compare them, then `dief peer admit {code}`."
            for code in sorted(state.recovery)
        ]
        return found

    def _peer_rows(self, conn: Connection) -> list[operator_pb2.PeerStatus]:
        state = self._trust.state
        remembered = {row.state: row for row in conn.execute(select(PEER))}
        held: dict[str, list[HeldLog]] = {}
        for each in logs.load_all(conn, own=False):
            held.setdefault(each.origin, []).append(each)
        codes = set(state.denied) | (set() if state.view is None else set(state.view.states()))
        rows = []
        for code in sorted(codes - {self._facts.state}):
            participant = None if state.view is None else state.view.participant(code)
            follower = self._peers.follower(code)
            row = operator_pb2.PeerStatus(
                state=code,
                admitted=code in state.admitted,
                denied=code in state.denied,
                peer_state=_with_log_faults(peer_state(state, code, follower), held.get(code, [])),
                lag_entries=sum(each.checkpoint_size - each.size for each in held.get(code, [])),
                inbound_streams=self._limits.open_streams(code),
            )
            if participant is not None and state.view is not None:
                row.display_name = participant.display_name
                row.treaty_status = participant.treaty_status
                row.endpoints.extend(participant.endpoints)
                row.trust_digest = state.view.trust_digest(code).hex()
            contact = max(
                follower.progress.last_contact_ms if follower else 0,
                remembered[code].last_contact_ms if code in remembered else 0,
            )
            if contact:
                row.last_contact.CopyFrom(to_timestamp(contact))
            if follower is not None:
                row.last_error = follower.progress.last_error
                row.software = follower.progress.software
            rows.append(row)
        return rows


STALE_AFTER_MS = 2 * 3_600_000


def _with_log_faults(
    state: operator_pb2.PeerState.ValueType, held: list[HeldLog]
) -> operator_pb2.PeerState.ValueType:
    """A peer that looks fine is QUARANTINED while one of its logs is stopped, STALE without fresh checkpoints."""
    if state not in (operator_pb2.PEER_STATE_LIVE, operator_pb2.PEER_STATE_CATCHING_UP):
        return state
    if any(each.state.value in ("EVIDENCE", "FAULT") for each in held):
        return operator_pb2.PEER_STATE_QUARANTINED
    newest = max((each.checkpoint_ms for each in held), default=now_ms())
    if now_ms() - newest > STALE_AFTER_MS:
        return operator_pb2.PEER_STATE_STALE
    return state


def _log_status(held: HeldLog, unprojected: int) -> operator_pb2.LogStatus:
    return operator_pb2.LogStatus(
        log_id=held.log_id,
        origin=held.origin,
        members=held.members,
        epoch=held.epoch,
        size=held.size,
        checkpoint_size=held.checkpoint_size,
        checkpoint_time=to_timestamp(held.checkpoint_ms),
        state=held.state.value,
        reader_role="LAW_ENFORCEMENT" if held.reader_role else "",
        not_projected=unprojected,
        detail=held.detail,
    )
