"""Spreadsheets as registries really send them: what a program has spoiled is never silently a serial."""

from __future__ import annotations

import itertools
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from python_calamine import CalamineWorkbook

from registry_adapters.errors import SchemaDriftError, SourceError
from registry_adapters.mapping.uses import Uses
from registry_adapters.sources.cells import Format, format_of, iso_date_cell, number_cell, whole_number
from registry_adapters.sources.file_settings import SpreadsheetSettings
from registry_adapters.sources.spreadsheet import SpreadsheetSource
from tests.support.dropped import CASES, end, put, reasons, resumed, rows, zipped

HALF_PAST_TEN = datetime.fromisoformat("2026-02-03T10:30:00")
COLUMNS = ("id", "serial", "model", "calibre", "seized_on")
USES = Uses(frozenset({"id", "serial"}), frozenset({"model", "calibre"}), frozenset({"seized_on"}))
ODS_NAMES = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" '
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/"'
)


def source(folder: Path, needed: tuple[str, ...] = COLUMNS, **settings: object) -> SpreadsheetSource:
    given = {"kind": "spreadsheet", "folder": folder, "key": ["id"], "settle_seconds": 0, "pattern": "*"}
    chosen = SpreadsheetSettings.model_validate({**given, **settings})
    return SpreadsheetSource(chosen, folder, frozenset(needed), USES)


def workbook(
    folder: Path, *lines: tuple[Any, ...], name: str = "a.xlsx", titles: int = 0
) -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    sheet = book.active
    for number in range(titles):
        sheet.append([f"State register of XA, page {number}"])
    for line in (COLUMNS, *lines):
        sheet.append(line)
    save(book, folder, name)
    return book


def save(book: openpyxl.Workbook, folder: Path, name: str = "a.xlsx") -> None:
    book.save(folder / name)
    put(folder, name, (folder / name).read_bytes())


def ods(folder: Path, body: str, styles: str = "", **more: str) -> Path:
    content = (
        f"<office:document-content {ODS_NAMES}><office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:spreadsheet>{body}</office:spreadsheet></office:body></office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" manifest:version="1.3">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/></manifest:manifest>'
    )
    return zipped(
        folder, "a.ods", {"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": manifest, **more}
    )


def cell(told: str, shown: str) -> str:
    return f"<table:table-cell {told}><text:p>{shown}</text:p></table:table-cell>"


def text(value: str, times: int = 1) -> str:
    return cell(f'office:value-type="string" table:number-columns-repeated="{times}"', value)


HEADER = f"<table:table-row>{''.join(text(name) for name in COLUMNS)}</table:table-row>"


@pytest.mark.parametrize(
    ("serial", "reason"),
    [
        (12e45, "SPREADSHEET_DOUBTFUL"),
        (123456789012345, "SPREADSHEET_DOUBTFUL"),
        (417, "SPREADSHEET_DOUBTFUL"),
        (7.62, "SPREADSHEET_DOUBTFUL"),
        (date(2026, 7, 24), "SPREADSHEET_DOUBTFUL"),
        (True, "SPREADSHEET_DOUBTFUL"),
        ("1.2E+46", "POWER_OF_TEN"),
        ('=CONCATENATE("00123")', "SPREADSHEET_NOT_CALCULATED"),
        ("#REF!", "SPREADSHEET_ERROR"),
        ("X" * 40, "CELL_TOO_LONG"),
    ],
)
def test_spoiled_serial_is_a_fault_that_names_its_column(tmp_path: Path, serial: object, reason: str) -> None:
    workbook(tmp_path, ("k1", serial, "M", "C", None), ("k2", "12E45", "M", "C", None))
    reader = source(tmp_path, max_cell_characters=39)
    first, second = rows(reader)
    assert reasons(first) == {"serial": reason}
    assert (second.values["serial"], second.faults) == ("12E45", ())
    assert first.key == "k1"
    assert reasons(reader.restored(first)) == {"serial": reason}, "a replay does not forget the doubt"


def test_model_and_calibre_that_became_dates_or_fractions_are_doubtful(tmp_path: Path) -> None:
    workbook(
        tmp_path,
        ("k1", "A1", date(2026, 7, 24), date(2026, 12, 1), date(2026, 2, 3)),
        ("k2", "A2", 92, 0.38, HALF_PAST_TEN),
        ("k3", "A3", 24, 9, 45963),
    )
    found = rows(source(tmp_path))
    assert reasons(found[0]) == {"model": "SPREADSHEET_DOUBTFUL", "calibre": "SPREADSHEET_DOUBTFUL"}
    assert reasons(found[1]) == {"calibre": "SPREADSHEET_DOUBTFUL"}
    assert found[0].values["seized_on"] == date(2026, 2, 3)
    assert found[1].values["seized_on"] == HALF_PAST_TEN
    assert (found[2].faults, found[2].values["seized_on"]) == ((), 45963)


