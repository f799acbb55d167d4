"""What the protos require of an alert, checked before anything is sent.

Rules:
- All rules of buf.validate and every `condition` and `intake_condition` of the dictionary; the node checks
  them again, and more.
- The name and revision that the node mints at release are taken as given.

Source: protos/dief/v1/alert.proto, conditions.proto.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import protovalidate
from buf.validate import validate_pb2
from dief.v1 import conditions_pb2
from dief.v1.alert_pb2 import DiversionAlert
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message

from registry_adapters.errors import FieldFault

_ANY_UUID7: Final = "00000000-0000-7000-8000-000000000000"


def faults_of(alert: DiversionAlert) -> list[FieldFault]:
    """Rules that a draft's alert breaks; an empty list where none.

    Args:
        alert: The content; `name` and `revision` may be empty.
    """
    twin = _conditional_class()()
    twin.ParseFromString(alert.SerializeToString())
    if not alert.name:
        twin.name = f"alerts/{alert.originator}/{_ANY_UUID7}"  # type: ignore[attr-defined]
    twin.revision = twin.revision or 1  # type: ignore[attr-defined]
    found = []
    for violation in _validator().collect_violations(twin):
        field = violation.proto.field
        parts = []
        for element in field.elements if field else ():
            subscript = element.subscript
            index = f"[{subscript.value}]" if subscript is not None and subscript.field == "index" else ""
            parts.append(f"{element.field_name}{index}")
        path = ".".join(parts)
        if path != "name":
            found.append(FieldFault(path, "", violation.proto.rule_id, violation.proto.message))
    return found


@cache
def _validator() -> protovalidate.Validator:
    return protovalidate.Validator()


@cache
def _conditional_class() -> type[Message]:
    """The alert's type with the conditions of the dictionary turned into rules of buf.validate."""
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
            for option in (conditions_pb2.condition, conditions_pb2.intake_condition):
                rules = message.options.Extensions[option]
                if rules:
                    message.options.Extensions[validate_pb2.message].cel.extend(rules)
        pool.Add(proto)

    add(DiversionAlert.DESCRIPTOR.file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(DiversionAlert.DESCRIPTOR.full_name))
