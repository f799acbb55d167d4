"""Screening: one application against everything that the follower holds, through DeskService."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from dief.v1 import codes_pb2, desk_pb2, desk_pb2_grpc, handling_pb2

from node.bench import samples
from node.bench.numbers import percentile
from node.bench.pair import BenchError, Pair, Progress

IDENTIFIERS = 10
NAMES = 6
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Screening:
    """Milliseconds of one application, over `n` of them against `alerts` alerts."""

    n: int
    alerts: int
    p50_ms: float
    p99_ms: float


def measure(pair: Pair, count: int, progress: Progress) -> Screening:
    """Screen `count` applications one after the other; every fourth term is one that alerts have."""
    chance = random.Random(1)  # noqa: S311 - which samples are asked for is no secret
    times = []
    with pair.follower.national("officer") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        for number in range(WARM_UP + count):
            request, wanted = _application(chance, pair.filled)
            begun = time.perf_counter()
            answer = stub.Screen(request, timeout=30)
            elapsed = time.perf_counter() - begun
            found = {hit.term for hit in answer.hits}
            if not wanted <= found:
                raise BenchError("A term that an alert has was not found.")
            if number >= WARM_UP:
                times.append(elapsed * 1000)
                progress(1)
    return Screening(count, pair.filled, percentile(times, 50), percentile(times, 99))


def _application(chance: random.Random, held: int) -> tuple[desk_pb2.ScreenRequest, set[int]]:
    """Identifiers and names, and the positions of those that alerts have."""
    request = desk_pb2.ScreenRequest(purpose=handling_pb2.PURPOSE_LICENSING)
    wanted = set()
    kinds: list[tuple[codes_pb2.IndicatorKind.ValueType, Callable[[int, int], str]]] = [
        (codes_pb2.INDICATOR_KIND_SERIAL, samples.serial_of),
        (codes_pb2.INDICATOR_KIND_PARTY_IDENTIFIER, samples.identifier_of),
    ]
    terms = [kinds[position % 2] for position in range(IDENTIFIERS)]
    terms += [(codes_pb2.INDICATOR_KIND_PARTY_NAME, samples.party_of)] * NAMES
    for position, (kind, make) in enumerate(terms):
        known = position % 4 == 0
        i = chance.randrange(held) + (0 if known else 5_000_000)
        request.terms.add(kind=kind, value=make(i, chance.randrange(3)))
        if known:
            wanted.add(position)
    return request, wanted