def test_mapping_may_trust_whole_numbers_of_a_column_but_no_digits_that_are_lost(tmp_path: Path) -> None:
    book = workbook(
        tmp_path, ("k1", 417, "M", 7.62, None), ("k2", 12e45, "M", "C", None), ("k3", 12, "M", "C", None)
    )
    book.active["B4"].number_format = "00000000"
    book.active["B2"].number_format = "00000000"
    save(book, tmp_path)
    found = rows(source(tmp_path, text_columns=("serial", "calibre")))
    assert (found[0].values["serial"], found[0].faults) == ("00000417", ())
    assert reasons(found[1]) == {"serial": "SPREADSHEET_DOUBTFUL"}
    assert found[2].values["serial"] == "00000012"


def test_identifier_columns_may_be_named(tmp_path: Path) -> None:
    workbook(tmp_path, ("k1", 417, 92, "C", None))
    [row] = rows(source(tmp_path, identifier_columns=("model",)))
    assert reasons(row) == {"model": "SPREADSHEET_DOUBTFUL"}


def test_row_whose_key_is_doubtful_has_no_key(tmp_path: Path) -> None:
    workbook(tmp_path, (417, "A1", "M", "C", None))
    [row] = rows(source(tmp_path))
    assert (row.key, reasons(row)) == (None, {"id": "SPREADSHEET_DOUBTFUL"})


def test_header_is_found_under_titles_and_its_repetition_is_no_row(tmp_path: Path) -> None:
    workbook(
        tmp_path,
        ("k1", "A1", "M", "C", None),
        (),
        COLUMNS,
        ("k2", "00012345", " 24/7", "12/70", None),
        titles=3,
    )
    reader = source(tmp_path)
    found = rows(reader)
    assert [row.position for row in found] == ["a.xlsx:5", "a.xlsx:8"]
    assert (found[1].values["serial"], found[1].values["model"]) == ("00012345", " 24/7")
    assert reader.report.facts["header"] == "row 4"
    assert reader.columns() == COLUMNS
    with pytest.raises(SchemaDriftError):
        rows(source(tmp_path, header_row=2))


def test_renamed_and_doubled_columns_are_told(tmp_path: Path) -> None:
    workbook(tmp_path, ("k1", "A1", "M", "C", None))
    with pytest.raises(SchemaDriftError, match=r"serials \(nearest: 'serial'\)"):
        rows(source(tmp_path, needed=("serials",)))
    book = workbook(tmp_path)
    book.active["F1"] = "serial"
    save(book, tmp_path)
    with pytest.raises(SchemaDriftError, match="more than one column 'serial'"):
        rows(source(tmp_path))


def test_first_sheet_that_is_shown_is_read_or_the_one_that_is_named(tmp_path: Path) -> None:
    book = workbook(tmp_path, ("k1", "A1", "M", "C", None))
    second = book.create_sheet("Arms 2026")
    for line in (COLUMNS, ("k2", "A2", "M", "C", None)):
        second.append(line)
    book.active.sheet_state = "hidden"
    save(book, tmp_path)
    assert [row.key for row in rows(source(tmp_path))] == ["k2"]
    assert [row.key for row in rows(source(tmp_path, sheet="Sheet"))] == ["k1"]
    with pytest.raises(SchemaDriftError, match="'Arms 2026'"):
        rows(source(tmp_path, sheet="Arms"))


def test_text_in_pieces_and_escapes_is_whole(tmp_path: Path) -> None:
    rich = CellRichText("TKR", TextBlock(InlineFont(b=True), "044"), "17")
    workbook(tmp_path, ("k1", rich, "a_x000D_b", " ".join(["Ünï"] * 3), None))
    [row] = rows(source(tmp_path))
    assert row.values["serial"] == "TKR04417"
    assert row.values["model"] == "a\rb"


