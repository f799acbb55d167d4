"""Exact screening: every hit explained, nothing stronger than its facts, nothing told of what is hidden (I7)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from dief.v1 import codes_pb2 as c
from dief.v1 import handling_pb2 as h
from dief.v1.alert_pb2 import DiversionAlert, PartyName
from dief.v1.event_pb2 import ListPart
from sqlalchemy import update

from node.alerts.indicators import indicator_key
from node.alerts.project import INDICATOR
from node.screening import Hit, Screening, Term, screen
from node.screening.candidates import MAX_PER_TERM
from tests.support.alerts import case_pattern, minimal_alert, sample_alert
from tests.support.databases import Databases
from tests.support.projected import COMMITTED_MS, Logs, list_part, published, revised, withdrawn

NOW_MS = COMMITTED_MS + 60_000
LEAD, STRONG, IDENTITY = c.MATCH_STRENGTH_LEAD, c.MATCH_STRENGTH_STRONG, c.MATCH_STRENGTH_IDENTITY
SERIAL, NAME, DOCUMENT = c.INDICATOR_KIND_SERIAL, c.INDICATOR_KIND_PARTY_NAME, c.INDICATOR_KIND_DOCUMENT


@pytest.fixture
def held(databases: Databases) -> Logs:
    return Logs(databases.open())


def ask(held: Logs, *terms: Term, **reader: tuple[int, ...]) -> Screening:
    with held.store.read() as conn:
        return screen(conn, terms, NOW_MS, **reader)  # type: ignore[arg-type]


def tell(held: Logs, *changes: Callable[[DiversionAlert], object]) -> DiversionAlert:
    alert = sample_alert(1)
    for change in changes:
        change(alert)
    projection = held.tell(held.open(), published(alert))
    assert projection.unprojected == ()
    return alert


def only(result: Screening) -> Hit:
    assert result.not_searched == ()
    assert len(result.hits) == 1
    return result.hits[0]


def test_a_hit_tells_path_value_alert_and_reason(held: Logs) -> None:
    alert = tell(held)
    hit = only(ask(held, Term(SERIAL, "ea 0000.0003")))
    assert (hit.path, hit.value) == ("items[0].serials[0].as_read", "EA00000003")
    assert hit.record.name == alert.name
    assert hit.record.alert == alert
    assert hit.strength == LEAD
    assert hit.explanation == "Lead: the serial number is the same."
    assert any("make" in weakness for weakness in hit.weaknesses)


def test_a_serial_with_its_make_is_strong_and_with_another_make_a_lead(held: Logs) -> None:
    tell(held, lambda a: setattr(a.items[0], "make", "Kestrel Arms"))
    same = only(ask(held, Term(SERIAL, "EA00000003", "Kestrel")))
    other = only(ask(held, Term(SERIAL, "EA00000003", "Other Arms")))
    assert (same.strength, other.strength) == (STRONG, LEAD)
    assert any("another make" in weakness for weakness in other.weaknesses)


def test_a_short_number_needs_its_make(held: Logs) -> None:
    tell(
        held,
        lambda a: setattr(a.items[0].serials[0], "as_read", "1234"),
        lambda a: setattr(a.items[0], "make", "Kestrel"),
    )
    bare = ask(held, Term(SERIAL, "1234"))
    assert bare.hits == ()
    assert "make" in bare.not_searched[0].reason
    assert ask(held, Term(SERIAL, "1234", "Merlin")).hits == ()
    hit = only(ask(held, Term(SERIAL, "1234", "Kestrel")))
    assert any("short" in weakness for weakness in hit.weaknesses)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (c.SERIAL_CONDITION_RESTORED, "forensic"),
        (c.SERIAL_CONDITION_PARTIAL, "in part"),
        (c.SERIAL_CONDITION_FALSE, "not the number"),
    ],
)
def test_the_condition_of_a_serial_weakens_a_hit(held: Logs, condition: int, words: str) -> None:
    tell(held, lambda a: setattr(a.items[0].serials[0], "condition", condition))
    assert any(words in weakness for weakness in only(ask(held, Term(SERIAL, "EA00000003"))).weaknesses)


def test_a_misread_seizure_is_found_by_look_alikes_and_its_near_miss_is_not(held: Logs) -> None:
    alert = case_pattern(16)
    alert.items[0].serials[0].as_registered = "ХК 386012"
    alert.handling.audience.CopyFrom(minimal_alert().handling.audience)
    held.tell(held.open(alert.originator), published(alert))
    hit = only(ask(held, Term(SERIAL, "XK386012")))
    assert hit.value == "ХК 386012"
    assert any("another script" in weakness for weakness in hit.weaknesses)
    assert ask(held, Term(SERIAL, "386012")).hits == ()


def test_one_serial_read_and_registered_alike_is_one_hit(held: Logs) -> None:
    tell(held, lambda a: setattr(a.items[0].serials[0], "as_registered", "EA-00000003"))
    only(ask(held, Term(SERIAL, "EA00000003")))


def test_a_document_with_its_issuer_is_identity_and_alone_a_lead(held: Logs) -> None:
    tell(held)
    alone = only(ask(held, Term(DOCUMENT, "euc 0000001-2026")))
    state = only(ask(held, Term(DOCUMENT, "EUC/0000001/2026", "XB")))
    other = only(ask(held, Term(DOCUMENT, "EUC/0000001/2026", "XD")))
    assert (alone.strength, state.strength, other.strength) == (LEAD, IDENTITY, LEAD)
    assert "forged" in state.explanation


def test_a_company_by_name_and_country_is_strong_and_by_name_alone_a_lead(held: Logs) -> None:
    tell(held, lambda a: setattr(a.parties[2].names[0], "full", "Kestrel Merlin Trading LLC"))
    alone = only(ask(held, Term(NAME, "Kestrel Merlin Trading LLC")))
    seated = only(ask(held, Term(NAME, "Merlin Kestrel Trading Ltd", "XB")))
    abroad = only(ask(held, Term(NAME, "Kestrel Merlin Trading LLC", "XD")))
    assert (alone.strength, seated.strength, abroad.strength) == (LEAD, STRONG, LEAD)
    assert {"legal form", "order"} <= {
        word for word in ("legal form", "order") for weakness in seated.weaknesses if word in weakness
    }


def test_the_name_of_a_person_is_never_more_than_a_lead(held: Logs) -> None:
    def person(alert: DiversionAlert) -> None:
        alert.parties[0].kind = c.PARTY_KIND_PERSON
        alert.parties[0].names[0].full = "Ali Hassan"
        alert.handling.personal_data = True

    tell(held, person)
    hit = only(ask(held, Term(NAME, "HASSAN, Ali", "XB")))
    assert hit.strength == LEAD


def test_a_victim_is_told_from_a_suspect(held: Logs) -> None:
    tell(
        held,
        lambda a: setattr(a.parties[1], "involvement", c.INVOLVEMENT_MISUSED),
        lambda a: setattr(a.parties[1].names[0], "full", "Kestrel Freight"),
    )
    hit = only(ask(held, Term(NAME, "Kestrel Freight")))
    assert any("victim" in weakness for weakness in hit.weaknesses)


def test_a_name_is_found_in_both_its_scripts(held: Logs) -> None:
    alias = PartyName(full="شركة النور", full_lat="Al Nur", script="Arab", kind=c.NAME_KIND_ALIAS)
    tell(held, lambda a: a.parties[2].names.append(alias))
    assert only(ask(held, Term(NAME, "النور"))).path == "parties[2].names[1].full"
    assert only(ask(held, Term(NAME, "AL-NUR"))).path == "parties[2].names[1].full_lat"


@pytest.mark.parametrize(
    ("kind", "value", "word"),
    [
        (NAME, "General Trading Co. Ltd", "distinctive"),
        (NAME, "L.L.C.", "legal form"),
        (SERIAL, "UNKNOWN", "no number"),
        (SERIAL, "AB?12", "not searched exactly"),
        (SERIAL, "--", "no number"),
        (c.INDICATOR_KIND_IMO, "12345678", "seven digits"),
        (c.INDICATOR_KIND_CONTACT, "harbour office", "telephone"),
        (77, "x", "not indexed"),
    ],
)
def test_what_can_not_be_searched_is_said_with_its_reason(
    held: Logs, kind: int, value: str, word: str
) -> None:
    held.open()
    result = ask(held, Term(SERIAL, "EA1"), Term(kind, value))
    assert result.hits == ()
    assert [(n.term, word in n.reason) for n in result.not_searched] == [(1, True)]


def test_joined_initials_are_tried(held: Logs) -> None:
    tell(held, lambda a: setattr(a.parties[0].names[0], "full", "ABC"))
    assert only(ask(held, Term(NAME, "A.B.C. Co. Ltd"))).value == "ABC"


def test_strongest_comes_first(held: Logs) -> None:
    tell(held)
    result = ask(
        held,
        Term(SERIAL, "EA00000003"),
        Term(c.INDICATOR_KIND_PARTY_IDENTIFIER, "XB-0000001-2", "XB"),
        Term(c.INDICATOR_KIND_CONTACT, "+999 000000001"),
    )
    strengths = [hit.strength for hit in result.hits]
    assert strengths == sorted(strengths, reverse=True)
    assert result.hits[0].term == 1
    assert result.hits[0].strength == IDENTITY


def test_conveyances_are_found_and_their_limits_told(held: Logs) -> None:
    alert = case_pattern(7)
    alert.handling.audience.CopyFrom(minimal_alert().handling.audience)
    held.tell(held.open(alert.originator), published(alert))
    ship = only(ask(held, Term(c.INDICATOR_KIND_IMO, "IMO 0000012")))
    box = only(ask(held, Term(c.INDICATOR_KIND_CONTAINER, "ZZZU123456-9")))
    vessel = only(ask(held, Term(c.INDICATOR_KIND_VESSEL_NAME, "MV Example Everest")))
    lot = only(ask(held, Term(c.INDICATOR_KIND_LOT, "3/89")))
    company = only(ask(held, Term(c.INDICATOR_KIND_PARTY_IDENTIFIER, "IMO 0000014")))
    assert (ship.strength, box.strength, vessel.strength, lot.strength) == (STRONG, LEAD, LEAD, LEAD)
    assert any("check digit" in weakness for weakness in box.weaknesses)
    assert any("origin" in weakness for weakness in lot.weaknesses)
    assert company.strength == IDENTITY


def test_every_hit_says_what_weakens_it_or_is_identity(held: Logs) -> None:
    alert = tell(held)
    terms = [Term(SERIAL, s.as_read) for item in alert.items for s in item.serials]
    for hit in ask(held, *terms).hits:
        assert hit.explanation
        assert hit.weaknesses or hit.strength == IDENTITY


def test_a_drill_says_so(held: Logs) -> None:
    tell(held, lambda a: setattr(a, "exercise", True))
    assert any("drill" in weakness for weakness in only(ask(held, Term(SERIAL, "EA00000003"))).weaknesses)


def test_an_alert_for_law_enforcement_leaves_no_trace_for_others(held: Logs) -> None:
    alert = minimal_alert(serial="LE-000001")
    alert.handling.audience.reader_role = h.READER_ROLE_LAW_ENFORCEMENT
    held.tell(held.open(reader_role=1), published(alert))
    assert ask(held, Term(SERIAL, "LE000001")) == Screening((), ())
    only(ask(held, Term(SERIAL, "LE000001"), reader_roles=(0, 1)))


def test_a_withdrawn_revised_or_expired_alert_is_no_hit(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert(serial="EX-000001")
    held.tell(log, published(alert))
    alert.items[0].serials[0].as_read = "EX-000002"
    held.tell(log, revised(alert, 2), erase=[1])
    assert ask(held, Term(SERIAL, "EX000001")).hits == ()
    with held.store.read() as conn:
        expiry = alert.handling.expires_on.seconds * 1000
        assert len(screen(conn, [Term(SERIAL, "EX000002")], expiry - 1).hits) == 1
        assert screen(conn, [Term(SERIAL, "EX000002")], expiry).hits == ()
    held.tell(log, withdrawn(alert, c.WITHDRAWAL_REASON_UNFOUNDED), erase=[2])
    assert ask(held, Term(SERIAL, "EX000002")).hits == ()


def test_a_superseded_revision_that_nothing_erased_is_no_hit(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert(serial="EX-000001")
    held.tell(log, published(alert))
    alert.items[0].serials[0].as_read = "EX-000002"
    held.tell(log, revised(alert, 2))
    assert ask(held, Term(SERIAL, "EX000001")).hits == ()


def test_a_shared_key_alone_is_no_hit(held: Logs) -> None:
    """64 bits can collide; the body decides."""
    tell(held)
    with held.store.write() as conn:
        conn.execute(
            update(INDICATOR).where(INDICATOR.c.kind == SERIAL).values(key=indicator_key(SERIAL, "COLLIDES"))
        )
    assert ask(held, Term(SERIAL, "COLLIDES")) == Screening((), ())


def _part(alert: DiversionAlert) -> ListPart:
    part = ListPart(alert=alert.name, revision=1, index=0, items=alert.items)
    part.items[0].serials[0].as_read = "PART-0001"
    return part


def test_a_serial_in_a_list_part_meets_its_alert(held: Logs) -> None:
    alert = minimal_alert()
    part = _part(alert)
    digest = hashlib.sha256(part.SerializeToString()).digest()
    held.tell(held.open(), published(alert, parts=[digest]), list_part(part))
    hit = only(ask(held, Term(SERIAL, "PART 0001")))
    assert hit.path == "list_parts[0].items[0].serials[0].as_read"
    assert hit.record.name == alert.name


def test_a_list_part_that_its_alert_does_not_cite_is_no_hit(held: Logs) -> None:
    alert = minimal_alert()
    held.tell(held.open(), published(alert), list_part(_part(alert)))
    assert ask(held, Term(SERIAL, "PART 0001")).hits == ()


def test_a_list_part_of_a_red_alert_is_no_hit(held: Logs) -> None:
    alert = minimal_alert()
    alert.handling.tlp = h.TLP_RED
    part = _part(alert)
    digest = hashlib.sha256(part.SerializeToString()).digest()
    held.tell(held.open(), published(alert, parts=[digest]), list_part(part))
    assert ask(held, Term(SERIAL, "PART 0001")).hits == ()


def test_a_term_that_meets_too_many_alerts_is_cut_and_said(held: Logs) -> None:
    log = held.open()
    alerts = [minimal_alert(number=n, serial="SAME-00001") for n in range(MAX_PER_TERM + 1)]
    held.tell(log, *(published(alert) for alert in alerts))
    result = ask(held, Term(SERIAL, "SAME00001"))
    assert len(result.hits) == MAX_PER_TERM
    assert [n.term for n in result.not_searched] == [0]
