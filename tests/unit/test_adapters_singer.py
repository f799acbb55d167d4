"""Singer taps as sources: a real program that speaks Singer, and what becomes of it when it dies, hangs or babbles."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from registry_adapters import Cursor, Mapping, Milestone, Row, open_source
from registry_adapters.errors import MappingError, SchemaDriftError, SourceError
from registry_adapters.sources.singer import SingerSource
from registry_adapters.sources.singer_settings import SingerSettings
from tests.support.waiting import until

TAP = Path(__file__).parents[1] / "support" / "singer_tap.py"


class Tap:
    """A tap, its rows and its configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {"rows": str(folder / "rows.json")}

    def source(self, needed: tuple[str, ...] = (), **more: object) -> SingerSource:
        """A source over the rows as they are now."""
        (self.folder / "rows.json").write_text(json.dumps(self.rows), encoding="utf-8")
        (self.folder / "config.json").write_text(json.dumps(self.config), encoding="utf-8")
        given = {
            "kind": "singer",
            "command": [sys.executable, str(TAP)],
            "tap_stream": "arms",
            "key": ["id"],
            "config": "config.json",
            "end_seconds": 60,
            **more,
        }
        return SingerSource(SingerSettings.model_validate(given), self.folder, frozenset(needed))

    def fault(self, at: object, **what: object) -> None:
        """Something goes wrong before a record, at the "end" or "after" all."""
        self.config["fault"] = {"at": at, **what}


def arm(number: int, **more: object) -> dict[str, Any]:
    return {"id": f"k{number}", "updated": f"2026-11-01T10:00:{number:02}Z", "serial": f"S{number}", **more}


@pytest.fixture
def tap(tmp_path: Path) -> Tap:
    return Tap(tmp_path)


def read(source: SingerSource, cursor: Cursor | None = None) -> tuple[list[Row], Milestone]:
    parts = list(source.read(cursor))
    last = parts[-1]
    assert isinstance(last, Milestone)
    return [part for part in parts if isinstance(part, Row)], last


def stored(part: Row | Milestone) -> Cursor | None:
    return Cursor.decode(part.cursor.encode(), "singer")


def failed(source: SingerSource, cursor: Cursor | None = None) -> tuple[list[Row], SourceError]:
    found: list[Row | Milestone] = []
    with pytest.raises(SourceError) as raised:
        any(found.append(part) for part in source.read(cursor))  # type: ignore[func-returns-value]
    assert "secret" not in str(raised.value)
    rows = [part for part in found if isinstance(part, Row)]
    assert len(rows) == len(found), "a run that fails completes nothing"
    return rows, raised.value


def test_records_of_the_chosen_stream_are_rows_and_the_state_goes_on(tap: Tap) -> None:
    tap.rows = [arm(n, holder={"name": f"N{n}"}) for n in range(5)]
    source = tap.source()
    found, end = read(source)
    assert [row.key for row in found] == [f"k{n}" for n in range(5)]
    assert found[3].values["holder.name"] == "N3"
    assert source.columns()[:3] == ("id", "updated", "serial")
    assert not end.completed_scan, "changes alone do not tell what is gone"
    tap.rows += [arm(7), arm(6)]
    again, _ = read(tap.source(), stored(end))
    assert [row.key for row in again] == ["k4", "k6", "k7"], "from the bookmark on"


def test_run_goes_on_after_any_row_without_losing_one(tap: Tap) -> None:
    tap.rows = [arm(n) for n in range(8)]
    found, _ = read(tap.source())
    for stop in range(8):
        rest, _ = read(tap.source(), stored(found[stop]))
        assert {row.key for row in found[: stop + 1]} | {row.key for row in rest} == {
            f"k{n}" for n in range(8)
        }


def test_state_comes_back_to_the_tap_as_it_gave_it(tap: Tap) -> None:
    more = {"offset": 1.5, "at": {"$date": "2026-11-01"}, "none": None, "text": 'ü"\\'}
    tap.config |= {"more_state": more, "record": str(tap.folder / "record.json")}
    tap.rows = [arm(n) for n in range(4)]
    found, _ = read(tap.source())
    tap.fault(0, exit=0)
    list(tap.source().read(stored(found[3])))
    state = json.loads((tap.folder / "record.json").read_text())["state"]
    assert {name: state[name] for name in more} == more


