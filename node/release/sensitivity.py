"""Takes out of an alert what may not leave, by the options written beside the fields in the protos.

Rules:
- Until rights by role exist, every field with a level (1, 2, 3, or one that a newer proto adds) is taken out.
- `sensitivity_if_person` counts in a party of every kind but COMPANY, STATE_BODY and VESSEL_INTEREST: a kind that is
  not known is treated as a person. Where both options stand, one is enough.
- A party whose names are taken out goes whole, since what is left of a person's entry points at the person; only an
  armed group stays, without its names. References to a party that is gone go too.
- Fields that this version does not know go as well: nobody could have looked at them.
- Paths are those of the alert as it was handed in, and never carry values.

Source: protos/dief/v1/sensitivity.proto; domain.md 4.2; design.md 3 (I1), 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from dief.v1 import codes_pb2, sensitivity_pb2
from dief.v1.alert_pb2 import DiversionAlert, Item, Party
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_NO_PERSONS = frozenset(
    {codes_pb2.PARTY_KIND_COMPANY, codes_pb2.PARTY_KIND_STATE_BODY, codes_pb2.PARTY_KIND_VESSEL_INTEREST}
)


@dataclass(frozen=True, slots=True)
class Stripped:
    """An alert as it may leave, its further items likewise, and the paths of what was taken out, in order."""

    alert: DiversionAlert
    further_items: tuple[Item, ...]
    paths: tuple[str, ...]


def strip(alert: DiversionAlert, further_items: Sequence[Item] = ()) -> Stripped:
    """A copy without anything that may not leave.

    Args:
        alert: As handed in; not changed.
        further_items: Items that will travel in list parts; not changed.
    """
    left = DiversionAlert()
    left.CopyFrom(alert)
    left.DiscardUnknownFields()
    paths = list(_strip(left, ""))
    paths = _remove_nameless(alert, left, paths)
    items = []
    for index, item in enumerate(further_items):
        copy = Item()
        copy.CopyFrom(item)
        copy.DiscardUnknownFields()
        paths += _strip(copy, f"further_items[{index}]")
        items.append(copy)
    return Stripped(left, tuple(items), tuple(paths))


@dataclass(frozen=True, slots=True)
class _Levels:
    always: frozenset[str]
    in_persons: frozenset[str]


@cache
def _levels(descriptor: Descriptor) -> _Levels:
    """Names of the fields with a level, and of those with one in a person's entry."""
    always, in_persons = set(), set()
    for field in descriptor.fields:
        options = field.GetOptions().Extensions
        if options[sensitivity_pb2.sensitivity]:
            always.add(field.name)
        if options[sensitivity_pb2.sensitivity_if_person]:
            in_persons.add(field.name)
    return _Levels(frozenset(always), frozenset(in_persons))


def _strip(part: Message, path: str) -> Iterator[str]:
    """Clear fields of `part` and everything below it; yields their paths."""
    levels = _levels(part.DESCRIPTOR)
    person = isinstance(part, Party) and part.kind not in _NO_PERSONS
    for field, value in part.ListFields():
        here = _join(path, field.name)
        if field.name in levels.always or (person and field.name in levels.in_persons):
            part.ClearField(field.name)
            yield here
        elif _has_parts(field):
            if field.is_repeated:
                for index, element in enumerate(value):
                    yield from _strip(element, f"{here}[{index}]")
            else:
                yield from _strip(value, here)


@cache
def _has_parts(field: FieldDescriptor) -> bool:
    """Whether a field holds messages in which something may have a level."""
    return field.message_type is not None and _reaches(field.message_type, frozenset())


def _reaches(descriptor: Descriptor, above: frozenset[str]) -> bool:
    levels = _levels(descriptor)
    if levels.always or levels.in_persons:
        return True
    above |= {descriptor.full_name}
    below = {field.message_type for field in descriptor.fields if field.message_type is not None}
    return any(_reaches(part, above) for part in below if part.full_name not in above)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _remove_nameless(before: DiversionAlert, left: DiversionAlert, paths: list[str]) -> list[str]:
    """Remove parties that lost their names, and what refers to them; returns the paths anew."""
    gone = [
        index
        for index, (was, party) in enumerate(zip(before.parties, left.parties, strict=True))
        if was.names and not party.names and party.kind != codes_pb2.PARTY_KIND_ARMED_GROUP
    ]
    if not gone:
        return paths
    ids = {left.parties[index].party_id for index in gone}
    whole = [f"parties[{index}]" for index in gone]
    kept = [path for path in paths if not path.startswith(tuple(f"{party}." for party in whole))]
    references = _remove_references(left, set(gone), ids)
    for index in reversed(gone):
        del left.parties[index]
    return sorted(kept + whole + references, key=_natural)


def _remove_references(left: DiversionAlert, gone: set[int], ids: set[str]) -> list[str]:
    paths = []
    for index, party in enumerate(left.parties):
        for position in reversed(range(len(party.ownership_links))):
            if index not in gone and party.ownership_links[position].owned_party_id in ids:
                del party.ownership_links[position]
                paths.append(f"parties[{index}].ownership_links[{position}]")
    for index, document in enumerate(left.documents):
        if document.issuer_party_id in ids:
            document.ClearField("issuer_party_id")
            paths.append(f"documents[{index}].issuer_party_id")
        for position in reversed(range(len(document.stated_party_ids))):
            if document.stated_party_ids[position] in ids:
                del document.stated_party_ids[position]
                paths.append(f"documents[{index}].stated_party_ids[{position}]")
    for index, conveyance in enumerate(left.conveyances):
        if conveyance.operator_party_id in ids:
            conveyance.ClearField("operator_party_id")
            paths.append(f"conveyances[{index}].operator_party_id")
    return paths


def _natural(path: str) -> list[Any]:
    """Sorts "parties[2]" before "parties[10]"."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in path.replace("[", " ").replace("]", " ").replace(".", " ").split()
    ]
