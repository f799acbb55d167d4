"""What the demonstration stands on: ports that two of them never share, and looks into files that come and go."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from node.demo.stage import Actor, Ports, StepFailedError, until


def test_two_demonstrations_never_get_the_same_port_and_a_claimed_one_can_be_listened_on() -> None:
    first, second = Ports(), Ports()
    try:
        taken = [ports.take() for ports in (first, second) for _ in range(200)]
        assert len(set(taken)) == 400
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", taken[0]))
            listener.listen()
    finally:
        first.close()
        second.close()


def test_a_file_that_vanishes_while_files_are_searched_holds_nothing(tmp_path: Path) -> None:
    """Databases remove their write-ahead log when they close, and adapters open and close theirs all the time."""
    (tmp_path / "stays").write_bytes(b"a needle")
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            (tmp_path / "comes-and-goes").write_bytes(b"hay")
            (tmp_path / "comes-and-goes").unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        actor = Actor("XA", tmp_path, 0, 0)
        for _ in range(2000):
            assert actor.files_holding(b"needle") == [tmp_path / "stays"]
    finally:
        over.set()
        thread.join()


def test_a_step_that_waits_in_vain_says_for_what() -> None:
    with pytest.raises(StepFailedError, match=r"^the moon: not within 0 s"):
        until(lambda: None, "the moon", 0.01)
