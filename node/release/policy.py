"""The national release policy: a TOML file of ordered rules; the first whose condition holds decides (I1).

Rules:
- Every rule has a name, a condition (`when`, see node.release.expressions), an outcome and the law it rests on.
- Without a rule that holds, one person is asked.
- A condition that can not be evaluated holds the draft; it never releases it.
- A withdrawal that a registry causes goes out at once: only rules with `registry_withdrawals = true` are asked.
- A rule may narrow (`only_states`, `exclude_states`, `expiry_days`), never widen.
- The digest of the file is recorded with every decision.

Example:
    [[rule]]
    name = "licensing-routine"
    when = "draft.drafter_kind == 'registry' && alert.urgency != 'IMMEDIATE' && !draft.personal_data"
    outcome = "auto"
    legal_basis = "Export Control Act, section 12 (2)"
    expiry_days = 1095

Source: design.md 8; ATT Art. 11(3).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dief.v1 import codes_pb2, draft_pb2
from dief.v1.alert_pb2 import DiversionAlert

from node.identity.spiffe import SpiffeId
from node.release.errors import ConditionError, ConditionFailedError, PolicyFileError, Problem
from node.release.expressions import Condition, context_of, short_name

AUTO = int(draft_pb2.RELEASE_OUTCOME_AUTO)
ASK = int(draft_pb2.RELEASE_OUTCOME_ASK)
ASK_TWO = int(draft_pb2.RELEASE_OUTCOME_ASK_TWO)
HOLD = int(draft_pb2.RELEASE_OUTCOME_HOLD)
REFUSE = int(draft_pb2.RELEASE_OUTCOME_REFUSE)
OUTCOMES = {"auto": AUTO, "ask": ASK, "ask_two": ASK_TWO, "hold": HOLD, "refuse": REFUSE}

NO_RULE = "no-rule-holds"
REGISTRY_WITHDRAWAL = "registry-withdrawal"
BUILT_IN = frozenset({NO_RULE, REGISTRY_WITHDRAWAL})
MAX_BYTES = 1 << 20
MAX_RULES = 1000
MAX_EXPIRY_DAYS = 36_525
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_STATE = re.compile(r"[A-Z]{2}")
_HEADER = re.compile(r"^\s*\[\[\s*rule\s*\]\]")
_KEYS = frozenset(
    {
        "name", "when", "outcome", "legal_basis", "only_states", "exclude_states", "expiry_days", "reason",
        "registry_withdrawals",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: Unique in the policy; decisions carry it.
        condition: When it decides.
        outcome: Value of dief.v1.ReleaseOutcome.
        legal_basis: The law it rests on.
        reason: In words, for holds and refusals.
        only_states: States that the audience is limited to, None for no limit.
        exclude_states: States that are left out of it.
        expiry_days: Days after release at which the alert expires at the latest, 0 for as drafted.
        registry_withdrawals: Whether it is asked about withdrawals that a registry causes.
        line: Where it begins in the file, 0 where that is not known.
    """

    name: str
    condition: Condition
    outcome: int
    legal_basis: str
    reason: str = ""
    only_states: frozenset[str] | None = None
    exclude_states: frozenset[str] = frozenset()
    expiry_days: int = 0
    registry_withdrawals: bool = False
    line: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What the policy is asked about.

    Attributes:
        action: Value of dief.v1.DraftAction.
        alert: As handed in; for a withdrawal the alert that it takes back, as far as it is held.
        drafter: SPIFFE ID.
        stream: Stream of the registry, empty for drafts by hand.
        revision: Revision that it would become; for a withdrawal the one that it takes back.
        items: Items in all, with those in list parts.
        recipients: States that would receive it.
        stripped: How many fields are taken out before signing.
        withdrawal_reason: Value of dief.v1.WithdrawalReason.
    """

    action: int
    alert: DiversionAlert
    drafter: SpiffeId
    stream: str
    revision: int
    items: int
    recipients: tuple[str, ...]
    stripped: int
    withdrawal_reason: int = 0

    @property
    def registry_withdrawal(self) -> bool:
        """Whether a registry causes a withdrawal."""
        return bool(self.stream) and self.action == draft_pb2.DRAFT_ACTION_WITHDRAW

    def draft(self) -> dict[str, Any]:
        """What conditions see as `draft`."""
        persons = any(party.kind == codes_pb2.PARTY_KIND_PERSON for party in self.alert.parties)
        return {
            "action": short_name(draft_pb2.DraftAction.DESCRIPTOR, self.action),
            "withdrawal_reason": short_name(codes_pb2.WithdrawalReason.DESCRIPTOR, self.withdrawal_reason),
            "drafter": str(self.drafter),
            "drafter_kind": self.drafter.kind.value,
            "stream": self.stream,
            "revision": self.revision,
            "items": self.items,
            "recipients": list(self.recipients),
            "stripped": self.stripped,
            "personal_data": persons or self.alert.handling.personal_data,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy says of a draft.

    Attributes:
        outcome: Value of dief.v1.ReleaseOutcome.
        rule: Name of the rule.
        legal_basis: The law it rests on.
        reason: In words, without content.
        digest: SHA-256 of the policy file.
        only_states: See Rule.
        exclude_states: See Rule.
        expiry_days: See Rule.
    """

    outcome: int
    rule: str
    legal_basis: str
    reason: str
    digest: bytes
    only_states: frozenset[str] | None = None
    exclude_states: frozenset[str] = frozenset()
    expiry_days: int = 0


