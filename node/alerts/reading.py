"""Reading bodies that were checked when they were stored."""

from __future__ import annotations

from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.event_pb2 import AlertRevised, ListPart


def event_of(body: bytes) -> AlertRevised:
    """A published or revised event: the two have the same numbers for what they share."""
    return AlertRevised.FromString(body)


def alert_of(body: bytes) -> DiversionAlert:
    """The alert of a published or revised event."""
    return event_of(body).alert


def part_of(body: bytes) -> ListPart:
    """A list part."""
    return ListPart.FromString(body)
