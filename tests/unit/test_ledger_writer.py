"""Own logs: append = sign = store, one log an audience and epoch, no second history (I2, I5)."""

import threading
from pathlib import Path

import pytest
from dief.v1 import handling_pb2, log_pb2

from node.ledger import logs, reading
from node.ledger.anchor import Anchor, Anchored
from node.ledger.checkpoint import parse_checkpoint
from node.ledger.errors import (
    EntryTooLargeError,
    LogClosedError,
    LogFaultError,
    SigningPausedError,
)
from node.ledger.header import parse_header
from node.ledger.ingest import verify_proven_entry
from node.ledger.logs import HeldLog
from node.ledger.state import EPOCH_CLOSED, ERASURE, GENESIS, MAX_BODY_SIZE, LogState
from node.ledger.writer import MAX_ERASES_AN_ENTRY
from tests.support.databases import Databases
from tests.support.ledger import (
    HOUR_MS,
    START_MS,
    FollowerStore,
    Origin,
    checked_root,
    entries,
    event,
    named,
)

OTHERS = named("XA", "XE")


@pytest.fixture
def origin(databases: Databases, tmp_path: Path) -> Origin:
    return Origin(databases.open(), tmp_path / "anchor" / "anchor.log")


def kinds(origin: Origin, log: HeldLog) -> list[int]:
    rows = entries(origin.store, log)
    return [parse_header(header, log.log_id, seq).kind for seq, (header, _, _) in enumerate(rows)]


def lose(origin: Origin, log: HeldLog) -> None:
    with origin.store.write() as conn:
        held = logs.load_locked(conn, log.pk)
        held.state = LogState.LOST
        held.save(conn)


def test_an_append_is_signed_stored_and_anchored_at_once(origin: Origin) -> None:
    applied = origin.append(event(b"one"), event(b"two"))
    log = origin.log
    assert [(entry.seq, entry.kind, entry.body) for entry in applied.stored] == [
        (1, 2, b"one"),
        (2, 2, b"two"),
    ]
    assert log.size == log.checkpoint_size == 3
    assert checked_root(origin.store, log) == log.checkpoint_root
    note = parse_checkpoint(log.checkpoint)
    assert (note.size, note.root, note.time_ms) == (3, log.checkpoint_root, START_MS)
    assert origin.anchor.get(log.log_id) == Anchored(3, log.checkpoint_root, START_MS)
    assert origin.writer.may_leave(log.log_id, 3)
    assert not origin.writer.may_leave(log.log_id, 4)
    assert origin.told[-1] == {log.log_id}


def test_i2_one_audience_one_log_whatever_the_order_of_its_states(origin: Origin) -> None:
    origin.append(event(), audience=named("XA", "XB"))
    origin.append(event(), audience=named("XB", "XA", "XB"))
    origin.append(event(), audience=OTHERS)
    narrowed = handling_pb2.Audience(
        kind=handling_pb2.AUDIENCE_KIND_NAMED_STATES,
        states=["XA", "XB"],
        reader_role=handling_pb2.READER_ROLE_LAW_ENFORCEMENT,
    )
    origin.append(event(), audience=narrowed)
    assert [(log.size, log.reader_role) for log in origin.logs()] == [
        (3, 0),
        (2, 0),
        (2, handling_pb2.READER_ROLE_LAW_ENFORCEMENT),
    ]


def test_i2_a_member_more_closes_the_epoch_and_a_member_less_does_not(origin: Origin) -> None:
    origin.append(event())
    origin.members = ("XA",)
    origin.append(event())
    assert len(origin.logs()) == 1
    origin.members = ("XA", "XB", "XE")
    origin.append(event(b"new"))
    first, second = origin.logs()
    assert (first.state, second.state) == (LogState.CLOSED, LogState.LIVE)
    assert (first.members, second.members) == (("XA", "XB"), ("XA", "XB", "XE"))
    assert kinds(origin, first)[-1] == EPOCH_CLOSED
    body = entries(origin.store, second)[0][2]
    assert body is not None
    genesis = log_pb2.Genesis.FromString(body)
    assert (genesis.epoch, genesis.previous.log_id, genesis.previous.lost_state) == (2, first.log_id, False)
    assert genesis.previous.checkpoint == first.checkpoint
    origin.append(event())
    assert [log.size for log in origin.logs()] == [4, 3]


