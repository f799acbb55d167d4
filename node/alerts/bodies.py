"""Bodies that come out of logs: from hostile bytes to an event, or to the reason why nothing of it is shown.

Rules:
- A kind that is not known is NOT_UNDERSTOOD.
- A value of the handling that is not known makes it HIDDEN: it is never read as permission.
- Everything else that breaks a rule or contradicts its header or its log is INVALID_BODY: field rules, conditions,
  a name, revision or originator unlike the header's, an audience or reader role unlike the genesis's.
- None of these stops a log (I10).

Source: design.md 3 (I10), 5; protos/dief/v1/event.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import protovalidate
from dief.v1 import handling_pb2 as h
from dief.v1 import log_pb2
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.event_pb2 import AlertPublished, AlertRevised, AlertWithdrawn, ListPart
from google.protobuf.message import DecodeError, Message

from node.alerts.columns import GATHERED_COLUMNS
from node.alerts.compiled import CompiledRules, Gathered
from node.alerts.conditions import broken_conditions
from node.alerts.indicators import GATHERED
from node.alerts.states import uuid_of

Event = AlertPublished | AlertRevised | AlertWithdrawn | ListPart

PUBLISHED = int(log_pb2.EVENT_KIND_ALERT_PUBLISHED)
REVISED = int(log_pb2.EVENT_KIND_ALERT_REVISED)
WITHDRAWN = int(log_pb2.EVENT_KIND_ALERT_WITHDRAWN)
LIST_PART = int(log_pb2.EVENT_KIND_LIST_PART)
ALERT_KINDS = frozenset({PUBLISHED, REVISED, WITHDRAWN, LIST_PART})
LEDGER_KINDS = frozenset(
    {log_pb2.EVENT_KIND_GENESIS, log_pb2.EVENT_KIND_ERASURE, log_pb2.EVENT_KIND_EPOCH_CLOSED}
)
"""Kinds that the ledger itself understands; they carry nothing to show."""

_TYPES: dict[int, type[Event]] = {
    PUBLISHED: AlertPublished,
    REVISED: AlertRevised,
    WITHDRAWN: AlertWithdrawn,
    LIST_PART: ListPart,
}
_AUDIENCES = frozenset(h.AudienceKind.values())
_ROLES = frozenset(h.ReaderRole.values())
_TLPS = frozenset(h.Tlp.values())
_PURPOSES = frozenset(h.Purpose.values())
_RESTRICTIONS = frozenset(h.UseRestriction.values())


class Refusal(StrEnum):
    """Why nothing of an authentic entry is shown."""

    INVALID_BODY = "INVALID_BODY"
    NOT_UNDERSTOOD = "NOT_UNDERSTOOD"
    HIDDEN = "HIDDEN"


@dataclass(frozen=True, slots=True)
class ParsedBody:
    """A valid body.

    Attributes:
        event: The event.
        alert: The alert in it, None for withdrawals and list parts.
        uuid: The 16 bytes of the alert's UUID.
        gathered: Searchable fields as node.alerts.indicators.GATHERED codes them, None where they were not read.
    """

    event: Event
    alert: DiversionAlert | None
    uuid: bytes
    gathered: Gathered | None


@dataclass(frozen=True, slots=True)
class InvalidBody:
    """A body of which nothing is shown.

    Attributes:
        reason: Why.
        detail: Field and rule for operators, without content.
    """

    reason: Refusal
    detail: str


@cache
def validator() -> protovalidate.Validator:
    """The one validator of this process; it keeps what it compiled."""
    return protovalidate.Validator()


@cache
def _rules(kind: int) -> CompiledRules:
    return CompiledRules(_TYPES[kind].DESCRIPTOR, GATHERED | GATHERED_COLUMNS)


def parse_body(
    kind: int,
    body: bytes,
    *,
    subject: str,
    revision: int,
    origin: str,
    audience: h.Audience,
    reader_role: int,
) -> ParsedBody | InvalidBody:
    """Check a body against its rules, its header and its log.

    Args:
        kind: Kind of the header.
        body: Exact bytes as logged.
        subject: Subject of the header.
        revision: Revision of the header.
        origin: Origin of the log.
        audience: Audience of the log's genesis.
        reader_role: Reader role of the log's genesis.
    """
    event_type = _TYPES.get(kind)
    if event_type is None:
        return InvalidBody(Refusal.NOT_UNDERSTOOD, f"kind {kind}")
    if reader_role not in _ROLES or audience.kind not in _AUDIENCES:
        return InvalidBody(Refusal.HIDDEN, "audience of the log")
    uuid = uuid_of(subject, origin)
    if uuid is None:
        return InvalidBody(Refusal.INVALID_BODY, "subject: not an alert of this origin")
    try:
        event = event_type.FromString(body)
    except DecodeError:
        return InvalidBody(Refusal.INVALID_BODY, "body: does not parse")
    alert = None
    if isinstance(event, AlertPublished | AlertRevised):
        alert = event.alert
        if not _understood(alert.handling):
            return InvalidBody(Refusal.HIDDEN, "alert.handling: a value is not understood")
    gathered = _rules(kind).gather(body)
    broken = _first_violation(event) if gathered is None else None
    if broken is None:
        broken = _contradiction(event, alert, subject, revision, origin, audience, reader_role)
    if broken is not None:
        return InvalidBody(Refusal.INVALID_BODY, broken)
    return ParsedBody(event, alert, uuid, gathered)


def _understood(handling: h.Handling) -> bool:
    audience = handling.audience
    return (
        handling.tlp in _TLPS
        and audience.kind in _AUDIENCES
        and audience.reader_role in _ROLES
        and _PURPOSES.issuperset(handling.purposes)
        and (not handling.restrictions or _RESTRICTIONS.issuperset(handling.restrictions))
    )


def _first_violation(event: Message) -> str | None:
    found = validator().collect_violations(event, fail_fast=True)
    return describe(found[0]) if found else None


def describe(violation: protovalidate.Violation) -> str:
    """Field and rule of a violation, without content."""
    return f"{field_path(violation)}: {violation.proto.rule_id}"


def field_path(violation: protovalidate.Violation) -> str:
    """Field path of a violation, for example "items[0].serials[1].as_read"."""
    parts = []
    field = violation.proto.field
    for element in field.elements if field else ():
        subscript = element.subscript
        index = f"[{subscript.value}]" if subscript is not None and subscript.field == "index" else ""
        parts.append(f"{element.field_name}{index}")
    return ".".join(parts)


def _contradiction(
    event: Event,
    alert: DiversionAlert | None,
    subject: str,
    revision: int,
    origin: str,
    audience: h.Audience,
    reader_role: int,
) -> str | None:
    """What in a body breaks a condition or contradicts its header or its log, None where nothing does."""
    if alert is None:
        if isinstance(event, ListPart) and (event.alert, event.revision) != (subject, revision):
            return "alert: is not the header's subject and revision"
        return None
    conditions = broken_conditions(alert)
    if conditions:
        return f"alert.{conditions[0].field}: {conditions[0].rule}"
    if alert.name != subject:
        return "alert.name: is not the header's subject"
    if alert.revision != revision:
        return "alert.revision: is not the header's"
    if alert.originator != origin:
        return "alert.originator: is not the log's origin"
    told = alert.handling.audience
    if told.reader_role != reader_role or not (told == audience or _same_states(told, audience)):
        return "alert.handling.audience: is not the log's"
    return None


def _same_states(told: h.Audience, audience: h.Audience) -> bool:
    return told.kind == audience.kind and set(told.states) == set(audience.states)
