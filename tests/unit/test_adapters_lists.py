"""Ready mappings for denials and public lists: what becomes a draft, what is only watched, and what is left out."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
from collections import Counter
from pathlib import Path

import protovalidate
import pytest
from dief.v1 import codes_pb2 as c
from dief.v1 import watch_pb2 as w

from registry_adapters import Mapping, Report, Runner, State, open_source
from registry_adapters.conformance import try_source
from registry_adapters.errors import Reject, SchemaDriftError
from registry_adapters.source import Cursor, Row
from tests.support.dropped import CASES, put
from tests.support.registries import SAMPLES
from tests.support.registry_server import RegistryServer

PARTY, IDENTIFIER = c.INDICATOR_KIND_PARTY_NAME, c.INDICATOR_KIND_PARTY_IDENTIFIER
IMO, VESSEL, AIRCRAFT = c.INDICATOR_KIND_IMO, c.INDICATOR_KIND_VESSEL_NAME, c.INDICATOR_KIND_AIRCRAFT
LISTS = (
    "list_csl/mapping.toml",
    "list_ofac/sdn.toml",
    "list_ofac/alt.toml",
    "list_un/entities.toml",
    "list_un/individuals.toml",
)
beside_cases = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not beside this checkout")


def sample(folder: Path, name: str) -> Path:
    """A sample with its files handed over long ago; returns its mapping file."""
    home = folder / name.partition("/")[0]
    shutil.copytree(SAMPLES / home.name, home)
    for file in (home / "drop").iterdir():
        os.utime(file, (1_700_000_000, 1_700_000_000))
    return home / name.partition("/")[2]


def of_case(folder: Path, name: str, *files: str) -> Path:
    """A sample's mapping with files of the shared cases; returns the mapping file."""
    path = sample(folder, name)
    for file in (path.parent / "drop").iterdir():
        file.unlink()
    for case in files:
        put(path.parent / "drop", Path(case).name, (CASES / case).read_bytes())
    return path


def run(path: Path, server: RegistryServer) -> Report:
    """One run, with every row accounted for and every record as the node takes it."""
    mapping = Mapping.load(path)
    with State.open(path.parent / "state", mapping.stream) as state, server.client(patience=5) as client:
        report = Runner(mapping, open_source(mapping), client, state).run_once()
    assert report.read == report.accepted + report.unchanged + report.unselected + report.quarantined
    for record in server.watched.values():
        protovalidate.validate(record)
        assert record.kind == w.WATCH_RECORD_KIND_LIST_ENTRY
    return report


def watched(server: RegistryServer) -> dict[str, list[tuple[int, str]]]:
    """Key to kinds and values of what is watched."""
    return {
        key: [(term.kind, term.value) for term in record.terms] for (_, key), record in server.watched.items()
    }


def kinds(server: RegistryServer) -> Counter[int]:
    """How many facts of each kind are watched."""
    return Counter(term.kind for record in server.watched.values() for term in record.terms)


def names(server: RegistryServer) -> set[str]:
    """Names of parties under watch."""
    return {term.value for record in server.watched.values() for term in record.terms if term.kind == PARTY}


def changed(path: Path, *pairs: tuple[str, str]) -> None:
    """Change a mapping file."""
    text = path.read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


# Denials


def test_own_denials_for_diversion_become_drafts_and_those_of_others_are_only_watched(
    tmp_path: Path,
) -> None:
    path = sample(tmp_path, "denials/mapping.toml")
    with RegistryServer(tmp_path) as server:
        report = run(path, server)
        assert (report.read, report.accepted, report.unselected) == (5, 4, 1)
        drafts = {record.draft.alert.parties[0].names[0].full: record for record in server.held.values()}
        assert set(drafts) == {"Halvar & Søn Trading", "Merrow Freight 'Lume' Ltd"}, "escaped once or twice"
        alert = drafts["Merrow Freight 'Lume' Ltd"].draft.alert
        assert alert.status == c.ALERT_STATUS_REFUSED_APPLICATION
        assert alert.national_reference == "XA-7001"
        assert [measure.code for measure in alert.measures] == [c.MEASURE_TAKEN_LICENCE_REFUSED]
        [party] = alert.parties
        assert [*party.roles] == [c.PARTY_ROLE_CONSIGNEE]
        assert party.involvement == c.INVOLVEMENT_NAMED_ONLY
        assert (party.country, party.addresses[0].text) == ("XT", "Shed 3, Port Lume, XT")
        assert names(server) == {"The Ostrel Company", "c/o Brightwater Agency"}
        told = str(list(server.held.values()))
        assert "Ostrel" not in told, "what others refused is theirs to tell"
        assert "Tarn" not in told, "refused for another reason"
        assert {record.reference for record in server.watched.values()} == {
            "XE-0193-26",
            "XE-0201-26 XE-D/77",
        }, "a denial without a reference is known by the number of its regime"
        assert run(path, server).read == 0


