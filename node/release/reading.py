"""Drafts as officers and approvers read them: as they would leave or left, without what is stripped.

Answers are bounded: a page of drafts ends where it has about 2 MiB, and further items are given up to 1 MiB.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from dief.v1 import draft_pb2
from sqlalchemy import Connection, Row

from node.alerts.states import name_of
from node.ops.clock import to_timestamp
from node.release import rows
from node.release.audiences import NobodyLeftError
from node.release.errors import PageTokenError
from node.release.releasing import WITHDRAW, Releaser
from node.release.rows import DraftRecord, draft_name
from node.release.standing import own_alert, told_at

DEFAULT_PAGE = 100
MAX_PAGE = 500
MAX_PAGE_BYTES = 2 << 20
MAX_FURTHER_BYTES = 1 << 20


def etag_of(draft: DraftRecord) -> str:
    """Etag of a draft: changes with every write."""
    return f"v{draft.version}"


def show(conn: Connection, releaser: Releaser, draft: DraftRecord, *, whole: bool = True) -> draft_pb2.Draft:
    """A draft for people.

    Args:
        conn: Transaction.
        releaser: Says how it would leave.
        draft: Its row.
        whole: Whether further items are given too.
    """
    return _shown(conn, releaser, draft, rows.decisions(conn, [draft.id])[draft.id], whole=whole)


def show_page(
    conn: Connection, releaser: Releaser, states: Sequence[int], size: int, token: str
) -> tuple[list[draft_pb2.Draft], str]:
    """A page of drafts, newest first, and the token for the next one.

    Raises:
        PageTokenError: The token is not one of ours.
    """
    limit = min(size or DEFAULT_PAGE, MAX_PAGE)
    found = rows.page(conn, states, _position(token), limit + 1)
    decisions = rows.decisions(conn, [row.id for row in found])
    shown: list[draft_pb2.Draft] = []
    weight = 0
    for row in found[:limit]:
        draft = _shown(conn, releaser, row, decisions[row.id], whole=False)
        weight += draft.ByteSize()
        if shown and weight > MAX_PAGE_BYTES:
            break
        shown.append(draft)
    more = len(found) > len(shown)
    return shown, _token(found[len(shown) - 1].id) if more else ""


def _shown(
    conn: Connection, releaser: Releaser, row: DraftRecord, decisions: Sequence[Row[Any]], *, whole: bool
) -> draft_pb2.Draft:
    draft = draft_pb2.Draft(
        name=draft_name(row.uuid),
        etag=etag_of(row),
        action=row.action,
        state=row.state,
        withdrawal_reason=row.withdrawal_reason,
        drafter=row.drafter,
        registry_key=row.registry_key,
        decisions=[_decision(decision) for decision in decisions],
        policy_outcome=row.policy_outcome,
        policy_rule=row.policy_rule,
        recipients=row.recipients.split(),
        created_at=to_timestamp(row.created_ms),
        released_revision=row.released_revision,
    )
    if row.content is not None:
        _show_content(draft, releaser, row, whole=whole)
    if row.alert_uuid is not None:
        draft.alert.name = name_of(releaser.own_state, row.alert_uuid)
    if row.state == rows.RELEASED:
        draft.released_alert = draft.alert.name
        draft.released_at.CopyFrom(to_timestamp(row.released_ms))
        draft.alert.revision = row.released_revision
        told = told_at(conn, row.released_log, row.released_seq) if row.content is not None else None
        if told is not None:
            draft.alert.handling.CopyFrom(told.handling)
            draft.audience.CopyFrom(told.handling.audience)
    elif row.action == WITHDRAW and row.alert_uuid is not None:
        about = own_alert(conn, releaser.own_state, row.alert_uuid)
        members = () if about is None else about.members()
        draft.recipients.extend(state for state in members if state != releaser.own_state)
    return draft


def _show_content(draft: draft_pb2.Draft, releaser: Releaser, row: DraftRecord, *, whole: bool) -> None:
    content = draft_pb2.DraftInput.FromString(row.content)
    try:
        leaving = releaser.leaving(row, content)
    except NobodyLeftError:
        leaving = releaser.to_nobody(content)
    draft.alert.CopyFrom(leaving.stripped.alert)
    draft.audience.CopyFrom(leaving.audience)
    draft.stripped_fields.extend(leaving.stripped.paths)
    draft.further_item_count = len(leaving.stripped.further_items)
    if row.state != rows.RELEASED:
        draft.recipients.extend(leaving.recipients)
    weight = 0
    for item in leaving.stripped.further_items if whole else ():
        weight += item.ByteSize()
        if weight > MAX_FURTHER_BYTES:
            break
        draft.further_items.append(item)


def _decision(row: Row[Any]) -> draft_pb2.ReleaseDecision:
    return draft_pb2.ReleaseDecision(
        outcome=row.outcome,
        decided_by=row.decided_by,
        legal_basis=row.legal_basis,
        reason=row.reason,
        decided_at=to_timestamp(row.at_ms),
    )


def _token(position: int) -> str:
    return base64.urlsafe_b64encode(position.to_bytes(8, "big")).decode()


def _position(token: str) -> int | None:
    if not token:
        return None
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 8:
        raise PageTokenError("The page token is not one of this node's.")
    return int.from_bytes(raw, "big", signed=True)
