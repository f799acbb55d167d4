"""The watch: every alert meets every record, whichever came first, once; hits follow both sides (I5-I7)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence

import pytest
from dief.v1 import codes_pb2 as c
from dief.v1 import handling_pb2 as h
from dief.v1 import watch_pb2 as w
from dief.v1.alert_pb2 import DiversionAlert
from dief.v1.event_pb2 import ListPart
from sqlalchemy import func, select, update

from node.alerts.normal import NORMAL_FORM_VERSION
from node.alerts.project import LOG
from node.store.engine import Store
from node.watch import delivery, hits
from node.watch.keeper import PAIRS_AT_ONCE, POSITION, WatchKeeper
from node.watch.matching import KEY, RECORD, TOLD
from node.watch.records import STREAM, rebuild, take
from tests.support.alerts import sample_alert
from tests.support.databases import Databases
from tests.support.projected import COMMITTED_MS, Logs, list_part, published, revised, withdrawn

NOW_MS = COMMITTED_MS + 60_000
SERIAL, NAME = c.INDICATOR_KIND_SERIAL, c.INDICATOR_KIND_PARTY_NAME
OFFICER = "spiffe://xb.test/officer/officer-1"


class Watch:
    """A node's store with one registry's stream, and a keeper whose origins can be told current or not."""

    def __init__(self, held: Logs) -> None:
        self.held = held
        self.current = True
        self.now = NOW_MS
        self.keeper = WatchKeeper(
            store=held.store, origin_current=lambda _origin: self.current, now=lambda: self.now
        )
        with held.store.write() as conn:
            made = conn.execute(
                STREAM.insert().values(
                    caller="spiffe://xb.test/registry/r", name="holdings", cursor=b"", stored_ms=0
                )
            )
            assert made.inserted_primary_key is not None
            self.stream = int(made.inserted_primary_key[0])

    @property
    def store(self) -> Store:
        return self.held.store

    def record(self, key: str, *terms: tuple[int, str] | tuple[int, str, str]) -> list[str]:
        """Hand in one record; the reasons of terms that are not watched."""
        content = None
        if terms:
            content = w.WatchRecord(kind=w.WATCH_RECORD_KIND_HOLDING, reference=f"REF {key}")
            for place, (kind, value, *context) in enumerate(terms):
                content.terms.add(
                    kind=c.IndicatorKind.ValueType(kind),
                    value=value,
                    context="".join(context),
                    field=f"column_{place}",
                )
        with self.store.write() as conn:
            return list(take(conn, self.stream, [(key, content)], self.now)[0].not_watched.values())

    def settle(self) -> int:
        """Match everything that is new and clear what is gone; the number of slices."""
        steps = 0
        while True:
            with self.store.write() as conn:
                if not self.keeper.step(conn):
                    break
            steps += 1
        asyncio.run(self.keeper.clear_gone())
        return steps

    def hits(self) -> dict[str, w.Hit]:
        with self.store.read() as conn:
            return {hit.key: hit for hit in delivery.listed(conn, (), 500, "").hits}

    def pull(self) -> list[w.Hit]:
        with self.store.read() as conn:
            return delivery.pull(conn, self.stream, 500)[0]

    def acknowledge(self, *found: w.Hit) -> int:
        with self.store.write() as conn:
            return delivery.acknowledge(conn, self.stream, [(hit.name, hit.version) for hit in found])

    def decide(self, hit: w.Hit, decision: int) -> w.Hit:
        with self.store.write() as conn:
            return delivery.decide(conn, hit.name, hit.version, decision, OFFICER, self.now)


@pytest.fixture
def watch(databases: Databases) -> Watch:
    return Watch(Logs(databases.open()))


def alert(*serials: str, number: int = 1, **more: Callable[[DiversionAlert], object]) -> DiversionAlert:
    made = sample_alert(number)
    del made.items[1:]
    del made.items[0].serials[1:]
    for place, serial in enumerate(serials):
        if place:
            made.items[0].serials.add().CopyFrom(made.items[0].serials[0])
        made.items[0].serials[place].as_read = serial
    for change in more.values():
        change(made)
    return made


def test_a_record_meets_the_alerts_that_were_there_before(watch: Watch) -> None:
    told = alert("KT-4401")
    watch.held.tell(watch.held.open(), published(told))
    watch.settle()
    watch.record("1", (SERIAL, "kt 4401"))
    hit = watch.hits()["1"]
    assert (hit.alert, hit.revision, hit.origin) == (told.name, 1, "XA")
    assert (hit.state, hit.version, hit.reference) == (w.HIT_STATE_OPEN, 1, "REF 1")
    assert [(m.kind, m.field, m.path) for m in hit.matches] == [
        (SERIAL, "column_0", "items[0].serials[0].as_read")
    ]


def test_an_alert_meets_the_records_that_were_there_before(watch: Watch) -> None:
    watch.record("1", (SERIAL, "KT4401"))
    watch.record("2", (SERIAL, "KT4402"))
    watch.held.tell(watch.held.open(), published(alert("KT-4401")))
    watch.settle()
    assert list(watch.hits()) == ["1"]


def test_whoever_comes_again_changes_nothing(watch: Watch) -> None:
    """I5: neither a record handed in twice nor a step done twice makes a second hit or a higher version."""
    watch.record("1", (SERIAL, "KT4401"))
    watch.held.tell(watch.held.open(), published(alert("KT-4401")))
    watch.settle()
    before = watch.hits()
    watch.record("1", (SERIAL, "KT4401"))
    with watch.store.write() as conn:
        conn.execute(update(POSITION).values(alert_id=0, record_id=0))
    watch.settle()
    assert watch.hits() == before


def test_a_hit_holds_nothing_of_what_the_alert_says(watch: Watch) -> None:
    """I6: ids, field names and strengths; the erasure of the alert leaves nothing behind in hits."""
    told = alert("KT-4401")
    watch.held.tell(watch.held.open(), published(told))
    watch.record("1", (SERIAL, "KT4401"))
    with watch.store.read() as conn:
        row = conn.execute(select(hits.HIT)).one()
    text = repr(tuple(row)).replace(repr(row.record_key), "")
    assert "KT" not in text
    assert told.titles[0].text not in text
    assert told.items[0].make not in json.loads(row.matches)


def test_a_withdrawal_clears_the_hit_and_the_registry_is_told_once(watch: Watch) -> None:
    log = watch.held.open()
    told = alert("KT-4401")
    watch.held.tell(log, published(told))
    watch.record("1", (SERIAL, "KT4401"))
    assert watch.acknowledge(*watch.pull()) == 1
    watch.held.tell(log, withdrawn(told, c.WITHDRAWAL_REASON_UNFOUNDED), erase=[1])
    watch.settle()
    (cleared,) = watch.pull()
    assert (cleared.state, cleared.clear_reason) == (w.HIT_STATE_CLEARED, w.CLEAR_REASON_UNFOUNDED)
    assert (list(cleared.matches), cleared.version) == ([], 2)
    assert watch.acknowledge(cleared) == 1
    watch.settle()
    assert watch.pull() == []


def test_a_hit_is_not_cleared_while_the_copies_of_its_origin_are_not_current(watch: Watch) -> None:
    """An alert that moves is first told in the new log: its follower may meet the erasure before it."""
    old, new = watch.held.open(), watch.held.open(states=["XB"])
    told = alert("KT-4401")
    watch.held.tell(old, published(told))
    watch.record("1", (SERIAL, "KT4401"))
    watch.current = False
    watch.held.tell(old, withdrawn(told, c.WITHDRAWAL_REASON_WITHDRAWN), erase=[1])
    watch.settle()
    assert watch.hits()["1"].state == w.HIT_STATE_OPEN
    moved = alert("KT-4401")
    moved.handling.audience.CopyFrom(h.Audience(kind=h.AUDIENCE_KIND_NAMED_STATES, states=["XB"]))
    watch.held.tell(new, revised(moved, 2))
    watch.current = True
    watch.settle()
    assert (watch.hits()["1"].state, watch.hits()["1"].revision) == (w.HIT_STATE_OPEN, 2)


def test_a_revision_that_names_the_serial_no_more_clears_the_hit(watch: Watch) -> None:
    log = watch.held.open()
    watch.held.tell(log, published(alert("KT-4401")))
    watch.record("1", (SERIAL, "KT4401"))
    watch.held.tell(log, revised(alert("KT-9999"), 2), erase=[1])
    watch.settle()
    hit = watch.hits()["1"]
    assert (hit.state, hit.clear_reason) == (w.HIT_STATE_CLEARED, w.CLEAR_REASON_REVISED)


def test_an_expired_alert_clears_its_hit_without_any_new_entry(watch: Watch) -> None:
    told = alert("KT-4401")
    watch.held.tell(watch.held.open(), published(told))
    watch.record("1", (SERIAL, "KT4401"))
    watch.now = told.handling.expires_on.seconds * 1000 + 1
    watch.current = False
    watch.settle()
    assert watch.hits()["1"].clear_reason == w.CLEAR_REASON_EXPIRED


def test_a_record_that_changes_or_goes_clears_its_hits(watch: Watch) -> None:
    watch.held.tell(watch.held.open(), published(alert("KT-4401")))
    for key in "12":
        watch.record(key, (SERIAL, "KT4401"))
    watch.record("1", (SERIAL, "KT7777"))
    watch.record("2")
    found = watch.hits()
    assert found["1"].clear_reason == w.CLEAR_REASON_RECORD_CHANGED
    assert found["2"].clear_reason == w.CLEAR_REASON_RECORD_GONE
    with watch.store.read() as conn:
        assert conn.execute(select(func.count()).select_from(KEY)).scalar_one() == 1
        assert conn.execute(select(RECORD.c.key)).scalars().all() == ["1"]


def test_a_serial_that_arrives_later_is_caught(watch: Watch) -> None:
    """Schema A's `LATER`: the licence is watched before its serials are known."""
    watch.held.tell(watch.held.open(), published(alert("KT-4401")))
    watch.record("1", (NAME, "Quite Unknown Trading Company"))
    assert watch.hits() == {}
    watch.record("1", (NAME, "Quite Unknown Trading Company"), (SERIAL, "KT4401"))
    assert watch.hits()["1"].matches[0].field == "column_1"


