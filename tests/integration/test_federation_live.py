"""FederationService between running nodes: what a peer without a copy gets, and erasures in bulk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from dief.v1 import desk_pb2, federation_pb2, log_pb2
from dief.v1.event_pb2 import AlertRevised
from sqlalchemy import func, select

from node.audit.trail import AUDIT
from node.ledger import logs
from node.ledger.anchor import Anchor
from node.ledger.checkpoint import Ed25519NoteSigner, trust_domain
from node.ledger.ingest import Source, verify_proven_entry
from node.ledger.recover import learn_back
from node.ledger.state import entry_id
from node.ledger.storing import ENTRY
from node.ledger.writer import LogWriter
from node.ops.clock import now_ms
from node.store.engine import Store
from tests.support.exchange import content, publish, revise, wait_for, withdraw
from tests.support.ledger import FEDERATION, WITHDRAWN, ForgedLog
from tests.support.nodes import Federation, NodeProcess, desk, federation
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(400)

SECONDS = 120


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """XA and XB, up and admitted."""
    with Federation(tmp_path_factory.mktemp("two"), ["XA", "XB"]) as made:
        made.start()
        yield made


@contextmanager
def opened(node: NodeProcess) -> Iterator[Store]:
    store = Store.open(node.settings.database_url)
    try:
        yield store
    finally:
        store.close()


def recorded(node: NodeProcess, action: str) -> list[Any]:
    """Records of an act in a node's audit trail, oldest first."""
    with opened(node) as store, store.read() as conn:
        return list(conn.execute(select(AUDIT).where(AUDIT.c.action == action).order_by(AUDIT.c.id)))


def test_i3_a_watcher_is_told_of_revisions_and_withdrawals_that_prove_themselves(two: Federation) -> None:
    source = Source(FEDERATION, "XB", "XA", ForgedLog("XA", two.pki["XA"].log_key).verifiers)
    before = publish(two["XA"], content("Before the watch", "WATCHED 1"))
    with two["XA"].peer_channel("XB") as channel:
        stream = federation(channel).WatchAlerts(federation_pb2.WatchAlertsRequest(), timeout=SECONDS)
        stream.initial_metadata()
        revise(two["XA"], before, content("Revised meanwhile", "WATCHED 2"))
        withdraw(two["XA"], before)
        entries = (answer.entry for answer in stream if answer.HasField("entry"))
        told = list(islice(entries, 2))
        stream.cancel()
    headers = [verify_proven_entry(source, entry)[1] for entry in told]
    assert [header.subject for header in headers] == [before, before]
    assert headers[0].revision == 2
    assert all(header.erases for header in headers)
    assert "WatchAlerts" in recorded(two["XA"], "RANGE_SENT")[-1].detail


def test_i3_one_alert_is_asked_for_and_proves_itself_until_it_is_withdrawn(two: Federation) -> None:
    source = Source(FEDERATION, "XB", "XA", ForgedLog("XA", two.pki["XA"].log_key).verifiers)
    name = publish(two["XA"], content("Asked for", "ASKED 1"))
    request = federation_pb2.GetAlertRequest(name=name)
    with two["XA"].peer_channel("XB") as channel:
        answer = federation(channel).GetAlert(request, timeout=SECONDS)
        _, facts = verify_proven_entry(source, answer.alert)
        assert (facts.subject, facts.revision) == (name, 1)
        assert AlertRevised.FromString(answer.alert.entry.body).alert.titles[0].text == "Asked for"
        withdraw(two["XA"], name)
        answer = federation(channel).GetAlert(request, timeout=SECONDS)
        _, facts = verify_proven_entry(source, answer.alert)
        assert (facts.kind, bool(facts.erases)) == (log_pb2.EVENT_KIND_ALERT_WITHDRAWN, True)
        with pytest.raises(grpc.RpcError) as refused:
            federation(channel).GetAlert(
                federation_pb2.GetAlertRequest(name=name[:-4] + "ffff"), timeout=SECONDS
            )
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert "GetAlert" in recorded(two["XA"], "RANGE_SENT")[-1].detail


