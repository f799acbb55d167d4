"""Hits and outcomes on their way into a registry: at least once, kept once, without any content of an alert."""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import resource
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import python_calamine
from dief.v1 import codes_pb2, draft_pb2, registry_pb2, watch_pb2

from registry_adapters import Mapping, State, WriteBack, open_sink
from registry_adapters.errors import MappingError, SinkError
from registry_adapters.notice import NAMES, Notice, of_hit, of_standing
from registry_adapters.sink import Sink
from registry_adapters.sinks.http import signature
from tests.support.registry_server import RegistryServer

HEAD = """\
version = 1
stream = "holdings"
[source]
kind = "csv"
folder = "drop"
key = ["id"]
[watch]
kind = "HOLDING"
[[watch.term]]
kind = "SERIAL"
column = "serial"
[write_back]
"""


def sink_of(folder: Path, settings: str) -> Sink:
    path = folder / "mapping.toml"
    path.write_text(HEAD + settings, encoding="utf-8")
    sink = open_sink(Mapping.load(path))
    assert sink is not None
    return sink


def hit(number: int, version: int = 1, state: int = watch_pb2.HIT_STATE_OPEN, **more: Any) -> watch_pb2.Hit:
    made = watch_pb2.Hit(
        name=f"hits/0191f300-0000-7000-8000-{number:012x}",
        version=version,
        stream="holdings",
        key=f"=K-{number}",
        alert="alerts/XA/0191f300-0000-7000-8000-000000000001",
        revision=1,
        origin="XA",
        state=watch_pb2.HitState.ValueType(state),
        strength=codes_pb2.MATCH_STRENGTH_LEAD,
        **more,
    )
    made.matches.add(kind=codes_pb2.INDICATOR_KIND_SERIAL, field="serial", path="items[0].serials[0].as_read")
    made.changed_at.FromSeconds(1_790_000_000 + number)
    return made


def standing(key: str, state: int, seconds: int, **more: Any) -> registry_pb2.RecordStanding:
    made = registry_pb2.RecordStanding(
        key=key, draft=f"drafts/{key}", state=draft_pb2.DraftState.ValueType(state), **more
    )
    made.changed_at.FromSeconds(seconds)
    return made


NOTICES = [of_hit(hit(n)) for n in range(3)]


# -- what a notice says ---------------------------------------------------------------------------------------------


def test_a_notice_says_what_met_and_whom_to_ask() -> None:
    said = of_hit(hit(1))
    assert (said.kind, said.notice, said.call, said.fields) == ("HIT", f"{said.hit}#1", "XA", "serial")
    assert "ask XA" in said.reason


def test_a_clearance_tells_its_reason_in_words() -> None:
    cleared = hit(1, 2, watch_pb2.HIT_STATE_CLEARED, clear_reason=watch_pb2.CLEAR_REASON_UNFOUNDED)
    assert of_hit(cleared).kind == "HIT_CLEARED"
    assert "whoever was named is cleared" in of_hit(cleared).reason
    reasons = set(watch_pb2.ClearReason.values()) - {0}
    said = {of_hit(hit(1, 2, watch_pb2.HIT_STATE_CLEARED, clear_reason=reason)).reason for reason in reasons}
    assert len(said) == len(reasons)


def test_an_outcome_tells_the_alert_or_why_there_is_none() -> None:
    released = of_standing(standing("7", draft_pb2.DRAFT_STATE_RELEASED, 1, alert="alerts/XA/x", revision=2))
    assert (released.kind, released.alert, released.revision) == ("OUTCOME", "alerts/XA/x", 2)
    refused = of_standing(standing("8", draft_pb2.DRAFT_STATE_REFUSED, 1, reason="Not ours to tell."))
    assert refused.reason.endswith("Not ours to tell.")


# -- a table --------------------------------------------------------------------------------------------------------


