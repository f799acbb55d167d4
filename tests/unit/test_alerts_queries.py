"""Pages by position, filters, counts, and what other readers may not even count (I2)."""

from __future__ import annotations

import hashlib

import pytest
from dief.v1 import codes_pb2 as c
from dief.v1 import desk_pb2 as d
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.event_pb2 import ListPart
from dief.v1.federation_pb2 import AlertFilter
from dief.v1.handling_pb2 import READER_ROLE_LAW_ENFORCEMENT
from sqlalchemy import Connection

from node.alerts import counts, queries
from node.alerts.errors import PageTokenError
from node.alerts.part_pages import PartPage, list_parts_page
from node.alerts.queries import Page, Paging
from node.ledger.logs import HeldLog
from node.ledger.state import LogState
from node.ops.clock import to_timestamp
from tests.support.alerts import case_pattern, minimal_alert, sample_alert
from tests.support.databases import Databases
from tests.support.projected import COMMITTED_MS, Logs, list_part, published, revised, withdrawn

NOW_MS = COMMITTED_MS + 60_000
ROLES = (0, 1)
"""Roles of a reader who is a law-enforcement officer."""


@pytest.fixture
def held(databases: Databases) -> Logs:
    return Logs(databases.open())


def names(page: Page) -> list[str]:
    return [record.name for record in page.records]


def for_police(alert: DiversionAlert) -> DiversionAlert:
    alert.handling.audience.reader_role = READER_ROLE_LAW_ENFORCEMENT
    return alert


def test_an_unknown_alert_and_a_name_that_is_none_are_not_found(held: Logs) -> None:
    held.open()
    with held.store.read() as conn:
        assert queries.get_alert(conn, minimal_alert().name, NOW_MS) is None
        assert queries.get_alert(conn, "alerts/XA/../../x", NOW_MS) is None


