"""RegistryService from the adapter's side: mTLS, bounded calls, retries.

Rules:
- A call that the node could not take (UNAVAILABLE, DEADLINE_EXCEEDED, or any status with RetryInfo) is made again,
  after the delay that RetryInfo names or with exponential backoff, until the patience is over; every call may be
  repeated, since the node knows records by key and content.
- Anything else is an answer, and is raised as such.
- The certificate is of kind `registry`, signed by the national CA.

Source: google.rpc.RetryInfo; AIP-194.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import grpc
from dief.v1 import registry_pb2, registry_pb2_grpc
from dief.v1.watch_pb2 import Hit
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from registry_adapters.certificate import check_certificate
from registry_adapters.errors import FieldFault, NodeError

CALL_SECONDS: Final = 60.0
MAX_RECORDS: Final = 200
MAX_BATCH_BYTES: Final = 1 << 20
_FIRST_DELAY: Final = 0.2
_LONGEST_DELAY: Final = 15.0
_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
_TOO_LARGE = "TOO_LARGE"


class WholeRefusedError(NodeError):
    """The node refused a batch as a whole because of what is in it: smaller batches find the record.

    Attributes:
        faults: What the node says of it.
    """

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        super().__init__("The node refused a batch.", "See the quarantine for the records.", reason="INVALID")
        self.faults = tuple(faults)


class RegistryClient:
    """Calls of RegistryService over one channel.

    Args:
        channel: To the node's national listener, with the registry's certificate.
        patience: Seconds that a call is repeated for before it fails.
        stop: Set when the adapter shall end; waiting ends at once.
    """

    def __init__(
        self, channel: grpc.Channel, patience: float = 60.0, stop: threading.Event | None = None
    ) -> None:
        self._stub = registry_pb2_grpc.RegistryServiceStub(channel)
        self._patience = patience
        self.stop = stop or threading.Event()

    def cursor(self, stream: str) -> bytes:
        """The cursor that the node holds; empty where it has none."""
        request = registry_pb2.GetCursorRequest(stream=stream)
        return bytes(self._call(self._stub.GetCursor, request).cursor)

    def cursor_and_time(self, stream: str) -> tuple[bytes, str]:
        """The cursor that the node holds, and when it was stored (ISO 8601 UTC); both empty where it has none."""
        answer = self._call(self._stub.GetCursor, registry_pb2.GetCursorRequest(stream=stream))
        stored = answer.stored_at.ToJsonString() if answer.HasField("stored_at") else ""
        return bytes(answer.cursor), stored

    def submit(
        self, stream: str, records: Sequence[registry_pb2.RegistryRecord], cursor: bytes
    ) -> list[registry_pb2.RecordOutcome]:
        """Hand in records with the cursor behind them.

        Returns:
            One outcome a record, in their order.

        Raises:
            WholeRefusedError: The batch as a whole breaks a rule or is too large.
            NodeError: The node refused the call, or stayed away.
        """
        request = registry_pb2.SubmitRecordsRequest(stream=stream, records=records, cursor=cursor)
        outcomes = list(self._call(self._stub.SubmitRecords, request).outcomes)
        if [outcome.key for outcome in outcomes] != [record.key for record in records]:
            raise NodeError(
                "The node's outcomes do not belong to the records that were sent.",
                "Check that adapter and node are of matching versions.",
                reason="PROTOCOL",
            )
        return outcomes

    def standings(self, stream: str, since: datetime | None = None) -> Iterator[registry_pb2.RecordStanding]:
        """What became of the records of the stream, page by page.

        Args:
            stream: The stream.
            since: Only those whose standing changed at this moment or later.
        """
        token = ""
        while True:
            request = registry_pb2.ListOutcomesRequest(stream=stream, page_size=1000, page_token=token)
            if since is not None:
                request.changed_since.FromDatetime(since)
            page = self._call(self._stub.ListOutcomes, request)
            yield from page.records
            token = page.next_page_token
            if not token:
                return

    def watched(self, stream: str) -> Iterator[str]:
        """Keys of the stream that are under watch, page by page."""
        token = ""
        while True:
            request = registry_pb2.ListWatchedRequest(stream=stream, page_size=10_000, page_token=token)
            page = self._call(self._stub.ListWatched, request)
            yield from page.keys
            token = page.next_page_token
            if not token:
                return

    def hits(self, stream: str, limit: int = 100) -> tuple[list[Hit], int]:
        """Hits that wait for delivery, oldest change first, and how many more there are."""
        answer = self._call(self._stub.PullHits, registry_pb2.PullHitsRequest(stream=stream, page_size=limit))
        return list(answer.hits), int(answer.waiting)

    def acknowledge(self, stream: str, hits: Sequence[Hit]) -> None:
        """Say that hits were written to the registry."""
        request = registry_pb2.AcknowledgeHitsRequest(stream=stream)
        for hit in hits:
            request.deliveries.add(name=hit.name, version=hit.version)
        self._call(self._stub.AcknowledgeHits, request)

    def _call(self, method: Callable[..., Any], request: Message) -> Any:
        deadline = time.monotonic() + self._patience
        delay = _FIRST_DELAY
        while True:
            try:
                return method(request, timeout=CALL_SECONDS)
            except grpc.RpcError as error:
                call = cast("grpc.Call", error)
                status = status_of(call)
                asked = retry_delay(status)
                if call.code() not in _AGAIN and asked is None:
                    raise refusal(call, status) from None
                if "CERTIFICATE_VERIFY_FAILED" in (call.details() or ""):
                    raise NodeError(
                        "Whoever answers at the node's address has no certificate that the CA in --ca vouches for.",
                        "Check --ca, and that the address is the one of this node and a name in its certificate.",
                        reason="UNKNOWN_IDENTITY",
                    ) from None
                wait = asked if asked is not None else delay * random.uniform(0.5, 1.0)  # noqa: S311
                if time.monotonic() + wait > deadline or self.stop.wait(wait):
                    raise NodeError(
                        f"The node does not answer: {call.code().name}.",
                        "Check that it runs and that this machine reaches it; nothing is lost, the next run goes on.",
                    ) from None
                delay = min(delay * 2, _LONGEST_DELAY)


@contextmanager
def connect(
    address: str,
    ca: Path,
    cert: Path,
    key: Path,
    *,
    patience: float = 60.0,
    stop: threading.Event | None = None,
) -> Iterator[RegistryClient]:
    """A client of the node's national listener.

    Args:
        address: host:port.
        ca: PEM of the CA that signed the listener's certificate.
        cert: PEM of the registry's certificate, leaf first.
        key: PEM of its key.
        patience: Seconds that a call is repeated for.
        stop: Set when the adapter shall end.

    Raises:
        NodeError: A file cannot be read, or no node of this State can take the certificate.
    """
    try:
        authorities, chain, private = ca.read_bytes(), cert.read_bytes(), key.read_bytes()
    except OSError as error:
        raise NodeError(
            f"A certificate file cannot be read: {error.strerror}.",
            "Check --ca, --cert and --key.",
            reason="FILE",
        ) from None
    check_certificate(chain, authorities)
    credentials = grpc.ssl_channel_credentials(authorities, private, chain)
    options = [("grpc.max_receive_message_length", 16 << 20), ("grpc.keepalive_time_ms", 30_000)]
    with grpc.secure_channel(address, credentials, options=options) as channel:
        yield RegistryClient(channel, patience, stop)


def status_of(call: grpc.Call) -> status_pb2.Status:
    """The google.rpc.Status of a refused call; empty where it has none that can be read."""
    for name, value in call.trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()


def retry_delay(status: status_pb2.Status) -> float | None:
    """Seconds that RetryInfo asks to wait, None where it is absent."""
    info = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return max(0.05, float(info.retry_delay.ToNanoseconds()) / 1e9)
    return None


def faults_of_status(status: status_pb2.Status) -> tuple[FieldFault, ...]:
    """Fields that a status names, or its words where it names none."""
    reason = "REFUSED"
    found: list[tuple[str, str, str]] = []
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason or reason
        elif detail.Unpack(bad):
            found.extend((v.field, v.reason, v.description) for v in bad.field_violations)
    if not found:
        return (FieldFault("", "", reason, status.message),)
    return tuple(FieldFault(field, "", own or reason, words) for field, own, words in found)


def refusal(call: grpc.Call, status: status_pb2.Status) -> NodeError:
    """What a refused call means."""
    reason = call.code().name
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            reason = info.reason
    too_large = call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and reason in (_TOO_LARGE, call.code().name)
    if call.code() == grpc.StatusCode.INVALID_ARGUMENT or too_large:
        faults = faults_of_status(status)
        if too_large and not status.details:
            faults = (FieldFault("", "", _TOO_LARGE, "The record is larger than the node takes."),)
        return WholeRefusedError(faults)
    return NodeError(
        f"The node refused the call: {(call.details() or reason).rstrip('.')}.",
        "Check the certificate (kind `registry`, of the national CA, not expired) and the node's log.",
        reason=reason,
    )