def test_numbers_keep_their_digits(tap: Tap) -> None:
    tap.fault(
        "end", raw='{"type":"RECORD","stream":"arms","record":{"id":12345678901234567890123,"v":7.620}}\n'
    )
    found, _ = read(tap.source())
    assert found[0].key == "12345678901234567890123"
    assert found[0].values["v"] == Decimal("7.620")


def test_marked_row_is_deleted(tap: Tap) -> None:
    tap.rows = [arm(1), arm(2, _sdc_deleted_at="2026-11-01T00:00:00Z"), arm(3, _sdc_deleted_at=None)]
    found, _ = read(tap.source())
    assert [row.deleted for row in found] == [False, True, False]


# -- What is gone


def test_complete_tap_tells_what_is_gone_only_when_it_ended_well(tap: Tap) -> None:
    tap.config["mode"] = "full"
    tap.rows = [arm(1), arm(2)]
    found, end = read(tap.source(complete=True))
    assert end.completed_scan
    assert {row.scan for row in found} == {end.completed_scan}
    tap.fault(1, exit=3)
    failed(tap.source(complete=True), stored(end))


def test_activated_version_tells_what_is_gone_once(tap: Tap) -> None:
    tap.config |= {"mode": "versioned", "version": 1}
    tap.rows = [arm(1), arm(2)]
    found, end = read(tap.source())
    assert {row.scan for row in found} == {end.completed_scan} == {"version 1"}
    tap.config |= {"mode": "changes"}
    changed, end = read(tap.source(), stored(end))
    assert not end.completed_scan, "a tap of changes says its version in every run: nothing is gone"
    assert {row.scan for row in changed} == {""}
    tap.config |= {"mode": "versioned", "version": 2}
    _, end = read(tap.source(), stored(end))
    assert end.completed_scan == "version 2"


def test_version_is_not_complete_where_the_tap_died_after_it(tap: Tap) -> None:
    tap.config |= {"mode": "versioned", "version": 1}
    tap.rows = [arm(1)]
    tap.fault("after", exit=1)
    failed(tap.source())


def test_stream_that_the_tap_does_not_describe_tells_nothing_as_gone(tap: Tap) -> None:
    tap.config |= {"silent": True}
    found, error = failed(tap.source(complete=True))
    assert not found
    assert error.reason == "TAP_STREAM_MISSING"


# -- Taps that fail


@pytest.mark.parametrize(
    ("what", "words"),
    [({"exit": 3}, "exit code 3"), ({"signal": 9}, "signal 9"), ({"signal": 15}, "signal 15")],
)
def test_tap_that_dies_in_the_middle_fails_the_run_and_its_rows_stay_valid(
    tap: Tap, what: dict[str, object], words: str
) -> None:
    tap.rows = [arm(n) for n in range(6)]
    tap.fault(5, stderr="secret line\nsecret line\n", **what)
    found, error = failed(tap.source())
    assert [row.key for row in found] == [f"k{n}" for n in range(5)]
    assert error.reason == "TAP_FAILED"
    assert words in error.diagnosis
    assert "2 lines" in error.diagnosis
    del tap.config["fault"]
    rest, _ = read(tap.source(), stored(found[-1]))
    assert {row.key for row in rest} >= {"k4", "k5"}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("deaf", [False, True])
def test_tap_that_is_silent_too_long_is_ended(tap: Tap, deaf: bool) -> None:
    tap.rows = [arm(n) for n in range(4)]
    tap.fault(2, hang=True, deaf=deaf, pid=str(tap.folder / "pid"))
    found, error = failed(tap.source(idle_seconds=5, end_seconds=1))
    assert [row.key for row in found] == ["k0", "k1"]
    assert error.reason == "TAP_HANGS"
    assert "idle_seconds" in error.diagnosis
    pid = int((tap.folder / "pid").read_text())
    assert not _alive(pid)


def test_tap_that_says_its_last_and_stays_is_ended(tap: Tap) -> None:
    tap.rows = [arm(1)]
    tap.fault("after", closed=True, hang=True)
    _, error = failed(tap.source(end_seconds=1))
    assert error.reason == "TAP_HANGS"
    assert "end_seconds" in error.diagnosis


