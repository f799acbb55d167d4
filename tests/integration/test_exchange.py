"""The main job over real sockets, processes and files: published, proven, kept from others, revised, taken back."""

from __future__ import annotations

import grpc
import pytest
from dief.v1 import codes_pb2, desk_pb2, draft_pb2, federation_pb2

from node.alerts.project import ALERT, UNPROJECTED, delete_indicators
from node.alerts.states import uuid_of
from node.ledger import logs
from node.ledger.merkle import leaf_hash
from node.ledger.state import entry_id
from node.ledger.storing import ENTRY
from node.store.engine import Store
from tests.support.exchange import content, publish, revise, submit, view, wait_for, wait_until_gone, withdraw
from tests.support.nodes import Federation, NodeProcess, desk, federation
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(180)


def held_logs(node: NodeProcess, origin: str) -> list[logs.HeldLog]:
    store = Store.open(node.settings.database_url)
    try:
        with store.read() as conn:
            return logs.load_all(conn, origin=origin)
    finally:
        store.close()


def test_an_alert_of_xa_is_read_at_its_audience_and_proven_to_come_from_xa(four: Federation) -> None:
    name = publish(four["XA"], content("Read and proven", "PROVEN 0001"))
    for state in ("XB", "XE"):
        found = wait_for(four[state], name)
        assert found.alert.titles[0].text == "Read and proven"
        assert found.origin == "XA"
        held = next(log for log in held_logs(four[state], "XA") if log.log_id == found.proof.log_id)
        store = Store.open(four[state].settings.database_url)
        with store.read() as conn:
            header = conn.execute(
                ENTRY.select().where(ENTRY.c.id == entry_id(held.pk, found.proof.seq))
            ).one()
        store.close()
        assert leaf_hash(header.header) == found.proof.leaf_hash
        assert found.proof.checkpoint_size > found.proof.seq


def test_i2_a_state_outside_the_audience_learns_of_neither_the_alert_nor_its_log(four: Federation) -> None:
    name = publish(four["XA"], content("For XB alone", "BILATERAL 7001", states=["XB"]))
    proof = wait_for(four["XB"], name).proof
    for state in ("XD", "XE"):
        assert view(four[state], name) is None
        assert proof.log_id not in {log.log_id for log in held_logs(four[state], "XA")}
        assert four[state].files_holding(proof.log_id) == []
        with four["XA"].peer_channel(state) as channel:
            stub = federation(channel)
            for log_id in (proof.log_id, bytes(32)):
                answers = []
                for call, request in (
                    (stub.GetEntries, federation_pb2.GetEntriesRequest(log_id=log_id)),
                    (stub.GetProof, federation_pb2.GetProofRequest(log_id=log_id, inclusion_of=1)),
                ):
                    with pytest.raises(grpc.RpcError) as refusal:
                        call(request, timeout=10)  # type: ignore[operator]
                    answers.append((refusal.value.code(), refusal.value.details()))  # type: ignore[attr-defined]
                assert {code for code, _ in answers} == {grpc.StatusCode.NOT_FOUND}
            with pytest.raises(grpc.RpcError) as refusal:
                stub.GetAlert(federation_pb2.GetAlertRequest(name=name), timeout=10)
            assert refusal.value.code() == grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
            compared = stub.CompareCheckpoints(
                federation_pb2.CompareCheckpointsRequest(log_ids=[proof.log_id]), timeout=10
            )
            assert not compared.logs
            assert name not in {
                entry.entry.header
                for entry in stub.QueryAlerts(federation_pb2.QueryAlertsRequest(), timeout=10).alerts
            }


def test_i2_a_signatory_is_not_told_what_is_for_states_parties(four: Federation) -> None:
    name = publish(four["XA"], content("Parties only", "PARTIES 5511"))
    wait_for(four["XB"], name)
    assert view(four["XD"], name) is None
    assert all("XD" in log.members for log in held_logs(four["XD"], "XA"))


