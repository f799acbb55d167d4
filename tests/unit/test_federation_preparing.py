"""What a child prepares ahead is what would be prepared here, or it is not used (I3, I10, I12)."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dief.v1 import codes_pb2, event_pb2, federation_pb2, handling_pb2, log_pb2

from node.alerts.bodies import LEDGER_KINDS
from node.alerts.prepare import Prepared, prepare
from node.federation import preparing
from node.federation.preparing import PIECE, WORTH_IT, Ahead, Pending, Preparers, Ready
from node.ledger.events import StoredEntry
from node.ledger.header import parse_header
from node.ledger.state import audience_key
from tests.support.alerts import minimal_alert
from tests.support.ledger import WITHDRAWN, ForgedLog, named
from tests.support.waiting import until

STATES = ("XA", "XB")
LAW_ENFORCEMENT = int(handling_pb2.READER_ROLE_LAW_ENFORCEMENT)
COUNT = 3 * PIECE
OWN_CHILD = """
import marshal, os, signal, sys, time
from node.federation.preparing_child import prepared_rows, read_frame, write_frame
requests, answers = sys.stdin.buffer, sys.stdout.buffer
def answer(make):
    write_frame(answers, make(list(prepared_rows(marshal.loads(read_frame(requests))))))
write_frame(answers, b"")
"""
HONEST = "answer(marshal.dumps)\n"
MISBEHAVIOUR = {
    "is killed in the second piece": HONEST + "read_frame(requests); os.kill(os.getpid(), signal.SIGKILL)",
    "ends after the first piece": HONEST,
    "answers no marshalled value": "answer(lambda rows: b'nonsense')",
    "answers another type": "answer(lambda rows: marshal.dumps({}))",
    "answers too few rows": "answer(lambda rows: marshal.dumps(rows[1:]))",
    "answers rows of another form": "answer(lambda rows: marshal.dumps([row[1:] for row in rows]))",
    "answers rows of other types": "answer(lambda rows: marshal.dumps([tuple('abcdef') for row in rows]))",
    "answers an unknown refusal": (
        "answer(lambda rows: marshal.dumps([(None, 1, 'FINE', None, (0, 0, 0, 0, ''), None) for row in rows]))"
    ),
    "announces an endless answer": "answers.write(b'\\xff' * 8); answers.flush(); time.sleep(600)",
    "breaks off in an answer": "answers.write(bytes(7) + b'\\x09abc'); answers.flush()",
}


def body_of(number: int, states: tuple[str, ...] = STATES) -> tuple[bytes, str]:
    alert = minimal_alert("XA", number=number, states=list(states), title=f"Alert {number}")
    return event_pb2.AlertPublished(alert=alert).SerializeToString(), alert.name


@pytest.fixture(scope="module")
def forged() -> ForgedLog:
    """Valid alerts, and one of each kind of entry that is not."""
    log = ForgedLog(state="XA")
    for number in range(1, COUNT):
        body, name = body_of(number)
        match number:
            case 5:
                log.add(b"\xff\xff not an alert", subject=name, revision=1)
            case 6:
                log.add(b"from the future", kind=4242, subject=name)
            case 7:
                withdrawn = event_pb2.AlertWithdrawn(reason=codes_pb2.WITHDRAWAL_REASON_WITHDRAWN)
                log.add(withdrawn.SerializeToString(), kind=WITHDRAWN, subject=name)
            case 8:
                log.add(None, kind=int(log_pb2.EVENT_KIND_ERASURE), erases=[log_pb2.Erasure(seq=2)])
            case 9:
                log.add(body_of(number, ("XA", "XB", "XC"))[0], subject=name, revision=1)
            case _:
                log.add(body, subject=name, revision=1)
    return log


@pytest.fixture
def batch(forged: ForgedLog) -> federation_pb2.Batch:
    made = forged.batch()
    made.entries[3].body = made.entries[3].salt = b""
    return made


def stored(batch: federation_pb2.Batch, reader_role: int = 0) -> Iterator[StoredEntry]:
    """The entries as the ledger hands them on once they are verified."""
    for seq, entry in enumerate(batch.entries, batch.first_seq):
        facts = parse_header(entry.header, batch.log_id, seq)
        yield StoredEntry(
            seq, 1, batch.log_id, "XA", seq, facts.kind, facts.subject, facts.revision, facts.committed_ms,
            facts.expires_ms, reader_role, entry.body or None, 0,
        )  # fmt: skip


def ahead(preparers: Preparers, held: dict[bytes, tuple[bytes, int]] | None = None) -> Ahead:
    return Ahead(preparers, "XA", held or {})


async def begun(ahead: Ahead, batch: federation_pb2.Batch) -> Pending:
    """What is pending of a batch, once the child is there."""
    deadline = time.monotonic() + 60
    while (pending := ahead.begin(batch)) is None:
        assert time.monotonic() < deadline, "the child did not come up"
        await asyncio.sleep(0.02)
    return pending


async def everything_by_the_child(pending: Pending) -> None:
    """Wait until nothing of a batch waits for the child."""
    deadline = time.monotonic() + 60
    while not all(piece.done() for piece in pending._pieces):
        assert time.monotonic() < deadline, "the child did not answer"
        await asyncio.sleep(0.02)


def counted(
    ready: Ready, entries: list[StoredEntry], audience: handling_pb2.Audience
) -> tuple[list[Prepared], int]:
    """What `ready` says of entries, and how many of them it prepared only now."""
    now: list[int] = []

    def counting(entry: StoredEntry, audience: handling_pb2.Audience) -> Prepared:
        now.append(entry.seq)
        return prepare(entry, audience)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("node.federation.preparing.prepare", counting)
        return [ready(entry, audience) for entry in entries], len(now)


def alerts_of(batch: federation_pb2.Batch, reader_role: int = 0) -> list[StoredEntry]:
    return [entry for entry in stored(batch, reader_role) if entry.kind not in LEDGER_KINDS]


async def test_what_a_child_prepares_is_what_would_be_prepared_here(batch: federation_pb2.Batch) -> None:
    session = ahead(Preparers(1))
    pending = await begun(session, batch)
    await everything_by_the_child(pending)
    ready = await pending.take(batch)
    session.rest()
    assert ready is not None
    entries = alerts_of(batch)
    found, now = counted(ready, entries, named(*STATES))
    assert found == [prepare(entry, named(*STATES)) for entry in entries]
    assert {each.refusal for each in found} == {None, "INVALID_BODY", "NOT_UNDERSTOOD"}
    assert now == sum(entry.body is None for entry in entries) == 1


async def test_pieces_that_the_child_has_not_begun_are_prepared_by_whoever_stores(
    batch: federation_pb2.Batch,
) -> None:
    session = ahead(Preparers(1))
    pending = await begun(session, batch)
    ready = await pending.take(batch)
    session.rest()
    assert ready is not None
    entries = alerts_of(batch)
    found, now = counted(ready, entries, named(*STATES))
    assert found == [prepare(entry, named(*STATES)) for entry in entries]
    assert now >= PIECE


async def test_i3_what_was_prepared_of_one_batch_is_never_used_for_another(
    forged: ForgedLog, batch: federation_pb2.Batch
) -> None:
    """The same positions of the same log, other bodies: a frame that was not prepared gets nothing."""
    session = ahead(Preparers(1))
    pending = await begun(session, batch)
    await everything_by_the_child(pending)
    assert await pending.take(forged.batch()) is None
    ready = await pending.take(batch)
    session.rest()
    assert ready is not None
    other = ForgedLog(state="XA", genesis={"salt": b"o" * 32})
    for number in range(1000, 1000 + COUNT):
        body, name = body_of(number)
        other.add(body, subject=name, revision=1)
    entries = alerts_of(other.batch())
    found, now = counted(ready, entries, named(*STATES))
    assert found == [prepare(entry, named(*STATES)) for entry in entries]
    assert now == len(entries)


@pytest.mark.parametrize(
    ("audience", "reader_role"),
    [(named("XA", "XB", "XC"), 0), (named(*STATES), LAW_ENFORCEMENT)],
    ids=["another audience", "another reader role"],
)
async def test_i10_another_audience_or_role_than_assumed_is_prepared_here(
    batch: federation_pb2.Batch, audience: handling_pb2.Audience, reader_role: int
) -> None:
    session = ahead(Preparers(1))
    pending = await begun(session, batch)
    await everything_by_the_child(pending)
    ready = await pending.take(batch)
    session.rest()
    assert ready is not None
    entries = alerts_of(batch, reader_role)
    found, now = counted(ready, entries, audience)
    assert found == [prepare(entry, audience) for entry in entries]
    assert now == len(entries)


@pytest.mark.parametrize("how", MISBEHAVIOUR)
async def test_i12_a_child_that_fails_costs_time_and_no_result(batch: federation_pb2.Batch, how: str) -> None:
    command = (sys.executable, "-c", OWN_CHILD + MISBEHAVIOUR[how])
    preparers = Preparers(1, command)
    session = ahead(preparers)
    pending = await begun(session, batch)
    await everything_by_the_child(pending)
    ready = await pending.take(batch)
    assert ready is not None
    entries = alerts_of(batch)
    found, now = counted(ready, entries, named(*STATES))
    assert found == [prepare(entry, named(*STATES)) for entry in entries]
    first = PIECE - 2 if MISBEHAVIOUR[how].startswith(HONEST) else 0
    assert now == len(entries) - first + (1 if first else 0)
    assert session.begin(batch) is None
    session.rest()
    give_back(preparers)


async def test_i12_a_child_that_hangs_is_ended_and_its_piece_prepared_here(
    batch: federation_pb2.Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "PATIENCE_SECONDS", 0.2)
    command = (sys.executable, "-c", OWN_CHILD + "read_frame(requests); time.sleep(600)")
    preparers = Preparers(1, command)
    session = ahead(preparers)
    pending = await begun(session, batch)
    deadline = time.monotonic() + 60
    while not pending._pieces[0].running():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    ready = await pending.take(batch)
    assert ready is not None
    entries = alerts_of(batch)
    assert counted(ready, entries, named(*STATES))[1] == len(entries)
    give_back(preparers)


@pytest.mark.parametrize("command", [("/no/such/program",), (sys.executable, "-c", "pass")])
async def test_without_a_child_nothing_is_begun(
    batch: federation_pb2.Batch, command: tuple[str, ...]
) -> None:
    preparers = Preparers(1, command)
    session = ahead(preparers)
    assert session.begin(batch) is None
    until(lambda: session._preparer and session._preparer._over.is_set(), "the failure", seconds=60)
    assert session.begin(batch) is None
    session.rest()
    give_back(preparers)
    assert Preparers(0).take() is None


async def test_small_batches_and_logs_of_unknown_audience_are_left_to_the_writer(forged: ForgedLog) -> None:
    preparers = Preparers(1)
    session = ahead(preparers)
    await begun(session, forged.batch())
    assert session.begin(forged.batch(0, WORTH_IT - 1)) is None
    later = forged.batch(10, 10 + WORTH_IT)
    assert session.begin(later) is not None
    later.log_id = b"?" * 32
    assert session.begin(later) is None
    no_genesis = forged.batch()
    no_genesis.entries[0].body = b"\xff\xff"
    assert session.begin(no_genesis) is None
    session.rest()
    known = ahead(preparers, {forged.log_id: (audience_key(named(*STATES)), 0)})
    until(lambda: known._preparer or known.begin(later) or known._preparer, "a child of the next session")
    await begun(known, forged.batch(10, 10 + WORTH_IT))
    known.rest()


def give_back(preparers: Preparers) -> None:
    """Wait until the one slot is free again."""
    until(preparers.take, "the slot given back", seconds=60).close()  # type: ignore[union-attr]


def runs(pid: int) -> bool:
    """Whether a process is there, and not only waiting to be forgotten."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_ends_with_its_node_even_if_that_is_killed() -> None:
    script = (
        "from node.federation.preparing import Preparers; import time\n"
        "taken = Preparers(1).take()\n"
        "while not taken.usable: time.sleep(0.02)\n"
        "print(taken._child.pid, flush=True); time.sleep(600)"
    )
    node = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert node.stdout is not None
    child = int(node.stdout.readline())
    node.send_signal(signal.SIGKILL)
    node.wait()
    node.stdout.close()
    until(lambda: not runs(child), "the child ending", seconds=60)


def test_i7_a_child_is_told_no_setting_of_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told.json"
    monkeypatch.setenv("DIEF_DATABASE_URL", "postgresql://node:secret@database/node")
    script = f"import json, os; json.dump(dict(os.environ), open({str(told)!r} + '.part', 'w'))\n"
    script += f"os.rename({str(told)!r} + '.part', {str(told)!r})"
    taken = Preparers(1, (sys.executable, "-c", script)).take()
    assert taken is not None
    until(told.exists, "the child telling its environment", seconds=60)
    taken.close()
    found = json.loads(told.read_text())
    assert "secret" not in str(found)
    assert "PYTHONPATH" in found
