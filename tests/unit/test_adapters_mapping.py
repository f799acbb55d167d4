"""What a mapping file may say, and what it makes of rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from dief.v1 import codes_pb2 as c

from registry_adapters import Cursor, Mapping, Milestone, Row, open_source
from registry_adapters.errors import MappingError, Reject
from registry_adapters.mapping.convert import UnfitError, clean, decimal_text, partial_date
from registry_adapters.mapping.toml_lines import key_lines, line_of
from tests.support.registries import HEADER, SAMPLES, arm, change, licensing, seizures


def row(line: str, **changed: object) -> Row:
    values = dict(zip(HEADER.split(";"), line.split(";"), strict=True))
    return Row(values["num_cadastro"], {**values, **changed}, "x.csv:2", Cursor("csv", {}))


@pytest.fixture
def mapping(tmp_path: Path) -> Mapping:
    return Mapping.load(seizures(tmp_path))


def rejected(mapping: Mapping, bad: Row) -> list[tuple[str, str]]:
    with pytest.raises(Reject) as raised:
        mapping.map(bad)
    for fault in raised.value.faults:
        held = [str(v) for v in bad.values.values() if len(str(v)) > 5]
        assert not any(value in fault.description for value in held), "values never stand in a fault"
    return [(fault.column, fault.reason) for fault in raised.value.faults]


def test_stolen_arm_becomes_a_draft_with_its_codes_and_date(mapping: Mapping) -> None:
    mapped = mapping.map(row(arm("7", serial="TKR04417  ")))
    assert mapped is not None
    assert mapped.draft
    alert = mapped.draft[0].alert
    assert alert.items[0].serials[0].as_read == "TKR04417"
    assert alert.items[0].serials[0].place == c.SERIAL_PLACE_FRAME_RECEIVER
    assert alert.items[0].disposition == c.DISPOSITION_AT_LARGE
    detected = alert.diversion.detected_on
    assert (detected.year, detected.month, detected.day) == (2026, 2, 3)
    assert alert.national_reference == "7"


def test_identity_of_the_owner_is_never_exported(mapping: Mapping) -> None:
    mapped = mapping.map(row(arm("7")))
    assert mapped is not None
    body = mapped.draft[0].SerializeToString()
    assert b"000.000.001-91" not in body
    assert b"Fulano" not in body
    assert not mapping.columns() & {"cpf_cnpj", "proprietario", "vendedor"}


@pytest.mark.parametrize("word", ["RASPADA", "suprimida", "(SUPRIMIDA)", "Nº RASPADO", " pinada "])
def test_erased_serial_is_a_condition_not_a_number(mapping: Mapping, word: str) -> None:
    mapped = mapping.map(row(arm("7", serial=word)))
    assert mapped is not None
    [serial] = mapped.draft[0].alert.items[0].serials
    assert (serial.as_read, serial.condition) == ("", c.SERIAL_CONDITION_ERASED)


@pytest.mark.parametrize("word", ["S/N", "N/A", "XXXXXX", "0000", "*********", "??????", "", "não consta"])
def test_absent_serial_is_no_serial_at_all(mapping: Mapping, word: str) -> None:
    mapped = mapping.map(row(arm("7", serial=word)))
    assert mapped is not None
    assert not mapped.draft[0].alert.items[0].serials


@pytest.mark.parametrize(
    ("bad", "column", "reason"),
    [
        (arm("7", day="29/02/2025"), "data_situacao", "DATE_IMPOSSIBLE"),
        (arm("7", day="2026-02-03"), "data_situacao", "DATE_FORMAT"),
        (arm("7", day=""), "data_situacao", "MISSING"),
        (arm("7", kind="CATAPULTA"), "especie", "CODE_NOT_MAPPED"),
        (arm("7", situation="FURTAD"), "situacao", "NOT_SELECTED"),
        (arm("7", make="M" * 10_000_000), "marca", "string.max_len"),
        (arm("7", serial="A" * 101), "num_serie", "string.max_len"),
        (arm("7", make="EX\x00EMPLAR"), "marca", "CONTROL_CHARACTER"),
        (arm("7", make="EX\udc81EMPLAR"), "marca", "ENCODING"),
        (arm("7", make="PRODUÃ‡ÃƒO"), "marca", "ENCODING"),
        (arm(""), "num_cadastro", "KEY_MISSING"),
        (arm("7" * 257), "num_cadastro", "KEY_UNFIT"),
    ],
)
def test_bad_value_is_refused_with_column_and_reason(
    mapping: Mapping, bad: str, column: str, reason: str
) -> None:
    assert (column, reason) in rejected(mapping, row(bad))


def test_all_faults_of_a_row_are_told_at_once(mapping: Mapping) -> None:
    found = rejected(mapping, row(arm("7", day="31/02/2026", kind="CATAPULTA")))
    assert {reason for _, reason in found} >= {"DATE_IMPOSSIBLE", "CODE_NOT_MAPPED"}


def test_unmapped_codes_are_counted_by_column(mapping: Mapping) -> None:
    for key in "12":
        rejected(mapping, row(arm(key, kind="CATAPULTA")))
    mapped = mapping.map(row(arm("3"), pais_fabricacao="BRASIL"))
    assert mapped is not None
    assert mapping.unmapped == {("especie", "CATAPULTA"): 2, ("pais_fabricacao", "BRASIL"): 1}


def test_content_hash_follows_content_only(mapping: Mapping) -> None:
    first, again = mapping.map(row(arm("7"))), mapping.map(row(arm("7", remarks="more remarks")))
    other = mapping.map(row(arm("7", serial="OTHER123")))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.draft[1] == again.draft[1] != other.draft[1]
    assert first.draft[0].alert.handling.HasField("expires_on")


def test_licence_database_gives_the_drafts_that_the_dictionary_names(tmp_path: Path) -> None:
    path = licensing(tmp_path)
    mapping = Mapping.load(path)
    drafts = {}
    for part in open_source(mapping).read(None):
        if not isinstance(part, Milestone):
            mapped = mapping.map(part)
            if mapped is not None and mapped.draft:
                drafts[mapped.key] = mapped.draft[0].alert
    assert set(drafts) == {"licence/l-1", "licence/l-2", "denial/d-1"}, "others' denials are theirs to tell"
    revoked = drafts["licence/l-1"]
    names = [party.names[0].full for party in revoked.parties]
    assert names == ["Al Noor Gen. Trading LLC", "Ministry of Interior & Police"], "deleted parties left out"
    assert revoked.parties[1].country == "XD", "the suffix of a territory goes"
    assert [serial.as_registered for serial in revoked.items[0].serials] == [
        "EA000101",
        "EA000102",
        "EA000103",
    ]
    assert (revoked.items[0].quantity.value, revoked.items[0].quantity.unit) == ("4", "NAR")
    assert not drafts["licence/l-2"].items[0].serials, "serials come later"
    assert drafts["denial/d-1"].parties[0].names[0].full == "O'Example & Sons"
    assert drafts["denial/d-1"].status == c.ALERT_STATUS_REFUSED_APPLICATION


def test_array_that_is_no_array_is_refused(tmp_path: Path) -> None:
    path = licensing(tmp_path)
    change(path, "UPDATE firearm_good_details SET serial_numbers = 'EA1, EA2' WHERE id = 1")
    mapping = Mapping.load(path)
    rows = [part for part in open_source(mapping).read(None) if isinstance(part, Row)]
    [bad] = [part for part in rows if part.key == "licence/l-1"]
    assert rejected(mapping, bad) == [("serials", "LIST")]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('urgency = "ROUTINE"', 'urgency = "ROUTIN"', "do you mean `ROUTINE`"),
        ('to = "items[0].make"', 'to = "items[0].mak"', "no field `mak`, do you mean `make`"),
        ('to = "items[0].model"', 'to = "items.model"', "`items` is a list"),
        ('overflow = "observacoes"', 'overflo = "observacoes"', "do you mean `overflow`"),
        ('date = "dd/mm/yyyy"\nrequired', 'date = "dd/mm/yy"\nrequired', "may hold dd, mm, mmm and yyyy"),
        ('codes = "subtype"', 'codes = "subtipe"', "no table [codes.subtipe]"),
        ('FUZIL = "ASSAULT_RIFLE"', 'FUZIL = "ASSALT_RIFLE"', "do you mean `ASSAULT_RIFLE`"),
        ("version = 1", "version = 2", "version"),
        ("strict = true", "strict = maybe", "not TOML"),
        ('to = "national_reference"', 'to = "name"', "minted by the node"),
        ('template = "{especie} {marca} {modelo}"', "", "one of column, template, value"),
    ],
)
def test_error_in_a_mapping_names_its_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = seizures(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(MappingError) as raised:
        Mapping.load(path)
    assert told.lower() in raised.value.diagnosis.lower()
    line = text[: text.index(old)].count("\n") + 1
    block = range(line - 4, line + 4)
    assert any(f":{n}:" in raised.value.diagnosis or f"line {n}," in raised.value.diagnosis for n in block)


def test_lines_of_keys_survive_strings_and_arrays_over_many_lines() -> None:
    text = 'a = """\n[not.a.table]\n"""\n\n[[b]]\nc = [\n 1,\n 2,\n]\n[[b]]\nd.e = 1\n[b.f]\ng = 2\n'
    lines = key_lines(text)
    assert lines["a",] == 1
    assert lines["b", 0, "c"] == 6
    assert lines["b", 1, "d", "e"] == 11
    assert lines["b", 1, "f", "g"] == 13
    assert line_of(lines, ("b", 1, "f", "absent")) == 12


@pytest.mark.parametrize(
    ("text", "comma", "plain"),
    [("125,50", True, "125.5"), ("1.234,5", True, "1234.5"), ("10.0", False, "10"), ("007", False, "7")],
)
def test_numbers_lose_no_digit(text: str, comma: bool, plain: str) -> None:
    assert decimal_text(text, comma=comma) == plain


def test_partial_dates_keep_their_precision() -> None:
    assert (partial_date("2026-03").month, partial_date("2026-03").day) == (3, 0)
    assert partial_date("2026").month == 0
    assert partial_date("2026-03-02 10:00:00").day == 2
    with pytest.raises(UnfitError):
        partial_date("0000-01-01")


def test_twice_escaped_text_is_unescaped() -> None:
    assert clean("A &amp;amp; B &#x27;C&#x27;", unescape=True) == "A & B 'C'"


def test_sample_mappings_are_sound() -> None:
    for sample in sorted(SAMPLES.glob("*/mapping.toml")):
        assert Mapping.load(sample).columns()
