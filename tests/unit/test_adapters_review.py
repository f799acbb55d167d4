"""What a review of the adapters found: rejects lost by a kill, a write-back that ended in silence, outcomes untold."""

from __future__ import annotations

import csv
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dief.v1 import draft_pb2, registry_pb2
from pydantic import ValidationError

from registry_adapters import Mapping, Runner, State, WriteBack, open_source
from registry_adapters import write_back as module
from registry_adapters.errors import MappingError, SinkError, StateError
from registry_adapters.notice import Notice
from registry_adapters.plugins import SinkPluginSettings
from tests.support.registries import arm, drop, seizures
from tests.support.registry_server import RegistryServer
from tests.unit.test_adapters_cli import dief, node
from tests.unit.test_adapters_run import quarantine, run, runner
from tests.unit.test_adapters_write_back import hit, sink_of

DOT_ALERT = "draft.alert"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path) as running:
        yield running


def killed_at_note(ready: Runner, number: int, work: Callable[[], object]) -> None:
    """Run until an answer of the node is about to be noted for the time named, and end there as SIGKILL would."""
    noted = ready._state.after_sending
    count = 0

    def note(*given: Any) -> None:
        nonlocal count
        count += 1
        if count >= number:
            raise SystemExit
        noted(*given)

    ready._state.after_sending = note  # type: ignore[method-assign, assignment]
    with pytest.raises(SystemExit):
        work()
    ready._state.after_sending = noted  # type: ignore[method-assign]


def test_a_kill_between_the_parts_of_a_batch_loses_no_refusal(tmp_path: Path, server: RegistryServer) -> None:
    """The node refused the batch as a whole: what is noted of its first half says nothing of the other."""
    path = seizures(tmp_path)
    server.poison.add("0")
    server.refuse["7"] = (DOT_ALERT, "not today")
    drop(path, "a.csv", *(arm(str(i), serial=f"AB12345{i}") for i in range(8)))
    with runner(path, server) as ready:
        killed_at_note(ready, 5, ready.run_once)
    server.poison.clear()
    run(path, server)
    assert sorted(quarantine(path)) == ["a.csv:2", "a.csv:9"]


def test_a_replay_after_a_kill_forgets_no_row_whose_answer_was_never_noted(
    tmp_path: Path, server: RegistryServer
) -> None:
    path = seizures(tmp_path)
    server.refuse["1"] = server.refuse["2"] = (DOT_ALERT, "not today")
    drop(path, "a.csv", arm("1", serial="AB123451"))
    run(path, server)
    drop(path, "b.csv", arm("2", serial="AB123452"))
    with runner(path, server) as ready:
        killed_at_note(ready, 1, ready.run_once)
    with runner(path, server) as ready:
        ready.replay()
    run(path, server)
    assert sorted(quarantine(path)) == ["a.csv:2", "b.csv:2"]


class Sink:
    """Keeps what it is told; before that it does what a test wants."""

    kind = "trial"

    def __init__(self, first: Callable[[], object]) -> None:
        self.first = first
        self.told: list[Notice] = []

    def check(self) -> None:
        """Nothing is to be checked."""

    def write(self, notices: Sequence[Notice]) -> None:
        self.first()
        self.told += notices


def test_a_sink_that_raises_what_nobody_foresaw_neither_ends_the_write_back_nor_shows_its_text(
    tmp_path: Path, server: RegistryServer
) -> None:
    """I12: a driver, or a plug-in of a State's own, may raise anything, with a value or a password in it."""
    outcomes: list[Any] = []

    def fail() -> None:
        if len(outcomes) < 2:
            raise ValueError("password=secret")

    sink = Sink(fail)
    server.hits = [hit(1)]
    with State.open(tmp_path / "state", "holdings") as state, server.client(patience=5) as client:

        def told(outcome: Any) -> None:
            outcomes.append(outcome)
            if not isinstance(outcome, SinkError):
                client.stop.set()

        WriteBack("holdings", sink, ("HIT",), client, state).follow(0.01, told)
    assert [type(outcome).__name__ for outcome in outcomes] == ["SinkError", "SinkError", "Told"]
    assert "ValueError" in outcomes[0].diagnosis
    assert "secret" not in str(outcomes[0])
    assert len(sink.told) == 1


