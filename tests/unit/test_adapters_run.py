"""Runs of adapters against a real RegistryService socket: every row is accounted for, nothing lost or doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from registry_adapters import Mapping, Report, Runner, State, open_source
from registry_adapters.errors import NodeError, SourceError, StateError
from tests.support.registries import arm, change, drop, licensing, seizures
from tests.support.registry_server import RegistryServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path) as running:
        yield running


@contextmanager
def runner(path: Path, server: RegistryServer, accept_vanished: bool = False) -> Iterator[Runner]:
    mapping = Mapping.load(path)
    with State.open(path.parent / "state", mapping.stream) as state, server.client(patience=5) as client:
        yield Runner(mapping, open_source(mapping), client, state, accept_vanished=accept_vanished)


def run(path: Path, server: RegistryServer, accept_vanished: bool = False) -> Report:
    with runner(path, server, accept_vanished) as ready:
        report = ready.run_once()
    assert report.read == report.accepted + report.unchanged + report.unselected + report.quarantined
    return report


def quarantine(path: Path) -> dict[str, str]:
    """Position to reason."""
    stream = Mapping.load(path).stream
    with State.open(path.parent / "state", stream) as state:
        return {entry.position: entry.faults[0].reason for entry in state.quarantined()}


def test_second_run_sends_nothing(tmp_path: Path, server: RegistryServer) -> None:
    path = seizures(tmp_path)
    drop(path, "a.csv", arm("1"), arm("2"), arm("3", situation="DESTRUIDA"))
    first = run(path, server)
    assert (first.read, first.accepted, first.unselected) == (3, 2, 1)
    assert run(path, server).read == 0
    assert len(server.batches) == 2, "the records and the end of the file"


def test_file_sent_again_with_corrections_sends_changed_rows_only(
    tmp_path: Path, server: RegistryServer
) -> None:
    path = seizures(tmp_path)
    drop(path, "a.csv", arm("1"), arm("2"), arm("3"))
    run(path, server)
    drop(path, "a.csv", arm("1"), arm("2", serial="CORRECTED1"), arm("3", situation="REGULAR"))
    again = run(path, server)
    assert (again.read, again.accepted, again.unchanged) == (3, 2, 1)
    assert server.batches[-2] == ["2", "3"]
    assert server.keys("seizures") == {"1": "draft", "2": "draft", "3": "withdraw"}


def test_bad_rows_go_into_quarantine_and_good_ones_go_on(tmp_path: Path, server: RegistryServer) -> None:
    path = seizures(tmp_path)
    drop(
        path,
        "a.csv",
        arm("1"),
        arm("2", day="29/02/2025"),
        "3;too;few",
        arm("4", remarks="a; b; c"),
        arm("5", make="X" * 2_000_000),
        arm("6"),
    )
    report = run(path, server)
    assert (report.read, report.accepted, report.quarantined) == (6, 3, 3)
    assert quarantine(path) == {
        "a.csv:3": "DATE_IMPOSSIBLE",
        "a.csv:4": "FIELD_COUNT",
        "a.csv:6": "RECORD_TOO_LARGE",
    }
    assert set(server.keys("seizures")) == {"1", "4", "6"}


def test_what_the_node_refuses_is_quarantined_with_its_field_and_column(
    tmp_path: Path, server: RegistryServer
) -> None:
    path = seizures(tmp_path)
    server.refuse["2"] = ("draft.alert.items[0].make", "may not be that")
    drop(path, "a.csv", arm("1"), arm("2"))
    report = run(path, server)
    assert (report.accepted, report.quarantined) == (1, 1)
    assert (report.first_rejects[0]["field"], report.first_rejects[0]["column"]) == ("items[0].make", "marca")


def test_batch_refused_as_a_whole_costs_one_row(tmp_path: Path, server: RegistryServer) -> None:
    path = seizures(tmp_path)
    server.poison.add("5")
    drop(path, "a.csv", *(arm(str(i), serial=f"AB12345{i}") for i in range(9)))
    report = run(path, server)
    assert (report.read, report.accepted, report.quarantined) == (9, 8, 1)
    assert set(server.keys("seizures")) == set("01234678")


def test_refused_content_is_not_sent_again_until_replayed(tmp_path: Path, server: RegistryServer) -> None:
    path = licensing(tmp_path)
    server.refuse["licence/l-1"] = ("draft.alert", "not today")
    assert run(path, server).quarantined == 1
    sent = len(server.batches)
    assert run(path, server).quarantined == 1
    assert len(server.batches) == sent
    server.refuse.clear()
    with runner(path, server) as ready:
        assert ready.replay().accepted == 1
    assert quarantine(path) == {}
    assert run(path, server).unchanged == 4


def test_replay_after_a_mend_of_the_mapping_takes_torn_records_too(
    tmp_path: Path, server: RegistryServer
) -> None:
    path = seizures(tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('overflow = "observacoes"', ""), encoding="utf-8")
    drop(path, "a.csv", arm("1", remarks="one; two"), arm("2", kind="ARCABUZ"))
    assert run(path, server).quarantined == 2
    path.write_text(
        text.replace('PISTOLA = "REV', 'ARCABUZ = "SHOTGUN"\nPISTOLA = "REV', 1), encoding="utf-8"
    )
    with runner(path, server) as ready:
        report = ready.replay()
    assert (report.read, report.accepted) == (2, 2)
    assert quarantine(path) == {}
    assert set(server.keys("seizures")) == {"1", "2"}


def test_good_row_resolves_its_quarantine_entry(tmp_path: Path, server: RegistryServer) -> None:
    path = seizures(tmp_path)
    drop(path, "a.csv", arm("1", day="31/02/2026"))
    run(path, server)
    assert quarantine(path) == {"a.csv:2": "DATE_IMPOSSIBLE"}
    drop(path, "a.csv", arm("1", day="28/02/2026"), age=30)
    assert run(path, server).accepted == 1
    assert quarantine(path) == {}


def test_late_serials_are_found_although_no_timestamp_moves(tmp_path: Path, server: RegistryServer) -> None:
    path = licensing(tmp_path)
    assert run(path, server).accepted == 4
    change(path, """UPDATE firearm_good_details SET serial_numbers = '["EB000001"]' WHERE id = 2""")
    late = run(path, server)
    assert (late.accepted, late.unchanged) == (1, 3)
    assert server.batches[-1] == ["licence/l-2"] or server.batches[-2] == ["licence/l-2"]


def test_reinstated_and_deleted_licences_withdraw_what_they_were(
    tmp_path: Path, server: RegistryServer
) -> None:
    path = licensing(tmp_path)
    run(path, server)
    change(
        path,
        "UPDATE licence SET status = 'reinstated' WHERE id = 'l-1'",
        "DELETE FROM licence WHERE id = 'l-2'",
    )
    report = run(path, server)
    assert (report.accepted, report.vanished) == (1, 1)
    assert server.keys("licences") == {
        "licence/l-1": "withdraw",
        "licence/l-2": "withdraw",
        "denial/d-1": "draft",
    }
    assert run(path, server).vanished == 0


def test_row_missing_from_a_complete_file_withdraws_and_from_a_delta_does_not(
    tmp_path: Path, server: RegistryServer
) -> None:
    path = seizures(tmp_path)
    drop(path, "a.csv", arm("1"), arm("2"), age=90)
    run(path, server)
    drop(path, "b.csv", arm("1"), age=60)
    assert run(path, server).vanished == 0
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('key = ["num', 'complete = true\nkey = ["num'), encoding="utf-8")
    drop(path, "c.csv", arm("1"), arm("x", day="31/02/2026"), "torn", age=50)
    assert run(path, server).vanished == 0, "a row without a readable key could be the missing one"
    drop(path, "d.csv", arm("1"), age=40)
    assert run(path, server).vanished == 1
    assert server.keys("seizures") == {"1": "draft", "2": "withdraw"}


def test_registry_that_is_suddenly_empty_withdraws_nothing_unasked(
    tmp_path: Path, server: RegistryServer
) -> None:
    path = seizures(tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('key = ["num', 'complete = true\nkey = ["num'), encoding="utf-8")
    drop(path, "a.csv", *(arm(str(i)) for i in range(30)))
    assert run(path, server).accepted == 30
    drop(path, "b.csv", age=30)
    with pytest.raises(SourceError) as raised:
        run(path, server)
    assert raised.value.reason == "VANISHED_TOO_MANY"
    assert "withdraw" not in server.keys("seizures").values()
    assert run(path, server, accept_vanished=True).vanished == 30


def test_lost_answer_and_lost_folder_double_nothing(tmp_path: Path, server: RegistryServer) -> None:
    path = seizures(tmp_path)
    drop(path, "a.csv", arm("1"), arm("2"), arm("3"))
    server.lose_answers = 1
    report = run(path, server)
    assert (report.accepted, report.unchanged) == (0, 3), "the node had them when it was asked again"
    for file in (path.parent / "state").iterdir():
        file.unlink()
    drop(path, "a.csv", arm("1"), arm("2", situation="REGULAR"), arm("9", situation="DESTRUIDA"))
    again = run(path, server)
    assert (again.unchanged, again.accepted, again.unselected) == (1, 1, 1), (
        "withdrawals know their drafts again"
    )
    assert server.keys("seizures")["2"] == "withdraw"


def test_node_that_is_away_or_busy_is_asked_again(tmp_path: Path, server: RegistryServer) -> None:
    path = seizures(tmp_path)
    drop(path, "a.csv", arm("1"))
    server.away = 2
    server.busy = 1
    assert run(path, server).accepted == 1


def test_certificate_of_another_authority_is_refused_before_a_row_is_read(
    tmp_path: Path, server: RegistryServer
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    stranger = RegistryServer(other)
    from registry_adapters import connect

    with (
        pytest.raises(NodeError, match="not signed by the CA"),
        connect(server.address, server.ca, stranger.cert, stranger.key, patience=0.5),
    ):
        raise AssertionError("no client for a certificate that no node takes")
    assert not server.batches


def test_one_adapter_at_a_time_on_one_folder(tmp_path: Path) -> None:
    with State.open(tmp_path, "arms"), pytest.raises(StateError):
        State.open(tmp_path, "arms")


def test_following_picks_up_new_files_and_ends_when_stopped(tmp_path: Path, server: RegistryServer) -> None:
    path = seizures(tmp_path)
    stop = threading.Event()
    mapping = Mapping.load(path)
    seen: list[object] = []

    def told(outcome: object) -> None:
        seen.append(outcome)
        if len(seen) == 1:
            drop(path, "a.csv", arm("1"))
        if server.keys("seizures"):
            stop.set()

    with (
        State.open(path.parent / "state", mapping.stream) as state,
        server.client(patience=5, stop=stop) as client,
    ):
        Runner(mapping, open_source(mapping), client, state).follow(0.05, told)
    assert server.keys("seizures") == {"1": "draft"}


def test_killed_at_any_moment_every_row_arrives_once(tmp_path: Path, server: RegistryServer) -> None:
    path = seizures(tmp_path)
    lines = [arm(str(i), serial=f"ZZ{i:06d}") for i in range(1500)]
    lines[700] = arm("700", day="30/02/2026")
    drop(path, "a.csv", *lines)
    command = [
        sys.executable, "-m", "tests.support.run_adapter", str(path), server.address,
        str(server.ca), str(server.cert), str(server.key),
    ]  # fmt: skip
    root = str(Path(__file__).parents[2])
    killed = 0
    for wanted in (1, 3, 5):
        child = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": root})
        while child.poll() is None and len(server.batches) < wanted + killed:
            try:
                child.wait(0.005)
            except subprocess.TimeoutExpired:
                continue
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            killed += 1
        child.wait()
    report = run(path, server)
    assert killed
    assert report.read < 1500, "it went on where it had stopped"
    assert set(server.keys("seizures")) == {str(i) for i in range(1500)} - {"700"}
    assert quarantine(path) == {"a.csv:702": "DATE_IMPOSSIBLE"}


def test_a_refusal_that_was_never_noted_is_asked_for_again(tmp_path: Path, server: RegistryServer) -> None:
    """The node answered and the adapter was killed before it noted the answer: no later reading shows the row."""
    path = licensing(tmp_path)
    server.refuse["licence/l-1"] = ("draft.alert", "not today")
    with runner(path, server) as ready:
        noted = ready._state.after_sending

        def killed(*_: object) -> None:
            raise SystemExit

        ready._state.after_sending = killed  # type: ignore[method-assign]
        with pytest.raises(SystemExit):
            ready.run_once()
        ready._state.after_sending = noted  # type: ignore[method-assign]
    assert quarantine(path) == {}
    run(path, server)
    assert list(quarantine(path)) == ["query/licence/l-1"]


def test_a_source_that_fails_leaves_nothing_half_noted(tmp_path: Path, server: RegistryServer) -> None:
    path = licensing(tmp_path)
    with runner(path, server) as ready:
        reading = ready._source.read

        def fails(cursor: object) -> Iterator[object]:
            yield from islice(reading(cursor), 2)  # type: ignore[arg-type]
            raise SourceError("gone", "come again")

        ready._source.read = fails  # type: ignore[method-assign, assignment]
        with pytest.raises(SourceError):
            ready.run_once()
        ready._source.read = reading  # type: ignore[method-assign]
        again = ready.run_once()
    assert again.quarantined == 0
    assert len(server.keys("licences")) == 3
