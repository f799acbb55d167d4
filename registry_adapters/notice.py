"""What a registry is told: a hit on one of its records, that a hit is cleared or decided, what became of a record.

Rules:
- A notice holds ids, field names, strengths and codes, never content of an alert: so the erasure of the alert leaves
  nothing of it in the registry.
- Every notice has an id; the same id again says the same thing, so a sink may meet it twice and keep it once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from dief.v1 import codes_pb2, draft_pb2, registry_pb2, watch_pb2
from google.protobuf.timestamp_pb2 import Timestamp

_CLEARED: Final = {
    watch_pb2.CLEAR_REASON_WITHDRAWN: "The alert was taken back, or this State is no longer told of it.",
    watch_pb2.CLEAR_REASON_UNFOUNDED: "The alert was wrong: whoever was named is cleared.",
    watch_pb2.CLEAR_REASON_EXPIRED: "The alert has expired.",
    watch_pb2.CLEAR_REASON_REVISED: "The alert was revised and does not meet this record any more.",
    watch_pb2.CLEAR_REASON_RECORD_CHANGED: "The record changed and does not meet the alert any more.",
    watch_pb2.CLEAR_REASON_RECORD_GONE: "The record is not under watch any more.",
    watch_pb2.CLEAR_REASON_HIDDEN: "The alert's handling is not understood by this node any more.",
}
_OUTCOMES: Final = {
    draft_pb2.DRAFT_STATE_WAITING: "Waits for a person's decision.",
    draft_pb2.DRAFT_STATE_HELD: "Held by the release policy.",
    draft_pb2.DRAFT_STATE_REFUSED: "Refused: it is not told to other States.",
    draft_pb2.DRAFT_STATE_RELEASED: "Released to other States.",
    draft_pb2.DRAFT_STATE_SUPERSEDED: "Replaced or dropped before it was told to anyone.",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to be told.

    Attributes:
        notice: Id; the idempotency key.
        kind: HIT, HIT_CLEARED, HIT_DECIDED or OUTCOME.
        record_key: The registry's key of its record.
        reference: What officers call the record.
        hit: "hits/{uuid7}"; "" for an outcome.
        version: Version of the hit; 0 for an outcome.
        alert: "alerts/{origin}/{uuid7}"; "" where there is none.
        revision: Revision of the alert.
        call: State to ask; "" for an outcome.
        strength: LEAD, STRONG or IDENTITY; "" where nothing meets any more.
        fields: The record's fields that met, separated by "; ".
        status: State of the hit, or of the record's draft.
        decision: The officer's decision, if any.
        reason: In words.
        at: When, ISO 8601 UTC.
    """

    notice: str
    kind: str
    record_key: str
    reference: str = ""
    hit: str = ""
    version: int = 0
    alert: str = ""
    revision: int = 0
    call: str = ""
    strength: str = ""
    fields: str = ""
    status: str = ""
    decision: str = ""
    reason: str = ""
    at: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Names to values, in the order above."""
        return asdict(self)


NAMES: Final = tuple(Notice.__dataclass_fields__)
"""Names of a notice's values."""


def of_hit(hit: watch_pb2.Hit) -> Notice:
    """What a hit says, in its present version."""
    kind = {watch_pb2.HIT_STATE_CLEARED: "HIT_CLEARED", watch_pb2.HIT_STATE_DECIDED: "HIT_DECIDED"}.get(
        hit.state, "HIT"
    )
    fields = list(dict.fromkeys(match.field for match in hit.matches))
    decision = _word(codes_pb2.HitDecision, hit.decision)
    reason = f"{', '.join(fields)} meets alert {hit.alert}. No match is a decision: ask {hit.origin} first."
    if kind == "HIT_CLEARED":
        reason = _CLEARED.get(hit.clear_reason, "Cleared.")
    elif kind == "HIT_DECIDED":
        reason = f"An officer decided: {decision}."
    return Notice(
        notice=f"{hit.name}#{hit.version}",
        kind=kind,
        record_key=hit.key,
        reference=hit.reference,
        hit=hit.name,
        version=hit.version,
        alert=hit.alert,
        revision=hit.revision,
        call=hit.origin,
        strength=_word(codes_pb2.MatchStrength, hit.strength),
        fields="; ".join(fields),
        status=_word(watch_pb2.HitState, hit.state),
        decision=decision,
        reason=reason,
        at=_moment(hit.changed_at),
    )


def of_standing(standing: registry_pb2.RecordStanding) -> Notice:
    """What became of a record."""
    status = _word(draft_pb2.DraftState, standing.state)
    said = _OUTCOMES.get(standing.state, "")
    if standing.reason:
        said = f"{said} {standing.reason}".strip()
    return Notice(
        notice=f"{standing.draft}#{status}#{standing.revision}",
        kind="OUTCOME",
        record_key=standing.key,
        alert=standing.alert,
        revision=standing.revision,
        status=status,
        reason=said,
        at=_moment(standing.changed_at),
    )


def _moment(at: Timestamp) -> str:
    moment = datetime.fromtimestamp(at.seconds + at.nanos / 1e9, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(enum: Any, number: int) -> str:
    """A code without its enum's prefix, "" for none."""
    if not number or number not in enum.values():
        return ""
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return str(enum.Name(number)).removeprefix(prefix)
