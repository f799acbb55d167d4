"""DeskService: what officers, delegates and approvers do. Every reading of content is recorded (I8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, TypeVar

import grpc
from dief.v1 import codes_pb2, desk_pb2, desk_pb2_grpc, federation_pb2, handling_pb2, roster_pb2
from google.protobuf.message import Message
from sqlalchemy import Connection, bindparam, select

from node import audit
from node.alerts import queries
from node.alerts.records import AlertRecord
from node.alerts.states import uuid_of
from node.federation.intake import PEER
from node.federation.receipts import IN
from node.federation.trust import LiveTrust
from node.identity.spiffe import Kind, SpiffeId
from node.ledger import logs
from node.ledger.merkle import leaf_hash
from node.ledger.state import LogState, entry_id
from node.ledger.storing import ERASURE_TABLE
from node.ops.clock import now_ms, to_timestamp
from node.release import ReleaseDesk
from node.screening import Term, screen
from node.services import calls, drafts, errors, hits
from node.services.guard import NationalGuard
from node.store.engine import Store
from node.store.tables import table
from node.store.tables.alerts import Alert

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)

ALERT = table(Alert)
READERS = frozenset({Kind.OFFICER, Kind.DELEGATE, Kind.APPROVER})
OFFICERS = frozenset({Kind.OFFICER})
DRAFTERS = frozenset({Kind.OFFICER, Kind.DELEGATE})
APPROVERS = frozenset({Kind.APPROVER})
ROLES = frozenset({int(handling_pb2.READER_ROLE_UNSPECIFIED)})
"""Reader roles of everyone here until rights by role exist: the law-enforcement part stays closed to all."""
STALE_AFTER_MS = 2 * 3_600_000
_COPIES = select(
    logs.LOG.c.origin, logs.LOG.c.state, logs.LOG.c.size, logs.LOG.c.checkpoint_size, logs.LOG.c.verified_ms
).where(logs.LOG.c.own.is_(False))
_CONTACTED = select(PEER.c.state).where(PEER.c.last_contact_ms > bindparam("since_ms"))


class DeskServicer(desk_pb2_grpc.DeskServiceServicer):
    """Serves persons; see protos/dief/v1/desk.proto for who may call what."""

    def __init__(
        self, *, store: Store, trust: LiveTrust, desk: ReleaseDesk, guard: NationalGuard, state: str
    ) -> None:
        self._store = store
        self._trust = trust
        self._desk = desk
        self._guard = guard
        self._state = state

    async def _call(
        self,
        request: Request,
        context: Context,
        kinds: Collection[Kind],
        work: Callable[[Request, SpiffeId], Awaitable[Answer]],
    ) -> Answer:
        return await calls.answer(request, context, lambda: self._guard.caller(context, kinds), work)

    # -- reading -----------------------------------------------------------------------------------------------

    async def GetAlertView(
        self, request: desk_pb2.GetAlertViewRequest, context: Context
    ) -> desk_pb2.GetAlertViewResponse:
        async def work(
            asked: desk_pb2.GetAlertViewRequest, caller: SpiffeId
        ) -> desk_pb2.GetAlertViewResponse:
            def read(conn: Connection) -> desk_pb2.AlertView:
                record = queries.get_alert(
                    conn, asked.name, now_ms(), reader_roles=ROLES, doubted_origins=self._doubted()
                )
                if record is None:
                    raise errors.NotFoundError("There is no such alert.")
                audit.record(
                    conn,
                    actor=str(caller),
                    action=audit.AuditAction.READ,
                    subject=asked.name,
                    purpose=handling_pb2.Purpose.Name(asked.purpose),
                    detail={"revision": record.revision},
                )
                return next(iter(_views([record])))

            return desk_pb2.GetAlertViewResponse(alert=await self._store.run_write(read))

        return await self._call(request, context, READERS, work)

    async def ListAlerts(
        self, request: desk_pb2.ListAlertsRequest, context: Context
    ) -> desk_pb2.ListAlertsResponse:
        async def work(asked: desk_pb2.ListAlertsRequest, caller: SpiffeId) -> desk_pb2.ListAlertsResponse:
            def read(conn: Connection) -> desk_pb2.ListAlertsResponse:
                page = queries.list_alerts(
                    conn,
                    now_ms(),
                    filter_=asked.filter,
                    origins=asked.origins,
                    show_gone=asked.show_gone,
                    reader_roles=ROLES,
                    paging=queries.Paging(asked.page_size, asked.page_token),
                    doubted_origins=self._doubted(),
                )
                audit.record(
                    conn,
                    actor=str(caller),
                    action=audit.AuditAction.LISTED,
                    detail={
                        "count": len(page.records),
                        "first": page.records[0].name if page.records else "",
                        "last": page.records[-1].name if page.records else "",
                    },
                )
                return desk_pb2.ListAlertsResponse(
                    alerts=_views(page.records), next_page_token=page.next_page_token
                )

            return await self._store.run_write(read)

        return await self._call(request, context, READERS, work)

    async def Screen(self, request: desk_pb2.ScreenRequest, context: Context) -> desk_pb2.ScreenResponse:
        async def work(asked: desk_pb2.ScreenRequest, caller: SpiffeId) -> desk_pb2.ScreenResponse:
            terms = [Term(term.kind, term.value, term.context) for term in asked.terms]
            moment = now_ms()

            def read(conn: Connection) -> desk_pb2.ScreenResponse:
                found = screen(conn, terms, moment, reader_roles=ROLES, doubted_origins=self._doubted())
                answer = desk_pb2.ScreenResponse(
                    not_searched=[f"{each.term}: {each.reason}" for each in found.not_searched],
                    origins_not_current=self._not_current(conn),
                    screened_at=to_timestamp(moment),
                )
                views = list(_views([hit.record for hit in found.hits]))
                for hit, view in zip(found.hits, views, strict=True):
                    answer.hits.add(
                        term=hit.term,
                        kind=codes_pb2.IndicatorKind.ValueType(hit.kind),
                        path=hit.path,
                        value=hit.value,
                        alert=view,
                        explanation=hit.explanation,
                        weaknesses=hit.weaknesses,
                        strength=codes_pb2.MatchStrength.ValueType(hit.strength),
                    )
                return answer

            answer = await self._store.run_read(read)
            await self._store.run_write(
                lambda conn: audit.record(
                    conn,
                    actor=str(caller),
                    action=audit.AuditAction.SCREENED,
                    subject=" ".join(sorted({hit.alert.name for hit in answer.hits}))[:4000],
                    purpose=handling_pb2.Purpose.Name(asked.purpose),
                    detail={"terms": len(terms), "hits": len(answer.hits)},
                )
            )
            return answer

        return await self._call(request, context, OFFICERS, work)

    async def ListReceipts(
        self, request: desk_pb2.ListReceiptsRequest, context: Context
    ) -> desk_pb2.ListReceiptsResponse:
        async def work(
            asked: desk_pb2.ListReceiptsRequest, caller: SpiffeId
        ) -> desk_pb2.ListReceiptsResponse:
            def read(conn: Connection) -> desk_pb2.ListReceiptsResponse:
                answer = _receipts(conn, asked.alert, self._state)
                audit.record(
                    conn,
                    actor=str(caller),
                    action=audit.AuditAction.LISTED,
                    subject=asked.alert,
                    detail={"receipts": len(answer.rows)},
                )
                return answer

            return await self._store.run_write(read)

        return await self._call(request, context, READERS, work)

    # -- hits of the watch -------------------------------------------------------------------------------------

    async def ListHits(
        self, request: desk_pb2.ListHitsRequest, context: Context
    ) -> desk_pb2.ListHitsResponse:
        async def work(asked: desk_pb2.ListHitsRequest, _caller: SpiffeId) -> desk_pb2.ListHitsResponse:
            return await self._store.run_read(lambda conn: hits.listed(conn, asked))

        return await self._call(request, context, OFFICERS, work)

    async def GetHit(self, request: desk_pb2.GetHitRequest, context: Context) -> desk_pb2.GetHitResponse:
        async def work(asked: desk_pb2.GetHitRequest, caller: SpiffeId) -> desk_pb2.GetHitResponse:
            def read(conn: Connection) -> desk_pb2.GetHitResponse:
                answer = desk_pb2.GetHitResponse(hit=hits.read(conn, asked, caller))
                record = queries.get_alert(
                    conn, answer.hit.alert, now_ms(), reader_roles=ROLES, doubted_origins=self._doubted()
                )
                if record is not None and record.alert is not None:
                    answer.alert.CopyFrom(next(iter(_views([record]))))
                return answer

            return await self._store.run_write(read)

        return await self._call(request, context, OFFICERS, work)

    async def DecideHit(
        self, request: desk_pb2.DecideHitRequest, context: Context
    ) -> desk_pb2.DecideHitResponse:
        async def work(asked: desk_pb2.DecideHitRequest, caller: SpiffeId) -> desk_pb2.DecideHitResponse:
            return desk_pb2.DecideHitResponse(
                hit=await self._store.run_write(lambda conn: hits.decide(conn, asked, caller))
            )

        return await self._call(request, context, OFFICERS, work)

    # -- drafts ------------------------------------------------------------------------------------------------

    async def CreateDraft(
        self, request: desk_pb2.CreateDraftRequest, context: Context
    ) -> desk_pb2.CreateDraftResponse:
        async def work(asked: desk_pb2.CreateDraftRequest, caller: SpiffeId) -> desk_pb2.CreateDraftResponse:
            return desk_pb2.CreateDraftResponse(
                draft=await drafts.create(self._store, self._desk, asked, caller)
            )

        return await self._call(request, context, DRAFTERS, work)

    async def GetDraft(
        self, request: desk_pb2.GetDraftRequest, context: Context
    ) -> desk_pb2.GetDraftResponse:
        async def work(asked: desk_pb2.GetDraftRequest, caller: SpiffeId) -> desk_pb2.GetDraftResponse:
            return desk_pb2.GetDraftResponse(draft=await drafts.get(self._store, self._desk, asked, caller))

        return await self._call(request, context, READERS, work)

    async def ListDrafts(
        self, request: desk_pb2.ListDraftsRequest, context: Context
    ) -> desk_pb2.ListDraftsResponse:
        async def work(asked: desk_pb2.ListDraftsRequest, caller: SpiffeId) -> desk_pb2.ListDraftsResponse:
            return await drafts.list_(self._store, self._desk, asked, caller)

        return await self._call(request, context, READERS, work)

    async def ApproveDraft(
        self, request: desk_pb2.ApproveDraftRequest, context: Context
    ) -> desk_pb2.ApproveDraftResponse:
        async def work(
            asked: desk_pb2.ApproveDraftRequest, caller: SpiffeId
        ) -> desk_pb2.ApproveDraftResponse:
            return desk_pb2.ApproveDraftResponse(
                draft=await drafts.approve(self._store, self._desk, asked, caller)
            )

        return await self._call(request, context, APPROVERS, work)

    async def RefuseDraft(
        self, request: desk_pb2.RefuseDraftRequest, context: Context
    ) -> desk_pb2.RefuseDraftResponse:
        async def work(asked: desk_pb2.RefuseDraftRequest, caller: SpiffeId) -> desk_pb2.RefuseDraftResponse:
            return desk_pb2.RefuseDraftResponse(
                draft=await drafts.refuse(self._store, self._desk, asked, caller)
            )

        return await self._call(request, context, APPROVERS, work)

    # -- what surrounds an answer ------------------------------------------------------------------------------

    def _doubted(self) -> set[str]:
        """Origins that the roster removed: their alerts stay shown, marked ORIGIN_IN_DOUBT."""
        view = self._trust.state.view
        if view is None:
            return set()
        return {
            code
            for code in view.states()
            if (one := view.participant(code)) is not None
            and one.state_of_participation == roster_pb2.PARTICIPANT_STATE_REMOVED
        }

    def _not_current(self, conn: Connection) -> list[str]:
        """Admitted origins whose copies here are not current, so that no hit is no proof of absence."""
        state = self._trust.state
        stale: set[str] = set()
        seen: set[str] = set()
        moment = now_ms()
        for held in conn.execute(_COPIES):
            seen.add(held.origin)
            behind = held.size < held.checkpoint_size or moment - held.verified_ms > STALE_AFTER_MS
            if behind or held.state not in (LogState.LIVE, LogState.CLOSED):
                stale.add(held.origin)
        unheard = {code for code in state.admitted if code not in seen and code != self._state}
        contacted = set(conn.execute(_CONTACTED, {"since_ms": moment - STALE_AFTER_MS}).scalars())
        return sorted(stale | (unheard - contacted))


def _views(records: Iterable[AlertRecord]) -> Iterable[desk_pb2.AlertView]:
    for record in records:
        view = desk_pb2.AlertView(
            name=record.name,
            revision=record.revision,
            origin=record.origin,
            standing=desk_pb2.AlertStanding.ValueType(record.standing),
            alert=record.alert,
            proof=desk_pb2.AlertProof(
                log_id=record.log_id,
                seq=record.seq,
                leaf_hash=leaf_hash(record.header),
                checkpoint_size=record.checkpoint_size,
                checkpoint_time=to_timestamp(record.checkpoint_ms),
            ),
            committed_at=to_timestamp(record.committed_ms),
            received_at=to_timestamp(record.received_ms),
        )
        yield view


def _receipts(conn: Connection, name: str, own_state: str) -> desk_pb2.ListReceiptsResponse:
    """One row a recipient State and erased entry of an own alert."""
    answer = desk_pb2.ListReceiptsResponse()
    uuid = uuid_of(name, own_state)
    if uuid is None:
        return answer
    contacts = {row.state: row.last_contact_ms for row in conn.execute(select(PEER))}
    rows = conn.execute(
        select(ALERT.c.entry_id, ALERT.c.log_pk, ALERT.c.revision)
        .where(ALERT.c.uuid == uuid, ALERT.c.origin == own_state)
        .order_by(ALERT.c.entry_id)
    ).all()
    for row in rows:
        log = logs.load_pk(conn, row.log_pk)
        seq = row.entry_id - entry_id(row.log_pk, 0)
        ordered = conn.execute(
            select(ERASURE_TABLE.c.eraser_id).where(
                ERASURE_TABLE.c.target_log == log.log_id, ERASURE_TABLE.c.target_seq == seq
            )
        ).first()
        if ordered is None:
            continue
        said = {
            receipt.state: receipt
            for receipt in conn.execute(
                select(IN).where(IN.c.log_id == log.log_id, IN.c.seq == seq).order_by(IN.c.id)
            )
        }
        for member in log.members:
            if member == own_state:
                continue
            out = answer.rows.add(state=member, revision=row.revision, log_id=log.log_id, seq=seq)
            if contacts.get(member):
                out.last_contact.CopyFrom(to_timestamp(contacts[member]))
            receipt = said.get(member)
            if receipt is not None:
                out.kind = federation_pb2.ReceiptKind.ValueType(receipt.kind)
                out.at.CopyFrom(to_timestamp(receipt.at_ms))
                if receipt.backups_expired_ms:
                    out.backups_expired_at.CopyFrom(to_timestamp(receipt.backups_expired_ms))
    return answer
