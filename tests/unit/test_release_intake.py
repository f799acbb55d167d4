"""Registries hand rows in: idempotent, each for itself, revising and withdrawing what they released (I5, I10)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from dief.v1 import codes_pb2, draft_pb2, registry_pb2

from node.alerts import queries
from node.identity.spiffe import Kind
from node.ops.clock import now_ms
from node.release.intake import Outcome, RegistryIntake, cursor_of, standings
from tests.support.release import ANNA, REGISTRY, Desk, content, person, rule

ACCEPTED = registry_pb2.RECORD_RESULT_ACCEPTED
UNCHANGED = registry_pb2.RECORD_RESULT_UNCHANGED
REFUSED = registry_pb2.RECORD_RESULT_REFUSED


def row(key: str, serial: str) -> registry_pb2.RegistryRecord:
    record = registry_pb2.RegistryRecord(key=key, content_hash=hashlib.sha256(serial.encode()).digest())
    record.draft.alert.CopyFrom(content(serial))
    return record


def gone(key: str) -> registry_pb2.RegistryRecord:
    record = registry_pb2.RegistryRecord(key=key, content_hash=bytes(32))
    record.withdraw.reason = codes_pb2.WITHDRAWAL_REASON_UNFOUNDED
    return record


def submit(desk: Desk, records: Sequence[registry_pb2.RegistryRecord], cursor: bytes = b"c") -> list[Outcome]:
    with desk.store.write() as conn:
        return RegistryIntake(desk.desk).submit(conn, REGISTRY, "rows", records, cursor, now_ms())


def results(outcomes: list[Outcome]) -> list[int]:
    return [outcome.result for outcome in outcomes]


def alerts(desk: Desk) -> list[int]:
    with desk.store.read() as conn:
        return [record.revision for record in queries.list_alerts(conn, now_ms()).records]


def test_i5_the_same_rows_again_do_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    assert results(submit(desk, [row("a", "S 1"), row("b", "S 2")])) == [ACCEPTED, ACCEPTED]
    before = desk.entries()
    assert results(submit(desk, [row("a", "S 1"), row("b", "S 2")])) == [UNCHANGED, UNCHANGED]
    assert desk.entries() == before


def test_a_changed_row_revises_the_alert_that_it_became(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    submit(desk, [row("a", "S 1")])
    assert results(submit(desk, [row("a", "S 1 corrected")])) == [ACCEPTED]
    assert alerts(desk) == [2]
    assert b"S 1 corrected" in desk.bodies()


def test_one_row_twice_in_a_batch_ends_as_its_last_word(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    assert results(submit(desk, [row("a", "FIRST"), row("a", "SECOND")])) == [ACCEPTED, ACCEPTED]
    assert alerts(desk) == [2]
    assert b"FIRST" not in desk.bodies()


def test_i6_a_row_that_no_longer_calls_for_an_alert_withdraws_it_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    submit(desk, [row("a", "S 1")])
    with desk.store.read() as conn:
        from node.release import reading, rows

        waiting = rows.in_state(conn, rows.WAITING)[0]
        draft = reading.show(conn, desk.desk.releaser, waiting)
    desk.approve(draft, ANNA)
    assert alerts(desk) == [1]
    submit(desk, [gone("a")])
    assert alerts(desk) == []
    assert b"S 1" not in desk.bodies()


def test_a_row_that_is_withdrawn_before_its_release_drops_its_draft(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("ask"))
    submit(desk, [row("a", "S 1")])
    submit(desk, [gone("a")])
    with desk.store.read() as conn:
        from node.release import rows

        assert rows.in_state(conn, rows.WAITING) == []
        assert len(rows.in_state(conn, rows.SUPERSEDED)) == 1
    assert desk.entries() == 0


def test_i10_a_bad_row_is_refused_by_itself_with_its_fields(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    bad = row("bad", "N/A")
    outcomes = submit(desk, [row("a", "S 1"), bad, row("b", "S 2")], b"behind all three")
    assert results(outcomes) == [ACCEPTED, REFUSED, ACCEPTED]
    error = outcomes[1].error
    assert error is not None
    assert any("serials" in field for field, _ in error.violations)  # type: ignore[attr-defined]
    with desk.store.read() as conn:
        found = cursor_of(conn, REGISTRY, "rows")
        assert found is not None
        assert found[0] == b"behind all three"
    assert len(alerts(desk)) == 2


def test_i5_cursor_and_rows_commit_together(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    try:
        with desk.store.write() as conn:
            RegistryIntake(desk.desk).submit(conn, REGISTRY, "rows", [row("a", "S 1")], b"cursor", now_ms())
            raise ConnectionError
    except ConnectionError:
        pass
    with desk.store.read() as conn:
        assert cursor_of(conn, REGISTRY, "rows") is None
    assert desk.entries() == 0


def test_i7_one_registry_never_sees_anothers_stream(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    submit(desk, [row("a", "S 1")])
    other = person(Kind.REGISTRY, "police")
    with desk.store.read() as conn:
        assert cursor_of(conn, other, "rows") is None
        assert standings(conn, other, "rows", "", 10) == []
        mine = standings(conn, REGISTRY, "rows", "", 10)
    assert [(each.key, each.state) for each in mine] == [("a", draft_pb2.DRAFT_STATE_RELEASED)]


def test_i1_what_a_person_withdrew_a_registry_does_not_tell_again_by_rule(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    submit(desk, [row("a", "S 1")])
    with desk.store.read() as conn:
        name = queries.list_alerts(conn, now_ms()).records[0].name
    with desk.store.write() as conn:
        from tests.support.release import OFFICER

        desk.desk.create(
            conn,
            OFFICER,
            draft_pb2.DraftInput(
                action=draft_pb2.DRAFT_ACTION_WITHDRAW,
                alert_name=name,
                withdrawal_reason=codes_pb2.WITHDRAWAL_REASON_WITHDRAWN,
            ),
        )
    submit(desk, [row("a", "S 1 again")])
    assert alerts(desk) == []
    assert b"S 1 again" not in desk.bodies()
