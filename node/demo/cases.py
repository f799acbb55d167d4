"""Alerts of the demonstration, after documented diversion cases; States, names and numbers are invented."""

from __future__ import annotations

from datetime import UTC, datetime

from dief.v1 import alert_pb2, codes_pb2, handling_pb2

EXPIRES = datetime(2029, 10, 31, tzinfo=UTC)


def _alert(origin: str, title: str, summary: str, states: tuple[str, ...] = ()) -> alert_pb2.DiversionAlert:
    kind = handling_pb2.AUDIENCE_KIND_NAMED_STATES if states else handling_pb2.AUDIENCE_KIND_STATES_PARTIES
    alert = alert_pb2.DiversionAlert(
        originator=origin,
        authority="Export Control Office (demonstration)",
        titles=[alert_pb2.LocalizedTitle(language="en", text=title)],
        summaries=[alert_pb2.LocalizedText(language="en", text=summary)],
        status=codes_pb2.ALERT_STATUS_DETECTED,
        topics=[codes_pb2.INFORMATION_TOPIC_CASE],
        legal_scopes=[codes_pb2.LEGAL_SCOPE_ART_2_1],
        confidence=alert_pb2.Confidence(level=codes_pb2.CONFIDENCE_LEVEL_PROBABLE),
        urgency=codes_pb2.URGENCY_ROUTINE,
        exercise=True,
        requested_actions=[codes_pb2.REQUESTED_ACTION_SCREEN],
        provenance=[alert_pb2.Provenance(kind=codes_pb2.PROVENANCE_KIND_LICENSING, verified_by_state=True)],
    )
    alert.handling.audience.kind = kind
    alert.handling.audience.states.extend(sorted({*states, origin}) if states else ())
    alert.handling.tlp = handling_pb2.TLP_AMBER
    alert.handling.purposes.extend(
        [handling_pb2.PURPOSE_LICENSING, handling_pb2.PURPOSE_CRIMINAL_INVESTIGATION]
    )
    alert.handling.legal_basis.text = "Export Control Act, section 12 (2) (demonstration)"
    alert.handling.expires_on.FromDatetime(EXPIRES)
    return alert


def _firearm(alert: alert_pb2.DiversionAlert, make: str, model: str, serial: str) -> None:
    item = alert.items.add(
        category=codes_pb2.ARMS_CATEGORY_SMALL_ARM_OR_LIGHT_WEAPON,
        subtype=codes_pb2.ARMS_SUBTYPE_RIFLE_OR_CARBINE,
        make=make,
        model=model,
        disposition=codes_pb2.DISPOSITION_AT_LARGE,
    )
    item.serials.add(
        as_read=serial,
        kind=codes_pb2.SERIAL_KIND_MANUFACTURER,
        place=codes_pb2.SERIAL_PLACE_FRAME_RECEIVER,
        condition=codes_pb2.SERIAL_CONDITION_INTACT,
    )


def _company(alert: alert_pb2.DiversionAlert, name: str, role: codes_pb2.PartyRole.ValueType) -> None:
    party = alert.parties.add(
        party_id=f"P{len(alert.parties) + 1}",
        roles=[role],
        kind=codes_pb2.PARTY_KIND_COMPANY,
        involvement=codes_pb2.INVOLVEMENT_NAMED_ONLY,
    )
    party.names.add(full=name, kind=codes_pb2.NAME_KIND_PRIMARY)


def factory_to_armed_group() -> alert_pb2.DiversionAlert:
    """59 days from factory to armed group: for XB alone."""
    alert = _alert(
        "XA",
        "Missiles re-transferred within 59 days of export",
        "Delivered under a non-re-export clause; recovered from an armed group two months later.",
        ("XB",),
    )
    alert.diversion.stages.append(codes_pb2.DIVERSION_STAGE_POST_DELIVERY_RETRANSFER)
    alert.diversion.types.append(codes_pb2.DIVERSION_TYPE_UNAUTHORISED_RETRANSFER)
    _firearm(alert, "Example Missile Works", "ATM-9", "ATM9-59-000417")
    return alert