def test_not_the_same_stays_quiet_until_either_side_changes(watch: Watch) -> None:
    log = watch.held.open()
    watch.held.tell(log, published(alert("KT-4401")))
    watch.record("1", (SERIAL, "KT4401"))
    decided = watch.decide(watch.hits()["1"], c.HIT_DECISION_NOT_THE_SAME)
    assert (decided.state, decided.decided_by) == (w.HIT_STATE_DECIDED, OFFICER)
    watch.record("1", (SERIAL, "KT4401"))
    watch.settle()
    assert watch.hits()["1"].state == w.HIT_STATE_DECIDED
    watch.held.tell(log, revised(alert("KT-4401"), 2), erase=[1])
    watch.settle()
    again = watch.hits()["1"]
    assert (again.state, again.decision) == (w.HIT_STATE_OPEN, c.HIT_DECISION_UNSPECIFIED)
    watch.decide(again, c.HIT_DECISION_NOT_THE_SAME)
    watch.record("1", (SERIAL, "KT4401"), (NAME, "Another Fact Ltd"))
    assert watch.hits()["1"].state == w.HIT_STATE_OPEN


def test_a_decision_that_it_is_the_same_lasts_over_revisions(watch: Watch) -> None:
    log = watch.held.open()
    watch.held.tell(log, published(alert("KT-4401")))
    watch.record("1", (SERIAL, "KT4401"))
    watch.decide(watch.hits()["1"], c.HIT_DECISION_SAME)
    watch.held.tell(log, revised(alert("KT-4401"), 2), erase=[1])
    watch.settle()
    hit = watch.hits()["1"]
    assert (hit.state, hit.decision, hit.revision) == (w.HIT_STATE_DECIDED, c.HIT_DECISION_SAME, 2)


