"""Dotted paths into a DiversionAlert, such as `items[0].serials[*].as_read`, checked against the protos when read.

Rules:
- A repeated field that is followed by more needs an index or `[*]`; `[*]` stands for the current element of an
  `[[each]]` group.
- Elements of lists keep their order, but gaps close: `items[2]` is the first item where 0 and 1 stayed empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dief.v1.alert_pb2 import DiversionAlert
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_STEP = re.compile(r"^([a-z][a-z0-9_]*)(?:\[(\d{1,4}|\*)\])?$")
PARTIAL_DATE: Final = "dief.v1.PartialDate"
TIMESTAMP: Final = "google.protobuf.Timestamp"
_LEAF_MESSAGES = frozenset({PARTIAL_DATE, TIMESTAMP})

Tree = dict[str | int, Any]


class BadPathError(ValueError):
    """No such place in an alert."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step down: a field, and which element of it (None: the field as a whole, -1: the current element)."""

    name: str
    index: int | None


@dataclass(frozen=True, slots=True)
class AlertPath:
    """A place in an alert where a value can be put.

    Attributes:
        text: As written in the mapping.
        steps: Steps from the alert down.
        leaf: Descriptor of the last field.
        whole_list: The leaf is a list that a list of values fills.
    """

    text: str
    steps: tuple[Step, ...]
    leaf: FieldDescriptor
    whole_list: bool

    @classmethod
    def parse(cls, text: str) -> AlertPath:
        """Read a path.

        Raises:
            BadPathError: The alert has no such field, or an index is missing or too many.
        """
        descriptor: Descriptor | None = DiversionAlert.DESCRIPTOR
        steps: list[Step] = []
        leaf: FieldDescriptor | None = None
        for part in text.split("."):
            if descriptor is None:
                raise BadPathError(f"`{steps[-1].name}` has no fields below it")
            match = _STEP.match(part)
            if match is None:
                raise BadPathError(f"`{part}` is not a field with an optional [index]")
            name, index = match.groups()
            leaf = descriptor.fields_by_name.get(name)
            if leaf is None:
                raise BadPathError(f"{descriptor.name} has no field `{name}`{nearest(name, descriptor)}")
            if index is not None and not leaf.is_repeated:
                raise BadPathError(f"`{name}` is not a list")
            steps.append(Step(name, None if index is None else -1 if index == "*" else int(index)))
            inner = leaf.message_type
            descriptor = None if inner is None or inner.full_name in _LEAF_MESSAGES else inner
            if descriptor is not None and leaf.is_repeated and index is None:
                raise BadPathError(f"`{name}` is a list: say which element, `{name}[0]`")
        assert leaf is not None
        if descriptor is not None:
            raise BadPathError(f"`{text}` holds other fields: say which")
        return cls(text, tuple(steps), leaf, leaf.is_repeated and steps[-1].index is None)

    @property
    def many(self) -> bool:
        """Whether the path goes through the current element of a group."""
        return any(step.index == -1 for step in self.steps)

    def put(self, tree: Tree, value: Any, element: int = 0) -> None:
        """Put a converted value at this place.

        Args:
            tree: The alert so far.
            value: As `convert` made it.
            element: Index that `[*]` stands for.
        """
        for step in self.steps[:-1]:
            tree = tree.setdefault(step.name, {})
            if step.index is not None:
                tree = tree.setdefault(element if step.index == -1 else step.index, {})
        last = self.steps[-1]
        if last.index is None:
            tree[last.name] = value
        else:
            tree.setdefault(last.name, {})[element if last.index == -1 else last.index] = value


def nearest(name: str, descriptor: Descriptor) -> str:
    """ ", do you mean …" for a misspelt field, or nothing."""
    import difflib

    close = difflib.get_close_matches(name, descriptor.fields_by_name.keys(), 1)
    return f", do you mean `{close[0]}`" if close else ""


def build(tree: Mapping[str | int, Any], message: Message) -> None:
    """Fill a message from a tree of converted values.

    Args:
        tree: Field name to value, list index to element.
        message: Empty message of the tree's type.
    """
    for field in message.DESCRIPTOR.fields:
        if field.name not in tree:
            continue
        value = tree[field.name]
        if not field.is_repeated:
            _one(message, field, value)
            continue
        elements = [value[i] for i in sorted(value)] if isinstance(value, dict) else value
        held = getattr(message, field.name)
        for element in elements:
            if field.message_type is None:
                held.append(element)
            elif isinstance(element, Message):
                held.add().CopyFrom(element)
            elif element:
                build(element, held.add())


def _one(message: Message, field: Any, value: Any) -> None:
    if field.message_type is None:
        setattr(message, field.name, value)
    elif isinstance(value, Message):
        getattr(message, field.name).CopyFrom(value)
    else:
        inner = getattr(message, field.name)
        inner.SetInParent()
        build(value, inner)
