"""What projecting a batch leaves in the tables: I6 (erasing), I10 (what is not shown), expiry, upgrades."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from dief.v1 import codes_pb2 as c
from dief.v1 import desk_pb2 as d
from dief.v1 import handling_pb2 as h
from dief.v1.alert_pb2 import DiversionAlert
from sqlalchemy import Table, func, select, update

from node.alerts import counts, project, queries, upkeep
from node.alerts.bodies import Refusal
from node.alerts.indicators import indicator_key, indicators
from node.alerts.prepare import Prepared
from node.alerts.project import ALERT, INDICATOR, UNPROJECTED
from node.alerts.states import Held
from node.ledger.events import NewEvent
from node.ledger.state import entry_id
from node.store.tables.alerts import INDICATOR_BITS
from tests.support.alerts import minimal_alert, sample_alert
from tests.support.databases import Databases
from tests.support.projected import (
    COMMITTED_MS,
    Logs,
    published,
    revised,
    withdrawn,
)

NOW_MS = COMMITTED_MS + 60_000
WITHDRAWN = c.WITHDRAWAL_REASON_WITHDRAWN
UNFOUNDED = c.WITHDRAWAL_REASON_UNFOUNDED


@pytest.fixture
def held(databases: Databases) -> Logs:
    return Logs(databases.open())


def rows(held: Logs, table: Table) -> int:
    with held.store.read() as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def standing(held: Logs, alert: DiversionAlert, now_ms: int = NOW_MS, **reader: object) -> int | None:
    with held.store.read() as conn:
        record = queries.get_alert(conn, alert.name, now_ms, **reader)  # type: ignore[arg-type]
    return None if record is None else record.standing


def test_a_published_alert_is_current_with_all_its_indicators(held: Logs) -> None:
    log = held.open()
    alert = sample_alert(1)
    projection = held.tell(log, published(alert))
    assert projection.current == (entry_id(log.pk, 1),)
    assert projection.unprojected == ()
    assert projection.erased == ()
    assert standing(held, alert) == d.ALERT_STANDING_CURRENT
    with held.store.read() as conn:
        stored = {(row.key, row.kind) for row in conn.execute(select(INDICATOR))}
    assert stored == {(indicator_key(i.kind, i.form), i.kind) for i in indicators(alert)}


def test_keys_are_the_first_bytes_of_sha_256() -> None:
    digest = hashlib.sha256(b"\x01\x00EX000123").digest()
    assert indicator_key(1, "EX000123") == int.from_bytes(digest[:8], "big", signed=True)


def test_a_revision_takes_the_place_of_the_one_it_erases(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert(serial="EX-1")
    held.tell(log, published(alert))
    alert.items[0].serials[0].as_read = "EX-2"
    projection = held.tell(log, revised(alert, 2), erase=[1])
    assert projection.current == (entry_id(log.pk, 2),)
    assert projection.erased == (entry_id(log.pk, 1),)
    with held.store.read() as conn:
        record = queries.get_alert(conn, alert.name, NOW_MS)
        keys = list(conn.execute(select(INDICATOR.c.key)).scalars())
    assert record is not None
    assert record.revision == 2
    assert keys == [indicator_key(c.INDICATOR_KIND_SERIAL, "EX2")]


def test_revisions_replace_lists_and_label_whole(held: Logs) -> None:
    """Never a union of revisions; exactly one TLP."""
    log = held.open()
    alert = sample_alert(1)
    held.tell(log, published(alert))
    alert.handling.tlp = h.TLP_GREEN
    alert.handling.ClearField("restrictions")
    del alert.parties[1:]
    held.tell(log, revised(alert, 2), erase=[1])
    with held.store.read() as conn:
        record = queries.get_alert(conn, alert.name, NOW_MS)
    assert record is not None
    assert record.alert is not None
    assert record.alert.handling.tlp == h.TLP_GREEN
    assert not record.alert.handling.restrictions
    assert len(record.alert.parties) == 1


@pytest.mark.parametrize(
    ("reason", "expected"),
    [(WITHDRAWN, d.ALERT_STANDING_WITHDRAWN), (UNFOUNDED, d.ALERT_STANDING_UNFOUNDED)],
)
def test_a_withdrawal_leaves_no_indicator_and_no_content_i6(
    held: Logs, reason: c.WithdrawalReason.ValueType, expected: int
) -> None:
    log = held.open()
    alert = sample_alert(1)
    held.tell(log, published(alert))
    held.tell(log, withdrawn(alert, reason), erase=[1])
    assert standing(held, alert) == expected
    assert rows(held, INDICATOR) == 0
    with held.store.read() as conn:
        row = conn.execute(select(ALERT).where(ALERT.c.entry_id == entry_id(log.pk, 1))).one()
    assert (row.status, row.urgency, row.stages, row.categories, row.concerned) == (0, 0, 0, 0, "")


def test_erasing_without_a_word_is_plainly_withdrawn(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert()
    held.tell(log, published(alert))
    held.tell(log, erase=[1])
    assert standing(held, alert) == d.ALERT_STANDING_WITHDRAWN


def test_a_withdrawal_whose_header_forgot_to_erase_still_ends_the_alert(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert()
    held.tell(log, published(alert))
    held.tell(log, withdrawn(alert, UNFOUNDED))
    assert standing(held, alert) == d.ALERT_STANDING_UNFOUNDED


def test_an_entry_that_comes_erased_is_never_current(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert()
    projection = held.tell(log, replace(published(alert), body=None))
    assert projection.current == ()
    assert standing(held, alert) == d.ALERT_STANDING_WITHDRAWN


def test_an_alert_moved_to_another_audience_stays_current_where_both_logs_are_held(held: Logs) -> None:
    wide, narrow = held.open(), held.open(states=["XB", "XE"])
    alert = minimal_alert()
    held.tell(wide, published(alert))
    moved = minimal_alert(states=["XB", "XE"], revision=2)
    held.tell(narrow, revised(moved, 2))
    held.tell(wide, erase=[1])
    assert standing(held, alert) == d.ALERT_STANDING_CURRENT
    assert standing(held, alert, log_pks=[wide.pk]) == d.ALERT_STANDING_WITHDRAWN


def test_another_origin_can_not_speak_of_an_alert(held: Logs) -> None:
    ours, theirs = held.open("XA"), held.open("XB")
    alert = minimal_alert("XA")
    held.tell(ours, published(alert))
    projection = held.tell(theirs, withdrawn(alert, UNFOUNDED), published(alert))
    assert [reason for _, reason in projection.unprojected] == [Refusal.INVALID_BODY] * 2
    assert standing(held, alert) == d.ALERT_STANDING_CURRENT


def test_the_same_uuid_of_another_origin_is_another_alert(held: Logs) -> None:
    ours, theirs = held.open("XA"), held.open("XB")
    held.tell(ours, published(minimal_alert("XA")))
    held.tell(theirs, published(minimal_alert("XB")))
    held.tell(theirs, erase=[1])
    assert standing(held, minimal_alert("XA")) == d.ALERT_STANDING_CURRENT
    assert standing(held, minimal_alert("XB")) == d.ALERT_STANDING_WITHDRAWN


def test_an_invalid_body_is_counted_and_neither_indexed_nor_shown_i10(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert()
    alert.authority = ""
    projection = held.tell(log, published(alert), published(minimal_alert(number=2)))
    assert projection.unprojected == ((entry_id(log.pk, 1), Refusal.INVALID_BODY),)
    assert projection.current == (entry_id(log.pk, 2),)
    assert standing(held, alert) == d.ALERT_STANDING_HIDDEN
    with held.store.read() as conn:
        assert counts.count_unprojected(conn, log.pk) == {Refusal.INVALID_BODY: 1}
        assert len(queries.list_alerts(conn, NOW_MS).records) == 1


def test_handling_that_is_not_understood_hides_the_content(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert()
    alert.handling.restrictions.append(h.UseRestriction.ValueType(77))
    projection = held.tell(log, published(alert))
    assert projection.unprojected == ((entry_id(log.pk, 1), Refusal.HIDDEN),)
    assert standing(held, alert) == d.ALERT_STANDING_HIDDEN
    assert rows(held, INDICATOR) == 0


def test_an_unknown_kind_is_noted_and_erasing_it_ends_the_note(held: Logs) -> None:
    log = held.open()
    projection = held.tell(log, NewEvent(77, "meetings/XA/1", 1, b"body"))
    assert projection.unprojected == ((entry_id(log.pk, 1), Refusal.NOT_UNDERSTOOD),)
    held.tell(log, erase=[1])
    assert rows(held, UNPROJECTED) == 0


def test_an_upgrade_looks_again_at_what_was_not_understood(held: Logs) -> None:
    log = held.open()
    alert = sample_alert(1)
    held.tell(log, NewEvent(77, "", 1, b"x"))
    with held.store.write() as conn:
        entry = held.put(conn, log, published(alert))
        uuid = bytes.fromhex(alert.name[10:].replace("-", ""))
        project.write(conn, [(entry, Prepared(uuid, Held.HIDDEN, Refusal.HIDDEN))])
    assert standing(held, alert) == d.ALERT_STANDING_HIDDEN
    with held.store.write() as conn:
        last, projection = upkeep.reproject(conn)
        assert last == entry.entry_id
        assert projection.current == (entry.entry_id,)
        assert upkeep.reproject(conn, after=last)[0] == -1
    assert standing(held, alert) == d.ALERT_STANDING_CURRENT
    assert rows(held, UNPROJECTED) == 1


def test_an_expiry_hides_at_once_without_a_write(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert()
    held.tell(log, published(alert))
    expiry = alert.handling.expires_on.seconds * 1000
    assert standing(held, alert, expiry - 1) == d.ALERT_STANDING_CURRENT
    assert standing(held, alert, expiry) == d.ALERT_STANDING_EXPIRED
    with held.store.read() as conn:
        assert len(queries.list_alerts(conn, expiry - 1).records) == 1
        assert queries.list_alerts(conn, expiry).records == ()
        assert counts.count_alerts(conn, expiry) == {d.ALERT_STANDING_EXPIRED: 1}


def test_the_earlier_expiry_of_header_and_handling_holds(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert()
    held.tell(log, replace(published(alert), expires_ms=NOW_MS))
    assert standing(held, alert, NOW_MS) == d.ALERT_STANDING_EXPIRED
    other = minimal_alert(number=2)
    held.tell(log, replace(published(other), expires_ms=None))
    assert standing(held, other, other.handling.expires_on.seconds * 1000) == d.ALERT_STANDING_EXPIRED


def test_an_agreed_expiry_destroys_content_columns_and_indicators(held: Logs) -> None:
    log = held.open()
    alert = sample_alert(1)
    held.tell(log, published(alert))
    expiry = alert.handling.expires_on.seconds * 1000
    with held.store.write() as conn:
        assert upkeep.expire(conn, expiry - 1) == ()
        assert upkeep.expire(conn, expiry) == (entry_id(log.pk, 1),)
        assert upkeep.expire(conn, expiry) == ()
    assert rows(held, INDICATOR) == 0
    assert standing(held, alert, expiry) == d.ALERT_STANDING_EXPIRED


def test_an_index_of_an_earlier_version_is_made_again(held: Logs) -> None:
    log = held.open()
    held.tell(log, published(sample_alert(1)), published(sample_alert(2)))
    before = rows(held, INDICATOR)
    with held.store.write() as conn:
        conn.execute(update(INDICATOR).values(key=1))
        conn.execute(update(ALERT).values(normal_form=99))
        assert upkeep.reindex(conn, limit=1) == 1
        assert upkeep.reindex(conn) == 1
        assert upkeep.reindex(conn) == 0
        assert conn.execute(select(func.count()).where(INDICATOR.c.key == 1)).scalar() == 0
    assert rows(held, INDICATOR) == before


def test_indicators_of_an_alert_are_one_range_of_the_key(held: Logs) -> None:
    log = held.open()
    held.tell(log, published(sample_alert(1)), published(sample_alert(2)))
    with held.store.read() as conn:
        ids = list(conn.execute(select(INDICATOR.c.id)).scalars())
        alerts = list(conn.execute(select(ALERT.c.id)).scalars())
    assert {key >> INDICATOR_BITS for key in ids} == set(alerts)


def test_red_alerts_are_not_indexed(held: Logs) -> None:
    log = held.open()
    alert = sample_alert(1)
    alert.handling.tlp = h.TLP_RED
    held.tell(log, published(alert))
    assert standing(held, alert) == d.ALERT_STANDING_CURRENT
    assert rows(held, INDICATOR) == 0


def test_persons_are_not_indexed_where_the_originator_forbids_it() -> None:
    alert = sample_alert(1)
    alert.handling.restrictions.append(h.USE_RESTRICTION_NO_PERSONAL_DATA_TO_AUTOMATION)
    alert.parties[0].kind = c.PARTY_KIND_PERSON
    alert.documents[0].signatory.name = "Jan Exempel"
    alert.diversion.end_user_names.add(full="Example Front", kind=c.NAME_KIND_PRIMARY)
    paths = {indicator.path for indicator in indicators(alert)}
    assert not [p for p in paths if p.startswith(("parties[0]", "diversion")) or "signatory" in p]
    assert {"parties[1].names[0].full", "items[0].serials[0].as_read"} <= paths


def test_every_kind_of_indicator_is_found_where_it_stands() -> None:
    alert = sample_alert(1)
    item = alert.items[0]
    item.lots.append("ZZZ21C001-014")
    item.contract_numbers.append("C 12")
    item.serial_ranges.add(first="AB1", last="AB9")
    alert.parties[0].emails.append("sales@example.org")
    conveyance = alert.conveyances.add(
        type=c.CONVEYANCE_TYPE_SEA, imo_number="0000012", aircraft_registration="QQ-76001", vin="ZZZ12345"
    )
    conveyance.containers.append("ZZZU1234564")
    conveyance.vessel_names.add(name="M/V Example")
    found = {(i.kind, i.path): i.form for i in indicators(alert)}
    assert found[(c.INDICATOR_KIND_LOT, "items[0].lots[0]")] == "ZZZ21C001014"
    assert found[(c.INDICATOR_KIND_CONTRACT, "items[0].contract_numbers[0]")] == "C12"
    assert found[(c.INDICATOR_KIND_SERIAL, "items[0].serial_ranges[0].last")] == "AB9"
    assert found[(c.INDICATOR_KIND_CONTACT, "parties[0].emails[0]")] == "sales@example.org"
    assert found[(c.INDICATOR_KIND_IMO, "conveyances[0].imo_number")] == "0000012"
    assert found[(c.INDICATOR_KIND_AIRCRAFT, "conveyances[0].aircraft_registration")] == "QQ76001"
    assert found[(c.INDICATOR_KIND_VEHICLE, "conveyances[0].vin")] == "ZZZ12345"
    assert found[(c.INDICATOR_KIND_CONTAINER, "conveyances[0].containers[0]")] == "ZZZU123456"
    assert found[(c.INDICATOR_KIND_VESSEL_NAME, "conveyances[0].vessel_names[0].name")] == "example"
    assert {kind for kind, _ in found} == set(c.IndicatorKind.values()) - {0}