def test_a_decision_rests_on_the_version_that_was_read(watch: Watch) -> None:
    log = watch.held.open()
    told = alert("KT-4401")
    watch.held.tell(log, published(told))
    watch.record("1", (SERIAL, "KT4401"))
    read = watch.hits()["1"]
    watch.record("1", (SERIAL, "KT4401"), (NAME, "Another Fact Ltd"))
    with pytest.raises(delivery.StaleHitError):
        watch.decide(read, c.HIT_DECISION_SAME)
    watch.held.tell(log, withdrawn(told, c.WITHDRAWAL_REASON_WITHDRAWN), erase=[1])
    watch.settle()
    with pytest.raises(delivery.HitClearedError):
        watch.decide(watch.hits()["1"], c.HIT_DECISION_SAME)


def test_hits_wait_until_they_are_acknowledged_and_again_when_they_change(watch: Watch) -> None:
    watch.held.tell(watch.held.open(), published(alert("KT-4401")))
    watch.record("1", (SERIAL, "KT4401"))
    (first,) = watch.pull()
    assert watch.pull() == [first]
    changed = watch.decide(first, c.HIT_DECISION_SAME)
    assert watch.acknowledge(first) == 0
    assert watch.pull() == [changed]
    assert (watch.acknowledge(changed), watch.acknowledge(changed)) == (1, 0)
    assert watch.pull() == []


