"""What measurements rest on: clients that believe nothing, percentiles, and promises that say whether they are kept."""

from __future__ import annotations

import pytest
from dief.v1 import federation_pb2

from node.bench import watch
from node.bench.clients import VerifyingClient
from node.bench.numbers import percentile
from node.bench.pair import BenchError
from node.bench.reconnect import LOGS, audiences
from node.bench.run import goals
from node.bench.samples import party_of, serial_of
from node.ledger.errors import CheckpointError, LedgerError, ProofError
from tests.support.ledger import ForgedLog, flipped


@pytest.fixture
def log() -> ForgedLog:
    return ForgedLog().fill(6)


def client_of(log: ForgedLog) -> VerifyingClient:
    return VerifyingClient(log.verifiers[0], log.state)


def test_a_verifying_client_takes_what_proves_itself_and_tells_where_it_stands(log: ForgedLog) -> None:
    client = client_of(log)
    assert [facts.seq for facts in client.take(log.batch(0, 3))] == [0, 1, 2]
    assert [facts.seq for facts in client.take(log.batch(3))] == [3, 4, 5, 6]
    (cursor,) = client.cursors()
    newest = log.opened(log.sign())
    assert (cursor.log_id, cursor.size, cursor.checkpoint_size) == (log.log_id, 7, newest.size)
    (older,) = client.cursors(behind_ms=5)
    assert older.checkpoint_time_ms == cursor.checkpoint_time_ms - 5


def test_i3_a_verifying_client_refuses_what_does_not_prove_itself(log: ForgedLog) -> None:
    def body(batch: federation_pb2.Batch) -> None:
        batch.entries[2].body = flipped(batch.entries[2].body)

    def header(batch: federation_pb2.Batch) -> None:
        batch.entries[2].header = flipped(batch.entries[2].header, 8 * (len(batch.entries[2].header) - 1))

    def missing(batch: federation_pb2.Batch) -> None:
        del batch.entries[-1]

    def checkpoint(batch: federation_pb2.Batch) -> None:
        batch.checkpoint = ForgedLog().fill(6).sign()

    for spoil, error in (
        (body, BenchError),
        (header, (LedgerError, BenchError)),
        (missing, ProofError),
        (checkpoint, CheckpointError),
    ):
        batch = log.batch(0)
        spoil(batch)
        with pytest.raises(error):
            client_of(log).take(batch)
    with pytest.raises(BenchError):
        client_of(log).take(log.batch(2))


def test_percentiles_are_by_nearest_rank() -> None:
    assert [percentile([4, 1, 3, 2], percent) for percent in (1, 50, 75, 99, 100)] == [1, 2, 3, 4, 4]
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_promise_says_whether_it_is_kept() -> None:
    again = {"p50_ms": 50.0, "bytes": 20_001, "resigned_bytes": 1}
    watched = {"records_per_s": 19_999.0, "p99_ms": 50.0}
    loaded = {"ratio_to_limit": 0.6, "rows_per_s": 9_999.0, "adapter_peak_mb": None, "later_seconds": 2.1}
    found = goals({"reconnect": again, "trace": {"p50_ms": 3.1}, "watch": watched, "load": loaded})
    assert {(goal.path, goal.figure): goal.ok for goal in found} == {
        ("trace", "p50_ms"): False,
        ("reconnect", "p50_ms"): True,
        ("reconnect", "bytes"): False,
        ("reconnect", "resigned_bytes"): True,
        ("watch", "records_per_s"): False,
        ("watch", "p99_ms"): True,
        ("load", "ratio_to_limit"): True,
        ("load", "rows_per_s"): False,
        ("load", "later_seconds"): False,
    }


def test_the_record_that_the_watch_is_loaded_with_bears_a_serial_of_a_sample() -> None:
    record = watch.record(10)
    assert [term.value for term in record.watch.terms] == [serial_of(3, 1), party_of(10, 1)]
    assert [len(watch.record(number).watch.terms) for number in (0, 9, 11)] == [2, 1, 1]


def test_a_hundred_logs_have_a_hundred_audiences_of_the_peer() -> None:
    made = audiences("XB")
    assert len({tuple(each.states) for each in made}) == LOGS
    assert all("XB" in each.states and list(each.states) == sorted(each.states) for each in made)
