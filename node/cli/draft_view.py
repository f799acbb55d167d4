"""Drafts as rows and pages for people and machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dief.v1 import draft_pb2

COLUMNS = ("draft", "action", "state", "title", "recipients", "rule", "created_at")


def draft_row(draft: draft_pb2.Draft) -> dict[str, Any]:
    """One draft as a row."""
    from dief.v1 import draft_pb2, handling_pb2

    from node.cli.alert_file import alert_to_dict
    from node.ops.clock import from_timestamp, to_iso

    audience = handling_pb2.AudienceKind.Name(draft.audience.kind).removeprefix("AUDIENCE_KIND_")
    return {
        "draft": draft.name,
        "etag": draft.etag,
        "action": draft_pb2.DraftAction.Name(draft.action).removeprefix("DRAFT_ACTION_"),
        "state": draft_pb2.DraftState.Name(draft.state).removeprefix("DRAFT_STATE_"),
        "title": draft.alert.titles[0].text if draft.alert.titles else "",
        "audience": audience
        if not draft.audience.states
        else f"{audience} {' '.join(draft.audience.states)}",
        "recipients": list(draft.recipients),
        "policy_outcome": draft_pb2.ReleaseOutcome.Name(draft.policy_outcome).removeprefix(
            "RELEASE_OUTCOME_"
        ),
        "rule": draft.policy_rule,
        "drafter": draft.drafter,
        "stripped_fields": list(draft.stripped_fields),
        "decisions": [
            {
                "outcome": draft_pb2.ReleaseOutcome.Name(decision.outcome).removeprefix("RELEASE_OUTCOME_"),
                "decided_by": decision.decided_by,
                "legal_basis": decision.legal_basis,
                "reason": decision.reason,
                "decided_at": to_iso(from_timestamp(decision.decided_at)),
            }
            for decision in draft.decisions
        ],
        "alert": draft.released_alert,
        "revision": draft.released_revision,
        "created_at": to_iso(from_timestamp(draft.created_at)),
        "content": alert_to_dict(draft.alert),
    }
