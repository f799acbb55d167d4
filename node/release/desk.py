"""The release desk: drafts are made, decided by the policy and by persons, and released (I1).

Rules:
- A draft is checked whole before it is stored, and decided by the policy in the same transaction; outcome auto
  releases it there.
- Whoever decides states the etag that was read; another one is stale.
- Two different persons for ask_two; the drafter never approves. Persons are told apart by their SPIFFE IDs.
- The policy of the moment counts at approval too: it may ask for more persons than before, hold or refuse, never less.
- A new policy looks at held drafts again; what was held once is released by a person at least.
- Every decision names its rule or person, its law and the digest of the policy, here and in the audit trail (I8).

Methods take the caller's transaction and commit nothing.

Source: design.md 3 (I1, I8), 8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dief.v1 import draft_pb2
from sqlalchemy import Connection, select

from node import audit
from node.identity.spiffe import Kind, SpiffeId
from node.ledger.writer import LogWriter
from node.ops.clock import now_ms
from node.ops.ids import uuid7
from node.release import policy as policies
from node.release import rows
from node.release.audiences import Members, NobodyLeftError, narrow, recipients
from node.release.drafting import Origin, Step, by_hand, is_repeat
from node.release.errors import (
    AlertNotFoundError,
    InvalidDraftError,
    PolicyRefusedError,
    RequestIdReusedError,
    SamePersonError,
    StaleDraftError,
    WrongDraftStateError,
)
from node.release.judging import Judge, at_least
from node.release.policy import Policy, Verdict
from node.release.reading import etag_of
from node.release.releasing import WITHDRAW, Releaser
from node.release.rows import DraftRecord
from node.release.standing import own_alert
from node.store.engine import Store

_APPROVE = int(draft_pb2.RELEASE_OUTCOME_APPROVE)
_STATE_OF = {
    policies.ASK: rows.WAITING,
    policies.ASK_TWO: rows.WAITING,
    policies.HOLD: rows.HELD,
    policies.REFUSE: rows.REFUSED,
}
_PERSONS = {policies.AUTO: 1, policies.ASK: 1, policies.ASK_TWO: 2}


class ReleaseDesk:
    """Decides over the drafts of one State."""

    def __init__(
        self,
        *,
        store: Store,
        writer: LogWriter,
        policy: Policy,
        members: Members,
        own_state: str,
        now: Callable[[], int] = now_ms,
    ) -> None:
        """Open the desk under a policy; its loading is recorded, and held drafts are looked at again.

        Args:
            store: For this first transaction only.
            writer: Of the own logs.
            policy: The national release policy.
            members: Members that a log of an audience would have now.
            own_state: The originator.
            now: This node's clock, milliseconds since the epoch.
        """
        self.releaser = Releaser(own_state, writer, members, now)
        self.own_state = own_state
        self._members = members
        self._now = now
        self._judge = Judge(own_state, members, policy)
        with store.write() as conn:
            self.adopt(conn, policy)

    def adopt(self, conn: Connection, policy: Policy, actor: str = "node") -> None:
        """Decide by another policy from now on."""
        self._judge = Judge(self.own_state, self._members, policy)
        audit.record(
            conn,
            actor=actor,
            action=audit.AuditAction.POLICY_LOADED,
            subject=policy.digest.hex(),
            detail={"rules": len(policy.rules)},
        )
        for draft in rows.in_state(conn, rows.HELD):
            if draft.policy_digest != policy.digest:
                verdict = at_least(self._judge_again(conn, draft), policies.ASK)
                excluded = verdict.exclude_states | set(draft.excluded.split())
                rows.change(
                    conn,
                    draft.id,
                    self._now(),
                    state=_STATE_OF[verdict.outcome],
                    excluded=" ".join(sorted(excluded)),
                    **_told(verdict),
                )
                self._record_verdict(conn, draft.id, draft.uuid, verdict)

    # -- making drafts -------------------------------------------------------------------------------------------------

    def create(
        self, conn: Connection, drafter: SpiffeId, given: draft_pb2.DraftInput, request_id: str = ""
    ) -> DraftRecord:
        """Make a draft by hand, decide it, and release it where a rule says so.

        Args:
            conn: Write transaction.
            drafter: Officer or delegate.
            given: Hostile until checked.
            request_id: A repeat returns the draft that it made before.

        Raises:
            RequestIdReusedError: The id came before with other content.
            InvalidDraftError: Names the fields.
            AlertNotFoundError, AlertEndedError, StaleDraftError: About the alert that it revises or withdraws.
        """
        if request_id:
            made = rows.by_request(conn, str(drafter), request_id)
            if made is not None:
                if not is_repeat(made, given, self.own_state):
                    raise RequestIdReusedError("This request id was used before, for another draft.")
                return made
        step = by_hand(conn, given, self.own_state, self._now())
        draft = self.store(conn, step, Origin(drafter, request_id))
        if draft.policy_outcome == policies.AUTO:
            self.releaser.release(conn, [draft], actor="node", fresh=True)
        return rows.by_id(conn, draft.id)

    def store(self, conn: Connection, step: Step, origin: Origin) -> DraftRecord:
        """Store a checked draft with what the policy says of it; one with outcome auto is still to be released."""
        verdict = self._judge.judge(conn, step, origin)
        now = self._now()
        uuid = uuid7().bytes
        excluded = step.excluded | verdict.exclude_states
        draft_id = rows.insert(
            conn,
            uuid=uuid,
            version=1,
            action=step.action,
            state=_STATE_OF.get(verdict.outcome, rows.WAITING),
            drafter=str(origin.drafter),
            request_id=origin.request_id or None,
            stream_id=origin.stream_id,
            registry_key=origin.registry_key,
            content=None if step.content is None else step.content.SerializeToString(deterministic=True),
            withdrawal_reason=step.withdrawal_reason,
            alert_uuid=None if step.about is None else step.about.uuid,
            base_revision=0 if step.about is None else step.about.revision,
            excluded=" ".join(sorted(excluded)),
            created_ms=now,
            updated_ms=now,
            released_revision=0,
            released_ms=0,
            released_log=b"",
            released_seq=0,
            recipients="",
            **_told(verdict),
        )
        audit.record(
            conn,
            actor=str(origin.drafter),
            action=audit.AuditAction.DRAFT_CREATED,
            subject=rows.draft_name(uuid),
            detail={"action": draft_pb2.DraftAction.Name(step.action), "stream": origin.stream},  # type: ignore[arg-type]
        )
        self._record_verdict(conn, draft_id, uuid, verdict)
        return rows.by_id(conn, draft_id)

    # -- deciding ------------------------------------------------------------------------------------------------------

    def approve(
        self,
        conn: Connection,
        name: str,
        etag: str,
        approver: SpiffeId,
        *,
        legal_basis: str = "",
        exclude: Iterable[str] = (),
    ) -> DraftRecord:
        """Approve a draft; release it where no further person is asked for.

        Args:
            conn: Write transaction.
            name: "drafts/{uuid7}".
            etag: The one that was read.
            approver: Never the drafter, never twice.
            legal_basis: Law it rests on, beside the policy's.
            exclude: States to leave out.

        Raises:
            DraftNotFoundError, WrongDraftStateError, StaleDraftError, SamePersonError: See their texts.
            PolicyRefusedError: The policy of now holds or refuses it.
            InvalidDraftError: A State to leave out is not in the audience, or nobody would be left.
            LedgerError: Nothing can be signed now; nothing was changed.
        """
        draft = self._to_decide(conn, name, etag, (rows.WAITING,))
        before = [
            row.decided_by for row in rows.decisions(conn, [draft.id])[draft.id] if row.outcome == _APPROVE
        ]
        if _person(approver) in {_person(SpiffeId.parse(each)) for each in (draft.drafter, *before)}:
            raise SamePersonError("This person drafted or approved it already.")
        verdict = self._judge_again(conn, draft)
        if verdict.outcome in (policies.HOLD, policies.REFUSE):
            raise PolicyRefusedError(f"Rule {verdict.rule!r} of the release policy does not let it leave.")
        now = self._now()
        changes = self._narrowed(draft, verdict, list(exclude))
        rows.decide(
            conn,
            draft.id,
            outcome=_APPROVE,
            decided_by=str(approver),
            legal_basis=legal_basis,
            reason="",
            policy_digest=self._judge.policy.digest,
            at_ms=now,
        )
        rows.change(conn, draft.id, now, **changes)
        self._audit_decision(
            conn, draft.uuid, str(approver), _APPROVE, {"excluded": changes["excluded"], "rule": verdict.rule}
        )
        if len(before) + 1 >= max(_PERSONS[draft.policy_outcome], _PERSONS[verdict.outcome]):
            persons = " ".join([*before, str(approver)])
            self.releaser.release(conn, [rows.by_id(conn, draft.id)], actor=str(approver), decided_by=persons)
        return rows.by_id(conn, draft.id)

    def refuse(self, conn: Connection, name: str, etag: str, person: SpiffeId, reason: str) -> DraftRecord:
        """Refuse a draft: it never leaves.

        Raises:
            DraftNotFoundError, WrongDraftStateError, StaleDraftError: See their texts.
        """
        draft = self._to_decide(conn, name, etag, rows.OPEN)
        now = self._now()
        rows.decide(
            conn,
            draft.id,
            outcome=policies.REFUSE,
            decided_by=str(person),
            legal_basis="",
            reason=reason,
            policy_digest=self._judge.policy.digest,
            at_ms=now,
        )
        rows.change(conn, draft.id, now, state=rows.REFUSED)
        self._audit_decision(conn, draft.uuid, str(person), policies.REFUSE, {})
        return rows.by_id(conn, draft.id)

    def supersede(self, conn: Connection, draft_id: int) -> bool:
        """Drop an open draft because its registry said something newer; whether it was open."""
        draft = rows.by_id(conn, draft_id)
        if draft.state not in rows.OPEN:
            return False
        rows.change(conn, draft_id, self._now(), state=rows.SUPERSEDED, content=None)
        return True

    def _to_decide(self, conn: Connection, name: str, etag: str, states: tuple[int, ...]) -> DraftRecord:
        draft = rows.find(conn, name)
        if draft.state not in states:
            raise WrongDraftStateError("The draft does not wait for this decision.")
        if etag != etag_of(draft):
            raise StaleDraftError("The draft has changed since it was read.")
        return draft

    def _narrowed(self, draft: DraftRecord, verdict: Verdict, exclude: list[str]) -> dict[str, Any]:
        """What the policy of now and an approver leave out, on top of what was left out before."""
        if draft.action == WITHDRAW:
            if exclude:
                raise InvalidDraftError(
                    [
                        (
                            "exclude_states",
                            "A withdrawal reaches everyone who holds the alert: leave nobody out.",
                        )
                    ]
                )
            return {"excluded": draft.excluded}
        only = frozenset(draft.limit_to.split()) if draft.limited else None
        if verdict.only_states is not None:
            only = verdict.only_states if only is None else only & verdict.only_states
        left_out = set(draft.excluded.split()) | verdict.exclude_states
        audience = draft_pb2.DraftInput.FromString(draft.content).alert.handling.audience
        try:
            decided = narrow(audience, self._members, self.own_state, only=only, exclude=left_out)
            has = set(recipients(decided, self._members, self.own_state)) | set(decided.states)
            unknown = [index for index, state in enumerate(exclude) if state not in has]
            if unknown:
                raise InvalidDraftError(
                    [(f"exclude_states[{index}]", "This State is not in the audience.") for index in unknown]
                )
            narrow(decided, self._members, self.own_state, only=None, exclude=exclude)
        except NobodyLeftError:
            raise InvalidDraftError(
                [("exclude_states", "Nobody would be left: refuse the draft instead.")]
            ) from None
        days = [each for each in (draft.expiry_days, verdict.expiry_days) if each]
        return {
            "limited": only is not None,
            "limit_to": " ".join(sorted(only or ())),
            "excluded": " ".join(sorted(left_out | set(exclude))),
            "expiry_days": min(days, default=0),
        }

    def _judge_again(self, conn: Connection, draft: DraftRecord) -> Verdict:
        about = None if draft.alert_uuid is None else own_alert(conn, self.own_state, draft.alert_uuid)
        content = None if draft.content is None else draft_pb2.DraftInput.FromString(draft.content)
        if content is None and about is None:
            raise AlertNotFoundError("There is no such alert of this State.")
        step = Step(draft.action, content, about, draft.withdrawal_reason, frozenset(draft.excluded.split()))
        return self._judge.judge(conn, step, self._origin(conn, draft))

    def _origin(self, conn: Connection, draft: DraftRecord) -> Origin:
        stream = ""
        if draft.stream_id is not None:
            stream = conn.execute(
                select(rows.STREAM.c.name).where(rows.STREAM.c.id == draft.stream_id)
            ).scalar_one()
        return Origin(SpiffeId.parse(draft.drafter), stream_id=draft.stream_id, stream=stream)

    # -- recording -----------------------------------------------------------------------------------------------------

    def _record_verdict(self, conn: Connection, draft_id: int, uuid: bytes, verdict: Verdict) -> None:
        """What the policy decides by itself is a decision; what it asks persons stands in the audit trail."""
        by = f"rule:{verdict.rule}"
        if verdict.outcome not in (policies.ASK, policies.ASK_TWO):
            rows.decide(
                conn,
                draft_id,
                outcome=verdict.outcome,
                decided_by=by,
                legal_basis=verdict.legal_basis,
                reason=verdict.reason,
                policy_digest=verdict.digest,
                at_ms=self._now(),
            )
        self._audit_decision(conn, uuid, "node", verdict.outcome, {"rule": verdict.rule})

    def _audit_decision(
        self, conn: Connection, uuid: bytes, actor: str, outcome: int, detail: dict[str, str | int]
    ) -> None:
        audit.record(
            conn,
            actor=actor,
            action=audit.AuditAction.DRAFT_DECIDED,
            subject=rows.draft_name(uuid),
            detail={
                "outcome": draft_pb2.ReleaseOutcome.Name(outcome),  # type: ignore[arg-type]
                "policy": self._judge.policy.digest.hex(),
                **detail,
            },
        )


def _person(identity: SpiffeId) -> str:
    """Who stands behind an identity: one person may hold certificates of several kinds, a registry is no person."""
    return str(identity) if identity.kind is Kind.REGISTRY else identity.name


def _told(verdict: Verdict) -> dict[str, Any]:
    """Columns that hold what the policy said."""
    return {
        "policy_outcome": verdict.outcome,
        "policy_rule": verdict.rule,
        "policy_digest": verdict.digest,
        "legal_basis": verdict.legal_basis,
        "reason": verdict.reason,
        "limited": verdict.only_states is not None,
        "limit_to": " ".join(sorted(verdict.only_states or ())),
        "expiry_days": verdict.expiry_days,
    }