def test_own_denial_that_is_for_diversion_no_more_withdraws_its_draft(tmp_path: Path) -> None:
    path = sample(tmp_path, "denials/mapping.toml")
    with RegistryServer(tmp_path) as server:
        run(path, server)
        text = (path.parent / "drop" / "denials_2026-02.csv").read_text(encoding="utf-8")
        text = text.replace("Criterion 7: risk of diversion,consignee", "Criterion 4,consignee")
        put(path.parent / "drop", "denials_2026-03.csv", text)
        report = run(path, server)
        assert (report.accepted, report.unchanged, report.unselected) == (1, 3, 1)
        assert Counter(server.keys("denials").values()) == {"draft": 1, "withdraw": 1}


@pytest.mark.parametrize(("encoding", "separator"), [("utf-8-sig", ","), ("utf-16", "\t")])
def test_denials_are_read_as_spreadsheet_programs_save_them(
    tmp_path: Path, encoding: str, separator: str
) -> None:
    path = sample(tmp_path, "denials/mapping.toml")
    [file] = (path.parent / "drop").iterdir()
    held = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"))))
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(held)
    put(path.parent / "drop", file.name, text.getvalue().encode(encoding))
    with RegistryServer(tmp_path) as server:
        assert run(path, server).accepted == 4


def test_former_header_of_denials_is_refused_with_the_columns_it_lacks(tmp_path: Path) -> None:
    path = sample(tmp_path, "denials/mapping.toml")
    header = "name,address,notifying_government,country,denial_cle,item_description,consignee_name,end_use"
    text = f"{header},end_user_flag\nA,B,XE,XT,ML1a,Rifles,C,Police,true\n"
    put(path.parent / "drop", "denials_2026-02.csv", text)
    with RegistryServer(tmp_path) as server:
        with pytest.raises(
            SchemaDriftError, match="entity_type; reason_for_refusal; reference; regime_reg_ref"
        ):
            run(path, server)
        assert (server.held, server.watched) == ({}, {}), "not loaded by half"


def test_role_that_nobody_knows_and_missing_number_go_into_quarantine(tmp_path: Path) -> None:
    path = sample(tmp_path, "denials/mapping.toml")
    text = (path.parent / "drop" / "denials_2026-02.csv").read_text(encoding="utf-8")
    text = text.replace("risk of diversion,consignee", "risk of diversion,stranger")
    put(path.parent / "drop", "denials_2026-02.csv", text.replace("XE-0193-26", " "))
    with RegistryServer(tmp_path) as server:
        report = run(path, server)
        assert (report.accepted, report.quarantined) == (2, 2)
        assert {reject["reason"] for reject in report.first_rejects} == {"CODE_NOT_MAPPED", "KEY_MISSING"}


@beside_cases
def test_case_of_denials_is_watched_whole_but_for_our_own(tmp_path: Path) -> None:
    path = of_case(tmp_path, "denials/mapping.toml", "lite_denials_valid.csv")
    changed(
        path,
        ('equals = "XA" }   #', 'equals = "United Kingdom" }   #'),
        ('not_in = ["XA"]', 'not_in = ["United Kingdom"]'),
        ('    { column = "notifying_government", equals = "XA" },', ""),
        ('contains = "criterion 7"', 'contains = "outcome"'),
        (
            "draft = { all = [",
            'draft = { all = [ { column = "notifying_government", equals = "United Kingdom" },',
        ),
    )
    with RegistryServer(tmp_path) as server:
        report = run(path, server)
        assert (report.read, report.accepted) == (7, 7)
        assert [record.draft.alert.parties[0].names[0].full for record in server.held.values()] == [
            "UK Issued"
        ]
        assert "c/o ltd" in names(server)
        assert "UK Issued" not in names(server)
        assert {record.reference for record in server.watched.values()} >= {"AB-XY-EF-900"}, "no reference"


