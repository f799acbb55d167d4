"""The alerts of documented diversion cases, States and numbers replaced.

Rules
- All are valid by the rules and conditions of the protos.
- Only fictitious States; only numbers with a valid check digit that nobody can be assigned.
"""

from __future__ import annotations

from collections.abc import Callable

from dief.v1 import codes_pb2 as c
from dief.v1.alert_pb2 import (
    Conveyance,
    Coordinates,
    DiversionAlert,
    Document,
    Measure,
    PartyName,
    Signatory,
    VesselName,
)

from tests.support.alert_parts import (
    COMPANY_IMO,
    CONTAINERS,
    SHIP_IMO,
    bulk,
    date,
    leg,
    minimal_alert,
    party,
    pistol,
)


def case_pattern(n: int) -> DiversionAlert:
    """The alert of a case pattern.

    Args:
        n: 1 air drop off route, 2 forged police order, 4 reactivated blank-firers, 5 factory to armed group,
            7 sealed containers, 8 end-user certificate sold many times, 15 refused here and tried there,
            16 misread seizure, 17 wrong alert to be withdrawn.

    Raises:
        KeyError: no such pattern here.
    """
    origin, title, states, build = _CASES[n]
    alert = minimal_alert(origin, number=(n << 48) + 1, states=states, title=title)
    alert.status = c.ALERT_STATUS_DETECTED
    del alert.items[:]
    build(alert)
    return alert


CASE_PATTERNS = (1, 2, 4, 5, 7, 8, 15, 16, 17)
"""Numbers that case_pattern knows."""


def _air_drop(alert: DiversionAlert) -> None:
    alert.diversion.stages.append(c.DIVERSION_STAGE_IN_TRANSIT)
    alert.diversion.types.append(c.DIVERSION_TYPE_FALSE_END_USER)
    alert.diversion.modus_operandi.extend([c.MODUS_OPERANDI_CORRUPT_OFFICIAL, c.MODUS_OPERANDI_AIR_DROP])
    alert.items.append(bulk("AKM assault rifle, surplus", "10000", calibre="7.62×39"))
    alert.parties.append(
        party(
            "P1",
            c.PARTY_ROLE_END_USER,
            "Army of XB",
            "XB",
            kind=c.PARTY_KIND_STATE_BODY,
            involvement=c.INVOLVEMENT_MISUSED,
        )
    )
    alert.conveyances.append(
        Conveyance(type=c.CONVEYANCE_TYPE_AIR, aircraft_registration="QQ-76001", conveyance_id="C1")
    )
    alert.legs.append(leg(c.LEG_ROLE_ORIGIN, "XA"))
    alert.legs.append(leg(c.LEG_ROLE_DIVERSION_POINT, "XD", date(2026, 3)))
    alert.legs.append(leg(c.LEG_ROLE_CLAIMED_DESTINATION, "XB"))


def _forged_police_order(alert: DiversionAlert) -> None:
    alert.diversion.stages.append(c.DIVERSION_STAGE_BEFORE_TRANSFER)
    alert.diversion.types.append(c.DIVERSION_TYPE_FALSE_END_USER)
    alert.diversion.modus_operandi.extend(
        [c.MODUS_OPERANDI_FORGED_EUC, c.MODUS_OPERANDI_FALSE_CARGO_DECLARATION]
    )
    alert.diversion.end_use_actual = c.END_USER_KIND_NON_STATE_ARMED_GROUP
    alert.legal_scopes.append(c.LEGAL_SCOPE_ART_3)
    alert.items.append(bulk("assault rifle, police stock", "3117"))
    alert.items.append(
        bulk(
            "5.56 mm ball",
            "2500000",
            category=c.ARMS_CATEGORY_AMMUNITION_OR_MUNITION,
            subtype=c.ARMS_SUBTYPE_UNSPECIFIED,
            unit="ROUND",
            calibre="5.56×45",
        )
    )
    alert.parties.append(
        party(
            "P1",
            c.PARTY_ROLE_END_USER,
            "National Police of XF",
            "XF",
            kind=c.PARTY_KIND_STATE_BODY,
            involvement=c.INVOLVEMENT_MISUSED,
        )
    )
    alert.documents.append(
        Document(
            type=c.DOCUMENT_TYPE_EUC,
            number_as_read="PO-0177",
            issuer="National Police of XF",
            issuer_state="XF",
            issuer_party_id="P1",
            flags=[c.DOCUMENT_FLAG_FORGED, c.DOCUMENT_FLAG_NOT_VERIFIED],
        )
    )
    alert.conveyances.append(
        Conveyance(
            type=c.CONVEYANCE_TYPE_SEA, imo_number="0000024", flag="XF", declared_cargo="plastic balls"
        )
    )
    alert.legs.append(leg(c.LEG_ROLE_UNLOADING, "XG", date(2025, 11)))


