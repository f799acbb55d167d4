"""The anchor file survives crashes, says when it is damaged, and never goes back."""

from pathlib import Path

import pytest

from node.ledger import anchor as module
from node.ledger.anchor import Anchor, Anchored
from node.ledger.errors import AnchorError

LOG, OTHER = b"\x01" * 32, b"\x02" * 32
FIRST, SECOND = Anchored(1, b"a" * 32, 10), Anchored(2, b"b" * 32, 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "anchor" / "anchor.log"
    anchor = Anchor(path)
    assert not anchor.existed
    anchor.put({LOG: FIRST, OTHER: FIRST})
    anchor.put({LOG: SECOND})
    return path


def test_the_newest_line_of_a_log_counts(path: Path) -> None:
    anchor = Anchor(path)
    assert anchor.existed
    assert anchor.get(LOG) == SECOND
    assert anchor.all() == {LOG: SECOND, OTHER: FIRST}
    assert anchor.get(b"\x03" * 32) is None


@pytest.mark.parametrize("cut", [1, 20, 80])
def test_a_last_line_cut_off_by_a_crash_is_ignored(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    assert Anchor(path).get(LOG) == (SECOND if cut == 1 else FIRST)
    Anchor(path).put({LOG: Anchored(3, b"c" * 32, 30)})
    assert Anchor(path).get(LOG) == Anchored(3, b"c" * 32, 30)


@pytest.mark.parametrize("garbage", [b"\x00" * 100, b"\xff\xfe\x80", b"half a li"])
def test_bytes_that_a_power_loss_left_at_the_end_are_ignored(path: Path, garbage: bytes) -> None:
    path.write_bytes(path.read_bytes() + garbage)
    assert Anchor(path).get(LOG) == SECOND


def test_damage_before_the_last_line_is_an_error(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"0" + content[1:] if content[:1] != b"0" else b"1" + content[1:])
    with pytest.raises(AnchorError, match="Line 1"):
        Anchor(path)


@pytest.mark.parametrize("older", [Anchored(1, b"a" * 32, 30), Anchored(2, b"b" * 32, 10)])
def test_size_and_time_never_go_back(path: Path, older: Anchored) -> None:
    anchor = Anchor(path)
    with pytest.raises(AnchorError):
        anchor.put({OTHER: SECOND, LOG: older})
    assert Anchor(path).all() == {LOG: SECOND, OTHER: FIRST}
    anchor.put({})


def test_a_signature_that_was_overtaken_is_passed_over(path: Path) -> None:
    """Two threads commit one after the other and record the other way round."""
    anchor = Anchor(path)
    anchor.put({LOG: FIRST, OTHER: SECOND})
    assert Anchor(path).all() == {LOG: SECOND, OTHER: SECOND}


def test_the_file_does_not_grow_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPACT_AT_LINES", 10)
    anchor = Anchor(path)
    for time_ms in range(20, 120):
        anchor.put({LOG: Anchored(2, b"b" * 32, time_ms)})
    assert len(path.read_text().splitlines()) < 20
    assert Anchor(path).get(LOG) == Anchored(2, b"b" * 32, 119)
