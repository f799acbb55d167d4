"""The one place where errors of the domain become google.rpc.Status with details."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, NoReturn

import grpc
import protovalidate
import structlog
from dief.v1 import error_pb2
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from sqlalchemy import exc

from node.alerts.bodies import field_path
from node.ops.counters import refused
from node.ops.errors import DiefError
from node.ops.failures import failure
from node.services import bounds

DOMAIN = "dief"
RETRY_SECONDS = 5

_CODES = {
    "INVALID": code_pb2.INVALID_ARGUMENT,
    "UNKNOWN_IDENTITY": code_pb2.UNAUTHENTICATED,
    "WRONG_STATE": code_pb2.UNAUTHENTICATED,
    "CERTIFICATE_EXPIRED": code_pb2.UNAUTHENTICATED,
    "WRONG_KIND": code_pb2.PERMISSION_DENIED,
    "ROLE": code_pb2.PERMISSION_DENIED,
    "NOT_ADMITTED": code_pb2.PERMISSION_DENIED,
    "DENIED": code_pb2.PERMISSION_DENIED,
    "NOT_PARTICIPATING": code_pb2.PERMISSION_DENIED,
    "FEDERATION_STOPPED": code_pb2.UNAVAILABLE,
    "ROSTER_EXPIRED": code_pb2.FAILED_PRECONDITION,
    "ROSTER_FORK": code_pb2.FAILED_PRECONDITION,
    "NOT_FOUND": code_pb2.NOT_FOUND,
    "LOG_DIVERGED": code_pb2.FAILED_PRECONDITION,
    "LOG_STOPPED": code_pb2.FAILED_PRECONDITION,
    "STALE": code_pb2.ABORTED,
    "WRONG_STATE_FOR_STEP": code_pb2.FAILED_PRECONDITION,
    "QUOTA": code_pb2.RESOURCE_EXHAUSTED,
    "TOO_LARGE": code_pb2.RESOURCE_EXHAUSTED,
    "UNAVAILABLE": code_pb2.UNAVAILABLE,
    "SAME_PERSON": code_pb2.PERMISSION_DENIED,
    "POLICY_REFUSED": code_pb2.FAILED_PRECONDITION,
    "SIGNING_PAUSED": code_pb2.UNAVAILABLE,
    "INTERNAL": code_pb2.INTERNAL,
    "REQUEST_ID_REUSED": code_pb2.ALREADY_EXISTS,
}
_REASONS = frozenset(name for name, _ in error_pb2.ErrorReason.items())
_RETRIES = {"QUOTA", "UNAVAILABLE", "FEDERATION_STOPPED", "SIGNING_PAUSED"}
_STORAGE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)
MAX_VIOLATIONS = 25
"""Named where a call fails: its status travels in metadata, of which clients take 8 KiB."""

log = structlog.get_logger(__name__)


class InvalidRequestError(DiefError):
    """A request breaks a rule; `violations` are pairs (field path, rule and mend), without values."""

    default_reason = "INVALID"
    default_mend = "Mend the named fields and send again; nothing was changed."

    def __init__(self, violations: Iterable[tuple[str, str]]) -> None:
        self.violations = tuple(violations)
        fields = ", ".join(sorted({field or "(message)" for field, _ in self.violations})[:10])
        super().__init__(f"The request breaks rules at: {fields}.")


class NotFoundError(DiefError):
    """Not there, or not for the caller: never told apart (I2)."""

    default_reason = "NOT_FOUND"
    default_mend = "Check the name."


class QuotaError(DiefError):
    """The caller has too much under way (I11)."""

    default_reason = "QUOTA"
    default_mend = "Finish or cancel something, then retry."


class StorageAwayError(DiefError):
    """The database does not answer."""

    default_reason: ClassVar[str] = "UNAVAILABLE"
    default_mend: ClassVar[str] = "Retry later; the node's operator sees why in its log."


class UnexpectedError(DiefError):
    """Something went wrong that nobody thought of; only its class is told."""

    default_reason: ClassVar[str] = "INTERNAL"


def told(error: Exception, call: str) -> DiefError:
    """What the caller is told of an exception. One that is no DiefError is logged without its text.

    Args:
        error: What was raised.
        call: Name of the request message.
    """
    if isinstance(error, DiefError):
        return error
    name = type(error).__name__
    log.error("call_failed", call=call, **failure(error))
    if isinstance(error, _STORAGE):
        return StorageAwayError(f"The node's storage does not answer ({name}).")
    return UnexpectedError(f"The node failed at this call ({name}).")


def validate(request: Message) -> None:
    """Check a request against its rules, and against what a database can hold.

    Raises:
        InvalidRequestError: Names the fields.
    """
    broken = list(bounds.impossible(request))
    if not broken:
        broken = [
            (field_path(violation), violation.proto.message)
            for violation in protovalidate.collect_violations(request)
        ]
    if broken:
        raise InvalidRequestError(broken)


def status_of(error: DiefError, most: int | None = None) -> status_pb2.Status:
    """The status of a domain error, with ErrorInfo, and BadRequest or RetryInfo where they apply.

    Args:
        error: What went wrong.
        most: How many fields BadRequest names; None = all.
    """
    reason = (
        error.reason
        if error.reason in error_pb2.ErrorReason.keys() or _known(error.reason)
        else "UNAVAILABLE"
    )
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata={"mend": error.mend})
    ]
    violations = getattr(error, "violations", ())
    if violations:
        bad = error_details_pb2.BadRequest()
        for field, description in violations[:most]:
            bad.field_violations.add(field=field, description=description)
        details.append(bad)
    if reason in _RETRIES:
        details.append(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=RETRY_SECONDS)))
    return status_pb2.Status(
        code=_CODES.get(reason, code_pb2.INTERNAL),
        message=error.diagnosis,
        details=[_pack(d) for d in details],
    )


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: DiefError) -> NoReturn:
    """End a call with the status of a domain error, and count it."""
    refused.inc(error.reason)
    status = rpc_status.to_status(status_of(error, MAX_VIOLATIONS))
    context.set_trailing_metadata(status.trailing_metadata)
    await context.abort(status.code, status.details)
    raise RuntimeError("abort returned")


def _known(reason: str) -> bool:
    return f"ERROR_REASON_{reason}" in _REASONS


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
