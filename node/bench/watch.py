"""The watch: how fast a registry loads it, and how long a new alert takes against everything in it.

- Each record is an arm with its serial; every tenth has an owner's name as well.
- Loading goes through RegistryService of a running node, over mTLS, in batches.
- Matching is the keeper's step on the database that the loading left, its commit included; each alert meets at least
  three records, so that hits are written as well. How often the keeper of a node looks is not part of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
from dief.v1 import codes_pb2, registry_pb2, registry_pb2_grpc, watch_pb2
from sqlalchemy import Connection, func, select

from node.alerts import project
from node.bench import samples
from node.bench.numbers import percentile
from node.bench.pair import BATCH, BenchError, BenchNode, Pair, Progress, event
from node.ops.clock import now_ms
from node.watch.hits import HIT
from node.watch.keeper import WatchKeeper

STREAM = "bench-watch"
NAMED_EVERY = 10
IN_FLIGHT = 2
CALL_SECONDS = 120.0
WARM_UP = 20
SERIALS = 3
"""Serials of a sample, each of them that of one record."""


@dataclass(frozen=True, slots=True)
class Watching:
    """What was measured.

    Attributes:
        n: Records loaded, each with a serial.
        names: How many of them have a name as well.
        records_per_s: Loaded in a second, from the first call to the last answer.
        node_cpu_us: Processor time that the node took for each, microseconds; None where the system does not tell.
        alerts: Alerts matched.
        p50_ms, p99_ms: Milliseconds that matching one takes.
    """

    n: int
    names: int
    records_per_s: float
    node_cpu_us: float | None
    alerts: int
    p50_ms: float
    p99_ms: float


def measure(pair: Pair, records: int, alerts: int, loading: Progress, matching: Progress) -> Watching:
    """Load the origin's watch while it runs, then match alerts while it is stopped.

    Args:
        pair: Neither runs.
        records: How many records; at least three for each alert.
        alerts: How many alerts.
        loading: Told of records.
        matching: Told of alerts.

    Raises:
        BenchError: A record was not taken, or an alert did not meet the records that it must meet.
    """
    pair.origin.start()
    try:
        before = pair.origin.cpu_seconds()
        begun = time.perf_counter()
        load(pair.origin, records, loading)
        elapsed = time.perf_counter() - begun
        after = pair.origin.cpu_seconds()
    finally:
        pair.origin.stop()
    times = match(pair, records, alerts, matching)
    return Watching(
        n=records,
        names=-(-records // NAMED_EVERY),
        records_per_s=records / elapsed,
        node_cpu_us=None if before is None or after is None else (after - before) / records * 1e6,
        alerts=alerts,
        p50_ms=percentile(times, 50),
        p99_ms=percentile(times, 99),
    )


def load(node: BenchNode, records: int, progress: Progress) -> None:
    """Hand in records by batches, two of them on their way at a time."""
    with node.national("registry") as channel:
        stub = registry_pb2_grpc.RegistryServiceStub(channel)
        under_way: list[grpc.Future[registry_pb2.SubmitRecordsResponse]] = []
        for request in _requests(records):
            if len(under_way) == IN_FLIGHT:
                _settle(under_way.pop(0), progress)
            under_way.append(stub.SubmitRecords.future(request, timeout=CALL_SECONDS))
        for call in under_way:
            _settle(call, progress)


def match(pair: Pair, records: int, alerts: int, progress: Progress) -> list[float]:
    """Milliseconds that each of so many new alerts takes against the records; the origin does not run."""
    whom = samples.audience()
    numbers = random.Random(1).sample(range(records // SERIALS), WARM_UP + alerts)  # noqa: S311 - no secret
    times = []
    with pair.writing() as (store, writer):
        keeper = WatchKeeper(store=store, origin_current=lambda _origin: True, now=now_ms)
        with store.write() as conn:
            while keeper.step(conn):
                pass
        for place, number in enumerate(numbers):
            with store.write() as conn:
                project.apply(conn, writer.append(conn, whom, [event(number, whom)]))
            begun = time.perf_counter()
            with store.write() as conn:
                keeper.step(conn)
            elapsed = time.perf_counter() - begun
            if place >= WARM_UP:
                times.append(elapsed * 1000)
                progress(1)
        with store.read() as conn:
            if _hits(conn) < len(numbers) * SERIALS:
                raise BenchError("An alert did not meet a record that has its serial.")
    return times


def record(number: int) -> registry_pb2.RegistryRecord:
    """The arm that bears a serial of a sample."""
    made = registry_pb2.RegistryRecord(key=f"{number:010d}")
    watched = made.watch
    watched.kind = watch_pb2.WATCH_RECORD_KIND_HOLDING
    watched.reference = f"ARM {number}"
    watched.terms.add(
        kind=codes_pb2.INDICATOR_KIND_SERIAL,
        value=samples.serial_of(number // SERIALS, number % SERIALS),
        context="Example Arms",
        field="serial",
    )
    if number % NAMED_EVERY == 0:
        watched.terms.add(
            kind=codes_pb2.INDICATOR_KIND_PARTY_NAME,
            value=samples.party_of(number, number % SERIALS),
            context="XB",
            field="owner",
        )
    return made


def _requests(records: int) -> Iterator[registry_pb2.SubmitRecordsRequest]:
    for start in range(0, records, BATCH):
        stop = min(start + BATCH, records)
        yield registry_pb2.SubmitRecordsRequest(
            stream=STREAM, records=map(record, range(start, stop)), cursor=b"%d" % stop
        )


def _settle(call: grpc.Future[registry_pb2.SubmitRecordsResponse], progress: Progress) -> None:
    outcomes = call.result().outcomes
    for outcome in outcomes:
        if outcome.result != registry_pb2.RECORD_RESULT_ACCEPTED or outcome.not_watched:
            raise BenchError("The node did not take a record under watch.")
    progress(len(outcomes))


def _hits(conn: Connection) -> int:
    return int(conn.execute(select(func.count()).select_from(HIT)).scalar_one())
