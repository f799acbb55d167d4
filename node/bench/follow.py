"""Follow: one origin, a hundred followers. One is a node that stores; the others verify and live in this process.

The clients come from many States, as they would. A travel ends when a client has verified the entry, or when the node
has committed it; it begins at the moment that the origin wrote into the header, which is just before its own commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
from dief.v1 import federation_pb2, federation_pb2_grpc, registry_pb2_grpc

from node.bench import live
from node.bench.clients import VerifyingClient
from node.bench.numbers import percentile
from node.bench.pair import SEPARATE, BenchError, Pair, Progress
from node.ops.errors import DiefError

GUESTS = ("XD", "XE", "XF", "XG", "XH", "XJ", "XM", "XN", "XO", "XP", "XQ", "XR", "XT", "XW", "XY")
STREAMS_PER_PEER = 8
START_SECONDS = 120.0
ARRIVAL_SECONDS = 60.0
POLL_SECONDS = 0.001
WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Follow:
    """Milliseconds and megabytes.

    Attributes:
        n: Alerts measured.
        clients: Followers, the storing one among them.
        p50_ms, p99_ms: From the origin's moment to verified at a client or committed at the node, over all of both.
        stored_p99_ms: The same at the storing node alone.
        mb_per_follower: Memory of the origin for one more idle follower, None where the system does not tell.
    """

    n: int
    clients: int
    p50_ms: float
    p99_ms: float
    stored_p99_ms: float
    mb_per_follower: float | None


@dataclass(slots=True)
class _Crowd:
    """The clients of this process and what they have seen."""

    size: int
    caught_up: int = 0
    travels: list[float] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def all_have(self, alerts: int, seconds: float) -> None:
        """Wait until all are at the end of the backlog and each was told of so many alerts since."""

        def complete() -> bool:
            return self.caught_up >= self.size and len(self.travels) >= alerts * self.size

        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(complete)

    async def tell(self, *, caught_up: int = 0, travels: Sequence[float] = ()) -> None:
        """Add what one client has seen."""
        async with self.changed:
            self.caught_up += caught_up
            self.travels += travels
            self.changed.notify_all()


def measure(pair: Pair, clients: int, count: int, progress: Progress) -> Follow:
    """Start the origin and the node, let all catch up, and hand in `count` records one after the other.

    Args:
        pair: With the GUESTS, and neither node started.
        clients: Followers that verify, beside the node.
        count: How many records.
        progress: Told of them.

    Raises:
        BenchError: A client lost its stream, or what it was sent does not prove itself.
    """
    pair.origin.start(FEDERATION__MAX_STREAMS_PER_PEER=str(STREAMS_PER_PEER))
    pair.follower.start()
    pair.admit()
    watch = pair.follower.watch()
    try:
        found = asyncio.run(_measure(pair, watch, clients, count, progress))
    except* (TimeoutError, grpc.RpcError, DiefError) as errors:
        raise BenchError(
            f"Not all followers were told of everything in time: {errors.exceptions[0]!r}"
        ) from None
    finally:
        watch.close()
    return found


async def _measure(
    pair: Pair, watch: sqlite3.Connection, clients: int, count: int, progress: Progress
) -> Follow:
    crowd = _Crowd(clients)
    await _stored(watch, pair.filled, START_SECONDS)
    alone = pair.origin.resident_mb()
    async with asyncio.TaskGroup() as group:
        running = [
            group.create_task(_client(pair, GUESTS[number % len(GUESTS)], crowd)) for number in range(clients)
        ]
        await crowd.all_have(0, START_SECONDS)
        together = pair.origin.resident_mb()
        stored = await _hand_in(pair, watch, count, crowd, progress)
        for client in running:
            client.cancel()
    stored = stored[WARM_UP:]
    travels = crowd.travels[WARM_UP * clients :] + stored
    return Follow(
        count,
        clients + 1,
        percentile(travels, 50),
        percentile(travels, 99),
        percentile(stored, 99),
        None if alone is None or together is None else (together - alone) / clients,
    )


async def _hand_in(
    pair: Pair, watch: sqlite3.Connection, count: int, crowd: _Crowd, progress: Progress
) -> list[float]:
    """Hand in records, each when the one before is everywhere; how long each took to the storing node."""
    stored = []
    async with pair.origin.national_aio("registry") as channel:
        stub: registry_pb2_grpc.RegistryServiceAsyncStub = registry_pb2_grpc.RegistryServiceStub(channel)
        for number in range(WARM_UP + count):
            answer = stub.SubmitRecords(live.record(number), timeout=ARRIVAL_SECONDS)
            stored.append(await _stored(watch, pair.filled + number + 1, ARRIVAL_SECONDS))
            live.check(await answer)
            await crowd.all_have(number + 1, ARRIVAL_SECONDS)
            progress(int(number >= WARM_UP))
    return stored


async def _stored(watch: sqlite3.Connection, wanted: int, seconds: float) -> float:
    """Wait until the node shows so many alerts; how long after the origin's moment the newest one could be read."""
    async with asyncio.timeout(seconds):
        while True:
            found, moment_ms = watch.execute(
                "SELECT id, committed_ms FROM alert ORDER BY id DESC LIMIT 1"
            ).fetchone() or (0, 0)
            if found >= wanted:
                return time.time() * 1000 - moment_ms
            await asyncio.sleep(POLL_SECONDS)


async def _client(pair: Pair, state: str, crowd: _Crowd) -> None:
    """Follow as a State that verifies, for ever."""
    client = VerifyingClient(pair.verifier, pair.origin.state)
    live_now = False
    async with grpc.aio.secure_channel(
        pair.origin.endpoint, pair.peer_credentials(state), SEPARATE
    ) as channel:
        stub: federation_pb2_grpc.FederationServiceAsyncStub = federation_pb2_grpc.FederationServiceStub(
            channel
        )
        async for frame in stub.Follow(federation_pb2.FollowRequest(roster_version=1, software="bench")):
            match frame.WhichOneof("frame"):
                case "caught_up":
                    live_now = True
                    await crowd.tell(caught_up=1)
                case "batch":
                    seen = client.take(frame.batch)
                    now_ms = time.time() * 1000
                    if live_now:
                        await crowd.tell(travels=[now_ms - facts.committed_ms for facts in seen])
    raise BenchError(f"A stream of {state} ended.")
