"""First load of a registry into the watch, by a real adapter into a real node, and a run for what changed later.

The adapter runs as `dief adapter run --once`, as a State starts it: a mapping, three PEM files and an address.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from node.bench import load_limit
from node.bench.load_registry import MAPPING, URL_ENV, Registry, registry
from node.bench.pair import BenchError, BenchNode, Pair, Progress, environment, peak_mb

CHANGES = 100
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured.

    Attributes:
        n: Rows of the registry, each of them watched.
        registry: "sqlite" or "postgresql".
        rows_per_s: In the first run, from its first call to its last row.
        limit_per_s: What the same parts could do at best.
        ratio_to_limit: The one by the other.
        adapter_peak_mb: Memory that the adapter had at most; None where the system does not tell.
        adapter_cpu_us: Processor time that the adapter took for a row, microseconds, its start included.
        node_cpu_us: The same of the node; None where the system does not tell.
        changes: Rows changed before the later run.
        later_seconds: How long that run took.
        later_whole_seconds: The same with the start and the end of its process.
    """

    n: int
    registry: str
    rows_per_s: float
    limit_per_s: float
    ratio_to_limit: float
    adapter_peak_mb: float | None
    adapter_cpu_us: float
    node_cpu_us: float | None
    changes: int
    later_seconds: float
    later_whole_seconds: float


@dataclass(frozen=True, slots=True)
class Jobs:
    """Told of rows that the registry, the node and the receiver of the limit have."""

    filling: Progress
    loading: Progress
    limiting: Progress


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of the adapter: how long it says it took, and what the system says of its process."""

    seconds: float
    whole_seconds: float
    cpu_seconds: float
    peak_mb: float | None


def measure(pair: Pair, url: str | None, rows: int, jobs: Jobs) -> Load:
    """Load a registry of so many rows into the origin, change some and run again, and measure the limit.

    Args:
        pair: Neither runs.
        url: The registry's database; None: a SQLite file.
        rows: How many rows, at least CHANGES.
        jobs: Told of rows.

    Raises:
        BenchError: A row did not arrive, or the database can not be used.
    """
    origin = pair.origin
    with registry(url, pair.folder, rows, jobs.filling) as held:
        origin.start()
        try:
            before = origin.cpu_seconds()
            first = _run(origin, held, pair.folder, rows, jobs.loading)
            after = origin.cpu_seconds()
            held.change(CHANGES)
            later = _run(origin, held, pair.folder, CHANGES)
        finally:
            origin.stop()
        best = load_limit.limit_per_s(origin, held, pair.folder, jobs.limiting)
    rows_per_s = rows / first.seconds
    return Load(
        n=rows,
        registry=held.engine.dialect.name,
        rows_per_s=rows_per_s,
        limit_per_s=best,
        ratio_to_limit=rows_per_s / best,
        adapter_peak_mb=first.peak_mb,
        adapter_cpu_us=first.cpu_seconds / rows * 1e6,
        node_cpu_us=None if before is None or after is None else (after - before) / rows * 1e6,
        changes=CHANGES,
        later_seconds=later.seconds,
        later_whole_seconds=later.whole_seconds,
    )


def _run(
    node: BenchNode, held: Registry, folder: Path, wanted: int, progress: Progress | None = None
) -> _Run:
    """One run, which must bring so many rows; its process is watched from outside."""
    mapping = folder / "bench.toml"
    mapping.write_text(MAPPING)
    output, log = folder / "adapter.out", folder / "adapter.log"
    peak = None
    begun = time.perf_counter()
    with output.open("wb") as out, log.open("wb") as errors, closing(node.watch()) as database:
        process = subprocess.Popen(
            _command(node, mapping), stdout=out, stderr=errors, env=environment() | {URL_ENV: held.url}
        )
        loaded = 0
        while True:
            peak = peak_mb(process.pid) or peak
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            if progress is not None:
                (newest,) = database.execute("SELECT coalesce(max(id), 0) FROM watch_record").fetchone()
                progress(newest - loaded)
                loaded = newest
            time.sleep(POLL_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    whole = time.perf_counter() - begun
    if process.returncode:
        raise BenchError(f"The adapter failed: {log.read_text(errors='replace').strip()[-300:]}")
    report = json.loads(output.read_text())
    if report["accepted"] != wanted:
        raise BenchError(f"The adapter brought {report['accepted']} rows and not {wanted}.")
    return _Run(report["seconds"], whole, usage.ru_utime + usage.ru_stime, peak)


def _command(node: BenchNode, mapping: Path) -> Sequence[str]:
    pki = node.home / "pki"
    return [
        *(sys.executable, "-m", "node.cli", "adapter", "run", str(mapping), "--once", "--json"),
        *("--node", node.national_endpoint, "--ca", str(pki / "national-ca.pem")),
        *("--cert", str(pki / "registry.pem"), "--key", str(pki / "registry.key")),
    ]
