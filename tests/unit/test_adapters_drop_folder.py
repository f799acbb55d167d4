"""The drop folder, alike for all kinds of file: handed over, taken whole, read once, never out of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_adapters import Cursor
from registry_adapters.errors import SourceError
from registry_adapters.source import MAX_CURSOR_BYTES, Milestone, Row
from registry_adapters.sources.drop_folder import DropFolder, Taken
from registry_adapters.sources.file_settings import FolderSettings
from tests.support.dropped import put


class Clock:
    """A clock that the test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def folder(path: Path, clock: Clock | None = None, **settings: object) -> DropFolder:
    given = {"folder": path, "pattern": "*.txt", "key": ["id"], "settle_seconds": 0, **settings}
    chosen = FolderSettings.model_validate(given)
    return DropFolder("lines", chosen, path) if clock is None else DropFolder("lines", chosen, path, clock)


def lines(taken: Taken) -> Iterator[Row]:
    for number, line in enumerate(taken.file, 1):
        if number > taken.begin:
            text = line.decode().strip()
            yield Row(text, {}, f"{taken.name}:{number}", taken.cursor(number), scan=taken.scan)


def keys(drop: DropFolder, cursor: Cursor | None = None) -> list[str | None]:
    return [part.key for part in drop.read(cursor, lines) if isinstance(part, Row)]


def end(drop: DropFolder, cursor: Cursor | None = None) -> Cursor | None:
    parts = list(drop.read(cursor, lines))
    return Cursor.decode(parts[-1].cursor.encode(), "lines") if parts else cursor


def test_two_files_at_once_are_read_in_one_order(tmp_path: Path) -> None:
    for name in ("run_10.txt", "run_9.txt", "run_11.txt"):
        put(tmp_path, name, name)
        os.utime(tmp_path / name, (1_700_000_000, 1_700_000_000))
    assert keys(folder(tmp_path)) == ["run_9.txt", "run_10.txt", "run_11.txt"], "numbers count as numbers"
    os.utime(tmp_path / "run_9.txt", (1_700_000_009, 1_700_000_009))
    assert keys(folder(tmp_path))[-1] == "run_9.txt"
    assert keys(folder(tmp_path, order="name"))[0] == "run_9.txt"


def test_file_sent_again_is_read_again_and_one_that_only_looks_new_is_not(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "one\n")
    cursor = end(folder(tmp_path))
    put(tmp_path, "a.txt", "one\n", age=30)
    assert keys(folder(tmp_path), cursor) == [], "the same content under the same name"
    put(tmp_path, "a.txt", "one, corrected\n", age=20)
    cursor = end(folder(tmp_path), cursor)
    put(tmp_path, "a.txt", "one\n", age=10)
    assert keys(folder(tmp_path), cursor) == ["one"], "what was corrected back counts too"


def test_files_that_look_as_they_did_are_not_opened_again(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "one\n")
    drop = folder(tmp_path)
    cursor = end(drop)
    looked = (tmp_path / "a.txt").stat().st_atime_ns
    os.utime(tmp_path / "a.txt", ns=(1, (tmp_path / "a.txt").stat().st_mtime_ns))
    assert keys(drop, cursor) == []
    assert (tmp_path / "a.txt").stat().st_atime_ns == 1 != looked


def test_cursor_that_cannot_be_read_leads_to_reading_again(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "one\n")
    for done in ("!", 7, {"a.txt": "x"}, None):
        assert keys(folder(tmp_path), Cursor("lines", {"done": done})) == ["one"]


def test_thousands_of_files_fit_into_a_cursor(tmp_path: Path) -> None:
    for number in range(4000):
        (tmp_path / f"{number}.txt").write_text(f"row {number}\n")
        os.utime(tmp_path / f"{number}.txt", (1_700_000_000, 1_700_000_000))
    drop = folder(tmp_path, max_files=4000)
    parts = list(drop.read(None, lines))
    assert len(parts) == 8000
    assert max(len(part.cursor.encode()) for part in parts[-20:]) <= MAX_CURSOR_BYTES
    cursor = Cursor.decode(parts[-1].cursor.encode(), "lines")
    assert keys(drop, cursor) == []
    put(tmp_path, "4000.txt", "one too many\n")
    with pytest.raises(SourceError, match="max_files") as raised:
        keys(drop, cursor)
    assert raised.value.reason == "TOO_MANY_FILES"


def test_file_that_vanishes_before_it_is_opened_is_none_and_one_that_vanishes_later_is_read(
    tmp_path: Path,
) -> None:
    put(tmp_path, "a.txt", "a1\na2\n", age=90)
    put(tmp_path, "b.txt", "b1\n", age=60)
    parts = folder(tmp_path).read(None, lines)
    found = [next(parts)]
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.txt").unlink()
    found += list(parts)
    assert [part.key for part in found if isinstance(part, Row)] == ["a1", "a2"]


def test_file_that_is_replaced_or_cut_while_it_waits_its_turn_is_taken_in_the_next_run(
    tmp_path: Path,
) -> None:
    put(tmp_path, "a.txt", "a1\n", age=90)
    put(tmp_path, "b.txt", "b1\n", age=60)
    put(tmp_path, "c.txt", "c1\nc2\n", age=50)
    drop = folder(tmp_path)
    parts = drop.read(None, lines)
    found = [next(parts)]
    put(tmp_path, ".new", "B1\n", age=60)
    (tmp_path / ".new").replace(tmp_path / "b.txt")
    put(tmp_path, "c.txt", "c1\n", age=50)
    found += list(parts)
    assert [part.key for part in found if isinstance(part, Row)] == ["a1"]
    assert drop.report.waiting == ["b.txt", "c.txt"]
    assert keys(drop, found[-1].cursor) == ["B1", "c1"]


