"""Nothing leaves before a recorded decision, and what is too sensitive leaves in no form (I1, I8)."""

from __future__ import annotations

from pathlib import Path

import pytest
from dief.v1 import alert_pb2, codes_pb2, draft_pb2
from sqlalchemy import select

from node import audit
from node.audit.trail import AUDIT
from node.identity.spiffe import Kind
from node.release.errors import (
    InvalidDraftError,
    PolicyFileError,
    PolicyRefusedError,
    SamePersonError,
    StaleDraftError,
    WrongDraftStateError,
)
from node.release.policy import Policy
from tests.support.release import ANNA, BERT, OFFICER, Desk, content, person, rule


def actions(desk: Desk) -> list[tuple[str, str]]:
    with desk.store.read() as conn:
        assert audit.verify(conn).broken_at is None
        return [(row.action, row.actor) for row in conn.execute(select(AUDIT).order_by(AUDIT.c.id))]


def test_i1_a_rule_releases_and_is_named(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    made = desk.draft(content())
    assert made.state == draft_pb2.DRAFT_STATE_RELEASED
    assert made.decisions[0].decided_by == "rule:only"
    assert made.decisions[0].legal_basis == "Act, s. 1"
    assert b"RELEASE 1" in desk.bodies()
    assert [action for action, _ in actions(desk)] == [
        "POLICY_LOADED",
        "DRAFT_CREATED",
        "DRAFT_DECIDED",
        "RELEASED",
    ]


@pytest.mark.parametrize("outcome", ["ask", "ask_two", "hold", "refuse"])
def test_i1_no_byte_is_in_a_log_before_a_person_decides(tmp_path: Path, outcome: str) -> None:
    desk = Desk(tmp_path, rule(outcome))
    desk.draft(content())
    assert desk.entries() == 0


def test_i1_without_a_matching_rule_a_person_is_asked(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto", when="alert.urgency == 'IMMEDIATE'"))
    made = desk.draft(content())
    assert made.state == draft_pb2.DRAFT_STATE_WAITING
    assert made.policy_outcome == draft_pb2.RELEASE_OUTCOME_ASK


def test_i1_an_approver_releases_and_is_named(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    made = desk.draft(content())
    done = desk.approve(made, ANNA, legal_basis="Court order 7")
    assert done.state == draft_pb2.DRAFT_STATE_RELEASED
    assert (done.decisions[-1].decided_by, done.decisions[-1].legal_basis) == (str(ANNA), "Court order 7")
    assert ("RELEASED", str(ANNA)) in actions(desk)


def test_i1_four_eyes_are_two_different_persons_and_never_the_drafter(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask_two"))
    made = desk.draft(content())
    for herself in (OFFICER, person(Kind.APPROVER, OFFICER.name)):
        with pytest.raises(SamePersonError):
            desk.approve(made, herself)
    once = desk.approve(made, ANNA)
    assert once.state == draft_pb2.DRAFT_STATE_WAITING
    assert desk.entries() == 0
    with pytest.raises(SamePersonError):
        desk.approve(once, ANNA)
    assert desk.approve(once, BERT).state == draft_pb2.DRAFT_STATE_RELEASED


def test_i1_a_decision_on_something_else_than_was_read_is_stale(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask_two"))
    made = desk.draft(content())
    desk.approve(made, ANNA)
    with pytest.raises(StaleDraftError):
        desk.approve(made, BERT)


@pytest.mark.parametrize("outcome", ["hold", "refuse"])
def test_i1_what_the_policy_keeps_no_approver_releases(tmp_path: Path, outcome: str) -> None:
    desk = Desk(tmp_path, rule(outcome))
    made = desk.draft(content())
    with pytest.raises((WrongDraftStateError, PolicyRefusedError)):
        desk.approve(made, ANNA)
    assert desk.entries() == 0


def test_i2_an_approver_may_leave_a_state_out_but_not_everybody(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    made = desk.draft(content(states=("XB", "XE")))
    assert list(made.recipients) == ["XB", "XE"]
    with pytest.raises(InvalidDraftError):
        desk.approve(made, ANNA, exclude=["XB", "XE"])
    done = desk.approve(made, ANNA, exclude=["XE"])
    assert list(done.recipients) == ["XB"]


def test_i1_sensitive_fields_leave_in_no_form_and_are_shown_as_paths(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    alert = content()
    alert.national_reference = "GBSIEL/2026/SECRET"
    alert.items[0].ballistic_reference = "IBIN-SECRET"
    alert.provenance[0].contributor = "A Secret NGO"
    alert.parties.add(
        party_id="P7",
        roles=[codes_pb2.PARTY_ROLE_BROKER],
        kind=codes_pb2.PARTY_KIND_PERSON,
        involvement=codes_pb2.INVOLVEMENT_NAMED_ONLY,
        names=[alert_pb2.PartyName(full="Secret Person", kind=codes_pb2.NAME_KIND_PRIMARY)],
        birth_date=alert_pb2.PartialDate(year=1970),
    )
    alert.handling.personal_data = True
    alert.handling.legal_basis.text = "Act, s. 2"
    alert.handling.expires_on.FromJsonString("2029-10-31T00:00:00Z")
    made = desk.draft(alert)
    paths = " ".join(made.stripped_fields)
    for part in ("national_reference", "ballistic_reference", "contributor", "parties[0]"):
        assert part in paths
    assert "ecret" not in paths
    desk.approve(made, ANNA)
    for secret in (b"SECRET", b"Secret"):
        assert secret not in desk.bodies()


def test_i1_what_is_not_searchable_after_stripping_can_not_be_drafted(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    alert = content()
    del alert.items[:]
    alert.parties.add(
        party_id="P7",
        roles=[codes_pb2.PARTY_ROLE_BROKER],
        kind=codes_pb2.PARTY_KIND_PERSON,
        involvement=codes_pb2.INVOLVEMENT_NAMED_ONLY,
        names=[alert_pb2.PartyName(full="Secret Person", kind=codes_pb2.NAME_KIND_PRIMARY)],
    )
    alert.handling.personal_data = True
    alert.handling.legal_basis.text = "Act, s. 2"
    alert.handling.expires_on.FromJsonString("2029-10-31T00:00:00Z")
    with pytest.raises(InvalidDraftError) as refusal:
        desk.draft(alert)
    assert "Secret" not in str(refusal.value)
    assert desk.entries() == 0


def test_i6_a_revision_erases_the_one_before_and_drafts_forget_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    name = desk.draft(content("OLD 1")).released_alert
    second = content("NEW 2")
    second.name = name
    made = desk.draft(second, action=draft_pb2.DRAFT_ACTION_REVISE)
    assert made.released_revision == 2
    assert b"OLD 1" not in desk.bodies()
    assert b"NEW 2" in desk.bodies()
    desk.store.scrub()
    held = b"".join(path.read_bytes() for path in tmp_path.glob("xa.db*"))
    assert b"OLD 1" not in held


def test_i6_a_withdrawal_leaves_nothing_of_the_alert(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    name = desk.draft(content("GONE 1")).released_alert
    with desk.store.write() as conn:
        desk.desk.create(
            conn,
            OFFICER,
            draft_pb2.DraftInput(
                action=draft_pb2.DRAFT_ACTION_WITHDRAW,
                alert_name=name,
                withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_UNFOUNDED,
            ),
        )
    desk.store.scrub()
    assert b"GONE 1" not in b"".join(path.read_bytes() for path in tmp_path.glob("xa.db*"))


def test_i6_a_case_of_many_serials_travels_in_list_parts_and_goes_with_its_alert(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    template = content("LISTED 0").items[0]
    further = []
    for number in range(1, 1201):
        item = alert_pb2.Item()
        item.CopyFrom(template)
        item.serials[0].as_read = f"LISTED {number}"
        further.append(item)
    name = desk.draft(content("LISTED 0"), further_items=further).released_alert
    assert desk.entries() == 1 + 1 + 2, "a genesis, the alert with 500 items, and two parts"
    assert b"LISTED 1200" in desk.bodies()
    with desk.store.write() as conn:
        desk.desk.create(
            conn,
            OFFICER,
            draft_pb2.DraftInput(
                action=draft_pb2.DRAFT_ACTION_WITHDRAW,
                alert_name=name,
                withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_WITHDRAWN,
            ),
        )
    assert b"LISTED" not in desk.bodies()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (rule("auto", when="alert.urgncy == 'IMMEDIATE'"), 3),
        (rule("auto", when="alert.urgency == 'IMEDIATE'"), 3),
        (rule("auto", when="1 + 1"), 3),
        (rule("auto", when="alert.urgency =="), 3),
        (rule("perhaps"), 4),
        ('[[rule]]\nname = "x"\nwhen = "true"\noutcome = "auto"\n', 1),
    ],
    ids=["unknown field", "unknown code", "no boolean", "no CEL", "unknown outcome", "no legal basis"],
)
def test_a_wrong_policy_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyFileError) as refusal:
        Policy.load(path)
    assert any(problem.line == line for problem in refusal.value.problems), refusal.value.problems
