"""XE lies to XB over a real connection: its log stops, everything else goes on (I3, I4, I10, I12)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from dief.v1 import event_pb2, federation_pb2
from sqlalchemy import select

from node.identity import dsse, roster
from node.ledger import logs
from node.ledger.state import LogState
from node.ops.clock import to_timestamp
from node.store.engine import Store
from node.store.tables import table
from node.store.tables.ledger import Evidence
from tests.support.alerts import minimal_alert
from tests.support.exchange import content, publish, view, wait_for
from tests.support.ledger import START_MS, ForgedLog, flipped, named
from tests.support.lying_peer import LyingPeer
from tests.support.nodes import Federation
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """XA and XB run; XE's endpoint is free for a liar."""
    with Federation(tmp_path_factory.mktemp("three"), ["XA", "XB", "XE"]) as federation:
        federation.start("XA", "XB")
        yield federation


class NowClock:
    def __call__(self) -> int:
        from node.ops.clock import now_ms

        return now_ms()


def forged(three: Federation, salt: bytes) -> ForgedLog:
    """A log of XE for XB, signed with XE's real key; `salt` makes it another log each time."""
    return ForgedLog(
        state="XE",
        key=three.pki["XE"].log_key,
        clock=NowClock(),  # type: ignore[arg-type]
        genesis={
            "audience": named("XB", "XE"),
            "members": ["XB", "XE"],
            "salt": salt.ljust(32, b"-"),
            "opened_at": to_timestamp(START_MS),
        },
    )


def alert_body(number: int) -> tuple[bytes, str]:
    """Body and name of a valid alert of XE for XB."""
    alert = minimal_alert("XE", number=number, states=["XB", "XE"], title=f"Alert {number}")
    return event_pb2.AlertPublished(alert=alert).SerializeToString(), alert.name


def held(three: Federation, log_id: bytes) -> logs.HeldLog | None:
    store = Store.open(three["XB"].settings.database_url)
    try:
        with store.read() as conn:
            return logs.load(conn, log_id)
    finally:
        store.close()


def with_alert(log: ForgedLog, number: int) -> str:
    body, name = alert_body(number)
    log.add(body, subject=name, revision=1)
    return name


def bit_in_body(log: ForgedLog, batch: federation_pb2.Batch) -> None:
    batch.entries[1].body = flipped(batch.entries[1].body, 77)


def bit_in_header(log: ForgedLog, batch: federation_pb2.Batch) -> None:
    batch.entries[1].header = flipped(batch.entries[1].header, 200)


def gap(log: ForgedLog, batch: federation_pb2.Batch) -> None:
    del batch.entries[1]


def repeated(log: ForgedLog, batch: federation_pb2.Batch) -> None:
    batch.entries.append(batch.entries[1])


def reordered(log: ForgedLog, batch: federation_pb2.Batch) -> None:
    first, second = batch.entries[1].SerializeToString(), batch.entries[2].SerializeToString()
    batch.entries[1].ParseFromString(second)
    batch.entries[2].ParseFromString(first)


def checkpoint_by_another_key(log: ForgedLog, batch: federation_pb2.Batch) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    batch.checkpoint = log.sign(key=Ed25519PrivateKey.generate())


def no_checkpoint(log: ForgedLog, batch: federation_pb2.Batch) -> None:
    batch.checkpoint = b""


