"""Alerts for tests: the smallest valid one, the case patterns, and as many distinct ones as a bench wants."""

from __future__ import annotations

from dief.v1 import codes_pb2 as c
from dief.v1.alert_pb2 import Diversion, DiversionAlert, PartyIdentifier, Quantity

from tests.support.alert_parts import alert_name, date, leg, minimal_alert, party, pistol
from tests.support.case_patterns import CASE_PATTERNS, case_pattern

__all__ = ["CASE_PATTERNS", "alert_name", "case_pattern", "minimal_alert", "sample_alert"]


def sample_alert(i: int, origin: str = "XA") -> DiversionAlert:
    """The i-th of as many distinct alerts as wanted: about 1.1 KB with 3 items and 3 parties."""
    alert = minimal_alert(origin, number=i, title=f"Pistols of licence {i:07d} rerouted on the way to XB")
    del alert.items[:]
    for k in range(3):
        item = pistol(f"EA{i * 3 + k:08d}")
        item.country_of_manufacture = origin
        item.year = 2015 + k
        item.quantity.CopyFrom(Quantity(value="1", unit="NAR"))
        alert.items.append(item)
    roles = (c.PARTY_ROLE_EXPORTER, c.PARTY_ROLE_FREIGHT_FORWARDER, c.PARTY_ROLE_CONSIGNEE)
    for k, role in enumerate(roles):
        member = party(f"P{k + 1}", role, f"Example {('Works', 'Freight', 'Trading')[k]} {i:07d} LLC", "XB")
        member.identifiers.append(
            PartyIdentifier(scheme=c.IDENTIFIER_SCHEME_COMPANY_NUMBER, value=f"XB-{i:07d}-{k}", country="XB")
        )
        member.addresses.add(text=f"{k + 1} Harbour Road, Example Port", country="XB")
        member.phones.append(f"+999{i:09d}")
        alert.parties.append(member)
    alert.diversion.CopyFrom(
        Diversion(
            stages=[c.DIVERSION_STAGE_IN_TRANSIT],
            types=[c.DIVERSION_TYPE_REROUTED],
            modus_operandi=[c.MODUS_OPERANDI_FORGED_EUC, c.MODUS_OPERANDI_FALSE_CARGO_DECLARATION],
            detected_on=date(2026, 10, 1 + i % 28),
        )
    )
    alert.documents.add(
        type=c.DOCUMENT_TYPE_EUC,
        number_as_read=f"EUC/{i:07d}/2026",
        issuer="Ministry of Defence of XB",
        issuer_state="XB",
        flags=[c.DOCUMENT_FLAG_FORGED],
    )
    alert.legs.append(leg(c.LEG_ROLE_LOADING, "XAEXP", date(2026, 9)))
    alert.summaries.add(
        language="en",
        text=f"The consignee of licence {i:07d} never ordered; the forwarder shows a paper that XB disowns.",
    )
    alert.concerned_states.add(state="XB", role=c.CONCERNED_STATE_ROLE_IMPORT)
    return alert
