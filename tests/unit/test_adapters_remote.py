"""Registries behind HTTP, a Singer tap and SFTP, from their rows to the node: everything adds up, nothing is lost.

The same register of seizures as in the sample, served in three more ways; the node's RegistryService is a real socket.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry_adapters import Mapping, Report, Runner, State, open_source
from registry_adapters.conformance import try_source
from registry_adapters.errors import SourceError
from registry_adapters.sources.rest_settings import RestSettings
from registry_adapters.sources.sftp_settings import SftpSettings
from tests.support.registries import HEADER, arm, seizures
from tests.support.registry_server import RegistryServer
from tests.support.rest_server import Asked, Reply, RestRegistry
from tests.support.sftp_server import SftpServer

TAP = Path(__file__).parents[1] / "support" / "singer_tap.py"
COLUMNS = HEADER.split(";")

REST = """[source]
kind = "rest"
url = "{url}/offset"
records = "results"
key = ["num_cadastro"]

[source.paging]
style = "offset"
parameter = "offset"
size_parameter = "limit"
size = 4
total = "total"
"""
SINGER = """[source]
kind = "singer"
command = ["{python}", "{tap}"]
config = "tap.json"
tap_stream = "arms"
key = ["num_cadastro"]
complete = true
"""
SFTP = """[fetch]
kind = "sftp"
host = "127.0.0.1"
port = {port}
user = "adapter"
password_env = "DIEF_TEST_PASSWORD"
host_key = ["{fingerprint}"]

"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path) as running:
        yield running


@pytest.fixture
def registry() -> Iterator[RestRegistry]:
    with RestRegistry([row(n) for n in range(1, 12)]) as running:
        yield running


def row(number: int, **more: str) -> dict[str, str]:
    """An arm as JSON."""
    return dict(zip(COLUMNS, arm(str(number), serial=f"AB1234{number:02}", **more).split(";"), strict=True))


def mapping_with(folder: Path, source: str) -> Path:
    """The sample's mapping with another source."""
    path = seizures(folder)
    text = re.sub(r"\[source\]\n.*?(?=\[select\])", source + "\n", path.read_text("utf-8"), flags=re.DOTALL)
    path.write_text(text, encoding="utf-8")
    return path


def run(path: Path, node: RegistryServer) -> Report:
    mapping = Mapping.load(path)
    with State.open(path.parent / "state", mapping.stream) as state, node.client(patience=5) as client:
        report = Runner(mapping, open_source(mapping), client, state).run_once()
    assert report.read == report.accepted + report.unchanged + report.unselected + report.quarantined
    return report