def test_tap_is_ended_when_reading_ends_early(tap: Tap) -> None:
    tap.rows = [arm(n) for n in range(4)]
    tap.fault(0, pid=str(tap.folder / "pid"))
    parts = tap.source(end_seconds=5).read(None)
    assert isinstance(next(parts), Row)
    close: Callable[[], None] = parts.close  # type: ignore[attr-defined]
    close()
    pid = int((tap.folder / "pid").read_text())
    until(lambda: not _alive(pid), "the end of the tap", seconds=60)


@pytest.mark.parametrize(
    "raw",
    [
        "starting up, secret\n",
        '{"type":"RECORD","stream":"arms","record":{"id":"secret"\n',
        "[1]\n",
        '{"stream":"arms"}\n',
        '{"type":5}\n',
        '{"type":"SECRET"}\n',
        "\x00\x01secret\n",
        '{"type":"STATE","value":NaN}\n',
        "[" * 5000 + "\n",
    ],
)
def test_garbage_is_told_by_its_line_without_its_content(tap: Tap, raw: str) -> None:
    tap.rows = [arm(n) for n in range(4)]
    tap.fault(2, raw=raw)
    found, error = failed(tap.source())
    assert [row.key for row in found] == ["k0", "k1"]
    assert error.reason == "TAP_GARBAGE"
    assert "Line 7" in error.diagnosis


def test_message_without_its_end_is_garbage_only_where_it_is_cut(tap: Tap) -> None:
    tap.fault("after", raw='{"type":"RECORD","stream":"arms","record":{"id":"9"}}')
    assert [row.key for row in read(tap.source())[0]] == ["9"]
    tap.fault("after", raw='{"type":"RECORD","stream":"arms","rec')
    assert failed(tap.source())[1].reason == "TAP_GARBAGE"


def test_record_that_is_too_long_is_handed_over_with_its_fault(tap: Tap) -> None:
    tap.config |= {"mode": "full"}
    tap.rows = [arm(n) for n in range(4)]
    tap.fault(2, long="RECORD", bytes=3_000_000)
    source = tap.source(max_line_bytes=4096, complete=True)
    found, end = read(source)
    assert [row.key for row in found] == ["k0", "k1", None, "k2", "k3"]
    assert found[2].faults[0].reason == "RECORD_TOO_LARGE"
    assert len(found[2].raw) <= 4096
    assert found[2].scan == end.completed_scan, "so that nothing counts as gone in this pass"
    assert source.restored(found[2]).faults


def test_state_that_is_too_long_fails_the_run(tap: Tap) -> None:
    tap.rows = [arm(0)]
    tap.fault(0, long="STATE", bytes=10_000)
    assert failed(tap.source(max_line_bytes=4096))[1].reason == "LINE_TOO_LARGE"
    tap.config = {"rows": tap.config["rows"], "more_state": {"x": "y" * 70_000}}
    tap.rows = [arm(0), arm(1)]
    assert failed(tap.source())[1].reason == "TAP_STATE_TOO_LARGE"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ('{"id":"1","serial":"a","serial":"b"}', "MEMBER_TWICE"),
        ("[]", "NOT_AN_OBJECT"),
        ("null", "NOT_AN_OBJECT"),
        ('{"serial":"a"}', "KEY_MISSING"),
        ('{"id":"1","x":' + "[" * 60 + "]" * 60 + "}", "TOO_DEEP"),
    ],
)
def test_bad_record_is_handed_over_with_its_fault(tap: Tap, record: str, reason: str) -> None:
    tap.rows = [arm(5)]
    tap.fault("end", raw=f'{{"type":"RECORD","stream":"arms","record":{record}}}\n')
    found, _ = read(tap.source())
    assert [fault.reason for fault in found[1].faults] == [reason]


def test_rows_in_files_are_refused_rather_than_lost(tap: Tap) -> None:
    tap.fault("end", raw='{"type":"BATCH","stream":"arms","manifest":["file:///x"]}\n')
    assert failed(tap.source())[1].reason == "TAP_BROKEN"


def test_record_before_its_schema_is_refused(tap: Tap) -> None:
    tap.config["silent"] = True
    tap.rows = [arm(1)]
    assert failed(tap.source())[1].reason == "TAP_BROKEN"


# -- Columns