def test_an_outcome_that_changes_behind_the_page_that_is_being_told_is_told_next_time(
    tmp_path: Path, server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Telling may take hours where a service takes one notice at a time; the overlap alone does not cover that."""
    monkeypatch.setattr(module, "_OVERLAP", timedelta(0))
    monkeypatch.setattr(module, "HITS_AT_ONCE", 1)

    def standing(key: str, state: int) -> registry_pb2.RecordStanding:
        made = registry_pb2.RecordStanding(
            key=key, draft=f"drafts/{key}", state=draft_pb2.DraftState.ValueType(state)
        )
        made.changed_at.FromNanoseconds(time.time_ns())
        return made

    later: list[registry_pb2.RecordStanding] = []

    def change() -> None:
        """While the first is told it changes, and after that the second."""
        if not later:
            later.append(standing("1", draft_pb2.DRAFT_STATE_RELEASED))
            time.sleep(0.005)  # the node counts milliseconds
            server.standings[1].changed_at.FromNanoseconds(time.time_ns())

    server.standings = [standing(key, draft_pb2.DRAFT_STATE_WAITING) for key in ("1", "2")]
    sink = Sink(change)
    with State.open(tmp_path / "state", "holdings") as state, server.client(patience=5) as client:
        page = list(client.standings("holdings"))
        page[1] = server.standings[1]
        client.standings = lambda stream, since=None: iter(page)  # type: ignore[method-assign]
        write_back = WriteBack("holdings", sink, ("OUTCOME",), client, state)
        assert write_back.round().outcomes == 2
        del client.standings
        server.standings[0] = later[0]
        assert write_back.round().outcomes == 1
    assert [notice.status for notice in sink.told] == ["WAITING", "WAITING", "RELEASED"]


@pytest.mark.parametrize(
    "setting", ['encoding = "utf8x"', 'encoding = "hex"', 'separator = "\\n"', "separator = '\"'"]
)
def test_a_file_that_could_never_be_written_is_refused_with_the_mapping(tmp_path: Path, setting: str) -> None:
    with pytest.raises(MappingError):
        sink_of(tmp_path, f'kind = "file"\nfolder = "out"\n{setting}\n')


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_cell_begins_as_a_formula_does(tmp_path: Path, begin: str) -> None:
    (tmp_path / "out").mkdir()
    told = Notice(notice="n", kind="HIT", record_key=f"{begin}1+1")
    sink_of(tmp_path, 'kind = "file"\nfolder = "out"\n').write([told])
    (file,) = (tmp_path / "out").iterdir()
    with file.open(encoding="utf-8", newline="") as opened:
        assert list(csv.reader(opened))[1][2] == f"'{begin}1+1"


class Impatient(threading.Event):
    """An event on which nobody waits."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def test_a_registry_that_is_away_for_days_ends_neither_reading_nor_telling(
    tmp_path: Path, server: RegistryServer
) -> None:
    """I12: the wait doubles with each failure, which no number of them may make too large to reckon with."""
    failures = 0

    def fail() -> None:
        nonlocal failures
        failures += 1
        if failures == 1100:
            client.stop.set()
        raise SinkError("away", "come again")

    server.hits = [hit(1)]
    mapping = Mapping.load(seizures(tmp_path))
    with State.open(tmp_path / "state", mapping.stream) as state:
        with server.client(patience=5, stop=Impatient()) as client:
            WriteBack("holdings", Sink(fail), ("HIT",), client, state).follow(0.1, lambda _: None)
        assert failures == 1100
        failures = 0
        with server.client(patience=5, stop=Impatient()) as client:
            source = open_source(mapping)
            source.read = lambda _cursor: fail()  # type: ignore[method-assign, assignment, return-value]
            Runner(mapping, source, client, state).follow(0.1, lambda _: None)
        assert failures == 1100


def test_a_notice_that_the_registry_never_takes_stops_no_other(
    tmp_path: Path, server: RegistryServer
) -> None:
    """I12: a column that is too narrow for one reference, or a service that refuses one record."""

    class Picky(Sink):
        def write(self, notices: Sequence[Notice]) -> None:
            if any(notice.record_key == "=K-2" for notice in notices):
                raise SinkError("too long", "widen the column")
            super().write(notices)

    sink = Picky(lambda: None)
    server.hits = [hit(number) for number in range(1, 6)]
    with State.open(tmp_path / "state", "holdings") as state, server.client(patience=5) as client:
        write_back = WriteBack("holdings", sink, ("HIT",), client, state)
        with pytest.raises(SinkError):
            write_back.round()
    assert [notice.record_key for notice in sink.told] == ["=K-1", "=K-3", "=K-4", "=K-5"]
    assert {hit(2).name} == {one.name for one in server.hits} - {name for name, _ in server.acknowledged}


