"""The release policy: ordered rules, a law for each, and nothing released by a mistake in it (I1)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from dief.v1 import draft_pb2
from dief.v1.alert_pb2 import DiversionAlert

from node.home import POLICY
from node.identity.spiffe import SpiffeId
from node.release.errors import PolicyFileError
from node.release.policy import (
    ASK,
    AUTO,
    HOLD,
    MAX_BYTES,
    MAX_RULES,
    NO_RULE,
    REFUSE,
    REGISTRY_WITHDRAWAL,
    Facts,
    Policy,
    Verdict,
    strictest,
)
from tests.support.alerts import minimal_alert
from tests.support.release import OFFICER, REGISTRY, rule

WITHDRAW = int(draft_pb2.DRAFT_ACTION_WITHDRAW)
PUBLISH = int(draft_pb2.DRAFT_ACTION_PUBLISH)


def facts(
    alert: DiversionAlert | None = None,
    *,
    action: int = PUBLISH,
    drafter: SpiffeId = OFFICER,
    stream: str = "",
) -> Facts:
    return Facts(action, alert or minimal_alert(), drafter, stream, 1, 1, ("XB",), 0)


def decide(text: str, about: Facts) -> Verdict:
    return Policy.parse(text.encode()).decide(about)


def problems(text: str | bytes) -> list[tuple[int, str]]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(PolicyFileError) as refusal:
        Policy.parse(data)
    return [(problem.line, problem.text) for problem in refusal.value.problems]


def test_i1_the_first_rule_that_holds_decides_and_is_named_with_its_law() -> None:
    text = rule("refuse", "alert.urgency == 'IMMEDIATE'", "first") + rule("auto", name="second")
    verdict = decide(text, facts())
    assert (verdict.outcome, verdict.rule, verdict.legal_basis) == (AUTO, "second", "Act, s. 1")
    urgent = minimal_alert()
    urgent.urgency = 3  # type: ignore[assignment]
    assert decide(text, facts(urgent)).outcome == REFUSE


def test_i1_without_a_rule_that_holds_a_person_is_asked() -> None:
    assert decide("", facts()).outcome == ASK
    assert decide(rule("auto", "false"), facts()).rule == NO_RULE


def test_i1_a_rule_that_fails_on_a_draft_holds_it_whatever_comes_after() -> None:
    text = rule("auto", "alert.legs[0].country == 'XB'", "fails") + rule("auto", name="second")
    verdict = decide(text, facts())
    assert (verdict.outcome, verdict.rule) == (HOLD, "fails")


def test_the_digest_of_the_file_goes_with_every_verdict() -> None:
    text = rule("auto")
    assert decide(text, facts()).digest == hashlib.sha256(text.encode()).digest()


def test_i6_a_withdrawal_that_a_registry_causes_goes_out_unless_a_rule_is_about_it() -> None:
    about = facts(action=WITHDRAW, drafter=REGISTRY, stream="licences")
    verdict = decide(rule("ask"), about)
    assert (verdict.outcome, verdict.rule) == (AUTO, REGISTRY_WITHDRAWAL)
    assert verdict.legal_basis
    assert decide(rule("ask", registry_withdrawals="true"), about).outcome == ASK
    assert decide(rule("ask"), facts(action=WITHDRAW)).outcome == ASK, (
        "an officer's withdrawal is asked about"
    )


def test_a_rule_narrows_and_shortens() -> None:
    verdict = decide(
        rule("auto", only_states='["XB", "XD"]', exclude_states='["XD"]', expiry_days="30"), facts()
    )
    assert verdict.only_states == frozenset({"XB", "XD"})
    assert verdict.exclude_states == frozenset({"XD"})
    assert verdict.expiry_days == 30


def test_outcomes_are_ordered_by_strictness() -> None:
    assert strictest(AUTO, ASK) == ASK
    assert strictest(REFUSE, HOLD) == REFUSE
    assert strictest(ASK, ASK) == ASK


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (rule("auto") + rule("ask"), 7, "taken already"),
        (rule("auto", name="no-rule-holds"), 2, "taken already"),
        (rule("auto", name="two words"), 2, "`name` is not"),
        ('[[rule]]\nwhen = "true"\noutcome = "auto"\nlegal_basis = "x"\n', 1, "`name` is missing"),
        ('[[rule]]\nname = "x"\noutcome = "auto"\nlegal_basis = "x"\n', 1, "`when` is missing"),
        (rule("auto", wehn='"true"'), 6, "`wehn` is not a key"),
        (rule("auto", only_states="[]"), 6, "`only_states` must be"),
        (rule("auto", exclude_states='["xb"]'), 6, "`exclude_states` must be"),
        (rule("auto", expiry_days="-1"), 6, "`expiry_days` must be"),
        (rule("auto", expiry_days="true"), 6, "`expiry_days` must be"),
        (rule("auto", registry_withdrawals='"yes"'), 6, "`registry_withdrawals` must be"),
        (rule("auto", reason="7"), 6, "`reason` must be"),
        ("[rules]\n" + rule("auto"), 0, "`rules` is not known"),
        ("rule = 3\n", 0, "[[rule]]"),
        ("[[rule]\n", 0, "not TOML"),
        (b"\xff", 0, "not TOML"),
        (rule("auto") * 0 + "[[rule]]\n" * (MAX_RULES + 1), 0, "more than"),
    ],
)
def test_a_wrong_rule_is_named_with_its_line(text: str | bytes, line: int, words: str) -> None:
    assert any(at == line and words in said for at, said in problems(text)), problems(text)


def test_all_faults_are_told_at_once_in_the_order_of_the_file() -> None:
    found = problems(rule("perhaps", "alert.nope == 1", "a") + rule("auto", "1", "b"))
    assert [line for line, _ in found] == [3, 4, 8]


def test_a_file_that_is_missing_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyFileError, match="can not be read"):
        Policy.load(tmp_path / "none.toml")
    (tmp_path / "large.toml").write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(PolicyFileError, match="over 1 MiB"):
        Policy.load(tmp_path / "large.toml")


def test_the_policy_that_init_writes_asks_a_person_for_everything() -> None:
    assert decide(POLICY, facts()).outcome == ASK
