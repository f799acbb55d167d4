"""The ready mappings for a weapons register (schema B) and a customs link (schema D), from their files to the node."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from dief.v1 import codes_pb2 as c
from dief.v1 import watch_pb2 as w

from registry_adapters import Mapping, Report, Runner, State, open_source
from registry_adapters.check import check
from registry_adapters.errors import SourceError
from tests.support.dropped import put
from tests.support.registries import SAMPLES
from tests.support.registry_server import RegistryServer


def copied(folder: Path, name: str, *, without: str = "") -> Path:
    """A sample registry in a place of its own, its files handed over long ago; returns its mapping file."""
    home = folder / name
    shutil.copytree(SAMPLES / name, home)
    for file in (home / "drop").iterdir():
        os.utime(file, (1_700_000_000, 1_700_000_000))
        if without and without in file.name:
            file.unlink()
    return home / "mapping.toml"


def run(path: Path, server: RegistryServer) -> Report:
    mapping = Mapping.load(path)
    with State.open(path.parent / "state", mapping.stream) as state, server.client(patience=5) as client:
        report = Runner(mapping, open_source(mapping), client, state).run_once()
    assert report.read == report.accepted + report.unchanged + report.unselected + report.quarantined
    return report


def test_weapons_register_drafts_thefts_and_losses_and_watches_what_is_held(tmp_path: Path) -> None:
    path = copied(tmp_path, "register_b", without="000002")
    with RegistryServer(tmp_path) as server:
        report = run(path, server)
        assert (report.read, report.accepted, report.unselected) == (4, 3, 1)
        assert server.keys("weapons") == {"XD-05-0815/W-1": "draft", "XD-05-0815/W-2": "draft"}
        alert = server.held["weapons", "XD-05-0815/W-1"].draft.alert
        [item] = alert.items
        assert item.make == "Exemplar Größe & Söhne"
        assert [serial.as_registered for serial in item.serials] == ["NL 77120", "", "TKR04417"]
        assert item.serials[1].condition == c.SERIAL_CONDITION_ERASED
        assert item.serials[0].place == c.SERIAL_PLACE_BARREL
        assert [party.names[0].full for party in alert.parties] == ["Beispiel Jagdwaffen GmbH"]
        assert alert.diversion.detected_on.day == 17
        assert server.held["weapons", "XD-05-0815/W-2"].draft.alert.diversion.detected_on.day == 0
        terms = {key: [term.value for term in record.terms] for (_, key), record in server.watched.items()}
        assert terms == {
            "XD-05-0815/W-1": ["TKR04417", "NL 77120"],
            "XD-05-0815/W-2": ["WS 0042"],
            "XD-05-0815/W-3": ["R-24/7"],
        }
        assert server.watched["weapons", "XD-05-0815/W-1"].terms[1].context == "Nordlauf", (
            "a part of another maker"
        )


def test_weapons_register_never_tells_of_persons(tmp_path: Path) -> None:
    path = copied(tmp_path, "register_b")
    with RegistryServer(tmp_path) as server:
        run(path, server)
        told = str(list(server.held.values())) + str(list(server.watched.values()))
    assert "TKR04417" in told
    assert "Mustermann" not in told
    assert "1961" not in told


def test_message_with_changes_withdraws_what_was_found_and_leaves_the_rest(tmp_path: Path) -> None:
    path = copied(tmp_path, "register_b")
    with RegistryServer(tmp_path) as server:
        run(path, server)
        assert server.keys("weapons") == {
            "XD-05-0815/W-1": "draft",
            "XD-05-0815/W-2": "withdraw",
            "XD-05-0815/W-5": "draft",
        }
        assert run(path, server).read == 0
        full = (path.parent / "drop" / "XD-05-0815_000001_voll.xml").read_text(encoding="utf-8")
        put(path.parent / "drop", "XD-05-0815_000003_voll.xml", full.replace('"W-1"', '"W-7"'))
        assert run(path, server).vanished == 2, "a full message lacks W-1 and W-5"
        assert server.keys("weapons")["XD-05-0815/W-5"] == "withdraw"


def test_event_without_its_arm_goes_into_quarantine(tmp_path: Path) -> None:
    path = copied(tmp_path, "register_b")
    file = path.parent / "drop" / "XD-05-0815_000002.xml"
    put(
        path.parent / "drop",
        file.name,
        file.read_text(encoding="utf-8").replace('ereignis waffe="W-5"', 'ereignis waffe="W-6"'),
    )
    report = check(Mapping.load(path), open_source(Mapping.load(path)))
    assert (report.read, report.quarantined) == (7, 1)
    assert report.first_rejects[0]["reason"] == "REFERENCE_UNKNOWN"
    assert report.first_rejects[0]["row"].startswith("XD-05-0815_000002.xml:")


def test_customs_licences_are_watched_and_become_no_draft(tmp_path: Path) -> None:
    path = copied(tmp_path, "customs_d", without="_00042_")
    with RegistryServer(tmp_path) as server:
        assert run(path, server).accepted == 3
        assert server.held == {}
        record = server.watched["customs_licences", "20260000731P"]
        assert (record.kind, record.reference) == (w.WATCH_RECORD_KIND_LICENCE, "XESIEL/2026/0000731/P")
        assert [term.value for term in record.terms] == [
            "XESIEL/2026/0000731/P",
            "HARTWELL & OKORO GUNMAKERS LTD",
            "XE987654321000",
            "AL SAHRA HUNTING EQUIPMENT TRADING LLC",
        ], "the name that was wrapped is whole"


def test_update_at_customs_is_a_cancelled_and_a_new_licence(tmp_path: Path) -> None:
    path = copied(tmp_path, "customs_d")
    with RegistryServer(tmp_path) as server:
        assert run(path, server).accepted == 5
        assert {key for _, key in server.watched} == {"20260000731P", "IMA/2026/00018", "20250000412PA"}
        assert run(path, server).read == 0


def test_missing_run_at_customs_stops_before_a_licence_is_lost(tmp_path: Path) -> None:
    path = copied(tmp_path, "customs_d", without="_00042_")
    with RegistryServer(tmp_path) as server:
        run(path, server)
        later = (
            SAMPLES / "customs_d" / "drop" / "CHIEF_LIVE_XELIC_licenceData_00042_202603031530"
        ).read_text()
        put(path.parent / "drop", "CHIEF_LIVE_XELIC_licenceData_00043_1", later.replace("\\42\\N", "\\43\\N"))
        with pytest.raises(SourceError, match="it is run 43, but run 42 was due"):
            run(path, server)
        put(path.parent / "drop", "CHIEF_LIVE_XELIC_licenceData_00042_1", later)
        assert run(path, server).read == 4