def test_a_closed_epoch_still_erases(origin: Origin) -> None:
    origin.append(event(b"old"))
    first = origin.log
    origin.members = ("XA", "XB", "XE")
    origin.append(event(b"new"))
    with origin.store.write() as conn:
        with pytest.raises(LogClosedError):
            origin.writer.append_to(conn, first.log_id, [event()])
        with pytest.raises(LogClosedError):
            origin.writer.append_to(conn, b"u" * 32, [event(erases=((b"", 1),))])
        applied = origin.writer.erase(conn, first.log_id, [1])
    assert [erased.seq for erased in applied.erased] == [1]
    assert entries(origin.store, origin.logs()[0])[1][1:] == (None, None)


def test_i6_a_revision_erases_what_it_names_and_keeps_the_header(origin: Origin) -> None:
    origin.append(event(b"first"))
    before = entries(origin.store, origin.log)
    applied = origin.append(event(b"second", erases=((b"", 1),)))
    after = entries(origin.store, origin.log)
    assert after[1] == (before[1][0], None, None)
    assert after[2][2] == b"second"
    assert [(erased.seq, erased.origin) for erased in applied.erased] == [(1, "XA")]
    assert checked_root(origin.store, origin.log) == origin.log.checkpoint_root


def test_moving_to_another_audience_publishes_there_and_erases_here_in_one_transaction(
    origin: Origin,
) -> None:
    origin.append(event(b"moved"))
    here = origin.log
    applied = origin.append(event(b"moved", erases=((here.log_id, 1),)), audience=OTHERS)
    assert [entry.kind for entry in applied.stored] == [2, ERASURE]
    assert [(erased.log_id, erased.seq) for erased in applied.erased] == [(here.log_id, 1)]
    assert kinds(origin, origin.logs()[0]) == [GENESIS, 2, ERASURE]
    assert kinds(origin, origin.logs()[1]) == [GENESIS, 2]


def test_many_erasures_are_spread_over_entries(origin: Origin) -> None:
    origin.append(*[event(b"%d" % n) for n in range(MAX_ERASES_AN_ENTRY + 5)])
    with origin.store.write() as conn:
        applied = origin.writer.erase(conn, origin.log.log_id, range(1, MAX_ERASES_AN_ENTRY + 6))
    assert len(applied.stored) == 2
    assert len(applied.erased) == MAX_ERASES_AN_ENTRY + 5


def test_a_lost_epoch_is_erased_from_its_successor(origin: Origin) -> None:
    origin.append(event(b"old"))
    lost = origin.log
    lose(origin, lost)
    applied = origin.append(event(b"new", erases=((lost.log_id, 1),)))
    assert [(erased.log_id, erased.seq) for erased in applied.erased] == [(lost.log_id, 1)]
    first, second = origin.logs()
    assert (first.size, first.state, second.epoch) == (2, LogState.LOST, 2)
    body = entries(origin.store, second)[0][2]
    assert body is not None
    assert log_pb2.Genesis.FromString(body).previous.lost_state
    with origin.store.write() as conn, pytest.raises(LogClosedError):
        origin.writer.erase(conn, lost.log_id, [1])


@pytest.mark.parametrize(
    "erases", [((b"", 0),), ((b"", 99),), ((b"short", 1),), tuple((b"", 1) for _ in range(4097))]
)
def test_an_erasure_that_followers_would_refuse_is_not_appended(
    sqlite_databases: Databases, tmp_path: Path, erases: tuple[tuple[bytes, int], ...]
) -> None:
    origin = Origin(sqlite_databases.open(), tmp_path / "anchor.log")
    origin.append(event())
    before = origin.log
    with pytest.raises((LogFaultError, LogClosedError)):
        origin.append(event(erases=erases))
    assert origin.log == before
    assert origin.anchor.get(before.log_id) == Anchored(2, before.checkpoint_root, START_MS)


