"""Checks what registries and officers hand in, and says how it would leave.

Rules:
- Checked whole, before anything is stored: field rules, conditions and intake rules of node.alerts over the content as
  handed in, and again over what is left of it once the sensitive fields are stripped (I10).
- The originator is the own State; name and revision are minted at release.
- A code that its list does not have, and a moment outside the years 1 to 9999, are refused: receivers would hide them.
- Items fill the alert up to 500 and to the size of an entry; those beyond go into list parts.

Source: design.md 3 (I1, I10), 4, 8; domain.md 4.2-4.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from dief.v1 import codes_pb2, draft_pb2
from dief.v1.alert_pb2 import DiversionAlert, Item
from google.protobuf.message import Message

from node.alerts.intake import walk
from node.alerts.states import name_of
from node.alerts.validation import validate_alert
from node.alerts.violation import Severity
from node.release.errors import InvalidDraftError
from node.release.sensitivity import Stripped, strip

MAX_ITEMS = 500
MAX_FURTHER_ITEMS = 100_000
MAX_ITEMS_BYTES = 400 * 1024
"""Items of one list part."""
MAX_ALERT_BYTES = 496 * 1024
"""An alert without what the event adds to it: the digests of at most 250 list parts."""
_FRAME = 8
"""Most bytes that a list adds to an element."""
_PLACEHOLDER = bytes.fromhex("00000000000070008000000000000000")
_SECONDS = range(-62_135_596_800, 253_402_300_800)

Violations = list[tuple[str, str]]


def stored_form(given: draft_pb2.DraftInput, own_state: str, *, new: bool) -> draft_pb2.DraftInput:
    """A copy of what is handed in as it is stored: of this originator, without what this version does not know."""
    content = draft_pb2.DraftInput()
    content.CopyFrom(given)
    content.DiscardUnknownFields()
    content.alert.originator = own_state
    if new:
        content.alert.revision = 0
    return content


def checked(
    given: draft_pb2.DraftInput, own_state: str, now_ms: int, *, new: bool = False
) -> draft_pb2.DraftInput:
    """A copy of a published or revised content, complete but for name and revision, that may be stored.

    Args:
        given: As handed in; not changed.
        own_state: The originator.
        now_ms: This node's clock.
        new: Whether it is published, not revised.

    Raises:
        InvalidDraftError: Names every field.
    """
    if given.alert.originator not in ("", own_state):
        raise InvalidDraftError([("alert.originator", f"The originator is {own_state}: leave it empty.")])
    content = stored_form(given, own_state, new=new)
    alert = content.alert
    if len(content.further_items) > MAX_FURTHER_ITEMS:
        raise InvalidDraftError([("further_items", f"At most {MAX_FURTHER_ITEMS}: split the case.")])
    name, revision = alert.name, alert.revision
    alert.name, alert.revision = name_of(own_state, _PLACEHOLDER), 1
    broken = _unknown_values(content) or _broken(alert, content.further_items, now_ms)
    if not broken:
        broken = _broken_once_stripped(strip(alert, content.further_items), now_ms)
    if broken:
        raise InvalidDraftError(broken)
    alert.name, alert.revision = name, revision
    return content


def _unknown_values(content: draft_pb2.DraftInput) -> Violations:
    found: Violations = []
    for part, path in _everything(content):
        for field, value in part.ListFields():
            here = f"{path}.{field.name}"
            if field.enum_type is not None:
                numbers = value if field.is_repeated else [value]
                if any(number not in field.enum_type.values_by_number for number in numbers):
                    found.append((here, f"Not a code of {field.enum_type.name}: choose one of its list."))
            elif (
                field.message_type is not None
                and field.message_type.full_name == "google.protobuf.Timestamp"
                and (value.seconds not in _SECONDS or not 0 <= value.nanos < 1_000_000_000)
            ):
                found.append((here, "Not a moment of the years 1 to 9999: mend it."))
    return found


def _everything(content: draft_pb2.DraftInput) -> Iterator[tuple[Message, str]]:
    yield from walk(content.alert, "alert")
    for index, item in enumerate(content.further_items):
        yield from walk(item, f"further_items[{index}]")


def _broken(alert: DiversionAlert, further: Sequence[Item], now_ms: int) -> Violations:
    found = _errors(alert, now_ms)
    carrier = DiversionAlert()
    carrier.CopyFrom(alert)
    for start in range(0, len(further), MAX_ITEMS):
        del carrier.items[:]
        carrier.items.extend(further[start : start + MAX_ITEMS])
        for path, description in _errors(carrier, now_ms):
            if path.startswith("alert.items["):
                index, _, rest = path.removeprefix("alert.items[").partition("]")
                found.append((f"further_items[{start + int(index)}]{rest}", description))
    if not _fits(alert, further):
        found.append(
            ("alert", "It does not fit into an entry of 512 KiB: shorten its texts, or split the case.")
        )
    for path, items in (("alert.items", alert.items), ("further_items", further)):
        found += [
            (f"{path}[{index}]", "An item has more than 400 KiB: split it into several items.")
            for index, item in enumerate(items)
            if item.ByteSize() > MAX_ITEMS_BYTES
        ]
    return found


def _errors(alert: DiversionAlert, now_ms: int) -> Violations:
    return [
        (f"alert.{violation.field}".rstrip("."), violation.description)
        for violation in validate_alert(alert, now_ms)
        if violation.severity is Severity.ERROR
    ]


def _broken_once_stripped(stripped: Stripped, now_ms: int) -> Violations:
    """What is wrong with the rest of a valid draft once its sensitive fields are gone."""
    left = _broken(stripped.alert, stripped.further_items, now_ms) if stripped.paths else []
    found = [
        (path, f"Without the {len(stripped.paths)} sensitive fields that may not leave: {description}")
        for path, description in left
    ]
    for index, party in enumerate(stripped.alert.parties):
        if not party.names and party.kind != codes_pb2.PARTY_KIND_ARMED_GROUP:
            found.append(
                (f"alert.parties[{index}].names", "A party without a name can not leave: name it or drop it.")
            )
    return found


@dataclass(frozen=True, slots=True)
class Split:
    """Items as they travel: those in the alert itself, and the rest by list part."""

    in_alert: tuple[Item, ...]
    parts: tuple[tuple[Item, ...], ...]


def split(alert: DiversionAlert, further: Iterable[Item]) -> Split:
    """Spread items over the alert and list parts, in order: at most 500 each, and no more than an entry holds.

    Args:
        alert: With its own items; not changed.
        further: Items beyond them.
    """
    room = MAX_ALERT_BYTES - _rest(alert)
    groups: list[list[Item]] = [[]]
    size = 0
    for item in chain(alert.items, further):
        weight = item.ByteSize() + _FRAME
        if len(groups[-1]) == MAX_ITEMS or size + weight > room:
            groups.append([])
            size, room = 0, MAX_ITEMS_BYTES + _FRAME
        groups[-1].append(item)
        size += weight
    return Split(tuple(groups[0]), tuple(tuple(group) for group in groups[1:]))


def _rest(alert: DiversionAlert) -> int:
    """Bytes of an alert beside its items."""
    return alert.ByteSize() - sum(item.ByteSize() for item in alert.items)


def _fits(alert: DiversionAlert, further: Sequence[Item]) -> bool:
    if _rest(alert) > MAX_ALERT_BYTES:
        return False
    searchable = alert.parties or alert.documents or alert.conveyances or alert.legs
    return bool(searchable or split(alert, further).in_alert)
