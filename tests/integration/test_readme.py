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


@pytest.mark.timeout(180)
def test_every_command_of_the_readmes_tour_works_as_written(tmp_path: Path) -> None:
    found = TOUR.search(README.read_text(encoding="utf-8"))
    assert found is not None
    script = found.group(1)
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
    script = script.replace(
        "# First trust is explicit", "wait_up xa/dief.toml; wait_up xb/dief.toml\n# First trust is explicit"
    )
    script = script.replace(
        "# At XB, a moment later.",
        "arrived() { dief alert list --config xb/dief.toml | grep -q alerts/; }\n"
        "for i in $(seq 100); do arrived && break; done",
    )
    result = subprocess.run(
        ["bash", "-c", f"set -eu\n{waiting}{script}"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(README.parent)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    subprocess.run(["pkill", "-f", str(tmp_path)], check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Released as alerts/XA/" in result.stdout
    assert "Lead: the serial number is the same." in result.stdout
    assert "1 alerts, each proven against a checkpoint signed by XA." in result.stdout
    assert "Withdrawn: alerts/XA/" in result.stdout