def test_a_body_over_the_limit_appends_nothing(origin: Origin) -> None:
    origin.append(event(b"x" * MAX_BODY_SIZE))
    with pytest.raises(EntryTooLargeError):
        origin.append(event(), event(b"x" * (MAX_BODY_SIZE + 1)))
    assert origin.log.size == 2


def test_i5_a_transaction_that_fails_signs_nothing_that_leaves(origin: Origin) -> None:
    origin.append(event())
    before = origin.log

    def failing() -> None:
        with origin.store.write() as conn:
            origin.writer.append(conn, named("XA", "XB"), [event()])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert origin.log == before
    assert Anchor(origin.anchor_path).get(before.log_id) == Anchored(2, before.checkpoint_root, START_MS)
    assert len(origin.told) == 1


def test_i4_time_never_goes_back_though_the_clock_does(origin: Origin) -> None:
    origin.append(event())
    origin.clock.now -= HOUR_MS
    applied = origin.append(event())
    assert origin.log.checkpoint_ms == START_MS
    assert applied.stored[0].committed_ms == START_MS
    assert origin.log.size == 3


def test_a_silent_log_is_signed_again(origin: Origin) -> None:
    origin.append(event())
    origin.append(event(), audience=OTHERS)
    origin.append(event(), audience=named("XA"))
    lose(origin, origin.log)
    origin.clock.now += HOUR_MS
    with origin.store.write() as conn:
        assert origin.writer.resign(conn, START_MS) == 0
        assert origin.writer.resign(conn, START_MS + 1) == 2
    assert [log.checkpoint_ms - START_MS for log in origin.logs()] == [HOUR_MS, HOUR_MS, 0]
    follower = FollowerStore(origin.store, "XB", origin)
    assert parse_checkpoint(origin.logs()[0].checkpoint).time_ms == START_MS + HOUR_MS
    assert follower.logs() == origin.logs()


def test_i4_after_a_clock_that_ran_ahead_is_set_right_signing_goes_on_and_time_never_back(
    origin: Origin,
) -> None:
    """A year ahead for a moment: without more, no checkpoint would be signed again for a year."""
    year = 365 * 24 * HOUR_MS
    elapsed = [0.0]
    origin.append(event())
    origin.clock.now += year
    origin.append(event())
    origin.clock.now -= year
    origin.reopen(monotonic=lambda: elapsed[0])
    follower = FollowerStore(origin.store, "XB", origin)

    def resigned() -> int:
        with origin.store.write() as conn:
            return origin.writer.resign(conn, origin.clock() - HOUR_MS)

    times = [origin.log.checkpoint_ms]
    for _ in range(3):
        assert resigned() == 1
        assert resigned() == 0
        elapsed[0] += HOUR_MS / 1000 + 1
        origin.clock.now += HOUR_MS
        times.append(origin.log.checkpoint_ms)
        assert parse_checkpoint(follower.logs()[0].checkpoint).time_ms == times[-1]
    assert times == [START_MS + year + n for n in range(4)]
    origin.append(event())
    assert origin.log.checkpoint_ms >= times[-1]
    assert resigned() == 0


def test_nothing_is_signed_while_paused(origin: Origin) -> None:
    origin.append(event())
    origin.writer.pause("Not compared yet.")
    with pytest.raises(SigningPausedError) as paused:
        origin.append(event())
    assert paused.value.diagnosis == origin.writer.paused == "Not compared yet."
    with origin.store.write() as conn:
        assert origin.writer.resign(conn, START_MS + 1) == 0
    origin.writer.resume()
    origin.append(event())
    assert origin.log.size == 3