def test_column_that_the_schema_lacks_stops_the_run_before_a_row(tap: Tap) -> None:
    tap.rows = [arm(1)]
    tap.config |= {"without": ["serial"], "properties": {"serial_no": {}}}
    with pytest.raises(SchemaDriftError, match="serial_no"):
        next(tap.source(needed=("serial",)).read(None))
    with pytest.raises(SchemaDriftError, match="no column owner"):
        next(tap.source(needed=("owner.name",)).read(None))


def test_key_that_is_not_the_taps_stops_the_run(tap: Tap) -> None:
    tap.config["keys"] = ["id", "serial"]
    with pytest.raises(SchemaDriftError, match="key_properties"):
        list(tap.source().read(None))
    tap.config["keys"] = []
    read(tap.source())


def test_catalog_tells_the_columns_and_is_given_to_the_tap(tap: Tap) -> None:
    catalog = {
        "streams": [
            {"stream": "arms", "schema": {"properties": {"id": {}, "holder": {"properties": {"n": {}}}}}}
        ]
    }
    (tap.folder / "catalog.json").write_text(json.dumps(catalog))
    tap.config["record"] = str(tap.folder / "record.json")
    source = tap.source(catalog="catalog.json", catalog_option="--properties")
    assert source.columns() == ("id", "holder", "holder.n")
    read(source)
    noted = json.loads((tap.folder / "record.json").read_text())
    assert noted["arguments"][2:] == ["--properties", str(tap.folder / "catalog.json")]
    for broken in ("{}", "no json", '{"streams":[{"stream":"owners"}]}'):
        (tap.folder / "catalog.json").write_text(broken)
        with pytest.raises(SourceError, match="catalog"):
            tap.source(catalog="catalog.json").columns()


# -- Surroundings


def test_tap_sees_little_of_the_environment(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIEF_TEST_SECRET", "secret")
    monkeypatch.setenv("DIEF_TEST_TOKEN", "token")
    tap.config["record"] = str(tap.folder / "record.json")
    read(tap.source(environment=["DIEF_TEST_TOKEN"]))
    noted = json.loads((tap.folder / "record.json").read_text())
    assert noted["environment"]["DIEF_TEST_TOKEN"] == "token"
    allowed = {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "DIEF_TEST_TOKEN"}
    assert {*noted["environment"]} <= allowed
    assert noted["folder"] == str(tap.folder)
    monkeypatch.delenv("DIEF_TEST_TOKEN")
    with pytest.raises(MappingError, match="DIEF_TEST_TOKEN"):
        read(tap.source(environment=["DIEF_TEST_TOKEN"]))


def test_messages_for_people_are_counted_and_kept_only_where_the_mapping_says(tap: Tap) -> None:
    tap.rows = [arm(1)]
    tap.fault(0, stderr="secret words\n" * 50_000)
    source = tap.source(stderr_file="tap.log")
    read(source)
    assert "50000 lines" in source.report.facts["messages"]
    log = tap.folder / "tap.log"
    assert log.read_text().startswith("secret words")
    assert log.stat().st_mode & 0o077 == 0
    log.unlink()
    log.symlink_to(tap.folder / "elsewhere")
    with pytest.raises(MappingError, match="stderr_file"):
        read(source)


@pytest.mark.parametrize("command", [["./no-such-tap"], ["dief-no-such-tap"], ["."]])
def test_tap_that_is_not_there_is_told(tap: Tap, command: list[str]) -> None:
    assert failed(tap.source(command=command))[1].reason == "TAP_NOT_FOUND"


MAPPING = """
version = 1
stream = "arms"

[source]
kind = "singer"
command = ["{python}", "{tap}"]
config = "config.json"
tap_stream = "arms"
key = ["id"]

[select]
draft = {{ column = "serial", present = true }}

[constants]
originator = "XA"

[[field]]
to = "items[0].serials[0].as_read"
column = "serial"
"""


def test_mapping_file_names_a_tap(tap: Tap) -> None:
    tap.rows = [arm(1), arm(2)]
    tap.source()
    path = tap.folder / "mapping.toml"
    path.write_text(MAPPING.format(python=sys.executable, tap=TAP))
    opened = open_source(Mapping.load(path))
    assert isinstance(opened, SingerSource)
    assert [row.key for row in read(opened)[0]] == ["k1", "k2"]
