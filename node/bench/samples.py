"""As many distinct alerts as a measurement wants: about 1.1 KB each, with 3 items and 3 parties.

Rules:
- Valid by the rules and conditions of the protos.
- Only fictitious States.
"""

from __future__ import annotations

from dief.v1 import codes_pb2 as c
from dief.v1 import handling_pb2 as h
from dief.v1.alert_pb2 import (
    DiversionAlert,
    Item,
    Leg,
    PartialDate,
    Party,
    PartyIdentifier,
    PartyName,
    Quantity,
    Serial,
)
from google.protobuf.timestamp_pb2 import Timestamp

EXPIRES_AT = 1_893_456_000
"""Seconds since 1970 UTC (2030-01-01)."""

_ROLES = (
    (c.PARTY_ROLE_EXPORTER, "Works"),
    (c.PARTY_ROLE_FREIGHT_FORWARDER, "Freight"),
    (c.PARTY_ROLE_CONSIGNEE, "Trading"),
)


def audience() -> h.Audience:
    """The audience of every sample: all States Parties and signatories."""
    return h.Audience(kind=h.AUDIENCE_KIND_STATES_PARTIES_AND_SIGNATORIES)


def sample_name(i: int, origin: str = "XA") -> str:
    """Resource name with a well-formed UUID version 7 that counts up with the number (RFC 9562)."""
    return f"alerts/{origin}/0191f300-{i >> 48 & 0xFFFF:04x}-7000-8000-{i & (1 << 48) - 1:012x}"


def serial_of(i: int, k: int) -> str:
    """Serial number of the k-th item (0 to 2) of the i-th sample."""
    return f"EA{i * 3 + k:08d}"


def party_of(i: int, k: int) -> str:
    """Name of the k-th party (0 to 2) of the i-th sample."""
    return f"Example {_ROLES[k][1]} {i:07d} LLC"


def identifier_of(i: int, k: int) -> str:
    """Company number of the k-th party (0 to 2) of the i-th sample."""
    return f"XB-{i:07d}-{k}"


def document_of(i: int) -> str:
    """Number of the end-user certificate of the i-th sample."""
    return f"EUC/{i:07d}/2026"


def sample_alert(i: int, origin: str = "XA") -> DiversionAlert:
    """The i-th of as many distinct alerts as wanted."""
    alert = DiversionAlert(
        name=sample_name(i, origin),
        revision=1,
        originator=origin,
        authority=f"Export Control Agency of {origin}",
        status=c.ALERT_STATUS_SUSPECTED,
        topics=[c.INFORMATION_TOPIC_CASE],
        legal_scopes=[c.LEGAL_SCOPE_ART_2_1],
        urgency=c.URGENCY_ROUTINE,
        requested_actions=[c.REQUESTED_ACTION_SCREEN],
        handling=_handling(),
        items=[_item(i, k, origin) for k in range(3)],
        parties=[_party(i, k) for k in range(3)],
    )
    alert.titles.add(language="en", text=f"Pistols of licence {i:07d} rerouted on the way to XB")
    alert.confidence.level = c.CONFIDENCE_LEVEL_PROBABLE
    alert.provenance.add(kind=c.PROVENANCE_KIND_LICENSING, verified_by_state=True)
    diversion = alert.diversion
    diversion.stages.append(c.DIVERSION_STAGE_IN_TRANSIT)
    diversion.types.append(c.DIVERSION_TYPE_REROUTED)
    diversion.modus_operandi.extend([c.MODUS_OPERANDI_FORGED_EUC, c.MODUS_OPERANDI_FALSE_CARGO_DECLARATION])
    diversion.detected_on.CopyFrom(PartialDate(year=2026, month=10, day=1 + i % 28))
    alert.documents.add(
        type=c.DOCUMENT_TYPE_EUC,
        number_as_read=document_of(i),
        issuer="Ministry of Defence of XB",
        issuer_state="XB",
        flags=[c.DOCUMENT_FLAG_FORGED],
    )
    alert.legs.append(
        Leg(
            roles=[c.LEG_ROLE_LOADING],
            country="XA",
            locode="XAEXP",
            actual_on=PartialDate(year=2026, month=9),
        )
    )
    alert.summaries.add(
        language="en",
        text=f"The consignee of licence {i:07d} never ordered; the forwarder shows a paper that XB disowns.",
    )
    alert.concerned_states.add(state="XB", role=c.CONCERNED_STATE_ROLE_IMPORT)
    return alert


def _handling() -> h.Handling:
    return h.Handling(
        audience=audience(),
        tlp=h.TLP_AMBER,
        purposes=[h.PURPOSE_LICENSING, h.PURPOSE_CUSTOMS_CONTROL, h.PURPOSE_CRIMINAL_INVESTIGATION],
        restrictions=[h.USE_RESTRICTION_NOT_AS_EVIDENCE],
        legal_basis=h.LegalBasis(
            text="Sharing to prevent diversion", law_reference="Export Control Act s. 12"
        ),
        expires_on=Timestamp(seconds=EXPIRES_AT),
    )


def _item(i: int, k: int, origin: str) -> Item:
    return Item(
        category=c.ARMS_CATEGORY_SMALL_ARM_OR_LIGHT_WEAPON,
        subtype=c.ARMS_SUBTYPE_REVOLVER_OR_SELF_LOADING_PISTOL,
        disposition=c.DISPOSITION_AT_LARGE,
        make="Example Arms",
        model="EA-9",
        calibre="9 mm Luger",
        country_of_manufacture=origin,
        year=2015 + k,
        quantity=Quantity(value="1", unit="NAR"),
        serials=[
            Serial(
                as_read=serial_of(i, k),
                kind=c.SERIAL_KIND_MANUFACTURER,
                place=c.SERIAL_PLACE_FRAME_RECEIVER,
                condition=c.SERIAL_CONDITION_INTACT,
            )
        ],
    )


def _party(i: int, k: int) -> Party:
    party = Party(
        party_id=f"P{k + 1}",
        roles=[_ROLES[k][0]],
        kind=c.PARTY_KIND_COMPANY,
        involvement=c.INVOLVEMENT_NAMED_ONLY,
        country="XB",
        names=[PartyName(full=party_of(i, k), kind=c.NAME_KIND_PRIMARY)],
        identifiers=[
            PartyIdentifier(
                scheme=c.IDENTIFIER_SCHEME_COMPANY_NUMBER, value=identifier_of(i, k), country="XB"
            )
        ],
        phones=[f"+999{i:09d}"],
    )
    party.addresses.add(text=f"{k + 1} Harbour Road, Example Port", country="XB")
    return party
