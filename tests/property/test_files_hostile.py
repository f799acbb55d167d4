"""Files with bytes changed at random: rows, faults or an error of ours, never another failure and never a hang."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry_adapters.errors import AdapterError
from registry_adapters.mapping.uses import Uses
from registry_adapters.source import Row, Source
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
from tests.support.registries import SAMPLES

KEY = ("id",)
SHARED: dict[str, Any] = {"folder": ".", "pattern": "*", "key": ["id"], "settle_seconds": 0}
ODS = (
    '<office:document-content xmlns:office="o" xmlns:table="t" xmlns:text="x"><office:body><office:spreadsheet>'
    '<table:table table:name="S"><table:table-row><table:table-cell office:value-type="string"><text:p>id</text:p>'
    '</table:table-cell><table:table-cell office:value-type="string"><text:p>serial</text:p></table:table-cell>'
    '</table:table-row><table:table-row table:number-rows-repeated="3"><table:table-cell office:value-type="float"'
    ' office:value="7"><text:p>007</text:p></table:table-cell><table:table-cell office:value-type="date"'
    ' office:date-value="2026-02-03" table:number-columns-repeated="2"/></table:table-row></table:table>'
    "</office:spreadsheet></office:body></office:document-content>"
)


def _xlsx() -> bytes:
    book = openpyxl.Workbook()
    for line in (("id", "serial"), ("1", "00417"), ("2", 12e45), ("3", "=1+1")):
        book.active.append(line)
    held = io.BytesIO()
    book.save(held)
    return _stored(held.getvalue())


def _stored(data: bytes) -> bytes:
    """The same archive without compression, so that changed bytes reach what is inside."""
    held = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(held, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    return held.getvalue()


def _ods() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("content.xml", ODS)
    return held.getvalue()


def _spreadsheet(folder: Path) -> Source:
    used = Uses(frozenset({"id", "serial"}))
    chosen = SpreadsheetSettings.model_validate({**SHARED, "kind": "spreadsheet"})
    return SpreadsheetSource(chosen, folder, frozenset({"serial"}), used)


def _xml(folder: Path) -> Source:
    join = {
        "column": "e",
        "elements": "nachricht/ereignis",
        "its": "./@waffe",
        "ours": "./@id",
        "must_match": True,
    }
    given = {**SHARED, "kind": "xml", "rows": "nachricht/waffe", "key": ["./@id"], "join": [join]}
    return XmlSource(XmlSettings.model_validate({**given, "lists": ["wesentlichesTeil"]}), folder)


def _flat(folder: Path) -> Source:
    import tomllib

    held = tomllib.loads((SAMPLES / "customs_d" / "mapping.toml").read_text(encoding="utf-8"))["source"]
    return FlatSource(
        FlatSettings.model_validate({**held, "folder": ".", "pattern": "*", "settle_seconds": 0}), folder
    )


def _csv(folder: Path) -> Source:
    return CsvSource(CsvSettings.model_validate({**SHARED, "kind": "csv"}), folder, frozenset({"serial"}))


def _jsonl(folder: Path) -> Source:
    return JsonlSource(
        JsonlSettings.model_validate({**SHARED, "kind": "jsonl"}), folder, frozenset({"serial"})
    )


CASES: list[tuple[Callable[[Path], Source], str, bytes]] = [
    (_spreadsheet, "a.xlsx", _xlsx()),
    (_spreadsheet, "a.ods", _ods()),
    (_xml, "a.xml", (SAMPLES / "register_b" / "drop" / "XD-05-0815_000002.xml").read_bytes()),
    (
        _flat,
        "x_licenceData_42_x",
        (SAMPLES / "customs_d" / "drop" / "CHIEF_LIVE_XELIC_licenceData_00042_202603031530").read_bytes(),
    ),
    (_csv, "a.csv", 'id;serial;x\r\n1;00417;"a;b"\r\n2;1,2E+46;é\r\n'.encode()),
    (_jsonl, "a.jsonl", b'{"id": "1", "serial": "A"}\n{"id": 2, "serial": {"b": [1.5, null]}}\n'),
]
CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(["set", "cut", "repeat", "insert"]),
        st.binary(min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=4,
)


def changed(data: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    """The bytes with some set, cut out, repeated or put in."""
    held = bytearray(data)
    for share, kind, piece in changes:
        at = int(share * max(len(held) - 1, 0))
        size = len(piece)
        if kind == "set":
            held[at : at + size] = piece
        elif kind == "cut":
            del held[at : at + size * size]
        elif kind == "repeat":
            held[at:at] = held[at : at + size * 16]
        else:
            held[at:at] = piece
    return bytes(held)


@pytest.mark.parametrize(("make", "name", "data"), CASES, ids=[name for _, name, _ in CASES])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=CHANGES)
def test_changed_bytes_give_rows_or_an_error_of_ours(
    make: Callable[[Path], Source], name: str, data: bytes, changes: list[tuple[float, str, bytes]]
) -> None:
    with TemporaryDirectory() as held:
        folder = Path(held)
        (folder / name).write_bytes(changed(data, changes))
        os.utime(folder / name, (1_700_000_000, 1_700_000_000))
        source = make(folder)
        found: list[Row] = []
        told = ""
        try:
            found.extend(part for part in source.read(None) if isinstance(part, Row))
        except AdapterError as error:
            told = str(error)
        assert told.isprintable()
        for row in found:
            assert row.key is None or row.key
            assert row.cursor.encode()
            restored = getattr(source, "restored", None)
            assert restored is not None
            if row.faults and row.raw:
                assert restored(row).faults, "what was doubtful stays so while nothing was mended"
