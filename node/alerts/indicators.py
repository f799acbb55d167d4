"""Indicators: the searchable facts of an alert, where each stands, and the key under which it is found.

Rules:
- TLP RED is for named officials: nothing of it is indexed.
- NO_PERSONAL_DATA_TO_AUTOMATION keeps persons, armed groups and parties of unknown kind, signatories and names of
  end users out of the index; their alert is found by everything else.
- A key is the first 8 bytes of SHA-256(kind || 0x00 || form), a signed integer: two facts can share one, so whoever
  finds a key compares the facts themselves.

Source: domain.md 4.2 (TLP), 7; handling.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import Any

from dief.v1 import codes_pb2 as c
from dief.v1 import handling_pb2 as h
from dief.v1.alert_pb2 import Conveyance, DiversionAlert, Document, Item, Party

from node.alerts.columns import FIRST_CODE
from node.alerts.normal import NORMAL_FORMS

Place = tuple[str | int, ...]
Fact = tuple[int, str, Place]
"""Kind of indicator, value as written, and where: a path template followed by its indices."""

_SERIAL = int(c.INDICATOR_KIND_SERIAL)
_LOT = int(c.INDICATOR_KIND_LOT)
_PARTY_NAME = int(c.INDICATOR_KIND_PARTY_NAME)
_PARTY_IDENTIFIER = int(c.INDICATOR_KIND_PARTY_IDENTIFIER)
_DOCUMENT = int(c.INDICATOR_KIND_DOCUMENT)
_IMO = int(c.INDICATOR_KIND_IMO)
_VESSEL_NAME = int(c.INDICATOR_KIND_VESSEL_NAME)
_AIRCRAFT = int(c.INDICATOR_KIND_AIRCRAFT)
_CONTAINER = int(c.INDICATOR_KIND_CONTAINER)
_CONTACT = int(c.INDICATOR_KIND_CONTACT)
_VEHICLE = int(c.INDICATOR_KIND_VEHICLE)
_CONTRACT = int(c.INDICATOR_KIND_CONTRACT)

_RED = h.TLP_RED
_NO_PERSONAL_DATA = h.USE_RESTRICTION_NO_PERSONAL_DATA_TO_AUTOMATION
_NOT_PERSONS = frozenset({c.PARTY_KIND_COMPANY, c.PARTY_KIND_STATE_BODY, c.PARTY_KIND_VESSEL_INTEREST})
_CONTRACT_PAPER = c.DOCUMENT_TYPE_CONTRACT
_first_8: Callable[[bytes], tuple[int]] = Struct(">q").unpack_from
_PREFIXES = {kind: bytes([kind, 0]) for kind in NORMAL_FORMS}


@dataclass(frozen=True, slots=True)
class Indicator:
    """One searchable fact.

    Attributes:
        kind: Value of dief.v1.IndicatorKind.
        form: Normal form.
        value: As the originator wrote it.
        path: Where it stands, for example "items[0].serials[1].as_read".
    """

    kind: int
    form: str
    value: str
    path: str


def indicator_key(kind: int, form: str) -> int:
    """Key of a normal form: 64 bits, signed."""
    return _first_8(sha256(_PREFIXES[kind] + form.encode()).digest())[0]


def indicators(alert: DiversionAlert) -> list[Indicator]:
    """All indicators of an alert; one value can have several forms."""
    return _indicators(facts(alert))


def item_indicators(items: Iterable[Item]) -> list[Indicator]:
    """All indicators of the items of a list part."""
    return _indicators(item_facts(items))


def _indicators(found: Iterator[Fact]) -> list[Indicator]:
    return [
        Indicator(kind, form, value, path_of(place))
        for kind, value, place in found
        for form in NORMAL_FORMS[kind](value)
    ]


def keys(found: Iterator[Fact]) -> list[tuple[int, int]]:
    """Pairs (kind, key) of facts, each once: what the index holds."""
    pairs = {}
    for kind, value, _place in found:
        for form in NORMAL_FORMS[kind](value):
            pairs[_first_8(sha256(_PREFIXES[kind] + form.encode()).digest())[0]] = kind
    return [(kind, key) for key, kind in pairs.items()]


PARTY_KIND = 100
DOCUMENT_TYPE = 101
PERSON_NAME = 102
PARTY_FACT = 200
DOCUMENT_NUMBER = 300

GATHERED = {
    "dief.v1.Serial.as_read": _SERIAL,
    "dief.v1.Serial.as_registered": _SERIAL,
    "dief.v1.SerialRange.first": _SERIAL,
    "dief.v1.SerialRange.last": _SERIAL,
    "dief.v1.Item.lots": _LOT,
    "dief.v1.Item.contract_numbers": _CONTRACT,
    "dief.v1.Party.kind": PARTY_KIND,
    "dief.v1.PartyName.full": PARTY_FACT + _PARTY_NAME,
    "dief.v1.PartyName.full_lat": PARTY_FACT + _PARTY_NAME,
    "dief.v1.PartyIdentifier.value": PARTY_FACT + _PARTY_IDENTIFIER,
    "dief.v1.Party.phones": PARTY_FACT + _CONTACT,
    "dief.v1.Party.emails": PARTY_FACT + _CONTACT,
    "dief.v1.Party.sites": PARTY_FACT + _CONTACT,
    "dief.v1.Document.type": DOCUMENT_TYPE,
    "dief.v1.Document.number_as_read": DOCUMENT_NUMBER,
    "dief.v1.Document.register_number": DOCUMENT_NUMBER,
    "dief.v1.Signatory.name": PERSON_NAME,
    "dief.v1.Signatory.name_lat": PERSON_NAME,
    "dief.v1.Conveyance.imo_number": _IMO,
    "dief.v1.Conveyance.aircraft_registration": _AIRCRAFT,
    "dief.v1.Conveyance.aircraft_msn": _AIRCRAFT,
    "dief.v1.Conveyance.icao24": _AIRCRAFT,
    "dief.v1.Conveyance.number_plate": _VEHICLE,
    "dief.v1.Conveyance.vin": _VEHICLE,
    "dief.v1.VesselName.name": _VESSEL_NAME,
    "dief.v1.VesselName.name_lat": _VESSEL_NAME,
    "dief.v1.Conveyance.containers": _CONTAINER,
}
"""The fields that `facts` reads, as node.alerts.compiled gathers them; tests hold the two against each other."""


def gathered_facts(gathered: Iterable[tuple[int, Any]], handling: h.Handling | None) -> Iterator[Fact]:
    """The facts of a body whose fields were gathered while its rules were checked, without their places.

    Args:
        gathered: Codes of GATHERED with values, in the order of the body: a party's kind before its names, the
            names of end users before any party.
        handling: The alert's handling, None for a list part.
    """
    if handling is not None and handling.tlp == _RED:
        return
    persons = handling is None or _NO_PERSONAL_DATA not in handling.restrictions
    allowed = persons
    contract = False
    for code, value in gathered:
        if code < PARTY_KIND:
            yield code, value, _NOWHERE
        elif code == PARTY_KIND:
            allowed = persons or value in _NOT_PERSONS
        elif code == DOCUMENT_TYPE:
            contract = value == _CONTRACT_PAPER
        elif code == DOCUMENT_NUMBER:
            yield _DOCUMENT, value, _NOWHERE
            if contract:
                yield _CONTRACT, value, _NOWHERE
        elif code == PERSON_NAME:
            if persons:
                yield _PARTY_NAME, value, _NOWHERE
        elif code < FIRST_CODE and allowed:
            yield code - PARTY_FACT, value, _NOWHERE


_NOWHERE: Place = ()


def path_of(place: Place) -> str:
    """A place as a field path."""
    return str(place[0]) % place[1:]


# Walking an empty repeated field costs four times what asking whether it is empty does, hence the `or ()`.


def facts(alert: DiversionAlert) -> Iterator[Fact]:
    """Searchable facts of an alert, as its handling permits."""
    handling = alert.handling
    if handling.tlp == _RED:
        return
    persons = _NO_PERSONAL_DATA not in handling.restrictions
    yield from item_facts(alert.items)
    for i, party in enumerate(alert.parties or ()):
        if persons or party.kind in _NOT_PERSONS:
            yield from _party(party, i)
    for i, document in enumerate(alert.documents or ()):
        yield from _document(document, i, persons)
    for i, conveyance in enumerate(alert.conveyances or ()):
        yield from _conveyance(conveyance, i)
    if persons:
        for i, name in enumerate(alert.diversion.end_user_names):
            yield _PARTY_NAME, name.full, ("diversion.end_user_names[%d].full", i)
            if name.full_lat:
                yield _PARTY_NAME, name.full_lat, ("diversion.end_user_names[%d].full_lat", i)


def item_facts(items: Iterable[Item]) -> Iterator[Fact]:
    """Searchable facts of items."""
    for i, item in enumerate(items):
        for j, serial in enumerate(item.serials or ()):
            if serial.as_read:
                yield _SERIAL, serial.as_read, ("items[%d].serials[%d].as_read", i, j)
            if serial.as_registered:
                yield _SERIAL, serial.as_registered, ("items[%d].serials[%d].as_registered", i, j)
        for j, bounds in enumerate(item.serial_ranges or ()):
            yield _SERIAL, bounds.first, ("items[%d].serial_ranges[%d].first", i, j)
            yield _SERIAL, bounds.last, ("items[%d].serial_ranges[%d].last", i, j)
        for j, lot in enumerate(item.lots or ()):
            yield _LOT, lot, ("items[%d].lots[%d]", i, j)
        for j, contract in enumerate(item.contract_numbers or ()):
            yield _CONTRACT, contract, ("items[%d].contract_numbers[%d]", i, j)


def _party(party: Party, i: int) -> Iterator[Fact]:
    for j, name in enumerate(party.names):
        yield _PARTY_NAME, name.full, ("parties[%d].names[%d].full", i, j)
        if name.full_lat:
            yield _PARTY_NAME, name.full_lat, ("parties[%d].names[%d].full_lat", i, j)
    for j, identifier in enumerate(party.identifiers or ()):
        yield _PARTY_IDENTIFIER, identifier.value, ("parties[%d].identifiers[%d].value", i, j)
    for j, phone in enumerate(party.phones or ()):
        yield _CONTACT, phone, ("parties[%d].phones[%d]", i, j)
    for j, email in enumerate(party.emails or ()):
        yield _CONTACT, email, ("parties[%d].emails[%d]", i, j)
    for j, site in enumerate(party.sites or ()):
        yield _CONTACT, site, ("parties[%d].sites[%d]", i, j)


def _document(document: Document, i: int, persons: bool) -> Iterator[Fact]:
    kinds = (_DOCUMENT, _CONTRACT) if document.type == _CONTRACT_PAPER else (_DOCUMENT,)
    as_read, register_number = document.number_as_read, document.register_number
    for kind in kinds:
        if as_read:
            yield kind, as_read, ("documents[%d].number_as_read", i)
        if register_number:
            yield kind, register_number, ("documents[%d].register_number", i)
    if persons and document.HasField("signatory"):
        signatory = document.signatory
        if signatory.name:
            yield _PARTY_NAME, signatory.name, ("documents[%d].signatory.name", i)
        if signatory.name_lat:
            yield _PARTY_NAME, signatory.name_lat, ("documents[%d].signatory.name_lat", i)


def _conveyance(conveyance: Conveyance, i: int) -> Iterator[Fact]:
    for kind, field in (
        (_IMO, "imo_number"),
        (_AIRCRAFT, "aircraft_registration"),
        (_AIRCRAFT, "aircraft_msn"),
        (_AIRCRAFT, "icao24"),
        (_VEHICLE, "number_plate"),
        (_VEHICLE, "vin"),
    ):
        value = getattr(conveyance, field)
        if value:
            yield kind, value, (f"conveyances[%d].{field}", i)
    for j, name in enumerate(conveyance.vessel_names):
        yield _VESSEL_NAME, name.name, ("conveyances[%d].vessel_names[%d].name", i, j)
        if name.name_lat:
            yield _VESSEL_NAME, name.name_lat, ("conveyances[%d].vessel_names[%d].name_lat", i, j)
    for j, container in enumerate(conveyance.containers):
        yield _CONTAINER, container, ("conveyances[%d].containers[%d]", i, j)
