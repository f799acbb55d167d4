"""The compiled field rules say yes only where protovalidate does (I10): never a shortcut past a rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import protovalidate
import pytest
from dief.v1 import codes_pb2 as c
from dief.v1 import handling_pb2 as h
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.event_pb2 import AlertPublished, AlertRevised, AlertWithdrawn, ListPart
from dief.v1.log_pb2 import EntryHeader

from node.alerts.columns import GATHERED_COLUMNS, columns, gathered_columns
from node.alerts.compiled import CompiledRules
from node.alerts.indicators import GATHERED, facts, gathered_facts
from tests.support.alerts import CASE_PATTERNS, case_pattern, minimal_alert, sample_alert

RULES = CompiledRules(AlertPublished.DESCRIPTOR)
VALIDATOR = protovalidate.Validator()


def body(alert: DiversionAlert) -> bytes:
    return AlertPublished(alert=alert).SerializeToString()


@pytest.mark.parametrize("event", [AlertPublished, AlertRevised, AlertWithdrawn, ListPart])
def test_every_field_rule_of_an_event_is_compiled(event: Any) -> None:
    assert CompiledRules(event.DESCRIPTOR).unsupported == set()


def test_valid_alerts_take_the_short_way() -> None:
    alerts = [minimal_alert(), sample_alert(1), *(case_pattern(n) for n in CASE_PATTERNS)]
    assert [RULES.hold(body(alert)) for alert in alerts] == [True] * len(alerts)


def test_a_message_with_rules_that_are_not_known_never_holds() -> None:
    rules = CompiledRules(EntryHeader.DESCRIPTOR)
    assert rules.unsupported
    assert not rules.hold(b"")


def _set(path: str, value: Any) -> Callable[[DiversionAlert], None]:
    def change(alert: DiversionAlert) -> None:
        part: Any = alert
        *steps, last = path.split(".")
        for step in steps:
            name, _, index = step.partition("[")
            part = getattr(part, name)
            part = part[int(index[:-1])] if index else part
        if isinstance(value, list):
            getattr(part, last)[:] = value
        else:
            setattr(part, last, value)

    return change


BREAKS = [
    _set("name", "alerts/XA/1"),
    _set("name", ""),
    _set("name", sample_alert(1).name + "\n"),
    _set("revision", 0),
    _set("originator", "xa"),
    _set("authority", ""),
    _set("authority", "a" * 201),
    _set("authority", "Щ" * 201),
    _set("status", c.ALERT_STATUS_UNSPECIFIED),
    _set("legal_scopes", []),
    _set("legal_scopes", [c.LEGAL_SCOPE_ART_2_1, c.LEGAL_SCOPE_ART_2_1]),
    _set("topics", [c.INFORMATION_TOPIC_UNSPECIFIED]),
    _set("requested_actions", []),
    _set("items[0].country_of_manufacture", "X"),
    _set("items[0].serials[0].as_read", "UNKNOWN"),
    _set("items[0].serials[0].as_read", "1" * 101),
    _set("items[0].lots", [""]),
    _set("items[0].lots", ["1"] * 101),
    _set("items[0].quantity.value", "0"),
    _set("items[0].quantity.unit", ""),
    _set("items[0].year", 10_000),
    _set("items[0].category", c.ARMS_CATEGORY_UNSPECIFIED),
    _set("parties[0].party_id", "P 1"),
    _set("parties[0].roles", []),
    _set("parties[0].involvement", c.INVOLVEMENT_UNSPECIFIED),
    _set("parties[0].names[0].full", ""),
    _set("parties[0].emails", ["a@"]),
    _set("documents[0].issuer_state", "ABC"),
    _set("legs[0].locode", "XA001"),
    _set("legs[0].roles", []),
    _set("diversion.detected_on.month", 13),
    _set("diversion.detected_on.year", 0),
    _set("handling.tlp", 0),
    _set("handling.purposes", []),
    _set("handling.audience.kind", 0),
    _set("titles[0].language", "english!"),
    lambda alert: alert.ClearField("confidence"),
    lambda alert: alert.confidence.SetInParent() or alert.confidence.ClearField("level"),
    lambda alert: alert.ClearField("handling"),
    lambda alert: alert.ClearField("titles"),
    lambda alert: alert.ClearField("provenance"),
    lambda alert: alert.legs[0].approximate_coordinates.MergeFrom(
        type(alert.legs[0].approximate_coordinates)(latitude=90.5, longitude=0.0, accuracy_m=10_000)
    ),
    lambda alert: alert.parties[0].ownership_links.add(
        owned_party_id="P2", kind=c.OWNERSHIP_KIND_PARENT, share_percent=float("nan")
    ),
    lambda alert: [alert.titles.add(language="en", text="t") for _ in range(6)],
]


@pytest.mark.parametrize("change", BREAKS)
def test_whatever_protovalidate_refuses_does_not_hold(change: Callable[[DiversionAlert], Any]) -> None:
    alert = sample_alert(1)
    change(alert)
    event = AlertPublished(alert=alert)
    assert VALIDATOR.collect_violations(event)
    assert not RULES.hold(event.SerializeToString())


def test_long_texts_of_other_scripts_are_measured_in_characters() -> None:
    alert = sample_alert(1)
    alert.authority = "Щ" * 200
    alert.summaries[0].text = "安" * 4000
    assert not VALIDATOR.collect_violations(alert)
    assert RULES.hold(body(alert))


def test_numbers_and_lengths_of_several_bytes_are_read() -> None:
    alert = sample_alert(1)
    alert.revision = 4_000_000
    alert.items[0].year = 2024
    for n in range(400):
        alert.items[0].serials.add(as_read=f"LONG-{n:05d}")
    assert RULES.hold(body(alert))


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"\xfa\x3f\x01\x00", id="an unknown field"),
        pytest.param(sample_alert(2).SerializeToString()[:48], id="a field for the second time"),
        pytest.param(b"\x10\x00", id="an explicit zero out of order"),
    ],
)
def test_bytes_in_another_form_than_serialisers_write_are_left_to_protovalidate(tail: bytes) -> None:
    raw = minimal_alert().SerializeToString() + tail
    DiversionAlert.FromString(raw)
    assert not CompiledRules(DiversionAlert.DESCRIPTOR).hold(raw)


def everything_searchable() -> DiversionAlert:
    """An alert with a value in every field that is searched."""
    alert = sample_alert(1)
    item = alert.items[0]
    item.serials[0].as_registered = "REG 1"
    item.serial_ranges.add(first="AB1", last="AB9")
    item.lots.append("ZZZ21C001-014")
    item.contract_numbers.append("C 12")
    person = alert.parties[0]
    person.kind = c.PARTY_KIND_PERSON
    alert.handling.personal_data = True
    person.names[0].full_lat = "Jan Exempel"
    person.emails.append("jan@example.org")
    person.sites.append("https://example.org/shop")
    contract = alert.documents.add(type=c.DOCUMENT_TYPE_CONTRACT, number_as_read="K 7", register_number="R 8")
    contract.signatory.name = "Ян Экземпел"
    contract.signatory.name_lat = "Yan Ekzempel"
    conveyance = alert.conveyances.add(
        type=c.CONVEYANCE_TYPE_SEA,
        imo_number="0000012",
        aircraft_registration="QQ-76001",
        aircraft_msn="0012",
        icao24="ABC123",
        number_plate="EX 1",
        vin="ZZZ12345",
    )
    conveyance.containers.append("ZZZU1234564")
    conveyance.vessel_names.add(name="Пример", name_lat="Primer")
    alert.diversion.end_user_names.add(full="Example Front", kind=c.NAME_KIND_PRIMARY)
    return alert


def _no_automation(alert: DiversionAlert) -> None:
    alert.handling.restrictions.append(h.USE_RESTRICTION_NO_PERSONAL_DATA_TO_AUTOMATION)


def _red(alert: DiversionAlert) -> None:
    alert.handling.tlp = h.TLP_RED


@pytest.mark.parametrize("change", [lambda _alert: None, _no_automation, _red])
def test_gathered_fields_are_the_facts_of_the_alert(change: Callable[[DiversionAlert], None]) -> None:
    rules = CompiledRules(AlertPublished.DESCRIPTOR, GATHERED | GATHERED_COLUMNS)
    for alert in (everything_searchable(), *(case_pattern(n) for n in CASE_PATTERNS)):
        change(alert)
        gathered = rules.gather(body(alert))
        assert gathered is not None
        assert gathered_columns(gathered) == columns(alert)
        by_walk = sorted((kind, value) for kind, value, _ in facts(alert))
        assert sorted((k, v) for k, v, _ in gathered_facts(gathered, alert.handling)) == by_walk


def test_every_searchable_field_is_gathered() -> None:
    rules = CompiledRules(AlertPublished.DESCRIPTOR, GATHERED)
    gathered = rules.gather(body(everything_searchable()))
    assert gathered is not None
    assert {code for code, _ in gathered} == set(GATHERED.values())


def test_nothing_is_gathered_from_a_body_that_breaks_a_rule() -> None:
    alert = sample_alert(1)
    alert.legs[0].ClearField("roles")
    assert CompiledRules(AlertPublished.DESCRIPTOR, GATHERED).gather(body(alert)) is None