def write_tap(path: Path, rows: list[dict[str, Any]], **config: Any) -> None:
    """Rows and configuration of the tap."""
    home = path.parent
    (home / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    properties = {column: {"type": "string"} for column in COLUMNS}
    held = {
        "rows": str(home / "rows.json"),
        "mode": "full",
        "keys": ["num_cadastro"],
        "properties": properties,
    }
    (home / "tap.json").write_text(json.dumps({**held, **config}), encoding="utf-8")


# -- REST


def test_rows_of_a_rest_registry_become_drafts_and_what_is_gone_is_withdrawn(
    tmp_path: Path, node: RegistryServer, registry: RestRegistry
) -> None:
    path = mapping_with(tmp_path, REST.format(url=registry.url))
    first = run(path, node)
    assert (first.read, first.accepted) == (11, 11)
    again = run(path, node)
    assert (again.read, again.accepted, again.unchanged, again.vanished) == (11, 0, 11, 0)
    registry.rows[2] = row(3, situation="REGULAR")
    del registry.rows[5]
    changed = run(path, node)
    assert (changed.accepted, changed.vanished) == (1, 1)
    assert {key for key, kind in node.keys("seizures").items() if kind == "withdraw"} == {"3", "6"}


def test_rest_registry_that_goes_away_in_the_middle_loses_nothing(
    tmp_path: Path, node: RegistryServer, registry: RestRegistry
) -> None:
    registry.rows = [row(n) for n in range(1, 701)]
    text = (
        REST.format(url=registry.url)
        .replace("key =", "max_retries = 0\nkey =")
        .replace("size = 4", "size = 100")
    )
    path = mapping_with(tmp_path, text)
    registry.answer(7, Reply(500))
    with pytest.raises(SourceError):
        run(path, node)
    assert len(node.keys("seizures")) >= 200, "whole batches were sent"
    registry.rows.pop(0)
    asked = len(registry.asked)
    run(path, node)
    assert int(registry.asked[asked].query["offset"]) > 0, "the run went on where it stopped"
    assert {*node.keys("seizures")} == {str(n) for n in range(1, 701)}
    assert run(path, node).vanished == 1


def test_rest_list_that_is_cut_short_withdraws_nothing(
    tmp_path: Path, node: RegistryServer, registry: RestRegistry
) -> None:
    path = mapping_with(tmp_path, REST.format(url=registry.url))
    run(path, node)

    def cut(asked: Asked) -> Reply | None:
        begin = int(asked.query["offset"])
        return Reply(200, {"total": 11, "results": registry.rows[begin : min(begin + 4, 6)]})

    registry.always(cut)
    assert run(path, node).vanished == 0


def test_rest_record_with_faults_is_quarantined_and_told(
    tmp_path: Path, node: RegistryServer, registry: RestRegistry
) -> None:
    path = mapping_with(tmp_path, REST.format(url=registry.url))
    registry.rows[4] = {**row(5), "data_situacao": "31/02/2026"}
    registry.rows.append({"marca": "no key"})
    registry.rows.append("no object")
    registry.always(lambda asked: _page_of(registry, asked))
    report = run(path, node)
    assert (report.read, report.accepted, report.quarantined) == (13, 10, 3)
    assert {told["reason"] for told in report.first_rejects} == {
        "DATE_IMPOSSIBLE",
        "KEY_MISSING",
        "NOT_AN_OBJECT",
    }
    assert run(path, node).vanished == 0, "a row without its key may be any of them"


def _page_of(registry: RestRegistry, asked: Asked) -> Reply:
    begin = int(asked.query["offset"])
    return Reply(200, {"total": len(registry.rows), "results": registry.rows[begin : begin + 4]})


# -- Singer


def test_rows_of_a_tap_become_drafts_and_what_is_gone_is_withdrawn(
    tmp_path: Path, node: RegistryServer
) -> None:
    path = mapping_with(tmp_path, SINGER.format(python=sys.executable, tap=TAP))
    write_tap(path, [row(n) for n in range(1, 8)])
    assert run(path, node).accepted == 7
    write_tap(path, [row(n) for n in range(2, 8)], fault={"at": 3, "exit": 1})
    with pytest.raises(SourceError):
        run(path, node)
    assert {*node.keys("seizures").values()} == {"draft"}, "a tap that died tells nothing as gone"
    write_tap(path, [row(n) for n in range(2, 8)])
    report = run(path, node)
    assert (report.unchanged, report.vanished) == (6, 1)


# -- SFTP


def test_files_from_an_sftp_server_become_drafts(
    tmp_path: Path, node: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIEF_TEST_PASSWORD", "word")
    (tmp_path / "remote").mkdir()
    with SftpServer(tmp_path / "remote", password="word") as server:
        path = seizures(tmp_path)
        text = path.read_text("utf-8")
        fetch = SFTP.format(port=server.port, fingerprint=server.fingerprint)
        path.write_text(text.replace("[source]", fetch + "[source]", 1), encoding="utf-8")
        server.put("a.csv", "\r\n".join((HEADER, arm("1"), arm("2"))).encode("cp1252"))
        assert run(path, node).accepted == 2
        assert run(path, node).read == 0
        server.put("b.csv", "\r\n".join((HEADER, arm("2", serial="CORRECTED1"))).encode("cp1252"))
        server.on_read = lambda name, offset: server.drop_connections()
        with pytest.raises(SourceError):
            run(path, node)
        server.on_read = lambda name, offset: None
        assert run(path, node).accepted == 1
        assert all(trial.held for trial in try_source(lambda: open_source(Mapping.load(path)))), "conformance"


# -- Conformance


@pytest.mark.parametrize("family", ["offset", "page", "keyset", "link", "next_url", "none"])
def test_rest_source_keeps_to_the_rules_of_every_source(
    tmp_path: Path, registry: RestRegistry, family: str
) -> None:
    paging = {
        "offset": 'style = "offset"\nparameter = "offset"\nsize_parameter = "limit"\nsize = 4',
        "page": 'style = "page"\nparameter = "page"',
        "keyset": 'style = "cursor"\nparameter = "after"\nnext = "meta.next"',
        "link": 'style = "link"',
        "next_url": 'style = "next_url"\nnext = "next"',
        "none": 'style = "none"',
    }[family]
    place = {"next_url": "next-url", "none": "plain"}.get(family, family)
    records = {"link": "", "none": "data.items"}.get(family, "results")
    text = f'[source]\nkind = "rest"\nurl = "{registry.url}/{place}"\nrecords = "{records}"\nkey = ["num_cadastro"]\n'
    for held in registry.rows:
        held["id"] = held["num_cadastro"]
    path = mapping_with(tmp_path, f"{text}[source.paging]\n{paging}\n")
    _hold(lambda: json.dumps(registry.rows), path)


@pytest.mark.parametrize("mode", ["incremental", "full", "versioned", "changes"])
def test_singer_source_keeps_to_the_rules_of_every_source(tmp_path: Path, mode: str) -> None:
    source = SINGER.replace("complete = true\n", "").format(python=sys.executable, tap=TAP)
    path = mapping_with(tmp_path, source)
    rows = [row(n) | {"updated": f"2026-11-01T10:00:{n:02}Z"} for n in range(1, 8)]
    write_tap(path, rows, mode=mode, version=3)
    _hold((path.parent / "rows.json").read_bytes, path)


def _hold(fingerprint: Callable[[], Any], path: Path) -> None:
    trials = try_source(lambda: open_source(Mapping.load(path)), fingerprint=fingerprint)
    assert [trial for trial in trials if not trial.held] == []


def test_examples_of_the_readme_are_sound() -> None:
    text = (Path(__file__).parents[2] / "registry_adapters" / "README.md").read_text(encoding="utf-8")
    blocks = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
    [rest] = [held["source"] for held in blocks if held.get("source", {}).get("kind") == "rest"]
    [fetch] = [held["fetch"] for held in blocks if "fetch" in held]
    assert RestSettings.model_validate(rest).paging.total == "count"
    fetch["host_key"] = ["SHA256:" + "A" * 43]  # the example names none
    assert SftpSettings.model_validate(fetch).folder == "outgoing"
