"""What a review of the watch found: orders of events in which a hit was missed, lost a match or was told too early."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from dief.v1 import codes_pb2 as c
from dief.v1 import handling_pb2 as h
from dief.v1 import registry_pb2
from dief.v1 import watch_pb2 as w
from sqlalchemy import func, select, update

from node.alerts import project, upkeep
from node.alerts.bodies import Refusal
from node.alerts.normal import NORMAL_FORM_VERSION
from node.alerts.prepare import Prepared
from node.alerts.states import Held, uuid_of
from node.ledger.events import Applied, StoredEntry
from node.services.errors import InvalidRequestError
from node.services.registry import _check_records
from node.watch import delivery, hits
from node.watch.keeper import PAIRS_AT_ONCE, PARTS_AT_ONCE, POSITION
from node.watch.matching import KEY, RECORD
from node.watch.records import take
from tests.support.databases import Databases
from tests.support.projected import Logs, list_part, published, revised
from tests.unit.test_watch import NOW_MS, SERIAL, Watch, alert, part_of


@pytest.fixture
def watch(databases: Databases) -> Watch:
    return Watch(Logs(databases.open()))


def test_an_alert_that_comes_while_a_slice_is_under_way_meets_every_record(watch: Watch) -> None:
    """I5: the slice ends where it began to end; what came meanwhile is matched from the first record on."""
    count = PAIRS_AT_ONCE + 7
    content = w.WatchRecord(kind=w.WATCH_RECORD_KIND_HOLDING)
    content.terms.add(kind=SERIAL, value="KT4401", field="serial")
    content.terms.add(kind=SERIAL, value="KT4402", field="other")
    with watch.store.write() as conn:
        take(conn, watch.stream, [(f"{n:05}", content) for n in range(count)], NOW_MS)
    log = watch.held.open()
    watch.held.tell(log, published(alert("KT-4401")))
    with watch.store.write() as conn:
        assert watch.keeper.step(conn)
    watch.held.tell(log, published(alert("KT-4402", number=2)))
    watch.settle()
    with watch.store.read() as conn:
        assert conn.execute(select(func.count()).select_from(hits.HIT)).scalar_one() == 2 * count


def test_what_a_later_list_part_gives_is_added_to_what_the_alert_gave_before(watch: Watch) -> None:
    """A hit tells every match, whichever slice found it; the strongest one decides how strong it is."""
    told = alert("KT-4401", make=lambda a: setattr(a.items[0], "make", "Kestrel Arms"))
    part = part_of(told, "KT5501")
    part.items[0].make = "Heron"
    digest = hashlib.sha256(part.SerializeToString()).digest()
    watch.record("1", (SERIAL, "KT4401", "Kestrel"), (SERIAL, "KT5501", "Kestrel"))
    log = watch.held.open()
    watch.held.tell(log, published(told, parts=[digest]))
    watch.settle()
    assert watch.hits()["1"].strength == c.MATCH_STRENGTH_STRONG
    watch.held.tell(log, list_part(part))
    watch.settle()
    hit = watch.hits()["1"]
    assert hit.strength == c.MATCH_STRENGTH_STRONG
    paths = ["items[0].serials[0].as_read", "list_parts[0].items[0].serials[0].as_read"]
    assert [match.path for match in hit.matches] == paths
    watch.record("2", (SERIAL, "KT4401", "Kestrel"), (SERIAL, "KT5501", "Kestrel"))
    assert list(watch.hits()["2"].matches) == list(hit.matches), "the other way round says the same"
    with watch.store.write() as conn:
        conn.execute(update(POSITION).values(alert_id=0))
    watch.settle()
    assert {key: found.version for key, found in watch.hits().items()} == {"1": 2, "2": 1}


def test_a_list_part_that_was_there_before_its_head_takes_nothing_from_what_the_head_gives(
    watch: Watch,
) -> None:
    told = alert("KT-4401")
    part = part_of(told, "KT5501")
    digest = hashlib.sha256(part.SerializeToString()).digest()
    watch.record("1", (SERIAL, "KT4401"), (SERIAL, "KT5501"))
    log = watch.held.open()
    watch.held.tell(log, list_part(part))
    watch.settle()
    watch.held.tell(log, published(told, parts=[digest]))
    watch.settle()
    assert len(watch.hits()["1"].matches) == 2


def test_an_alert_that_is_understood_only_after_an_upgrade_meets_the_records(watch: Watch) -> None:
    """I10: its row is made anew, under a key that the watch has not passed."""
    watch.record("1", (SERIAL, "KT4401"))
    log = watch.held.open()

    def not_understood(entry: StoredEntry, _audience: h.Audience) -> Prepared:
        return Prepared(uuid_of(entry.subject, entry.origin), Held.INVALID, Refusal.INVALID_BODY)

    with watch.store.write() as conn:
        stored = watch.held.put(conn, log, published(alert("KT-4401")))
        project.apply(conn, Applied((stored,), ()), not_understood)
    watch.settle()
    assert watch.hits() == {}
    with watch.store.write() as conn:
        upkeep.reproject(conn)
    watch.settle()
    assert list(watch.hits()) == ["1"]


@pytest.mark.parametrize("token", [str(1 << 31), "9" * 18, "9" * 400, "-1", "\u0663", "1 "])
def test_a_page_token_that_no_row_can_have_is_refused(watch: Watch, token: str) -> None:
    with watch.store.read() as conn, pytest.raises(delivery.NoSuchHitError):
        delivery.listed(conn, (), 10, token)


def test_a_version_that_no_hit_can_have_acknowledges_nothing(watch: Watch) -> None:
    """I10: the wire has versions of 32 bits without a sign, the table has not."""
    watch.held.tell(watch.held.open(), published(alert("KT-4401")))
    watch.record("1", (SERIAL, "KT4401"))
    (hit,) = watch.pull()
    with watch.store.write() as conn:
        assert delivery.acknowledge(conn, watch.stream, [(hit.name, (1 << 32) - 1)]) == 0
    assert watch.acknowledge(hit) == 1


@pytest.mark.parametrize("field", ["key", "watch.reference"])
def test_text_that_a_database_cannot_hold_is_refused_before_it_stops_the_watch(field: str) -> None:
    """I10, I12: PostgreSQL takes no U+0000, so the first alert that met such a record would stop the watch for all."""
    record = registry_pb2.RegistryRecord(key="1", watch=w.WatchRecord(kind=w.WATCH_RECORD_KIND_HOLDING))
    record.watch.terms.add(kind=SERIAL, value="KT4401", field="serial")
    asked = registry_pb2.SubmitRecordsRequest(stream="holdings", records=[record])
    _check_records(asked)
    if field == "key":
        asked.records[0].key = "1\0"
    else:
        asked.records[0].watch.reference = "\0"
    with pytest.raises(InvalidRequestError) as refused:
        _check_records(asked)
    assert [place for place, _ in refused.value.violations] == [f"records[0].{field}"]


def test_a_revision_clears_no_hit_while_its_list_parts_may_be_on_their_way(watch: Watch) -> None:
    """A clearance that has to be taken back would tell the registry for hours that a person is cleared."""
    log = watch.held.open()
    watch.held.tell(log, published(alert("KT-5501")))
    watch.record("1", (SERIAL, "KT5501"))
    told = alert("KT-4401")
    part = part_of(told, "KT5501")
    part.revision = 2
    digest = hashlib.sha256(part.SerializeToString()).digest()
    watch.current = False
    watch.held.tell(log, revised(told, 2, parts=[digest]), erase=[1])
    watch.settle()
    assert (watch.hits()["1"].state, watch.hits()["1"].version) == (w.HIT_STATE_OPEN, 1)
    watch.held.tell(log, list_part(part))
    watch.current = True
    watch.settle()
    hit = watch.hits()["1"]
    assert (hit.state, hit.version, hit.revision) == (w.HIT_STATE_OPEN, 2, 2)


def test_a_revision_is_told_as_such_whenever_its_origin_becomes_current(watch: Watch) -> None:
    log = watch.held.open()
    watch.held.tell(log, published(alert("KT-5501")))
    watch.record("1", (SERIAL, "KT5501"))
    watch.current = False
    watch.held.tell(log, revised(alert("KT-4401"), 2), erase=[1])
    watch.settle()
    assert watch.hits()["1"].state == w.HIT_STATE_OPEN
    watch.current = True
    watch.settle()
    assert watch.hits()["1"].clear_reason == w.CLEAR_REASON_REVISED


def test_newer_normal_forms_make_the_index_of_alerts_anew_before_the_keys_of_records(watch: Watch) -> None:
    """Both sides have the same forms again, or nothing that was there before the upgrade would ever meet."""
    watch.held.tell(watch.held.open(), published(alert("KT-4401")))
    watch.record("1", (SERIAL, "KT4401"))
    with watch.store.write() as conn:
        conn.execute(hits.HIT.delete())
        conn.execute(update(project.ALERT).values(normal_form=NORMAL_FORM_VERSION - 1))
        conn.execute(update(project.INDICATOR).values(key=12345))
        conn.execute(update(RECORD).values(normal_form=NORMAL_FORM_VERSION - 1))
        conn.execute(update(KEY).values(key=54321))
    asyncio.run(watch.keeper.rebuild())
    assert list(watch.hits()) == ["1"]
    watch.record("2", (SERIAL, "KT4401"))
    assert list(watch.hits()) == ["2", "1"]


@pytest.mark.parametrize("count", [1, PARTS_AT_ONCE + 3])
def test_list_parts_that_came_before_their_head_are_matched_in_slices_too(watch: Watch, count: int) -> None:
    """I12: one alert with many serials, or many records with one, never keeps the writer from the peers."""
    records = PAIRS_AT_ONCE + 7
    told = alert("KT-4401")
    parts = [part_of(told, "KT5501") for _ in range(count)]
    for index, part in enumerate(parts):
        part.index = index
    content = w.WatchRecord(kind=w.WATCH_RECORD_KIND_HOLDING)
    content.terms.add(kind=SERIAL, value="KT5501", field="serial")
    with watch.store.write() as conn:
        take(conn, watch.stream, [(f"{n:05}", content) for n in range(records if count == 1 else 1)], NOW_MS)
    log = watch.held.open()
    watch.held.tell(log, *(list_part(part) for part in parts))
    watch.settle()
    digests = [hashlib.sha256(part.SerializeToString()).digest() for part in parts]
    watch.held.tell(log, published(told, parts=digests))
    with watch.store.write() as conn:
        assert watch.keeper.step(conn)
    with watch.store.read() as conn:
        found = delivery.waiting(conn)[0]
    matches = len(watch.hits()["00000"].matches) if count > 1 else 0
    assert watch.settle() > 0, "there is more to do than one transaction should"
    if count == 1:
        with watch.store.read() as conn:
            assert (found, delivery.waiting(conn)[0]) == (PAIRS_AT_ONCE, records)
    else:
        assert (matches, len(watch.hits()["00000"].matches)) == (PARTS_AT_ONCE, count)
