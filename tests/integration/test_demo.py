"""`dief demo` from the outside: every step holds, nothing is left behind, and a broken step is not hidden."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import until

pytestmark = pytest.mark.timeout(900)


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node.cli", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def processes_naming(folder: Path) -> str:
    """Ids of processes whose command names a folder."""
    found = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True, check=False)
    return found.stdout


def test_the_demonstration_holds_step_by_step_and_leaves_nothing_behind(tmp_path: Path) -> None:
    result = run(tmp_path, "--json")
    steps = json.loads(result.stdout)
    failed = [f"{step['name']}: {step['detail']}" for step in steps if not step["ok"]]
    assert not failed, "\n".join(failed)
    assert result.returncode == 0
    assert result.stderr == ""
    assert len(steps) == 13
    assert all(step["detail"] and step["ms"] >= 0 for step in steps)
    assert list(tmp_path.iterdir()) == []
    assert processes_naming(tmp_path) == ""


def test_a_step_that_fails_ends_the_demonstration_with_an_exit_status(tmp_path: Path) -> None:
    """No home can be made below /proc, so the first step can not hold."""
    result = run(tmp_path, "--dir", "/proc/dief-demo", "--json")
    assert result.returncode == 1
    assert [(step["name"], step["ok"]) for step in json.loads(result.stdout)] == [("nodes", False)]


def test_a_folder_that_is_not_empty_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    result = run(tmp_path, "--dir", str(tmp_path))
    assert result.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_ctrl_c_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    """Twice, because somebody is impatient."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "node.cli", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    until(lambda: processes_naming(tmp_path), "a node being started", seconds=300, every=0.1)
    demo.send_signal(signal.SIGINT)
    demo.send_signal(signal.SIGINT)
    _, stderr = demo.communicate(timeout=300)
    assert demo.returncode != 0
    assert b"Traceback" not in stderr
    assert processes_naming(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []
