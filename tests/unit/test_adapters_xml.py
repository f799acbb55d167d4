"""XML messages as registers really send them: what refers to what, and nothing that could harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_adapters.errors import MappingError, SchemaDriftError, SourceError
from registry_adapters.mapping.file import load_file
from registry_adapters.source import Milestone, Row
from registry_adapters.sources.file_settings import XmlSettings
from registry_adapters.sources.xml_files import XmlSource
from tests.support.dropped import CASES, end, put, reasons, resumed, rows

NAMES = "urn:example:xwaffe-like:2"
JOINS = [
    {
        "column": "holding",
        "elements": "nachricht/verknuepfung",
        "its": "./@zu",
        "ours": "./@id",
        "take": "all",
    },
    {"column": "person", "elements": "nachricht/person", "its": "./@id", "ours": "holding/@von"},
    {
        "column": "event",
        "elements": "nachricht/ereignis",
        "its": "./@waffe",
        "ours": "./@id",
        "take": "last",
        "order_by": "./@datum",
        "must_match": True,
    },
]


def message(*parts: str, more: str = "") -> str:
    inside = "\n".join(parts)
    return f'<nachricht xmlns="{NAMES}" absender="XA-05" anlass="01"{more}>\n{inside}\n</nachricht>\n'


def arm(key: str, inside: str = "<seriennummer>TKR04417</seriennummer>") -> str:
    return f'<waffe id="{key}">{inside}</waffe>'


def event(key: str, kind: str, day: str) -> str:
    return f'<ereignis waffe="{key}" art="{kind}" datum="{day}"/>'


def source(folder: Path, needed: tuple[str, ...] = (), **settings: object) -> XmlSource:
    given: dict[str, object] = {
        "kind": "xml",
        "folder": folder,
        "settle_seconds": 0,
        "rows": "nachricht/waffe",
    }
    given |= {
        "namespace": NAMES,
        "key": ["../@absender", "./@id"],
        "lists": ["wesentlichesTeil", "person/nat"],
    }
    return XmlSource(XmlSettings.model_validate(given | settings), folder, frozenset(needed))


def test_elements_attributes_and_lists_are_columns(tmp_path: Path) -> None:
    part = '<wesentlichesTeil bezeichnung="{}"><seriennummer>{}</seriennummer></wesentlichesTeil>'
    inside = (
        '<hersteller code="17"> Größe &amp; Söhne </hersteller><kategorie/><seriennummer><![CDATA[A<1]]></seriennummer>'
        + part.format("LAUF", "B1")
        + part.format("VERSCHLUSS", "B2")
    )
    put(tmp_path, "a.xml", message(arm("W-1", inside), arm("W-2", part.format("LAUF", "B3"))))
    first, second = rows(source(tmp_path))
    assert first.key == "XA-05/W-1"
    assert first.values == {
        "../@absender": "XA-05",
        "../@anlass": "01",
        "./@id": "W-1",
        "hersteller": "Größe & Söhne",
        "hersteller/@code": "17",
        "kategorie": "",
        "seriennummer": "A<1",
        "wesentlichesTeil": [
            {"/@bezeichnung": "LAUF", "seriennummer": "B1"},
            {"/@bezeichnung": "VERSCHLUSS", "seriennummer": "B2"},
        ],
    }
    assert isinstance(second.values["wesentlichesTeil"], list), "one element is a list of one"
    assert (first.position, second.position) == ("a.xml:2", "a.xml:3")


def test_references_are_followed_in_both_directions_and_over_two_steps(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.xml",
        message(
            event("W-1", "DIEBSTAHL", "2026-03"),
            event("W-1", "ERWERB", "2020-01-01"),
            '<verknuepfung typ="besitz" von="P-1" zu="W-1"/><verknuepfung typ="leihe" von="P-2" zu="W-1"/>',
            arm("W-1"),
            arm("W-2"),
            '<person id="P-1"><nachname>Muster</nachname><nat>XA</nat><nat>XB</nat></person>',
        ),
    )
    first, second = rows(source(tmp_path, join=JOINS))
    assert (first.values["event/@art"], first.values["event/@datum"]) == ("DIEBSTAHL", "2026-03")
    assert first.values["holding"] == [
        {
            "/@typ": "besitz",
            "/@von": "P-1",
            "/@zu": "W-1",
            "person/@id": "P-1",
            "person/nachname": "Muster",
            "person/nat": ["XA", "XB"],
        },
        {"/@typ": "leihe", "/@von": "P-2", "/@zu": "W-1"},
    ]
    assert second.values["holding"] == []
    assert "event/@art" not in second.values


def test_first_last_and_equal_places_follow_the_files_order(tmp_path: Path) -> None:
    events = [event("W-1", kind, "2026-01-01") for kind in ("A", "B", "C")]
    put(tmp_path, "a.xml", message(arm("W-1"), *events))
    for take, kind in (("first", "A"), ("last", "C")):
        [row] = rows(source(tmp_path, join=[{**JOINS[2], "take": take}]))
        assert row.values["event/@art"] == kind


def test_event_of_an_arm_that_is_not_there_is_a_fault_and_never_lost(tmp_path: Path) -> None:
    put(tmp_path, "a.xml", message(arm("W-1"), event("W-9", "DIEBSTAHL", "2026-01-01")))
    reader = source(tmp_path, join=JOINS)
    found = rows(reader)
    assert [row.key for row in found] == ["XA-05/W-1", None]
    assert reasons(found[1]) == {"event": "REFERENCE_UNKNOWN"}
    assert found[1].values["event/@art"] == "DIEBSTAHL"
    assert found[1].position == "a.xml:3#event"
    assert reader.restored(found[1]).faults == found[1].faults


def test_id_that_stands_there_twice_is_a_fault(tmp_path: Path) -> None:
    persons = '<person id="P-1"/><person id="P-1"/>'
    put(tmp_path, "a.xml", message(arm("W-1"), persons, '<verknuepfung von="P-1" zu="W-1"/>'))
    [row] = rows(source(tmp_path, join=JOINS))
    assert reasons(row) == {"person": "REFERENCE_AMBIGUOUS"}


def test_element_that_repeats_unasked_is_a_fault_where_it_is_needed(tmp_path: Path) -> None:
    put(
        tmp_path, "a.xml", message(arm("W-1", "<seriennummer>1</seriennummer><seriennummer>2</seriennummer>"))
    )
    [row] = rows(source(tmp_path, ("seriennummer",)))
    assert reasons(row) == {"seriennummer": "REPEATED"}
    assert not rows(source(tmp_path))[0].faults


def test_limits_of_a_row_are_faults_of_that_row(tmp_path: Path) -> None:
    many = "".join(f"<wesentlichesTeil>{i}</wesentlichesTeil>" for i in range(30))
    put(tmp_path, "a.xml", message(arm("W-1", "x" * 5000), arm("W-2", many), arm("W-3")))
    found = rows(source(tmp_path, max_row_bytes=2000, max_repeats=20))
    assert [row.key for row in found] == ["XA-05/W-1", "XA-05/W-2", "XA-05/W-3"]
    assert [reasons(row) for row in found] == [
        {"": "ROW_TOO_LARGE"},
        {"wesentlichesTeil": "LIST_TOO_LONG"},
        {},
    ]
    links = '<verknuepfung von="P-1" zu="W-1"/>' * 30
    put(tmp_path, "a.xml", message(arm("W-1"), links), age=30)
    [row] = rows(source(tmp_path, join=JOINS, max_repeats=20))
    assert reasons(row) == {"holding": "ROW_TOO_LARGE"}
    put(tmp_path, "a.xml", message(arm("W-1"), f'<person id="P-1">{"x" * 5000}</person>'), age=20)
    with pytest.raises(SourceError, match="max_row_bytes"):
        rows(source(tmp_path, join=JOINS, max_row_bytes=2000))


BOMB = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;">]>' + message(arm("W-1", "&c;"))
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>' + message(arm("W-1", "&b;"))
OTHER_DTD = '<!DOCTYPE nachricht SYSTEM "http://127.0.0.1:1/a.dtd">' + message(arm("W-1"))
PARAMETER = '<!DOCTYPE a [<!ENTITY % b SYSTEM "file:///etc/hostname">%b;]>' + message(arm("W-1"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "XML_DOCTYPE"),
        (OUTSIDE, "XML_DOCTYPE"),
        (OTHER_DTD, "XML_DOCTYPE"),
        (PARAMETER, "XML_DOCTYPE"),
        (message(arm("W-1", "&undefined;")), "NOT_WELL_FORMED"),
        (message(arm("W-1"))[:-15], "NOT_WELL_FORMED"),
        (message(arm("W-1")) + message(arm("W-2")), "NOT_WELL_FORMED"),
        (message(arm("W-1"), "<p:x/>"), "NOT_WELL_FORMED"),
        ("", "NOT_WELL_FORMED"),
        ("{}", "NOT_WELL_FORMED"),
        (message(arm("W-1", "<a>" * 5000 + "</a>" * 5000)), "XML_TOO_DEEP"),
        (message(arm("W-1"), f'<x y="{"z" * 10_000_000}"/>'), "XML_TOO_LARGE"),
        ('<?xml version="1.0" encoding="klingon"?>' + message(arm("W-1")), "ENCODING"),
        ('<?xml version="1.0" encoding="shift_jis"?>' + message(arm("W-1")), "ENCODING"),
    ],
)
def test_hostile_or_broken_message_gives_no_row_at_all(tmp_path: Path, text: str, reason: str) -> None:
    put(tmp_path, "a.xml", text)
    parts = source(tmp_path).read(None)
    with pytest.raises(SourceError) as raised:
        next(parts)
    assert raised.value.reason == reason
    assert raised.value.diagnosis.startswith("a.xml")


def test_fault_of_the_file_is_told_with_its_line(tmp_path: Path) -> None:
    put(tmp_path, "a.xml", "\n\n" + message(arm("W-1"), "<offen>"))
    with pytest.raises(SourceError, match="line 6: mismatched tag"):
        rows(source(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_encodings_that_a_message_declares_are_read(tmp_path: Path, encoding: str) -> None:
    declared = encoding.removesuffix("-sig")
    text = f'<?xml version="1.0" encoding="{declared}"?>\n' + message(arm("W-1", "<ort>Köln</ort>"))
    put(tmp_path, "a.xml", text.encode(encoding))
    assert rows(source(tmp_path))[0].values["ort"] == "Köln"


def test_blanks_before_the_document_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.xml", "\r\n \t\n" + '<?xml version="1.0"?>' + message(arm("W-1")))
    assert [row.position for row in rows(source(tmp_path))] == ["a.xml:4"]


def test_other_root_namespace_or_row_name_stops_the_run(tmp_path: Path) -> None:
    put(tmp_path, "a.xml", message(arm("W-1")).replace(":2", ":3"))
    with pytest.raises(SchemaDriftError, match="xwaffe-like:3"):
        rows(source(tmp_path))
    assert len(rows(source(tmp_path, namespace=None))) == 1, "without a namespace names alone count"
    put(tmp_path, "a.xml", message("<Waffe/>"), age=30)
    with pytest.raises(SchemaDriftError, match="nachricht/Waffe"):
        rows(source(tmp_path))
    put(tmp_path, "a.xml", message("<person/>"), age=20)
    assert rows(source(tmp_path)) == []


def test_prefixes_of_the_mapping_name_other_namespaces(tmp_path: Path) -> None:
    inside = '<q:waffe id="1"><z:nr z:art="x">7</z:nr></q:waffe>'
    text = f'<q:nachricht xmlns:q="{NAMES}" xmlns:z="urn:z" absender="A">{inside}</q:nachricht>'
    put(tmp_path, "a.xml", text)
    [row] = rows(source(tmp_path, prefixes={"zz": "urn:z"}))
    assert (row.values["zz:nr"], row.values["zz:nr/@zz:art"]) == ("7", "x")
    assert rows(source(tmp_path))[0].values["{urn:z}nr"] == "7"


def test_renamed_element_stops_the_run_before_the_first_row(tmp_path: Path) -> None:
    put(
        tmp_path, "a.xml", message(arm("W-1", "<serienNr>1</serienNr>"), arm("W-2", "<serienNr>2</serienNr>"))
    )
    with pytest.raises(SchemaDriftError, match="seriennummer, but 'serienNr'"):
        next(source(tmp_path, ("seriennummer",)).read(None))
    reader = source(tmp_path, ("seriennummer",), unused=("serienNr",))
    assert len(rows(reader)) == 2
    assert reader.report.facts["in no row"] == "a.xml: seriennummer"


def test_renamed_element_inside_a_list_stops_the_run_too(tmp_path: Path) -> None:
    put(tmp_path, "a.xml", message(arm("W-1", "<wesentlichesTeil><serienNr>1</serienNr></wesentlichesTeil>")))
    settings = source(tmp_path)._settings
    reader = XmlSource(settings, tmp_path, inside=frozenset({("wesentlichesTeil", "seriennummer")}))
    with pytest.raises(SchemaDriftError, match="serienNr"):
        rows(reader)


def test_run_goes_on_behind_any_row_and_a_full_message_is_a_complete_pass(tmp_path: Path) -> None:
    put(tmp_path, "full_1.xml", message(*(arm(f"W-{i}") for i in range(4)), event("W-9", "VERLUST", "2026")))
    reader = source(tmp_path, join=JOINS, complete_pattern="full_*.xml")
    keys = [row.key for row in rows(reader)]
    for seen, rest in resumed(reader):
        assert rest == keys[seen:]
    *parts, last = reader.read(None)
    assert isinstance(last, Milestone)
    assert {part.scan for part in parts if isinstance(part, Row)} == {last.completed_scan} != {""}
    put(tmp_path, "delta_2.xml", message(arm("W-1")), age=30)
    *_, last = reader.read(end(source(tmp_path, join=JOINS, pattern="full*")))
    assert isinstance(last, Milestone)
    assert last.completed_scan == ""


def test_rows_on_one_line_have_positions_of_their_own(tmp_path: Path) -> None:
    put(tmp_path, "a.xml", message(arm("W-1") + arm("W-2")))
    assert [row.position for row in rows(source(tmp_path))] == ["a.xml:2", "a.xml:2#2"]
    assert {"./@id", "seriennummer", "../@absender"} <= {*source(tmp_path).columns()}


def test_joins_that_cannot_work_are_errors_of_the_mapping(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(
        'version = 1\nstream = "arms"\n[source]\nkind = "xml"\nfolder = "d"\nkey = ["./@id"]\nrows = "n/w"\n'
        '[[source.join]]\ncolumn = "a"\nelements = "n/a"\nits = "./@w"\nours = "./@id"\ntak = "all"\n'
    )
    with pytest.raises(MappingError) as raised:
        load_file(path)
    assert "mapping.toml:13: unknown key `source.join.0.tak`, do you mean `take`?" in raised.value.diagnosis
    with pytest.raises(ValueError, match="must_match"):
        source(tmp_path, join=[JOINS[0], {**JOINS[1], "must_match": True}])
    with pytest.raises(ValueError, match="twice"):
        source(tmp_path, join=[JOINS[0], JOINS[0]])


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")
def test_shared_cases_are_read_whole() -> None:
    given = {
        "kind": "xml",
        "folder": CASES,
        "settle_seconds": 0,
        "namespace": None,
        "lists": ["ENTITY_ALIAS"],
    }
    listed = {**given, "pattern": "un_consolidated_entities.xml", "key": ["DATAID"]}
    listed |= {"rows": "CONSOLIDATED_LIST/ENTITIES/ENTITY", "lists": ["ENTITY_ALIAS", "ENTITY_ADDRESS"]}
    found = rows(
        XmlSource(XmlSettings.model_validate(listed), CASES, frozenset({"FIRST_NAME", "ENTITY_ALIAS"}))
    )
    assert len(found) == (CASES / "un_consolidated_entities.xml").read_text().count("<ENTITY>")
    assert not any(row.faults for row in found)
    assert all(row.key for row in found)
    declared = {
        **given,
        "pattern": "cds_cancellation.xml",
        "rows": "MetaData/Declaration",
        "key": ["FunctionCode"],
    }
    assert len(rows(XmlSource(XmlSettings.model_validate(declared), CASES))) == 1
