"""The README's tour, run literally; only the ports are others, because a machine may be using them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.nodes import free_port

README = Path(__file__).parents[2] / "README.md"
TOUR = re.compile(r"## Two nodes by hand.*?```sh\n(.*?)```", re.DOTALL)
PORTS = ("7443", "7444", "8443", "8444")


GUIDE = README.parent / "registry_adapters" / "README.md"
FIRST_HIT = re.compile(r"## From a read-only account to the first hit.*?```sh\n(.*?)```", re.DOTALL)


def block(pattern: re.Pattern[str], path: Path) -> str:
    found = pattern.search(path.read_text(encoding="utf-8"))
    assert found is not None
    return found.group(1)


def run(tmp_path: Path, script: str) -> str:
    """Run a tour in an empty folder, with other ports, and with a wait where a person would look again."""
    for port in PORTS:
        script = script.replace(port, str(free_port()))
    commands = tmp_path / "bin"
    commands.mkdir()
    launcher = commands / "dief"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m node.cli "$@"\n')
    launcher.chmod(0o755)
    waiting = (
        "wait_up() { for i in $(seq 100); do dief status --config $1 >/dev/null 2>&1 && return; done; }\n"
    )
    for before, wait in WAITS.items():
        script = script.replace(before, f"{wait}\n{before}")
    result = subprocess.run(
        ["bash", "-c", f"set -eu\n{waiting}{script}"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(README.parent)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    subprocess.run(["pkill", "-f", str(tmp_path)], check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


WAITS = {
    "# First trust is explicit": "wait_up xa/dief.toml; wait_up xb/dief.toml",
    "# At XB, a moment later.": (
        "arrived() { dief alert list --config xb/dief.toml | grep -q alerts/; }\n"
        "for i in $(seq 100); do arrived && break; done"
    ),
    "# A moment later, XB knows.": (
        "hit() { dief hit list --config xb/dief.toml | grep -q hits/; }\n"
        "for i in $(seq 100); do hit && break; done"
    ),
}


@pytest.mark.timeout(420)
def test_every_command_of_the_readmes_tour_works_as_written(tmp_path: Path) -> None:
    told = run(tmp_path, block(TOUR, README))
    assert "Released as alerts/XA/" in told
    assert "Lead: the serial number is the same." in told
    assert "1 alerts, each proven against a checkpoint signed by XA." in told
    assert "Withdrawn: alerts/XA/" in told


@pytest.mark.timeout(420)
def test_the_guide_leads_from_a_read_only_account_to_the_first_hit(tmp_path: Path) -> None:
    tour = block(TOUR, README)
    nodes = tour[: tour.index("# An officer drafts")] + "dief alert template > alert.toml\n"
    told = run(tmp_path, f"{nodes}{block(FIRST_HIT, GUIDE)}kill %1 %2\n")
    assert re.search(r"^watched +2$", told, re.MULTILINE)
    assert re.search(r"^HIT \| 1 \| (serial; exporter|exporter; serial) \| ", told, re.MULTILINE)
    assert "told the registry: hits 1" in told
    assert re.search(r"^hits waiting +0$", told, re.MULTILINE)
