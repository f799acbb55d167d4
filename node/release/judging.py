"""Asking the policy about a checked draft, and what stands above it.

- A rule that would leave nobody in the audience holds the draft.
- What was held, withdrawn by a person or has expired is told again by a person, whatever a rule says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection

from node.release import policy as policies
from node.release.audiences import Members, NobodyLeftError, narrow, recipients
from node.release.drafting import Origin, Step
from node.release.policy import Facts, Policy, Verdict
from node.release.releasing import WITHDRAW
from node.release.sensitivity import strip
from node.release.standing import content_of


@dataclass(frozen=True, slots=True)
class Judge:
    """A policy, and the State and members that it judges for."""

    own_state: str
    members: Members
    policy: Policy

    def judge(self, conn: Connection, step: Step, origin: Origin) -> Verdict:
        """What is to become of a draft."""
        verdict = self.policy.decide(self._facts(conn, step, origin))
        return at_least(self._holding_nobody(verdict, step), step.at_least)

    def _facts(self, conn: Connection, step: Step, origin: Origin) -> Facts:
        revision = 0 if step.about is None else step.about.revision
        if step.content is not None:
            alert = step.content.alert
            to = recipients(alert.handling.audience, self.members, self.own_state)
            items = len(alert.items) + len(step.content.further_items)
            stripped = len(strip(alert, step.content.further_items).paths)
            revision += 1
        else:
            assert step.about is not None
            alert = content_of(conn, self.own_state, step.about)
            to = tuple(state for state in step.about.members() if state != self.own_state)
            items, stripped = len(alert.items), 0
        return Facts(
            step.action,
            alert,
            origin.drafter,
            origin.stream,
            revision,
            items,
            to,
            stripped,
            step.withdrawal_reason,
        )

    def _holding_nobody(self, verdict: Verdict, step: Step) -> Verdict:
        if step.action == WITHDRAW or step.content is None:
            return verdict
        try:
            narrow(
                step.content.alert.handling.audience,
                self.members,
                self.own_state,
                only=verdict.only_states,
                exclude=verdict.exclude_states | step.excluded,
            )
        except NobodyLeftError:
            reason = verdict.reason or "The rule leaves no State in the audience."
            return replace(verdict, outcome=policies.strictest(verdict.outcome, policies.HOLD), reason=reason)
        return verdict


def at_least(verdict: Verdict, outcome: int) -> Verdict:
    """A verdict that is no milder than an outcome."""
    stricter = policies.strictest(verdict.outcome, outcome)
    if stricter == verdict.outcome:
        return verdict
    reason = "What was held, withdrawn by a person or has expired is told again by a person only."
    return replace(verdict, outcome=stricter, reason=reason)
