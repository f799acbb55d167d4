"""Follow and WatchAlerts over real mTLS, seen by a client that reads, stalls or may go on no more (I6, I9, I11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import grpc
import pytest
from dief.v1 import federation_pb2, log_pb2, roster_pb2
from sqlalchemy import select

from node.audit.trail import AUDIT
from node.identity.view import ERASE_ONLY_MS
from node.ledger import logs
from node.ledger.events import NewEvent
from node.ledger.state import LogState
from node.ops.clock import now_ms, to_timestamp
from tests.support import waiting
from tests.support.databases import Databases
from tests.support.ledger import WITHDRAWN, event
from tests.support.served import CALL_SECONDS, Served, refusal_of, serving

SECONDS = 60
Stream = Any
Kind = Literal["hello", "prelude", "batch", "log_error", "caught_up", "heartbeat"]


@pytest.fixture
async def serve(sqlite_databases: Databases, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Makes a served XA with knobs."""
    async with AsyncExitStack() as stack:

        async def make(**knobs: Any) -> Served:
            return await stack.enter_async_context(serving(sqlite_databases.open(), tmp_path, **knobs))

        yield make


def follow(xa: Served, caller: str = "XB", **cursors: Any) -> Stream:
    """A stream of a caller that holds what `cursors` says of XA's newest log, or nothing."""
    request = federation_pb2.FollowRequest()
    if cursors:
        request.cursors.add(log_id=xa.origin.log.log_id, **cursors)
    return xa.stub(caller).Follow(request, timeout=SECONDS)


async def until(stream: Stream, kind: Kind) -> list[federation_pb2.FollowResponse]:
    """Frames up to the first of a kind, that one included."""
    frames: list[federation_pb2.FollowResponse] = []
    while not frames or not frames[-1].HasField(kind):
        frame = await stream.read()
        assert isinstance(frame, federation_pb2.FollowResponse), await stream.code()
        frames.append(frame)
    return frames


def kinds(frames: list[federation_pb2.FollowResponse]) -> list[str]:
    return [str(frame.WhichOneof("frame")) for frame in frames]


async def end_of(stream: Stream) -> str:
    """The reason with which a stream ends."""
    try:
        while await stream.read():
            pass
    except grpc.aio.AioRpcError as ended:
        return refusal_of(ended).reason
    raise AssertionError("the stream ended without an error")


def withdrawal(*positions: int) -> NewEvent:
    return NewEvent(WITHDRAWN, erases=tuple((b"", position) for position in positions))


# -- what may only erase -----------------------------------------------------------------------------------------------


async def assert_only_erasures(xa: Served, caller: str = "XB") -> Stream:
    """A caller that held three entries is told of an erasure and of nothing else; returns the open stream."""
    stream = follow(xa, caller, size=4)
    frames = await until(stream, "caught_up")
    assert kinds(frames) == ["hello", "prelude", "caught_up"]
    (header,) = frames[1].prelude.headers
    assert [each.seq for each in log_pb2.EntryHeader.FromString(header.header).erases] == [2]
    xa.append(event(b"news"), withdrawal(3), event(b"more news"))
    (frame,) = await until(stream, "prelude")
    (header,) = frame.prelude.headers
    assert [each.seq for each in log_pb2.EntryHeader.FromString(header.header).erases] == [3]
    return stream