def test_shared_texts_and_calculated_formulas_count(tmp_path: Path) -> None:
    strings = "<sst xmlns='m'>" + "".join(f"<si><t>{part}</t></si>" for part in COLUMNS)
    strings += "<si><r><t>k</t></r><r><t>1</t></r><rPh sb='0' eb='1'><t>kei</t></rPh></si></sst>"
    head = "".join(f"<c t='s'><v>{i}</v></c>" for i in range(5))
    body = (
        "<c r='A2' t='s'><v>5</v></c><c r='B2' t='str'><f>CONCATENATE(&quot;00123&quot;)</f><v>00123</v></c>"
    )
    body += "<c r='C2' t='e'><v>#N/A</v></c><c r='E2' t='d'><v>2026-02-03</v></c>"
    sheet = (
        f"<worksheet xmlns='m'><sheetData><row>{head}</row><row r='2'>{body}</row></sheetData></worksheet>"
    )
    related = "<Relationships xmlns='r'>{}</Relationships>"
    link = "<Relationship Id='{}' Type='x/{}' Target='{}'/>"
    members = {
        "_rels/.rels": related.format(link.format("a", "officeDocument", "/xl/workbook.xml")),
        "xl/workbook.xml": (
            "<workbook xmlns='m' xmlns:r='r'><sheets><sheet name='S' sheetId='1' r:id='a'/></sheets></workbook>"
        ),
        "xl/_rels/workbook.xml.rels": related.format(
            link.format("a", "worksheet", "worksheets/s.xml")
            + link.format("b", "sharedStrings", "strings.xml")
        ),
        "xl/worksheets/s.xml": sheet,
        "xl/strings.xml": strings,
    }
    zipped(tmp_path, "a.xlsx", members)
    [row] = rows(source(tmp_path))
    assert (row.key, row.values["serial"], row.values["seized_on"]) == ("k1", "00123", date(2026, 2, 3))
    assert reasons(row) == {"model": "SPREADSHEET_ERROR"}
    zipped(tmp_path, "a.xlsx", {**members, "xl/strings.xml": "<sst xmlns='m'/>"})
    with pytest.raises(SourceError, match="a text that it does not hold"):
        rows(source(tmp_path))
    zipped(tmp_path, "a.xlsx", {**members, "xl/worksheets/s.xml": sheet.replace("r='2'", "r='1'")})
    with pytest.raises(SourceError, match="out of order"):
        rows(source(tmp_path))


def test_dates_before_march_1900_and_since_1904_are_right(tmp_path: Path) -> None:
    book = workbook(tmp_path, ("k1", "A", "M", "C", 59), ("k2", "A", "M", "C", 60), ("k3", "A", "M", "C", 61))
    for row in (2, 3, 4):
        book.active[f"E{row}"].number_format = "dd/mm/yyyy"
    save(book, tmp_path)
    found = rows(source(tmp_path))
    assert [row.values["seized_on"] for row in found] == [date(1900, 2, 28), None, date(1900, 3, 1)]
    assert reasons(found[1]) == {"seized_on": "SPREADSHEET_ERROR"}, "1900-02-29 never was"
    book.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
    save(book, tmp_path)
    assert rows(source(tmp_path))[0].values["seized_on"] == date(1904, 2, 29)


@pytest.mark.parametrize(
    ("code", "form"),
    [
        ("General", Format()),
        ("0.00E+00", Format()),
        ('#,##0 "days"', Format()),
        ("[Red]#,##0", Format()),
        ("00000000", Format(zeros=8)),
        ("dd/mm/yyyy", Format("date")),
        ("[$-D07041E]d mmm yy", Format("date")),
        ("mmmm", Format("date")),
        ("[h]:mm:ss", Format("time")),
        ("h:mm AM/PM", Format("time")),
    ],
)
def test_format_says_what_a_number_is(code: str, form: Format) -> None:
    assert format_of(164, code) == form


@pytest.mark.parametrize(
    ("number", "form"),
    [(0, Format()), (14, Format("date")), (22, Format("date")), (20, Format("time")), (49, Format())],
)
def test_formats_of_the_program_itself_have_no_code(number: int, form: Format) -> None:
    assert format_of(number, "") == form


@pytest.mark.parametrize(
    ("text", "form", "kind", "value"),
    [
        ("46227", Format(), "number", 46227),
        ("4.6227E4", Format(), "number", 46227),
        ("7.62", Format(), "number", 7.62),
        ("0.4375", Format("time"), "time", "10:30:00"),
        ("1.5", Format("time"), "time", "36:00:00"),
        ("46227.4375", Format("date"), "date", datetime.fromisoformat("2026-07-24T10:30:00")),
        ("-1", Format("date"), "error", None),
        ("3000000", Format("date"), "error", None),
        ("NaN", Format(), "error", None),
        ("1e999", Format(), "error", None),
        ("TRUE", Format(), "error", None),
        ("1e307", Format("time"), "number", 1e307),
        ("9" * 5000, Format(), "error", None),
    ],
)
def test_number_is_what_its_format_makes_of_it(text: str, form: Format, kind: str, value: object) -> None:
    made = number_cell(text, form, since_1904=False)
    assert (made.kind, made.value) == (kind, value)