def forged_police_order(
    serial: str, *, title: str = "Police rifles bought with a forged order"
) -> alert_pb2.DiversionAlert:
    """A forged purchase order; the police force whose paper was forged is a victim. For States Parties."""
    alert = _alert(
        "XA", title, "One unverified paper: the purchase order of a police force that never ordered."
    )
    alert.diversion.stages.append(codes_pb2.DIVERSION_STAGE_BEFORE_TRANSFER)
    alert.diversion.types.append(codes_pb2.DIVERSION_TYPE_FALSE_END_USER)
    alert.diversion.modus_operandi.append(codes_pb2.MODUS_OPERANDI_FORGED_EUC)
    _firearm(alert, "Example Arms", "Galilee", serial)
    alert.documents.add(
        type=codes_pb2.DOCUMENT_TYPE_EUC,
        number_as_read="XF-PNP/2026/0117",
        issuer_state="XF",
        flags=[codes_pb2.DOCUMENT_FLAG_FORGED],
    )
    return alert


def sealed_containers(container: str) -> alert_pb2.DiversionAlert:
    """Rockets declared as building material: a person is named, so an approver must decide."""
    alert = _alert(
        "XA", "Rockets declared as building material", "Shipper-owned sealed containers, re-consigned."
    )
    alert.diversion.stages.append(codes_pb2.DIVERSION_STAGE_IN_TRANSIT)
    alert.diversion.modus_operandi.append(codes_pb2.MODUS_OPERANDI_FALSE_CARGO_DECLARATION)
    _company(alert, "Example Building Supplies Est.", codes_pb2.PARTY_ROLE_CONSIGNOR)
    person = alert.parties.add(
        party_id="P9",
        roles=[codes_pb2.PARTY_ROLE_NOTIFY_PARTY],
        kind=codes_pb2.PARTY_KIND_PERSON,
        involvement=codes_pb2.INVOLVEMENT_NAMED_ONLY,
    )
    person.names.add(full="Nobody Of Example", kind=codes_pb2.NAME_KIND_PRIMARY)
    alert.conveyances.add(
        conveyance_id="C1", type=codes_pb2.CONVEYANCE_TYPE_SEA, imo_number="0000012", containers=[container]
    )
    alert.handling.personal_data = True
    return alert


def wrongly_named_forwarder(name: str) -> alert_pb2.DiversionAlert:
    """A forwarder is named, and a week later it turns out to be wrong."""
    alert = _alert("XA", "Forwarder named in a diverted consignment", "Named by one source; being checked.")
    alert.status = codes_pb2.ALERT_STATUS_SUSPECTED
    alert.diversion.stages.append(codes_pb2.DIVERSION_STAGE_IN_TRANSIT)
    _company(alert, name, codes_pb2.PARTY_ROLE_FREIGHT_FORWARDER)
    return alert


def depot_theft(serial: str, origin: str = "XE") -> alert_pb2.DiversionAlert:
    """Stock that passed through a neighbour: another State's alert for States Parties."""
    alert = _alert(origin, "Rifles of a looted depot met a decade later", "From stock delivered before 2004.")
    alert.diversion.stages.append(codes_pb2.DIVERSION_STAGE_POST_DELIVERY_STOCK)
    alert.diversion.types.append(codes_pb2.DIVERSION_TYPE_LOOTING)
    _firearm(alert, "Arsenal Example", "56-2", serial)
    return alert


def for_signatories(serial: str) -> alert_pb2.DiversionAlert:
    """The same kind of case for States Parties and signatories."""
    alert = forged_police_order(serial, title="Second forged order, told to signatories too")
    alert.handling.audience.kind = handling_pb2.AUDIENCE_KIND_STATES_PARTIES_AND_SIGNATORIES
    return alert
