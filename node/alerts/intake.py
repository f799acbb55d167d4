"""What an alert must keep, beyond its field rules and conditions, before its own State may release it.

A received alert is not refused for these: a useful alert must not be lost over a missing explanation.

Rules:
- every `option (dief.v1.intake_condition)` of the protos;
- dates exist, are not in the future (a day of tolerance) unless they plan or limit something, and from <= to;
- codes of States are assigned or user-assigned;
- a placeholder ("UNKNOWN", "N/A", "0000") is no serial, lot or document number;
- references to parties and conveyances lead somewhere;
- an alert does not expire before it is told.
Warnings: quantity unlike the number of serials, no import mark on foreign goods, a forged paper whose issuer is
blamed, a check digit that fails.

Source: domain.md 4.2-4.4; ISO 3166-1; ISO 6346; IMO resolution A.1117(30).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from buf.validate import validate_pb2
from dief.v1 import codes_pb2 as c
from dief.v1 import conditions_pb2
from dief.v1.alert_pb2 import DiversionAlert, PartialDate
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from stdnum import imo, iso6346

from node.alerts.countries import known
from node.alerts.placeholders import is_placeholder
from node.alerts.violation import Severity, Violation

_OTHER = 98
_TOLERANCE = timedelta(days=1)
_MAY_LIE_AHEAD = frozenset({"dief.v1.Document.expires_on", "dief.v1.Leg.planned_on"})
_ALPHA2 = "^[A-Z]{2}$"
_STATE_PREFIXED = frozenset({"locode", "subdivision"})
_PARTY_REFERENCES = frozenset({"issuer_party_id", "stated_party_ids", "operator_party_id", "owned_party_id"})
_FORGED = frozenset({c.DOCUMENT_FLAG_FORGED, c.DOCUMENT_FLAG_SIGNATURE_FALSE, c.DOCUMENT_FLAG_STAMP_FALSE})
_BLAMED = frozenset(
    {c.INVOLVEMENT_WITTING_SUSPECTED, c.INVOLVEMENT_WITTING_ESTABLISHED, c.INVOLVEMENT_CONVICTED}
)
_NOT_PERSONS = frozenset({c.PARTY_KIND_COMPANY, c.PARTY_KIND_STATE_BODY, c.PARTY_KIND_VESSEL_INTEREST})
_BODIES = frozenset({c.PARTY_KIND_COMPANY, c.PARTY_KIND_STATE_BODY})
_PERSON_SCHEMES = frozenset({c.IDENTIFIER_SCHEME_PASSPORT, c.IDENTIFIER_SCHEME_NATIONAL_ID})
_COUNTED_UNITS = frozenset({"NAR", "C62", "H87", "EA"})
_MIN_ACCURACY_M = 10_000


@dataclass(slots=True)
class _Intake:
    """One check of one alert: what it is held against, and what was found."""

    alert: DiversionAlert
    now: datetime
    latest: date
    party_ids: frozenset[str]
    conveyance_ids: frozenset[str]
    found: list[Violation] = field(default_factory=list)

    def error(self, path: str, rule: str, description: str) -> None:
        self.found.append(Violation(path, description, Severity.ERROR, rule))

    def warn(self, path: str, rule: str, description: str) -> None:
        self.found.append(Violation(path, description, Severity.WARNING, rule))


def check_intake(alert: DiversionAlert, now_ms: int) -> list[Violation]:
    """Everything that stands against releasing an alert, beyond field rules and conditions, and what is doubtful.

    Args:
        alert: The alert as it would leave.
        now_ms: Moment of the check, milliseconds since the epoch.
    """
    now = datetime.fromtimestamp(now_ms / 1000, tz=UTC)
    intake = _Intake(
        alert,
        now,
        now.date() + _TOLERANCE,
        frozenset(party.party_id for party in alert.parties),
        frozenset(conveyance.conveyance_id for conveyance in alert.conveyances if conveyance.conveyance_id),
    )
    for part, path in walk(alert, ""):
        _other_text(intake, part, path)
        _fields(intake, part, path)
        rule = _RULES.get(part.DESCRIPTOR.full_name)
        if rule is not None:
            rule(intake, part, path)
    return intake.found


def walk(part: Message, path: str) -> Iterator[tuple[Message, str]]:
    """A message and all messages in it, each with its path; moments are values, not parts."""
    yield part, path
    for descriptor, value in part.ListFields():
        if descriptor.message_type is None or descriptor.message_type.full_name.startswith("google."):
            continue
        below = _join(path, descriptor.name)
        if descriptor.is_repeated:
            for i, element in enumerate(value):
                yield from walk(element, f"{below}[{i}]")
        else:
            yield from walk(value, below)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@cache
def _other_rule(descriptor: Descriptor) -> str:
    """Id of the message's condition about other_text, "" where it has none."""
    rules = descriptor.GetOptions().Extensions[conditions_pb2.intake_condition]
    return next((rule.id for rule in rules if rule.id.endswith(".other_text")), "")