def test_a_database_behind_the_anchor_is_never_signed_on(databases: Databases, tmp_path: Path) -> None:
    """A restored copy that nobody compared: the writer itself refuses, whatever has been resumed."""
    old, new = databases.open(), databases.open()
    twin = Origin(old, tmp_path / "old.log")
    origin = Origin(new, tmp_path / "anchor.log", key=twin.key)
    origin.append(event())
    origin.anchor.put({origin.log.log_id: Anchored(7, b"r" * 32, START_MS)})
    with pytest.raises(SigningPausedError):
        origin.append(event())
    with origin.store.write() as conn:
        assert origin.writer.resign(conn, START_MS + 1) == 0
        origin.writer.anchor_held(conn)
    assert origin.log.size == 2
    assert origin.anchor.get(origin.log.log_id) == Anchored(7, b"r" * 32, START_MS)


def test_another_root_in_the_anchor_is_never_signed_on(origin: Origin) -> None:
    origin.append(event())
    origin.anchor.put({origin.log.log_id: Anchored(2, b"r" * 32, START_MS)})
    with pytest.raises(SigningPausedError):
        origin.append(event())


def test_an_anchor_that_can_not_be_written_stops_signing_and_lets_nothing_leave(
    sqlite_databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = Origin(sqlite_databases.open(), tmp_path / "anchor.log")
    origin.append(event())
    origin.anchor_path.unlink()
    origin.anchor_path.mkdir()
    origin.append(event())
    assert origin.writer.paused
    assert not origin.writer.may_leave(origin.log.log_id, origin.log.checkpoint_size)
    assert len(origin.told) == 1
    with pytest.raises(SigningPausedError):
        origin.append(event())


def test_an_anchor_line_lost_in_a_crash_is_written_again(origin: Origin) -> None:
    origin.append(event())
    origin.anchor_path.unlink()
    origin.reopen()
    assert not origin.writer.may_leave(origin.log.log_id, 2)
    with origin.store.write() as conn:
        origin.writer.anchor_held(conn)
    assert origin.writer.may_leave(origin.log.log_id, 2)
    assert origin.told[-1] == {origin.log.log_id}
    with origin.store.write() as conn:
        origin.writer.anchor_held(conn)
    assert len(origin.told) == 2


def test_the_database_knows_what_the_anchor_held_when_it_signed(origin: Origin) -> None:
    origin.append(event())
    assert origin.log.anchored_size == 0
    origin.append(event())
    origin.append(event())
    assert (origin.log.checkpoint_size, origin.log.anchored_size) == (4, 3)


def test_two_replicas_append_in_commit_order_without_holes_or_forks(
    databases: Databases, tmp_path: Path
) -> None:
    """kamu-data/kamu-cli#1398: numbers are taken under the lock, not at insert."""
    url = databases.url()
    first = Origin(databases.open(url), tmp_path / "anchor.log")
    first.append(event())
    second = Origin(databases.open(url), tmp_path / "anchor.log", key=first.key)
    second.writer = first.writer
    wrong: list[BaseException] = []

    def append(origin: Origin) -> None:
        try:
            for number in range(15):
                origin.append(event(b"%d" % number))
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            wrong.append(error)

    threads = [threading.Thread(target=append, args=(origin,)) for origin in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    (log,) = first.logs()
    assert log.size == 32
    assert checked_root(first.store, log) == log.checkpoint_root


def test_i3_every_entry_proves_itself(origin: Origin) -> None:
    origin.append(*[event(b"%d" % n) for n in range(20)])
    origin.append(event(b"last", erases=((b"", 3),)))
    follower = FollowerStore(origin.store, "XB", origin)
    with origin.store.read() as conn:
        for seq in range(origin.log.size):
            proven = reading.prove_entry(conn, origin.log, seq)
            assert proven is not None
            checkpoint, facts = verify_proven_entry(follower.source, proven)
            assert (checkpoint.size, facts.seq) == (22, seq)
            assert bool(proven.entry.body) == (seq != 3)
            proven.entry.header += b"\x80\x01\x01"
            with pytest.raises(Exception, match=r"proof|parse|header"):
                verify_proven_entry(follower.source, proven)
        assert reading.prove_entry(conn, origin.log, 22) is None