class Policy:
    """A checked policy."""

    def __init__(self, rules: tuple[Rule, ...], digest: bytes) -> None:
        self.rules = rules
        self.digest = digest
        self._fields = frozenset[str]().union(*(rule.condition.fields for rule in rules))

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Read a policy file.

        Raises:
            PolicyFileError: Names every wrong line.
        """
        try:
            if path.stat().st_size > MAX_BYTES:
                raise PolicyFileError(str(path), [Problem(0, "It is over 1 MiB.")])
            data = path.read_bytes()
        except OSError as error:
            raise PolicyFileError(str(path), [Problem(0, f"It can not be read: {error.strerror}.")]) from None
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: bytes, source: str = "policy") -> Policy:
        """Check the bytes of a policy file.

        Raises:
            PolicyFileError: Names every wrong line.
        """
        try:
            text = data.decode()
            values = tomllib.loads(text)
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise PolicyFileError(source, [Problem(0, f"It is not TOML: {error}.")]) from None
        return cls(_rules(values, _Lines(text), source), hashlib.sha256(data).digest())

    def decide(self, facts: Facts) -> Verdict:
        """What is to become of a draft."""
        context = None
        for rule in self.rules:
            if facts.registry_withdrawal and not rule.registry_withdrawals:
                continue
            if context is None:
                context = context_of(facts.alert, facts.draft(), self._fields)
            try:
                holds = rule.condition.holds(context)
            except ConditionFailedError as error:
                return Verdict(HOLD, rule.name, rule.legal_basis, error.diagnosis, self.digest)
            if holds:
                return Verdict(
                    rule.outcome, rule.name, rule.legal_basis, rule.reason, self.digest, rule.only_states,
                    rule.exclude_states, rule.expiry_days,
                )  # fmt: skip
        if facts.registry_withdrawal:
            basis = "What a registry no longer holds against anybody is taken back at once (built-in rule)."
            return Verdict(AUTO, REGISTRY_WITHDRAWAL, basis, "", self.digest)
        return Verdict(ASK, NO_RULE, "", "No rule of the policy holds: a person decides.", self.digest)


# -- the file ----------------------------------------------------------------------------------------------------------


class _Lines:
    """Where rules and their keys stand in the text; tomllib does not say."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._starts = [number for number, line in enumerate(self._lines, 1) if _HEADER.match(line)]

    def known(self, rules: int) -> bool:
        """Whether every rule was found; written in another way than `[[rule]]`, none is placed."""
        return len(self._starts) == rules

    def rule(self, index: int) -> int:
        """Line of a rule's header."""
        return self._starts[index]

    def key(self, index: int, key: str) -> int:
        """Line of a key of a rule, that of the rule where it has none."""
        start = self._starts[index]
        end = self._starts[index + 1] if index + 1 < len(self._starts) else len(self._lines) + 1
        pattern = re.compile(rf'^\s*"?{re.escape(key)}"?\s*=')
        found = (n for n in range(start, end) if n <= len(self._lines) and pattern.match(self._lines[n - 1]))
        return next(found, start)


