"""The data dictionary of the alert keeps what it promises: rules, conditions, code lists, sensitivity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dief.v1 import alert_pb2, codes_pb2, handling_pb2, sensitivity_pb2
from dief.v1.alert_pb2 import DiversionAlert
from google.protobuf.descriptor import Descriptor, EnumDescriptor

from tests.support.alerts import CASE_PATTERNS, case_pattern, minimal_alert, sample_alert
from tests.support.conditions import Broken, broken_rules, broken_with_conditions, condition_ids

FILES = (alert_pb2.DESCRIPTOR, codes_pb2.DESCRIPTOR, handling_pb2.DESCRIPTOR)

Change = Callable[[DiversionAlert], Any]

OTHER = 98
PERSON = codes_pb2.PARTY_KIND_PERSON


def full_alert() -> DiversionAlert:
    """A valid alert with every kind of part, so that each condition has something to break."""
    alert = sample_alert(1)
    alert.items[0].references.add(scheme=codes_pb2.REFERENCE_SCHEME_IFRT, code="1")
    alert.items[0].markings.add(kind=codes_pb2.MARKING_KIND_PROOF, text="crown over N")
    alert.parties[0].ownership_links.add(owned_party_id="P2", kind=codes_pb2.OWNERSHIP_KIND_PARENT)
    alert.conveyances.add(type=codes_pb2.CONVEYANCE_TYPE_ROAD, number_plate="EX 1")
    alert.measures.add(code=codes_pb2.MEASURE_TAKEN_SEIZED)
    alert.links.add(kind=codes_pb2.LINK_KIND_PUBLIC_SOURCE, target="https://example.org/")
    return alert


def _set(path: str, **values: Any) -> Change:
    """A change that sets fields of the part at the path; repeated fields are replaced."""

    def change(alert: DiversionAlert) -> None:
        part: Any = alert
        for step in path.split(".") if path else ():
            name, _, index = step.partition("[")
            part = getattr(part, name)
            part = part[int(index[:-1])] if index else part
        for name, value in values.items():
            if isinstance(value, list):
                getattr(part, name)[:] = value
            else:
                setattr(part, name, value)

    return change


def _nothing_searchable(alert: DiversionAlert) -> None:
    for name in ("items", "parties", "documents", "conveyances", "legs"):
        alert.ClearField(name)


def _neither_stage_nor_topic(alert: DiversionAlert) -> None:
    alert.ClearField("topics")
    alert.diversion.ClearField("stages")


def _moving_without_route(alert: DiversionAlert) -> None:
    alert.items[0].disposition = codes_pb2.DISPOSITION_IN_TRANSIT
    alert.ClearField("conveyances")
    alert.legs[0].ClearField("actual_on")


def _unidentified_item(alert: DiversionAlert) -> None:
    for name in ("serials", "serial_ranges", "lots", "markings", "quantity"):
        alert.items[0].ClearField(name)


def _serial_without_value(alert: DiversionAlert) -> None:
    alert.items[0].serials[0].as_read = ""


def _company_without_name(alert: DiversionAlert) -> None:
    alert.parties[0].ClearField("names")


def _company_with_passport(alert: DiversionAlert) -> None:
    alert.parties[0].identifiers.add(scheme=codes_pb2.IDENTIFIER_SCHEME_PASSPORT, value="X1")


def _leg_nowhere(alert: DiversionAlert) -> None:
    alert.legs[0].locode = alert.legs[0].country = ""


def _fine_approximation(alert: DiversionAlert) -> None:
    alert.legs[0].approximate_coordinates.accuracy_m = 100


def _person_without_basis(alert: DiversionAlert) -> None:
    alert.handling.personal_data = True
    alert.handling.ClearField("legal_basis")


def _person_without_expiry(alert: DiversionAlert) -> None:
    alert.handling.personal_data = True
    alert.handling.ClearField("expires_on")


def _concerned_other(alert: DiversionAlert) -> None:
    alert.concerned_states[0].role = codes_pb2.CONCERNED_STATE_ROLE_OTHER


BREAKS: list[tuple[str, str, Change]] = [
    ("alert.origin", "", _set("", originator="XB")),
    ("alert.stage_or_topic", "", _neither_stage_nor_topic),
    ("alert.indicator", "", _nothing_searchable),
    ("alert.urgency_reason", "", _set("", urgency=codes_pb2.URGENCY_IMMEDIATE)),
    ("alert.person_basis", "", _set("parties[0]", kind=PERSON)),
    ("alert.in_transit", "", _moving_without_route),
    ("alert.party_ids", "", _set("parties[0]", party_id="P2")),
    ("alert.other_text", "", _set("", topics=[OTHER])),
    ("alert.other_text", "", _set("", requested_actions=[OTHER])),
    ("handling.personal_data", "handling", _person_without_basis),
    ("handling.personal_data", "handling", _person_without_expiry),
    ("handling.other_text", "handling", _set("handling", purposes=[OTHER])),
    ("handling.other_text", "handling", _set("handling", restrictions=[OTHER])),
    ("audience.states", "handling.audience", _set("handling.audience", states=["XB"])),
    ("audience.states", "handling.audience", _set("handling.audience", kind=3)),
    ("partial_date.month", "diversion.detected_on", _set("diversion.detected_on", month=0)),
    ("concerned_state.other_text", "concerned_states[0]", _concerned_other),
    *(
        ("diversion.other_text", "diversion", _set("diversion", **{name: [OTHER]}))
        for name in ("stages", "types", "modus_operandi", "risk_indicators", "activities")
    ),
    ("diversion.other_text", "diversion", _set("diversion", end_use_actual=OTHER)),
    ("item.identified", "items[0]", _unidentified_item),
    ("item.subtype", "items[0]", _set("items[0]", subtype=0)),
    *(
        ("item.other_text", "items[0]", _set("items[0]", **{name: OTHER}))
        for name in ("category", "subtype", "state", "disposition")
    ),
    (
        "catalogue_reference.other_text",
        "items[0].references[0]",
        _set("items[0].references[0]", scheme=OTHER),
    ),
    ("serial.value", "items[0].serials[0]", _serial_without_value),
    *(
        ("serial.other_text", "items[0].serials[0]", _set("items[0].serials[0]", **{name: OTHER}))
        for name in ("kind", "place", "condition")
    ),
    ("marking.other_text", "items[0].markings[0]", _set("items[0].markings[0]", kind=OTHER)),
    ("party.names", "parties[0]", _company_without_name),
    ("party.person_identifiers", "parties[0]", _company_with_passport),
    ("party.other_text", "parties[0]", _set("parties[0]", roles=[OTHER])),
    ("party.other_text", "parties[0]", _set("parties[0]", kind=OTHER)),
    ("party.other_text", "parties[0]", _set("parties[0]", involvement=OTHER)),
    ("party_name.other_text", "parties[0].names[0]", _set("parties[0].names[0]", kind=OTHER)),
    (
        "party_identifier.other_text",
        "parties[0].identifiers[0]",
        _set("parties[0].identifiers[0]", scheme=OTHER),
    ),
    (
        "ownership_link.other_text",
        "parties[0].ownership_links[0]",
        _set("parties[0].ownership_links[0]", kind=OTHER),
    ),
    ("document.other_text", "documents[0]", _set("documents[0]", type=OTHER)),
    ("document.other_text", "documents[0]", _set("documents[0]", flags=[OTHER])),
    ("conveyance.other_text", "conveyances[0]", _set("conveyances[0]", type=OTHER)),
    ("leg.place", "legs[0]", _leg_nowhere),
    ("leg.approximate_coordinates", "legs[0]", _fine_approximation),
    ("leg.other_text", "legs[0]", _set("legs[0]", roles=[OTHER])),
    ("measure.other_text", "measures[0]", _set("measures[0]", code=OTHER)),
    ("link.other_text", "links[0]", _set("links[0]", kind=OTHER)),
    ("provenance.other_text", "provenance[0]", _set("provenance[0]", kind=OTHER)),
]

RULES: list[tuple[str, str, Change]] = [
    ("string.pattern", "name", _set("", name="alerts/XA/1")),
    ("uint32.gte", "revision", _set("", revision=0)),
    ("string.pattern", "originator", _set("", originator="xa")),
    ("string.min_len", "authority", _set("", authority="")),
    ("string.max_len", "titles[0].text", _set("titles[0]", text="é" * 121)),
    ("string.max_len", "summaries[0].text", _set("summaries[0]", text="é" * 4001)),
    ("string.pattern", "titles[0].language", _set("titles[0]", language="english language")),
    ("repeated.min_items", "titles", lambda a: a.ClearField("titles")),
    ("enum.not_in", "status", _set("", status=0)),
    ("repeated.unique", "topics", _set("", topics=[1, 1])),
    ("enum.not_in", "topics[0]", _set("", topics=[0])),
    ("required", "confidence", lambda a: a.ClearField("confidence")),
    ("required", "confidence.assessment", lambda a: a.confidence.Clear()),
    ("required", "handling", lambda a: a.ClearField("handling")),
    ("enum.not_in", "handling.tlp", _set("handling", tlp=0)),
    ("repeated.min_items", "handling.purposes", lambda a: a.handling.ClearField("purposes")),
    ("string.pattern", "handling.audience.states[0]", _set("handling.audience", states=["XAX"])),
    ("repeated.min_items", "legal_scopes", lambda a: a.ClearField("legal_scopes")),
    ("repeated.min_items", "provenance", lambda a: a.ClearField("provenance")),
    ("repeated.max_items", "items", lambda a: a.items.extend([a.items[0]] * 498)),
    ("repeated.max_items", "parties", lambda a: a.parties.extend([a.parties[0]] * 198)),
    ("repeated.max_items", "documents", lambda a: a.documents.extend([a.documents[0]] * 100)),
    ("repeated.max_items", "conveyances", lambda a: a.conveyances.extend([a.conveyances[0]] * 50)),
    ("repeated.max_items", "legs", lambda a: a.legs.extend([a.legs[0]] * 50)),
    ("enum.not_in", "items[0].disposition", _set("items[0]", disposition=0)),
    ("string.not_in", "items[0].serials[0].as_read", _set("items[0].serials[0]", as_read="N/A")),
    ("string.pattern", "items[0].quantity.value", _set("items[0].quantity", value="0.00")),
    ("string.pattern", "items[0].quantity.value", _set("items[0].quantity", value="-1")),
    ("string.pattern", "items[0].quantity.value", _set("items[0].quantity", value="1,5")),
    ("string.pattern", "items[0].quantity.unit", _set("items[0].quantity", unit="pieces")),
    ("enum.not_in", "parties[0].involvement", _set("parties[0]", involvement=0)),
    ("repeated.min_items", "parties[0].roles", _set("parties[0]", roles=[])),
    ("string.pattern", "legs[0].locode", _set("legs[0]", locode="XAE0P")),
    ("string.pattern", "conveyances[0].imo_number", _set("conveyances[0]", imo_number="12")),
    ("string.pattern", "conveyances[0].containers[0]", _set("conveyances[0]", containers=["ZZZU12"])),
    ("uint32.lte", "diversion.detected_on.month", _set("diversion.detected_on", month=13)),
]


@pytest.mark.parametrize("n", CASE_PATTERNS)
def test_case_pattern_is_valid(n: int) -> None:
    assert broken_with_conditions(case_pattern(n)) == set()


@pytest.mark.parametrize("alert", [minimal_alert(), sample_alert(0), full_alert()])
def test_fixture_is_valid(alert: DiversionAlert) -> None:
    assert broken_with_conditions(alert) == set()


@pytest.mark.parametrize(("rule", "path", "change"), BREAKS, ids=lambda v: v if isinstance(v, str) else "")
def test_broken_condition_names_its_field_and_rule(rule: str, path: str, change: Change) -> None:
    alert = full_alert()
    change(alert)
    assert broken_with_conditions(alert) == {Broken(path, rule)}


def test_every_condition_has_a_test_that_breaks_it() -> None:
    stated = {rule for file in FILES for rule in condition_ids(file)}
    assert {rule for rule, _, _ in BREAKS} == stated


@pytest.mark.parametrize(("rule", "path", "change"), RULES, ids=lambda v: v if isinstance(v, str) else "")
def test_broken_field_rule_names_its_field(rule: str, path: str, change: Change) -> None:
    alert = full_alert()
    change(alert)
    assert Broken(path, rule) in broken_rules(alert)


@pytest.mark.parametrize("value", ["1", "2.5", "0.5", "0.50", "10.0", "16000", "0.000001"])
def test_quantity_above_zero_is_accepted(value: str) -> None:
    alert = full_alert()
    alert.items[0].quantity.value = value
    assert broken_rules(alert) == set()


def test_wrong_check_digits_are_accepted() -> None:
    alert = full_alert()
    alert.conveyances[0].imo_number = "0000013"
    alert.conveyances[0].containers.append("ZZZU1234565")
    assert broken_with_conditions(alert) == set()


def test_codes_of_a_newer_peer_are_accepted() -> None:
    alert = full_alert()
    _set("", topics=[77], status=77, requested_actions=[77])(alert)
    _set("items[0]", category=77, subtype=77, disposition=77)(alert)
    _set("parties[0]", roles=[77], involvement=77)(alert)
    assert broken_with_conditions(alert) == set()


def test_other_with_text_is_accepted() -> None:
    alert = full_alert()
    _set("items[0]", category=OTHER, other_text="line-throwing gun")(alert)
    assert broken_with_conditions(alert) == set()


def test_erased_serial_needs_no_value() -> None:
    alert = full_alert()
    _set("items[0].serials[0]", as_read="", condition=codes_pb2.SERIAL_CONDITION_ERASED)(alert)
    assert broken_with_conditions(alert) == set()


def test_person_with_basis_is_accepted_even_when_the_name_is_withheld() -> None:
    alert = full_alert()
    alert.handling.personal_data = True
    alert.parties[0].kind = PERSON
    alert.parties[0].ClearField("names")
    assert broken_with_conditions(alert) == set()


def test_moving_item_with_a_dated_leg_is_accepted() -> None:
    alert = full_alert()
    _moving_without_route(alert)
    alert.legs[0].planned_on.year = 2026
    assert broken_with_conditions(alert) == set()


CLOSED = {
    "AlertStatus",
    "WithdrawalReason",
    "LegalScope",
    "Urgency",
    "SourceReliability",
    "InformationCredibility",
    "ConfidenceLevel",
    "Sex",
    "TraceRequestState",
    "HitDecision",
    "MatchStrength",
    "IndicatorKind",
}
"""Scales, life cycles and lists that are complete by their source: no OTHER."""


def _enums() -> Iterator[EnumDescriptor]:
    yield from codes_pb2.DESCRIPTOR.enum_types_by_name.values()


@pytest.mark.parametrize("enum", [e for e in _enums() if e.name not in CLOSED], ids=lambda e: str(e.name))
def test_open_code_list_ends_with_other_and_unknown(enum: EnumDescriptor) -> None:
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    assert [(v.name, v.number) for v in enum.values[-2:]] == [
        (f"{prefix}OTHER", 98),
        (f"{prefix}UNKNOWN", 99),
    ]
    assert max(v.number for v in enum.values[:-2]) < 98


@pytest.mark.parametrize("enum", [e for e in _enums() if e.name in CLOSED], ids=lambda e: str(e.name))
def test_closed_code_list_has_no_other(enum: EnumDescriptor) -> None:
    assert not any(value.name.endswith("_OTHER") for value in enum.values)


def _messages() -> Iterator[Descriptor]:
    for file in FILES:
        yield from file.message_types_by_name.values()


@pytest.mark.parametrize("message", list(_messages()), ids=lambda m: str(m.name))
def test_message_with_an_open_code_list_can_explain_other(message: Descriptor) -> None:
    lists = [
        field
        for field in message.fields
        if field.enum_type is not None and any(v.name.endswith("_OTHER") for v in field.enum_type.values)
    ]
    assert bool(lists) == ("other_text" in message.fields_by_name)


def _levels(option: Any) -> dict[str, int]:
    return {
        f"{message.name}.{field.name}": field.GetOptions().Extensions[option]
        for message in _messages()
        for field in message.fields
        if field.GetOptions().HasExtension(option)
    }


def test_fields_above_sensitivity_0_carry_their_level() -> None:
    assert _levels(sensitivity_pb2.sensitivity) == {
        "DiversionAlert.national_reference": 3,
        "Diversion.end_user_names": 1,
        "Item.ballistic_reference": 1,
        "Party.birth_date": 1,
        "Party.nationalities": 1,
        "Party.sex": 1,
        "Document.signatory": 1,
        "Document.scans": 2,
        "Leg.exact_coordinates": 1,
        "Provenance.contributor": 2,
    }


def test_fields_that_are_sensitive_for_persons_carry_their_level() -> None:
    assert _levels(sensitivity_pb2.sensitivity_if_person) == {
        "Party.names": 1,
        "Party.identifiers": 2,
        "Party.addresses": 1,
        "Party.phones": 1,
        "Party.emails": 1,
        "Party.sites": 1,
    }


def _strip(part: Any, *, person: bool = False) -> None:
    for field, value in part.ListFields():
        options = field.GetOptions()
        if options.HasExtension(sensitivity_pb2.sensitivity) or (
            person and options.HasExtension(sensitivity_pb2.sensitivity_if_person)
        ):
            part.ClearField(field.name)
        elif field.message_type is not None:
            for child in value if field.is_repeated else [value]:
                _strip(child, person=getattr(child, "kind", None) == PERSON)


@pytest.mark.parametrize("n", CASE_PATTERNS)
def test_alert_stripped_of_sensitive_fields_stays_valid(n: int) -> None:
    alert = case_pattern(n)
    alert.national_reference = "LIC/2026/0000001"
    _strip(alert)
    assert not alert.national_reference
    assert broken_with_conditions(alert) == set()
