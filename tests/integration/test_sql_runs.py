"""Whole runs from a database to a RegistryService: every row accounted for, deletions withdrawn, kills survived."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_adapters import Mapping, Report, Runner, State, open_source
from registry_adapters.sources.sql import SqlSource
from tests.support.registries import SAMPLES
from tests.support.registry_server import RegistryServer
from tests.support.sql_registries import SqlRegistry
from tests.support.waiting import until

ROWS = 3000
SOURCE = """
[source]
kind = "sql"
url_env = "REGISTRY_URL"
table = "firearm"
key = ["id"]
fetch_size = 500

[source.changes]
table = "journal"
key = ["firearm_id"]
order = "n"
"""
RULES = """
[select]
draft = { column = "state", equals = "stolen" }
withdraw = { column = "state", equals = "found" }
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path) as running:
        yield running


@pytest.fixture
def mapping(sql_registry: SqlRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A register of firearms with a journal of changes, every third one stolen."""
    sql_registry.do(
        "CREATE TABLE firearm (id VARCHAR(20) PRIMARY KEY, serial_no VARCHAR(40), state VARCHAR(20), lot VARCHAR(9))",
        "CREATE TABLE journal (n INTEGER PRIMARY KEY, firearm_id VARCHAR(20))",
    )
    values = (
        f"('f{i:04d}', 'SN{i:06d}', '{'stolen' if i % 3 == 0 else 'held'}', '007')" for i in range(ROWS)
    )
    sql_registry.do(f"INSERT INTO firearm VALUES {', '.join(values)}")
    sample = (SAMPLES / "licensing_a" / "mapping.toml").read_text(encoding="utf-8")
    constants = sample[sample.index("[constants]") : sample.index("[codes.title.map]")]
    fields = "".join(
        f"\n[[field]]\nto = {to}\n{origin}\n"
        for to, origin in (
            ('"titles[0].text"', 'value = "Stolen firearm"'),
            ('"status"', 'value = "SUSPECTED"'),
            ('"national_reference"', 'column = "id"'),
            ('"items[0].category"', 'value = "SMALL_ARM_OR_LIGHT_WEAPON"'),
            ('"items[0].subtype"', 'value = "UNKNOWN"'),
            ('"items[0].disposition"', 'value = "UNKNOWN"'),
            ('"items[0].serials[0].as_registered"', 'column = "serial_no"'),
            ('"items[0].serials[0].kind"', 'value = "MANUFACTURER"'),
        )
    )
    text = f'version = 1\nstream = "firearms"\n{SOURCE}{RULES}\n[expiry]\nyears = 3\n\n{constants}{fields}'
    path = tmp_path / "mapping.toml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("REGISTRY_URL", sql_registry.url)
    return path


def run(path: Path, server: RegistryServer) -> Report:
    loaded = Mapping.load(path)
    with State.open(path.parent / "state", loaded.stream) as state, server.client(patience=5) as client:
        source = open_source(loaded)
        assert isinstance(source, SqlSource)
        report = Runner(loaded, source, client, state).run_once()
        source.close()
    assert report.read == report.accepted + report.unchanged + report.unselected + report.quarantined
    return report


def drafts(server: RegistryServer) -> set[str]:
    return {key for key, what in server.keys("firearms").items() if what == "draft"}


def test_deleted_and_changed_rows_of_a_journal_reach_the_node(
    mapping: Path, server: RegistryServer, sql_registry: SqlRegistry
) -> None:
    first = run(mapping, server)
    assert (first.read, first.accepted) == (ROWS, ROWS // 3)
    sql_registry.do(
        "DELETE FROM firearm WHERE id = 'f0003'",
        "UPDATE firearm SET state = 'found' WHERE id = 'f0006'",
        "UPDATE firearm SET state = 'stolen' WHERE id = 'f0007'",
        "INSERT INTO journal VALUES (1, 'f0003'), (2, 'f0006'), (3, 'f0007'), (4, 'f0009')",
    )
    second = run(mapping, server)
    assert (second.read, second.accepted, second.unchanged) == (4, 3, 1)
    assert drafts(server) == {f"f{i:04d}" for i in range(0, ROWS, 3)} - {"f0003", "f0006"} | {"f0007"}
    assert run(mapping, server).read == 0


def test_adapter_that_is_killed_at_any_point_loses_and_doubles_nothing(
    mapping: Path, server: RegistryServer, sql_registry: SqlRegistry
) -> None:
    program = Path(__file__).parents[1] / "support" / "run_adapter.py"
    arguments = [mapping, f"127.0.0.1:{server.port}", server.ca, server.cert, server.key]
    for kill_behind in (1, 2):
        adapter = subprocess.Popen(
            [sys.executable, "-m", "tests.support.run_adapter", *map(str, arguments)],
            cwd=program.parents[2],
            env={**os.environ},
        )
        until(
            lambda: len(server.batches) >= kill_behind or adapter.poll() is not None,  # noqa: B023 - used at once
            "batches taken",
            seconds=90,
        )
        adapter.send_signal(signal.SIGKILL)
        adapter.wait(timeout=60)
    sql_registry.do("DELETE FROM firearm WHERE id = 'f0000'", "INSERT INTO journal VALUES (1, 'f0000')")
    run(mapping, server)
    assert drafts(server) == {f"f{i:04d}" for i in range(3, ROWS, 3)}
    assert run(mapping, server).accepted == 0


def test_changed_type_of_a_column_is_told_in_the_runs_report(
    mapping: Path, server: RegistryServer, sql_registry: SqlRegistry
) -> None:
    if sql_registry.kind == "sqlite":
        pytest.skip("SQLite has no types of columns that a driver could tell.")
    assert run(mapping, server).warnings == []
    postgres = sql_registry.kind == "postgresql"
    changed = "ALTER COLUMN lot TYPE integer USING lot\\:\\:integer" if postgres else "MODIFY lot INTEGER"
    sql_registry.do(f"ALTER TABLE firearm {changed}")
    [words] = run(mapping, server).warnings
    assert words.startswith("Column lot was text and is integer now")