def test_a_record_says_where_it_comes_from(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert()
    held.tell(log, published(alert))
    with held.store.read() as conn:
        record = queries.get_alert(conn, alert.name, NOW_MS)
    assert record is not None
    assert (record.origin, record.log_pk, record.seq, record.revision) == ("XA", log.pk, 1, 1)
    assert record.committed_ms == COMMITTED_MS + 1
    assert record.alert == alert


def test_pages_hold_every_alert_once_while_others_come_change_and_go(held: Logs) -> None:
    log = held.open()
    alerts = [minimal_alert(number=n) for n in range(1, 31)]
    held.tell(log, *(published(alert) for alert in alerts))
    seen: list[str] = []
    token = ""
    for turn in range(20):
        with held.store.read() as conn:
            page = queries.list_alerts(conn, NOW_MS, paging=Paging(4, token))
        assert len(page.records) <= 4
        seen += names(page)
        token = page.next_page_token
        if not token:
            break
        held.tell(log, published(minimal_alert(number=100 + turn)))
        held.tell(log, revised(alerts[5], turn + 2))
        held.tell(log, revised(alerts[29], turn + 2))
    assert sorted(seen) == sorted(alert.name for alert in alerts)
    assert seen[:4] == [alert.name for alert in reversed(alerts[26:])]


def test_a_page_is_never_longer_than_500_and_100_unless_asked(held: Logs) -> None:
    log = held.open()
    held.tell(log, *(published(minimal_alert(number=n)) for n in range(510)))
    with held.store.read() as conn:
        assert len(queries.list_alerts(conn, NOW_MS).records) == 100
        page = queries.list_alerts(conn, NOW_MS, paging=Paging(100_000))
        assert len(page.records) == 500
        rest = queries.list_alerts(conn, NOW_MS, paging=Paging(100_000, page.next_page_token))
        assert len(rest.records) == 10
        assert rest.next_page_token == ""


@pytest.mark.parametrize("token", ["x", "AAAA", "é", "A" * 24, "=" * 8])
def test_a_foreign_page_token_is_refused(held: Logs, token: str) -> None:
    with held.store.read() as conn, pytest.raises(PageTokenError):
        queries.list_alerts(conn, NOW_MS, paging=Paging(0, token))


def test_a_page_token_of_another_filter_is_refused(held: Logs) -> None:
    log = held.open()
    held.tell(log, *(published(minimal_alert(number=n)) for n in range(3)))
    with held.store.read() as conn:
        token = queries.list_alerts(conn, NOW_MS, paging=Paging(1)).next_page_token
        for other in ({"origins": ["XA"]}, {"show_gone": True}, {"reader_roles": ROLES}):
            with pytest.raises(PageTokenError):
                queries.list_alerts(conn, NOW_MS, paging=Paging(1, token), **other)


FILTERS = [
    (AlertFilter(statuses=[c.ALERT_STATUS_DETECTED]), {7}),
    (AlertFilter(statuses=[c.ALERT_STATUS_SUSPECTED]), {1}),
    (AlertFilter(stages=[c.DIVERSION_STAGE_AT_IMPORT]), {7}),
    (AlertFilter(stages=[c.DIVERSION_STAGE_IN_TRANSIT, c.DIVERSION_STAGE_UNKNOWN]), {1, 7}),
    (AlertFilter(stages=[c.DIVERSION_STAGE_OTHER]), set()),
    (AlertFilter(categories=[c.ARMS_CATEGORY_AMMUNITION_OR_MUNITION]), {7}),
    (AlertFilter(concerned_states=["XB"]), {1}),
    (AlertFilter(concerned_states=["XZ"]), set()),
    (AlertFilter(committed_since=to_timestamp(COMMITTED_MS + 2)), {7}),
    (AlertFilter(committed_before=to_timestamp(COMMITTED_MS + 2)), {1}),
    (AlertFilter(statuses=[c.ALERT_STATUS_DETECTED], concerned_states=["XB"]), set()),
]


@pytest.mark.parametrize(("asked", "expected"), FILTERS)
def test_filters_find_what_meets_all_of_their_conditions(
    held: Logs, asked: AlertFilter, expected: set[int]
) -> None:
    alerts = {1: sample_alert(1), 7: case_pattern(7)}
    alerts[7].handling.audience.CopyFrom(alerts[1].handling.audience)
    alerts[7].ClearField("originator")
    alerts[7].originator = "XA"
    alerts[7].name = minimal_alert(number=7).name
    log = held.open()
    assert len(held.tell(log, published(alerts[1]), published(alerts[7])).current) == 2
    with held.store.read() as conn:
        here = queries.list_alerts(conn, NOW_MS, filter_=asked)
        peer = queries.list_in_logs(conn, NOW_MS, [log.pk], filter_=asked)
    assert set(names(here)) == set(names(peer)) == {alerts[n].name for n in expected}


def test_origins_narrow_a_page(held: Logs) -> None:
    held.tell(held.open("XA"), published(minimal_alert("XA")))
    held.tell(held.open("XB"), published(minimal_alert("XB")))
    with held.store.read() as conn:
        assert names(queries.list_alerts(conn, NOW_MS, origins=["XB"])) == [minimal_alert("XB").name]
        assert len(queries.list_alerts(conn, NOW_MS).records) == 2


def test_what_is_gone_is_listed_without_content_and_only_if_asked(held: Logs) -> None:
    log = held.open()
    kept, gone = minimal_alert(number=1), minimal_alert(number=2)
    held.tell(log, published(kept), published(gone))
    held.tell(log, withdrawn(gone, c.WITHDRAWAL_REASON_UNFOUNDED), erase=[2])
    with held.store.read() as conn:
        assert names(queries.list_alerts(conn, NOW_MS)) == [kept.name]
        page = queries.list_alerts(conn, NOW_MS, show_gone=True)
    assert [(r.name, r.standing, r.alert is None) for r in page.records] == [
        (gone.name, d.ALERT_STANDING_UNFOUNDED, True),
        (kept.name, d.ALERT_STANDING_CURRENT, False),
    ]


def test_logs_for_law_enforcement_do_not_exist_for_others(held: Logs) -> None:
    police = held.open(reader_role=1)
    alert = for_police(minimal_alert())
    assert held.tell(police, published(alert)).unprojected == ()
    with held.store.read() as conn:
        assert queries.get_alert(conn, alert.name, NOW_MS) is None
        assert queries.list_alerts(conn, NOW_MS, show_gone=True).records == ()
        assert counts.count_alerts(conn, NOW_MS) == {}
        assert queries.get_alert(conn, alert.name, NOW_MS, reader_roles=ROLES) is not None
        assert len(queries.list_alerts(conn, NOW_MS, reader_roles=ROLES).records) == 1
        assert counts.count_alerts(conn, NOW_MS, reader_roles=ROLES) == {d.ALERT_STANDING_CURRENT: 1}


def test_an_alert_that_moved_to_law_enforcement_is_withdrawn_for_others(held: Logs) -> None:
    public, police = held.open(), held.open(reader_role=1)
    alert = minimal_alert()
    held.tell(public, published(alert))
    held.tell(police, revised(for_police(minimal_alert()), 2))
    held.tell(public, erase=[1])
    with held.store.read() as conn:
        seen = queries.get_alert(conn, alert.name, NOW_MS)
        police_view = queries.get_alert(conn, alert.name, NOW_MS, reader_roles=ROLES)
        listed = queries.list_alerts(conn, NOW_MS, show_gone=True)
    assert seen is not None
    assert (seen.standing, seen.revision) == (d.ALERT_STANDING_WITHDRAWN, 1)
    assert police_view is not None
    assert (police_view.standing, police_view.revision) == (d.ALERT_STANDING_CURRENT, 2)
    assert [record.standing for record in listed.records] == [d.ALERT_STANDING_WITHDRAWN]


def test_a_peer_is_answered_from_the_logs_that_it_may_hold(held: Logs) -> None:
    wide, narrow = held.open(), held.open(states=["XB"])
    both = minimal_alert(number=1)
    held.tell(wide, published(both), published(minimal_alert(number=2)))
    held.tell(narrow, revised(minimal_alert(number=1, states=["XB"]), 2))
    with held.store.read() as conn:
        outside = queries.list_in_logs(conn, NOW_MS, [wide.pk])
        inside = queries.list_in_logs(conn, NOW_MS, [wide.pk, narrow.pk])
        one = queries.get_alert(conn, both.name, NOW_MS, log_pks=[wide.pk])
        none = queries.get_alert(conn, both.name, NOW_MS, log_pks=[])
    assert [(r.name, r.revision) for r in outside.records if r.name == both.name] == [(both.name, 1)]
    assert [(r.name, r.revision) for r in inside.records if r.name == both.name] == [(both.name, 2)]
    assert one is not None
    assert one.revision == 1
    assert none is None


def test_alerts_of_a_stopped_log_or_a_doubted_origin_carry_a_warning(held: Logs) -> None:
    log = held.open()
    alert = minimal_alert()
    held.tell(log, published(alert))

    def standing(conn: Connection, **doubt: list[str]) -> int:
        record = queries.get_alert(conn, alert.name, NOW_MS, **doubt)  # type: ignore[arg-type]
        assert record is not None
        assert record.alert is not None
        return record.standing

    with held.store.read() as conn:
        assert standing(conn, doubted_origins=["XA"]) == d.ALERT_STANDING_ORIGIN_IN_DOUBT
        assert standing(conn) == d.ALERT_STANDING_CURRENT
    log.state = LogState.EVIDENCE
    with held.store.write() as conn:
        log.save(conn)
        assert standing(conn) == d.ALERT_STANDING_ORIGIN_IN_DOUBT
        assert counts.count_alerts(conn, NOW_MS) == {d.ALERT_STANDING_ORIGIN_IN_DOUBT: 1}


def _parts(alert: DiversionAlert, count: int) -> list[ListPart]:
    made = []
    for index in range(count):
        part = ListPart(alert=alert.name, revision=1, index=index, items=alert.items)
        part.items[0].serials[0].as_read = f"PART-{index}-0001"
        made.append(part)
    return made


def _tell_with_parts(held: Logs, log: HeldLog, count: int = 2) -> DiversionAlert:
    alert = minimal_alert()
    parts = _parts(alert, count)
    digests = [hashlib.sha256(part.SerializeToString()).digest() for part in parts]
    held.tell(log, published(alert, parts=digests), *(list_part(part) for part in parts))
    return alert


def test_list_parts_come_in_order_where_the_alert_cites_them(held: Logs) -> None:
    log = held.open()
    alert = _tell_with_parts(held, log)
    stray = ListPart(alert=alert.name, revision=1, index=7, items=alert.items)
    projection = held.tell(log, list_part(stray))
    assert projection.parts == (log.pk << 40 | 4,)
    with held.store.read() as conn:
        record = queries.get_alert(conn, alert.name, NOW_MS)
        assert record is not None
        whole = list_parts_page(conn, record, 0, 1 << 20)
        first = list_parts_page(conn, record, 0, 1)
        second = list_parts_page(conn, record, first.entry_ids[-1], 1)
        assert len(queries.list_alerts(conn, NOW_MS, show_gone=True).records) == 1
    assert len(record.part_digests) == 2
    assert [key - (log.pk << 40) for key in whole.entry_ids] == [2, 3]
    assert (whole.more, first.more, second.more) == (False, True, False)
    assert first.entry_ids + second.entry_ids == whole.entry_ids


def test_an_erased_list_part_is_gone(held: Logs) -> None:
    log = held.open()
    alert = _tell_with_parts(held, log)
    held.tell(log, erase=[3])
    with held.store.read() as conn:
        record = queries.get_alert(conn, alert.name, NOW_MS)
        assert record is not None
        assert list_parts_page(conn, record, 0, 1 << 20) == PartPage((log.pk << 40 | 2,), more=False)
