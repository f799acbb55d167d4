"""Measurements in order, with what each promises."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from node.bench import catchup, limit, live, screening
from node.bench.numbers import machine
from node.bench.pair import BenchError, Pair, Progress
from node.identity import dsse, pem

NAIVE_ALERTS = 600
LIVE_ALERTS = 300
APPLICATIONS = 300

Task = Callable[[str, int], Progress]
"""Begins a step of so many things, and how its progress is told."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One promise and what was measured.

    Attributes:
        path: Which measurement.
        figure: Key of the figure.
        measured: Value.
        goal: Bound.
        at_least: Whether the bound is a lower one.
    """

    path: str
    figure: str
    measured: float
    goal: float
    at_least: bool = False

    @property
    def ok(self) -> bool:
        """Whether the promise is kept."""
        return self.measured >= self.goal if self.at_least else self.measured <= self.goal


@contextmanager
def pair(keep: bool) -> Iterator[Pair]:
    """Two nodes in a temporary folder, ended and removed afterwards.

    Args:
        keep: Leave the folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="dief-bench-"))
    made = None
    try:
        made = Pair(folder)
        yield made
    except BenchError as error:
        if keep:
            raise BenchError(error.diagnosis, f"Read {folder}/*/node.log.") from error
        raise
    finally:
        if made is not None:
            made.stop()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def run(
    measurements: Sequence[str], alerts: int, task: Task, *, keep: bool = False
) -> dict[str, dict[str, Any]]:
    """Measure.

    Args:
        measurements: Of "catchup", "live" and "screen".
        alerts: How many the origin holds before the follower may connect.
        task: Tells of progress.
        keep: Leave the nodes' folder.

    Returns:
        Figures of each measurement.

    Raises:
        BenchError: A node failed.
    """
    found: dict[str, dict[str, Any]] = {}
    with pair(keep) as nodes:
        nodes.fill(alerts, task("Filling the origin's log", alerts))
        caught = catchup.measure(nodes, task("Catching up", alerts))
        if "live" in measurements:
            figures = live.measure(nodes, LIVE_ALERTS, task("Releasing live", LIVE_ALERTS))
            found["live"] = {**asdict(figures), "machine": machine()}
        if "screen" in measurements:
            shown = screening.measure(nodes, APPLICATIONS, task("Screening applications", APPLICATIONS))
            found["screen"] = {**asdict(shown), "machine": machine()}
        if "catchup" in measurements:
            nodes.follower.stop()
            found["catchup"] = _beside_limits(nodes, caught, task)
    return {name: found[name] for name in ("catchup", "live", "screen") if name in found}


def goals(found: dict[str, dict[str, Any]]) -> list[Goal]:
    """The promises about what was measured."""
    listed: list[Goal] = []
    if caught := found.get("catchup"):
        listed.append(Goal("catchup", "ratio_to_limit", caught["ratio_to_limit"], 0.6, at_least=True))
        listed.append(Goal("catchup", "ratio_to_naive", caught["ratio_to_naive"], 25, at_least=True))
        if caught["resident_mb"] is not None:
            listed.append(Goal("catchup", "resident_mb", caught["resident_mb"], 200))
    if travelled := found.get("live"):
        listed.append(Goal("live", "p50_ms", travelled["p50_ms"], 15))
        listed.append(Goal("live", "p99_ms", travelled["p99_ms"], 60))
    if screened := found.get("screen"):
        listed.append(Goal("screen", "p50_ms", screened["p50_ms"], 10))
        listed.append(Goal("screen", "p99_ms", screened["p99_ms"], 50))
    return listed


def _beside_limits(nodes: Pair, caught: catchup.CatchUp, task: Task) -> dict[str, Any]:
    key = pem.read_ed25519_key(nodes.origin.home / "pki" / "log.key")
    verifier = limit.origin_verifier(dsse.public_bytes(key))
    best = limit.limit_per_s(nodes, verifier, task("Composite limit", caught.n))
    naive = limit.naive_per_s(nodes, NAIVE_ALERTS, task("Naive design", NAIVE_ALERTS))
    return {
        "entries_per_s": caught.entries_per_s,
        "limit_per_s": best,
        "ratio_to_limit": caught.entries_per_s / best,
        "naive_per_s": naive,
        "ratio_to_naive": caught.entries_per_s / naive,
        "n": caught.n,
        "seconds": caught.seconds,
        "resident_mb": caught.resident_mb,
        "machine": machine(),
    }
