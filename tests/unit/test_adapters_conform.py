"""The conformance trials on our own SQL source and on every sink that can be read back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from registry_adapters import Mapping, open_sink, open_source
from registry_adapters.conformance import Trial, try_sink, try_source
from registry_adapters.notice import Notice
from registry_adapters.sink import Sink
from tests.support.registries import licensing

NOTICES = [Notice(f"hits/{n}#1", "HIT", f"key-{n}", hit=f"hits/{n}", version=1) for n in range(3)]
WATCH = '[watch]\nkind = "HOLDING"\n[[watch.term]]\nkind = "SERIAL"\ncolumn = "serial"\n'
HEAD = 'version = 1\nstream = "arms"\n[source]\nkind = "sql"\nurl = "sqlite:///arms.db"\nkey = ["id"]\n'


def failed(trials: Iterable[Trial]) -> list[Trial]:
    return [trial for trial in trials if not trial.held]


def arms(folder: Path, settings: str) -> Path:
    """A register of 250 arms with ties in its watermark, rows without one, and a change table."""
    with closing(sqlite3.connect(folder / "arms.db")) as db, db:
        db.executescript(
            "CREATE TABLE arm (id INTEGER PRIMARY KEY, serial TEXT, changed TEXT);"
            "CREATE TABLE change (n INTEGER PRIMARY KEY, id INTEGER);"
        )
        for n in range(250):
            changed = None if n % 50 == 7 else f"2026-01-{1 + n // 40:02} 00:00:00"
            db.execute("INSERT INTO arm VALUES (?, ?, ?)", (n, f"KT {n:05}", changed))
            db.execute("INSERT INTO change (id) VALUES (?)", (n,))
    path = folder / "arms.toml"
    path.write_text(HEAD + settings + WATCH, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "settings",
    [
        'table = "arm"\n',
        'table = "arm"\nfetch_size = 7\n',
        'table = "arm"\nwatermark = "changed"\nfetch_size = 7\n',
        'query = "SELECT * FROM arm WHERE id > 20"\n',
        'table = "arm"\n[source.changes]\ntable = "change"\nkey = ["id"]\norder = "n"\n',
    ],
    ids=["table", "pages", "watermark", "query", "changes"],
)
def test_the_sql_source_keeps_the_rules(tmp_path: Path, settings: str) -> None:
    mapping = Mapping.load(arms(tmp_path, settings))
    file = tmp_path / "arms.db"
    assert failed(try_source(lambda: open_source(mapping), fingerprint=file.read_bytes)) == []


def test_the_licensing_database_keeps_the_rules(tmp_path: Path) -> None:
    path = licensing(tmp_path)
    mapping = Mapping.load(path)
    file = path.parent / "licensing.sqlite"
    assert failed(try_source(lambda: open_source(mapping), fingerprint=file.read_bytes)) == []


def sink(folder: Path, settings: str) -> Callable[[], Sink]:
    path = folder / "mapping.toml"
    head = 'version = 1\nstream = "arms"\n[source]\nkind = "csv"\nfolder = "in"\nkey = ["id"]\n'
    path.write_text(head + WATCH + "[write_back]\n" + settings, encoding="utf-8")

    def make() -> Sink:
        made = open_sink(Mapping.load(path))
        assert made is not None
        return made

    return make


def test_the_sql_sink_keeps_the_rules(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "r.db")) as db, db:
        db.execute("CREATE TABLE told (notice TEXT, record_key TEXT, kind TEXT)")

    def read_back() -> list[str]:
        with closing(sqlite3.connect(tmp_path / "r.db")) as held:
            return [row[0] for row in held.execute("SELECT notice FROM told")]

    make = sink(tmp_path, 'kind = "sql"\nurl = "sqlite:///r.db"\ntable = "told"\n')
    assert failed(try_sink(make, read_back, notices=NOTICES)) == []


def test_the_file_sink_keeps_the_rules_but_for_keeping_once(tmp_path: Path) -> None:
    """Files are handed over and gone: whoever reads them tells notices apart by their ids."""
    (tmp_path / "out").mkdir()

    def read_back() -> list[str]:
        files = sorted((tmp_path / "out").iterdir())
        return [one["notice"] for file in files for one in json.loads(file.read_text(encoding="utf-8"))]

    make = sink(tmp_path, 'kind = "file"\nfolder = "out"\nformat = "json"\n')
    trials = failed(try_sink(make, read_back, notices=NOTICES))
    assert [trial.rule for trial in trials] == ["a notice is kept once"]


def test_a_sink_that_loses_is_told(tmp_path: Path) -> None:
    class Losing:
        kind = "losing"

        def check(self) -> None:
            pass

        def write(self, notices: object) -> None:
            pass

    trials = failed(try_sink(Losing, list, notices=NOTICES))
    assert [trial.seen for trial in trials] == ["3 of 3 notices are not there"] * 2
