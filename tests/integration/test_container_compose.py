"""deploy/try.sh and deploy/compose.yaml as a person types them: two States and an adapter, up and down again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.containers import ROOT, Engine

pytestmark = pytest.mark.timeout(1800)


def compose_tool(engine: Engine) -> str:
    """The command that understands compose files and drives the engine that was found."""
    if engine.name == "docker" and engine.try_("compose", "version").returncode == 0:
        return "docker compose"
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("podman-compose", path=places) if engine.name == "podman" else None
    if found is None:
        pytest.skip(
            "No compose tool for the engine: `pip install podman-compose`, or docker with its compose plugin."
        )
    return found


def names(text: str) -> set[str]:
    """Names of XB's alerts in a text."""
    return set(re.findall(r"alerts/XB/[0-9a-f-]{36}", text))


def test_two_states_come_up_by_compose_and_a_row_travels(tmp_path: Path) -> None:
    engine = Engine.find(tmp_path)
    tool = compose_tool(engine)
    image = engine.image(engine.base())
    environment = {
        **engine.environment,
        "COMPOSE": tool,
        "COMPOSE_PROJECT_NAME": f"dief-test-{os.getpid()}",
        "DIEF_IMAGE": image,
        "DIEF_DROP": str(tmp_path / "drop"),
    }

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT / "deploy",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    try:
        first = run("./try.sh")
        assert first.returncode == 0, f"{first.stdout[-3000:]}\n{first.stderr[-3000:]}"
        arrived = names(first.stdout)
        assert arrived
        assert "Firearm reported stolen" in first.stdout
        again = run("./try.sh")
        assert again.returncode == 0, f"{again.stdout[-3000:]}\n{again.stderr[-3000:]}"
        listed = run(*tool.split(), "exec", "-T", "xa", "dief", "alert", "list", "--json")
        assert names(listed.stdout) == arrived, "no row travels twice"
    finally:
        run(*tool.split(), "down", "--volumes")
