"""Rows that feed the watch: what of them is told, when it changes, and when it is taken back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dief.v1 import codes_pb2 as c
from dief.v1 import watch_pb2 as w

from registry_adapters import Mapping, Report, Runner, State, open_source
from registry_adapters.errors import MappingError, SourceError
from registry_adapters.source import Cursor, Row
from tests.support.registry_server import RegistryServer

MAPPING = """\
version = 1
stream = "holdings"

[source]
kind = "csv"
folder = "drop"
encoding = "utf-8"
separator = ";"
key = ["id"]
complete = true
settle_seconds = 0

[placeholders.serial]
absent = ["N/A"]

[watch]
kind = "HOLDING"
reference = "No. {id}"
select = { column = "status", equals = "held" }

[[watch.term]]
kind = "SERIAL"
column = "serial"
context = "make"
placeholders = "serial"

[[watch.term]]
kind = "PARTY_NAME"
each = "parties"
column = "@.name"
context = "@.country"
"""
HEADER = "id;status;make;serial;parties"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "drop").mkdir()
    (tmp_path / "mapping.toml").write_text(MAPPING, encoding="utf-8")
    return tmp_path / "mapping.toml"


def drop(path: Path, *lines: str) -> None:
    file = path.parent / "drop" / "holdings.csv"
    file.write_text("\r\n".join((HEADER, *lines)) + "\r\n", encoding="utf-8")
    os.utime(file, (1_700_000_000, 1_700_000_000 + file.stat().st_size))


def run(path: Path, server: RegistryServer, *, accept_vanished: bool = False) -> Report:
    mapping = Mapping.load(path)
    with State.open(path.parent / "state", mapping.stream) as state, server.client(patience=5) as client:
        report = Runner(
            mapping, open_source(mapping), client, state, accept_vanished=accept_vanished
        ).run_once()
    assert report.read == report.accepted + report.unchanged + report.unselected + report.quarantined
    return report


def watched(server: RegistryServer) -> dict[str, list[tuple[str, str, str]]]:
    return {
        key: [(term.value, term.context, term.field) for term in record.terms]
        for (_, key), record in server.watched.items()
    }


def test_a_row_is_watched_by_its_facts_and_becomes_no_draft(tmp_path: Path, path: Path) -> None:
    with RegistryServer(tmp_path) as server:
        drop(
            path, '1;held;Kestrel;AB1234;[{"name":"Al Noor","country":"XB"},{"name":"Heron"}]', "2;sold;K;X1;"
        )
        report = run(path, server)
        assert (report.accepted, report.unselected) == (1, 1)
        assert watched(server) == {
            "1": [
                ("AB1234", "Kestrel", "serial"),
                ("Al Noor", "XB", "parties[0]"),
                ("Heron", "", "parties[1]"),
            ]
        }
        record = server.watched["holdings", "1"]
        assert (record.kind, record.reference) == (w.WATCH_RECORD_KIND_HOLDING, "No. 1")
        assert [term.kind for term in record.terms][:2] == [
            c.INDICATOR_KIND_SERIAL,
            c.INDICATOR_KIND_PARTY_NAME,
        ]
        assert server.held == {}


def test_a_second_run_sends_nothing_and_a_change_sends_its_row_only(tmp_path: Path, path: Path) -> None:
    with RegistryServer(tmp_path) as server:
        drop(path, "1;held;K;AB1234;", "2;held;K;AB1235;")
        run(path, server)
        assert run(path, server).read == 0
        drop(path, "1;held;K;AB1234;", "2;held;K;CHANGED99;")
        again = run(path, server)
        assert (again.accepted, again.unchanged) == (1, 1)
        assert watched(server)["2"][0][0] == "CHANGED99"


def test_a_row_that_is_selected_no_more_or_gone_from_a_complete_file_is_unwatched(
    tmp_path: Path, path: Path
) -> None:
    with RegistryServer(tmp_path) as server:
        drop(path, "1;held;K;AB1234;", "2;held;K;AB1235;", "3;held;K;AB1236;")
        run(path, server)
        drop(path, "1;held;K;AB1234;", "2;sold;K;AB1235;")
        report = run(path, server)
        assert (report.accepted, report.unchanged, report.vanished) == (1, 1, 1)
        assert set(watched(server)) == {"1"}
        drop(path, "1;held;K;AB1234;", "2;sold;K;AB1235;", "9;sold;K;ZZ1;")
        assert run(path, server).unselected == 2, "what was never watched is not unwatched"


def test_a_registry_that_is_suddenly_empty_unwatches_nothing_unasked(tmp_path: Path, path: Path) -> None:
    with RegistryServer(tmp_path) as server:
        drop(path, *(f"{n};held;K;AB{n:05};" for n in range(50)))
        run(path, server)
        drop(path, "1;held;K;AB00001;")
        with pytest.raises(SourceError, match="no longer shows 49 rows"):
            run(path, server)
        assert len(watched(server)) == 50
        assert run(path, server, accept_vanished=True).vanished == 49
        assert set(watched(server)) == {"1"}


def test_a_lost_folder_is_rebuilt_from_what_the_node_watches(tmp_path: Path, path: Path) -> None:
    with RegistryServer(tmp_path) as server:
        drop(path, "1;held;K;AB1234;", "2;held;K;AB1235;", "3;held;K;AB1236;")
        run(path, server)
        for file in (tmp_path / "state").iterdir():
            file.unlink()
        drop(path, "1;held;K;AB1234;")
        run(path, server, accept_vanished=True)
        assert set(watched(server)) == {"1"}


def test_a_serial_that_says_there_is_none_is_no_fact(path: Path) -> None:
    mapping = Mapping.load(path)
    values = {"id": "1", "status": "held", "make": "K", "serial": "N/A", "parties": "[]"}
    mapped = mapping.map(Row("1", values, "x:1", Cursor("csv", {})))
    assert mapped is not None
    assert (mapped.watch, mapped.unwatch) == (None, True)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "HOLDING"', 'kind = "HOLDINGS"', "mapping.toml:17"),
        ('placeholders = "serial"\n\n[[', 'placeholders = "serials"\n\n[[', "placeholders.serials"),
        ('each = "parties"\n', "", "needs `each`"),
        ('kind = "SERIAL"', 'kind = "SERIALS"', "mapping.toml:22"),
        ("[watch]", '[constants]\noriginator = "XA"\n\n[watch]', "need [select]"),
    ],
)
def test_errors_of_the_watch_name_line_and_mend(path: Path, old: str, new: str, words: str) -> None:
    path.write_text(MAPPING.replace(old, new), encoding="utf-8")
    with pytest.raises(MappingError) as raised:
        Mapping.load(path)
    assert words in raised.value.diagnosis


def test_a_mapping_needs_something_to_do(path: Path) -> None:
    path.write_text(MAPPING[: MAPPING.index("[watch]")], encoding="utf-8")
    with pytest.raises(MappingError, match=r"\[select\], \[watch\]"):
        Mapping.load(path)