def test_a_sink_that_takes_nothing_is_not_asked_for_each_notice(
    tmp_path: Path, server: RegistryServer
) -> None:
    asked = 0

    def fail() -> None:
        nonlocal asked
        asked += 1
        raise SinkError("away", "come again")

    server.hits = [hit(number) for number in range(100)]
    with (
        State.open(tmp_path / "state", "holdings") as state,
        server.client(patience=5) as client,
        pytest.raises(SinkError),
    ):
        WriteBack("holdings", Sink(fail), ("HIT",), client, state).round()
    assert asked == 4


def test_one_run_tells_the_registry_its_hits_also_where_its_rows_cannot_be_read(
    tmp_path: Path, server: RegistryServer
) -> None:
    """I12: neither way waits for the other, also where a timer starts each run."""
    path = seizures(tmp_path)
    with path.open("a", encoding="utf-8") as file:
        file.write('[write_back]\nkind = "file"\nfolder = "out"\n')
    (path.parent / "out").mkdir()
    (path.parent / "drop").rename(tmp_path / "elsewhere")
    server.hits = [hit(1)]
    assert "error" in dief("run", path, *node(server), code=1)
    assert len(list((path.parent / "out").iterdir())) == len(server.acknowledged) == 1


def test_a_full_disk_under_the_adapters_own_notes_is_told_and_waited_for(
    tmp_path: Path, server: RegistryServer
) -> None:
    """I5, I12: a run fails as a run; with room again the next one goes on where the node stands."""
    path = seizures(tmp_path)
    drop(path, "a.csv", *(arm(str(i), serial=f"AB{i:06}") for i in range(900)))
    with runner(path, server) as ready:
        pages = ready._state._db.execute("PRAGMA page_count").fetchone()[0]
        ready._state._db.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(StateError):
            ready.run_once()
        ready._state._db.execute("PRAGMA max_page_count = 1000000")
        ready.run_once()
    assert set(server.keys("seizures")) == {str(i) for i in range(900)}


@pytest.mark.parametrize("wrong", [{"tell": ["HITS"]}, {"tell": []}, {"every": 0}, {"every": -1}])
def test_what_all_sinks_have_in_common_is_checked_for_those_of_other_packages_too(
    wrong: dict[str, Any],
) -> None:
    """A word that is misspelt would have every hit acknowledged and none written; 0 seconds is a busy loop."""
    with pytest.raises(ValidationError) as refused:
        SinkPluginSettings.model_validate({"kind": "of_a_state", **wrong})
    assert {error["loc"][0] for error in refused.value.errors()} == set(wrong)


def test_the_quarantine_can_be_looked_at_while_the_adapter_runs(
    tmp_path: Path, server: RegistryServer
) -> None:
    path = seizures(tmp_path)
    server.refuse["1"] = (DOT_ALERT, "not today")
    drop(path, "a.csv", arm("1", serial="AB123451"))
    assert dief("quarantine", "list", path) == "The quarantine is empty.\n"
    with runner(path, server) as running:
        running.run_once()
        assert "a.csv:2" in dief("quarantine", "list", path)
        assert "AB123451" in dief("quarantine", "show", path, 1)
        assert "AB123451" in dief("quarantine", "export", path)
        assert "Another adapter" in dief("quarantine", "replay", path, *node(server), code=1)


@pytest.mark.parametrize("part", ["source", "write_back"])
def test_a_password_that_breaks_its_url_is_not_shown(
    tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch, server: RegistryServer
) -> None:
    """An `@` that was not written as %40 makes the rest of the password a port, which is no number."""
    with closing(sqlite3.connect(tmp_path / "registry.db")) as database:
        database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, serial TEXT)")
    monkeypatch.setenv("REGISTRY_URL", "sqlite:///registry.db")
    monkeypatch.setenv("BROKEN_URL", "postgresql+psycopg://reader:p@ss:w0rd-secret@db.xb.example/registry")
    (tmp_path / "mapping.toml").write_text(
        f"""version = 1
stream = "holdings"
[source]
kind = "sql"
url_env = "{"BROKEN_URL" if part == "source" else "REGISTRY_URL"}"
table = "t"
key = ["id"]
[watch]
kind = "HOLDING"
[[watch.term]]
kind = "SERIAL"
column = "serial"
[write_back]
kind = "sql"
url_env = "{"BROKEN_URL" if part == "write_back" else "REGISTRY_URL"}"
table = "dief_hit"
""",
        encoding="utf-8",
    )
    told = dief("run", tmp_path / "mapping.toml", *node(server), code=1)
    assert "error" in told
    assert "w0rd-secret" not in told
