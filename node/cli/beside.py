"""Adapters as processes beside the node: `[adapters]` of the settings, for those who need no second network zone.

Rules:
- An adapter is a process of its own that speaks to the national listener like any other: it can neither stop the node
  nor see more than a registry may (I12).
- One that ends is started again after a growing wait; all end with the node.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from node.ops.counters import refused
from node.ops.settings import Settings

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
STEADY_S = 60.0
"""One that ran so long begins again with the first wait."""
END_S = 30.0

log = structlog.get_logger(__name__)


@contextmanager
def adapters(settings: Settings, config: Path) -> Iterator[None]:
    """Run the adapters of the settings while the block runs.

    Args:
        settings: The node's.
        config: Their file, which the adapters read for `[clients.registry]`.
    """
    stop = threading.Event()
    threads = [
        threading.Thread(target=_keep, args=(_command(settings, mapping, config), mapping.name, stop))
        for mapping in settings.adapters.mappings
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _command(settings: Settings, mapping: Path, config: Path) -> list[str]:
    path = str(settings.path(mapping))
    run = [sys.executable, "-m", "node.cli", "adapter", "run", path, "--every", settings.adapters.every]
    return [*run, "--config", str(config), *(["--json"] if settings.logging.format == "json" else [])]


def _keep(command: Sequence[str], name: str, stop: threading.Event) -> None:
    wait = FIRST_WAIT_S
    while not stop.is_set():
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        ended, ran = _watched(process, stop)
        if stop.is_set():
            return
        wait = FIRST_WAIT_S if ran > STEADY_S else min(wait * 2, LONGEST_WAIT_S)
        refused.inc("ADAPTER_ENDED")
        log.error("adapter_ended", mapping=name, code=ended, again_in_seconds=wait)
        stop.wait(wait)


def _watched(process: subprocess.Popen[bytes], stop: threading.Event) -> tuple[int, float]:
    """Wait for the end of a process, its own or because the node ends; its code, and how long it ran."""
    seconds = 0.0
    while True:
        try:
            return process.wait(0.5), seconds
        except subprocess.TimeoutExpired:
            seconds += 0.5
        if stop.is_set():
            process.terminate()
            try:
                return process.wait(END_S), seconds
            except subprocess.TimeoutExpired:
                process.kill()
                return process.wait(), seconds