def _other_text(intake: _Intake, part: Any, path: str) -> None:
    rule = _other_rule(part.DESCRIPTOR)
    if not rule or part.other_text:
        return
    for descriptor, value in part.ListFields():
        if descriptor.enum_type is not None and (
            _OTHER in value if descriptor.is_repeated else value == _OTHER
        ):
            intake.error(
                _join(path, "other_text"), rule, f"Say in other_text what OTHER in {descriptor.name} means."
            )
            return


@cache
def _state_fields(descriptor: Descriptor) -> frozenset[str]:
    names = set()
    for entry in descriptor.fields:
        rules = entry.GetOptions().Extensions[validate_pb2.field]
        text = rules.repeated.items.string if entry.is_repeated else rules.string
        if text.pattern == _ALPHA2 or entry.name in _STATE_PREFIXED:
            names.add(entry.name)
    return frozenset(names)


def _fields(intake: _Intake, part: Message, path: str) -> None:
    states = _state_fields(part.DESCRIPTOR)
    for descriptor, value in part.ListFields():
        name = descriptor.name
        if name in states or name in _PARTY_REFERENCES:
            values = list(value) if descriptor.is_repeated else [value]
            for i, code in enumerate(values):
                where = _join(path, f"{name}[{i}]" if descriptor.is_repeated else name)
                if name in states and not known(code[:2]):
                    intake.error(
                        where, "state.known", "Not a code of ISO 3166-1: give the alpha-2 code of a State."
                    )
                if name in _PARTY_REFERENCES and code not in intake.party_ids:
                    intake.error(
                        where, "party.reference", "No party has this party_id: add the party or mend the id."
                    )
        elif descriptor.message_type is not None and descriptor.message_type.name == "PartialDate":
            _date(intake, value, _join(path, name), ahead=descriptor.full_name in _MAY_LIE_AHEAD)


def _date(intake: _Intake, value: PartialDate, path: str, *, ahead: bool) -> None:
    if value.day and not value.month:
        intake.error(path, "partial_date.month", "A day needs its month: give both, or the year alone.")
        return
    first = _first_day(value)
    if first is None:
        intake.error(path, "partial_date.exists", "There is no such day: mend year, month or day.")
    elif not ahead and first > intake.latest:
        intake.error(
            path, "partial_date.past", "It lies in the future: mend it, or leave out what is not known."
        )


def _first_day(value: PartialDate) -> date | None:
    try:
        return date(value.year, value.month or 1, value.day or 1)
    except (ValueError, OverflowError):
        return None


def _last_day(value: PartialDate) -> date | None:
    first = _first_day(value)
    if first is None or value.day:
        return first
    year, month = (value.year, value.month + 1) if 0 < value.month < 12 else (value.year + 1, 1)
    return date(year, month, 1) - timedelta(days=1) if year <= date.max.year else date.max


