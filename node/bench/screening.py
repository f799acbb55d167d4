"""Screening through DeskService: one application, or one serial, against everything that a node holds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from dief.v1 import codes_pb2, desk_pb2, desk_pb2_grpc, handling_pb2

from node.bench import samples
from node.bench.numbers import percentile
from node.bench.pair import BenchError, BenchNode, Progress

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


def measure(node: BenchNode, held: int, count: int, progress: Progress) -> Screening:
    """Screen `count` applications one after the other; every fourth term is one that alerts have.

    Args:
        node: Running, with the samples.
        held: How many samples it has.
        count: How many applications.
        progress: Told of them.

    Raises:
        BenchError: A term that an alert has was not found.
    """
    return _measure(node, _application, held, count, progress)


def trace(node: BenchNode, held: int, count: int, progress: Progress) -> Screening:
    """Ask `count` times for one serial that an alert has, written as in other papers: blanks, signs, small letters.

    Args:
        node: Running, with the samples.
        held: How many samples it has.
        count: How many questions.
        progress: Told of them.

    Raises:
        BenchError: The serial was not found.
    """
    return _measure(node, _serial, held, count, progress)


Asked = Callable[[random.Random, int], tuple[desk_pb2.ScreenRequest, set[int]]]
"""Makes a question, and the positions of the terms that alerts have."""


def _measure(node: BenchNode, ask: Asked, held: int, count: int, progress: Progress) -> Screening:
    chance = random.Random(1)  # noqa: S311 - which samples are asked for is no secret
    times = []
    with node.national("officer") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        for number in range(WARM_UP + count):
            request, wanted = ask(chance, held)
            begun = time.perf_counter()
            answer = stub.Screen(request, timeout=30)
            elapsed = time.perf_counter() - begun
            found = {hit.term for hit in answer.hits}
            if not wanted <= found:
                raise BenchError("A term that an alert has was not found.")
            if number >= WARM_UP:
                times.append(elapsed * 1000)
                progress(1)
    return Screening(count, held, percentile(times, 50), percentile(times, 99))


def _serial(chance: random.Random, held: int) -> tuple[desk_pb2.ScreenRequest, set[int]]:
    """One serial of a sample, written in another way."""
    request = desk_pb2.ScreenRequest(purpose=handling_pb2.PURPOSE_CRIMINAL_INVESTIGATION)
    serial = samples.serial_of(chance.randrange(held), chance.randrange(3))
    value = f"{serial[:2].lower()}-{serial[2:6]} {serial[6:]}"
    request.terms.add(kind=codes_pb2.INDICATOR_KIND_SERIAL, value=value)
    return request, {0}


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