def test_i8_reading_receipts_and_asking_a_peer_are_recorded_without_what_was_looked_for(
    two: Federation,
) -> None:
    name = publish(two["XA"], content("With receipts", "RECEIPTS 1"))
    wait_for(two["XB"], name)
    withdraw(two["XA"], name)
    with two["XA"].national("officer") as channel:
        answer = desk(channel).ListReceipts(desk_pb2.ListReceiptsRequest(alert=name), timeout=SECONDS)
    record = recorded(two["XA"], "LISTED")[-1]
    assert (record.subject, json.loads(record.detail)) == (name, {"receipts": len(answer.rows)})
    assert "officer" in record.actor
    two["XB"].cli("query", "--peer", "XA", "--serial", "SECRETLY EXAMINED 77")
    record = recorded(two["XB"], "READ")[-1]
    assert (record.subject, record.purpose) == ("peer XA", "query")
    assert "EXAMINED" not in record.detail
    assert two["XA"].files_holding(b"EXAMINED 77") == []


# -- erasures in bulk --------------------------------------------------------------------------------------------------

ERASED = 450
PADDING = 10_000
"""Bytes that a newer version may put into a header: this one keeps them and does not know them."""


def padded(log: ForgedLog) -> None:
    """Put an unknown field (number 1000) into the newest header."""
    length = bytes([PADDING & 0x7F | 0x80, PADDING >> 7])
    log.entries[-1].header += b"\xc2\x3e" + length + bytes(PADDING)


def hand_in(node: NodeProcess, log: ForgedLog, first: int) -> None:
    """Put entries from a position on into a stopped node's own log, and anchor them."""
    state = node.state
    verifiers = log.verifiers
    settings = node.settings
    with opened(node) as store:
        writer = LogWriter(
            federation=FEDERATION,
            origin=state,
            signer=Ed25519NoteSigner(trust_domain(FEDERATION, state), log.key),
            anchor=Anchor(settings.path(settings.log.anchor)),
            members=lambda _: ("XA", "XB"),
        )
        checkpoint = log.sign()
        for start in range(first, len(log.entries), 50):
            batch = log.batch(start, min(start + 50, len(log.entries)), checkpoint)
            with store.write() as conn:
                learn_back(conn, Source(FEDERATION, state, state, verifiers), batch, now_ms())
        with store.write() as conn:
            writer.anchor_held(conn)


def bodies(node: NodeProcess, log_id: bytes) -> tuple[int, int] | None:
    """Entries of a log that a node holds, and how many of them have a body."""
    with opened(node) as store, store.read() as conn:
        held = logs.load(conn, log_id)
        if held is None:
            return None
        query = select(func.count(), func.count(ENTRY.c.body)).where(
            ENTRY.c.id >= entry_id(held.pk, 0), ENTRY.c.id < entry_id(held.pk + 1, 0)
        )
        entries, with_body = conn.execute(query).one()
        return entries, with_body


def test_i6_erasures_of_more_bytes_than_a_message_may_have_reach_a_follower_first_and_whole(
    tmp_path: Path,
) -> None:
    """450 erasing headers of 10 KB: in one frame they would be over what a follower takes, and none would arrive."""
    with Federation(tmp_path, ["XA", "XB"]) as two:
        log = ForgedLog("XA", two.pki["XA"].log_key, clock=now_ms)  # type: ignore[arg-type]
        log.fill(ERASED)
        hand_in(two["XA"], log, 0)
        two.start()
        held = ERASED + 1
        until(lambda: bodies(two["XB"], log.log_id) == (held, held), "XB holding all", seconds=SECONDS)
        two["XB"].kill()
        two["XA"].kill()
        for seq in range(1, ERASED + 1):
            log.add(None, kind=WITHDRAWN, erases=[log_pb2.Erasure(seq=seq)])
            padded(log)
        hand_in(two["XA"], log, held)
        assert bodies(two["XA"], log.log_id) == (held + ERASED, 1)
        two.start()
        frames = []
        with two["XA"].peer_channel("XB") as channel:
            request = federation_pb2.FollowRequest()
            request.cursors.add(log_id=log.log_id, size=held)
            for frame in federation(channel).Follow(request, timeout=SECONDS):
                frames.append(frame)
                if frame.HasField("batch"):
                    break
        preludes = [frame.prelude for frame in frames if frame.HasField("prelude")]
        kinds = [frame.WhichOneof("frame") for frame in frames]
        assert kinds[1 : 1 + len(preludes)] == ["prelude"] * len(preludes)
        assert sum(len(prelude.headers) for prelude in preludes) == ERASED
        assert sum(prelude.ByteSize() for prelude in preludes) > 4 << 20
        assert max(prelude.ByteSize() for prelude in preludes) < (1 << 20) + 16_384
        until(
            lambda: bodies(two["XB"], log.log_id) == (held + ERASED, 1), "all erased at XB", seconds=SECONDS
        )
        until(
            lambda: not two["XB"].files_holding(b"body 17"), "the bytes leaving XB's files", seconds=SECONDS
        )
