"""What a hostile origin can make a follower do by erasing is bounded (I6, I11)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dief.v1 import log_pb2
from sqlalchemy import event

from node.ledger.errors import LogFaultError
from node.ledger.header import MAX_ERASES
from node.ledger.ingest import MAX_ERASES_A_FRAME
from node.ledger.state import ERASURE
from node.store.engine import Store
from tests.support.databases import Databases
from tests.support.ledger import FollowerStore, ForgedLog, entries, named

MANY = 4000
OTHER = bytes(31) + b"o"


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """What the writer executes."""
    seen: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        seen.append(statement)

    event.listen(store.write_engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(store.write_engine, "before_cursor_execute", note)


def erasing(log: ForgedLog, positions: range | list[int], target: bytes = b"") -> None:
    """Append an entry that erases positions."""
    erases = [log_pb2.Erasure(log_id=target, seq=position) for position in positions]
    log.add(None, kind=ERASURE, erases=erases)


def test_i11_erasing_thousands_costs_the_writer_few_statements(databases: Databases) -> None:
    forged = ForgedLog()
    follower = FollowerStore(databases.open(), "XB", forged)
    forged.fill(MANY)
    follower.take(forged.batch())
    erasing(forged, range(1, MANY))
    erasing(forged, range(1, MANY // 2), target=OTHER)
    erasing(forged, [7] * 1000)
    with statements(follower.store) as seen:
        applied = follower.take(forged.batch(MANY + 1))
    assert [erased.seq for erased in applied.erased] == list(range(1, MANY))
    assert len(seen) < MANY / 50
    held = entries(follower.store, follower.logs()[0])
    assert all(salt is None and body is None for _, salt, body in held[1:MANY])
    assert held[MANY][2] is not None


def test_i11_a_frame_that_erases_more_than_an_honest_one_can_name_is_refused(databases: Databases) -> None:
    forged = ForgedLog()
    follower = FollowerStore(databases.open(), "XB", forged)
    forged.fill(2)
    follower.take(forged.batch())
    for _ in range(MAX_ERASES_A_FRAME // MAX_ERASES + 1):
        erasing(forged, [1] * MAX_ERASES)
    follower.refuses(forged.batch(3), LogFaultError)
    follower.refuses(forged.prelude(*range(3, len(forged.entries))), LogFaultError)
    assert follower.take(forged.batch(3, 10)).erased


def test_i6_an_erasure_that_two_entries_order_happens_once_and_both_are_kept(databases: Databases) -> None:
    forged = ForgedLog()
    follower = FollowerStore(databases.open(), "XB", forged)
    forged.fill(3)
    erasing(forged, [1, 1, 2])
    erasing(forged, [2, 3])
    follower.take(forged.batch(0, 4))
    applied = follower.take(forged.batch(4))
    assert [(erased.seq, erased.by_entry_id & 0xFF) for erased in applied.erased] == [(1, 4), (2, 4), (3, 5)]
    erasing(forged, [1])
    assert follower.take(forged.batch(6)).erased == ()


def test_i6_a_missing_body_that_many_entries_of_another_log_erase_is_missing_no_more(
    databases: Databases,
) -> None:
    first = ForgedLog()
    follower = FollowerStore(databases.open(), "XB", first)
    first.fill(3)
    batch = first.batch()
    batch.entries[2].body = batch.entries[2].salt = b""
    follower.take(batch)
    assert follower.logs()[0].state.value == "INCOMPLETE"
    second = ForgedLog(
        key=first.key, genesis={"audience": named("XA", "XB", "XE"), "members": ["XA", "XB", "XE"]}
    )
    erasing(second, [2], target=first.log_id)
    erasing(second, [2], target=first.log_id)
    assert [erased.seq for erased in follower.take(second.batch()).erased] == [2]
    assert [log.state.value for log in follower.logs()] == ["LIVE", "LIVE"]


@pytest.mark.parametrize("same", [True, False], ids=["of this origin", "of another origin"])
def test_i6_only_the_same_origin_erases(databases: Databases, same: bool) -> None:
    store = databases.open()
    first = ForgedLog()
    follower = FollowerStore(store, "XB", first)
    first.fill(2)
    follower.take(first.batch())
    state = "XA" if same else "XE"
    second = ForgedLog(
        state=state,
        key=first.key,
        genesis={"audience": named(state, "XB"), "members": sorted({state, "XB"}), "epoch": 2},
    )
    erasing(second, [1], target=first.log_id)
    applied = FollowerStore(store, "XB", second).take(second.batch())
    assert bool(applied.erased) == same
    assert (entries(store, follower.logs()[0])[1][2] is None) == same
