"""One connection to a peer that sends whatever it likes: it costs itself, and nothing else (I4, I10, I11, I12)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from dief.v1 import event_pb2, federation_pb2, operator_pb2
from sqlalchemy import exc

from node import server
from node.federation import intake, session
from node.federation.errors import FaultyPeerError
from node.federation.follower import Follower
from node.federation.peers import Peers
from node.federation.preparing import Preparers
from node.federation.progress import LogFaults, Progress
from node.federation.session import MOST_SKIPPED_LOGS, Session, Surroundings
from node.federation.trust import LiveTrust
from node.identity import roster as roster_rules
from node.identity import trust_store
from node.ledger.ingest import Source
from node.ops.clock import now_ms
from node.ops.counters import refused
from node.store.engine import Store
from node.store.migrations import migrate
from tests.support.alerts import minimal_alert
from tests.support.ledger import FEDERATION, FollowerStore, ForgedLog
from tests.support.pki import DevFederation

SECRET = "SERIAL-4711-OF-A-SECRET-ALERT"
Frame = federation_pb2.FollowResponse


class Stream:
    """Frames one after the other, then silence."""

    def __init__(self, frames: Sequence[Frame], *, ends: bool) -> None:
        self._frames = list(frames)
        self._ends = ends

    async def read(self) -> object:
        await asyncio.sleep(0)
        if self._frames:
            return self._frames.pop(0)
        if self._ends:
            return grpc.aio.EOF
        await asyncio.Event().wait()
        return None

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    async def details(self) -> str:
        return ""


class ScriptedPeer:
    """The peer's side of a stub."""

    def __init__(self, *frames: Frame, refusals: int = 0, ends: bool = True) -> None:
        self.frames = frames
        self.refusals = refusals
        self.ends = ends
        self.receipts: list[federation_pb2.Receipt] = []

    def Follow(self, _request: federation_pb2.FollowRequest) -> Stream:  # noqa: N802 - as in the proto
        return Stream(self.frames, ends=self.ends)

    async def SendReceipts(  # noqa: N802 - as in the proto
        self, request: federation_pb2.SendReceiptsRequest, timeout: float
    ) -> object:
        if self.refusals:
            self.refusals -= 1
            empty = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, empty, empty, SECRET)
        self.receipts.extend(request.receipts)
        return federation_pb2.SendReceiptsResponse(recorded=len(request.receipts))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{tmp_path}/node.db")
    migrate(store)
    yield store
    store.close()


@pytest.fixture
def around(store: Store) -> Surroundings:
    return Surroundings(
        store=store,
        trust=LiveTrust(store, "XB"),
        preparers=Preparers(0),
        on_roster=lambda _peer, _version: None,
        on_current=lambda _entries: None,
        backup_horizon_days=None,
        progress=Progress(),
        faults=LogFaults(),
        receipts_due=asyncio.Event(),
        log=structlog.get_logger(),
    )


def session_of(peer: ScriptedPeer, around: Surroundings, log: ForgedLog | None = None) -> Session:
    verifiers = () if log is None else log.verifiers
    source = Source(FEDERATION, "XB", "XA", verifiers)
    return Session(peer, source, around, lambda: None)  # type: ignore[arg-type]


