"""JSON Lines as registries really drop them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from registry_adapters.errors import SchemaDriftError, SourceError
from registry_adapters.sources.file_settings import JsonlSettings
from registry_adapters.sources.jsonl import JsonlSource
from tests.support.dropped import put, resumed, rows


def source(
    folder: Path, needed: tuple[str, ...] = (), identifiers: tuple[str, ...] = (), **settings: object
) -> JsonlSource:
    given = {"kind": "jsonl", "folder": folder, "key": ["id"], "settle_seconds": 0, **settings}
    return JsonlSource(JsonlSettings.model_validate(given), folder, frozenset(needed), frozenset(identifiers))


def test_nested_members_are_columns_and_lists_stay_lists(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.jsonl",
        '\ufeff{"id": "1", "a": {"b": {"c": "São"}}, "serials": ["X1", "X2"]}\r\n\n'.encode(),
    )
    reader = source(tmp_path, ("a.b.c", "serials"))
    [row] = rows(reader)
    assert (row.key, row.values["a.b.c"], row.values["serials"]) == ("1", "São", ["X1", "X2"])
    assert {"id", "a.b.c", "serials"} <= {*reader.columns()}


def test_numbers_keep_their_digits(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", b'{"id": 12345678901234567890123, "weight": 0.10, "none": null}\n')
    [row] = rows(source(tmp_path))
    assert row.key == "12345678901234567890123"
    assert row.values["weight"] == Decimal("0.10")
    assert not row.faults


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "2", "x": NaN}', "NOT_JSON"),
        (b'{"id": "2", "x": 1e999999999}', "NOT_JSON"),
        (b'{"id": "2", "x": ' + b"9" * 5000 + b"}", "NOT_JSON"),
        (b'{"id": "2", "id": "3"}', "MEMBER_TWICE"),
        (b'{"id": "2", "a": {"b": 1}, "a.b": 2}', "MEMBER_TWICE"),
        (b'{"id": "2", "x": "cut off', "NOT_JSON"),
        (b'{"id": "2", "x": "\xe9"}', "NOT_JSON"),
        (b'["2"]', "NOT_AN_OBJECT"),
        (b"[" * 9_000, "NOT_JSON"),
        (b'{"id": ' + b'{"id": ' * 40 + b"1" + b"}" * 41, "TOO_DEEP"),
        (b'{"id": "' + b"x" * 50_000 + b'"}', "RECORD_TOO_LARGE"),
    ],
)
def test_bad_line_is_a_fault_and_never_spoils_the_next(tmp_path: Path, line: bytes, reason: str) -> None:
    put(tmp_path, "a.jsonl", b'{"id": "1"}\n' + line + b'\n{"id": "3"}\n')
    found = rows(source(tmp_path, max_record_bytes=10_000))
    assert [row.key for row in found] == ["1", None, "3"]
    assert [fault.reason for fault in found[1].faults] == [reason]
    assert [row.position for row in found] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]


def test_key_that_is_no_text_or_number_is_none(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", b'{"id": ["1"]}\n{"id": true}\n{"id": " "}\n{"x": "1"}\n')
    assert [row.key for row in rows(source(tmp_path))] == [None] * 4


def test_number_in_powers_of_ten_is_never_an_identifier(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.jsonl",
        b'{"id": "1", "serial": 1.2E+46}\n{"id": "2", "serial": "1.2E+46"}\n{"id": "3", "serial": 417}\n',
    )
    reader = source(tmp_path, ("serial",), ("serial",))
    found = rows(reader)
    assert [[fault.reason for fault in row.faults] for row in found] == [
        ["POWER_OF_TEN"],
        ["POWER_OF_TEN"],
        [],
    ]
    assert reader.restored(found[0]).faults, "a replay does not forget the doubt"


def test_renamed_member_stops_the_run_before_the_first_row(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", b'{"id": "1", "serialNo": "A"}\n{"id": "2", "serialNo": "B"}\n')
    parts = source(tmp_path, ("serial_no",)).read(None)
    with pytest.raises(SchemaDriftError, match="serialNo"):
        next(parts)
    reader = source(tmp_path, ("serial_no",), unused=("serialNo",))
    assert len(rows(reader)) == 2
    assert reader.report.facts["in no row"] == "a.jsonl: serial_no"


def test_member_absent_from_some_rows_is_no_drift(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", b'{"id": "1", "serialNo": "A"}\n{"id": "2", "serial_no": "B"}\n')
    assert len(rows(source(tmp_path, ("serial_no",)))) == 2


@pytest.mark.parametrize(
    "data", [b'[{"id": "1"}]\n', '{"id": "1"}\n'.encode("utf-16"), '{"id": "1"}\n'.encode("utf-16-le")]
)
def test_file_that_is_no_json_lines_is_told_as_a_whole(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, "a.jsonl", data)
    with pytest.raises(SourceError, match=r"a\.jsonl"):
        rows(source(tmp_path))


def test_run_goes_on_behind_any_row(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", b"".join(b'{"id": %d}\n' % i for i in range(5)))
    for seen, rest in resumed(source(tmp_path)):
        assert rest == [str(i) for i in range(seen, 5)]


def test_line_in_quarantine_is_looked_at_again(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", b'{"id": "1", "a": {"b": {"c": 1}}}\n')
    [row] = rows(source(tmp_path, max_depth=2))
    assert row.faults
    again = source(tmp_path).restored(row)
    assert (again.key, again.faults) == ("1", ())
