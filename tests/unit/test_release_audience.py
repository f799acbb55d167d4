"""To whom an alert goes: narrowed by rules and persons, moved, never widened by an older decision (I2, I6)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dief.v1 import codes_pb2, draft_pb2, event_pb2, handling_pb2, log_pb2, registry_pb2
from dief.v1.alert_pb2 import DiversionAlert
from sqlalchemy import select

from node.ledger import logs
from node.ledger.state import LogState
from node.ledger.storing import ENTRY
from node.ops.clock import from_timestamp, now_ms
from node.release import Policy, reading, rows
from node.release.audiences import NobodyLeftError, narrow
from node.release.errors import (
    AlertEndedError,
    AlertNotFoundError,
    InvalidDraftError,
    PolicyRefusedError,
    StaleDraftError,
)
from node.release.intake import RegistryIntake
from tests.support import release as support
from tests.support.release import ANNA, BERT, OFFICER, REGISTRY, Desk, content, members, rule

PARTIES = handling_pb2.Audience(kind=handling_pb2.AUDIENCE_KIND_STATES_PARTIES)
DAY_MS = 86_400_000


def named(*states: str) -> handling_pb2.Audience:
    return handling_pb2.Audience(kind=handling_pb2.AUDIENCE_KIND_NAMED_STATES, states=states)


def to_parties(serial: str = "RELEASE 1") -> DiversionAlert:
    alert = content(serial)
    alert.handling.audience.CopyFrom(PARTIES)
    return alert


def revision_of(name: str, alert: DiversionAlert) -> DiversionAlert:
    alert.name = name
    return alert


def kinds(desk: Desk) -> list[tuple[tuple[str, ...], str]]:
    """Members of the log and kind of each entry, in the order of the logs."""
    found = []
    with desk.store.read() as conn:
        for key, header in conn.execute(select(ENTRY.c.id, ENTRY.c.header).order_by(ENTRY.c.id)):
            kind = log_pb2.EventKind.Name(log_pb2.EntryHeader.FromString(header).kind)
            found.append((logs.load_pk(conn, key >> 40).members, kind.removeprefix("EVENT_KIND_")))
    return found


def withdraw(desk: Desk, name: str) -> draft_pb2.Draft:
    with desk.store.write() as conn:
        made = desk.desk.create(
            conn,
            OFFICER,
            draft_pb2.DraftInput(
                action=draft_pb2.DRAFT_ACTION_WITHDRAW,
                alert_name=name,
                withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_WITHDRAWN,
            ),
        )
        return reading.show(conn, desk.desk.releaser, made)


def adopt(desk: Desk, policy: str) -> None:
    with desk.store.write() as conn:
        desk.desk.adopt(conn, Policy.parse(policy.encode()))


def read(desk: Desk, name: str) -> draft_pb2.Draft:
    with desk.store.read() as conn:
        return reading.show(conn, desk.desk.releaser, rows.find(conn, name))


# -- narrowing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audience", "only", "exclude", "left"),
    [
        (PARTIES, None, (), PARTIES),
        (PARTIES, None, ("XE",), named("XB")),
        (PARTIES, ("XB", "XD"), (), named("XB")),
        (PARTIES, ("XB", "XE"), (), named("XB", "XE")),
        (named("XB", "XE"), None, ("XE",), named("XB")),
        (named("XA", "XB"), None, ("XE",), named("XA", "XB")),
        (named("XB", "XD"), None, ("XB",), named("XD")),
    ],
)
def test_i2_an_audience_is_narrowed_to_states_by_name(
    audience: handling_pb2.Audience,
    only: tuple[str, ...] | None,
    exclude: tuple[str, ...],
    left: handling_pb2.Audience,
) -> None:
    assert narrow(audience, members, "XA", only=only, exclude=exclude) == left


def test_i2_narrowing_keeps_the_reader_role() -> None:
    audience = handling_pb2.Audience(
        kind=handling_pb2.AUDIENCE_KIND_STATES_PARTIES, reader_role=handling_pb2.READER_ROLE_LAW_ENFORCEMENT
    )
    left = narrow(audience, members, "XA", only=None, exclude=["XE"])
    assert left.reader_role == handling_pb2.READER_ROLE_LAW_ENFORCEMENT


def test_nobody_left_is_no_audience() -> None:
    with pytest.raises(NobodyLeftError):
        narrow(named("XB"), members, "XA", only=None, exclude=["XB"])


def test_i2_a_rule_narrows_what_it_releases(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto", exclude_states='["XE"]'))
    made = desk.draft(to_parties())
    assert list(made.recipients) == ["XB"]
    assert {states for states, _ in kinds(desk)} == {("XA", "XB")}


def test_a_rule_that_leaves_nobody_holds_the_draft(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto", only_states='["XW"]'))
    made = desk.draft(to_parties())
    assert made.state == draft_pb2.DRAFT_STATE_HELD
    assert list(made.recipients) == []
    assert desk.entries() == 0


def test_i2_a_state_that_joins_while_a_draft_waits_is_not_let_in_by_a_rule_that_names_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, rule("ask", only_states='["XB", "XE"]'))
    made = desk.draft(to_parties())
    monkeypatch.setattr(support, "MEMBERS", ("XA", "XB", "XD", "XE"))
    assert list(desk.approve(made, ANNA).recipients) == ["XB", "XE"]
    assert {states for states, _ in kinds(desk)} == {("XA", "XB", "XE")}


def test_i2_a_policy_that_became_stricter_narrows_what_waits(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask", expiry_days="900"))
    made = desk.draft(to_parties())
    adopt(desk, rule("ask", only_states='["XB"]', expiry_days="30"))
    done = desk.approve(made, ANNA)
    assert list(done.recipients) == ["XB"]
    assert from_timestamp(done.alert.handling.expires_on) <= now_ms() + 30 * DAY_MS


@pytest.mark.parametrize("state", ["XW", "XA"])
def test_i2_leaving_out_a_state_that_is_not_in_the_audience_is_a_mistake(tmp_path: Path, state: str) -> None:
    desk = Desk(tmp_path, rule("ask"))
    made = desk.draft(content())
    with pytest.raises(InvalidDraftError) as refusal:
        desk.approve(made, ANNA, exclude=[state])
    assert refusal.value.violations[0][0] == "exclude_states[0]"


def test_i2_who_was_left_out_by_a_person_stays_out_of_the_registrys_revisions(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))

    def submit(serial: str) -> None:
        record = registry_pb2.RegistryRecord(key="a", content_hash=hashlib.sha256(serial.encode()).digest())
        record.draft.alert.CopyFrom(to_parties(serial))
        with desk.store.write() as conn:
            RegistryIntake(desk.desk).submit(conn, REGISTRY, "rows", [record], b"", now_ms())

    submit("S 1")
    with desk.store.read() as conn:
        waiting = reading.show(conn, desk.desk.releaser, rows.in_state(conn, rows.WAITING)[0])
    desk.approve(waiting, ANNA, exclude=["XE"])
    adopt(desk, rule("auto"))
    submit("S 2")
    assert b"S 2" in desk.bodies()
    assert all("XE" not in states for states, _ in kinds(desk))


# -- revising, moving, withdrawing, expiring ---------------------------------------------------------------------------


def test_i6_a_move_tells_there_and_erases_here(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    name = desk.draft(content("WIDE", states=("XB", "XE"))).released_alert
    made = desk.draft(revision_of(name, content("NARROW", states=("XB",))))
    assert (made.released_alert, made.released_revision) == (name, 2)
    assert b"WIDE" not in desk.bodies()
    assert kinds(desk) == [
        (("XA", "XB", "XE"), "GENESIS"),
        (("XA", "XB", "XE"), "ALERT_PUBLISHED"),
        (("XA", "XB", "XE"), "ERASURE"),
        (("XA", "XB"), "GENESIS"),
        (("XA", "XB"), "ALERT_PUBLISHED"),
    ]


def test_i6_a_revision_in_the_same_log_erases_by_its_own_header(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    name = desk.draft(content("FIRST")).released_alert
    desk.draft(revision_of(name, content("SECOND")))
    assert [kind for _, kind in kinds(desk)] == ["GENESIS", "ALERT_PUBLISHED", "ALERT_REVISED"]
    assert b"FIRST" not in desk.bodies()


def test_the_expiry_of_the_handling_stands_in_the_header_and_a_rule_only_shortens_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto", expiry_days="10"))
    made = desk.draft(content())
    expires = from_timestamp(made.alert.handling.expires_on)
    assert expires <= now_ms() + 10 * DAY_MS
    with desk.store.read() as conn:
        raw, body = conn.execute(select(ENTRY.c.header, ENTRY.c.body).order_by(ENTRY.c.id)).all()[1]
    assert from_timestamp(log_pb2.EntryHeader.FromString(raw).expires_at) == expires
    assert from_timestamp(event_pb2.AlertPublished.FromString(body).alert.handling.expires_on) == expires
    early = content("EARLY")
    early.handling.expires_on.seconds = now_ms() // 1000 + 86_400
    assert from_timestamp(desk.draft(early).alert.handling.expires_on) < now_ms() + 2 * DAY_MS


def test_a_draft_from_an_older_revision_is_stale_when_made_and_when_approved(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    name = desk.draft(content("ONE")).released_alert
    adopt(desk, rule("ask"))
    waiting = desk.draft(revision_of(name, content("TWO A")))
    adopt(desk, rule("auto"))
    desk.draft(revision_of(name, content("TWO B")))
    with pytest.raises(StaleDraftError):
        desk.approve(waiting, ANNA)
    older = revision_of(name, content("THREE"))
    older.revision = 1
    with pytest.raises(StaleDraftError):
        desk.draft(older)
    assert b"TWO A" not in desk.bodies()
    assert b"TWO B" in desk.bodies()


def test_i6_a_withdrawal_ends_an_alert_and_drops_what_waits_about_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    name = desk.draft(content("ONE")).released_alert
    adopt(desk, rule("ask"))
    waiting = desk.draft(revision_of(name, content("TWO")))
    taken = withdraw(desk, name)
    assert list(taken.recipients) == ["XB"]
    with pytest.raises(InvalidDraftError):
        desk.approve(taken, ANNA, exclude=["XB"])
    done = desk.approve(taken, ANNA)
    assert done.state == draft_pb2.DRAFT_STATE_RELEASED
    assert read(desk, waiting.name).state == draft_pb2.DRAFT_STATE_SUPERSEDED
    with pytest.raises(AlertEndedError):
        withdraw(desk, name)
    with pytest.raises(AlertEndedError):
        desk.draft(revision_of(name, content("THREE")))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (
            draft_pb2.DraftInput(
                action=draft_pb2.DRAFT_ACTION_WITHDRAW,
                withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_WITHDRAWN,
            ),
            InvalidDraftError,
        ),
        (draft_pb2.DraftInput(action=draft_pb2.DRAFT_ACTION_REVISE), InvalidDraftError),
        (draft_pb2.DraftInput(action=9), InvalidDraftError),  # type: ignore[arg-type]
        (
            draft_pb2.DraftInput(
                action=draft_pb2.DRAFT_ACTION_WITHDRAW,
                withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_WITHDRAWN,
                alert_name="alerts/XB/none",
            ),
            AlertNotFoundError,
        ),
        (
            draft_pb2.DraftInput(
                action=draft_pb2.DRAFT_ACTION_WITHDRAW,
                withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_WITHDRAWN,
                alert_name="alerts/XA/0191f300-0000-7000-8000-000000000001",
            ),
            AlertNotFoundError,
        ),
    ],
    ids=["withdraws nothing", "revises nothing", "unknown action", "another State's", "never told"],
)
def test_i10_a_draft_about_no_alert_of_this_state_is_refused(
    tmp_path: Path, given: draft_pb2.DraftInput, error: type[Exception]
) -> None:
    desk = Desk(tmp_path, rule("auto"))
    with desk.store.write() as conn, pytest.raises(error):
        desk.desk.create(conn, OFFICER, given)


def test_i10_a_withdrawal_says_why(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    name = desk.draft(content()).released_alert
    given = draft_pb2.DraftInput(action=draft_pb2.DRAFT_ACTION_WITHDRAW, alert_name=name)
    with desk.store.write() as conn, pytest.raises(InvalidDraftError):
        desk.desk.create(conn, OFFICER, given)
    assert b"RELEASE 1" in desk.bodies()


# -- content that may not become a draft -------------------------------------------------------------------------------


def _named_already(given: draft_pb2.DraftInput) -> None:
    given.action = draft_pb2.DRAFT_ACTION_PUBLISH
    given.alert.name = "alerts/XA/0191f300-0000-7000-8000-000000000001"


def _of_another_state(given: draft_pb2.DraftInput) -> None:
    given.alert.originator = "XB"


def _unknown_code(given: draft_pb2.DraftInput) -> None:
    given.alert.handling.tlp = 77  # type: ignore[assignment]


def _after_the_calendar(given: draft_pb2.DraftInput) -> None:
    given.alert.handling.expires_on.seconds = 10**15


def _bad_further_item(given: draft_pb2.DraftInput) -> None:
    for _ in range(502):
        given.further_items.add().CopyFrom(given.alert.items[0])
    given.further_items[501].serials[0].as_read = "UNKNOWN"


def _one_huge_item(given: draft_pb2.DraftInput) -> None:
    given.further_items.add().CopyFrom(given.alert.items[0])
    serial = given.further_items[0].serials[0]
    for _ in range(499):
        given.further_items[0].serials.add().CopyFrom(serial)
    for each in given.further_items[0].serials:
        each.as_read = each.as_registered = "é" * 100
        each.other_text = "é" * 300


def _nameless_person(given: draft_pb2.DraftInput) -> None:
    given.alert.handling.personal_data = True
    given.alert.parties.add(
        party_id="P1",
        roles=[codes_pb2.PARTY_ROLE_BROKER],
        kind=codes_pb2.PARTY_KIND_PERSON,
        involvement=codes_pb2.INVOLVEMENT_NAMED_ONLY,
    )


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (_named_already, "alert.name"),
        (_of_another_state, "alert.originator"),
        (_unknown_code, "alert.handling.tlp"),
        (_after_the_calendar, "alert.handling.expires_on"),
        (_bad_further_item, "further_items[501].serials[0].as_read"),
        (_one_huge_item, "further_items[0]"),
        (_nameless_person, "alert.parties[0].names"),
    ],
)
def test_i10_content_that_breaks_a_rule_is_refused_with_its_field_and_stored_nowhere(
    tmp_path: Path, spoil: Callable[[draft_pb2.DraftInput], None], field: str
) -> None:
    desk = Desk(tmp_path, rule("auto"))
    given = draft_pb2.DraftInput(alert=content())
    spoil(given)
    with desk.store.write() as conn:
        with pytest.raises(InvalidDraftError) as refusal:
            desk.desk.create(conn, OFFICER, given)
        assert rows.page(conn, [], None, 10) == []
    assert field in [path for path, _ in refusal.value.violations]


# -- persons and a changing policy -------------------------------------------------------------------------------------


def test_i1_what_was_held_is_released_by_a_person_once_the_policy_lets_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("hold"))
    made = desk.draft(content())
    assert made.state == draft_pb2.DRAFT_STATE_HELD
    adopt(desk, rule("auto"))
    assert desk.entries() == 0
    waiting = read(desk, made.name)
    assert waiting.state == draft_pb2.DRAFT_STATE_WAITING
    assert desk.approve(waiting, ANNA).state == draft_pb2.DRAFT_STATE_RELEASED


def test_a_new_policy_may_refuse_what_was_held(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("hold"))
    made = desk.draft(content())
    adopt(desk, rule("refuse"))
    assert read(desk, made.name).state == draft_pb2.DRAFT_STATE_REFUSED


def test_i1_a_policy_that_became_stricter_counts_at_approval(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    first, second = desk.draft(content("ONE")), desk.draft(content("TWO"))
    adopt(desk, rule("ask_two"))
    once = desk.approve(first, ANNA)
    assert once.state == draft_pb2.DRAFT_STATE_WAITING
    assert desk.approve(once, BERT).state == draft_pb2.DRAFT_STATE_RELEASED
    adopt(desk, rule("hold"))
    with pytest.raises(PolicyRefusedError):
        desk.approve(second, ANNA)
    assert b"TWO" not in desk.bodies()


def test_i1_who_refuses_is_named_and_nothing_leaves_after(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    made = desk.draft(content())
    with desk.store.write() as conn:
        desk.desk.refuse(conn, made.name, made.etag, ANNA, "court restriction")
    refused = read(desk, made.name)
    decision = refused.decisions[-1]
    assert (decision.decided_by, decision.reason) == (str(ANNA), "court restriction")
    with pytest.raises(Exception, match="does not wait"):
        desk.approve(refused, BERT)
    assert desk.entries() == 0


def test_i1_content_that_went_out_of_date_while_it_waited_does_not_leave(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    alert = content()
    alert.handling.expires_on.seconds = now_ms() // 1000 + 3600
    made = desk.draft(alert)
    desk.desk.releaser = replace(desk.desk.releaser, now=lambda: now_ms() + 2 * 3_600_000)
    with pytest.raises(InvalidDraftError):
        desk.approve(made, ANNA)
    assert desk.entries() == 0


# -- logs that take nothing any more -----------------------------------------------------------------------------------


def lose(desk: Desk) -> bytes:
    """Close the only log as if its state were lost; its id."""
    with desk.store.write() as conn:
        (found,) = logs.load_all(conn, own=True)
        found.state = LogState.LOST
        found.save(conn)
        return found.log_id


def last_erasures(desk: Desk) -> list[tuple[str, bytes, int]]:
    """Kind, and what each erases, of the newest entry that erases anything."""
    with desk.store.read() as conn:
        headers = [
            log_pb2.EntryHeader.FromString(raw)
            for raw in conn.execute(select(ENTRY.c.header).order_by(ENTRY.c.id)).scalars()
        ]
    header = [each for each in headers if each.erases][-1]
    return [(log_pb2.EventKind.Name(header.kind), erased.log_id, erased.seq) for erased in header.erases]


def test_i6_what_stands_in_a_lost_log_is_withdrawn_and_erased_from_its_successor(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    name = desk.draft(content("GONE")).released_alert
    lost = lose(desk)
    assert withdraw(desk, name).state == draft_pb2.DRAFT_STATE_RELEASED
    assert last_erasures(desk) == [("EVENT_KIND_ALERT_WITHDRAWN", lost, 1)]
    assert b"GONE" not in desk.bodies()


def test_i6_what_stands_in_a_lost_log_is_revised_in_its_successor(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    name = desk.draft(content("OLD")).released_alert
    lost = lose(desk)
    desk.draft(revision_of(name, content("NEW")))
    assert last_erasures(desk) == [("EVENT_KIND_ALERT_REVISED", lost, 1)]
    assert b"OLD" not in desk.bodies()
    assert b"NEW" in desk.bodies()


def test_i6_a_state_that_joins_opens_an_epoch_and_the_alert_is_revised_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, rule("auto"))
    name = desk.draft(to_parties("OLD")).released_alert
    monkeypatch.setattr(support, "MEMBERS", ("XA", "XB", "XD", "XE"))
    made = desk.draft(revision_of(name, to_parties("NEW")))
    assert list(made.recipients) == ["XB", "XD", "XE"]
    assert b"OLD" not in desk.bodies()
    assert kinds(desk) == [
        (("XA", "XB", "XE"), "GENESIS"),
        (("XA", "XB", "XE"), "ALERT_PUBLISHED"),
        (("XA", "XB", "XE"), "EPOCH_CLOSED"),
        (("XA", "XB", "XE"), "ERASURE"),
        (("XA", "XB", "XD", "XE"), "GENESIS"),
        (("XA", "XB", "XD", "XE"), "ALERT_REVISED"),
    ]
    withdraw(desk, name)
    assert kinds(desk)[-1] == (("XA", "XB", "XD", "XE"), "ALERT_WITHDRAWN")