@beside_cases
def test_case_of_denials_with_the_former_header_is_refused(tmp_path: Path) -> None:
    path = of_case(tmp_path, "denials/mapping.toml", "lite_denials_old_header.csv")
    with RegistryServer(tmp_path) as server, pytest.raises(SchemaDriftError, match="regime_reg_ref"):
        run(path, server)


# Public lists


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_watched_and_become_no_draft(tmp_path: Path, name: str) -> None:
    path = sample(tmp_path, name)
    with RegistryServer(tmp_path) as server:
        report = run(path, server)
        assert report.read == report.accepted == len(server.watched) > 1
        assert server.held == {}
        assert run(path, server).read == 0


@pytest.mark.parametrize("name", ["denials/mapping.toml", *LISTS])
def test_sources_of_lists_pass_the_conformance_suite(tmp_path: Path, name: str) -> None:
    mapping = Mapping.load(sample(tmp_path, name))
    drop = mapping.home / "drop"
    trials = try_source(
        lambda: open_source(mapping),
        fingerprint=lambda: sorted((file.name, file.stat().st_mtime_ns) for file in drop.iterdir()),
    )
    assert [trial for trial in trials if not trial.held] == []


def test_csl_splits_lists_and_never_a_name(tmp_path: Path) -> None:
    path = sample(tmp_path, "list_csl/mapping.toml")
    with RegistryServer(tmp_path) as server:
        run(path, server)
        found = {key.split("/", 1)[1]: terms for key, terms in watched(server).items()}
    assert found["90001/KESTREL MARINE SERVICES, OOO/"] == [
        (PARTY, "KESTREL MARINE SERVICES, OOO"),
        (PARTY, "KESTREL SHIPPING"),
        (PARTY, "'KESTREL-MORE', OOO"),
        (PARTY, "KMS"),
        (IDENTIFIER, "7700000017"),
        (IDENTIFIER, "XJ-1020000000011"),
        (IDENTIFIER, "1234567"),
    ], "the IMO number of a company is none of a ship"
    assert found["90002/LUME STAR 2/"] == [
        (VESSEL, "LUME STAR 2"),
        (VESSEL, "STAR OF LUME"),
        (IMO, "9074729"),
    ]
    assert found["90003/XT-ABC/"] == [(AIRCRAFT, "XT-ABC")]
    assert found["90004/Ilvar TESSEN/"] == [(PARTY, "Ilvar TESSEN")], "no passport, no birth date"
    whole = "Zarn Import and Export Company; and any successor, sub-unit, or subsidiary thereof"
    assert found[f"/{whole}/2023-07-19"] == [(PARTY, "Zarn Import and Export Company")]
    assert [value for _, value in found["/Fortieth Institute of Ostrel/2001-05-14"]] == [
        "Fortieth Institute of Ostrel",
        "Ostrel Electronics Group (OEG) 40th Institute",
        "Telemetry, Control and Command Institute (TCCI)",
        "Ostrel Observation Technology Institute.",
    ]
    assert "/Fortieth Institute of Ostrel/2014-09-18" in found, "one name, two entries"


def test_csl_with_and_without_its_first_column_is_the_same_list(tmp_path: Path) -> None:
    path = sample(tmp_path, "list_csl/mapping.toml")
    held = list(csv.reader(io.StringIO((path.parent / "drop" / "consolidated.csv").read_text("utf-8"))))
    assert {len(record) for record in held} == {29}
    older = io.StringIO()
    csv.writer(older).writerows(record[1:] for record in held)
    with RegistryServer(tmp_path) as server:
        run(path, server)
        before = dict(server.watched)
        put(path.parent / "drop", "consolidated_2.csv", older.getvalue())
        report = run(path, server)
        assert (report.read, report.unchanged, report.vanished) == (7, 7, 0)
        assert server.watched == before


