"""Facts out of free text, files without a header, and words that mean that a cell is empty."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from registry_adapters import Mapping, open_source
from registry_adapters.errors import MappingError, Reject, SchemaDriftError
from registry_adapters.source import Cursor, Row
from registry_adapters.sources.csv_files import CsvSource
from tests.support.dropped import put, reasons, rows
from tests.support.registries import SAMPLES

MAPPING = """\
version = 1
stream = "entries"

[source]
kind = "csv"
folder = "."
pattern = "*.csv"
encoding = "utf-8"
separator = ","
header = ["number", "name", "remarks"]
blank = ["-0-"]
key = ["number", "name"]
blank_in_key = ["name"]
complete = true
settle_seconds = 0

[watch]
kind = "LIST_ENTRY"

[[watch.term]]
kind = "IMO"
column = "remarks"
pattern = 'IMO ([0-9]{7})'

[[watch.term]]
kind = "PARTY_NAME"
template = "{name} of {remarks}"
when = { column = "remarks", equals = "lume" }
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "mapping.toml").write_text(MAPPING, encoding="utf-8")
    return tmp_path / "mapping.toml"


def test_file_without_a_header_is_read_by_the_names_of_the_mapping(tmp_path: Path, path: Path) -> None:
    put(tmp_path, "a.csv", '1,"A",-0- \n2,-0- ,"x"\r\n\x1a\n')
    source = open_source(Mapping.load(path))
    assert source.columns() == ("number", "name", "remarks")
    found = rows(source)
    assert [(row.key, row.values["remarks"]) for row in found] == [("1/A", ""), ("2/", "x")]
    again = rows(source, Cursor.decode(found[0].cursor.encode(), "csv"))
    assert [row.key for row in again] == ["2/"]


def test_key_needs_what_the_mapping_does_not_let_off(tmp_path: Path, path: Path) -> None:
    put(tmp_path, "a.csv", "-0-,A,x\n-0-,-0-,x\n")
    found = rows(open_source(Mapping.load(path)))
    assert [reasons(row) for row in found] == [{"number": "KEY_MISSING"}] * 2


def test_header_that_the_file_has_after_all_is_no_row(tmp_path: Path, path: Path) -> None:
    put(tmp_path, "a.csv", "number,name,remarks\n1,A,x\n")
    assert [row.key for row in rows(open_source(Mapping.load(path)))] == ["1/A"]


def test_file_that_does_not_fit_the_header_of_the_mapping_stops_the_run(tmp_path: Path, path: Path) -> None:
    put(tmp_path, "a.csv", "1,A,x,new\n")
    with pytest.raises(SchemaDriftError, match=r"a\.csv has 4 fields in line 1, but `header` names 3"):
        rows(open_source(Mapping.load(path)))


def test_broken_row_behind_the_first_goes_into_quarantine_and_can_be_looked_at_again(
    tmp_path: Path, path: Path
) -> None:
    put(tmp_path, "a.csv", "1,A,x\n2,B\n")
    source = open_source(Mapping.load(path))
    assert isinstance(source, CsvSource)
    [_, torn] = rows(source)
    assert reasons(torn) == reasons(source.restored(torn)) == {"": "FIELD_COUNT"}


def test_empty_file_without_a_header_is_no_complete_pass(tmp_path: Path, path: Path) -> None:
    put(tmp_path, "a.csv", "\n")
    parts = list(open_source(Mapping.load(path)).read(None))
    assert not any(getattr(part, "completed_scan", "") for part in parts)


def changed(path: Path, old: str, new: str) -> None:
    """Change a mapping file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def terms(path: Path, **values: object) -> list[tuple[str, str]]:
    mapped = Mapping.load(path).map(Row("1", {"number": "1", **values}, "x:1", Cursor("csv", {})))
    return (
        []
        if mapped is None or mapped.watch is None
        else [(term.value, term.field) for term in mapped.watch.terms]
    )


def test_each_place_that_a_pattern_finds_is_a_fact(path: Path) -> None:
    assert terms(path, remarks="IMO 1234567; IMO 7654321") == [
        ("1234567", "remarks"),
        ("7654321", "remarks(1)"),
    ]
    assert terms(path, remarks="IMO unknown") == []


def test_template_makes_one_fact_of_several_columns(path: Path) -> None:
    assert terms(path, name="House\n", remarks="Lume") == [("House of Lume", "name+remarks")]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("IMO ([0-9]{7})", "IMO [0-9]{7}", "regular expression with one group"),
        ("IMO ([0-9]{7})", "IMO ([0-9]{7}", "regular expression with one group"),
        ('template = "{name} of {remarks}"', 'template = "{@.name}"', "needs `each`"),
        ('template = "{name} of {remarks}"', "", "needs column or template"),
        ('"name", "remarks"]', '"name", "name"]', "`header` names a column twice"),
        ('blank_in_key = ["name"]', 'blank_in_key = ["name", "number"]', "not all of them"),
        ('blank_in_key = ["name"]', 'blank_in_key = ["remarks"]', "not all of them"),
    ],
)
def test_errors_in_these_settings_are_told(path: Path, old: str, new: str, words: str) -> None:
    changed(path, old, new)
    with pytest.raises(MappingError) as raised:
        Mapping.load(path)
    assert words in raised.value.diagnosis


def test_pattern_of_a_field_takes_what_is_found_first_and_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "denials"
    shutil.copytree(SAMPLES / "denials", home)
    for file in (home / "drop").iterdir():
        os.utime(file, (1_700_000_000, 1_700_000_000))
    path = home / "mapping.toml"
    column = 'column = "regime_reg_ref"\n'
    changed(path, column, f"{column}pattern = '(XA-[0-9]+)'\n")
    mapping = Mapping.load(path)
    [first, *_] = rows(open_source(mapping))
    mapped = mapping.map(first)
    assert mapped is not None
    assert mapped.draft is not None
    assert mapped.draft[0].alert.national_reference == "XA-7001"
    with pytest.raises(Reject) as raised:
        mapping.map(Row("1", {**first.values, "regime_reg_ref": "7001"}, "x:1", first.cursor))
    assert [(fault.field, fault.reason) for fault in raised.value.faults] == [
        ("national_reference", "MISSING")
    ]
    changed(path, f"{column}pattern", 'value = "x"\npattern')
    with pytest.raises(MappingError, match="not into a value"):
        Mapping.load(path)
