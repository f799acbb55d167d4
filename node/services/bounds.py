"""Numbers and moments that a database can not hold, wherever in a request they stand.

The wire has unsigned integers of 64 bits and timestamps of any size; SQL has signed integers of 64 bits, and a moment
beyond the year 9999 is none. Narrower rules stand at the fields in the protos; these two hold for every field but
those that the protos leave to a later check (`IGNORE_ALWAYS`): rows of a batch are judged one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

MAX_INTEGER = (1 << 63) - 1
MIN_SECONDS = -62_135_596_800
"""First second of the year 1, the beginning of google.protobuf.Timestamp."""
MAX_SECONDS = 253_402_300_799
"""Last second of the year 9999, its end."""
MAX_NANOS = 999_999_999
TIMESTAMP = "google.protobuf.Timestamp"
UNSIGNED = (FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64)


def impossible(message: Message, path: str = "") -> Iterator[tuple[str, str]]:
    """Fields with a number or moment out of range.

    Args:
        message: As received.
        path: Where it stands in its request.

    Yields:
        Pairs (field path, rule), without values.
    """
    for name, kind, repeated in _watched(message.DESCRIPTOR):
        place = f"{path}.{name}" if path else name
        if repeated:
            for index, value in enumerate(getattr(message, name)):
                yield from _checked(value, kind, f"{place}[{index}]")
        elif kind is int or message.HasField(name):
            yield from _checked(getattr(message, name), kind, place)


def _checked(value: Any, kind: type | str, place: str) -> Iterator[tuple[str, str]]:
    if kind is int:
        if value > MAX_INTEGER:
            yield place, "must be at most 2^63 - 1"
    elif kind == TIMESTAMP:
        if not MIN_SECONDS <= value.seconds <= MAX_SECONDS or not 0 <= value.nanos <= MAX_NANOS:
            yield place, "must be a moment of the years 1 to 9999"
    else:
        yield from impossible(value, place)


@cache
def _watched(descriptor: Descriptor) -> tuple[tuple[str, type | str, bool], ...]:
    """Fields to look at: name, what it is (int, TIMESTAMP or "" for another message), whether it repeats."""
    found: list[tuple[str, type | str, bool]] = []
    for field in descriptor.fields:
        if field.GetOptions().Extensions[validate_pb2.field].ignore == validate_pb2.IGNORE_ALWAYS:
            continue
        if field.type in UNSIGNED:
            found.append((field.name, int, field.is_repeated))
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            stamp = field.message_type.full_name == TIMESTAMP
            if stamp or _bounded(field.message_type):
                found.append((field.name, TIMESTAMP if stamp else "", field.is_repeated))
    return tuple(found)


@cache
def _bounded(descriptor: Descriptor) -> bool:
    """Whether a message of this type can hold anything to look at, at whatever depth."""
    seen: set[str] = set()
    waiting = [descriptor]
    while waiting:
        for field in waiting.pop().fields:
            if field.type in UNSIGNED:
                return True
            inner = field.message_type
            if inner is not None and inner.full_name not in seen:
                if inner.full_name == TIMESTAMP:
                    return True
                seen.add(inner.full_name)
                waiting.append(inner)
    return False
