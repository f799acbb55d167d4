"""What an alert must keep before it leaves, and what whoever receives it holds it to (I10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dief.v1 import alert_pb2, conditions_pb2, handling_pb2
from dief.v1 import codes_pb2 as c
from dief.v1.alert_pb2 import Coordinates, DiversionAlert, Leg, PartialDate, Period, Quantity

from node.alerts.conditions import broken_conditions
from node.alerts.countries import ASSIGNED, USER_ASSIGNED
from node.alerts.placeholders import is_placeholder
from node.alerts.validation import validate_alert
from node.alerts.violation import Severity, Violation
from tests.support.alerts import CASE_PATTERNS, case_pattern, minimal_alert, sample_alert
from tests.support.conditions import broken_rules, broken_with_conditions, condition_ids
from tests.unit.test_alert_proto import full_alert

NOW_MS = 1_795_600_000_000
"""2026-11-25."""

Change = Callable[[DiversionAlert], Any]


def violations(change: Change, base: Callable[[], DiversionAlert] = full_alert) -> list[Violation]:
    alert = base()
    before = set(validate_alert(alert, NOW_MS))
    change(alert)
    return [found for found in validate_alert(alert, NOW_MS) if found not in before]


def errors(change: Change, base: Callable[[], DiversionAlert] = full_alert) -> set[tuple[str, str]]:
    return {(v.field, v.rule) for v in violations(change, base) if v.severity is Severity.ERROR}


def warnings(change: Change, base: Callable[[], DiversionAlert] = full_alert) -> set[tuple[str, str]]:
    return {(v.field, v.rule) for v in violations(change, base) if v.severity is Severity.WARNING}


def test_alerts_of_documented_cases_may_be_released() -> None:
    for alert in (minimal_alert(), sample_alert(1), *(case_pattern(n) for n in CASE_PATTERNS)):
        found = validate_alert(alert, NOW_MS)
        assert [v for v in found if v.severity is Severity.ERROR] == []


def _each(*changes: Change) -> Change:
    """Changes one after the other."""

    def change(alert: DiversionAlert) -> None:
        for each in changes:
            each(alert)

    return change


def _clear(part: Any) -> Change:
    return lambda alert: alert.ClearField(part)


BREAKS: dict[str, Change] = {
    "alert.origin": lambda a: setattr(a, "originator", "XB"),
    "alert.stage_or_topic": _each(lambda a: a.ClearField("topics"), lambda a: a.ClearField("diversion")),
    "alert.indicator": _each(
        *(_clear(part) for part in ("items", "parties", "documents", "conveyances", "legs"))
    ),
    "alert.person_basis": lambda a: setattr(a.parties[0], "kind", c.PARTY_KIND_PERSON),
    "alert.party_ids": lambda a: setattr(a.parties[1], "party_id", a.parties[0].party_id),
    "handling.personal_data": _each(
        lambda a: setattr(a.handling, "personal_data", True),
        lambda a: a.handling.ClearField("legal_basis"),
    ),
    "audience.states": lambda a: a.handling.audience.states.append("XB"),
    "alert.urgency_reason": lambda a: setattr(a, "urgency", c.URGENCY_IMMEDIATE),
    "alert.in_transit": _each(
        lambda a: setattr(a.items[0], "disposition", c.DISPOSITION_IN_TRANSIT),
        lambda a: a.ClearField("conveyances"),
        lambda a: a.ClearField("legs"),
    ),
    "alert.other_text": lambda a: a.topics.append(c.INFORMATION_TOPIC_OTHER),
    "partial_date.month": lambda a: a.diversion.detected_on.CopyFrom(PartialDate(year=2020, day=3)),
    "concerned_state.other_text": lambda a: setattr(
        a.concerned_states[0], "role", c.CONCERNED_STATE_ROLE_OTHER
    ),
    "diversion.other_text": lambda a: a.diversion.modus_operandi.append(c.MODUS_OPERANDI_OTHER),
    "item.identified": _each(
        lambda a: a.items[0].ClearField("serials"),
        lambda a: a.items[0].ClearField("quantity"),
        lambda a: a.items[0].ClearField("markings"),
    ),
    "item.subtype": lambda a: a.items[0].ClearField("subtype"),
    "item.other_text": lambda a: setattr(a.items[0], "category", c.ARMS_CATEGORY_OTHER),
    "catalogue_reference.other_text": lambda a: setattr(
        a.items[0].references[0], "scheme", c.REFERENCE_SCHEME_OTHER
    ),
    "serial.value": lambda a: a.items[0].serials[0].ClearField("as_read"),
    "serial.other_text": lambda a: setattr(a.items[0].serials[0], "kind", c.SERIAL_KIND_OTHER),
    "marking.other_text": lambda a: setattr(a.items[0].markings[0], "kind", c.MARKING_KIND_OTHER),
    "party.names": lambda a: a.parties[0].ClearField("names"),
    "party.person_identifiers": lambda a: setattr(
        a.parties[0].identifiers[0], "scheme", c.IDENTIFIER_SCHEME_PASSPORT
    ),
    "party.other_text": lambda a: a.parties[0].roles.append(c.PARTY_ROLE_OTHER),
    "party_name.other_text": lambda a: setattr(a.parties[0].names[0], "kind", c.NAME_KIND_OTHER),
    "party_identifier.other_text": lambda a: setattr(
        a.parties[0].identifiers[0], "scheme", c.IDENTIFIER_SCHEME_OTHER
    ),
    "ownership_link.other_text": lambda a: setattr(
        a.parties[0].ownership_links[0], "kind", c.OWNERSHIP_KIND_OTHER
    ),
    "document.other_text": lambda a: a.documents[0].flags.append(c.DOCUMENT_FLAG_OTHER),
    "conveyance.other_text": lambda a: setattr(a.conveyances[0], "type", c.CONVEYANCE_TYPE_OTHER),
    "leg.place": lambda a: a.legs[0].CopyFrom(Leg(roles=[c.LEG_ROLE_ORIGIN])),
    "leg.approximate_coordinates": lambda a: a.legs[0].approximate_coordinates.CopyFrom(
        Coordinates(latitude=1, longitude=2, accuracy_m=9_999)
    ),
    "leg.other_text": lambda a: a.legs[0].roles.append(c.LEG_ROLE_OTHER),
    "measure.other_text": lambda a: setattr(a.measures[0], "code", c.MEASURE_TAKEN_OTHER),
    "link.other_text": lambda a: setattr(a.links[0], "kind", c.LINK_KIND_OTHER),
    "provenance.other_text": lambda a: setattr(a.provenance[0], "kind", c.PROVENANCE_KIND_OTHER),
    "handling.other_text": lambda a: a.handling.purposes.append(handling_pb2.PURPOSE_OTHER),
}


def test_every_condition_of_the_protos_has_its_break_here() -> None:
    stated = {*condition_ids(alert_pb2.DESCRIPTOR), *condition_ids(handling_pb2.DESCRIPTOR)}
    assert stated == set(BREAKS)


@pytest.mark.parametrize("rule", sorted(BREAKS))
def test_a_condition_is_broken_here_exactly_where_its_cel_says_so(rule: str) -> None:
    alert = full_alert()
    BREAKS[rule](alert)
    by_cel = {found.rule for found in broken_with_conditions(alert) - broken_rules(alert)}
    by_hand = {v.rule for v in validate_alert(alert, NOW_MS) if v.severity is Severity.ERROR}
    assert rule in by_cel
    assert by_cel <= by_hand


@pytest.mark.parametrize("rule", sorted(BREAKS))
def test_who_receives_an_alert_holds_it_to_its_conditions_and_not_to_intake_rules(rule: str) -> None:
    alert = full_alert()
    BREAKS[rule](alert)
    conditions = {
        stated.id
        for message in (alert_pb2.DiversionAlert, handling_pb2.Handling, handling_pb2.Audience)
        for stated in message.DESCRIPTOR.GetOptions().Extensions[conditions_pb2.condition]
    }
    assert {v.rule for v in broken_conditions(alert)} == {rule} & conditions


def test_a_valid_alert_breaks_no_condition() -> None:
    assert broken_conditions(full_alert()) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda a: a.diversion.detected_on.CopyFrom(PartialDate(year=2026, month=11, day=27)),
            ("diversion.detected_on", "partial_date.past"),
        ),
        (
            lambda a: a.diversion.suspected_since.CopyFrom(PartialDate(year=2027)),
            ("diversion.suspected_since", "partial_date.past"),
        ),
        (
            lambda a: a.diversion.detected_on.CopyFrom(PartialDate(year=2025, month=2, day=29)),
            ("diversion.detected_on", "partial_date.exists"),
        ),
        (
            lambda a: a.diversion.estimated_period.CopyFrom(
                Period(start=PartialDate(year=2026, month=5), end=PartialDate(year=2026, month=4))
            ),
            ("diversion.estimated_period", "period.order"),
        ),
        (
            lambda a: (
                a.documents[0].issued_on.CopyFrom(PartialDate(year=2026)),
                a.documents[0].expires_on.CopyFrom(PartialDate(year=2025, month=12)),
            ),
            ("documents[0].expires_on", "period.order"),
        ),
        (
            lambda a: a.handling.expires_on.FromMilliseconds(NOW_MS),
            ("handling.expires_on", "handling.expires_on"),
        ),
        (lambda a: a.handling.review_on.FromMilliseconds(1), ("handling.review_on", "handling.review_on")),
    ],
)
def test_dates_that_can_not_be_are_refused(change: Change, expected: tuple[str, str]) -> None:
    assert errors(change) == {expected}


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.diversion.detected_on.CopyFrom(PartialDate(year=2026, month=11, day=26)),
        lambda a: a.diversion.detected_on.CopyFrom(PartialDate(year=2026)),
        lambda a: a.diversion.detected_on.CopyFrom(PartialDate(year=2024, month=2, day=29)),
        lambda a: a.legs[0].planned_on.CopyFrom(PartialDate(year=2027, month=1)),
        lambda a: a.documents[0].expires_on.CopyFrom(PartialDate(year=2030)),
        lambda a: a.diversion.estimated_period.CopyFrom(
            Period(start=PartialDate(year=2026, month=5, day=9), end=PartialDate(year=2026, month=5))
        ),
        lambda a: a.diversion.estimated_period.CopyFrom(Period(end=PartialDate(year=2026, month=11))),
        lambda a: a.diversion.estimated_period.CopyFrom(Period(start=PartialDate(year=2025, month=12))),
    ],
)
def test_dates_within_the_tolerance_plans_and_partial_dates_are_taken(change: Change) -> None:
    assert errors(change) == set()


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("concerned_states[0].state", lambda a: setattr(a.concerned_states[0], "state", "UK")),
        ("parties[0].country", lambda a: setattr(a.parties[0], "country", "EU")),
        ("legs[0].locode", lambda a: setattr(a.legs[0], "locode", "UKLON")),
        ("parties[0].nationalities[0]", lambda a: a.parties[0].nationalities.append("SU")),
        ("conveyances[0].flag", lambda a: setattr(a.conveyances[0], "flag", "QB")),
    ],
)  # fmt: skip
def test_codes_that_are_no_state_are_refused(field: str, change: Change) -> None:
    assert errors(change) == {(field, "state.known")}


def test_codes_left_to_users_are_states_here() -> None:
    assert {"AA", "QM", "QZ", "XA", "XK", "XZ", "ZZ"} <= USER_ASSIGNED
    assert len(USER_ASSIGNED) == 2 + 14 + 26
    assert len(ASSIGNED) == 249
    assert not ASSIGNED & USER_ASSIGNED


@pytest.mark.parametrize(
    "value",
    [
        "UNKNOWN", "unknown", "N/A", "n.a.", "0000", "0", "XXXX", "NONE", "Raspada", "-", "???", "not known", "s/n",
        "НЕИЗВЕСТНО", "спилено", "未知", "ممحو", "Não consta", "effacé", "TBD", "９９９９９９",
    ],
)  # fmt: skip
def test_words_for_no_number_are_placeholders(value: str) -> None:
    assert is_placeholder(value)


@pytest.mark.parametrize("value", ["0001", "XK1", "NA12", "EA00000000", "99", "A", "ХК 386012", "7"])
def test_numbers_are_no_placeholders(value: str) -> None:
    assert not is_placeholder(value)


def test_a_placeholder_is_no_serial_and_the_mend_is_condition() -> None:
    found = violations(lambda a: setattr(a.items[0].serials[0], "as_read", "Raspada"))
    assert [(v.field, v.rule) for v in found] == [("items[0].serials[0].as_read", "placeholder")]
    assert "condition" in found[0].description


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda a: a.items[0].lots.append("N/A"), "items[0].lots[0]"),
        (lambda a: setattr(a.documents[0], "number_as_read", "none"), "documents[0].number_as_read"),
        (
            lambda a: a.items[0].serial_ranges.add(first="unknown", last="9"),
            "items[0].serial_ranges[0].first",
        ),
    ],
)
def test_placeholders_are_no_lots_documents_or_ranges(change: Change, field: str) -> None:
    assert errors(change) == {(field, "placeholder")}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda a: setattr(a.documents[0], "issuer_party_id", "P9"),
            ("documents[0].issuer_party_id", "party.reference"),
        ),
        (
            lambda a: a.documents[0].stated_party_ids.append("P9"),
            ("documents[0].stated_party_ids[0]", "party.reference"),
        ),
        (
            lambda a: setattr(a.legs[0], "conveyance_id", "C9"),
            ("legs[0].conveyance_id", "conveyance.reference"),
        ),
    ],
)
def test_references_lead_somewhere(change: Change, expected: tuple[str, str]) -> None:
    assert errors(change) == {expected}


def test_quantity_unlike_the_number_of_serials_is_a_warning_only() -> None:
    def two(alert: DiversionAlert) -> None:
        alert.items[0].quantity.CopyFrom(Quantity(value="2", unit="NAR"))

    assert errors(two) == set()
    assert warnings(two) == {("items[0].quantity", "item.quantity_serials")}


def test_foreign_goods_ask_for_their_import_mark() -> None:
    assert warnings(lambda a: setattr(a.items[0], "country_of_manufacture", "XD")) == {
        ("items[0].import_marks", "item.import_mark")
    }


def test_the_issuer_of_a_forged_paper_is_not_silently_blamed() -> None:
    def blame(alert: DiversionAlert) -> None:
        alert.documents[0].issuer_party_id = "P1"
        alert.parties[0].involvement = c.INVOLVEMENT_WITTING_SUSPECTED

    def misuse(alert: DiversionAlert) -> None:
        alert.documents[0].issuer_party_id = "P1"
        alert.parties[0].involvement = c.INVOLVEMENT_MISUSED

    assert warnings(blame) == {("parties[0].involvement", "document.forged_issuer")}
    assert warnings(misuse) == set()


def test_a_failed_check_digit_never_refuses() -> None:
    def wrong(alert: DiversionAlert) -> None:
        alert.conveyances[0].imo_number = "0000013"
        alert.conveyances[0].containers.extend(["ZZZU1234565", "ZZZU12345??"])

    assert errors(wrong) == set()
    assert warnings(wrong) == {
        ("conveyances[0].imo_number", "check_digit"),
        ("conveyances[0].containers[0]", "check_digit"),
    }


def test_no_description_repeats_what_stands_in_a_field() -> None:
    def spoil(alert: DiversionAlert) -> None:
        alert.authority = "Secretword " * 30
        alert.items[0].serials[0].as_read = "SECRETWORD" * 11
        alert.parties[0].names[0].full = "Secretword" * 31
        alert.parties[0].country = "SW"
        alert.parties[0].country = "QQQ"
        alert.documents[0].issuer_party_id = "Secretword"
        alert.parties[1].party_id = "Secret word"
        alert.legs[0].locode = "SECRET"
        alert.titles[0].language = "secretword secretword"

    found = violations(spoil)
    assert len(found) >= 8
    for violation in found:
        assert "secret" not in f"{violation.field} {violation.description}".lower()
        assert "QQQ" not in violation.description


def test_errors_come_before_warnings() -> None:
    def both(alert: DiversionAlert) -> None:
        alert.items[0].country_of_manufacture = "XD"
        alert.legs[0].conveyance_id = "C9"

    alert = full_alert()
    both(alert)
    severities = [v.severity for v in validate_alert(alert, NOW_MS)]
    assert severities == sorted(severities, key=lambda severity: severity is Severity.WARNING)
