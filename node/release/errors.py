"""What can be wrong with a draft, a decision on it, or the release policy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from node.ops.errors import DiefError


class ReleaseError(DiefError):
    """Root of the release desk's errors."""

    default_reason: ClassVar[str] = "INVALID"


class InvalidDraftError(ReleaseError):
    """What was handed in breaks rules; nothing was stored.

    Attributes:
        violations: Pairs of field path, and rule with its mend; never what stands in the field.
    """

    default_mend: ClassVar[str] = "Mend the named fields and send again; nothing was stored."

    def __init__(self, violations: Iterable[tuple[str, str]]) -> None:
        self.violations = tuple(violations)
        fields = ", ".join(sorted({field or "(draft)" for field, _ in self.violations})[:10])
        super().__init__(f"The draft breaks {len(self.violations)} rules, at: {fields}.")


class PageTokenError(ReleaseError):
    """A page token is not one of ours."""

    default_mend: ClassVar[str] = "Take next_page_token from the answer before, or begin again."


class DraftNotFoundError(ReleaseError):
    """There is no such draft."""

    default_reason: ClassVar[str] = "NOT_FOUND"
    default_mend: ClassVar[str] = "`dief release list --all` shows all drafts."


class AlertNotFoundError(ReleaseError):
    """There is no such alert of the own State."""

    default_reason: ClassVar[str] = "NOT_FOUND"
    default_mend: ClassVar[str] = "Only alerts of the own State can be revised or withdrawn; check the name."


class AlertEndedError(ReleaseError):
    """The alert is withdrawn or erased: there is nothing left to revise or withdraw."""

    default_reason: ClassVar[str] = "WRONG_STATE_FOR_STEP"
    default_mend: ClassVar[str] = "Draft a new alert if it has to be told again."


class WrongDraftStateError(ReleaseError):
    """The draft does not wait for this decision."""

    default_reason: ClassVar[str] = "WRONG_STATE_FOR_STEP"
    default_mend: ClassVar[str] = (
        "Read the draft again: it was decided, superseded, or is held by the policy."
    )


class StaleDraftError(ReleaseError):
    """The draft, or the alert that it is about, has changed since it was read."""

    default_reason: ClassVar[str] = "STALE"
    default_mend: ClassVar[str] = "Read it again and decide on what it says now."


class RequestIdReusedError(ReleaseError):
    """A request id came again with other content, or the content that it came with is erased by now."""

    default_reason: ClassVar[str] = "REQUEST_ID_REUSED"
    default_mend: ClassVar[str] = (
        "Nothing was changed. Look at your drafts; send a new request under a new id."
    )


class SamePersonError(ReleaseError):
    """The drafter, or somebody who approved already, can not approve (four eyes)."""

    default_reason: ClassVar[str] = "SAME_PERSON"
    default_mend: ClassVar[str] = "Ask another approver."


class PolicyRefusedError(ReleaseError):
    """The release policy of now refuses or holds what a person wants to approve."""

    default_reason: ClassVar[str] = "POLICY_REFUSED"
    default_mend: ClassVar[str] = "Refuse the draft, or have the policy changed by those who answer for it."


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a policy file; `line` is 0 where it is about the whole file."""

    line: int
    text: str


class PolicyFileError(ReleaseError):
    """The policy file is missing, does not parse, or has a wrong rule.

    Attributes:
        problems: All that is wrong, in the order of the file.
    """

    default_reason: ClassVar[str] = "POLICY_INVALID"
    default_mend: ClassVar[str] = "Mend the named lines, then run `dief release policy-check`."

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        words = " ".join(f"line {p.line}: {p.text}" if p.line else p.text for p in self.problems)
        super().__init__(f"{source}: {words}")


class ConditionError(ReleaseError):
    """A rule's condition can not be right: it does not parse, or names something that is not there."""

    default_reason: ClassVar[str] = "POLICY_INVALID"
    default_mend: ClassVar[str] = "Mend the condition, then run `dief release policy-check`."


class ConditionFailedError(ReleaseError):
    """A condition could not be evaluated on a draft; its text never says what the draft holds."""

    default_reason: ClassVar[str] = "POLICY_FAILED"
    default_mend: ClassVar[str] = "The draft is held; mend the rule's condition."
