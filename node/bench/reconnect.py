"""Nothing new: a peer connects again, all logs that it holds are up to date, and is told so.

From opening the connection (TCP, TLS, both certificates) to the end of the backlog; bytes are those of the connection,
counted by a relay between the two, both ways, with what TLS adds.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from itertools import combinations, islice

import grpc
from dief.v1 import federation_pb2, federation_pb2_grpc
from dief.v1.handling_pb2 import AUDIENCE_KIND_NAMED_STATES, Audience

from node.bench.clients import VerifyingClient
from node.bench.numbers import percentile
from node.bench.pair import SEPARATE, BenchError, Pair, Progress
from node.bench.relay import Relay

LOGS = 100
OTHERS = ("XD", "XE", "XF", "XG", "XH", "XJ", "XM", "XN", "XO", "XP", "XQ", "XR", "XT", "XW", "XY")
BACKLOG_SECONDS = 300.0
RECONNECT_SECONDS = 30.0
RESIGNED_MS = 3_600_000
WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Milliseconds and bytes.

    Attributes:
        n: Connections measured, of each kind.
        logs: Logs that the peer holds.
        entries: Entries in all of them.
        p50_ms, p99_ms: Checkpoints held are the newest.
        bytes: On the wire, the largest.
        resigned_p50_ms, resigned_p99_ms: Every checkpoint was signed again meanwhile.
        resigned_bytes: On the wire, the largest.
    """

    n: int
    logs: int
    entries: int
    p50_ms: float
    p99_ms: float
    bytes: int
    resigned_p50_ms: float
    resigned_p99_ms: float
    resigned_bytes: int


def audiences(member: str) -> list[Audience]:
    """As many audiences as there are logs, each with the member and other States that are not there."""
    others = (pair for size in (1, 2) for pair in combinations(OTHERS, size))
    return [
        Audience(kind=AUDIENCE_KIND_NAMED_STATES, states=sorted((member, *each)))
        for each in islice(others, LOGS)
    ]


def measure(pair: Pair, count: int, progress: Progress) -> Reconnect:
    """Start the origin, take everything in once, and connect again `count` times.

    Args:
        pair: Filled for `audiences` of the follower, its origin not started.
        count: How many times, of each kind.
        progress: Told of them.

    Raises:
        BenchError: There was something new, or not as many logs as there should be.
    """
    pair.origin.start()
    try:
        return asyncio.run(_measure(pair, count, progress))
    except TimeoutError:
        raise BenchError("The origin did not tell in time that nothing is new.") from None


async def _measure(pair: Pair, count: int, progress: Progress) -> Reconnect:
    client = VerifyingClient(pair.verifier, pair.origin.state)
    async with Relay(pair.origin.endpoint) as relay:
        await _connect(pair, relay, client, [], BACKLOG_SECONDS)
        if len(client.trees) != LOGS:
            raise BenchError(f"The peer was sent {len(client.trees)} logs instead of {LOGS}.")
        current = await _again(pair, relay, client, 0, count, progress)
        resigned = await _again(pair, relay, client, RESIGNED_MS, count, progress)
    return Reconnect(
        count,
        LOGS,
        pair.filled,
        percentile(current.times_ms, 50),
        percentile(current.times_ms, 99),
        current.most_bytes,
        percentile(resigned.times_ms, 50),
        percentile(resigned.times_ms, 99),
        resigned.most_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Rounds:
    times_ms: list[float]
    most_bytes: int


async def _again(
    pair: Pair, relay: Relay, client: VerifyingClient, behind_ms: int, count: int, progress: Progress
) -> _Rounds:
    """Connect `count` times with what the client holds, its checkpoints so much older."""
    times, sizes = [], []
    for number in range(WARM_UP + count):
        relay.reset()
        elapsed, batches, carried = await _connect(
            pair, relay, client, client.cursors(behind_ms), RECONNECT_SECONDS
        )
        if batches != (LOGS if behind_ms else 0):
            raise BenchError(f"{batches} logs were told of instead of none or all.")
        if number >= WARM_UP:
            times.append(elapsed * 1000)
            sizes.append(carried)
            progress(1)
    return _Rounds(times, max(sizes))


async def _connect(
    pair: Pair,
    relay: Relay,
    client: VerifyingClient,
    cursors: list[federation_pb2.LogCursor],
    seconds: float,
) -> tuple[float, int, int]:
    """Connect and read to the end of the backlog: seconds, batches and bytes that it took."""
    request = federation_pb2.FollowRequest(cursors=cursors, roster_version=1, software="bench")
    shown = pair.peer_credentials(pair.follower.state)
    batches = 0
    begun = time.perf_counter()
    async with asyncio.timeout(seconds), grpc.aio.secure_channel(relay.endpoint, shown, SEPARATE) as channel:
        stub: federation_pb2_grpc.FederationServiceAsyncStub = federation_pb2_grpc.FederationServiceStub(
            channel
        )
        async for frame in stub.Follow(request):
            match frame.WhichOneof("frame"):
                case "batch":
                    client.take(frame.batch)
                    batches += 1
                case "caught_up":
                    return time.perf_counter() - begun, batches, relay.carried
    raise BenchError("The stream ended before its backlog did.")