@asynccontextmanager
async def running(session: Session) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(session.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def eventually(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline, f"{what} did not happen"
        await asyncio.sleep(0.01)


def counted(reason: str) -> int:
    return refused.snapshot().get(reason, 0)


def hello(**fields: Any) -> Frame:
    return Frame(hello=federation_pb2.Hello(**fields))


def log_error(number: int, reason: str) -> Frame:
    return Frame(
        log_error=federation_pb2.LogError(log_id=number.to_bytes(32, "big"), reason=reason, message=SECRET)
    )


def alerts_log(salt: bytes, *bodies: bytes) -> ForgedLog:
    """A log of XA with one valid alert after some bodies that are none."""
    log = ForgedLog(genesis={"salt": salt.ljust(32, b"-")})
    for body in bodies:
        log.add(body, subject="alerts/XA/0191f3c0-0000-7000-8000-000000000001", revision=1)
    alert = minimal_alert("XA", number=salt[0], states=["XA", "XB"], title="Valid")
    log.add(event_pb2.AlertPublished(alert=alert).SerializeToString(), subject=alert.name, revision=1)
    return log


async def test_i11_the_text_of_a_peer_never_becomes_a_label(around: Surroundings) -> None:
    before = refused.snapshot()
    frames = [log_error(1, SECRET), log_error(2, "LOG_STOPPED"), log_error(3, "ERROR_REASON_LOG_STOPPED")]
    with structlog.testing.capture_logs() as logged:
        await session_of(ScriptedPeer(hello(), *frames), around).run()
    new = {label for label, count in refused.snapshot().items() if count != before.get(label, 0)}
    assert new == {"PEER_OTHER", "PEER_LOG_STOPPED"}
    assert SECRET not in str(logged)


async def test_i11_a_peer_with_endless_faulty_logs_is_left_alone(around: Surroundings) -> None:
    frames = [log_error(number, "LOG_STOPPED") for number in range(MOST_SKIPPED_LOGS + 1)]
    with pytest.raises(FaultyPeerError):
        await session_of(ScriptedPeer(hello(), *frames), around).run()


async def test_i11_only_the_first_greeting_and_the_first_caught_up_count(around: Surroundings) -> None:
    told = []
    peer = ScriptedPeer(
        *(hello(software=f"version {n}") for n in range(20)),
        *[Frame(caught_up=federation_pb2.CaughtUp())] * 20,
    )
    source = Source(FEDERATION, "XB", "XA", ())
    session = Session(peer, source, around, lambda: told.append(1))  # type: ignore[arg-type]
    await session.run()
    assert told == [1]
    assert around.progress.software == "version 0"


async def test_i6_receipts_that_a_peer_refuses_stay_owed_and_the_stream_goes_on(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RECEIPTS_RETRY_SECONDS", 0.05)
    log = alerts_log(b"1", b"\xff\xff no alert")
    peer = ScriptedPeer(hello(), Frame(batch=log.batch()), refusals=3, ends=False)
    before = counted("RECEIPTS_NOT_TAKEN")
    with structlog.testing.capture_logs() as logged:
        async with running(session_of(peer, around, log)) as task:
            await eventually(lambda: peer.receipts, "the receipt after three refusals")
            assert not task.done()
    assert [receipt.seq for receipt in peer.receipts] == [1]
    assert counted("RECEIPTS_NOT_TAKEN") == before + 3
    assert SECRET not in str(logged)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        RecursionError(SECRET),
        exc.IntegrityError(SECRET, {}, Exception(SECRET)),
        exc.DataError(SECRET, {}, Exception(SECRET)),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_i12_a_log_that_nobody_can_digest_stops_itself_and_no_other(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    bad, good = alerts_log(b"1"), alerts_log(b"2")
    good.key = bad.key
    take = intake.take_batch

    def take_batch(conn: Any, source: Source, batch: federation_pb2.Batch, *more: Any) -> Any:
        taken = take(conn, source, batch, *more)
        if batch.log_id == bad.log_id:
            raise error
        return taken

    monkeypatch.setattr(intake, "take_batch", take_batch)
    before = counted("LOG_FAILED")
    with structlog.testing.capture_logs() as logged:
        frames = [Frame(batch=bad.batch()), Frame(batch=bad.batch()), Frame(batch=good.batch())]
        await session_of(ScriptedPeer(hello(), *frames), around, bad).run()
    held = FollowerStore(around.store, "XB", good).logs()
    assert [log.log_id for log in held] == [good.log_id]
    assert counted("LOG_FAILED") == before + 1
    assert len(around.faults) == 1
    assert SECRET not in str(logged)
    assert "test_federation_session" not in str(logged)


async def test_i5_a_store_that_is_away_ends_the_session_and_blames_no_log(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = alerts_log(b"1")

    def take_batch(*_: Any) -> Any:
        raise exc.OperationalError("disk full", {}, Exception())

    monkeypatch.setattr(intake, "take_batch", take_batch)
    with pytest.raises(exc.OperationalError):
        await session_of(ScriptedPeer(hello(), Frame(batch=log.batch())), around, log).run()
    assert not len(around.faults)


# -- the follower around it ----------------------------------------------------------------------------------------


@pytest.fixture
def trust(store: Store) -> LiveTrust:
    """XB's trust in a federation with XA and XE, both admitted."""
    federation = DevFederation(["XA", "XB", "XE"])

    def endpoints(roster: Any) -> None:
        for participant in roster.participants:
            participant.endpoints[:] = ["127.0.0.1:1"]

    federation.next(endpoints)
    first = federation.envelopes[0]
    with store.write() as conn:
        trust_store.trust_first(conn, first, roster_rules.digest_of(first), now_ms())
        trust_store.update(conn, federation.envelopes[1], now_ms())
        for state in ("XA", "XE"):
            trust_store.admit(conn, state, None, "test")
    return LiveTrust(store, "XB")


def follower_of(
    store: Store, trust: LiveTrust, credentials: Callable[[str], Any], peer: str = "XA"
) -> Follower:
    return Follower(
        peer=peer,
        own_state="XB",
        federation=FEDERATION,
        store=store,
        trust=trust,
        credentials=credentials,
        on_roster=lambda _peer, _version: None,
        on_current=lambda _entries: None,
        backup_horizon_days=None,
        preparers=Preparers(0),
    )


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        KeyError(SECRET),
        exc.ProgrammingError(SECRET, {}, Exception(SECRET)),
        FaultyPeerError("Many."),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_i12_whatever_happens_a_follower_tells_of_it_and_tries_again(
    store: Store, trust: LiveTrust, error: Exception
) -> None:
    tries = []

    def credentials(peer: str) -> Any:
        tries.append(peer)
        raise error

    label = "PEER_FAULTY" if isinstance(error, FaultyPeerError) else "FOLLOWER_FAILED"
    before = counted(label)
    with structlog.testing.capture_logs() as logged:
        follower = follower_of(store, trust, credentials)
        task = asyncio.create_task(follower.run())
        await eventually(lambda: len(tries) >= 2, "a second try")
        assert not task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert counted(label) > before
    assert SECRET not in str(logged) + follower.progress.last_error
    failed = [line for line in logged if line["event"] == "follower_failed"]
    assert failed
    assert all(line.get("error", "") == type(error).__name__ for line in failed if "reason" not in line)
    assert follower.progress.state == operator_pb2.PEER_STATE_CONNECTING


async def test_i12_a_follower_that_can_not_be_made_or_ends_stops_no_other_and_is_made_again(
    store: Store, trust: LiveTrust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.federation.peers.AGAIN_SECONDS", 0.05)
    monkeypatch.setattr("node.federation.peers.LOOK_SECONDS", 0.05)
    made: list[str] = []

    def credentials(_peer: str) -> Any:
        raise OSError(SECRET)

    def make(peer: str) -> Follower:
        made.append(peer)
        if peer == "XA" and made.count("XA") < 3:
            raise ValueError(SECRET)
        return follower_of(store, trust, credentials, peer)

    peers = Peers(own_state="XB", trust=trust, make_follower=make)
    with structlog.testing.capture_logs() as logged:
        task = asyncio.create_task(peers.run())
        await eventually(lambda: peers.follower("XA") and peers.follower("XE"), "both followers")
        assert made.count("XE") == 1
        before = counted("FOLLOWER_ENDED")
        peers._running["XE"][1].cancel()
        await eventually(lambda: made.count("XE") == 2, "the ended follower made again")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert counted("FOLLOWER_ENDED") == before + 1
    assert SECRET not in str(logged)


async def test_memory_is_released_while_somebody_reads(store: Store) -> None:
    def count(conn: Any) -> int:
        return int(conn.exec_driver_sql("SELECT count(*) FROM log").scalar())

    with store.read() as reading:
        assert count(reading) == 0
        await store.run_release_memory()
        assert count(reading) == 0
    assert await store.run_read(count) == 0
    assert await store.run_write(count) == 0


async def test_i12_a_job_of_the_node_that_fails_is_counted_told_without_its_text_and_begun_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "AGAIN_S", 0.01)
    tries: list[int] = []

    async def job() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise exc.IntegrityError(SECRET, {}, Exception(SECRET))

    before = counted("JOB_FAILED")
    with structlog.testing.capture_logs() as logged:
        await server._kept(job)
    assert len(tries) == 3
    assert counted("JOB_FAILED") == before + 2
    assert [line["error"] for line in logged if line["event"] == "job_failed"] == ["IntegrityError"] * 2
    assert SECRET not in str(logged)
