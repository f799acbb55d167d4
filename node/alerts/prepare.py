"""From one stored entry to what is written of it: pure, and the costly half of projecting, so it may run anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from dief.v1 import codes_pb2 as c
from dief.v1 import handling_pb2
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.event_pb2 import AlertWithdrawn, ListPart

from node.alerts.bodies import ALERT_KINDS, LIST_PART, WITHDRAWN, InvalidBody, ParsedBody, Refusal, parse_body
from node.alerts.columns import BLANK, Columns, columns, gathered_columns
from node.alerts.indicators import facts, gathered_facts, item_facts, keys
from node.alerts.states import Held, uuid_of
from node.ledger.events import StoredEntry


@dataclass(slots=True)
class Prepared:
    """What is written of one entry.

    Attributes:
        uuid: The alert it is about, None where it is about none.
        held: Value of Held.
        refusal: Why nothing of it is shown, or None.
        expires_ms: The earlier one of header's and handling's expiry.
        columns: What it can be filtered by.
        keys: Pairs (kind, key) for the index.
    """

    uuid: bytes | None
    held: int
    refusal: Refusal | None = None
    expires_ms: int | None = None
    columns: Columns = BLANK
    keys: list[tuple[int, int]] | None = None


def prepare(entry: StoredEntry, audience: handling_pb2.Audience) -> Prepared:
    """Check an entry's body and work out its row and its keys.

    Args:
        entry: A stored entry of any kind that the ledger does not understand itself.
        audience: Audience of its log.
    """
    kind = entry.kind
    uuid = uuid_of(entry.subject, entry.origin) if kind in ALERT_KINDS else None
    if entry.body is None:
        held = Held.WITHDRAWN if kind == WITHDRAWN else Held.ERASED
        return Prepared(uuid, held, expires_ms=entry.expires_ms)
    parsed = parse_body(
        kind,
        entry.body,
        subject=entry.subject,
        revision=entry.revision,
        origin=entry.origin,
        audience=audience,
        reader_role=entry.reader_role,
    )
    if isinstance(parsed, InvalidBody):
        held = Held.INVALID if parsed.reason is Refusal.INVALID_BODY else Held.HIDDEN
        return Prepared(uuid, held, parsed.reason, entry.expires_ms)
    return _valid(parsed, entry.expires_ms)


def _valid(parsed: ParsedBody, expires_ms: int | None) -> Prepared:
    if parsed.alert is not None:
        return _content(parsed, parsed.alert, expires_ms)
    event = parsed.event
    if isinstance(event, AlertWithdrawn):
        unfounded = event.reason == c.WITHDRAWAL_REASON_UNFOUNDED
        return Prepared(parsed.uuid, Held.UNFOUNDED if unfounded else Held.WITHDRAWN)
    if parsed.gathered is None:
        return Prepared(parsed.uuid, Held.CONTENT, expires_ms=expires_ms, keys=list_part_keys(event))
    return Prepared(
        parsed.uuid, Held.CONTENT, expires_ms=expires_ms, keys=keys(gathered_facts(parsed.gathered, None))
    )


def list_part_keys(part: object) -> list[tuple[int, int]]:
    """Index keys of a list part's items."""
    return keys(item_facts(part.items)) if isinstance(part, ListPart) else []


def _content(parsed: ParsedBody, alert: DiversionAlert, expires_ms: int | None) -> Prepared:
    handling = alert.handling
    if handling.HasField("expires_on"):
        told = handling.expires_on
        told_ms = told.seconds * 1000 + told.nanos // 1_000_000
        expires_ms = told_ms if expires_ms is None else min(told_ms, expires_ms)
    gathered = parsed.gathered
    if gathered is None:
        return Prepared(parsed.uuid, Held.CONTENT, None, expires_ms, columns(alert), keys(facts(alert)))
    found = keys(gathered_facts(gathered, handling))
    return Prepared(parsed.uuid, Held.CONTENT, None, expires_ms, gathered_columns(gathered), found)


def is_part(kind: int) -> bool:
    """Whether an event kind carries only some items of an alert."""
    return kind == LIST_PART
