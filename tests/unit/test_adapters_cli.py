"""`dief adapter` as an administrator uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from node.cli.adapter import app
from tests.support.registries import arm, drop, licensing, seizures
from tests.support.registry_server import RegistryServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path) as running:
        yield running


def dief(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.output


def node(server: RegistryServer) -> tuple[object, ...]:
    return ("--node", server.address, "--ca", server.ca, "--cert", server.cert, "--key", server.key)


def test_check_counts_and_shows_rejects_without_values(tmp_path: Path) -> None:
    path = seizures(tmp_path)
    drop(path, "a.csv", arm("1"), arm("2", day="31/02/2026"), arm("3", kind="ARCABUZ"), "torn")
    report: dict[str, Any] = json.loads(dief("check", path, "--json"))
    assert (report["read"], report["drafts"], report["quarantined"]) == (4, 1, 3)
    assert report["detected"]["encoding"] == "cp1252"
    assert report["unmapped"] == [{"column": "especie", "code": "ARCABUZ", "rows": 1}]
    told = dief("check", path)
    assert "DATE_IMPOSSIBLE" in told
    assert "31/02/2026" not in told
    assert "Fulano" not in told
    assert not (path.parent / "state").exists(), "a dry run keeps nothing"


def test_check_detects_what_the_mapping_leaves_open(tmp_path: Path) -> None:
    path = seizures(tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('encoding = "cp1252"', "").replace('separator = ";"', ""), encoding="utf-8")
    drop(path, "a.csv", arm("1"))
    detected = json.loads(dief("check", path, "--json"))["detected"]
    assert detected["encoding"].startswith("cp1252 (assumed")
    assert detected["separator"] == ";"


def test_check_of_a_wrong_mapping_names_line_and_mend(tmp_path: Path) -> None:
    path = licensing(tmp_path)
    path.write_text(
        path.read_text(encoding="utf-8").replace("strict", "strikt") + "\nsurplus = 1\n", encoding="utf-8"
    )
    told = dief("check", path, code=1)
    assert "mapping.toml:" in told
    assert "mend:" in told


def test_run_then_quarantine_list_show_export_and_replay(tmp_path: Path, server: RegistryServer) -> None:
    path = seizures(tmp_path)
    drop(path, "a.csv", arm("1"), arm("2", kind="ARCABUZ"))
    report = json.loads(dief("run", path, *node(server), "--json"))
    assert (report["read"], report["accepted"], report["quarantined"]) == (2, 1, 1)
    assert "Fulano" not in dief("quarantine", "list", path)
    [entry] = json.loads(dief("quarantine", "list", path, "--json"))
    assert (entry["row"], entry["column"], entry["reason"]) == ("a.csv:3", "especie", "CODE_NOT_MAPPED")
    shown = json.loads(dief("quarantine", "show", path, entry["id"], "--json"))
    assert shown["values"]["especie"] == "ARCABUZ"
    assert "ARCABUZ" in dief("quarantine", "show", path, entry["id"])
    dief("quarantine", "export", path, "--to", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))["key"] == "2"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace('PISTOLA = "REV', 'ARCABUZ = "SHOTGUN"\nPISTOLA = "REV', 1), encoding="utf-8"
    )
    assert json.loads(dief("quarantine", "replay", path, *node(server), "--json"))["accepted"] == 1
    assert "empty" in dief("quarantine", "list", path)
    assert "no entry" in dief("quarantine", "show", path, 99, code=1)


def test_missing_connection_and_bad_interval_are_told(tmp_path: Path, server: RegistryServer) -> None:
    path = seizures(tmp_path)
    assert "--ca" in dief("run", path, "--node", server.address, code=1)
    assert "30s" in dief("run", path, *node(server), "--every", "soon", code=1)


def test_following_run_ends_cleanly_on_sigterm(tmp_path: Path, server: RegistryServer) -> None:
    path = seizures(tmp_path)
    drop(path, "a.csv", arm("1"))
    code = "from node.cli.adapter import app; app()"
    args = [str(arg) for arg in ("run", path, *node(server), "--every", "1h", "--json")]
    root = str(Path(__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["accepted"] == 1
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    child.stdout.close()
