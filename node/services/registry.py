"""RegistryService: what national registries hand in, and what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import grpc
from dief.v1 import registry_pb2, registry_pb2_grpc, watch_pb2
from google.protobuf.message import Message
from sqlalchemy import Connection

from node.alerts.states import name_of
from node.identity.spiffe import Kind, SpiffeId
from node.ops.clock import now_ms, to_timestamp
from node.ops.counters import refused
from node.release import ReleaseDesk, rows
from node.release.intake import Outcome, RegistryIntake, cursor_of, standings
from node.services import calls, errors, hits
from node.services.guard import NationalGuard
from node.store.engine import Store
from node.watch.records import Taken, stream_id_of, take

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)

REGISTRIES = frozenset({Kind.REGISTRY})
DEFAULT_PAGE, MAX_PAGE = 100, 1000
MAX_CHANGES = 500
"""Each change may be a release that the writer signs."""


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
        return await calls.answer(request, context, lambda: self._guard.caller(context, REGISTRIES), work)

    async def SubmitRecords(
        self, request: registry_pb2.SubmitRecordsRequest, context: Context
    ) -> registry_pb2.SubmitRecordsResponse:
        async def work(
            asked: registry_pb2.SubmitRecordsRequest, caller: SpiffeId
        ) -> registry_pb2.SubmitRecordsResponse:
            _check_records(asked)
            return await self._store.run_write(lambda conn: self._take(conn, asked, caller))

        return await self._call(request, context, work)

    def _take(
        self, conn: Connection, asked: registry_pb2.SubmitRecordsRequest, caller: SpiffeId
    ) -> registry_pb2.SubmitRecordsResponse:
        """Drafts, watch and cursor in one transaction; a draft that is refused keeps no record from the watch."""
        moment = now_ms()
        changes = [record for record in asked.records if record.WhichOneof("change")]
        drafted = iter(self._intake.submit(conn, caller, asked.stream, changes, asked.cursor, moment))
        watching = [record for record in asked.records if record.WhichOneof("watching")]
        taken: Iterator[Taken] = iter(())
        if watching:
            stream_id = stream_id_of(conn, str(caller), asked.stream)
            if stream_id is None:
                raise RuntimeError("the intake stored a cursor without a stream")
            taken = iter(take(conn, stream_id, [_watched(record) for record in watching], moment))
        answer = registry_pb2.SubmitRecordsResponse()
        for record in asked.records:
            outcome = answer.outcomes.add(key=record.key, result=registry_pb2.RECORD_RESULT_UNCHANGED)
            if changes and record.WhichOneof("change"):
                outcome.CopyFrom(_outcome(next(drafted)))
            if watching and record.WhichOneof("watching"):
                made = next(taken)
                if made.not_watched:
                    outcome.not_watched.extend(f"{place}: {why}" for place, why in made.not_watched.items())
                if made.changed and outcome.result == registry_pb2.RECORD_RESULT_UNCHANGED:
                    outcome.result = registry_pb2.RECORD_RESULT_ACCEPTED
        return answer

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
                since = asked.changed_since.ToMilliseconds() if asked.HasField("changed_since") else 0
                found = standings(conn, caller, asked.stream, asked.page_token, size + 1, since)
                answer = registry_pb2.ListOutcomesResponse()
                for row in found[:size]:
                    answer.records.add(
                        key=row.key,
                        draft=rows.draft_name(row.uuid),
                        state=row.state,
                        alert=name_of(self._desk.own_state, row.alert_uuid) if row.alert_uuid else "",
                        revision=row.revision,
                        reason=row.reason,
                        changed_at=to_timestamp(max(row.updated_ms, row.draft_ms)),
                    )
                if len(found) > size:
                    answer.next_page_token = found[size - 1].key
                return answer

            return await self._store.run_read(read)

        return await self._call(request, context, work)

    async def ListWatched(
        self, request: registry_pb2.ListWatchedRequest, context: Context
    ) -> registry_pb2.ListWatchedResponse:
        async def work(
            asked: registry_pb2.ListWatchedRequest, caller: SpiffeId
        ) -> registry_pb2.ListWatchedResponse:
            return await self._store.run_read(lambda conn: hits.watched(conn, asked, caller))

        return await self._call(request, context, work)

    async def PullHits(
        self, request: registry_pb2.PullHitsRequest, context: Context
    ) -> registry_pb2.PullHitsResponse:
        async def work(
            asked: registry_pb2.PullHitsRequest, caller: SpiffeId
        ) -> registry_pb2.PullHitsResponse:
            return await self._store.run_read(lambda conn: hits.pull(conn, asked, caller))

        return await self._call(request, context, work)

    async def AcknowledgeHits(
        self, request: registry_pb2.AcknowledgeHitsRequest, context: Context
    ) -> registry_pb2.AcknowledgeHitsResponse:
        async def work(
            asked: registry_pb2.AcknowledgeHitsRequest, caller: SpiffeId
        ) -> registry_pb2.AcknowledgeHitsResponse:
            return await self._store.run_write(lambda conn: hits.acknowledge(conn, asked, caller))

        return await self._call(request, context, work)


def _check_records(asked: registry_pb2.SubmitRecordsRequest) -> None:
    """Rules of a batch that no single field can state, and the one character that no database can hold in a text.

    Raises:
        InvalidRequestError: Names the records.
    """
    broken = []
    changes = 0
    for place, record in enumerate(asked.records):
        change = record.WhichOneof("change")
        changes += change is not None
        if change is None and record.WhichOneof("watching") is None:
            broken.append((f"records[{place}]", "needs a change, or a word for the watch"))
        for name, text in (("key", record.key), ("watch.reference", record.watch.reference)):
            if "\0" in text:
                broken.append((f"records[{place}].{name}", "must not have the character U+0000"))
        if change is not None and not record.content_hash:
            broken.append(
                (f"records[{place}].content_hash", "needs the SHA-256 of what the change is made of")
            )
    if changes > MAX_CHANGES:
        broken.append(("records", f"at most {MAX_CHANGES} with a change"))
    if broken:
        raise errors.InvalidRequestError(broken)


def _watched(record: registry_pb2.RegistryRecord) -> tuple[str, watch_pb2.WatchRecord | None]:
    return record.key, record.watch if record.WhichOneof("watching") == "watch" else None


def _outcome(outcome: Outcome) -> registry_pb2.RecordOutcome:
    made = registry_pb2.RecordOutcome(key=outcome.key, result=outcome.result, draft=outcome.draft)
    if outcome.error is not None:
        refused.inc(outcome.error.reason)
        made.error.CopyFrom(errors.status_of(outcome.error))
    return made