def test_another_stream_neither_sees_nor_acknowledges_a_hit(watch: Watch) -> None:
    watch.held.tell(watch.held.open(), published(alert("KT-4401")))
    watch.record("1", (SERIAL, "KT4401"))
    (hit,) = watch.pull()
    with watch.store.write() as conn:
        assert delivery.pull(conn, watch.stream + 1, 10) == ([], 0)
        assert delivery.acknowledge(conn, watch.stream + 1, [(hit.name, hit.version)]) == 0
        assert delivery.acknowledge(conn, watch.stream, [("hits/nonsense", 1)]) == 0
    assert watch.pull() == [hit]


@pytest.mark.parametrize(("own", "met"), [(True, ["2"]), (False, ["2", "1"])])
def test_an_alert_of_this_state_and_no_other_passes_the_record_that_it_was_released_from(
    watch: Watch, own: bool, met: list[str]
) -> None:
    told = alert("KT-4401")
    watch.held.tell(watch.held.open(), published(told))
    uuid = bytes.fromhex(told.name.rpartition("/")[2].replace("-", ""))
    with watch.store.write() as conn:
        conn.execute(
            TOLD.insert().values(
                stream_id=watch.stream, key="1", content_hash=bytes(32), withdrawn=False, draft_id=None,
                alert_uuid=uuid, revision=1, updated_ms=0,
            )
        )  # fmt: skip
        conn.execute(update(LOG).values(own=own))
    watch.record("1", (SERIAL, "KT4401"))
    watch.record("2", (SERIAL, "KT4401"))
    assert list(watch.hits()) == met


def test_what_is_for_law_enforcement_only_gives_a_registry_no_hit(watch: Watch) -> None:
    """I2, bugs.md 8: the registry's screen is everybody's screen."""
    told = alert("KT-4401")
    log = watch.held.open(reader_role=h.READER_ROLE_LAW_ENFORCEMENT)
    watch.record("1", (SERIAL, "KT4401"))
    watch.held.tell(log, published(told))
    watch.settle()
    watch.record("2", (SERIAL, "KT4401"))
    assert watch.hits() == {}


def part_of(told: DiversionAlert, *serials: str) -> ListPart:
    part = ListPart(alert=told.name, revision=1, index=0)
    for serial in serials:
        part.items.add().CopyFrom(told.items[0])
        part.items[-1].serials[0].as_read = serial
    return part


