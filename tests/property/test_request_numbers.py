"""No number of a request is too large for this node: extreme integers in every field of every call of a peer.

Whatever stands in a field, a call ends with an answer or with a status that names what is wrong; never with a fault.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from buf.validate import validate_pb2
from dief.v1 import federation_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.ledger.state import MAX_SEQ
from node.services import errors
from tests.support.databases import Databases
from tests.support.served import CALL_SECONDS, Served, refusal_of, serving

METHODS = list(federation_pb2.DESCRIPTOR.services_by_name["FederationService"].methods)
LIMITS = {
    FieldDescriptor.TYPE_UINT64: (0, (1 << 64) - 1),
    FieldDescriptor.TYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_ENUM: (-(1 << 31), (1 << 31) - 1),
}
EDGES = (0, 1, 2, 3, 1 << 31, 1 << 32, 1 << 40, 1 << 53, 1 << 62, 1 << 63, 1 << 64)
ORDERLY = {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


def numbers(kind: int) -> st.SearchStrategy[int]:
    """Any number of a field's type, those around powers of two first."""
    low, high = LIMITS[kind]
    edges = {value + step for value in EDGES for step in (-1, 0, 1)} | {low, high}
    edges |= {-value for value in edges}
    return st.sampled_from(sorted(value for value in edges if low <= value <= high)) | st.integers(low, high)


def messages(descriptor: Descriptor, log_id: bytes, name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Field values of a request: integers from `numbers`, log ids and names that are there."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in descriptor.fields:
        if field.type in LIMITS:
            one: st.SearchStrategy[Any] = numbers(field.type)
        elif field.message_type is not None:
            one = messages(field.message_type, log_id, name)
        elif field.type == FieldDescriptor.TYPE_BYTES:
            one = st.just(log_id)
        elif field.type == FieldDescriptor.TYPE_BOOL:
            one = st.booleans()
        else:
            one = st.just(name if field.name == "name" else "XB" if field.is_repeated else "")
        if field.is_repeated:
            one = st.lists(one, max_size=2)
        oneof = field.containing_oneof
        fields[field.name] = one if oneof is None else st.none() | one
    return st.fixed_dictionaries({}, optional=fields).map(_one_of_each_oneof(descriptor))


def _one_of_each_oneof(descriptor: Descriptor) -> Any:
    def keep(values: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in values.items() if value is not None}
        for oneof in descriptor.oneofs:
            for name in [field.name for field in oneof.fields if field.name in kept][1:]:
                del kept[name]
        return kept

    return keep


def integer_fields(descriptor: Descriptor, path: str = "") -> Iterator[str]:
    for field in descriptor.fields:
        if field.type in LIMITS:
            yield f"{path}{field.name}"
        elif field.message_type is not None:
            yield from integer_fields(field.message_type, f"{path}{field.name}.")


@pytest.fixture
async def xa(sqlite_databases: Databases, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(sqlite_databases.open(), tmp_path) as served:
        served.publish(1)
        yield served


@pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_i11_any_number_in_any_field_has_an_orderly_answer(
    xa: Served, method: MethodDescriptor, data: st.DataObject
) -> None:
    name = "alerts/XA/0191f300-0000-7000-8000-000000000001"
    values = data.draw(messages(method.input_type, xa.origin.log.log_id, name))
    request: Message = getattr(federation_pb2, method.input_type.name)(**values)
    call = getattr(xa.stub("XB"), method.name)(request, timeout=CALL_SECONDS)
    try:
        if method.server_streaming:
            await call.initial_metadata()
            if method.name == "Follow":
                while not (await call.read()).HasField("caught_up"):
                    pass
            call.cancel()
        else:
            await call
    except grpc.aio.AioRpcError as error:
        found = refusal_of(error)
        assert found.code.name in ORDERLY, found
        assert found.reason in ("INVALID", "NOT_FOUND"), found
    finally:
        await xa.hang_up()


def test_every_request_of_a_peer_with_a_number_is_among_those_tried() -> None:
    found = {method.name: list(integer_fields(method.input_type)) for method in METHODS}
    assert "after_version" in found["GetRoster"]
    assert "cursors.size" in found["Follow"]
    assert {"receipts.seq", "receipts.at.seconds", "receipts.kind"} <= set(found["SendReceipts"])
    assert {"inclusion_of", "consistency_from", "tree_size"} <= set(found["GetProof"])


@given(number=st.integers((1 << 63), (1 << 64) - 1))
def test_i10_an_unsigned_number_that_no_database_holds_names_its_field(number: int) -> None:
    with pytest.raises(errors.InvalidRequestError) as found:
        errors.validate(federation_pb2.GetRosterRequest(after_version=number))
    assert [field for field, _ in found.value.violations] == ["after_version"]
    assert str(number) not in str(found.value)


def test_no_position_of_a_request_is_beyond_the_end_of_a_log() -> None:
    field = federation_pb2.LogCursor.DESCRIPTOR.fields_by_name["size"]
    assert field.GetOptions().Extensions[validate_pb2.field].uint64.lte == MAX_SEQ + 1