def _rules(values: Mapping[str, Any], lines: _Lines, source: str) -> tuple[Rule, ...]:
    problems = [
        Problem(0, f"`{key}` is not known; a policy has [[rule]] only.") for key in values if key != "rule"
    ]
    tables = values.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise PolicyFileError(source, [*problems, Problem(0, "Write each rule as [[rule]].")])
    if len(tables) > MAX_RULES:
        raise PolicyFileError(source, [Problem(0, f"It has more than {MAX_RULES} rules.")])
    placed = lines.known(len(tables))
    rules: list[Rule] = []
    names: set[str] = set(BUILT_IN)
    for index, table in enumerate(tables):

        def line_of(key: str, index: int = index) -> int:
            return lines.key(index, key) if placed else 0

        reader = _RuleReader(table, line_of, names)
        rule = reader.read(lines.rule(index) if placed else 0)
        problems += reader.problems
        if rule is not None:
            rules.append(rule)
            names.add(rule.name)
    if problems:
        raise PolicyFileError(source, sorted(problems, key=_by_line))
    return tuple(rules)


def _by_line(problem: Problem) -> int:
    return problem.line


class _RuleReader:
    """Reads one rule and collects everything that is wrong with it."""

    def __init__(self, table: Mapping[str, Any], line_of: Callable[[str], int], names: set[str]) -> None:
        self._table = table
        self._line_of = line_of
        self._names = names
        self.problems: list[Problem] = []

    def _wrong(self, key: str, text: str) -> None:
        self.problems.append(Problem(self._line_of(key), text))

    def read(self, line: int) -> Rule | None:
        """The rule, None where something is wrong with it."""
        for key in self._table:
            if key not in _KEYS:
                self._wrong(key, f"`{key}` is not a key of a rule; known are {', '.join(sorted(_KEYS))}.")
        name = self._text("name", required=True)
        if name and not _NAME.fullmatch(name):
            self._wrong("name", "`name` is not 1 to 64 of A-Z, a-z, 0-9, '.', '-' and '_'.")
        elif name in self._names:
            self._wrong("name", f"The name {name!r} is taken already.")
        word = self._text("outcome", required=True)
        if word and word not in OUTCOMES:
            self._wrong("outcome", f"`outcome` is none of {', '.join(OUTCOMES)}.")
        condition = self._condition()
        only = self._states("only_states")
        rule_values = (
            self._text("legal_basis", required=True),
            self._text("reason"),
            frozenset(self._states("exclude_states") or ()),
            self._days(),
            self._flag("registry_withdrawals"),
        )
        if self.problems or condition is None:
            return None
        basis, reason, excluded, days, withdrawals = rule_values
        limit = None if only is None else frozenset(only)
        return Rule(name, condition, OUTCOMES[word], basis, reason, limit, excluded, days, withdrawals, line)

    def _text(self, key: str, *, required: bool = False) -> str:
        value = self._table.get(key, "")
        if not isinstance(value, str) or len(value) > 4000:
            self._wrong(key, f"`{key}` must be a text of at most 4000 characters.")
            return ""
        if required and not value.strip():
            self._wrong(key, f"`{key}` is missing.")
        return value.strip()

    def _condition(self) -> Condition | None:
        source = self._text("when", required=True)
        if not source:
            return None
        try:
            return Condition(source)
        except ConditionError as error:
            self._wrong("when", error.diagnosis)
            return None

    def _states(self, key: str) -> tuple[str, ...] | None:
        value = self._table.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not value or not all(_is_state(each) for each in value):
            self._wrong(key, f'`{key}` must be a list of alpha-2 codes, such as ["XB", "XD"].')
            return None
        return tuple(value)

    def _days(self) -> int:
        value = self._table.get("expiry_days", 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_EXPIRY_DAYS:
            self._wrong("expiry_days", f"`expiry_days` must be a whole number from 1 to {MAX_EXPIRY_DAYS}.")
            return 0
        return value

    def _flag(self, key: str) -> bool:
        value = self._table.get(key, False)
        if not isinstance(value, bool):
            self._wrong(key, f"`{key}` must be true or false.")
            return False
        return value


def _is_state(value: object) -> bool:
    return isinstance(value, str) and _STATE.fullmatch(value) is not None


def strictest(first: int, second: int) -> int:
    """The stricter one of two outcomes."""
    return max(first, second, key=_ORDER.index)


_ORDER = (AUTO, ASK, ASK_TWO, HOLD, REFUSE)
