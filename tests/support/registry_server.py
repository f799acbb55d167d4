"""A small RegistryService on a real loopback socket with real mTLS, for tests of adapters without a node.

It keeps records by key as the proto says, in memory, and may be told to refuse or to be away:

    with RegistryServer(tmp_path) as server:
        server.refuse["42"] = ("items[0].make", "must be shorter")
        with server.client() as client: ...
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import grpc
from dief.v1 import draft_pb2, registry_pb2, registry_pb2_grpc, watch_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from node.identity import pki
from node.identity.pem import certificates_pem, key_pem
from node.identity.spiffe import SpiffeId
from registry_adapters import RegistryClient, connect


def packed(detail: Message) -> AnyMessage:
    """A detail of a status."""
    found = AnyMessage()
    found.Pack(detail)
    return found


class RegistryServer(AbstractContextManager["RegistryServer"], registry_pb2_grpc.RegistryServiceServicer):
    """The service, what it holds, and what a test wants it to do.

    Attributes:
        held: (stream, key) to the record taken last.
        cursors: stream to cursor.
        refuse: key to (field, description) of the violation with which a record is refused.
        watched: (stream, key) to the record under watch.
        hits: Hits that wait until they stand in `acknowledged`.
        standings: What ListOutcomes answers where a moment is asked for, or where there are any.
        poison: keys whose presence makes the whole batch INVALID_ARGUMENT.
        lose_answers: number of batches that are taken but whose answer is lost.
        away: number of calls that are answered UNAVAILABLE first.
        busy: number of calls that are answered RESOURCE_EXHAUSTED with RetryInfo first.
        batches: keys of every batch that was taken.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.held: dict[tuple[str, str], registry_pb2.RegistryRecord] = {}
        self.hits: list[watch_pb2.Hit] = []
        self.acknowledged: set[tuple[str, int]] = set()
        self.standings: list[registry_pb2.RecordStanding] = []
        self.watched: dict[tuple[str, str], watch_pb2.WatchRecord] = {}
        self.cursors: dict[str, bytes] = {}
        self.refuse: dict[str, tuple[str, str]] = {}
        self.poison: set[str] = set()
        self.away = 0
        self.busy = 0
        self.lose_answers = 0
        self.batches: list[list[str]] = []
        authority = pki.create_ca("XA", "dief", role=pki.CaRole.NATIONAL)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(certificates_pem([authority.certificate]))
        self.cert, self.key = self._issue(authority, folder, "registry", "licences")
        cert, key = self._issue(authority, folder, "operator", "listener", ips=["127.0.0.1"])
        credentials = grpc.ssl_server_credentials(
            [(key.read_bytes(), cert.read_bytes())], self.ca.read_bytes(), require_client_auth=True
        )
        self._server = grpc.server(ThreadPoolExecutor(2))
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(self, self._server)
        self.port = self._server.add_secure_port(f"127.0.0.1:{port}", credentials)

    @staticmethod
    def _issue(
        authority: pki.Authority, folder: Path, kind: str, name: str, ips: list[str] | None = None
    ) -> tuple[Path, Path]:
        leaf = pki.issue(authority, SpiffeId.parse(f"spiffe://xa.dief/{kind}/{name}"), ips=ips or [])
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        cert.write_bytes(certificates_pem(leaf.chain))
        key.write_bytes(key_pem(leaf.key))
        return cert, key

    def __enter__(self) -> RegistryServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    @contextmanager
    def client(self, **options: Any) -> Iterator[RegistryClient]:
        """A client with the registry's certificate."""
        with connect(self.address, self.ca, self.cert, self.key, **options) as client:
            yield client

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    def keys(self, stream: str) -> dict[str, str]:
        """Key to "draft" or "withdraw", of everything held."""
        return {
            key: str(record.WhichOneof("change")) for (own, key), record in self.held.items() if own == stream
        }

    def GetCursor(
        self, request: registry_pb2.GetCursorRequest, context: grpc.ServicerContext
    ) -> registry_pb2.GetCursorResponse:
        self._maybe_away(context)
        return registry_pb2.GetCursorResponse(cursor=self.cursors.get(request.stream, b""))

    def ListOutcomes(
        self, request: registry_pb2.ListOutcomesRequest, context: grpc.ServicerContext
    ) -> registry_pb2.ListOutcomesResponse:
        if self.standings:
            since = request.changed_since.ToMilliseconds()
            return registry_pb2.ListOutcomesResponse(
                records=[one for one in self.standings if one.changed_at.ToMilliseconds() >= since]
            )
        keys = sorted(
            key for stream, key in self.held if stream == request.stream and key > request.page_token
        )
        page = keys[:2]
        return registry_pb2.ListOutcomesResponse(
            records=[
                registry_pb2.RecordStanding(key=key, state=draft_pb2.DRAFT_STATE_WAITING) for key in page
            ],
            next_page_token=page[-1] if len(keys) > len(page) else "",
        )

    def PullHits(
        self, request: registry_pb2.PullHitsRequest, context: grpc.ServicerContext
    ) -> registry_pb2.PullHitsResponse:
        self._maybe_away(context)
        waiting = [hit for hit in self.hits if (hit.name, hit.version) not in self.acknowledged]
        page = waiting[: request.page_size]
        return registry_pb2.PullHitsResponse(hits=page, waiting=len(waiting) - len(page))

    def AcknowledgeHits(
        self, request: registry_pb2.AcknowledgeHitsRequest, context: grpc.ServicerContext
    ) -> registry_pb2.AcknowledgeHitsResponse:
        self._maybe_away(context)
        self.acknowledged.update((each.name, each.version) for each in request.deliveries)
        return registry_pb2.AcknowledgeHitsResponse(acknowledged=len(request.deliveries))

    def ListWatched(
        self, request: registry_pb2.ListWatchedRequest, context: grpc.ServicerContext
    ) -> registry_pb2.ListWatchedResponse:
        found = sorted(
            key
            for (stream, key), record in self.watched.items()
            if stream == request.stream and key > request.page_token
        )
        page = found[:2]
        return registry_pb2.ListWatchedResponse(
            keys=page, next_page_token=page[-1] if len(found) > len(page) else ""
        )

    def SubmitRecords(
        self, request: registry_pb2.SubmitRecordsRequest, context: grpc.ServicerContext
    ) -> registry_pb2.SubmitRecordsResponse:
        self._maybe_away(context)
        if self.poison & {record.key for record in request.records}:
            context.abort_with_status(
                rpc_status.to_status(
                    status_pb2.Status(
                        code=code_pb2.INVALID_ARGUMENT,
                        message="invalid",
                        details=[packed(self._violation("records", "breaks a rule"))],
                    )
                )
            )
        answer = registry_pb2.SubmitRecordsResponse(
            outcomes=[self._take(request.stream, record) for record in request.records]
        )
        self.cursors[request.stream] = request.cursor
        self.batches.append([record.key for record in request.records])
        if self.lose_answers:
            self.lose_answers -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
        return answer

    def _take(self, stream: str, record: registry_pb2.RegistryRecord) -> registry_pb2.RecordOutcome:
        outcome = registry_pb2.RecordOutcome(key=record.key)
        if record.key in self.refuse:
            outcome.result = registry_pb2.RECORD_RESULT_REFUSED
            outcome.error.code = code_pb2.INVALID_ARGUMENT
            outcome.error.details.append(packed(self._violation(*self.refuse[record.key])))
            return outcome
        changed = False
        if record.WhichOneof("change"):
            before = self.held.get((stream, record.key))
            changed = before is None or before.content_hash != record.content_hash
            self.held[stream, record.key] = record
        if record.HasField("watch"):
            changed |= self.watched.get((stream, record.key)) != record.watch
            self.watched[stream, record.key] = record.watch
        elif record.HasField("stop_watching"):
            changed |= self.watched.pop((stream, record.key), None) is not None
        outcome.result = (
            registry_pb2.RECORD_RESULT_ACCEPTED if changed else registry_pb2.RECORD_RESULT_UNCHANGED
        )
        return outcome

    def _maybe_away(self, context: grpc.ServicerContext) -> None:
        if self.away:
            self.away -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        if self.busy:
            self.busy -= 1
            info = error_details_pb2.RetryInfo(retry_delay=Duration(nanos=60_000_000))
            context.abort_with_status(
                rpc_status.to_status(
                    status_pb2.Status(
                        code=code_pb2.RESOURCE_EXHAUSTED, message="busy", details=[packed(info)]
                    )
                )
            )

    @staticmethod
    def _violation(field: str, description: str) -> error_details_pb2.BadRequest:
        return error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
            ]
        )
