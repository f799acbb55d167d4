"""CSV files as registries really drop them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from registry_adapters import Cursor, Milestone, Row
from registry_adapters.errors import SchemaDriftError, SourceError
from registry_adapters.mapping.file import CsvSettings
from registry_adapters.sources.csv_files import CsvSource
from registry_adapters.sources.csv_text import detect_encoding

CASES = Path(__file__).parents[3] / "shared" / "cases"


def source(folder: Path, key: str = "id", needed: tuple[str, ...] = (), **settings: object) -> CsvSource:
    given = {"kind": "csv", "folder": folder, "key": [key], "settle_seconds": 0, **settings}
    return CsvSource(CsvSettings.model_validate(given), folder, frozenset(needed))


def rows(reader: CsvSource, cursor: Cursor | None = None) -> list[Row]:
    return [part for part in reader.read(cursor) if isinstance(part, Row)]


def end(reader: CsvSource, cursor: Cursor | None = None) -> Cursor | None:
    parts = list(reader.read(cursor))
    return Cursor.decode(parts[-1].cursor.encode(), "csv") if parts else cursor


def put(folder: Path, name: str, data: bytes, age: float = 60) -> Path:
    file = folder / name
    file.write_bytes(data)
    changed = file.stat().st_mtime - age
    os.utime(file, (changed, changed))
    return file


@pytest.mark.parametrize(
    ("encoding", "separator"),
    [("utf-8-sig", ","), ("utf-16", "\t"), ("utf-16-le", "\t"), ("utf-8", ";"), ("cp1252", ";")],
)
def test_encoding_and_separator_are_detected(tmp_path: Path, encoding: str, separator: str) -> None:
    text = f"id{separator}name\r\n1{separator}São João\r\n2{separator}Niterói da Silva\r\n"
    put(tmp_path, "a.csv", text.encode(encoding))
    reader = source(tmp_path)
    found = rows(reader)
    assert [row.key for row in found] == ["1", "2"], "a byte order mark is no part of the first header"
    assert found[0].values["name"] == "São João"
    assert reader.columns() == ("id", "name")
    shown = separator.replace("\t", "\\t")
    assert f'separator = "{shown}"' in reader.report.facts["write into [source]"]
    fixed = source(tmp_path, encoding=encoding, separator=separator)
    assert rows(fixed)[1].values["name"] == "Niterói da Silva"
    assert "write into [source]" not in fixed.report.facts


def test_utf8_mark_wins_over_a_declared_encoding(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id,name\n1,São\n".encode("utf-8-sig"))
    assert rows(source(tmp_path, encoding="cp1252"))[0].values["name"] == "São"


def test_unknown_header_is_told_with_escapes_and_the_nearest_name(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "id,ref\u200berence\n1,x\n".encode())
    with pytest.raises(SchemaDriftError) as raised:
        rows(source(tmp_path, needed=("reference",)))
    assert "'ref\\u200berence'" in raised.value.diagnosis
    assert "nearest" in raised.value.diagnosis


def test_column_that_is_needed_and_stands_there_twice_stops_the_run(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"id,x,x\n1,a,b\n")
    with pytest.raises(SchemaDriftError, match="more than one column 'x'"):
        rows(source(tmp_path, needed=("x",)))
    assert len(rows(source(tmp_path))) == 1
    assert source(tmp_path).columns() == ("id", "x")


def test_number_that_a_spreadsheet_wrote_in_powers_of_ten_is_never_a_serial(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"id;serial;note\n1;1,2E+46;1,2E+46\n2;12E45;\n")
    reader = source(tmp_path, identifier_columns=("serial",))
    spoiled, good = rows(reader)
    assert [(fault.column, fault.reason) for fault in spoiled.faults] == [("serial", "POWER_OF_TEN")]
    assert not good.faults
    assert reader.restored(spoiled).faults, "a replay does not forget the doubt"
    assert not source(tmp_path, identifier_columns=()).restored(spoiled).faults


def test_record_that_was_cut_at_its_limit_stays_a_fault_when_it_is_looked_at_again(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"id;x\n1;" + b"x" * 5000 + b"\n")
    [row] = rows(source(tmp_path, max_record_bytes=1024))
    assert source(tmp_path).restored(row).faults[0].reason == "RECORD_TOO_LARGE"


def test_file_without_a_header_is_no_complete_pass(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"\n\n")
    [part] = source(tmp_path, complete=True).read(None)
    assert isinstance(part, Milestone)
    assert part.completed_scan == ""


def test_repeated_header_is_no_row(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"id;x\n1;a\nid;x\n2;b\n")
    assert [row.key for row in rows(source(tmp_path))] == ["1", "2"]


def test_unquoted_separators_belong_to_the_last_column_if_the_mapping_says_so(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"id;remarks\n1;a; b; c\n")
    assert rows(source(tmp_path, overflow="remarks"))[0].values["remarks"] == "a; b; c"
    [torn] = rows(source(tmp_path))
    assert torn.faults[0].reason == "FIELD_COUNT"
    assert torn.raw == "1;a; b; c"


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        (b'2;"never closed', ["1", None, "3", "4"]),
        (b'2;5" barrel', ["1", "2", "3", "4"]),
        (b'2;"two\nlines"', ["1", "2", "3", "4"]),
        (b'2;"closed" too early', ["1", None, "3", "4"]),
        (b"2;\x81\x8d", ["1", "2", "3", "4"]),
        (b"2;" + b"x" * 50_000, ["1", None, "3", "4"]),
    ],
)
def test_bad_record_never_spoils_the_next(tmp_path: Path, line: bytes, keys: list[str | None]) -> None:
    put(tmp_path, "a.csv", b"id;x\n1;a\n" + line + b"\n3;c\n4;d\n")
    found = rows(source(tmp_path, encoding="cp1252", separator=";", max_record_bytes=1024))
    assert [row.key for row in found] == keys


def test_file_is_taken_once_it_has_settled(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"id,x\n1,a\n", age=0)
    reader = source(tmp_path, settle_seconds=1000)
    assert rows(reader) == []
    assert reader.report.waiting == ["a.csv"]
    put(tmp_path, "a.csv", b"id,x\n1,a\n", age=2000)
    assert len(rows(reader)) == 1


def test_file_is_taken_once_its_done_mark_lies_beside_it(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"id,x\n1,a\n")
    reader = source(tmp_path, handover="done")
    assert rows(reader) == []
    put(tmp_path, "a.csv.done", b"")
    assert len(rows(reader)) == 1


def test_unfinished_and_hidden_names_are_never_read(tmp_path: Path) -> None:
    for name in (".a.csv", "b.csv.part", "c.csv.tmp"):
        put(tmp_path, name, b"id,x\n1,a\n")
    assert rows(source(tmp_path, pattern="*")) == []


def test_file_that_grows_while_it_is_read_waits_for_the_next_run(tmp_path: Path) -> None:
    file = put(tmp_path, "b.csv", b"id,x\n2,b\n", age=10)
    put(tmp_path, "a.csv", b"id,x\n1,a\n", age=60)
    reader = source(tmp_path)
    parts = reader.read(None)
    found = [next(parts)]
    file.write_bytes(b"id,x\n2,b\n3,c\n")
    found += list(parts)
    assert [part.key for part in found if isinstance(part, Row)] == ["1"]
    assert reader.report.waiting == ["b.csv"]
    assert [row.key for row in rows(reader, found[-1].cursor)] == ["2", "3"]


def test_cursor_resumes_inside_a_file_and_skips_files_that_were_read(tmp_path: Path) -> None:
    put(tmp_path, "b.csv", b"id,x\n4,d\n", age=10)
    put(tmp_path, "a.csv", b"id,x\n1,a\n2,b\n3,c\n", age=60)
    first = rows(source(tmp_path))
    assert [row.key for row in first] == ["1", "2", "3", "4"], "oldest file first"
    for seen in range(4):
        rest = rows(source(tmp_path), Cursor.decode(first[seen].cursor.encode(), "csv"))
        assert [row.key for row in rest] == ["1", "2", "3", "4"][seen + 1 :]
    assert rows(source(tmp_path), end(source(tmp_path))) == []


def test_ledger_forgets_files_that_are_gone_and_bounds_the_rest(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv", b"id,x\n1,a\n")
    cursor = end(source(tmp_path))
    file.unlink()
    put(tmp_path, "b.csv", b"id,x\n2,b\n")
    after = end(source(tmp_path), cursor)
    assert after is not None
    assert cursor is not None
    assert len(str(after.state["done"])) == len(str(cursor.state["done"])), "one file each"
    put(tmp_path, "c.csv", b"id,x\n")
    with pytest.raises(SourceError, match="max_files"):
        rows(source(tmp_path, max_files=1))


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="drop folder"):
        rows(source(tmp_path / "absent"))


def test_complete_file_ends_with_its_pass(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"id,x\n1,a\n")
    parts = list(source(tmp_path, complete=True).read(None))
    assert isinstance(parts[-1], Milestone)
    assert isinstance(parts[0], Row)
    assert parts[-1].completed_scan == parts[0].scan != ""


def test_short_sample_that_cuts_a_character_is_still_utf8() -> None:
    assert detect_encoding("abç".encode()[:-1]) == ("utf-8", True)
    assert detect_encoding("abç".encode("cp1252") + b" d") == ("cp1252", False)


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_shared_cases_are_read_whole() -> None:
    traps: dict[str, Any] = {"pattern": "spreadsheet_traps_cp1252.csv", "overflow": "observacoes"}
    found = rows(source(CASES, "num_cadastro", encoding="cp1252", separator=";", quote="", **traps))
    lines = (CASES / "spreadsheet_traps_cp1252.csv").read_bytes().decode("cp1252").splitlines()
    assert len(found) == len([line for line in lines[1:] if line.strip() and line != lines[0]])
    assert not any(row.faults for row in found)
    denials = rows(source(CASES, "regime_reg_ref", pattern="lite_denials_valid.csv"))
    assert len(denials) == 7
    with pytest.raises(SchemaDriftError):
        rows(source(CASES, "regime_reg_ref", ("reference",), pattern="lite_denials_old_header.csv"))
