"""Evaluates the conditions of the protos as CEL, exactly as they are written there.

Rules
- `option (dief.v1.condition)` and `(dief.v1.intake_condition)` mean the same as `(buf.validate.message).cel`.
- Hand-written code for a condition is held against this oracle.

Source: protos/dief/v1/conditions.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import protovalidate
from buf.validate import validate_pb2
from dief.v1 import conditions_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message import Message


@dataclass(frozen=True, order=True)
class Broken:
    """One broken rule: where, and which.

    Args:
        path: field path such as `items[0].serials[1].as_read`; empty for the message itself.
        rule: id of the rule, e.g. `string.pattern` or `alert.indicator`.
    """

    path: str
    rule: str


_OPTIONS = (conditions_pb2.condition, conditions_pb2.intake_condition)

# A validator keeps what it read of a file under the file's name, so the two forms need one each.
_PLAIN = protovalidate.Validator()
_CONDITIONAL = protovalidate.Validator()


def broken_rules(message: Message) -> set[Broken]:
    """Rules of buf.validate that the message breaks, without conditions."""
    return _collect(_PLAIN, message)


def broken_with_conditions(message: Message) -> set[Broken]:
    """Rules and conditions that the message breaks."""
    twin = _conditional_class(message.DESCRIPTOR)()
    twin.ParseFromString(message.SerializeToString())
    return _collect(_CONDITIONAL, twin)


def condition_ids(file: FileDescriptor) -> Iterator[str]:
    """Ids of all conditions that a proto file states."""
    for message in file.message_types_by_name.values():
        for option in _OPTIONS:
            for rule in message.GetOptions().Extensions[option]:
                yield rule.id


def _collect(validator: protovalidate.Validator, message: Message) -> set[Broken]:
    found = set()
    for violation in validator.collect_violations(message):
        parts = []
        field = violation.proto.field
        for element in field.elements if field else ():
            subscript = element.subscript
            index = f"[{subscript.value}]" if subscript is not None and subscript.field == "index" else ""
            parts.append(f"{element.field_name}{index}")
        found.add(Broken(".".join(parts), violation.proto.rule_id))
    return found


@cache
def _conditional_class(descriptor: Descriptor) -> type[Message]:
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        proto = descriptor_pb2.FileDescriptorProto()
        proto.ParseFromString(file.serialized_pb)
        for message in proto.message_type:
            for option in _OPTIONS:
                if conditions := message.options.Extensions[option]:
                    message.options.Extensions[validate_pb2.message].cel.extend(conditions)
        pool.Add(proto)

    add(descriptor.file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(descriptor.full_name))
