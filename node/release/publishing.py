"""The one door through which alerts leave: decided drafts become events in own logs.

Rules:
- Only this module hands events to the LogWriter, and it takes nothing but drafts whose decisions are recorded (I1).
- What it appends went through `strip` here, whatever was shown before.
- A revision names in its header, or in an erasing entry of the other log, every unerased entry of the alert: its
  revision before and all its list parts (I6). Moving to another audience is the same: told there, erased here.
- A withdrawal is appended to each log that holds something of the alert, closed or not.
- Drafts of one batch that go to one log are appended together: one signature.
- Nothing fails for one draft once something is appended: `check_erasable` is asked about all of them before. What is
  rolled back after signing would leave a signature in the anchor that the store lacks (I4).

Source: design.md 3 (I1, I2, I6), 4, 8.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dief.v1 import event_pb2, handling_pb2, log_pb2
from dief.v1.alert_pb2 import DiversionAlert
from sqlalchemy import Connection

from node.alerts.project import apply
from node.alerts.states import name_of
from node.ledger.errors import LogClosedError
from node.ledger.events import Applied, NewEvent
from node.ledger.state import LogState, audience_key
from node.ledger.writer import LogWriter
from node.ops.clock import from_timestamp
from node.release.content import split
from node.release.sensitivity import Stripped
from node.release.standing import OwnAlert

_PUBLISHED = int(log_pb2.EVENT_KIND_ALERT_PUBLISHED)
_REVISED = int(log_pb2.EVENT_KIND_ALERT_REVISED)
_WITHDRAWN = int(log_pb2.EVENT_KIND_ALERT_WITHDRAWN)
_LIST_PART = int(log_pb2.EVENT_KIND_LIST_PART)
_TOLD = frozenset({_PUBLISHED, _REVISED})


@dataclass(frozen=True, slots=True)
class Telling:
    """A decided revision of an alert.

    Attributes:
        uuid: The 16 bytes of the alert's UUID.
        revision: The one that it becomes.
        stripped: What `strip` left of the content.
        audience: As decided.
        before: What own logs hold of the alert, None where it is new.
    """

    uuid: bytes
    revision: int
    stripped: Stripped
    audience: handling_pb2.Audience
    before: OwnAlert | None


@dataclass(frozen=True, slots=True)
class Withdrawing:
    """A decided withdrawal; `reason` is a value of dief.v1.WithdrawalReason."""

    before: OwnAlert
    reason: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an event went."""

    log_id: bytes
    seq: int


def tell(conn: Connection, writer: LogWriter, own_state: str, tellings: Sequence[Telling]) -> list[Placed]:
    """Append revisions and project them.

    Args:
        conn: Write transaction.
        writer: Of the own logs.
        own_state: The originator.
        tellings: Each of another alert.

    Returns:
        Where each went, in order.

    Raises:
        SigningPausedError: Roll the whole transaction back.
    """
    groups: defaultdict[bytes, list[Telling]] = defaultdict(list)
    for telling in tellings:
        groups[audience_key(telling.audience)].append(telling)
    placed: dict[bytes, Placed] = {}
    for key, group in groups.items():
        events = [event for telling in group for event in _events(telling, own_state, key)]
        applied = writer.append(conn, group[0].audience, events)
        placed |= _places(applied)
        apply(conn, applied)
    return [placed[telling.uuid] for telling in tellings]


def withdraw(
    conn: Connection, writer: LogWriter, own_state: str, withdrawings: Sequence[Withdrawing]
) -> list[Placed]:
    """Append withdrawals, which erase, and project them.

    Args, Returns, Raises: As for `tell`.
    """
    groups: defaultdict[bytes, list[NewEvent]] = defaultdict(list)
    audiences: dict[bytes, handling_pb2.Audience] = {}
    for withdrawing in withdrawings:
        before = withdrawing.before
        body = event_pb2.AlertWithdrawn(reason=withdrawing.reason)  # type: ignore[arg-type]
        for log_id, log in before.logs.items():
            # A log closed for lost state takes nothing any more: its successor says it and erases into it.
            lost = log.state is LogState.LOST
            if lost:
                audiences[log_id] = handling_pb2.Audience.FromString(log.audience_key)
            groups[log_id].append(
                NewEvent(
                    kind=_WITHDRAWN,
                    subject=name_of(own_state, before.uuid),
                    revision=before.revision,
                    body=body.SerializeToString(deterministic=True),
                    erases=tuple(
                        (log_id if lost else b"", seq) for held, seq in before.unerased if held == log_id
                    ),
                )
            )
    placed: dict[bytes, Placed] = {}
    for log_id, events in groups.items():
        if log_id in audiences:
            applied = writer.append(conn, audiences[log_id], events)
        else:
            applied = writer.append_to(conn, log_id, events)
        placed |= _places(applied)
        apply(conn, applied)
    return [placed[withdrawing.before.uuid] for withdrawing in withdrawings]


def check_erasable(before: OwnAlert | None) -> None:
    """Whether every log that holds something of an alert would erase it.

    Raises:
        LogClosedError: One is stopped.
    """
    if before is not None and any(log.state is LogState.EVIDENCE for log in before.logs.values()):
        raise LogClosedError(
            "A log that holds this alert is stopped by evidence against it.",
            "Settle the evidence with the other members first; the logs of other audiences go on.",
        )


def _events(telling: Telling, own_state: str, key: bytes) -> list[NewEvent]:
    """List parts first, so that the alert never stands without them; then the alert."""
    name = name_of(own_state, telling.uuid)
    alert = DiversionAlert()
    alert.CopyFrom(telling.stripped.alert)
    alert.name, alert.revision = name, telling.revision
    alert.handling.audience.CopyFrom(telling.audience)
    items = split(alert, telling.stripped.further_items)
    del alert.items[:]
    alert.items.extend(items.in_alert)
    handling = alert.handling
    expires_ms = from_timestamp(handling.expires_on) if handling.HasField("expires_on") else None
    bodies = [
        event_pb2.ListPart(alert=name, revision=telling.revision, index=index, items=part).SerializeToString(
            deterministic=True
        )
        for index, part in enumerate(items.parts)
    ]
    digests = [hashlib.sha256(body).digest() for body in bodies]
    before = telling.before
    same = before is not None and any(log.audience_key == key for log in before.logs.values())
    event = (
        event_pb2.AlertRevised(alert=alert, list_part_digests=digests)
        if same
        else event_pb2.AlertPublished(alert=alert, list_part_digests=digests)
    )
    parts = [
        NewEvent(_LIST_PART, subject=name, revision=telling.revision, body=body, expires_ms=expires_ms)
        for body in bodies
    ]
    told = NewEvent(
        _REVISED if same else _PUBLISHED,
        subject=name,
        revision=telling.revision,
        body=event.SerializeToString(deterministic=True),
        expires_ms=expires_ms,
        erases=() if before is None else before.unerased,
    )
    return [*parts, told]


def _places(applied: Applied) -> dict[bytes, Placed]:
    """Where each alert's revision or withdrawal stands, by UUID."""
    return {
        bytes.fromhex(entry.subject.rpartition("/")[2].replace("-", "")): Placed(entry.log_id, entry.seq)
        for entry in applied.stored
        if entry.kind in _TOLD or entry.kind == _WITHDRAWN
    }
