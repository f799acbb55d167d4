"""What stays true when a release fails halfway: nothing is lost, nothing signed that the store lacks (I4, I10)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from dief.v1 import codes_pb2, draft_pb2, registry_pb2
from dief.v1.alert_pb2 import DiversionAlert

from node.ledger import logs
from node.ledger.anchor import Anchor
from node.ledger.errors import LogClosedError, SigningPausedError
from node.ledger.state import LogState
from node.ops.clock import now_ms
from node.release.intake import ACCEPTED, REFUSED, Outcome, RegistryIntake, cursor_of
from tests.support.release import REGISTRY, Desk, content, rule

STREAM = "licences"
PAUSED = "Nobody was asked yet."


def told(key: str, alert: DiversionAlert) -> registry_pb2.RegistryRecord:
    digest = hashlib.sha256(key.encode() + alert.SerializeToString(deterministic=True)).digest()
    return registry_pb2.RegistryRecord(key=key, content_hash=digest, draft=draft_pb2.DraftInput(alert=alert))


def taken_back(key: str) -> registry_pb2.RegistryRecord:
    change = registry_pb2.WithdrawRecord(reason=codes_pb2.WITHDRAWAL_REASON_WITHDRAWN)
    return registry_pb2.RegistryRecord(
        key=key, content_hash=hashlib.sha256(b"gone " + key.encode()).digest(), withdraw=change
    )


def submit(desk: Desk, *records: registry_pb2.RegistryRecord, cursor: bytes = b"1") -> list[Outcome]:
    with desk.store.write() as conn:
        return RegistryIntake(desk.desk).submit(conn, REGISTRY, STREAM, records, cursor, now_ms())


def set_state(desk: Desk, member: str, state: LogState) -> None:
    """Set the state of the own log that one State is a member of."""
    with desk.store.write() as conn:
        (found,) = [log for log in logs.load_all(conn, own=True) if member in log.members]
        log = logs.load_locked(conn, found.pk)
        log.state = state
        log.save(conn)


def stored_logs(desk: Desk) -> dict[bytes, int]:
    with desk.store.read() as conn:
        return {log.log_id: log.size for log in logs.load_all(conn, own=True)}


def anchored_logs(folder: Path) -> dict[bytes, int]:
    """What the anchor file says, read anew as after a restart."""
    return {log_id: held.size for log_id, held in Anchor(folder / "anchor.log").all().items()}


def test_i10_rows_that_come_while_nothing_may_be_signed_are_not_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    desk.writer.pause(PAUSED)
    with pytest.raises(SigningPausedError):
        submit(desk, told("a", content("PAUSED 1")), told("b", content("PAUSED 2")))
    with desk.store.read() as conn:
        assert cursor_of(conn, REGISTRY, STREAM) is None
    desk.writer.resume()
    outcomes = submit(desk, told("a", content("PAUSED 1")), told("b", content("PAUSED 2")))
    assert [outcome.result for outcome in outcomes] == [ACCEPTED, ACCEPTED]
    assert b"PAUSED 1" in desk.bodies()
    assert b"PAUSED 2" in desk.bodies()


def test_i6_a_withdrawal_that_failed_is_done_when_its_row_comes_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    submit(desk, told("a", content("STOPPED 1")))
    set_state(desk, "XB", LogState.EVIDENCE)
    (outcome,) = submit(desk, taken_back("a"))
    assert (outcome.result, type(outcome.error)) == (REFUSED, LogClosedError)
    set_state(desk, "XB", LogState.LIVE)
    (outcome,) = submit(desk, taken_back("a"))
    assert outcome.result == ACCEPTED
    assert b"STOPPED 1" not in desk.bodies()


def test_i4_what_fails_beside_a_new_log_leaves_no_signature_that_the_store_lacks(tmp_path: Path) -> None:
    desk = Desk(tmp_path, rule("auto"))
    submit(desk, told("a", content("OLD", states=("XB",))))
    set_state(desk, "XB", LogState.EVIDENCE)
    outcomes = submit(desk, told("b", content("NEW", states=("XE",))), taken_back("a"))
    assert [outcome.result for outcome in outcomes] == [ACCEPTED, REFUSED]
    assert b"NEW" in desk.bodies()
    assert anchored_logs(tmp_path) == stored_logs(desk)