@pytest.mark.parametrize("text", ["9" * 5000, "²", "-1", "", "1e3", "٣"])
def test_attribute_that_is_no_number_is_none(text: str) -> None:
    assert whole_number(text) is None


def test_last_days_of_both_calendars_exist() -> None:
    assert number_cell("2958465", Format("date"), since_1904=False).value == date(9999, 12, 31)
    assert number_cell("2957003", Format("date"), since_1904=True).value == date(9999, 12, 31)
    assert number_cell("2957004", Format("date"), since_1904=True).kind == "error"


def test_date_in_words_is_an_error() -> None:
    assert iso_date_cell("2026-02-30").kind == "error"
    assert iso_date_cell("2026-02-28T10:00:00Z").value == datetime.fromisoformat("2026-02-28T10:00:00")


def test_sheet_without_anything_has_no_header(tmp_path: Path) -> None:
    save(openpyxl.Workbook(), tmp_path)
    with pytest.raises(SourceError) as raised:
        rows(source(tmp_path))
    assert raised.value.reason == "NO_HEADER"


def test_ods_cells_count_as_they_are_stored(tmp_path: Path) -> None:
    number = cell('office:value-type="float" office:value="417"', "00000417")
    day = cell('office:value-type="date" office:date-value="2026-07-24"', "24/7")
    noted = (
        '<table:table-cell office:value-type="string"><office:annotation><dc:creator>x</dc:creator><text:p>why</text:p>'
        '</office:annotation><text:p>A<text:span>B</text:span><text:s text:c="2"/>1</text:p></table:table-cell>'
    )
    empty = '<table:table-cell table:number-columns-repeated="16000"/>'
    error = cell('table:formula="of:=[.A9]" office:value-type="string"', "#REF!")
    body = (
        f'<table:table table:name="hidden" table:style-name="ta9"><table:table-row>{text("x")}</table:table-row>'
        "</table:table>"
        f'<table:table table:name="Arms">{HEADER}'
        f"<table:table-row>{text('k1')}{number}{day}{text('9 mm')}{day}{empty}</table:table-row>"
        f'<table:table-row table:number-rows-repeated="3">{empty}</table:table-row>'
        f'<table:table-row table:number-rows-repeated="1000000">{text("k2")}{noted}{error}</table:table-row>'
        f"<table:table-row>{text('k3')}{text('S', 3)}</table:table-row></table:table>"
    )
    hidden = '<style:style style:name="ta9"><style:table-properties table:display="false"/></style:style>'
    ods(tmp_path, body, hidden)
    found = rows(source(tmp_path, text_columns=("serial",)))
    assert [row.position for row in found] == ["a.ods:2", "a.ods:6", "a.ods:1000006"]
    assert found[0].values["serial"] == "00000417"
    assert found[0].values["seized_on"] == date(2026, 7, 24)
    assert reasons(found[0]) == {"model": "SPREADSHEET_DOUBTFUL"}
    assert found[1].values["serial"] == "AB  1"
    assert reasons(found[1]) == {"model": "SPREADSHEET_ERROR"}
    assert [found[2].values[name] for name in ("serial", "model", "calibre")] == ["S", "S", "S"]
    assert reasons(rows(source(tmp_path))[0])["serial"] == "SPREADSHEET_DOUBTFUL"


def test_another_reader_finds_the_same_texts(tmp_path: Path) -> None:
    lines = [
        (f"k{i}", f"{i:08}", "24/7" if i % 3 else None, "12/70", date(2026, 1, 1 + i % 28))
        for i in range(200)
    ]
    workbook(tmp_path, *lines)
    told = CalamineWorkbook.from_path(str(tmp_path / "a.xlsx")).get_sheet_by_index(0).to_python()[1:]
    ours = [[row.values.get(name, "") for name in COLUMNS] for row in rows(source(tmp_path))]
    assert ours == told
    body = f"<table:table table:name='S'>{HEADER}" + "".join(
        f"<table:table-row>{''.join(text(str(part or '')) for part in line)}</table:table-row>"
        for line in lines
    )
    (tmp_path / "a.xlsx").unlink()
    file = ods(tmp_path, body + "</table:table>")
    told = CalamineWorkbook.from_path(str(file)).get_sheet_by_index(0).to_python()[1:]
    assert [[row.values.get(name, "") for name in COLUMNS] for row in rows(source(tmp_path))] == told