def _ordered(intake: _Intake, start: PartialDate, end: PartialDate, path: str) -> None:
    first, last = _first_day(start), _last_day(end)
    if first is not None and last is not None and first > last:
        intake.error(path, "period.order", "It ends before it begins: change the two dates.")


def _period(intake: _Intake, period: Any, path: str) -> None:
    if period.HasField("start") and period.HasField("end"):
        _ordered(intake, period.start, period.end, path)


def _alert(intake: _Intake, alert: Any, _path: str) -> None:
    if alert.urgency == c.URGENCY_IMMEDIATE and not alert.urgency_reason:
        intake.error(
            "urgency_reason", "alert.urgency_reason", "IMMEDIATE needs its reason, e.g. that cargo is moving."
        )
    moving = any(item.disposition == c.DISPOSITION_IN_TRANSIT for item in alert.items)
    dated = any(leg.HasField("planned_on") or leg.HasField("actual_on") for leg in alert.legs)
    if moving and not alert.conveyances and not dated:
        intake.error(
            "conveyances",
            "alert.in_transit",
            "An item is IN_TRANSIT: give a conveyance, or a leg with a date.",
        )
    blamed = {party.party_id: i for i, party in enumerate(alert.parties) if party.involvement in _BLAMED}
    for i, document in enumerate(alert.documents):
        if document.issuer_party_id in blamed and not _FORGED.isdisjoint(document.flags):
            intake.warn(
                f"parties[{blamed[document.issuer_party_id]}].involvement",
                "document.forged_issuer",
                f"documents[{i}] is marked as forged and this party is its issuer: whoever is named on a forged paper "
                "is as a rule MISUSED. Keep the blame only if it rests on something else.",
            )


def _handling(intake: _Intake, handling: Any, path: str) -> None:
    for name in ("expires_on", "review_on"):
        if handling.HasField(name) and _moment(getattr(handling, name)) <= intake.now.timestamp():
            intake.error(
                _join(path, name), f"handling.{name}", f"It has passed already: set {name} to a later moment."
            )


def _moment(value: Any) -> float:
    return float(value.seconds + value.nanos / 1e9)


def _item(intake: _Intake, item: Any, path: str) -> None:
    serials = len(item.serials)
    if not (serials or item.serial_ranges or item.lots or item.markings or item.HasField("quantity")):
        intake.error(
            path, "item.identified", "Give at least one serial, serial range, lot, marking or quantity."
        )
    if item.category == c.ARMS_CATEGORY_SMALL_ARM_OR_LIGHT_WEAPON and not item.subtype:
        intake.error(_join(path, "subtype"), "item.subtype", "SMALL_ARM_OR_LIGHT_WEAPON needs a subtype.")
    if serials and item.HasField("quantity") and item.quantity.unit in _COUNTED_UNITS:
        counted = item.quantity.value
        marks = sum(
            s.kind != c.SERIAL_KIND_IMPORTER and s.kind != c.SERIAL_KIND_ARMOURY for s in item.serials
        )
        if not counted.isdigit() or int(counted) not in (serials, marks):
            intake.warn(
                _join(path, "quantity"),
                "item.quantity_serials",
                "The quantity is not the number of serials: check that none is missing.",
            )
    foreign = item.country_of_manufacture not in ("", intake.alert.originator)
    if foreign and serials and not item.import_marks:
        intake.warn(
            _join(path, "import_marks"),
            "item.import_mark",
            "Made in another State: look for an import mark and give it, it tells the first importer.",
        )
    for i, lot in enumerate(item.lots):
        if is_placeholder(lot):
            _placeholder(intake, _join(path, f"lots[{i}]"), "leave the lot out and describe the item.")


def _placeholder(intake: _Intake, path: str, mend: str) -> None:
    intake.error(path, "placeholder", f"This word says that there is no number: {mend}")