def test_link_that_leads_out_of_the_folder_stops_the_run(tmp_path: Path) -> None:
    inside = tmp_path / "drop"
    inside.mkdir()
    put(tmp_path, "secret.txt", "secret\n")
    (inside / "a.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(SourceError) as raised:
        keys(folder(inside))
    assert raised.value.reason == "LINK_LEADS_OUT"
    (inside / "a.txt").unlink()
    put(inside, "real.txt", "real\n")
    (inside / "b.txt").symlink_to("real.txt")
    assert keys(folder(inside)) == ["real", "real"], "a link inside it is a file of it"
    (inside / "loop.txt").symlink_to("loop.txt")
    (inside / "nowhere.txt").symlink_to("gone.txt")
    assert keys(folder(inside)) == ["real", "real"]


def test_pattern_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    for pattern in ("../*.txt", "/etc/*", "", "a/../../*.txt"):
        with pytest.raises(ValueError, match="inside the folder"):
            folder(tmp_path, pattern=pattern)


def test_pipe_or_folder_of_a_matching_name_is_passed_over_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    (tmp_path / "b.txt").mkdir()
    put(tmp_path, "c.txt", "c\n")
    assert keys(folder(tmp_path)) == ["c"]


def test_done_file_with_a_sha256_holds_back_a_file_that_was_cut_off(tmp_path: Path) -> None:
    whole = b"one\ntwo\n"
    put(tmp_path, "a.txt", whole[:5])
    put(tmp_path, "a.txt.done", hashlib.sha256(whole).hexdigest().upper() + "  a.txt\n")
    drop = folder(tmp_path, handover="done")
    assert keys(drop) == []
    assert drop.report.waiting == ["a.txt"]
    assert "a.txt" in drop.report.facts["sha256"]
    put(tmp_path, "a.txt", whole)
    assert keys(drop) == ["one", "two"]
    put(tmp_path, "a.txt.done", "sent by the night job\n")
    assert keys(drop) == ["one", "two"], "words in a done file mean nothing"


def test_writer_whose_clock_is_ahead_is_waited_for_no_longer_than_the_settle_time(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "one\n", age=-86_400)
    clock = Clock((tmp_path / "a.txt").stat().st_mtime - 86_400)
    drop = folder(tmp_path, clock, settle_seconds=5)
    assert keys(drop) == []
    clock.now += 4
    assert keys(drop) == []
    put(tmp_path, "a.txt", "one\ntwo\n", age=-86_400)
    clock.now += 2
    assert keys(drop) == [], "it has changed since it was first seen"
    clock.now += 5
    assert keys(drop) == ["one", "two"]


def test_file_that_is_too_large_is_told_with_the_limits_name(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "x" * 100)
    with pytest.raises(SourceError, match="max_file_bytes = 99") as raised:
        keys(folder(tmp_path, max_file_bytes=99))
    assert raised.value.reason == "FILE_TOO_LARGE"


def test_name_that_is_no_text_is_shown_escaped(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xe9\x1b[31m.txt")).write_text("one\n")
    os.utime(tmp_path / os.fsdecode(b"\xe9\x1b[31m.txt"), (1_700_000_000, 1_700_000_000))
    [row, _] = folder(tmp_path).read(None, lines)
    assert isinstance(row, Row)
    assert row.position == r"\\xe9\x1b[31m.txt:1"
    row.position.encode()


def test_folder_without_permission_or_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        keys(folder(tmp_path / "gone"))
    put(tmp_path, "a.txt", "one\n")
    with pytest.raises(SourceError, match="does not exist"):
        keys(folder(tmp_path / "a.txt"))


def test_full_disk_stops_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """The copy meets a limit of the operating system, as on a full disk; what was not taken whole is not lost."""
    put(tmp_path, "a.txt", "a\n" * 10, age=90)
    put(tmp_path, "b.txt", "b\n" * 100_000, age=60)
    script = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        from registry_adapters.errors import SourceError
        from tests.unit.test_adapters_drop_folder import folder, lines
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        seen = []
        try:
            for part in folder(Path(sys.argv[1])).read(None, lines):
                seen.append(part)
            print("no error")
        except SourceError as error:
            print(len(seen), error.reason, "TMPDIR" in error.mend)
        """
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["11", "COPY_FAILED", "True"], done.stderr
    assert len(keys(folder(tmp_path))) == 100_010


def test_temporary_folder_that_fills_up_while_a_file_is_read_is_told(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "one\n")

    def full(taken: Taken) -> Iterator[Row]:
        yield from lines(taken)
        with Path("/dev/full").open("wb", buffering=0) as store:
            store.write(b"x")

    parts = folder(tmp_path).read(None, full)
    assert isinstance(next(parts), Row)
    with pytest.raises(SourceError, match="No space left") as raised:
        next(parts)
    assert raised.value.reason == "COPY_FAILED"


def test_full_and_partial_files_stand_in_one_folder(tmp_path: Path) -> None:
    put(tmp_path, "full_1.txt", "one\n", age=90)
    put(tmp_path, "part_2.txt", "two\n", age=60)
    parts = list(folder(tmp_path, complete_pattern="full_*.txt").read(None, lines))
    scans = [part.scan for part in parts if isinstance(part, Row)]
    ends = [part.completed_scan for part in parts if isinstance(part, Milestone)]
    assert scans == ends
    assert scans[0] != ""
    assert scans[1] == ""
