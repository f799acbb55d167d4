"""What tests do with running nodes, in one line each: publish, revise, withdraw, look, wait."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import grpc
from dief.v1 import codes_pb2, desk_pb2, draft_pb2, handling_pb2
from dief.v1.alert_pb2 import DiversionAlert

from tests.support.alerts import minimal_alert
from tests.support.nodes import NodeProcess, desk
from tests.support.waiting import until

CALL_SECONDS = 30


def content(title: str, serial: str, states: Sequence[str] = (), origin: str = "XA") -> DiversionAlert:
    """Content of a new alert: no name yet; for named States, or for all States Parties."""
    alert = minimal_alert(origin, title=title, serial=serial, states=tuple(states) or ("XB",))
    if not states:
        alert.handling.audience.kind = handling_pb2.AUDIENCE_KIND_STATES_PARTIES
        del alert.handling.audience.states[:]
    alert.ClearField("name")
    alert.ClearField("revision")
    return alert


def submit(node: NodeProcess, draft: draft_pb2.DraftInput) -> draft_pb2.Draft:
    """Hand a draft in as an officer."""
    with node.national("officer") as channel:
        request = desk_pb2.CreateDraftRequest(input=draft, request_id=str(uuid.uuid4()))
        return desk(channel).CreateDraft(request, timeout=CALL_SECONDS).draft


def publish(node: NodeProcess, alert: DiversionAlert) -> str:
    """Publish an alert; its resource name. The policy has to release it by rule."""
    made = submit(node, draft_pb2.DraftInput(action=draft_pb2.DRAFT_ACTION_PUBLISH, alert=alert))
    assert made.state == draft_pb2.DRAFT_STATE_RELEASED, made
    return made.released_alert


def revise(node: NodeProcess, name: str, alert: DiversionAlert) -> int:
    """Publish the next revision; its number."""
    changed = DiversionAlert()
    changed.CopyFrom(alert)
    changed.name = name
    made = submit(node, draft_pb2.DraftInput(action=draft_pb2.DRAFT_ACTION_REVISE, alert=changed))
    assert made.state == draft_pb2.DRAFT_STATE_RELEASED, made
    return made.released_revision


def withdraw(node: NodeProcess, name: str, *, unfounded: bool = False) -> None:
    """Take an alert back."""
    reason = codes_pb2.WITHDRAWAL_REASON_UNFOUNDED if unfounded else codes_pb2.WITHDRAWAL_REASON_WITHDRAWN
    made = submit(
        node,
        draft_pb2.DraftInput(
            action=draft_pb2.DRAFT_ACTION_WITHDRAW, alert_name=name, withdrawal_reason=reason
        ),
    )
    assert made.state == draft_pb2.DRAFT_STATE_RELEASED, made


def view(node: NodeProcess, name: str) -> desk_pb2.AlertView | None:
    """An alert as an officer of that node reads it, or None where it is not known there."""
    with node.national("officer") as channel:
        try:
            request = desk_pb2.GetAlertViewRequest(name=name)
            return desk(channel).GetAlertView(request, timeout=CALL_SECONDS).alert
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise


def wait_for(node: NodeProcess, name: str, revision: int = 1, *, seconds: float = 30) -> desk_pb2.AlertView:
    """The alert, once a node holds that revision of it."""

    def look() -> desk_pb2.AlertView | None:
        found = view(node, name)
        return found if found is not None and found.revision >= revision else None

    found = until(look, f"revision {revision} at {node.state}; log: {node.log_tail(10)}", seconds=seconds)
    assert found is not None
    return found


def wait_until_gone(node: NodeProcess, name: str, *, seconds: float = 30) -> desk_pb2.AlertView:
    """The alert, once a node shows no content of it any more."""

    def look() -> desk_pb2.AlertView | None:
        found = view(node, name)
        return found if found is not None and not found.HasField("alert") else None

    found = until(look, f"{name} gone at {node.state}", seconds=seconds)
    assert found is not None
    return found
