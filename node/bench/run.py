"""Measurements in order, with what each promises."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from node.bench import catchup, follow, limit, live, load, reconnect, screening, watch
from node.bench.numbers import machine
from node.bench.pair import BenchError, Pair, Progress
from node.identity import dsse, pem

NAIVE_ALERTS = 600
LIVE_ALERTS = 300
APPLICATIONS = 300
FOLLOW_ALERTS = 100
VERIFYING = 99
RECONNECTS = 50
WATCHED_ALERTS = 300
MEASUREMENTS = ("catchup", "live", "screen", "trace", "follow", "reconnect", "watch", "load")
SMALL = {"follow": 500, "reconnect": 10_000}
"""Alerts that are enough where all is measured: a hundred followers each take them in, a hundred logs share them."""

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
def pair(keep: bool, guests: Sequence[str] = ()) -> Iterator[Pair]:
    """Two nodes in a temporary folder, ended and removed afterwards.

    Args:
        keep: Leave the folder.
        guests: Further States of the roster.
    """
    folder = Path(tempfile.mkdtemp(prefix="dief-bench-"))
    made = None
    try:
        made = Pair(folder, guests)
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
    measurements: Sequence[str], alerts: int, task: Task, *, keep: bool = False, registry: str | None = None
) -> dict[str, dict[str, Any]]:
    """Measure.

    Args:
        measurements: Some of MEASUREMENTS.
        alerts: How many the origin holds before, or as many records under watch and rows of the registry; where several
            are measured, at most SMALL of those named there.
        task: Tells of progress.
        keep: Leave the nodes' folder.
        registry: URL of the database in which `load` makes its registry; None: SQLite.

    Returns:
        Figures of each measurement.

    Raises:
        BenchError: A node failed.
    """
    found: dict[str, dict[str, Any]] = {}
    if wanted := set(measurements) & {"catchup", "live", "screen", "trace"}:
        with pair(keep) as nodes:
            found |= _with_two(nodes, wanted, alerts, task)
    several = len(measurements) > 1
    if "follow" in measurements:
        held = min(alerts, SMALL["follow"]) if several else alerts
        with pair(keep, follow.GUESTS) as nodes:
            nodes.fill(held, task("Filling the origin's log", held))
            job = task("Releasing to a hundred", FOLLOW_ALERTS)
            found["follow"] = asdict(follow.measure(nodes, VERIFYING, FOLLOW_ALERTS, job))
    if "reconnect" in measurements:
        held = min(alerts, SMALL["reconnect"]) if several else alerts
        with pair(keep) as nodes:
            whom = reconnect.audiences(nodes.follower.state)
            nodes.fill(held, task("Filling a hundred logs", held), whom)
            again = reconnect.measure(nodes, RECONNECTS, task("Connecting again", 2 * RECONNECTS))
            found["reconnect"] = asdict(again)
    if "watch" in measurements:
        with pair(keep) as nodes:
            begin, end = task("Loading the watch", alerts), task("Matching new alerts", WATCHED_ALERTS)
            found["watch"] = asdict(watch.measure(nodes, alerts, WATCHED_ALERTS, begin, end))
    if "load" in measurements:
        with pair(keep) as nodes:
            jobs = load.Jobs(
                task("Filling the registry", alerts),
                task("Loading the registry", alerts),
                task("Limit of loading", alerts),
            )
            found["load"] = asdict(load.measure(nodes, registry, alerts, jobs))
    return {name: {**found[name], "machine": machine()} for name in MEASUREMENTS if name in found}


def _with_two(nodes: Pair, wanted: Collection[str], alerts: int, task: Task) -> dict[str, dict[str, Any]]:
    """What is measured with one log: a node that is only asked takes no copy first."""
    found: dict[str, dict[str, Any]] = {}
    nodes.fill(alerts, task("Filling the origin's log", alerts))
    copied = bool({"catchup", "live"} & set(wanted))
    asked = nodes.follower if copied else nodes.origin
    if copied:
        caught = catchup.measure(nodes, task("Catching up", alerts))
    else:
        nodes.origin.start()
    if "live" in wanted:
        found["live"] = asdict(live.measure(nodes, LIVE_ALERTS, task("Releasing live", LIVE_ALERTS)))
    if "screen" in wanted:
        job = task("Screening applications", APPLICATIONS)
        found["screen"] = asdict(screening.measure(asked, alerts, APPLICATIONS, job))
    if "trace" in wanted:
        job = task("Tracing serials", APPLICATIONS)
        found["trace"] = asdict(screening.trace(asked, alerts, APPLICATIONS, job))
    if "catchup" in wanted:
        nodes.follower.stop()
        found["catchup"] = _beside_limits(nodes, caught, task)
    return found


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
    if traced := found.get("trace"):
        listed.append(Goal("trace", "p50_ms", traced["p50_ms"], 3))
    if told := found.get("follow"):
        listed.append(Goal("follow", "p99_ms", told["p99_ms"], 500))
        if told["mb_per_follower"] is not None:
            listed.append(Goal("follow", "mb_per_follower", told["mb_per_follower"], 1))
    if again := found.get("reconnect"):
        listed.append(Goal("reconnect", "p50_ms", again["p50_ms"], 50))
        listed.append(Goal("reconnect", "bytes", again["bytes"], 20_000))
        listed.append(Goal("reconnect", "resigned_bytes", again["resigned_bytes"], 45_000))
    if watched := found.get("watch"):
        listed.append(Goal("watch", "records_per_s", watched["records_per_s"], 20_000, at_least=True))
        listed.append(Goal("watch", "p99_ms", watched["p99_ms"], 50))
    if loaded := found.get("load"):
        listed.append(Goal("load", "ratio_to_limit", loaded["ratio_to_limit"], 0.6, at_least=True))
        listed.append(Goal("load", "rows_per_s", loaded["rows_per_s"], 10_000, at_least=True))
        if loaded["adapter_peak_mb"] is not None:
            listed.append(Goal("load", "adapter_peak_mb", loaded["adapter_peak_mb"], 300))
        listed.append(Goal("load", "later_seconds", loaded["later_seconds"], 2))
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
    }
