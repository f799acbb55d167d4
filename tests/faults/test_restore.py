"""A node brought back to an older state never forks its own logs: it learns back, waits, or closes (I4, I5)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dief.v1 import log_pb2, operator_pb2

from node.ledger import logs
from node.ledger.state import LogState, entry_id
from node.ledger.storing import ENTRY
from node.store.engine import Store
from tests.support.exchange import content, publish, view, wait_for
from tests.support.nodes import Federation, NodeProcess
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Federation]:
    with Federation(tmp_path, ["XA", "XB"]) as federation:
        federation.start()
        yield federation


def backup(node: NodeProcess, to: Path) -> None:
    """Copy the stopped node's database."""
    shutil.copytree(node.home / "data", to)


def restore(node: NodeProcess, copy: Path) -> None:
    shutil.rmtree(node.home / "data")
    shutil.copytree(copy, node.home / "data")


def own_logs(node: NodeProcess) -> list[logs.HeldLog]:
    store = Store.open(node.settings.database_url)
    try:
        with store.read() as conn:
            return logs.load_all(conn, own=True)
    finally:
        store.close()


def evidence_free(node: NodeProcess) -> bool:
    states = [(log.origin, log.epoch, log.state, log.detail) for log in node.status().logs]
    assert not any(state in ("EVIDENCE", "FAULT") for _, _, state, _ in states), states
    return True


def test_i4_a_node_restored_to_an_older_copy_learns_its_own_entries_back(
    pair: Federation, tmp_path: Path
) -> None:
    xa, xb = pair["XA"], pair["XB"]
    wait_for(xb, publish(xa, content("One", "RESTORE 1", ["XB"])))
    xa.stop()
    backup(xa, tmp_path / "copy")
    xa.start()
    later = [publish(xa, content(f"Later {number}", f"RESTORE 2{number}", ["XB"])) for number in range(3)]
    for name in later:
        wait_for(xb, name)
    xa.kill()
    restore(xa, tmp_path / "copy")
    xa.start()
    for name in later:
        assert wait_for(xa, name).alert.titles
    wait_for(xb, publish(xa, content("After the restore", "RESTORE 3", ["XB"])))
    assert evidence_free(xb)
    assert [log.state for log in own_logs(xa)] == [LogState.LIVE]


def test_i4_a_node_that_lost_its_whole_database_learns_everything_back(pair: Federation) -> None:
    xa, xb = pair["XA"], pair["XB"]
    name = publish(xa, content("Everything", "RESTORE 4", ["XB"]))
    wait_for(xb, name)
    xa.kill()
    shutil.rmtree(xa.home / "data")
    xa.trust(["XB"])
    xa.start()
    assert wait_for(xa, name).alert.titles[0].text == "Everything"
    wait_for(xb, publish(xa, content("And on", "RESTORE 5", ["XB"])))
    assert evidence_free(xb)


def test_i4_without_anchor_and_members_a_node_waits_for_an_operators_word(pair: Federation) -> None:
    xa, xb = pair["XA"], pair["XB"]
    wait_for(xb, publish(xa, content("One", "RESTORE 6", ["XB"])))
    publish(xa, content("Two", "RESTORE 7", ["XB"]))
    xa.stop()
    xb.stop()
    (xa.home / "anchor" / "anchor.log").unlink()
    xa.start(signing=False)
    until(lambda: "anchor is missing" in xa.status().signing_paused, "XA waiting")
    refused = xa.cli("alert", "withdraw", "alerts/XA/0191f3c0-0000-7000-8000-000000000001", check=False)
    assert refused.returncode == 1
    xa.cli("federation", "resume-signing", "--reason", "test")
    until(xa.ready, "XA signing again")
    name = publish(xa, content("Three", "RESTORE 8", ["XB"]))
    xb.start()
    wait_for(xb, name)
    assert evidence_free(xb)


def test_i4_signed_entries_that_nobody_has_close_the_epoch_and_the_next_one_cites_it(
    pair: Federation, tmp_path: Path
) -> None:
    xa, xb = pair["XA"], pair["XB"]
    first = publish(xa, content("Kept", "RESTORE 9", ["XB"]))
    wait_for(xb, first)
    xa.stop()
    backup(xa, tmp_path / "copy")
    xb.stop()
    xa.start()
    lost = publish(xa, content("Lost", "RESTORE 10", ["XB"]))
    xa.kill()
    restore(xa, tmp_path / "copy")
    xa.start(signing=False)
    until(lambda: "not every member has answered" in xa.status().signing_paused, "XA waiting for XB")
    xb.start()
    until(xa.ready, "XA signing after XB answered", seconds=60)
    fresh = publish(xa, content("Next epoch", "RESTORE 11", ["XB"]))
    assert wait_for(xb, fresh).alert.titles
    assert view(xb, lost) is None
    old, new = own_logs(xa)
    assert (old.state, new.state, new.epoch) == (LogState.LOST, LogState.LIVE, 2)
    store = Store.open(xa.settings.database_url)
    with store.read() as conn:
        body = conn.execute(ENTRY.select().where(ENTRY.c.id == entry_id(new.pk, 0))).one().body
    store.close()
    genesis = log_pb2.Genesis.FromString(body)
    assert genesis.previous.log_id == old.log_id
    assert genesis.previous.lost_state
    assert evidence_free(xb)
    peers = {peer.state: peer.peer_state for peer in xb.status().peers}
    assert peers["XA"] == operator_pb2.PEER_STATE_LIVE