@pytest.mark.parametrize("between", [0, 1], ids=["in one slice", "head in a later slice"])
def test_a_list_part_meets_records_once_its_head_cites_it(watch: Watch, between: int) -> None:
    told = alert("KT-4401")
    part = part_of(told, "KT5501", "KT5502")
    digest = hashlib.sha256(part.SerializeToString()).digest()
    watch.record("1", (SERIAL, "KT5502"))
    log = watch.held.open()
    watch.held.tell(log, list_part(part))
    if between:
        watch.settle()
        assert watch.hits() == {}
    watch.held.tell(log, published(told, parts=[digest]))
    watch.settle()
    assert watch.hits()["1"].matches[0].path == "list_parts[0].items[1].serials[0].as_read"


def test_more_pairs_than_a_slice_holds_are_all_found(watch: Watch) -> None:
    count = PAIRS_AT_ONCE * 2 + 7
    with watch.store.write() as conn:
        content = w.WatchRecord(kind=w.WATCH_RECORD_KIND_HOLDING)
        content.terms.add(kind=SERIAL, value="KT4401", field="serial")
        take(conn, watch.stream, [(f"{n:05}", content) for n in range(count)], NOW_MS)
    watch.held.tell(watch.held.open(), published(alert("KT-4401")))
    assert watch.settle() > 2
    with watch.store.read() as conn:
        assert conn.execute(select(func.count()).select_from(hits.HIT)).scalar_one() == count
        assert delivery.waiting(conn) == (count, count)
        seen: list[str] = []
        token = ""
        while True:
            page = delivery.listed(conn, [w.HIT_STATE_OPEN], 400, token)
            seen += [hit.name for hit in page.hits]
            token = page.next_page_token
            if not token:
                break
    assert len(seen) == len(set(seen)) == count


def test_terms_that_cannot_be_searched_are_told_and_the_others_watched(watch: Watch) -> None:
    watch.held.tell(watch.held.open(), published(alert("KT-4401")))
    reasons = watch.record("1", (SERIAL, "N/A"), (SERIAL, "123"), (SERIAL, "KT4401"))
    assert len(reasons) == 2
    assert "no number" in reasons[0]
    assert watch.hits()["1"].matches[0].field == "column_2"


def test_the_same_serial_of_another_make_is_a_lead_only(watch: Watch) -> None:
    made = alert("KT-4401", make=lambda a: setattr(a.items[0], "make", "Kestrel Arms"))
    watch.held.tell(watch.held.open(), published(made))
    watch.record("same", (SERIAL, "KT4401", "Kestrel"))
    watch.record("other", (SERIAL, "KT4401", "Heron"))
    found = watch.hits()
    assert found["same"].strength == c.MATCH_STRENGTH_STRONG
    assert found["other"].strength == c.MATCH_STRENGTH_LEAD


def test_newer_normal_forms_rebuild_the_keys_of_old_records(watch: Watch) -> None:
    watch.held.tell(watch.held.open(), published(alert("KT-4401")))
    watch.settle()
    watch.record("1", (SERIAL, "KT4401"))
    with watch.store.write() as conn:
        conn.execute(hits.HIT.delete())
        conn.execute(update(RECORD).values(normal_form=NORMAL_FORM_VERSION - 1))
        conn.execute(update(KEY).values(key=12345))
        after = 0
        while True:
            after = rebuild(conn, after, NOW_MS)
            if not after:
                break
        assert conn.execute(select(RECORD.c.normal_form)).scalars().all() == [NORMAL_FORM_VERSION]
    assert list(watch.hits()) == ["1"]


def test_a_record_of_older_normal_forms_can_be_changed_before_it_is_rebuilt(watch: Watch) -> None:
    watch.record("1", (SERIAL, "KT4401"))
    with watch.store.write() as conn:
        conn.execute(update(RECORD).values(normal_form=NORMAL_FORM_VERSION - 1))
        conn.execute(update(KEY).values(key=12345))
    watch.record("1", (SERIAL, "KT4402"))
    with watch.store.read() as conn:
        keys: Sequence[int] = conn.execute(select(KEY.c.key)).scalars().all()
    assert len(keys) == 1
    assert 12345 not in keys