def test_i6_a_revision_erases_the_one_before_on_every_node(four: Federation) -> None:
    first = content("Revision one", "OLDSERIAL 90210")
    name = publish(four["XA"], first)
    for state in ("XB", "XE"):
        wait_for(four[state], name)
    assert revise(four["XA"], name, content("Revision two", "NEWSERIAL 11111")) == 2
    for state in ("XB", "XE"):
        assert wait_for(four[state], name, 2).alert.titles[0].text == "Revision two"
    for state in ("XA", "XB", "XE"):
        until(
            lambda state=state: not four[state].files_holding(b"OLDSERIAL 90210"),  # type: ignore[misc]
            f"the old revision leaving the files of {state}",
        )


def test_i6_a_withdrawn_alert_leaves_no_body_on_any_node_and_receipts_come_back(four: Federation) -> None:
    name = publish(four["XA"], content("Taken back", "WITHDRAWN 445566"))
    for state in ("XB", "XE"):
        wait_for(four[state], name)
        assert four[state].files_holding(b"WITHDRAWN 445566")
    withdraw(four["XA"], name, unfounded=True)
    for state in ("XB", "XE"):
        assert wait_until_gone(four[state], name).standing == desk_pb2.ALERT_STANDING_UNFOUNDED
    for state in ("XA", "XB", "XE"):
        until(
            lambda state=state: not four[state].files_holding(b"WITHDRAWN 445566"),  # type: ignore[misc]
            f"the withdrawn body leaving the files of {state}",
        )

    def receipts() -> dict[str, int]:
        with four["XA"].national("officer") as channel:
            answer = desk(channel).ListReceipts(desk_pb2.ListReceiptsRequest(alert=name), timeout=10)
        return {row.state: row.kind for row in answer.rows}

    wanted = {"XB": federation_pb2.RECEIPT_KIND_ERASED, "XE": federation_pb2.RECEIPT_KIND_ERASED}
    until(lambda: receipts() == wanted, "receipts of XB and XE at XA")
    with four["XB"].national("officer") as channel:
        terms = [desk_pb2.ScreenTerm(kind=codes_pb2.INDICATOR_KIND_SERIAL, value="WITHDRAWN 445566")]
        assert not desk(channel).Screen(desk_pb2.ScreenRequest(terms=terms), timeout=10).hits


def test_i6_moving_an_alert_to_a_narrower_audience_erases_it_elsewhere(four: Federation) -> None:
    alert = content("Wide at first", "MOVED 31337")
    name = publish(four["XA"], alert)
    wait_for(four["XE"], name)
    revise(four["XA"], name, content("For XB only now", "MOVED 31337", states=["XB"]))
    assert wait_for(four["XB"], name, 2).alert.titles[0].text == "For XB only now"
    gone = wait_until_gone(four["XE"], name)
    assert gone.standing == desk_pb2.ALERT_STANDING_WITHDRAWN
    until(lambda: not four["XE"].files_holding(b"MOVED 31337"), "the moved body leaving the files of XE")


def test_i5_a_killed_follower_goes_on_from_what_it_stored(four: Federation) -> None:
    before = publish(four["XA"], content("Before the kill", "KILL 1"))
    wait_for(four["XB"], before)
    four["XB"].kill()
    during = publish(four["XA"], content("During the outage", "KILL 2"))
    withdraw(four["XA"], before)
    four["XB"].start()
    wait_for(four["XB"], during)
    wait_until_gone(four["XB"], before)
    sizes = [log.size for log in held_logs(four["XB"], "XA")]
    assert sizes == [log.size for log in held_logs(four["XA"], "XA") if "XB" in log.members]


def test_a_screening_hit_explains_itself_and_the_asking_stays_at_home(four: Federation) -> None:
    name = publish(four["XA"], content("Screened", "ХК 386012"))
    wait_for(four["XB"], name)
    with four["XB"].national("officer") as channel:
        terms = [
            desk_pb2.ScreenTerm(kind=codes_pb2.INDICATOR_KIND_SERIAL, value="xk-386012"),
            desk_pb2.ScreenTerm(kind=codes_pb2.INDICATOR_KIND_SERIAL, value="QQ 77777777"),
        ]
        answer = desk(channel).Screen(desk_pb2.ScreenRequest(terms=terms), timeout=10)
    assert [(hit.term, hit.alert.name) for hit in answer.hits] == [(0, name)]
    assert answer.hits[0].explanation
    assert answer.hits[0].value == "ХК 386012"
    assert not four["XA"].files_holding(b"77777777")


