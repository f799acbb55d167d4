"""Every kind of file keeps to the rules of sources, on good and on broken rows, and leaves the folder as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from registry_adapters import Mapping, Row, Source, open_source
from registry_adapters.conformance import try_source
from registry_adapters.sources.csv_files import CsvSource
from registry_adapters.sources.file_settings import (
    CsvSettings,
    FlatSettings,
    JsonlSettings,
    SpreadsheetSettings,
    XmlSettings,
)
from registry_adapters.sources.flat import FlatSource
from registry_adapters.sources.jsonl import JsonlSource
from registry_adapters.sources.spreadsheet import SpreadsheetSource
from registry_adapters.sources.xml_files import XmlSource
from tests.support.dropped import put
from tests.support.registries import SAMPLES

SHARED: dict[str, Any] = {"folder": ".", "pattern": "*.x", "key": ["id"], "settle_seconds": 0}


def _csv(folder: Path) -> Callable[[], Source]:
    put(folder, "a.x", "id;a;a\n1;x;y\n;no key;\n3;too few\n4;x;y\n", age=90)
    put(folder, "b.x", "id;a;a\n5;x;y\n")
    chosen = CsvSettings.model_validate({**SHARED, "kind": "csv"})
    return lambda: CsvSource(chosen, folder)


def _jsonl(folder: Path) -> Callable[[], Source]:
    put(folder, "a.x", '{"id": 1, "a": {"b": 2.50}}\n{"id": null}\n{"broken\n[1]\n{"id": "5"}\n')
    chosen = JsonlSettings.model_validate({**SHARED, "kind": "jsonl"})
    return lambda: JsonlSource(chosen, folder)


def _spreadsheet(folder: Path) -> Callable[[], Source]:
    book = openpyxl.Workbook()
    for line in (
        ("id", "serial", "serial"),
        ("1", "A", "B"),
        (None, "C", "D"),
        (3, "E", None),
        ("4", True, 7.5),
    ):
        book.active.append(line)
    book.save(folder / "a.xlsx")
    put(folder, "a.x", (folder / "a.xlsx").read_bytes())
    chosen = SpreadsheetSettings.model_validate({**SHARED, "kind": "spreadsheet"})
    return lambda: SpreadsheetSource(chosen, folder)


def _xml(folder: Path) -> Callable[[], Source]:
    put(folder, "a.x", '<r><w id="1"><a/></w><w/><e w="9"/><e w="1"/><w id="3"><a/><a/></w></r>')
    join = {"column": "e", "elements": "r/e", "its": "./@w", "ours": "./@id", "must_match": True}
    chosen = XmlSettings.model_validate(
        {**SHARED, "kind": "xml", "rows": "r/w", "key": ["./@id"], "join": [join]}
    )
    return lambda: XmlSource(chosen, folder, frozenset({"a"}))


def _flat(folder: Path) -> Callable[[], Source]:
    put(folder, "a.x", "W|1|a\nP|x\nW||b\nW|3\nP|y|z\n")
    records = {"W": {"fields": ["id", "make"]}, "P": {"fields": ["serial"], "list": True}}
    chosen = FlatSettings.model_validate(
        {**SHARED, "kind": "flat", "separator": "|", "row": "W", "records": records}
    )
    return lambda: FlatSource(chosen, folder)


@pytest.mark.parametrize("make", [_csv, _jsonl, _spreadsheet, _xml, _flat])
def test_kind_of_file_keeps_to_the_rules(
    tmp_path: Path, make: Callable[[Path], Callable[[], Source]]
) -> None:
    opened = make(tmp_path)
    found = [part for part in opened().read(None) if isinstance(part, Row)]
    assert any(row.faults for row in found)
    assert any(not row.faults for row in found)
    assert any(fault.reason == "KEY_MISSING" for row in found for fault in row.faults)
    trials = try_source(opened, fingerprint=lambda: _fingerprint(tmp_path))
    assert all(trial.held for trial in trials), [trial for trial in trials if not trial.held]


@pytest.mark.parametrize("make", [_csv, _jsonl, _spreadsheet, _xml, _flat])
def test_empty_folder_offers_no_rows(tmp_path: Path, make: Callable[[Path], Callable[[], Source]]) -> None:
    opened = make(tmp_path)
    assert opened().columns()
    for file in tmp_path.iterdir():
        file.unlink()
    assert list(opened().read(None)) == []
    assert make is _flat or opened().columns() == ()


@pytest.mark.parametrize("name", ["seizures_c", "register_b", "customs_d"])
def test_sample_keeps_to_the_rules(name: str) -> None:
    mapping = Mapping.load(SAMPLES / name / "mapping.toml")
    trials = try_source(
        lambda: open_source(mapping), fingerprint=lambda: _fingerprint(SAMPLES / name / "drop")
    )
    assert all(trial.held for trial in trials), [trial for trial in trials if not trial.held]


def _fingerprint(folder: Path) -> list[tuple[str, int, str]]:
    return [
        (file.name, file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest())
        for file in sorted(folder.iterdir())
    ]
