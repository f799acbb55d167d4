"""What may not leave is found by the options in the protos, wherever it stands (I1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from dief.v1 import codes_pb2, sensitivity_pb2
from dief.v1.alert_pb2 import DiversionAlert, Item, OwnershipLink, Party, PartyName
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from node.release.sensitivity import strip
from tests.support.alert_parts import party, pistol
from tests.support.alerts import minimal_alert

PERSON = codes_pb2.PARTY_KIND_PERSON
COMPANY = codes_pb2.PARTY_KIND_COMPANY


def fill(part: Message) -> None:
    """Set every field of a message and of all below it; members of a oneof one after the other."""
    for field in part.DESCRIPTOR.fields:
        if field.message_type is not None:
            fill(getattr(part, field.name).add() if field.is_repeated else getattr(part, field.name))
        elif field.is_repeated:
            getattr(part, field.name).append(value(field))
        else:
            setattr(part, field.name, value(field))


def value(field: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return "x"
    return b"x" if field.type == FieldDescriptor.TYPE_BYTES else 1


def sensitive(part: Message, *, person: bool = False) -> Iterator[str]:
    """Full names of the fields with a level that are set anywhere in a message."""
    for field, content in part.ListFields():
        options = field.GetOptions().Extensions
        if options[sensitivity_pb2.sensitivity] or (
            person and options[sensitivity_pb2.sensitivity_if_person]
        ):
            yield field.full_name
        if field.message_type is not None:
            for below in content if field.is_repeated else [content]:
                yield from sensitive(below, person=isinstance(below, Party) and below.kind == PERSON)


def test_i1_every_field_with_a_level_is_taken_out_and_named_once() -> None:
    alert = DiversionAlert()
    fill(alert)
    further = Item()
    fill(further)
    before = set(sensitive(alert)) | set(sensitive(further))
    assert len(before) > 10
    left = strip(alert, [further])
    assert not set(sensitive(left.alert)) | set(sensitive(left.further_items[0]))
    assert len(set(left.paths)) == len(left.paths)
    assert "national_reference" in left.paths
    assert "further_items[0].ballistic_reference" in left.paths


def test_nothing_without_a_level_is_touched() -> None:
    alert = minimal_alert()
    alert.parties.append(party("P1", codes_pb2.PARTY_ROLE_BROKER, "Example Trading LLC", "XB"))
    left = strip(alert)
    assert left.alert == alert
    assert left.paths == ()


def test_what_was_handed_in_is_not_changed() -> None:
    alert = minimal_alert()
    alert.national_reference = "N 1"
    strip(alert)
    assert alert.national_reference == "N 1"


@pytest.mark.parametrize("kind", [PERSON, codes_pb2.PARTY_KIND_OTHER, 77])
def test_i1_a_person_goes_whole_and_a_kind_that_is_not_known_is_a_person(kind: int) -> None:
    alert = minimal_alert()
    alert.parties.append(party("P1", codes_pb2.PARTY_ROLE_BROKER, "Secret Person", "XB"))
    alert.parties[0].kind = kind  # type: ignore[assignment]
    left = strip(alert)
    assert not left.alert.parties
    assert left.paths == ("parties[0]",)


def test_an_armed_group_stays_without_its_names() -> None:
    alert = minimal_alert()
    alert.parties.append(party("P1", codes_pb2.PARTY_ROLE_BROKER, "Secret Group", "XB"))
    alert.parties[0].kind = codes_pb2.PARTY_KIND_ARMED_GROUP
    left = strip(alert)
    assert [(each.party_id, list(each.names)) for each in left.alert.parties] == [("P1", [])]
    assert left.paths == ("parties[0].names",)


def test_references_to_a_party_that_is_gone_go_too() -> None:
    alert = minimal_alert()
    alert.parties.append(party("P1", codes_pb2.PARTY_ROLE_BROKER, "Example Trading LLC", "XB"))
    alert.parties.append(party("P2", codes_pb2.PARTY_ROLE_BROKER, "Secret Person", "XB"))
    alert.parties[1].kind = PERSON
    alert.parties[0].ownership_links.append(OwnershipLink(owned_party_id="P2"))
    alert.documents.add(issuer_party_id="P2", stated_party_ids=["P1", "P2"])
    alert.conveyances.add(operator_party_id="P2")
    left = strip(alert)
    assert b"P2" not in left.alert.SerializeToString()
    assert left.alert.documents[0].stated_party_ids == ["P1"]
    assert left.paths == (
        "conveyances[0].operator_party_id",
        "documents[0].issuer_party_id",
        "documents[0].stated_party_ids[1]",
        "parties[0].ownership_links[0]",
        "parties[1]",
    )


def test_i1_fields_of_a_newer_proto_do_not_leave_unseen() -> None:
    secret = b"\xf2\xff\x07\x06SECRET"
    data = minimal_alert().SerializeToString() + secret
    item = pistol("S 1").SerializeToString() + secret
    left = strip(DiversionAlert.FromString(data), [Item.FromString(item)])
    assert b"SECRET" not in left.alert.SerializeToString()
    assert b"SECRET" not in left.further_items[0].SerializeToString()


def test_paths_carry_no_values() -> None:
    alert = minimal_alert()
    alert.parties.append(party("P1", codes_pb2.PARTY_ROLE_BROKER, "Example Trading LLC", "XB"))
    alert.parties[0].birth_date.year = 1970
    alert.diversion.end_user_names.append(PartyName(full="Secret Group"))
    assert strip(alert).paths == ("diversion.end_user_names", "parties[0].birth_date")
    assert alert.parties[0].kind == COMPANY
