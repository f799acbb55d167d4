"""Dates of other calendars, day numbers of spreadsheets, and text that was read in the wrong encoding."""

from __future__ import annotations

from pathlib import Path

import pytest
from dief.v1.alert_pb2 import PartialDate

from registry_adapters import Mapping
from registry_adapters.check import check
from registry_adapters.errors import MappingError
from registry_adapters.mapping.convert import UnfitError, clean, date_pattern, partial_date
from registry_adapters.sources.opening import open_source
from tests.support.registries import arm, drop, seizures


def day(text: object, *formats: str) -> tuple[int, int, int]:
    found: PartialDate = partial_date(text, formats)
    return found.year, found.month, found.day


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("01/09/1445", "hijri:dd/mm/yyyy", (2024, 3, 11)),
        ("٠١/٠٩/١٤٤٥", "hijri:dd/mm/yyyy", (2024, 3, 11)),
        ("1447-06-04", "hijri:yyyy-mm-dd", (2025, 11, 25)),
        ("25/11/2569", "buddhist:dd/mm/yyyy", (2026, 11, 25)),
        ("๒๕/๑๑/๒๕๖๙", "buddhist:dd/mm/yyyy", (2026, 11, 25)),
        ("29/02/2567", "buddhist:dd/mm/yyyy", (2024, 2, 29)),
        ("11/2569", "buddhist:mm/yyyy", (2026, 11, 0)),
        ("46351", "excel", (2026, 11, 25)),
        ("46351.75", "excel", (2026, 11, 25)),
        ("44889", "excel1904", (2026, 11, 25)),
        ("61", "excel", (1900, 3, 1)),
        ("25-Nov-2026", "dd-mmm-yyyy", (2026, 11, 25)),
        ("25 NOVEMBER 2026", "dd mmm yyyy", (2026, 11, 25)),
        ("Mar 2026", "mmm yyyy", (2026, 3, 0)),
        ("25/11/2026 10:30:00", "dd/mm/yyyy", (2026, 11, 25)),
    ],
)
def test_a_date_is_read_as_the_mapping_names_its_calendar(
    text: str, form: str, expected: tuple[int, int, int]
) -> None:
    assert day(text, form) == expected


@pytest.mark.parametrize(
    ("text", "form", "reason"),
    [
        ("31/02/1445", "hijri:dd/mm/yyyy", "DATE_IMPOSSIBLE"),
        ("01/01/1301", "hijri:dd/mm/yyyy", "DATE_IMPOSSIBLE"),
        ("29/02/2569", "buddhist:dd/mm/yyyy", "DATE_IMPOSSIBLE"),
        ("01/01/0500", "buddhist:dd/mm/yyyy", "DATE_IMPOSSIBLE"),
        ("60", "excel", "DATE_IMPOSSIBLE"),
        ("9999999", "excel", "DATE_IMPOSSIBLE"),
        ("25/11/2026", "excel", "DATE_FORMAT"),
        ("25-Abc-2026", "dd-mmm-yyyy", "DATE_FORMAT"),
        ("31-Nov-2026", "dd-mmm-yyyy", "DATE_IMPOSSIBLE"),
        ("1445-09-01", "yyyy/mm/dd", "DATE_FORMAT"),
    ],
)
def test_a_day_that_does_not_exist_or_is_written_otherwise_is_refused(
    text: str, form: str, reason: str
) -> None:
    with pytest.raises(UnfitError) as raised:
        day(text, form)
    assert raised.value.reason == reason


def test_a_day_number_is_tried_beside_other_formats() -> None:
    assert day("46351", "dd/mm/yyyy", "excel") == day("25/11/2026", "dd/mm/yyyy", "excel") == (2026, 11, 25)


@pytest.mark.parametrize("form", ["hijri:mm/yyyy", "lunar:dd/mm/yyyy", "dd/mm", "mm/mmm/yyyy", "dd/yyyy"])
def test_a_format_that_cannot_work_is_told_when_the_mapping_is_loaded(form: str) -> None:
    with pytest.raises(ValueError, match="`"):
        date_pattern(form)


def test_the_error_of_a_format_names_its_line(tmp_path: Path) -> None:
    path = seizures(tmp_path)
    text = path.read_text(encoding="utf-8").replace('date = "dd/mm/yyyy"', 'date = "lunar:dd/mm/yyyy"', 1)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MappingError, match=r"mapping\.toml:\d+: `lunar"):
        Mapping.load(path)


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("text", ["São João", "Müller", "Señor Núñez", "Fábrica Nº 9"])
def test_mojibake_is_undone_and_counted_where_the_mapping_says_so_and_refused_elsewhere(
    text: str, rounds: int
) -> None:
    spoiled = text
    for _ in range(rounds):
        spoiled = spoiled.encode().decode("cp1252")
    with pytest.raises(UnfitError) as raised:
        clean(spoiled)
    assert raised.value.reason == "ENCODING"
    counted: list[int] = []
    assert clean(spoiled, mend=lambda: counted.append(1)) == text
    assert counted == [1]
    assert clean(text, mend=lambda: counted.append(1)) == text
    assert counted == [1]


def test_what_was_mended_is_told_by_the_dry_run(tmp_path: Path) -> None:
    path = seizures(tmp_path)
    spoiled = "Müller".encode().decode("cp1252")
    drop(path, "a.csv", arm("1", make=spoiled), arm("2"))
    assert check(Mapping.load(path), open_source(Mapping.load(path))).quarantined == 1
    path.write_text("clean.mend_mojibake = true\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    mapping = Mapping.load(path)
    report = check(mapping, open_source(mapping))
    assert (report.quarantined, report.drafts) == (0, 2)
    assert sum(report.mended.values()) >= 1
