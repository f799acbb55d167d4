"""The conditions between fields that every body must keep, also a received one.

Each rule here is an `option (dief.v1.condition)` of the protos, coded by hand because evaluating it as CEL costs
more than all field rules together; tests hold the two against each other.

Source: protos/dief/v1/alert.proto, handling.proto.
"""

from __future__ import annotations

from dief.v1 import codes_pb2, handling_pb2
from dief.v1.alert_pb2 import DiversionAlert

from node.alerts.violation import Violation

_PERSON = codes_pb2.PARTY_KIND_PERSON
_NAMED_STATES = handling_pb2.AUDIENCE_KIND_NAMED_STATES


def broken_conditions(alert: DiversionAlert) -> list[Violation]:
    """Conditions that an alert breaks, whoever made it.

    Args:
        alert: An alert; its field rules are checked elsewhere.
    """
    found = []
    parties = alert.parties
    handling = alert.handling
    personal_data = handling.personal_data
    if not alert.name.startswith(f"alerts/{alert.originator}/"):
        found.append(
            _broken("name", "alert.origin", "The name must be of the originator: alerts/<originator>/<uuid>.")
        )
    if not alert.topics and not alert.diversion.stages:
        found.append(
            _broken(
                "topics", "alert.stage_or_topic", "Give at least one stage of the diversion or one topic."
            )
        )
    if not (alert.items or parties or alert.documents or alert.conveyances or alert.legs):
        found.append(
            _broken(
                "items",
                "alert.indicator",
                "Nothing in it can be searched: give at least one item, party, document, conveyance or leg.",
            )
        )
    if parties:
        ids = set()
        persons = False
        for party in parties:
            ids.add(party.party_id)
            persons = persons or party.kind == _PERSON
        if persons and not personal_data:
            found.append(
                _broken(
                    "handling.personal_data",
                    "alert.person_basis",
                    "A party is a person: set personal_data, and give legal_basis and expires_on.",
                )
            )
        if len(ids) != len(parties):
            found.append(
                _broken("parties", "alert.party_ids", "Two parties have one party_id: give each its own.")
            )
    if personal_data and not (handling.HasField("legal_basis") and handling.HasField("expires_on")):
        found.append(
            _broken(
                "handling",
                "handling.personal_data",
                "Personal data needs the law that permits the sharing and an expiry: give legal_basis and expires_on.",
            )
        )
    audience = handling.audience
    if (audience.kind == _NAMED_STATES) != bool(audience.states):
        found.append(
            _broken(
                "handling.audience.states",
                "audience.states",
                "Name States with NAMED_STATES, at least one, and with no other kind of audience.",
            )
        )
    return found


def _broken(field: str, rule: str, description: str) -> Violation:
    return Violation(field, description, rule=rule)