def test_csl_reads_identifiers_in_both_orders(tmp_path: Path) -> None:
    mapping = Mapping.load(sample(tmp_path, "list_csl/mapping.toml"))

    def ids(text: str, kind: str = "Entity") -> list[str]:
        values = {"source": "S", "name": "", "type": kind, "ids": text}
        mapped = mapping.map(Row("1", values, "x:1", Cursor("csv", {})))
        return [] if mapped is None or mapped.watch is None else [term.value for term in mapped.watch.terms]

    assert ids("XT, 80-0000017, Tax ID No.; www.a.example, Website; 1020000000011, Registration ID") == [
        "80-0000017",
        "1020000000011",
    ]
    assert ids("01200000 (Lume), Matricula Mercantil No; 40000001, Government Gazette Number") == ["01200000"]
    assert ids("V.A.T. Number, XME-200.936.400, XM; Email Address, a@b.example") == ["XME-200.936.400"]
    assert ids("Tax ID No., 62; Registration ID, see the register of 1999") == [], "not certain"
    assert ids("IMO 9074729, Vessel Registration Identification", "Vessel") == ["9074729"]
    assert ids("X0000001, Passport; Tax ID No., 7700000017", "Individual") == []


def test_entry_that_a_new_list_lacks_is_watched_no_more(tmp_path: Path) -> None:
    path = sample(tmp_path, "list_csl/mapping.toml")
    text = (path.parent / "drop" / "consolidated.csv").read_text(encoding="utf-8")
    with RegistryServer(tmp_path) as server:
        run(path, server)
        put(
            path.parent / "drop",
            "consolidated.csv",
            "".join(line for line in text.splitlines(keepends=True) if "90003" not in line),
        )
        assert run(path, server).vanished == 1
        assert len(server.watched) == 6


@beside_cases
def test_cases_of_the_csl_are_watched_whole_in_both_forms(tmp_path: Path) -> None:
    path = of_case(tmp_path, "list_csl/mapping.toml", "us_csl_2018_28col.csv")
    with RegistryServer(tmp_path) as server:
        report = run(path, server)
        assert (report.read, report.accepted, report.quarantined) == (115, 113, 0)
        assert report.unchanged == 2, "entries that differ in their addresses only"
        assert kinds(server) == {PARTY: 237, IDENTIFIER: 57, VESSEL: 3, IMO: 2}
        assert not any(";" in name for name in names(server))
    later = tmp_path / "later"
    later.mkdir()
    path = of_case(later, "list_csl/mapping.toml", "us_csl_2024_29col.csv")
    with RegistryServer(tmp_path) as server:
        report = run(path, server)
        assert (report.read, report.accepted) == (13, 13)
        assert "Sinobright Import and Export Company" in names(server)
        assert kinds(server) == {PARTY: 25, IDENTIFIER: 4}


