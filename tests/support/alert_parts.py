"""What alerts for tests are built of, and the smallest valid one.

Rules
- All are valid by the rules and conditions of the protos.
- Only fictitious States; only numbers with a valid check digit that nobody can be assigned.
"""

from __future__ import annotations

from collections.abc import Sequence

from dief.v1 import codes_pb2 as c
from dief.v1 import handling_pb2 as h
from dief.v1.alert_pb2 import (
    DiversionAlert,
    Item,
    Leg,
    PartialDate,
    Party,
    PartyName,
    Quantity,
    Serial,
)
from google.protobuf.timestamp_pb2 import Timestamp

EXPIRES_AT = 1_893_456_000
"""Expiry of all fixtures, seconds since 1970 UTC (2030-01-01)."""

SHIP_IMO = "0000012"
COMPANY_IMO = "0000014"
CONTAINERS = ("ZZZU1234564", "ZZZU0000140")


def alert_name(origin: str, number: int) -> str:
    """Resource name with a well-formed UUID version 7 that counts up with the number (RFC 9562)."""
    return f"alerts/{origin}/0191f300-{number >> 48 & 0xFFFF:04x}-7000-8000-{number & (1 << 48) - 1:012x}"


def date(year: int, month: int = 0, day: int = 0) -> PartialDate:
    """Partial date; zero for what is not known."""
    return PartialDate(year=year, month=month, day=day)


def handling(states: Sequence[str] = ()) -> h.Handling:
    """Handling for the States named, or for all States Parties and signatories if none is."""
    kind = h.AUDIENCE_KIND_NAMED_STATES if states else h.AUDIENCE_KIND_STATES_PARTIES_AND_SIGNATORIES
    return h.Handling(
        audience=h.Audience(kind=kind, states=sorted(states)),
        tlp=h.TLP_AMBER,
        purposes=[h.PURPOSE_LICENSING, h.PURPOSE_CUSTOMS_CONTROL, h.PURPOSE_CRIMINAL_INVESTIGATION],
        restrictions=[h.USE_RESTRICTION_NOT_AS_EVIDENCE],
        legal_basis=h.LegalBasis(
            text="Sharing to prevent diversion", law_reference="Export Control Act s. 12"
        ),
        expires_on=Timestamp(seconds=EXPIRES_AT),
    )


def minimal_alert(
    origin: str = "XA",
    *,
    number: int = 1,
    revision: int = 1,
    states: Sequence[str] = (),
    title: str = "Pistol missing from an export",
    serial: str = "EX-000123",
) -> DiversionAlert:
    """The smallest valid alert: one item with one serial number.

    Args:
        origin: originator, alpha-2.
        number: makes the name distinct.
        revision: from 1.
        states: named audience; empty for all States Parties and signatories.
        title: English title, at most 120 characters.
        serial: serial number of the only item.
    """
    alert = DiversionAlert(
        name=alert_name(origin, number),
        revision=revision,
        originator=origin,
        authority=f"Export Control Agency of {origin}",
        status=c.ALERT_STATUS_SUSPECTED,
        topics=[c.INFORMATION_TOPIC_CASE],
        legal_scopes=[c.LEGAL_SCOPE_ART_2_1],
        urgency=c.URGENCY_ROUTINE,
        requested_actions=[c.REQUESTED_ACTION_SCREEN],
        handling=handling(states),
        items=[pistol(serial)],
    )
    alert.titles.add(language="en", text=title)
    alert.confidence.level = c.CONFIDENCE_LEVEL_PROBABLE
    alert.provenance.add(kind=c.PROVENANCE_KIND_LICENSING, verified_by_state=True)
    return alert


def pistol(serial: str, *, disposition: c.Disposition.ValueType = c.DISPOSITION_AT_LARGE) -> Item:
    """One pistol with one intact serial number on its frame."""
    return Item(
        category=c.ARMS_CATEGORY_SMALL_ARM_OR_LIGHT_WEAPON,
        subtype=c.ARMS_SUBTYPE_REVOLVER_OR_SELF_LOADING_PISTOL,
        disposition=disposition,
        make="Example Arms",
        model="EA-9",
        calibre="9 mm Luger",
        serials=[
            Serial(
                as_read=serial,
                kind=c.SERIAL_KIND_MANUFACTURER,
                place=c.SERIAL_PLACE_FRAME_RECEIVER,
                condition=c.SERIAL_CONDITION_INTACT,
            )
        ],
    )


def bulk(
    description: str,
    value: str,
    *,
    category: c.ArmsCategory.ValueType = c.ARMS_CATEGORY_SMALL_ARM_OR_LIGHT_WEAPON,
    subtype: c.ArmsSubtype.ValueType = c.ARMS_SUBTYPE_ASSAULT_RIFLE,
    disposition: c.Disposition.ValueType = c.DISPOSITION_AT_LARGE,
    unit: str = "NAR",
    calibre: str = "",
    lots: Sequence[str] = (),
) -> Item:
    """Many alike, known by an estimated quantity."""
    return Item(
        category=category,
        subtype=subtype,
        disposition=disposition,
        description=description,
        calibre=calibre,
        lots=lots,
        quantity=Quantity(value=value, unit=unit, estimated=True),
    )


def party(
    party_id: str,
    role: c.PartyRole.ValueType,
    name: str,
    country: str,
    *,
    kind: c.PartyKind.ValueType = c.PARTY_KIND_COMPANY,
    involvement: c.Involvement.ValueType = c.INVOLVEMENT_NAMED_ONLY,
    aliases: Sequence[PartyName] = (),
) -> Party:
    """A party with a primary name."""
    return Party(
        party_id=party_id,
        roles=[role],
        kind=kind,
        involvement=involvement,
        country=country,
        names=[PartyName(full=name, kind=c.NAME_KIND_PRIMARY), *aliases],
    )


def leg(role: c.LegRole.ValueType, place: str, when: PartialDate | None = None) -> Leg:
    """A leg at a State (2 characters) or UN/LOCODE (5 characters)."""
    return Leg(roles=[role], country=place[:2], locode=place if len(place) == 5 else "", actual_on=when)