def test_run_goes_on_behind_any_row_and_a_second_run_reads_nothing(tmp_path: Path) -> None:
    workbook(tmp_path, *((f"k{i}", "A", "M", "C", None) for i in range(4)), titles=2)
    for seen, rest in resumed(source(tmp_path)):
        assert rest == [f"k{i}" for i in range(seen, 4)]
    assert rows(source(tmp_path), end(source(tmp_path))) == []


def bomb(folder: Path) -> None:
    zipped(folder, "a.ods", {"content.xml": b"<a>" + b"<b/>\n" * 4_000_000 + b"</a>"})


def laughs(folder: Path) -> None:
    ods(folder, "")
    members = {"content.xml": '<!DOCTYPE a [<!ENTITY b "ha">]><a>&b;&b;</a>'}
    zipped(folder, "a.ods", members)


def cut_off(folder: Path) -> None:
    workbook(folder, ("k1", "A", "M", "C", None))
    put(folder, "a.xlsx", (folder / "a.xlsx").read_bytes()[:-500])


def locked(folder: Path) -> None:
    put(folder, "a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4096))


def other_zip(folder: Path) -> None:
    zipped(folder, "a.xlsx", {"readme.txt": "hello"})


def wide(folder: Path) -> None:
    workbook(folder, ("k1", *itertools.repeat("x", 40)))


def nothing(folder: Path) -> None:
    put(folder, "a.xlsx", b"")


def flipped(folder: Path) -> None:
    workbook(folder, *((f"k{i}", f"A{i * 7919}", "M", "C", None) for i in range(500)))
    data = bytearray((folder / "a.xlsx").read_bytes())
    data[data.index(b"xl/worksheets/sheet1.xml") + 2000] ^= 0xFF
    put(folder, "a.xlsx", bytes(data))


def encrypted_ods(folder: Path) -> None:
    manifest = "<manifest><file-entry><encryption-data/></file-entry></manifest>"
    zipped(folder, "a.ods", {"content.xml": b"\x00\x01", "META-INF/manifest.xml": manifest})


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (bomb, "WORKBOOK_TOO_LARGE"),
        (laughs, "XML_DOCTYPE"),
        (cut_off, "WORKBOOK_UNREADABLE"),
        (locked, "WORKBOOK_UNREADABLE"),
        (other_zip, "WORKBOOK_UNREADABLE"),
        (wide, "WORKBOOK_UNREADABLE"),
        (nothing, "WORKBOOK_UNREADABLE"),
        (flipped, "WORKBOOK_UNREADABLE"),
        (encrypted_ods, "WORKBOOK_UNREADABLE"),
    ],
)
def test_harmful_or_broken_workbook_stops_the_run_with_its_name(
    tmp_path: Path, harm: Any, reason: str
) -> None:
    harm(tmp_path)
    with pytest.raises(SourceError) as raised:
        rows(source(tmp_path, max_unpacked_bytes=10_000_000, max_columns=20))
    assert raised.value.reason in (reason, "NOT_WELL_FORMED" if harm is flipped else reason)
    assert raised.value.diagnosis.startswith("a.")


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_shared_case_is_read_with_every_trap_told() -> None:
    used = Uses(frozenset({"Nº Série"}), frozenset({"Modelo", "Calibre"}), frozenset({"Data da apreensão"}))
    given = {
        "kind": "spreadsheet",
        "folder": CASES,
        "pattern": "spreadsheet_traps.xlsx",
        "key": ["Controle", "Lacre"],
    }
    needed = used.identifiers | used.texts | used.dates
    reader = SpreadsheetSource(SpreadsheetSettings.model_validate(given), CASES, needed, used)
    found = {row.position.partition(":")[2]: row for row in rows(reader)}
    assert reasons(found["4"]) == {
        "Modelo": "SPREADSHEET_DOUBTFUL",
        "Calibre": "SPREADSHEET_DOUBTFUL",
        "Nº Série": "SPREADSHEET_NOT_CALCULATED",
        "Lacre": "SPREADSHEET_NOT_CALCULATED",
    }
    assert found["5"].values["Nº Série"] == "12E45"
    assert reasons(found["8"]) == {"Calibre": "SPREADSHEET_DOUBTFUL", "Nº Série": "SPREADSHEET_DOUBTFUL"}
