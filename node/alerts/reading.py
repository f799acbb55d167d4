"""Reading bodies that were checked when they were stored."""

from __future__ import annotations

from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.event_pb2 import AlertRevised, ListPart


def alert_of(body: bytes) -> DiversionAlert:
    """The alert of a published or revised event: both carry it in field 1."""
    return AlertRevised.FromString(body).alert


def part_digests(body: bytes) -> tuple[bytes, ...]:
    """Digests of the list parts that a published or revised event cites: both carry them in field 2."""
    return tuple(AlertRevised.FromString(body).list_part_digests)


def part_of(body: bytes) -> ListPart:
    """A list part."""
    return ListPart.FromString(body)
