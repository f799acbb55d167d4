"""Making drafts of what is handed in: which alert it is about, and whether it may become a draft at all.

Nothing is stored here; what comes out is checked whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from dief.v1 import draft_pb2
from sqlalchemy import Connection

from node.alerts.states import uuid_of
from node.identity.spiffe import SpiffeId
from node.release import policy as policies
from node.release.content import checked, stored_form
from node.release.errors import AlertEndedError, AlertNotFoundError, InvalidDraftError, StaleDraftError
from node.release.releasing import PUBLISH, REVISE, WITHDRAW
from node.release.rows import DraftRecord
from node.release.standing import OwnAlert, own_alert

_REASONS = (1, 2)
"""WITHDRAWN and UNFOUNDED of dief.v1.WithdrawalReason."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a draft comes from.

    Attributes:
        drafter: SPIFFE ID of the registry or officer.
        request_id: Client's UUID for drafts by hand, or empty.
        stream_id: Key of the registry's stream, None for drafts by hand.
        stream: Its name.
        registry_key: The registry's key of the record.
    """

    drafter: SpiffeId
    request_id: str = ""
    stream_id: int | None = None
    stream: str = ""
    registry_key: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A checked draft that is not stored yet.

    Attributes:
        action: PUBLISH, REVISE or WITHDRAW.
        content: What is stored; None for a withdrawal.
        about: The alert that it revises or withdraws.
        withdrawal_reason: Value of dief.v1.WithdrawalReason.
        excluded: States that earlier decisions left out.
        at_least: Outcome that the policy's may not fall below.
    """

    action: int
    content: draft_pb2.DraftInput | None = None
    about: OwnAlert | None = None
    withdrawal_reason: int = 0
    excluded: frozenset[str] = frozenset()
    at_least: int = policies.AUTO


def by_hand(conn: Connection, given: draft_pb2.DraftInput, own_state: str, now_ms: int) -> Step:
    """A checked draft of what an officer handed in.

    Args:
        conn: Transaction.
        given: Hostile until this returns.
        own_state: The originator.
        now_ms: This node's clock.

    Raises:
        InvalidDraftError: Names the fields.
        AlertNotFoundError, AlertEndedError, StaleDraftError: About the alert that it revises or withdraws.
    """
    action = _action(given)
    if action == PUBLISH:
        if given.alert.name or given.alert_name:
            raise InvalidDraftError([("alert.name", "A new alert has no name yet: leave it empty.")])
        return publishing(given, own_state, now_ms)
    if action == REVISE:
        about = _about(conn, given.alert.name, "alert.name", own_state)
        if given.alert.revision not in (0, about.revision):
            raise StaleDraftError(
                f"The newest revision is {about.revision}, not the one that this was made from."
            )
        return revising(given, about, own_state, now_ms)
    if action == WITHDRAW:
        about = _about(conn, given.alert_name or given.alert.name, "alert_name", own_state)
        return withdrawing(about, given.withdrawal_reason)
    raise InvalidDraftError([("action", "Not an action: PUBLISH, REVISE or WITHDRAW.")])


def is_repeat(made: DraftRecord, given: draft_pb2.DraftInput, own_state: str) -> bool:
    """Whether what is handed in is what a draft was made of; False also where its content is erased by now."""
    action = _action(given)
    if made.action != action:
        return False
    if action == WITHDRAW:
        about = uuid_of(given.alert_name or given.alert.name, own_state)
        return bool(made.alert_uuid == about and made.withdrawal_reason == given.withdrawal_reason)
    if made.content is None:
        return False
    return draft_pb2.DraftInput.FromString(made.content) == stored_form(
        given, own_state, new=action == PUBLISH
    )


def _action(given: draft_pb2.DraftInput) -> int:
    return int(given.action) or (REVISE if given.alert.name else PUBLISH)


def publishing(
    given: draft_pb2.DraftInput, own_state: str, now_ms: int, *, at_least: int = policies.AUTO
) -> Step:
    """A checked draft of a new alert.

    Raises:
        InvalidDraftError: Names the fields.
    """
    return Step(PUBLISH, checked(given, own_state, now_ms, new=True), at_least=at_least)


def revising(
    given: draft_pb2.DraftInput,
    about: OwnAlert,
    own_state: str,
    now_ms: int,
    *,
    excluded: frozenset[str] = frozenset(),
) -> Step:
    """A checked draft of the next revision.

    Raises:
        InvalidDraftError: Names the fields.
    """
    return Step(REVISE, checked(given, own_state, now_ms), about, excluded=excluded)


def withdrawing(about: OwnAlert, reason: int) -> Step:
    """A checked draft of a withdrawal.

    Raises:
        InvalidDraftError: There is no reason.
    """
    if reason not in _REASONS:
        raise InvalidDraftError([("withdrawal_reason", "Say why: WITHDRAWN or UNFOUNDED.")])
    return Step(WITHDRAW, None, about, withdrawal_reason=reason)


def _about(conn: Connection, name: str, field: str, own_state: str) -> OwnAlert:
    if not name:
        raise InvalidDraftError([(field, "Name the alert, alerts/<state>/<uuid>.")])
    uuid = uuid_of(name, own_state)
    found = None if uuid is None else own_alert(conn, own_state, uuid)
    if found is None:
        raise AlertNotFoundError("There is no such alert of this State.")
    if not found.unerased:
        raise AlertEndedError("The alert is withdrawn or erased already.")
    return found