LIES: list[Callable[[ForgedLog, federation_pb2.Batch], None]] = [
    bit_in_body,
    bit_in_header,
    gap,
    repeated,
    reordered,
    checkpoint_by_another_key,
    no_checkpoint,
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_i3_nothing_of_a_false_batch_is_stored_or_shown_and_others_go_on(
    three: Federation, lie: Callable[[ForgedLog, federation_pb2.Batch], None]
) -> None:
    number = 100 + 10 * LIES.index(lie)
    false, honest = (
        forged(three, b"false" + lie.__name__.encode()),
        forged(three, b"true" + lie.__name__.encode()),
    )
    hidden, other = with_alert(false, number), with_alert(false, number + 1)
    shown = with_alert(honest, number + 2)
    refused_before = sum(three["XB"].status().refused.values())

    def script(request: federation_pb2.FollowRequest) -> list[federation_pb2.Batch]:
        known = {cursor.log_id for cursor in request.cursors}
        batch = false.batch()
        lie(false, batch)
        return [batch] + ([] if honest.log_id in known else [honest.batch()])

    with LyingPeer(three, "XE", script) as liar:
        wait_for(three["XB"], shown)
        until(lambda: len(liar.requests) >= 2, "XB fetching the false log again")
        assert view(three["XB"], hidden) is None
        assert view(three["XB"], other) is None
        assert held(three, false.log_id) is None
        assert sum(three["XB"].status().refused.values()) > refused_before
        name = publish(three["XA"], content("Unaffected", f"UNAFFECTED {number}"))
        wait_for(three["XB"], name)
        false_batch = false.batch()
        liar.script = lambda request: (
            []
            if any(cursor.log_id == false.log_id and cursor.size for cursor in request.cursors)
            else [false_batch]
        )
        wait_for(three["XB"], hidden)


def test_i4_two_histories_under_one_signature_stop_the_log_and_the_evidence_is_kept(
    three: Federation,
) -> None:
    log = forged(three, b"two histories")
    first = with_alert(log, 500)
    batch = log.batch()
    with LyingPeer(three, "XE", lambda request: [] if request.cursors else [batch]) as liar:
        liar.script = lambda request: (
            [] if any(cursor.log_id == log.log_id for cursor in request.cursors) else [batch]
        )
        wait_for(three["XB"], first)
    body, name = alert_body(501)
    rewritten = forged(three, b"two histories")
    rewritten.add(body, subject=name, revision=1)
    assert rewritten.log_id == log.log_id
    lie = federation_pb2.Batch(log_id=log.log_id, first_seq=2, checkpoint=rewritten.sign())
    with LyingPeer(three, "XE", lambda _: [lie]):
        until(
            lambda: (found := held(three, log.log_id)) is not None and found.state is LogState.EVIDENCE,
            "the log stopping on evidence",
        )
        store = Store.open(three["XB"].settings.database_url)
        with store.read() as conn:
            kept = conn.execute(select(table(Evidence)).where(table(Evidence).c.log_id == log.log_id)).one()
        store.close()
        assert kept.verdict == "EVIDENCE_SPLIT"
        assert log.opened(kept.first_note).root != log.opened(kept.second_note).root
        wait_for(three["XB"], publish(three["XA"], content("Still alive", "STILL ALIVE 1")))
        found = view(three["XB"], first)
        assert found is not None
        assert found.alert.titles


def test_i10_an_authentic_entry_that_is_invalid_or_unknown_is_stored_reported_and_passed(
    three: Federation,
) -> None:
    log = forged(three, b"authentic but invalid")
    log.add(b"\xff\xff not an alert", subject="alerts/XE/0191f3c0-0000-7000-8000-000000000001", revision=1)
    log.add(b"from the future", kind=4242, subject="alerts/XE/0191f3c0-0000-7000-8000-000000000002")
    after = with_alert(log, 600)
    batch = log.batch()

    def script(request: federation_pb2.FollowRequest) -> list[federation_pb2.Batch]:
        return [] if any(cursor.log_id == log.log_id for cursor in request.cursors) else [batch]

    with LyingPeer(three, "XE", script) as peer:
        wait_for(three["XB"], after)
        until(lambda: len(peer.receipts) >= 2, "receipts at XE")
        said = {(receipt.seq, receipt.kind) for receipt in peer.receipts if receipt.log_id == log.log_id}
        assert said == {
            (1, federation_pb2.RECEIPT_KIND_INVALID_BODY),
            (2, federation_pb2.RECEIPT_KIND_NOT_UNDERSTOOD),
        }
    row = next(row for row in three["XB"].status().logs if row.log_id == log.log_id)
    assert (row.size, row.state, row.not_projected) == (4, "LIVE", 2)


def test_i4_a_missing_body_that_nothing_erases_keeps_the_log_from_being_live(three: Federation) -> None:
    log = forged(three, b"missing body")
    gone = with_alert(log, 700)
    batch = log.batch()
    batch.entries[1].body = b""
    batch.entries[1].salt = b""

    def script(request: federation_pb2.FollowRequest) -> list[federation_pb2.Batch]:
        return [] if any(cursor.log_id == log.log_id for cursor in request.cursors) else [batch]

    with LyingPeer(three, "XE", script):
        until(
            lambda: (found := held(three, log.log_id)) is not None and found.state is LogState.INCOMPLETE,
            "the log being INCOMPLETE",
        )
        assert view(three["XB"], gone) is None or not view(three["XB"], gone).HasField("alert")  # type: ignore[union-attr]


def test_i2_a_log_that_does_not_name_this_state_is_not_taken(three: Federation) -> None:
    log = ForgedLog(
        state="XE",
        key=three.pki["XE"].log_key,
        clock=NowClock(),  # type: ignore[arg-type]
        genesis={"audience": named("XA", "XE"), "members": ["XA", "XE"]},
    )
    body, _ = alert_body(800)
    log.add(body)
    with LyingPeer(three, "XE", lambda _: [log.batch()]) as liar:
        until(lambda: len(liar.requests) >= 2, "XB trying twice")
        assert held(three, log.log_id) is None


def test_i11_a_message_over_the_limit_costs_the_liar_its_stream_and_no_more(three: Federation) -> None:
    log = forged(three, b"oversized")
    batch = log.batch()
    batch.entries[0].body = bytes(6 << 20)
    with LyingPeer(three, "XE", lambda _: [batch]) as liar:
        until(lambda: len(liar.requests) >= 2, "XB coming back after the oversized message", seconds=60)
        wait_for(three["XB"], publish(three["XA"], content("Unharmed", "UNHARMED 1")))
    assert held(three, log.log_id) is None


def test_two_signed_rosters_of_one_version_raise_the_alarm_and_both_are_kept_as_files(
    three: Federation,
) -> None:
    pki = three.pki
    held = pki.envelope
    twin = roster.parse(held)
    twin.threshold = 1
    forked = pki.sign(twin)
    following = roster.parse(held)
    following.version += 1
    following.previous_digest = roster.digest_of(forked)
    with LyingPeer(three, "XE", lambda _: []) as liar:
        liar.rosters = [forked, pki.sign(following)]
        liar.roster_version = following.version
        until(lambda: three["XB"].status().refused.get("ROSTER_FORK"), "the alarm", seconds=60)
    kept = sorted((three["XB"].home / "anchor" / "evidence").iterdir())
    assert {dsse.from_json(path.read_bytes()).payload for path in kept} == {held.payload, forked.payload}
    assert {path.name.split("-")[1] for path in kept} == {str(twin.version)}
    assert three["XB"].status().roster_version == twin.version
    wait_for(three["XB"], publish(three["XA"], content("The first stays", "THE FIRST STAYS 1")))
