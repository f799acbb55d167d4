"""Whatever a registry holds, a row becomes a draft, nothing, or a reject with reasons: never a crash."""

from __future__ import annotations

import io
import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_adapters import Cursor, Mapping, Row
from registry_adapters.errors import FieldFault, Reject
from registry_adapters.mapping.convert import UnfitError, clean, decimal_text, partial_date
from registry_adapters.mapping.rows import Mapped
from registry_adapters.mapping.validation import faults_of
from registry_adapters.sources.csv_text import Dialect, records, settled_encoding
from tests.support.registries import HEADER, SAMPLES, arm

MAPPING = Mapping.load(SAMPLES / "seizures_c" / "mapping.toml")
LICENCES = Mapping.load(SAMPLES / "licensing_a" / "mapping.toml")
COLUMNS = HEADER.split(";")

anything = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.text(st.characters(codec=None), max_size=10),
    st.binary(max_size=5),
    st.integers(),
    st.floats(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.datetimes(),
    st.booleans(),
    st.uuids(),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    st.sampled_from(
        ["FURTADA", "RASPADA", "PISTOLA", "31/02/2026", "[1,", "[[]]", '[{"name": 1}]', "&amp;#0;"]
    ),
)


def outcome(mapping: Mapping, row: Row) -> tuple[Mapped | None, tuple[FieldFault, ...]]:
    """What a row became, or why it did not."""
    try:
        return mapping.map(row), ()
    except Reject as reject:
        return None, reject.faults


@given(st.dictionaries(st.sampled_from(COLUMNS), anything), st.sampled_from(["FURTADA", "REGULAR", ""]))
def test_any_row_has_exactly_one_outcome(changes: dict[str, Any], situation: str) -> None:
    values = dict(zip(COLUMNS, arm("7", situation=situation).split(";"), strict=True))
    row = Row("7", {**values, **changes}, "x:1", Cursor("csv", {}))
    mapped, faults = outcome(MAPPING, row)
    assert all(fault.reason and fault.description for fault in faults)
    if mapped is not None and mapped.draft:
        assert not faults_of(mapped.draft[0].alert)
        assert len(mapped.draft[1]) == 32


@given(anything, anything, anything, st.sampled_from(["revoked", "denied", "issued"]))
def test_any_list_column_has_one_outcome(goods: Any, serials: Any, parties: Any, status: str) -> None:
    values = {"status": status, "criterion_7": 1, "goods": goods, "serials": serials, "parties": parties}
    mapped, faults = outcome(LICENCES, Row("7", values, "x:1", Cursor("sql", {})))
    assert mapped is not None or faults


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=30))
def test_same_content_gives_same_hash_in_any_order(order: list[tuple[int, int]]) -> None:
    hashes: dict[tuple[int, int], bytes] = {}
    for key, serial in order:
        values = dict(zip(COLUMNS, arm("k", serial=f"AB{key}{serial}999").split(";"), strict=True))
        mapped = MAPPING.map(Row("k", values, "x:1", Cursor("csv", {})))
        assert mapped is not None
        assert hashes.setdefault((key, serial), mapped.draft[1]) == mapped.draft[1]
    assert len(set(hashes.values())) == len(hashes)


@given(st.dates())
def test_every_real_day_is_read_and_written_alike(day: date) -> None:
    found = partial_date(f"{day.day:02d}/{day.month:02d}/{day.year:04d}", ["dd/mm/yyyy"])
    assert (found.year, found.month, found.day) == (day.year, day.month, day.day)
    assert partial_date(day) == found


@given(st.text(max_size=12))
def test_no_text_but_a_real_day_is_a_date(text: str) -> None:
    try:
        found = partial_date(text, ["dd/mm/yyyy", "yyyy-mm-dd"])
    except UnfitError:
        return
    assert date(found.year, found.month, found.day).year == found.year


@given(st.decimals(min_value=0, max_value=10**9, places=3))
def test_decimal_comma_keeps_the_value(number: Decimal) -> None:
    written = f"{number:,.3f}".translate(str.maketrans(",.", ".,"))
    assert Decimal(decimal_text(written, comma=True)) == number


@given(anything)
def test_clean_text_is_stable_or_refused(value: Any) -> None:
    try:
        text = clean(value)
    except UnfitError:
        return
    assert clean(text) == text
    text.encode("utf-8")


@given(st.binary(max_size=300), st.sampled_from(["cp1252", "utf-8", "utf-16"]), st.sampled_from(['"', ""]))
def test_any_bytes_are_records_line_by_line(data: bytes, encoding: str, quote: str) -> None:
    dialect = Dialect(settled_encoding(encoding, data), ";", quote)
    found = list(records(io.BytesIO(data), dialect, 64))
    assert [record.line for record in found] == sorted({record.line for record in found})
    assert all((record.fields is None) == bool(record.fault) for record in found)


@given(
    st.dictionaries(
        st.text("abc", min_size=1),
        st.one_of(st.text(max_size=5), st.integers(), st.datetimes(), st.dates(), st.uuids(), st.none()),
    )
)
def test_cursor_survives_its_encoding(state: dict[str, str | int | datetime | date | UUID | None]) -> None:
    decoded = Cursor.decode(Cursor("sql", state).encode(), "sql")
    assert decoded == Cursor("sql", state)


def test_infinite_numbers_are_no_numbers() -> None:
    values = {"status": "revoked", "goods": [{"quantity": math.inf}], "parties": [{"name": "x"}]}
    with pytest.raises(Reject) as raised:
        LICENCES.map(Row("7", values, "x:1", Cursor("sql", {})))
    assert "NUMBER" in {fault.reason for fault in raised.value.faults}