def table(
    folder: Path, columns: str = "notice TEXT PRIMARY KEY, record_key TEXT, kind TEXT, reason TEXT"
) -> Path:
    file = folder / "registry.db"
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"CREATE TABLE told ({columns})")
    return file


def rows(file: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as db:
        return db.execute("SELECT * FROM told ORDER BY 1").fetchall()


SQL = 'kind = "sql"\nurl = "sqlite:///registry.db"\ntable = "told"\n'


def test_a_table_takes_each_notice_once_however_often_it_comes(tmp_path: Path) -> None:
    file = table(tmp_path)
    sink = sink_of(tmp_path, SQL)
    sink.check()
    sink.write(NOTICES[:2])
    sink.write(NOTICES)
    assert [row[0] for row in rows(file)] == [notice.notice for notice in NOTICES]


def test_a_table_with_names_of_its_own(tmp_path: Path) -> None:
    file = table(tmp_path, "msg TEXT, ref TEXT, words TEXT")
    names = '[write_back.columns]\nnotice = "msg"\nrecord_key = "ref"\nreason = "words"\n'
    sink_of(tmp_path, SQL + names).write(NOTICES[:1])
    assert rows(file) == [(NOTICES[0].notice, "=K-0", NOTICES[0].reason)]


def test_one_row_a_hit_follows_its_versions_and_never_goes_back(tmp_path: Path) -> None:
    file = table(tmp_path, "hit TEXT PRIMARY KEY, notice TEXT, record_key TEXT, version INTEGER, status TEXT")
    sink = sink_of(tmp_path, SQL + 'one_row_a_hit = true\ntell = ["HIT", "HIT_CLEARED", "HIT_DECIDED"]\n')
    newer = of_hit(hit(1, 3, watch_pb2.HIT_STATE_CLEARED))
    sink.write([of_hit(hit(1))])
    sink.write([newer])
    sink.write([of_hit(hit(1, 2))])
    assert [(row[3], row[4]) for row in rows(file)] == [(3, "CLEARED")]


@pytest.mark.parametrize(
    ("columns", "settings", "words"),
    [
        ("x TEXT", "", "must take"),
        (
            "notice TEXT, record_key TEXT",
            '[write_back.columns]\nnotice = "no"\nrecord_key = "record_key"\n',
            "no",
        ),
    ],
)
def test_a_table_that_lacks_a_column_is_told_before_anything_is_written(
    tmp_path: Path, columns: str, settings: str, words: str
) -> None:
    file = table(tmp_path, columns)
    sink = sink_of(tmp_path, SQL + settings)
    with pytest.raises(SinkError, match=words) as raised:
        sink.check()
    assert raised.value.reason == "NO_COLUMN"
    assert rows(file) == []


def test_one_row_a_hit_has_none_for_outcomes(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="no row for outcomes"):
        sink_of(tmp_path, SQL + "one_row_a_hit = true\n")


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    table(tmp_path)
    with pytest.raises(SinkError, match="no table other"):
        sink_of(tmp_path, SQL.replace("told", "other")).check()


# -- files ----------------------------------------------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    return sorted((folder / "out").iterdir())


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "xlsx"])
def test_a_file_appears_whole_with_every_value_as_text(tmp_path: Path, form: str) -> None:
    (tmp_path / "out").mkdir()
    sink_of(tmp_path, f'kind = "file"\nfolder = "out"\nformat = "{form}"\n').write(NOTICES)
    (file,) = files(tmp_path)
    assert file.suffix == f".{form}"
    assert file.name.startswith("holdings-")
    if form == "csv":
        with file.open(newline="", encoding="utf-8") as text:
            header, *lines = list(csv.reader(text))
        assert tuple(header) == NAMES
        assert lines[0][NAMES.index("record_key")] == "'=K-0", "a spreadsheet would take it for a formula"
    elif form == "xlsx":
        header, *lines = python_calamine.CalamineWorkbook.from_path(file).get_sheet_by_index(0).to_python()
        assert tuple(header) == NAMES
        assert lines[0][NAMES.index("record_key")] == "=K-0"
        assert lines[0][NAMES.index("version")] == "1"
    else:
        text = file.read_text(encoding="utf-8")
        held = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
        assert [Notice(**one) for one in held] == NOTICES


