"""Drafts as people read them: bounded pages, every draft once; and one door out of the desk (I1, I11)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from dief.v1 import codes_pb2, draft_pb2

import node.release
from node.alerts.states import name_of
from node.release import reading, rows
from node.release.errors import DraftNotFoundError, PageTokenError, RequestIdReusedError
from tests.support.alert_parts import pistol
from tests.support.release import ANNA, OFFICER, Desk, content, rule


def page(
    desk: Desk, *, size: int = 0, token: str = "", states: tuple[int, ...] = ()
) -> tuple[list[str], str]:
    with desk.store.read() as conn:
        shown, after = reading.show_page(conn, desk.desk.releaser, states, size, token)
    return [draft.alert.items[0].serials[0].as_read for draft in shown], after


def test_pages_give_every_draft_once_newest_first_while_others_come(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    for number in range(5):
        desk.draft(content(f"S {number}"))
    first, token = page(desk, size=2)
    desk.draft(content("S 5"))
    second, token = page(desk, size=2, token=token)
    third, end = page(desk, size=2, token=token)
    assert first + second + third == ["S 4", "S 3", "S 2", "S 1", "S 0"]
    assert end == ""


def test_a_page_may_ask_for_some_states_only(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    desk.draft(content("WAITS"))
    desk.approve(desk.draft(content("LEFT")), ANNA)
    assert page(desk, states=(rows.WAITING,))[0] == ["WAITS"]
    assert page(desk, states=(rows.RELEASED,))[0] == ["LEFT"]


def test_i11_a_page_ends_where_it_has_enough_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path, rule("ask"))
    for number in range(3):
        desk.draft(content(f"S {number}"))
    monkeypatch.setattr(reading, "MAX_PAGE_BYTES", 1)
    first, token = page(desk)
    assert first == ["S 2"]
    assert page(desk, token=token)[0] == ["S 1"]


@pytest.mark.parametrize("token", ["no", "AAAA", "!!!!"])
def test_i10_a_page_token_that_is_none_is_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(PageTokenError):
        page(Desk(tmp_path, rule("ask")), token=token)


@pytest.mark.parametrize("name", ["", "drafts/", "drafts/zz", "drafts/0191f300-0000-7000-8000-000000000001"])
def test_a_draft_that_is_not_there_is_not_found(tmp_path: Path, name: str) -> None:
    desk = Desk(tmp_path, rule("ask"))
    with desk.store.read() as conn, pytest.raises(DraftNotFoundError):
        rows.find(conn, name)


def test_i11_further_items_are_counted_and_given_as_far_as_they_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, rule("ask"))
    items = [pistol(f"S {number}") for number in range(10)]
    made = desk.draft(content(), further_items=items)
    assert (made.further_item_count, len(made.further_items)) == (10, 10)
    monkeypatch.setattr(reading, "MAX_FURTHER_BYTES", 3 * items[0].ByteSize())
    with desk.store.read() as conn:
        shown = reading.show(conn, desk.desk.releaser, rows.find(conn, made.name))
        listed, _ = reading.show_page(conn, desk.desk.releaser, (), 0, "")
    assert (shown.further_item_count, len(shown.further_items)) == (10, 3)
    assert (listed[0].further_item_count, len(listed[0].further_items)) == (10, 0)


def test_a_released_draft_shows_the_handling_that_left(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto", expiry_days="10"))
    made = desk.draft(content())
    with desk.store.read() as conn:
        later = reading.show(conn, desk.desk.releaser, rows.find(conn, made.name))
    assert later.alert.handling == made.alert.handling
    assert later.audience == made.audience


def test_i5_a_repeated_request_returns_the_draft_that_it_made(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    given = draft_pb2.DraftInput(alert=content())
    with desk.store.write() as conn:
        first = desk.desk.create(conn, OFFICER, given, "0191f300-0000-7000-8000-00000000000a")
        entries = len(rows.page(conn, (), None, 10))
        again = desk.desk.create(conn, OFFICER, given, "0191f300-0000-7000-8000-00000000000a")
        other = desk.desk.create(conn, ANNA, given, "0191f300-0000-7000-8000-00000000000a")
    assert again.uuid == first.uuid != other.uuid
    assert entries == 1


@pytest.mark.parametrize("part", ["content", "action"])
def test_i5_a_request_id_that_comes_again_with_other_content_is_refused(tmp_path: Path, part: str) -> None:
    """The old answer would tell the client that its new alert is released."""
    desk = Desk(tmp_path, rule("auto"))
    given = draft_pb2.DraftInput(alert=content())
    other = draft_pb2.DraftInput(alert=content("RELEASE 2"))
    with desk.store.write() as conn:
        first = desk.desk.create(conn, OFFICER, given, "0191f300-0000-7000-8000-00000000000a")
        if part == "action":
            name = name_of("XA", first.alert_uuid)
            other = draft_pb2.DraftInput(
                action=draft_pb2.DRAFT_ACTION_WITHDRAW,
                alert_name=name,
                withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_WITHDRAWN,
            )
    with pytest.raises(RequestIdReusedError) as refused, desk.store.write() as conn:
        desk.desk.create(conn, OFFICER, other, "0191f300-0000-7000-8000-00000000000a")
    assert refused.value.reason == "REQUEST_ID_REUSED"
    assert desk.entries() == 2
    assert b"RELEASE 2" not in desk.bodies()


def test_i5_a_repeated_withdrawal_is_answered_and_another_one_under_its_id_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    with desk.store.write() as conn:
        made = [
            desk.desk.create(conn, OFFICER, draft_pb2.DraftInput(alert=content(f"RELEASE {n}"))) for n in "12"
        ]
        first, second = (
            draft_pb2.DraftInput(
                action=draft_pb2.DRAFT_ACTION_WITHDRAW,
                alert_name=name_of("XA", each.alert_uuid),
                withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_WITHDRAWN,
            )
            for each in made
        )
        taken = desk.desk.create(conn, OFFICER, first, "again")
        assert desk.desk.create(conn, OFFICER, first, "again").uuid == taken.uuid
        with pytest.raises(RequestIdReusedError):
            desk.desk.create(conn, OFFICER, second, "again")


def test_i6_a_repeat_whose_content_is_erased_by_now_is_refused(tmp_path: Path) -> None:
    """What it was made of is gone, so nobody can say whether it is the same."""
    desk = Desk(tmp_path, rule("auto"))
    given = draft_pb2.DraftInput(alert=content())
    with desk.store.write() as conn:
        made = desk.desk.create(conn, OFFICER, given, "again")
        withdrawal = draft_pb2.DraftInput(
            action=draft_pb2.DRAFT_ACTION_WITHDRAW,
            alert_name=name_of("XA", made.alert_uuid),
            withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_WITHDRAWN,
        )
        desk.desk.create(conn, OFFICER, withdrawal)
        with pytest.raises(RequestIdReusedError):
            desk.desk.create(conn, OFFICER, given, "again")


def test_the_number_of_waiting_drafts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    desk.draft(content())
    with desk.store.read() as conn:
        assert rows.waiting_drafts(conn) == 1


def test_i1_only_one_module_of_the_release_desk_makes_events_and_it_takes_stripped_content() -> None:
    """Whoever adds a second door must see this fail."""
    folder = Path(node.release.__file__).parent
    doors = set()
    for path in folder.glob("*.py"):
        for part in ast.walk(ast.parse(path.read_text())):
            makes = isinstance(part, ast.Name) and part.id == "NewEvent"
            appends = (
                isinstance(part, ast.Attribute)
                and part.attr in ("append", "append_to", "erase")
                and isinstance(part.value, ast.Name | ast.Attribute)
                and "writer" in ast.unparse(part.value)
            )
            if makes or appends:
                doors.add(path.name)
    assert doors == {"publishing.py"}
    outside = [
        path
        for path in folder.parent.rglob("*.py")
        if "from node.release.publishing" in path.read_text() and path.name != "releasing.py"
    ]
    assert outside == []
