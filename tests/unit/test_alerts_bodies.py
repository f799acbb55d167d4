"""I10: an authentic body that breaks a rule, contradicts its header or is not understood is told apart, never shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dief.v1 import codes_pb2 as c
from dief.v1 import handling_pb2 as h
from dief.v1 import log_pb2
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.event_pb2 import AlertPublished, AlertRevised, AlertWithdrawn, ListPart

from node.alerts.bodies import InvalidBody, ParsedBody, Refusal, parse_body
from tests.support.alerts import minimal_alert, sample_alert

PUBLISHED = int(log_pb2.EVENT_KIND_ALERT_PUBLISHED)
NAMED = minimal_alert(states=["XA", "XB"])


def parse(alert: DiversionAlert, **facts: Any) -> ParsedBody | InvalidBody:
    told: dict[str, Any] = {
        "subject": alert.name,
        "revision": alert.revision,
        "origin": "XA",
        "audience": alert.handling.audience,
        "reader_role": 0,
    }
    told.update(facts)
    kind = told.pop("kind", PUBLISHED)
    return parse_body(kind, told.pop("body", AlertPublished(alert=alert).SerializeToString()), **told)


def reason(result: ParsedBody | InvalidBody) -> Refusal:
    assert isinstance(result, InvalidBody)
    return result.reason


def test_a_valid_body_is_parsed() -> None:
    alert = sample_alert(1)
    result = parse(alert)
    assert isinstance(result, ParsedBody)
    assert result.alert == alert
    assert result.uuid.hex() == alert.name[10:].replace("-", "")


def test_a_revision_is_parsed() -> None:
    alert = minimal_alert(revision=3)
    body = AlertRevised(alert=alert, change_note="serial mended").SerializeToString()
    assert isinstance(parse(alert, kind=int(log_pb2.EVENT_KIND_ALERT_REVISED), body=body), ParsedBody)


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"subject": minimal_alert(number=2).name}, id="another subject"),
        pytest.param({"subject": "alerts/XA/1"}, id="no subject"),
        pytest.param({"revision": 2}, id="another revision"),
        pytest.param({"origin": "XB"}, id="a log of another origin"),
        pytest.param({"reader_role": 1}, id="a log for law enforcement"),
        pytest.param({"body": b"\xff"}, id="no protobuf"),
        pytest.param({"body": b""}, id="no alert"),
        pytest.param(
            {"audience": h.Audience(kind=h.AUDIENCE_KIND_STATES_PARTIES)}, id="a narrower log than it says"
        ),
        pytest.param(
            {"audience": h.Audience(kind=h.AUDIENCE_KIND_NAMED_STATES, states=["XA", "XB"])},
            id="named States in the log only",
        ),
    ],
)
def test_a_body_that_contradicts_its_header_or_log_is_invalid(facts: dict[str, Any]) -> None:
    assert reason(parse(minimal_alert(), **facts)) is Refusal.INVALID_BODY


def test_an_audience_wider_than_the_log_is_invalid() -> None:
    wider = minimal_alert(states=["XA", "XB", "XE"])
    assert reason(parse(wider, audience=NAMED.handling.audience)) is Refusal.INVALID_BODY


def test_the_order_of_named_states_does_not_matter() -> None:
    other = h.Audience(kind=h.AUDIENCE_KIND_NAMED_STATES, states=["XB", "XA"])
    assert isinstance(parse(NAMED, audience=other), ParsedBody)


def _unknown_restriction(alert: DiversionAlert) -> None:
    alert.handling.restrictions.append(h.UseRestriction.ValueType(77))


@pytest.mark.parametrize(
    "change",
    [
        _unknown_restriction,
        lambda a: setattr(a.handling, "tlp", 9),
        lambda a: a.handling.purposes.append(h.Purpose.ValueType(40)),
        lambda a: setattr(a.handling.audience, "kind", 8),
        lambda a: setattr(a.handling.audience, "reader_role", 5),
    ],
)
def test_a_value_of_the_handling_that_is_not_understood_hides_the_content(
    change: Callable[[DiversionAlert], Any],
) -> None:
    alert = minimal_alert()
    change(alert)
    assert reason(parse(alert)) is Refusal.HIDDEN


def test_a_log_for_a_role_that_is_not_understood_hides_its_content() -> None:
    assert reason(parse(minimal_alert(), reader_role=4)) is Refusal.HIDDEN


def test_an_unknown_value_elsewhere_is_kept_as_it_is() -> None:
    alert = minimal_alert()
    alert.items[0].disposition = c.Disposition.ValueType(42)
    assert isinstance(parse(alert), ParsedBody)


def test_a_broken_field_rule_names_field_and_rule_and_no_content() -> None:
    alert = minimal_alert()
    alert.items[0].serials[0].as_read = "SECRET" * 20
    result = parse(alert)
    assert isinstance(result, InvalidBody)
    assert result.detail == "alert.items[0].serials[0].as_read: string.max_len"


def test_a_broken_condition_is_invalid() -> None:
    alert = minimal_alert()
    alert.handling.personal_data = True
    alert.handling.ClearField("legal_basis")
    result = parse(alert)
    assert isinstance(result, InvalidBody)
    assert result.detail == "alert.handling: handling.personal_data"


def test_a_broken_intake_rule_refuses_nothing_that_is_received() -> None:
    alert = minimal_alert()
    alert.urgency = c.URGENCY_IMMEDIATE
    assert isinstance(parse(alert), ParsedBody)


@pytest.mark.parametrize("kind", [16, 21, 999, -1])
def test_a_kind_of_a_later_version_is_not_understood(kind: int) -> None:
    assert reason(parse(minimal_alert(), kind=kind)) is Refusal.NOT_UNDERSTOOD


def test_withdrawals_and_list_parts_are_parsed() -> None:
    alert = minimal_alert()
    withdrawal = AlertWithdrawn(reason=c.WITHDRAWAL_REASON_UNFOUNDED).SerializeToString()
    part = ListPart(alert=alert.name, revision=1, items=alert.items).SerializeToString()
    assert isinstance(parse(alert, kind=4, body=withdrawal), ParsedBody)
    assert isinstance(parse(alert, kind=5, body=part), ParsedBody)


def test_a_withdrawal_without_a_reason_and_a_part_of_another_alert_are_invalid() -> None:
    alert = minimal_alert()
    part = ListPart(alert=minimal_alert(number=9).name, revision=1, items=alert.items).SerializeToString()
    assert reason(parse(alert, kind=4, body=b"")) is Refusal.INVALID_BODY
    assert reason(parse(alert, kind=5, body=part)) is Refusal.INVALID_BODY


def test_fields_of_a_later_version_do_not_make_a_body_invalid() -> None:
    alert = minimal_alert()
    body = AlertPublished(alert=alert).SerializeToString() + b"\xfa\x3f\x01\x07"
    assert isinstance(parse(alert, body=body), ParsedBody)