def test_ofac_takes_of_free_text_only_what_is_certain(tmp_path: Path) -> None:
    path = sample(tmp_path, "list_ofac/sdn.toml")
    with RegistryServer(tmp_path) as server:
        run(path, server)
        assert watched(server) == {
            "90101": [
                (PARTY, "HARROW SHIPPING COMPANY LIMITED"),
                (PARTY, "HSC"),
                (PARTY, "KAPTAN'S LINE"),
                (IDENTIFIER, "1234567"),
                (IDENTIFIER, "18500017"),
                (IDENTIFIER, "XT-77 041"),
            ],
            "90102": [(VESSEL, "LUME STAR 3"), (IMO, "9074729")],
            "90103": [(VESSEL, "TARN")],
            "90104": [(AIRCRAFT, "XT-QRS"), (AIRCRAFT, "XM-ZZZ"), (AIRCRAFT, "30417")],
            "90105": [(AIRCRAFT, "7007")],
            "90106": [(PARTY, "TESSEN, Ilvar")],
        }
        record = server.watched["list-ofac-sdn", "90101"]
        assert record.reference == "OFAC 90101: HARROW SHIPPING COMPANY LIMITED [NPWMD] [IFSR]"
        assert [term.field for term in record.terms[:3]] == ["sdn_name", "remarks", "remarks(1)"]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "piece", ["1", " ", ";", "; ", "a.k.a. '", "; Tax ID No. 1", "(", "IMO 1", "XT, 1, "]
)
def test_patterns_of_lists_stay_quick_on_any_text(tmp_path: Path, name: str, piece: str) -> None:
    mapping = Mapping.load(sample(tmp_path, name))
    text = piece * (300_000 // len(piece))
    for kind in ("Entity", "vessel", "aircraft", ""):
        values = {
            "type": kind,
            "sdn_type": kind,
            "ids": text,
            "remarks": text,
            "COMMENTS1": text,
            "name": "A",
        }
        with contextlib.suppress(Reject):
            mapping.map(Row("1", {**values, "alt_names": text}, "x:1", Cursor("csv", {})))


def test_ofac_names_follow_their_entries_by_number_and_addresses_stay_unread(tmp_path: Path) -> None:
    path = sample(tmp_path, "list_ofac/alt.toml")
    with RegistryServer(tmp_path) as server:
        run(path, server)
        assert watched(server)["90101/70002"] == [
            (PARTY, "FIRST HARROW COMPANY"),
            (VESSEL, "FIRST HARROW COMPANY"),
        ]
        assert (
            server.watched["list-ofac-alt", "90102/70003"].reference == "OFAC 90102, fka 70003: ROSE OF LUME"
        )
        assert "Quay" not in str(server.watched)


@beside_cases
def test_cases_of_ofac_are_watched_whole(tmp_path: Path) -> None:
    files = [f"ofac/{name}.csv" for name in ("sdn", "alt", "add")]
    path = of_case(tmp_path, "list_ofac/sdn.toml", *files)
    with RegistryServer(tmp_path) as server:
        report = run(path, server)
        assert (report.read, report.accepted) == (822, 822)
        found = kinds(server)
        assert (found[VESSEL], found[IMO]) == (161, 158), "three vessels have no IMO number"
        told = {term.value for record in server.watched.values() for term in record.terms}
        assert not told & {"-0-", "", "None Identified", "[PERSON]"}
        alt = path.parent / "alt.toml"
        report = run(alt, server)
        assert (report.read, report.accepted) == (1175, 1175)


def test_un_list_gives_names_in_every_script_and_leaves_weak_ones_out(tmp_path: Path) -> None:
    path = sample(tmp_path, "list_un/individuals.toml")
    with RegistryServer(tmp_path) as server:
        run(path, server)
        assert watched(server) == {
            "9800001": [
                (PARTY, "ILVAR DAMIR TESSEN"),
                (PARTY, "Ильвар Дамир Тессен"),
                (PARTY, "Ilwar Tessen"),
                (IDENTIFIER, "X0000001"),
            ],
            "9800002": [(PARTY, "MERA OSTREL BIN ZARN")],
        }, "line feeds are blanks, empty elements are nothing"
        run(path.parent / "entities.toml", server)
        found = watched(server)
        assert found["9800101"] == [
            (PARTY, "HARROW SHIPPING COMPANY LIMITED"),
            (PARTY, "شركة هارو للملاحة"),
            (PARTY, "Harrow Lines & Sons"),
            (PARTY, "First Harrow Company"),
            (IDENTIFIER, "1234567"),
        ], "the ship that the comment speaks of is not the company"
        assert found["9800102"] == [(PARTY, "TARN VALLEY FRONT")]


@beside_cases
def test_case_of_the_un_list_is_watched_whole(tmp_path: Path) -> None:
    path = of_case(tmp_path, "list_un/entities.toml", "un_consolidated_entities.xml")
    with RegistryServer(tmp_path) as server:
        report = run(path, server)
        assert (report.read, report.accepted) == (170, 170)
        assert kinds(server) == {PARTY: 360, IDENTIFIER: 14}, "170 names, 190 others; 98 aliases are empty"
        assert not any("\n" in name for name in names(server))
        report = run(path.parent / "individuals.toml", server)
        assert (report.read, report.accepted) == (2, 2)
        told = [term.value for term in server.watched["list-un-individuals", "9900000"].terms]
        assert told[0] == "OLU JAMILA IVO"
        assert "NADIA" not in told, "a name of low quality"