def _reactivated(alert: DiversionAlert) -> None:
    alert.diversion.stages.append(c.DIVERSION_STAGE_CIVILIAN_MARKET)
    alert.diversion.types.append(c.DIVERSION_TYPE_CONVERSION_OR_REACTIVATION)
    for number in range(61420, 61427):
        item = pistol(str(number), disposition=c.DISPOSITION_SEIZED)
        item.subtype = c.ARMS_SUBTYPE_ASSAULT_RIFLE
        item.make, item.model, item.calibre = "Example Zbrojovka", "vz. 58", "7.62×39"
        item.state = c.ITEM_STATE_CONVERTED
        alert.items.append(item)
    alert.requested_actions.append(c.REQUESTED_ACTION_TRACE)
    alert.concerned_states.add(state="XQ", role=c.CONCERNED_STATE_ROLE_EXPORT)
    alert.concerned_states.add(state="XR", role=c.CONCERNED_STATE_ROLE_TRANSIT)


def _factory_to_armed_group(alert: DiversionAlert) -> None:
    alert.diversion.stages.append(c.DIVERSION_STAGE_POST_DELIVERY_RETRANSFER)
    alert.diversion.types.append(c.DIVERSION_TYPE_UNAUTHORISED_RETRANSFER)
    alert.diversion.end_use_actual = c.END_USER_KIND_NON_STATE_ARMED_GROUP
    alert.diversion.end_user_names.add(full="Example Front", kind=c.NAME_KIND_PRIMARY)
    item = bulk(
        "anti-tank guided missile",
        "1",
        subtype=c.ARMS_SUBTYPE_ANTI_TANK_MISSILE_OR_ROCKET,
        disposition=c.DISPOSITION_RECOVERED,
        lots=["ZZZ25L002-004"],
    )
    item.serials.add(as_read="2025-L-0417", condition=c.SERIAL_CONDITION_INTACT)
    item.ballistic_reference = "IBIN-0000-17"
    alert.items.append(item)
    recovery = leg(c.LEG_ROLE_RECOVERY, "XD", date(2026, 2, 9))
    recovery.exact_coordinates.CopyFrom(Coordinates(latitude=0.5, longitude=-0.5, accuracy_m=10))
    alert.legs.append(recovery)


def _sealed_containers(alert: DiversionAlert) -> None:
    alert.urgency = c.URGENCY_IMMEDIATE
    alert.urgency_reason = "The shipper asks to ship the containers on to XM"
    alert.handling.personal_data = True
    alert.legal_scopes[:] = [c.LEGAL_SCOPE_ART_3]
    alert.topics.append(c.INFORMATION_TOPIC_METHOD_OF_CONCEALMENT)
    alert.requested_actions.append(c.REQUESTED_ACTION_STOP)
    alert.titles.add(
        language="fr", text="13 conteneurs de roquettes déclarés comme matériaux de construction"
    )
    alert.diversion.stages.extend([c.DIVERSION_STAGE_IN_TRANSIT, c.DIVERSION_STAGE_AT_IMPORT])
    alert.diversion.modus_operandi.extend(
        [
            c.MODUS_OPERANDI_FALSE_CARGO_DECLARATION,
            c.MODUS_OPERANDI_SHIPPER_OWNED_SEALED_CONTAINER,
            c.MODUS_OPERANDI_CHANGE_OF_CONSIGNEE_AFTER_ARRIVAL,
        ]
    )
    alert.items.append(
        bulk(
            "107 mm rocket",
            "240",
            category=c.ARMS_CATEGORY_AMMUNITION_OR_MUNITION,
            subtype=c.ARMS_SUBTYPE_UNSPECIFIED,
            disposition=c.DISPOSITION_SEIZED,
            lots=["3-89"],
        )
    )
    suspected = c.INVOLVEMENT_WITTING_SUSPECTED
    arabic = PartyName(full="مؤسسة المثال للتجارة", kind=c.NAME_KIND_ALIAS, script="Arab", language="ar")
    alert.parties.append(
        party(
            "P1",
            c.PARTY_ROLE_CONSIGNOR,
            "Al Mithal Trading Est.",
            "XH",
            involvement=suspected,
            aliases=[arabic],
        )
    )
    carrier = party("P2", c.PARTY_ROLE_CARRIER, "Example Line", "XF", involvement=c.INVOLVEMENT_MISUSED)
    carrier.identifiers.add(scheme=c.IDENTIFIER_SCHEME_IMO_COMPANY, value=COMPANY_IMO)
    alert.parties.append(carrier)
    alert.parties.append(
        party("P3", c.PARTY_ROLE_NOTIFY_PARTY, "Jan Exempel", "XH", kind=c.PARTY_KIND_PERSON)
    )
    alert.documents.append(
        Document(
            type=c.DOCUMENT_TYPE_BILL_OF_LADING,
            number_as_read="BND0714233",
            issuer_party_id="P2",
            issued_on=date(2026, 7),
            flags=[c.DOCUMENT_FLAG_CONTENT_FALSE],
        )
    )
    alert.conveyances.append(
        Conveyance(
            type=c.CONVEYANCE_TYPE_SEA,
            imo_number=SHIP_IMO,
            vessel_names=[VesselName(name="EXAMPLE EVEREST")],
            flag="XF",
            containers=CONTAINERS,
            seals=["H 004417"],
            operator_party_id="P2",
            declared_cargo="glass wool and stone",
        )
    )
    alert.legs.append(leg(c.LEG_ROLE_LOADING, "XHBND", date(2026, 6)))
    alert.legs.append(leg(c.LEG_ROLE_UNLOADING, "XJLOS", date(2026, 7, 15)))
    alert.legs.append(leg(c.LEG_ROLE_CLAIMED_DESTINATION, "XMBJL"))
    alert.measures.append(
        Measure(code=c.MEASURE_TAKEN_SHIPMENT_EXAMINED, taken_on=date(2026, 10, 26), state="XJ")
    )