def _serial(intake: _Intake, serial: Any, path: str) -> None:
    if not serial.as_read and not serial.as_registered and serial.condition != c.SERIAL_CONDITION_ERASED:
        intake.error(path, "serial.value", "Give as_read or as_registered, or set condition to ERASED.")
    for name in ("as_read", "as_registered"):
        value = getattr(serial, name)
        if value and is_placeholder(value):
            _placeholder(
                intake, _join(path, name), "leave it empty and use condition (ERASED, PARTIAL, UNKNOWN)."
            )


def _serial_range(intake: _Intake, bounds: Any, path: str) -> None:
    for name in ("first", "last"):
        if is_placeholder(getattr(bounds, name)) and not getattr(bounds, name).isdigit():
            _placeholder(intake, _join(path, name), "leave the range out and give the quantity.")


def _party(intake: _Intake, party: Any, path: str) -> None:
    if not party.names and party.kind in _BODIES:
        intake.error(_join(path, "names"), "party.names", "A COMPANY or STATE_BODY needs a name.")
    if party.kind in _NOT_PERSONS and any(i.scheme in _PERSON_SCHEMES for i in party.identifiers):
        intake.error(
            _join(path, "identifiers"),
            "party.person_identifiers",
            "PASSPORT and NATIONAL_ID are for persons: choose another scheme, or kind PERSON.",
        )


def _document(intake: _Intake, document: Any, path: str) -> None:
    if document.HasField("issued_on") and document.HasField("expires_on"):
        _ordered(intake, document.issued_on, document.expires_on, _join(path, "expires_on"))
    for name in ("number_as_read", "register_number"):
        value = getattr(document, name)
        if value and is_placeholder(value):
            _placeholder(intake, _join(path, name), "leave it empty.")


def _conveyance(intake: _Intake, conveyance: Any, path: str) -> None:
    number = conveyance.imo_number
    if number and "?" not in number and not imo.is_valid(number):
        _check_digit(intake, _join(path, "imo_number"))
    for i, container in enumerate(conveyance.containers):
        if "?" not in container and len(container) == 11 and not iso6346.is_valid(container):
            _check_digit(intake, _join(path, f"containers[{i}]"))


def _check_digit(intake: _Intake, path: str) -> None:
    intake.warn(
        path, "check_digit", "Its check digit fails: compare it with the source. It is sent as it is."
    )


def _leg(intake: _Intake, leg: Any, path: str) -> None:
    approximate = leg.HasField("approximate_coordinates")
    if not (leg.locode or leg.country or leg.place or approximate or leg.HasField("exact_coordinates")):
        intake.error(path, "leg.place", "Give at least one of locode, country, place, coordinates.")
    if approximate and leg.approximate_coordinates.accuracy_m < _MIN_ACCURACY_M:
        intake.error(
            _join(path, "approximate_coordinates.accuracy_m"),
            "leg.approximate_coordinates",
            "Approximate coordinates are no finer than 10 km: set accuracy_m to 10000 or more, or use "
            "exact_coordinates, which only law enforcement reads.",
        )
    if leg.conveyance_id and leg.conveyance_id not in intake.conveyance_ids:
        intake.error(
            _join(path, "conveyance_id"),
            "conveyance.reference",
            "No conveyance has this conveyance_id: add the conveyance or mend the id.",
        )


_RULES: dict[str, Callable[[_Intake, Any, str], None]] = {
    "dief.v1.DiversionAlert": _alert,
    "dief.v1.Handling": _handling,
    "dief.v1.Period": _period,
    "dief.v1.Item": _item,
    "dief.v1.Serial": _serial,
    "dief.v1.SerialRange": _serial_range,
    "dief.v1.Party": _party,
    "dief.v1.Document": _document,
    "dief.v1.Conveyance": _conveyance,
    "dief.v1.Leg": _leg,
}
