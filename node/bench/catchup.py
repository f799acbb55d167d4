"""Catch-up: from the moment that an empty follower may connect until it holds, shows and finds everything."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from node.bench.pair import BenchError, Pair, Progress

POLL_SECONDS = 0.02
STALL_SECONDS = 60
REST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class CatchUp:
    """How it went.

    Attributes:
        n: Entries.
        seconds: From admission to the last entry's commit.
        resident_mb: Memory of the follower a second after, None where the system does not tell.
    """

    n: int
    seconds: float
    resident_mb: float | None

    @property
    def entries_per_s(self) -> float:
        """Entries a second."""
        return self.n / self.seconds


def measure(pair: Pair, progress: Progress) -> CatchUp:
    """Start both nodes, admit, wait until all is held; both go on running.

    Raises:
        BenchError: It stood still, or not everything could be shown.
    """
    pair.origin.start()
    pair.follower.start()
    watch = pair.follower.watch()
    begun = time.perf_counter()
    pair.admit()
    held, moved = 0, begun
    while held < pair.filled:
        time.sleep(POLL_SECONDS)
        now, found = time.perf_counter(), _projected(watch)
        if found > held:
            progress(found - held)
            held, moved = found, now
        elif now - moved > STALL_SECONDS:
            raise BenchError(f"The follower stood still at {held} of {pair.filled} entries.")
    seconds = time.perf_counter() - begun
    _check(watch, pair.filled)
    watch.close()
    time.sleep(REST_SECONDS)
    return CatchUp(pair.filled, seconds, pair.follower.resident_mb())


def _projected(watch: sqlite3.Connection) -> int:
    return int(watch.execute("SELECT coalesce(max(id), 0) FROM alert").fetchone()[0])


def _check(watch: sqlite3.Connection, wanted: int) -> None:
    shown = watch.execute("SELECT count(*) FROM alert WHERE normal_form > 0").fetchone()[0]
    refused = watch.execute("SELECT count(*) FROM unprojected").fetchone()[0]
    if shown != wanted or refused:
        raise BenchError(f"Of {wanted} alerts {shown} are shown and {refused} were refused.")