def _reused_certificate(alert: DiversionAlert) -> None:
    alert.diversion.stages.append(c.DIVERSION_STAGE_BEFORE_TRANSFER)
    alert.diversion.modus_operandi.extend([c.MODUS_OPERANDI_REUSED_EUC, c.MODUS_OPERANDI_FRONT_COMPANY])
    alert.diversion.risk_indicators.append(c.RISK_INDICATOR_EUC_SAME_NUMBER_TWO_DEALS)
    alert.items.append(bulk("assault rifle", "5000"))
    alert.parties.append(
        party(
            "P1",
            c.PARTY_ROLE_BROKER,
            "Example Front Aviation Ltd",
            "XG",
            involvement=c.INVOLVEMENT_WITTING_ESTABLISHED,
        )
    )
    for number in ("4871", "4872"):
        alert.documents.append(
            Document(
                type=c.DOCUMENT_TYPE_EUC,
                number_as_read=f"{number}/MD/XN",
                issuer="Ministry of Defence of XN",
                issuer_state="XN",
                signatory=Signatory(name="Gen. E. Xample", post="Chief of Defence"),
                flags=[c.DOCUMENT_FLAG_REUSED, c.DOCUMENT_FLAG_SIGNATURE_FALSE],
            )
        )


def _refused_here(alert: DiversionAlert) -> None:
    alert.status = c.ALERT_STATUS_REFUSED_APPLICATION
    alert.diversion.stages.append(c.DIVERSION_STAGE_BEFORE_TRANSFER)
    alert.diversion.risk_indicators.append(c.RISK_INDICATOR_GOODS_DO_NOT_FIT_BUYER)
    arabic = PartyName(
        full="النور للتجارة العامة",
        full_lat="al-nur lil-tijara al-amma",
        kind=c.NAME_KIND_ALIAS,
        script="Arab",
        language="ar",
    )
    consignee = party(
        "P1",
        c.PARTY_ROLE_CONSIGNEE,
        "Al Noor Gen. Trading LLC",
        "XH",
        involvement=c.INVOLVEMENT_WITTING_SUSPECTED,
        aliases=[arabic],
    )
    consignee.phones.append("+9994170015")
    consignee.addresses.add(text="Office 12, Creek Road, Example City", country="XH")
    alert.parties.append(consignee)
    alert.measures.append(
        Measure(code=c.MEASURE_TAKEN_LICENCE_REFUSED, taken_on=date(2026, 9, 2), state="XA")
    )


def _misread_seizure(alert: DiversionAlert) -> None:
    alert.diversion.stages.append(c.DIVERSION_STAGE_POST_DELIVERY_STOCK)
    alert.diversion.types.append(c.DIVERSION_TYPE_UNACCOUNTED_LOSS)
    item = pistol("386O12 XK", disposition=c.DISPOSITION_SEIZED)
    item.make, item.model, item.calibre = "Example Izhmash", "AKM", "7.62×39"
    item.subtype = c.ARMS_SUBTYPE_ASSAULT_RIFLE
    alert.items.append(item)
    alert.requested_actions.append(c.REQUESTED_ACTION_TRACE)


def _wrong_alert(alert: DiversionAlert) -> None:
    alert.status = c.ALERT_STATUS_SUSPECTED
    alert.diversion.stages.append(c.DIVERSION_STAGE_IN_TRANSIT)
    alert.parties.append(party("P1", c.PARTY_ROLE_FREIGHT_FORWARDER, "Example Honest Freight GmbH", "XM"))


_CASES: dict[int, tuple[str, str, tuple[str, ...], Callable[[DiversionAlert], None]]] = {
    1: ("XA", "Rifles for XB dropped over XD", ("XB", "XD"), _air_drop),
    2: ("XE", "Police order of XF forged", (), _forged_police_order),
    4: ("XT", "Deactivated rifles made to fire again", ("XQ", "XR"), _reactivated),
    5: ("XA", "Missile with an armed group 59 days after it was made", ("XB", "XD"), _factory_to_armed_group),
    7: (
        "XJ",
        "13 containers of rockets declared as building material",
        ("XF", "XH", "XM"),
        _sealed_containers,
    ),
    8: ("XN", "End-user certificates of XN sold many times", (), _reused_certificate),
    15: ("XA", "Consignee refused for risk of diversion", (), _refused_here),
    16: ("XD", "Rifle seized, serial hard to read", ("XE",), _misread_seizure),
    17: ("XF", "Forwarder named in a diversion", (), _wrong_alert),
}
