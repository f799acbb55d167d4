"""Flat files of a customs link: whole or not at all, and no run missing in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_adapters import Cursor
from registry_adapters.errors import SchemaDriftError, SourceError
from registry_adapters.source import Row
from registry_adapters.sources.file_settings import FlatSettings
from registry_adapters.sources.flat import FlatSource
from tests.support.dropped import CASES, end, put, reasons, resumed, rows

RECORDS = {
    "fileHeader": {"fields": ["from", "to", "kind", "created", "run", "reset"]},
    "licence": {"fields": ["transaction", "action", "reference", "type", "usage", "start", "end"]},
    "trader": {
        "fields": [
            "turn",
            "eori",
            "valid_from",
            "valid_to",
            "name",
            "line1",
            "line2",
            "line3",
            "line4",
            "line5",
            "code",
        ]
    },
    "country": {"fields": ["code", "group", "use"], "list": True},
    "foreignTrader": {
        "fields": ["name", "line1", "line2", "line3", "line4", "line5", "code", "country"],
        "list": True,
    },
    "restrictions": {"fields": ["text"], "overflow": "text"},
    "line": {
        "fields": [
            *("number", "commodity", "ec", "supplement", "cap", "description", "controlled"),
            *("currency", "unit", "value", "quantity", "s1", "s2", "s3", "s4", "s5", "s6"),
        ],
        "list": True,
    },
    "fileTrailer": {"fields": ["licences"]},
}
SETTINGS: dict[str, object] = {
    "kind": "flat",
    "pattern": "CHIEF_*",
    "separator": "\\",
    "numbered": True,
    "row": "licence",
    "end": "end",
    "header": "fileHeader",
    "trailer": "fileTrailer",
    "counts": {"licences": "licence"},
    "records": RECORDS,
    "key": ["transaction"],
    "settle_seconds": 0,
    "order": "name",
    "run": {"field": "run", "in_name": r"_licenceData_(\d+)_"},
}
LINE = r"line\{}\\\\\{}\Q\\030\\10\\\\\\"
FOREIGN = r"foreignTrader\AL SAHRA TRADING\PO BOX 1\\\\\\XE"


def source(
    folder: Path, needed: tuple[str, ...] = (), inside: tuple[tuple[str, str], ...] = (), **settings: object
) -> FlatSource:
    given = FlatSettings.model_validate({**SETTINGS, "folder": folder, **settings})
    return FlatSource(given, folder, frozenset(needed), frozenset(inside))


def numbered(*records: str) -> str:
    return "".join(f"{number}\\{record}\n" for number, record in enumerate(records, 1))


def licence(key: str, *inside: str, action: str = "insert") -> list[str]:
    head = rf"licence\{key}\{action}\GBSIEL/2026/{key}\SIE\E\20260302\20280302"
    return [head, *inside, rf"end\licence\{len(inside) + 2}"]


def text(run: int, *licences: list[str]) -> str:
    flat = [record for one in licences for record in one]
    return numbered(
        rf"fileHeader\SPIRE\CHIEF\licenceData\202603021530\{run}\N", *flat, rf"fileTrailer\{len(licences)}"
    )


def drop(folder: Path, run: int, *licences: list[str], age: float = 60) -> str:
    name = f"CHIEF_LIVE_SPIRE_licenceData_{run}_202603021530"
    put(folder, name, text(run, *licences), age)
    return name


def test_licence_is_one_row_with_what_belongs_to_it(tmp_path: Path) -> None:
    inside = (
        r"country\XE\\D",
        FOREIGN,
        r"restrictions\None",
        LINE.format(1, "Shotgun"),
        LINE.format(2, "Barrel"),
    )
    drop(tmp_path, 7, licence("1P", *inside), licence("2P", action="cancel"))
    reader = source(tmp_path, ("reference", "line", "fileHeader.run"), (("line", "description"),))
    first, second = rows(reader)
    assert (first.key, first.values["reference"], first.values["fileHeader.run"]) == (
        "1P",
        "GBSIEL/2026/1P",
        "7",
    )
    assert [line["description"] for line in first.values["line"]] == ["Shotgun", "Barrel"]
    assert first.values["foreignTrader"][0]["country"] == "XE"
    assert first.values["restrictions.text"] == "None"
    assert (second.values["action"], second.values["line"]) == ("cancel", [])
    assert not first.faults + second.faults
    assert first.position.endswith("1530:2")
    assert {"reference", "trader.name", "line"} <= {*reader.columns()}


@pytest.mark.parametrize(
    ("record", "column", "reason"),
    [
        (r"line\2\\\\\Stock \ wood\Q\\030\\1\\\\\\", "line", "FIELD_COUNT"),
        (r"line\2Professional\Q\\17\\1", "line", "FIELD_COUNT"),
        (r"novelty\1", "", "RECORD_UNKNOWN"),
        (r"restrictions\again", "restrictions", "REPEATED"),
        (LINE.format(2, "x" * 3000), "line", "RECORD_TOO_LARGE"),
    ],
)
def test_record_that_does_not_fit_is_a_fault_of_its_row(
    tmp_path: Path, record: str, column: str, reason: str
) -> None:
    bad = licence("1P", r"restrictions\a", LINE.format(1, "A"), record)
    drop(tmp_path, 7, bad, licence("2P", LINE.format(1, "B")))
    reader = source(tmp_path, max_record_bytes=2048)
    first, second = rows(reader)
    assert (first.key, reasons(first)) == ("1P", {column: reason})
    assert not second.faults
    assert reader.restored(first).faults, "a replay does not forget it"


def test_row_whose_own_record_does_not_fit_has_no_key(tmp_path: Path) -> None:
    head, *rest = licence("1P")
    drop(tmp_path, 7, [head + r"\more", *rest])
    [row] = rows(source(tmp_path))
    assert (row.key, reasons(row)) == (None, {"licence": "FIELD_COUNT"})


def test_surplus_separators_belong_to_the_one_free_text_that_the_mapping_names(tmp_path: Path) -> None:
    drop(tmp_path, 7, licence("1P", r"restrictions\not \ for \ resale"))
    [row] = rows(source(tmp_path))
    assert row.values["restrictions.text"] == r"not \ for \ resale"


def test_row_in_quarantine_is_looked_at_again_with_the_layout_as_it_is_now(tmp_path: Path) -> None:
    drop(tmp_path, 7, licence("1P", r"note\hello", LINE.format(1, "A")))
    [row] = rows(source(tmp_path))
    assert row.faults
    again = source(tmp_path, records={**RECORDS, "note": {"fields": ["text"]}}).restored(row)
    assert (again.key, again.faults, again.values["note.text"]) == ("1P", (), "hello")
    assert again.values["fileHeader.run"] == "7"


def test_name_that_was_wrapped_is_joined_where_the_mapping_says_so(tmp_path: Path) -> None:
    lines = text(7, licence("1P", FOREIGN.replace("SAHRA ", "SAHRA\n"))).replace("\n", "\r\n")
    put(tmp_path, "CHIEF_licenceData_7_x", lines)
    with pytest.raises(SourceError, match="line 4 does not begin with its number, 4"):
        rows(source(tmp_path))
    [row] = rows(source(tmp_path, wrapped=True))
    assert row.values["foreignTrader"][0]["name"] == "AL SAHRA TRADING"


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (lambda t: t.replace("3\\end", "9\\end"), "LINE_NUMBER", "line 3 is numbered 9, but 3 was due"),
        (
            lambda t: t.replace("licence\\2\n", "licence\\3\n"),
            "COUNT_WRONG",
            "line 3 does not count the 2 lines",
        ),
        (
            lambda t: t.replace("fileTrailer\\1", "fileTrailer\\2"),
            "COUNT_WRONG",
            "the 1 records of type licence",
        ),
        (lambda t: t.replace("fileTrailer\\1", "fileTrailer\\x"), "COUNT_WRONG", "line 4"),
        (lambda t: t.replace("4\\fileTrailer\\1\n", ""), "CUT_OFF", "it has no trailer"),
        (lambda t: t + "5\\country\\XA\\\\D\n", "TRAILER_NOT_LAST", "line 5 follows the trailer"),
        (lambda t: t.replace("fileHeader", "fileFooter"), "HEADER", "line 1 is no header"),
        (lambda t: t.replace("\\N\n", "\n"), "FIELD_COUNT", "the 6 fields of a fileHeader"),
        (lambda t: t.replace("end\\licence", "end\\permit"), "END_UNKNOWN", "line 3 ends nothing"),
        (
            lambda t: t.replace("3\\end\\licence\\2", "3\\licence\\2P\\insert\\x\\\\\\\\"),
            "END_MISSING",
            "line 3",
        ),
        (lambda t: t.replace("2\\licence", "2\\permit"), "RECORD_UNKNOWN", "line 2 belongs to no row"),
        (lambda t: t.replace("\\7\\N", "\\8\\N"), "RUN_NUMBER_MISMATCH", "says run 8"),
        (lambda t: t.replace("\\7\\N", "\\VII\\N"), "RUN_NUMBER", "no run number"),
        (lambda _: "", "CUT_OFF", "it has no trailer"),
    ],
)
def test_file_that_does_not_add_up_gives_no_row_at_all(
    tmp_path: Path, change: object, reason: str, words: str
) -> None:
    assert callable(change)
    put(tmp_path, "CHIEF_LIVE_SPIRE_licenceData_7_x", change(text(7, licence("1P"))))
    with pytest.raises(SourceError) as raised:
        next(source(tmp_path).read(None))
    assert raised.value.reason == reason
    assert words in raised.value.diagnosis


def test_gap_in_the_run_numbers_stops_until_the_file_comes_or_the_gap_is_accepted(tmp_path: Path) -> None:
    drop(tmp_path, 9, licence("9P"), age=90)
    drop(tmp_path, 10, licence("10P"), age=95)
    cursor = end(source(tmp_path))
    drop(tmp_path, 12, licence("12P"))
    reader = source(tmp_path)
    with pytest.raises(SourceError, match="it is run 12, but run 11 was due") as raised:
        rows(reader, cursor)
    assert raised.value.reason == "RUN_NUMBER_GAP"
    assert "accept_gap_to = 12" in raised.value.mend
    accepted = source(tmp_path, run={"field": "run", "accept_gap_to": 12})
    assert [row.key for row in rows(accepted, cursor)] == ["12P"]
    drop(tmp_path, 11, licence("11P"))
    assert [row.key for row in rows(source(tmp_path), cursor)] == ["11P", "12P"], (
        "by name, whichever came first"
    )


def test_corrected_file_is_read_again_but_an_older_run_under_a_new_name_stops(tmp_path: Path) -> None:
    drop(tmp_path, 9, licence("9P"))
    drop(tmp_path, 10, licence("10P"))
    cursor = end(source(tmp_path))
    drop(tmp_path, 9, licence("9P"), licence("9Q"), age=10)
    assert [row.key for row in rows(source(tmp_path), cursor)] == ["9P", "9Q"]
    cursor = end(source(tmp_path), cursor)
    drop(tmp_path, 11, licence("11P"))
    assert [row.key for row in rows(source(tmp_path), cursor)] == ["11P"], (
        "the correction moved no number back"
    )
    cursor = end(source(tmp_path), cursor)
    put(tmp_path, "CHIEF_resend_licenceData_10_x", text(10, licence("10P")))
    with pytest.raises(SourceError, match="run 11 was read before"):
        rows(source(tmp_path), cursor)
    accepted = source(tmp_path, run={"field": "run", "accept_repeated": [10]})
    assert [row.key for row in rows(accepted, cursor)] == ["10P"]


def test_run_that_stopped_inside_a_file_goes_on_there(tmp_path: Path) -> None:
    drop(tmp_path, 9, licence("1P"), licence("2P"))
    drop(tmp_path, 10, licence("3P"), licence("4P"))
    for seen, rest in resumed(source(tmp_path)):
        assert rest == ["1P", "2P", "3P", "4P"][seen:]


def test_fixed_widths_without_numbers_or_ends(tmp_path: Path) -> None:
    settings = {
        "kind": "flat",
        "folder": tmp_path,
        "encoding": "cp1252",
        "type_width": 2,
        "row": "AR",
        "trailer": "ZZ",
        "counts": {"arms": "AR"},
        "key": ["id"],
        "settle_seconds": 0,
        "records": {
            "AR": {"fields": ["id", "make"], "widths": [6, 12]},
            "SN": {"fields": ["serial"], "widths": [10], "list": True},
            "ZZ": {"fields": ["arms"], "widths": [4]},
        },
    }
    lines = ["AR000001Größe & Söhn", "SNTKR04417", "SN00012345  ", "AR000002", "SN" + "X" * 11, "ZZ0002"]
    put(tmp_path, "a.txt", "\n".join(lines).encode("cp1252"))
    first, second = rows(FlatSource(FlatSettings.model_validate(settings), tmp_path))
    assert (first.key, first.values["make"]) == ("000001", "Größe & Söhn")
    assert [part["serial"] for part in first.values["SN"]] == ["TKR04417", "00012345  "]
    assert (second.key, reasons(second)) == ("000002", {"SN": "FIELD_COUNT"})


def test_groups_inside_a_row_are_counted_and_name_their_opener(tmp_path: Path) -> None:
    settings = {
        "records": {
            "fileHeader": RECORDS["fileHeader"],
            "licenceUsage": {"fields": ["transaction", "action", "reference", "completion"]},
            "line": {"fields": ["number", "quantity", "value"], "list": True},
            "usage": {"fields": ["use", "declaration", "quantity"], "list": True},
            "fileTrailer": {"fields": ["licences"]},
        },
        "row": "licenceUsage",
        "counts": {"licences": "licenceUsage"},
        "run": None,
    }
    usage = (
        r"licenceUsage\LU1\insert\REF\O",
        *(r"line\1\4\0", r"usage\O\9XB1\3", r"usage\O\9XB2\1", r"end\line\4"),
        *(r"line\3\12.5\0", r"end\line\2", r"end\licenceUsage\8"),
    )
    put(tmp_path, "CHIEF_u", numbered(r"fileHeader\CHIEF\SPIRE\usageData\2\1\N", *usage, r"fileTrailer\1"))
    [row] = rows(source(tmp_path, (), (("usage", "line.number"),), **settings))
    assert row.values["usage"] == [
        {
            "use": "O",
            "declaration": "9XB1",
            "quantity": "3",
            "line.number": "1",
            "line.quantity": "4",
            "line.value": "0",
        },
        {
            "use": "O",
            "declaration": "9XB2",
            "quantity": "1",
            "line.number": "1",
            "line.quantity": "4",
            "line.value": "0",
        },
    ]
    put(
        tmp_path,
        "CHIEF_u",
        numbered(r"fileHeader\C\S\u\2\1\N", *usage, r"fileTrailer\1").replace("line\\4\n", "line\\3\n"),
    )
    with pytest.raises(SourceError, match="does not count the 4 lines"):
        rows(source(tmp_path, **settings))


def test_row_beyond_its_limit_is_a_fault(tmp_path: Path) -> None:
    drop(tmp_path, 7, licence("1P", *(LINE.format(i, "A") for i in range(50))), licence("2P"))
    first, second = rows(source(tmp_path, max_row_lines=20))
    assert (first.key, reasons(first), second.faults) == ("1P", {"": "ROW_TOO_LARGE"}, ())


def test_layout_that_lacks_what_the_mapping_reads_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SchemaDriftError, match=r"trader\.nam \(nearest: 'trader\.name'\)"):
        source(tmp_path, ("trader.nam",))
    with pytest.raises(SchemaDriftError, match=r"line\.describtion \(nearest: 'line\.description'\)"):
        source(tmp_path, (), (("line", "describtion"),))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"row": "permit"}, "no [source.records.permit]"),
        ({"separator": None}, "needs a separator"),
        ({"numbered": False, "wrapped": True}, "needs numbered"),
        ({"counts": {"permits": "licence"}}, "fields of the trailer"),
        ({"run": {"field": "created_at"}}, "field of the header"),
        ({"run": {"field": "run", "in_name": "no group"}}, "one group"),
        ({"encoding": "utf-16"}, "lines end as in ASCII"),
        ({"records": {**RECORDS, "x": {"fields": ["a", "a"]}}}, "twice"),
        ({"records": {**RECORDS, "x": {"fields": ["a"], "overflow": "b"}}}, "one of the fields"),
        ({"records": {**RECORDS, "x": {"fields": ["a"], "widths": [1, 2]}}}, "a width for each"),
    ],
)
def test_settings_that_cannot_work_are_errors(tmp_path: Path, wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError) as raised:
        source(tmp_path, **wrong)
    assert words in str(raised.value)


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_shared_cases_are_whole_or_refused_with_the_line() -> None:
    folder = CASES / "chief"
    good = [
        part
        for name in ("SPIRE_licenceData_70411", "LIVE_ILBDOTI")
        for part in rows(source(folder, pattern=f"*{name}*"))
    ]
    assert [row.key for row in good][:3] == ["20260000731P", "20250000412P", "20250000412PA"]
    assert [row.values["action"] for row in good] == [
        "insert",
        "cancel",
        "insert",
        "insert",
        "insert",
        "replace",
        "insert",
    ]
    assert not any(row.faults for row in good)
    with pytest.raises(SourceError, match="line 11 is numbered 14, but 11 was due"):
        rows(source(folder, pattern="*_70412_broken"))
    with pytest.raises(SourceError, match="line 2 does not begin with its number, 2"):
        rows(source(folder, pattern="*_70413_empty"))


def test_cursor_holds_the_run_number(tmp_path: Path) -> None:
    drop(tmp_path, 7, licence("1P"))
    parts = [*source(tmp_path).read(None)]
    assert [isinstance(part, Row) for part in parts] == [True, False]
    cursor = Cursor.decode(parts[-1].cursor.encode(), "flat")
    assert cursor is not None
    assert cursor.state["kept"] == {"run": 7}
