"""RegistryService: what national registries hand in, and what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from dief.v1 import registry_pb2, registry_pb2_grpc
from google.protobuf.message import Message
from sqlalchemy import Connection

from node.alerts.states import name_of
from node.identity.spiffe import Kind, SpiffeId
from node.ops.clock import now_ms, to_timestamp
from node.ops.counters import refused
from node.ops.errors import DiefError
from node.release import ReleaseDesk, rows
from node.release.intake import Outcome, RegistryIntake, cursor_of, standings
from node.services import errors
from node.services.guard import NationalGuard
from node.store.engine import Store

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)

REGISTRIES = frozenset({Kind.REGISTRY})
DEFAULT_PAGE, MAX_PAGE = 100, 1000


class RegistryServicer(registry_pb2_grpc.RegistryServiceServicer):
    """Serves registries; streams belong to the certificate's identity, so one registry never sees another's."""

    def __init__(self, *, store: Store, desk: ReleaseDesk, guard: NationalGuard) -> None:
        self._store = store
        self._desk = desk
        self._intake = RegistryIntake(desk)
        self._guard = guard

    async def _call(
        self, request: Request, context: Context, work: Callable[[Request, SpiffeId], Awaitable[Answer]]
    ) -> Answer:
        try:
            caller = self._guard.caller(context, REGISTRIES)
            errors.validate(request)
            return await work(request, caller)
        except DiefError as error:
            await errors.abort(context, error)

    async def SubmitRecords(
        self, request: registry_pb2.SubmitRecordsRequest, context: Context
    ) -> registry_pb2.SubmitRecordsResponse:
        async def work(
            asked: registry_pb2.SubmitRecordsRequest, caller: SpiffeId
        ) -> registry_pb2.SubmitRecordsResponse:
            outcomes = await self._store.run_write(
                lambda conn: self._intake.submit(
                    conn, caller, asked.stream, asked.records, asked.cursor, now_ms()
                )
            )
            return registry_pb2.SubmitRecordsResponse(outcomes=map(_outcome, outcomes))

        return await self._call(request, context, work)

    async def GetCursor(
        self, request: registry_pb2.GetCursorRequest, context: Context
    ) -> registry_pb2.GetCursorResponse:
        async def work(
            asked: registry_pb2.GetCursorRequest, caller: SpiffeId
        ) -> registry_pb2.GetCursorResponse:
            found = await self._store.run_read(lambda conn: cursor_of(conn, caller, asked.stream))
            if found is None:
                return registry_pb2.GetCursorResponse()
            return registry_pb2.GetCursorResponse(cursor=found[0], stored_at=to_timestamp(found[1]))

        return await self._call(request, context, work)

    async def ListOutcomes(
        self, request: registry_pb2.ListOutcomesRequest, context: Context
    ) -> registry_pb2.ListOutcomesResponse:
        async def work(
            asked: registry_pb2.ListOutcomesRequest, caller: SpiffeId
        ) -> registry_pb2.ListOutcomesResponse:
            size = min(asked.page_size or DEFAULT_PAGE, MAX_PAGE)

            def read(conn: Connection) -> registry_pb2.ListOutcomesResponse:
                found = standings(conn, caller, asked.stream, asked.page_token, size + 1)
                answer = registry_pb2.ListOutcomesResponse()
                for row in found[:size]:
                    answer.records.add(
                        key=row.key,
                        draft=rows.draft_name(row.uuid),
                        state=row.state,
                        alert=name_of(self._desk.own_state, row.alert_uuid) if row.alert_uuid else "",
                        revision=row.revision,
                        reason=row.reason,
                    )
                if len(found) > size:
                    answer.next_page_token = found[size - 1].key
                return answer

            return await self._store.run_read(read)

        return await self._call(request, context, work)


def _outcome(outcome: Outcome) -> registry_pb2.RecordOutcome:
    made = registry_pb2.RecordOutcome(key=outcome.key, result=outcome.result, draft=outcome.draft)
    if outcome.error is not None:
        refused.inc(outcome.error.reason)
        made.error.CopyFrom(errors.status_of(outcome.error))
    return made