def test_a_folder_that_is_not_there_stops_before_anything_is_acknowledged(tmp_path: Path) -> None:
    sink = sink_of(tmp_path, 'kind = "file"\nfolder = "out"\n')
    with pytest.raises(SinkError, match="missing or cannot be written"):
        sink.write(NOTICES)


def test_a_disk_that_is_full_leaves_no_half_file(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    sink = sink_of(tmp_path, 'kind = "file"\nfolder = "out"\n')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(SinkError, match="cannot be written"):
            sink.write(NOTICES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert files(tmp_path) == []
    sink.write(NOTICES)
    assert len(files(tmp_path)) == 1


# -- a service ------------------------------------------------------------------------------------------------------


class Service(BaseHTTPRequestHandler):
    """Keeps what is posted; answers what stands in `answers`, 200 after them."""

    posted: list[tuple[dict[str, str], bytes]]
    answers: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append((dict(self.headers), body))
        self.send_response(self.answers.pop(0) if self.answers else 200)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def service(*answers: int) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    handler = type("Handler", (Service,), {"posted": [], "answers": list(answers)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hits", handler.posted  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_webhook_is_signed_over_its_time_and_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING", "s3cret")
    with service() as (url, posted):
        sink_of(tmp_path, f'kind = "webhook"\nurl = "{url}"\nsigning_key_env = "SIGNING"\n').write(
            NOTICES[:1]
        )
    ((headers, body),) = posted
    assert json.loads(body)["notice"] == headers["Idempotency-Key"] == NOTICES[0].notice
    told = dict(part.split("=") for part in headers["Dief-Signature"].split(","))
    expected = hmac.new(b"s3cret", f"{told['t']}.".encode() + body, hashlib.sha256).hexdigest()
    assert told["v1"] == expected
    assert signature(b"s3cret", body, int(told["t"])) == headers["Dief-Signature"]
    assert b"s3cret" not in body


def test_a_rest_service_sees_its_key_and_409_means_that_it_has_the_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "Bearer abc")
    with service(201, 409) as (url, posted):
        sink_of(tmp_path, f'kind = "rest"\nurl = "{url}"\nkey_env = "KEY"\n').write(NOTICES[:2])
    assert [headers["Authorization"] for headers, _ in posted] == ["Bearer abc"] * 2


@pytest.mark.parametrize("status", [302, 400, 401, 500, 503])
def test_any_other_answer_is_no_delivery_and_a_redirect_is_not_followed(tmp_path: Path, status: int) -> None:
    with service(status) as (url, posted):
        sink = sink_of(tmp_path, f'kind = "rest"\nurl = "{url}"\n')
        with pytest.raises(SinkError, match=str(status)):
            sink.write(NOTICES[:1])
        assert len(posted) == 1


def test_a_service_that_is_away_is_told_without_its_address(tmp_path: Path) -> None:
    with pytest.raises(SinkError) as raised:
        sink_of(tmp_path, 'kind = "rest"\nurl = "http://127.0.0.1:1/secret-path"\n').write(NOTICES[:1])
    assert "secret-path" not in str(raised.value)


@pytest.mark.parametrize(
    "settings",
    [
        'kind = "rest"\nurl = "http://registry.example/hits"\n',
        'kind = "rest"\nurl = "https://user:pass@registry.example/hits"\n',
        'kind = "webhook"\nurl = "https://registry.example/hits"\n',
        'kind = "webhook"\nurl = "https://registry.example/hits"\nsigning_key_env = "NOT_SET_ANYWHERE"\n',
        'kind = "rest"\nurl = "https://registry.example/hits"\nca = "missing.pem"\n',
    ],
)
def test_an_address_or_key_that_may_not_be_used_stops_before_anything_is_sent(
    tmp_path: Path, settings: str
) -> None:
    with pytest.raises(MappingError) as raised:
        sink_of(tmp_path, settings)
    assert "user:pass" not in str(raised.value)


# -- rounds ---------------------------------------------------------------------------------------------------------


@contextmanager
def rounds(folder: Path, server: RegistryServer, sink: Sink, *tell: str) -> Iterator[WriteBack]:
    with State.open(folder / "state", "holdings") as state, server.client(patience=5) as client:
        yield WriteBack(
            "holdings", sink, tell or ("HIT", "HIT_CLEARED", "HIT_DECIDED", "OUTCOME"), client, state
        )


class Failing:
    """A real sink that fails after the notices are safe, as a kill before the acknowledgement would."""

    kind = "sql"

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.fail = True

    def check(self) -> None:
        self.sink.check()

    def write(self, notices: Any) -> None:
        self.sink.write(notices)
        if self.fail:
            raise SinkError("gone", "come again")


def test_hits_are_acknowledged_only_once_they_are_safe_and_doubled_never(tmp_path: Path) -> None:
    file = table(tmp_path)
    sink = Failing(sink_of(tmp_path, SQL))
    with RegistryServer(tmp_path) as server, rounds(tmp_path, server, sink) as write_back:
        server.hits = [hit(n) for n in range(450)]
        with pytest.raises(SinkError):
            write_back.round()
        assert (len(rows(file)), server.acknowledged) == (200, set())
        sink.fail = False
        assert write_back.round().hits == 450
        assert len(rows(file)) == len(server.acknowledged) == 450
        assert write_back.round().hits == 0


def test_kinds_that_the_registry_does_not_want_are_acknowledged_and_not_written(tmp_path: Path) -> None:
    file = table(tmp_path)
    with RegistryServer(tmp_path) as server, rounds(tmp_path, server, sink_of(tmp_path, SQL), "HIT") as back:
        server.hits = [hit(1), hit(2, 2, watch_pb2.HIT_STATE_CLEARED)]
        server.standings = [standing("7", draft_pb2.DRAFT_STATE_RELEASED, 1_790_000_000)]
        assert (back.round().hits, len(server.acknowledged)) == (1, 2)
        assert [row[2] for row in rows(file)] == ["HIT"]


def test_an_outcome_is_told_once_and_again_only_when_it_changes(tmp_path: Path) -> None:
    file = table(tmp_path)
    with RegistryServer(tmp_path) as server, rounds(tmp_path, server, sink_of(tmp_path, SQL)) as back:
        server.standings = [
            standing("7", draft_pb2.DRAFT_STATE_WAITING, 1_790_000_000),
            standing("8", draft_pb2.DRAFT_STATE_REFUSED, 1_790_000_100, reason="No."),
        ]
        assert back.round().outcomes == 2
        assert back.round().outcomes == 0
        server.standings[0] = standing(
            "7", draft_pb2.DRAFT_STATE_RELEASED, 1_790_000_200, alert="alerts/XA/x", revision=1
        )
        assert back.round().outcomes == 1
    assert [(row[1], row[2]) for row in rows(file)] == [("7", "OUTCOME"), ("7", "OUTCOME"), ("8", "OUTCOME")]


def test_a_failing_sink_waits_and_goes_on_by_itself(tmp_path: Path) -> None:
    file = table(tmp_path)
    sink = Failing(sink_of(tmp_path, SQL))
    seen: list[str] = []
    with RegistryServer(tmp_path) as server, State.open(tmp_path / "state", "holdings") as state:
        server.hits = [hit(1)]
        with server.client(patience=5) as client:

            def told(outcome: Any) -> None:
                seen.append(type(outcome).__name__)
                sink.fail = False
                if seen[-1] == "Told":
                    client.stop.set()

            WriteBack("holdings", sink, ("HIT",), client, state).follow(0.05, told)
    assert seen == ["SinkError", "Told"]
    assert len(rows(file)) == 1