def test_a_peer_without_a_copy_queries_and_checks_the_proofs_itself(four: Federation) -> None:
    name = publish(four["XA"], content("Queried", "QUERY 24680"))
    found = four["XE"].cli_json("query", "--peer", "XA", "--serial", "query24680")
    assert [row["alert"] for row in found] == [name]
    assert found[0]["matched"]
    assert four["XD"].cli_json("query", "--peer", "XA", "--serial", "query24680") == []


def test_i10_an_alert_that_breaks_a_rule_is_refused_whole_with_its_fields(four: Federation) -> None:
    alert = content("Broken", "BROKEN 1")
    alert.items[0].serials[0].as_read = "N/A"
    with four["XA"].national("officer") as channel:
        from dief.v1 import draft_pb2
        from google.rpc import error_details_pb2
        from grpc_status import rpc_status

        request = desk_pb2.CreateDraftRequest(
            input=draft_pb2.DraftInput(action=draft_pb2.DRAFT_ACTION_PUBLISH, alert=alert),
            request_id="broken",
        )
        with pytest.raises(grpc.RpcError) as refusal:
            desk(channel).CreateDraft(request, timeout=10)
        assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
        status = rpc_status.from_call(refusal.value)
        details = error_details_pb2.BadRequest()
        assert any(detail.Unpack(details) for detail in status.details)
        assert any("serials" in violation.field for violation in details.field_violations)
        assert (
            not desk(channel)
            .ListDrafts(desk_pb2.ListDraftsRequest(states=[draft_pb2.DRAFT_STATE_WAITING]), timeout=10)
            .drafts
        )


def test_a_changed_policy_file_decides_at_once_and_a_broken_one_changes_nothing(four: Federation) -> None:
    xd = four["XD"]
    path = xd.home / "policy.toml"
    before = path.read_text(encoding="utf-8")

    def counted() -> int:
        return int(xd.status().refused.get("POLICY_BROKEN", 0))

    def made(title: str) -> int:
        return submit(xd, draft_pb2.DraftInput(alert=content(title, "POL 0001", origin="XD"))).state

    broken = counted()
    path.write_text("[[rule]]\nname = 1\n", encoding="utf-8")
    until(lambda: counted() == broken + 1, "the broken policy told", seconds=60)
    assert made("Still released by rule") == draft_pb2.DRAFT_STATE_RELEASED
    path.write_text(before.replace('outcome = "auto"', 'outcome = "hold"'), encoding="utf-8")
    until(lambda: made("Held from now on") == draft_pb2.DRAFT_STATE_HELD, "the new policy", seconds=60)
    path.write_text(before, encoding="utf-8")
    until(lambda: made("Released again") == draft_pb2.DRAFT_STATE_RELEASED, "the old policy", seconds=60)


def test_i10_what_an_earlier_version_could_not_show_is_shown_after_an_upgrade(four: Federation) -> None:
    xe = four["XE"]
    name = publish(four["XA"], content("Not understood at first", "UPG 0001"))
    wait_for(xe, name)
    xe.stop()
    store = Store.open(xe.settings.database_url)
    with store.write() as conn:
        row = conn.execute(ALERT.select().where(ALERT.c.uuid == uuid_of(name, "XA"))).one()
        delete_indicators(conn, [row.id])
        conn.execute(ALERT.delete().where(ALERT.c.id == row.id))
        conn.execute(
            UNPROJECTED.insert().values(
                entry_id=row.entry_id, reason="UNKNOWN_KIND", received_ms=row.received_ms
            )
        )
    store.close()
    xe.start()
    assert wait_for(xe, name).alert.titles[0].text == "Not understood at first"