async def test_i6_when_the_roster_expires_a_live_stream_ends_and_the_next_one_carries_erasures_alone(
    serve: Callable[..., Any],
) -> None:
    xa = await serve()
    xa.append(event(b"one"), event(b"two"), event(b"three"))
    stream = follow(xa)
    assert kinds(await until(stream, "caught_up")) == ["hello", "batch", "caught_up"]

    def soon(roster: roster_pb2.Roster) -> None:
        roster.expires_at.CopyFrom(to_timestamp(now_ms() + 3000))

    await xa.trust_next(soon)
    assert await end_of(stream) == "ROSTER_EXPIRED"
    xa.append(withdrawal(2))
    await assert_only_erasures(xa)
    stub = xa.stub("XB")
    for call in (
        stub.QueryAlerts(federation_pb2.QueryAlertsRequest(), timeout=CALL_SECONDS),
        stub.GetEntries(federation_pb2.GetEntriesRequest(log_id=bytes(32)), timeout=CALL_SECONDS),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refusal_of(refused.value).reason == "ROSTER_EXPIRED"
    assert await end_of(stub.WatchAlerts(federation_pb2.WatchAlertsRequest(), timeout=SECONDS)) == (
        "ROSTER_EXPIRED"
    )
    answer = await stub.GetRoster(federation_pb2.GetRosterRequest(after_version=1), timeout=CALL_SECONDS)
    assert answer.latest_version == 2


def removed(state: str, since_ms: int) -> Callable[[roster_pb2.Roster], None]:
    def change(roster: roster_pb2.Roster) -> None:
        for participant in roster.participants:
            if participant.state == state:
                participant.state_of_participation = roster_pb2.PARTICIPANT_STATE_REMOVED
                participant.state_of_participation_since.CopyFrom(to_timestamp(since_ms))

    return change


async def test_i6_a_removed_state_loses_its_stream_may_fetch_erasures_for_90_days_and_then_nothing(
    serve: Callable[..., Any],
) -> None:
    xa = await serve()
    xa.append(event(b"one"), event(b"two"), event(b"three"))
    stream, other = follow(xa), follow(xa, "XE")
    await until(stream, "caught_up")
    await until(other, "caught_up")
    await xa.trust_next(removed("XB", now_ms()))
    assert await end_of(stream) == "NOT_PARTICIPATING"
    xa.append(withdrawal(2))
    await until(other, "batch")
    erasing = await assert_only_erasures(xa)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await xa.stub("XB").QueryAlerts(federation_pb2.QueryAlertsRequest(), timeout=CALL_SECONDS)
    assert refusal_of(refused.value).reason == "NOT_PARTICIPATING"
    await xa.trust_next(removed("XB", now_ms() - ERASE_ONLY_MS))
    assert await end_of(erasing) == "NOT_PARTICIPATING"
    assert await end_of(follow(xa, size=4)) == "NOT_PARTICIPATING"
    xa.append(event(b"XE goes on"))
    await until(other, "batch")


async def test_i6_an_erase_only_stream_ends_when_its_state_may_have_all_again(
    serve: Callable[..., Any],
) -> None:
    xa = await serve()
    xa.append(event(b"one"), event(b"two"), event(b"three"), withdrawal(2))
    await xa.trust_next(removed("XB", now_ms()))
    stream = await assert_only_erasures(xa)

    def back(roster: roster_pb2.Roster) -> None:
        for participant in roster.participants:
            participant.state_of_participation = roster_pb2.PARTICIPANT_STATE_ACTIVE

    await xa.trust_next(back)
    while isinstance(await stream.read(), federation_pb2.FollowResponse):
        pass
    assert await stream.code() is grpc.StatusCode.OK
    assert "batch" in kinds(await until(follow(xa, size=4), "caught_up"))


# -- logs that go on no more -------------------------------------------------------------------------------------------


def lose(xa: Served) -> None:
    with xa.store.write() as conn:
        held = logs.load_locked(conn, xa.origin.log.pk)
        held.state = LogState.LOST
        held.save(conn)


async def test_i4_the_end_of_a_lost_log_is_told_after_all_that_is_left_of_it(
    serve: Callable[..., Any],
) -> None:
    xa = await serve()
    xa.append(event(b"one"), event(b"two"), event(b"three"), withdrawal(1))
    log_id = xa.origin.log.log_id
    lose(xa)
    frames = await until(follow(xa, size=3), "caught_up")
    assert kinds(frames) == ["hello", "prelude", "batch", "log_error", "caught_up"]
    assert [entry.body for entry in frames[2].batch.entries] == [b"three", b""]
    assert (frames[3].log_error.log_id, frames[3].log_error.reason) == (log_id, "LOG_STOPPED")
    frames = await until(follow(xa, "XE"), "caught_up")
    assert kinds(frames) == ["hello", "batch", "log_error", "caught_up"]


async def test_i4_a_log_that_is_lost_while_a_stream_is_open_is_told_once_and_others_go_on(
    serve: Callable[..., Any],
) -> None:
    xa = await serve(heartbeat_seconds=0.2)
    xa.append(event(b"one"))
    stream = follow(xa)
    await until(stream, "caught_up")
    lose(xa)
    frames = await until(stream, "log_error")
    assert frames[-1].log_error.reason == "LOG_STOPPED"
    xa.append(event(b"two"), audience=("XA", "XB"))
    frames = await until(stream, "batch")
    frames += [await stream.read() for _ in range(3)]
    assert "log_error" not in kinds(frames)


async def test_i4_a_stream_ends_once_the_origin_has_found_back_what_its_caller_held_more_of(
    serve: Callable[..., Any],
) -> None:
    """The caller drops a diverged log for as long as its stream lasts: only a new stream goes on with it."""
    xa = await serve()
    xa.append(event(b"one"))
    stream = follow(xa, size=4)
    frames = await until(stream, "caught_up")
    assert kinds(frames) == ["hello", "log_error", "caught_up"]
    assert frames[1].log_error.reason == "LOG_DIVERGED"
    xa.append(event(b"two"))
    xa.append(event(b"three"), event(b"four"))
    while isinstance(await stream.read(), federation_pb2.FollowResponse):
        pass
    assert await stream.code() is grpc.StatusCode.OK
    assert kinds(await until(follow(xa, size=4), "caught_up")) == ["hello", "batch", "caught_up"]


async def test_i2_the_end_of_a_lost_log_is_told_to_its_members_alone(serve: Callable[..., Any]) -> None:
    xa = await serve()
    xa.origin.members = ("XA", "XB")
    xa.append(event(b"one"), audience=("XA", "XB"))
    lose(xa)
    assert kinds(await until(follow(xa, size=1), "caught_up")) == ["hello", "batch", "log_error", "caught_up"]
    assert kinds(await until(follow(xa, "XE", size=1), "caught_up")) == ["hello", "caught_up"]


# -- a client that does not read ---------------------------------------------------------------------------------------


async def test_i11_a_reader_that_stalls_holds_a_few_frames_up_is_cut_and_others_go_on(
    serve: Callable[..., Any],
) -> None:
    xa = await serve(write_seconds=2)
    body = bytes(500_000)
    for _ in range(8):
        xa.append(*(event(body) for _ in range(10)))
    total = xa.origin.log.size
    stalled = follow(xa, "XE")
    assert (await stalled.read()).HasField("hello")
    read = sum(len(frame.batch.entries) for frame in await until(follow(xa), "caught_up"))
    assert read == total
    await asyncio.to_thread(
        waiting.until, lambda: not xa.limits.open_streams("XE"), "XE losing its stream", seconds=SECONDS
    )
    with xa.store.read() as conn:
        sent = {"XB": 0, "XE": 0}
        for actor, detail in conn.execute(select(AUDIT.c.actor, AUDIT.c.detail)):
            sent[actor[len("spiffe://") :][:2].upper()] += int(
                detail.split('"count":')[1].split(",")[0].strip("} ")
            )
    assert sent["XB"] == total
    assert sent["XE"] < total / 2
    assert await end_of(stalled) in ("QUOTA", "")


# -- news for who keeps no copy ----------------------------------------------------------------------------------------


async def test_i8_each_entry_that_a_watcher_is_sent_is_recorded_and_proves_itself(
    serve: Callable[..., Any],
) -> None:
    xa = await serve()
    xa.publish(1)
    stream = xa.stub("XB").WatchAlerts(federation_pb2.WatchAlertsRequest(), timeout=SECONDS)
    await stream.initial_metadata()
    xa.publish(2)
    xa.append(withdrawal(1))
    seen: list[log_pb2.EntryHeader] = []
    while len(seen) < 2:
        answer = await stream.read()
        seen.append(log_pb2.EntryHeader.FromString(answer.entry.entry.header))
    assert [header.seq for header in seen] == [2, 3]
    assert [each.seq for each in seen[1].erases] == [1]
    with xa.store.read() as conn:
        assert list(conn.execute(select(AUDIT.c.action)).scalars()) == ["RANGE_SENT", "RANGE_SENT"]
