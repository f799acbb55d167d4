"""Live: a registry hands in a record, the policy releases it, and the peer can screen it.

Both databases are read in turn while the record is on its way: the figure is the time between the moments at which
its commit can be seen at the origin and at the peer.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from dataclasses import dataclass

from dief.v1 import draft_pb2, registry_pb2, registry_pb2_grpc

from node.bench.numbers import percentile
from node.bench.pair import BenchError, Pair, Progress
from node.bench.samples import sample_alert

STREAM = "bench"
POLL_SECONDS = 0.0002
ARRIVAL_SECONDS = 20.0
WARM_UP = 20
FIRST_NUMBER = 50_000_000
"""Samples handed in live are others than those of the catch-up."""


@dataclass(frozen=True, slots=True)
class Live:
    """Milliseconds.

    Attributes:
        n: Alerts measured.
        p50_ms, p99_ms: From the commit at the origin to commit and index at the peer.
        whole_p50_ms, whole_p99_ms: The same from handing the record in.
    """

    n: int
    p50_ms: float
    p99_ms: float
    whole_p50_ms: float
    whole_p99_ms: float


def measure(pair: Pair, count: int, progress: Progress) -> Live:
    """Hand in `count` records one after the other while both nodes run and the follower is live."""
    origin, follower = pair.origin.watch(), pair.follower.watch()
    travels: list[float] = []
    wholes: list[float] = []
    with pair.origin.national("registry") as channel:
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        for number in range(WARM_UP + count):
            travel, whole = _one(stub, origin, follower, number)
            if number >= WARM_UP:
                travels.append(travel * 1000)
                wholes.append(whole * 1000)
                progress(1)
    origin.close()
    follower.close()
    return Live(
        count,
        percentile(travels, 50),
        percentile(travels, 99),
        percentile(wholes, 50),
        percentile(wholes, 99),
    )


def _one(
    stub: registry_pb2_grpc.RegistryServiceStub,
    origin: sqlite3.Connection,
    follower: sqlite3.Connection,
    number: int,
) -> tuple[float, float]:
    here, there = _newest(origin), _newest(follower)
    begun = time.perf_counter()
    answer = stub.SubmitRecords.future(record(number), timeout=ARRIVAL_SECONDS)
    committed = _wait(origin, here, begun)
    arrived = _wait(follower, there, begun)
    check(answer.result())
    return arrived - committed, arrived - begun


def record(number: int) -> registry_pb2.SubmitRecordsRequest:
    """A registry's request to publish one more sample."""
    alert = sample_alert(FIRST_NUMBER + number)
    alert.ClearField("name")
    alert.ClearField("revision")
    draft = draft_pb2.DraftInput(action=draft_pb2.DRAFT_ACTION_PUBLISH, alert=alert)
    digest = hashlib.sha256(alert.SerializeToString()).digest()
    made = registry_pb2.RegistryRecord(key=str(number), content_hash=digest, draft=draft)
    return registry_pb2.SubmitRecordsRequest(stream=STREAM, records=[made], cursor=b"%d" % number)


def check(answer: registry_pb2.SubmitRecordsResponse) -> None:
    """Whether the origin took a record.

    Raises:
        BenchError: It did not.
    """
    outcome = answer.outcomes[0]
    if outcome.result != registry_pb2.RECORD_RESULT_ACCEPTED:
        raise BenchError(f"The origin refused the record: {outcome.error.message}")


def _newest(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT coalesce(max(id), 0) FROM alert").fetchone()[0])


def _wait(database: sqlite3.Connection, before: int, begun: float) -> float:
    """The moment at which a newer alert can be read."""
    while _newest(database) == before:
        if time.perf_counter() - begun > ARRIVAL_SECONDS:
            raise BenchError(f"An alert did not arrive within {ARRIVAL_SECONDS:.0f} s.")
        time.sleep(POLL_SECONDS)
    return time.perf_counter()
