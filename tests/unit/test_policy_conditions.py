"""Conditions of a release policy: what can not be right is found when the policy is loaded, not on a draft (I1)."""

from __future__ import annotations

import pytest
from dief.v1 import codes_pb2
from dief.v1.alert_pb2 import DiversionAlert

from node.release.errors import ConditionError, ConditionFailedError
from node.release.expressions import DRAFT_FIELDS, MAX_LENGTH, Condition, context_of, view
from tests.support.alerts import CASE_PATTERNS, case_pattern, minimal_alert


def holds(source: str, alert: DiversionAlert | None = None) -> bool:
    return Condition(source).holds(context_of(alert or minimal_alert(), DRAFT_FIELDS))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("alert.urgency ==", "does not parse: at character 17"),
        ("nope", "There is no 'nope'"),
        ("alert.urgencyy == 'ROUTINE'", "`urgencyy` is not a field of DiversionAlert"),
        ("alert.diversion.stage == 'X'", "`stage` is not a field of Diversion"),
        ("alert.items.category == 'OTHER'", "`items` is a list"),
        ("alert.authority.name == 'x'", "`authority` is no message"),
        ("alert.authority.exists(a, a == 'x')", "`alert.authority` is no list"),
        (
            "alert.items.exists(i, i.serials.exists(s, s.conditoin == 'X'))",
            "`conditoin` is not a field of Serial",
        ),
        ("alert.urgency == 'IMEDIATE'", "'IMEDIATE' is not a code of Urgency"),
        ("'IMEDIATE' != alert.urgency", "'IMEDIATE' is not a code of Urgency"),
        ("'CAZE' in alert.topics", "'CAZE' is not a code of InformationTopic"),
        ("alert.topics.exists(t, t == 'CAZE')", "'CAZE' is not a code of InformationTopic"),
        ("alert.urgency in ['ROUTINE', 'SOON']", "'SOON' is not a code of Urgency"),
        ("draft.kind == 'x'", "`kind` is not a field of draft"),
        ("has(alert.name)", "has() is always true"),
        ("lower(alert.name) == ''", "no function 'lower'"),
        ("alert.name", "gives no boolean"),
        ("size(alert.items) / 0 == 1", "fails on a plain draft"),
        ("true" + " " * MAX_LENGTH, "longer than"),
    ],
)
def test_a_condition_that_can_not_be_right_is_refused(source: str, words: str) -> None:
    with pytest.raises(ConditionError) as refusal:
        Condition(source)
    assert words in refusal.value.diagnosis


@pytest.mark.parametrize(
    "source",
    [
        "true",
        "alert.urgency == 'ROUTINE'",
        "alert.urgency in ['ROUTINE', 'PRIORITY'] && !alert.exercise",
        "alert.items.exists(i, i.category == 'SMALL_ARM_OR_LIGHT_WEAPON' && size(i.serials) == 1)",
        "alert.items[0].serials[0].condition == 'INTACT'",
        "alert.titles[0].text.contains('missing') && alert.titles.all(t, t.language == 'en')",
        "alert.handling.tlp == 'AMBER' && 'LICENSING' in alert.handling.purposes",
        "alert.handling.expires_on > timestamp('2029-01-01T00:00:00Z')",
        "alert.handling.review_on == null",
        "alert.diversion.detected_on.year == 0u && size(alert.diversion.stages) == 0",
        "alert.parties.filter(p, p.kind == 'PERSON').size() == 0",
        "draft.action == 'PUBLISH' && draft.drafter_kind == 'officer' && draft.items < 500",
        "draft.recipients.all(s, s in ['XB', 'XD'])",
        "'has(x)' != alert.authority",
    ],
)
def test_a_field_that_is_not_set_reads_as_its_default_and_codes_as_short_names(source: str) -> None:
    assert holds(source)


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("true", set()),
        ("alert.urgency == 'ROUTINE' || alert . exercise", {"urgency", "exercise"}),
        ("alert.items.exists(i, i.calibre == 'alert.name')", {"items"}),
        ("alert['authority'] == 'x'", {field.name for field in DiversionAlert.DESCRIPTOR.fields}),
    ],
)
def test_a_condition_is_shown_the_fields_that_it_reads(source: str, fields: set[str]) -> None:
    condition = Condition(source)
    assert condition.fields == fields
    assert set(view(minimal_alert(), fields)) == fields
    condition.holds(context_of(minimal_alert(), DRAFT_FIELDS, fields))


def test_i1_a_condition_that_fails_on_a_draft_says_so_without_content() -> None:
    alert = minimal_alert(title="Secret words")
    alert.ClearField("summaries")
    with pytest.raises(ConditionFailedError) as failure:
        holds("alert.summaries[0].text == 'x'", alert)
    assert "Secret" not in str(failure.value)


def test_a_result_that_is_no_boolean_only_on_some_drafts_fails() -> None:
    with pytest.raises(ConditionFailedError):
        holds("size(alert.legs) == 1 ? true : alert.authority")


def test_a_code_that_is_not_known_reads_as_its_number() -> None:
    alert = minimal_alert()
    alert.urgency = 77  # type: ignore[assignment]
    assert view(alert)["urgency"] == "77"


@pytest.mark.parametrize("number", CASE_PATTERNS)
def test_every_field_of_every_case_can_be_read(number: int) -> None:
    alert = case_pattern(number)
    shown = view(alert)
    assert set(shown) == {field.name for field in DiversionAlert.DESCRIPTOR.fields}
    assert shown["status"] == codes_pb2.AlertStatus.Name(alert.status).removeprefix("ALERT_STATUS_")
    assert len(shown["items"]) == len(alert.items)
