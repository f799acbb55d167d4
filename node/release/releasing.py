"""From a decided draft to its release: what leaves, to whom, until when, and the record of it.

Rules:
- The audience is what was drafted, without the States that the rule or persons leave out; computed anew at release.
- A rule's expiry shortens, never lengthens.
- A draft about an alert that changed since is stale; it is never merged.
- Every release and withdrawal stands in the audit trail, in the same transaction (I8).
- Once an alert is revised or withdrawn, drafts keep nothing of what it said before (I6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dief.v1 import draft_pb2, handling_pb2
from sqlalchemy import Connection, update

from node import audit
from node.alerts.states import name_of
from node.ledger.writer import LogWriter
from node.ops.clock import from_timestamp, to_timestamp
from node.ops.ids import uuid7
from node.release import rows
from node.release.audiences import Members, narrow, recipients
from node.release.content import checked
from node.release.errors import AlertEndedError, AlertNotFoundError, StaleDraftError
from node.release.publishing import Placed, Telling, Withdrawing, check_erasable, tell, withdraw
from node.release.rows import DRAFT, RECORD, DraftRecord, draft_name
from node.release.sensitivity import Stripped, strip
from node.release.standing import OwnAlert, own_alert

PUBLISH = int(draft_pb2.DRAFT_ACTION_PUBLISH)
REVISE = int(draft_pb2.DRAFT_ACTION_REVISE)
WITHDRAW = int(draft_pb2.DRAFT_ACTION_WITHDRAW)
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Leaving:
    """A draft as it would leave now: without what is stripped, to whom, until when."""

    stripped: Stripped
    audience: handling_pb2.Audience
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Releaser:
    """Releases decided drafts of one State."""

    own_state: str
    writer: LogWriter
    members: Members
    now: Callable[[], int]

    def leaving(self, draft: DraftRecord, content: draft_pb2.DraftInput) -> Leaving:
        """How the content of a draft to publish or revise would leave now.

        Raises:
            NobodyLeftError: No State is left in its audience.
        """
        audience = narrow(
            content.alert.handling.audience,
            self.members,
            self.own_state,
            only=draft.limit_to.split() if draft.limited else None,
            exclude=draft.excluded.split(),
        )
        stripped = strip(content.alert, content.further_items)
        handling = stripped.alert.handling
        handling.audience.CopyFrom(audience)
        if draft.expiry_days:
            latest = self.now() + draft.expiry_days * DAY_MS
            if not handling.HasField("expires_on") or from_timestamp(handling.expires_on) > latest:
                handling.expires_on.CopyFrom(to_timestamp(latest))
        return Leaving(stripped, audience, recipients(audience, self.members, self.own_state))

    def to_nobody(self, content: draft_pb2.DraftInput) -> Leaving:
        """How content is shown whose audience has nobody left in it."""
        return Leaving(strip(content.alert, content.further_items), content.alert.handling.audience, ())

    def current(self, conn: Connection, draft: DraftRecord) -> OwnAlert:
        """The alert that a draft revises or withdraws, if it is still what the drafter saw.

        Raises:
            AlertNotFoundError: There never was one.
            AlertEndedError: Nothing of it is left.
            StaleDraftError: It was revised since.
        """
        found = None if draft.alert_uuid is None else own_alert(conn, self.own_state, draft.alert_uuid)
        if found is None:
            raise AlertNotFoundError("There is no such alert of this State.")
        if not found.unerased:
            raise AlertEndedError("The alert is withdrawn or erased already.")
        if draft.action == REVISE and found.revision != draft.base_revision:
            raise StaleDraftError(
                "The alert was revised since this draft was made.",
                "Refuse the draft, and make it again from the alert as it is now.",
            )
        return found

    def release(
        self,
        conn: Connection,
        drafts: Sequence[DraftRecord],
        *,
        actor: str,
        decided_by: str = "",
        fresh: bool = False,
    ) -> None:
        """Release drafts whose decisions are recorded.

        Args:
            conn: Write transaction.
            drafts: Each about another alert.
            actor: Whose decision completed it, for the audit trail: SPIFFE ID, or "node" for a rule.
            decided_by: The persons who approved; empty for the draft's own rule.
            fresh: Whether the drafts were made in this transaction, so that their content was checked a moment ago.

        Raises:
            ReleaseError: A draft may not leave as it is; nothing was appended.
            LogClosedError: A log that would have to erase is stopped; nothing was appended.
            SigningPausedError: Nothing can be signed now; roll the whole transaction back.
        """
        tellings = [self._telling(conn, draft, fresh=fresh) for draft in drafts if draft.action != WITHDRAW]
        withdrawings = [
            (draft, Withdrawing(self.current(conn, draft), draft.withdrawal_reason))
            for draft in drafts
            if draft.action == WITHDRAW
        ]
        for before in [telling.before for _, telling, _ in tellings] + [
            each.before for _, each in withdrawings
        ]:
            check_erasable(before)
        placed = tell(conn, self.writer, self.own_state, [telling for _, telling, _ in tellings])
        for (draft, telling, to), place in zip(tellings, placed, strict=True):
            self._note(conn, draft, telling.uuid, telling.revision, to, place, actor, decided_by)
        placed = withdraw(conn, self.writer, self.own_state, [each for _, each in withdrawings])
        for (draft, withdrawing), place in zip(withdrawings, placed, strict=True):
            before = withdrawing.before
            to = tuple(state for state in before.members() if state != self.own_state)
            self._note(conn, draft, before.uuid, before.revision, to, place, actor, decided_by)

    def _telling(
        self, conn: Connection, draft: DraftRecord, *, fresh: bool
    ) -> tuple[DraftRecord, Telling, tuple[str, ...]]:
        content = draft_pb2.DraftInput.FromString(draft.content)
        if not fresh:
            content = checked(content, self.own_state, self.now())
        leaving = self.leaving(draft, content)
        before = self.current(conn, draft) if draft.action == REVISE else None
        uuid = uuid7().bytes if before is None else before.uuid
        revision = 1 if before is None else before.revision + 1
        telling = Telling(uuid, revision, leaving.stripped, leaving.audience, before)
        return draft, telling, leaving.recipients

    def _note(
        self,
        conn: Connection,
        draft: DraftRecord,
        uuid: bytes,
        revision: int,
        to: tuple[str, ...],
        place: Placed,
        actor: str,
        decided_by: str,
    ) -> None:
        """Record a release in the draft, in the record of its registry and in the audit trail."""
        now = self.now()
        gone = draft.action == WITHDRAW
        rows.change(
            conn,
            draft.id,
            now,
            state=rows.RELEASED,
            alert_uuid=uuid,
            released_revision=revision,
            released_ms=now,
            released_log=place.log_id,
            released_seq=place.seq,
            recipients=" ".join(to),
        )
        if gone:
            conn.execute(
                update(DRAFT)
                .where(DRAFT.c.alert_uuid == uuid, DRAFT.c.state.in_(rows.OPEN))
                .values(state=rows.SUPERSEDED, version=DRAFT.c.version + 1, updated_ms=now)
            )
        if draft.action != PUBLISH:
            rows.forget_content(conn, [uuid], keep=[] if gone else [draft.id])
        if draft.stream_id is not None:
            conn.execute(
                update(RECORD)
                .where(RECORD.c.draft_id == draft.id)
                .values(alert_uuid=uuid, revision=revision, updated_ms=now)
            )
        audit.record(
            conn,
            actor=actor,
            action=audit.AuditAction.WITHDRAWN if gone else audit.AuditAction.RELEASED,
            subject=name_of(self.own_state, uuid),
            detail={
                "draft": draft_name(draft.uuid),
                "decided_by": decided_by or f"rule:{draft.policy_rule}",
                "revision": revision,
                "log": place.log_id.hex(),
                "seq": place.seq,
                "recipients": " ".join(to),
            },
        )
