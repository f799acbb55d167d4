"""Every call of FederationService over real mTLS: what a peer is told when something goes wrong, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from dief.v1 import federation_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select, text

from node.audit.trail import AUDIT
from node.federation.errors import StreamQuotaError
from node.ledger.logs import LOG
from node.ops.counters import refused
from node.services import errors
from tests.support.databases import Databases
from tests.support.served import CALL_SECONDS, Refusal, Served, refusal_of, serving

SECRET = "EX 4417 of the Minister"


@pytest.fixture
async def xa(sqlite_databases: Databases, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(sqlite_databases.open(), tmp_path, calls=2, streams=1) as served:
        yield served


async def refusal(call: object) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as found:
        await call  # type: ignore[misc]
    return refusal_of(found.value)


async def test_what_nobody_thought_of_is_told_by_its_class_and_never_by_its_text(
    xa: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row of the database is damaged: its text is in the exception, and must not be in the answer or the log."""
    xa.publish(1)
    log_id = xa.origin.log.log_id
    with xa.store.write() as conn:
        conn.execute(LOG.update().values(state=SECRET))
    before = refused.snapshot().get("INTERNAL", 0)
    capsys.readouterr()
    told = await refusal(
        xa.stub("XB").GetEntries(federation_pb2.GetEntriesRequest(log_id=log_id), timeout=CALL_SECONDS)
    )
    assert (told.code, told.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert told.text == "The node failed at this call (ValueError)."
    assert refused.snapshot()["INTERNAL"] == before + 1
    logged = "".join(capsys.readouterr())
    assert "GetEntriesRequest" in logged
    assert "node.ledger.logs:_held:" in logged
    assert SECRET not in logged


async def test_what_nobody_thought_of_ends_a_stream_with_its_class_alone(xa: Served) -> None:
    xa.publish(1)
    with xa.store.write() as conn:
        conn.execute(LOG.update().values(state=SECRET))
    stream = xa.stub("XB").Follow(federation_pb2.FollowRequest(), timeout=CALL_SECONDS)
    with pytest.raises(grpc.aio.AioRpcError) as found:
        async for _ in stream:
            pass
    told = refusal_of(found.value)
    assert (told.code, told.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert SECRET not in told.text


async def test_a_database_that_fails_is_told_as_unavailable_without_its_statement(xa: Served) -> None:
    with xa.store.write() as conn:
        conn.execute(text("DROP TABLE roster"))
    told = await refusal(xa.stub("XB").GetRoster(federation_pb2.GetRosterRequest(), timeout=CALL_SECONDS))
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert "roster" not in told.text
    assert "SELECT" not in told.text


async def test_i11_the_quota_is_charged_before_the_request_is_checked(xa: Served) -> None:
    """A caller over its quota is told so, whatever it sends: this node checks nothing more for it."""
    wrong = federation_pb2.GetEntriesRequest(log_id=b"short")
    with xa.limits.hold("XB", "call"), xa.limits.hold("XB", "call"):
        told = await refusal(xa.stub("XB").GetEntries(wrong, timeout=CALL_SECONDS))
        assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA")
        told = await refusal(xa.stub("XE").GetEntries(wrong, timeout=CALL_SECONDS))
        assert (told.reason, told.fields) == ("INVALID", ("log_id",))
    with xa.limits.hold("XB", "stream"):
        stream = xa.stub("XB").Follow(
            federation_pb2.FollowRequest(cursors=[federation_pb2.LogCursor(log_id=b"short")]),
            timeout=CALL_SECONDS,
        )
        with pytest.raises(grpc.aio.AioRpcError) as found:
            await stream.read()
        assert refusal_of(found.value).reason == "QUOTA"


async def test_i11_a_large_request_is_checked_whole_and_its_faults_named_in_an_answer_that_arrives(
    xa: Served,
) -> None:
    receipt = federation_pb2.Receipt(kind=federation_pb2.RECEIPT_KIND_ERASED, log_id=b"short", seq=1)
    request = federation_pb2.SendReceiptsRequest(receipts=[receipt] * 5000)
    told = await refusal(xa.stub("XB").SendReceipts(request, timeout=CALL_SECONDS))
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID")
    assert len(told.fields) == errors.MAX_VIOLATIONS
    assert {"receipts[0].log_id", "receipts[0].at"} <= set(told.fields)


@pytest.mark.parametrize(
    "moment",
    [
        Timestamp(seconds=(1 << 63) - 1),
        Timestamp(seconds=-(1 << 63)),
        Timestamp(seconds=1, nanos=1_000_000_000),
        Timestamp(seconds=1, nanos=-1),
    ],
    ids=["far future", "far past", "a second of nanos", "negative nanos"],
)
async def test_i10_an_impossible_moment_is_refused_with_its_field(xa: Served, moment: Timestamp) -> None:
    query = federation_pb2.QueryAlertsRequest(filter=federation_pb2.AlertFilter(committed_since=moment))
    told = await refusal(xa.stub("XB").QueryAlerts(query, timeout=CALL_SECONDS))
    assert (told.reason, told.fields) == ("INVALID", ("filter.committed_since",))
    receipt = federation_pb2.Receipt(
        kind=federation_pb2.RECEIPT_KIND_ERASED, log_id=bytes(32), seq=1, at=Timestamp(seconds=1)
    )
    receipt.backups_expired_at.CopyFrom(moment)
    told = await refusal(
        xa.stub("XB").SendReceipts(
            federation_pb2.SendReceiptsRequest(receipts=[receipt]), timeout=CALL_SECONDS
        )
    )
    assert (told.reason, told.fields) == ("INVALID", ("receipts[0].backups_expired_at",))


async def test_i8_a_range_without_entries_leaves_no_record_and_one_with_entries_does(xa: Served) -> None:
    xa.publish(1)
    log = xa.origin.log
    stub = xa.stub("XB")

    def ranges() -> list[str]:
        with xa.store.read() as conn:
            return list(conn.execute(select(AUDIT.c.action)).scalars())

    request = federation_pb2.GetEntriesRequest(log_id=log.log_id, first_seq=log.size)
    answer = await stub.GetEntries(request, timeout=CALL_SECONDS)
    assert not answer.batch.entries
    assert ranges() == []
    request.first_seq = 0
    answer = await stub.GetEntries(request, timeout=CALL_SECONDS)
    assert len(answer.batch.entries) == log.size
    assert ranges() == ["RANGE_SENT"]


# -- turns at the store ------------------------------------------------------------------------------------------------


async def test_i11_one_states_slow_reads_take_nobody_elses_turn(xa: Served) -> None:
    """XB's reads hang; XE, the desk (which takes no turns) and this node's own work go on, XB waits for its own."""
    gate = asyncio.Event()
    slow = [asyncio.ensure_future(xa.limits.turn("XB", "read", gate.wait)) for _ in range(10)]
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(
        xa.stub("XB").GetRoster(federation_pb2.GetRosterRequest(), timeout=CALL_SECONDS)
    )
    for _ in range(3):
        answer = await xa.stub("XE").GetRoster(federation_pb2.GetRosterRequest(), timeout=CALL_SECONDS)
        assert answer.latest_version == 1
    assert not waiting.done()
    gate.set()
    assert (await waiting).latest_version == 1
    await asyncio.gather(*slow)


async def test_i11_all_states_together_leave_a_reading_thread_to_the_desk(xa: Served) -> None:
    gate = asyncio.Event()
    started: asyncio.Queue[None] = asyncio.Queue()

    async def slow() -> None:
        started.put_nowait(None)
        await gate.wait()

    callers = [f"X{letter}" for letter in "BDEFGH"]
    waiting = [asyncio.ensure_future(xa.limits.turn(caller, "read", slow)) for caller in callers * 2]
    for _ in range(3):
        await started.get()
    for _ in range(100):
        await asyncio.sleep(0)
    assert started.empty()
    gate.set()
    await asyncio.gather(*waiting)
    assert started.qsize() == len(waiting) - 3


async def test_i11_asking_and_hanging_up_wins_no_turn(xa: Served) -> None:
    """Work of a caller that went away still runs on its thread: its turn is not free before it ends."""
    gate = asyncio.Event()
    running = 0

    async def slow() -> None:
        nonlocal running
        running += 1
        await gate.wait()
        running -= 1

    for _ in range(5):
        task = asyncio.ensure_future(xa.limits.turn("XB", "read", slow))
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert running == 2
    gate.set()
    await xa.limits.turn("XB", "read", slow)
    assert running == 0


async def test_a_turn_that_fails_is_free_again(xa: Served) -> None:
    async def fails() -> None:
        raise StreamQuotaError("for a test")

    for _ in range(5):
        with pytest.raises(StreamQuotaError):
            await xa.limits.turn("XB", "write", fails)
