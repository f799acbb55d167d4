"""Files fetched from a real SFTP server into the drop folder: whole or not at all, each once, from the right server."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from registry_adapters import Cursor, Mapping, Milestone, Row, open_source
from registry_adapters.errors import MappingError, SourceError
from registry_adapters.sources.file_settings import CsvSettings
from registry_adapters.sources.sftp import FetchingSource, SftpFetch
from registry_adapters.sources.sftp_settings import SftpSettings
from tests.support.sftp_server import SftpServer


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SftpServer]:
    monkeypatch.setenv("DIEF_TEST_PASSWORD", "secret")
    (tmp_path / "remote").mkdir()
    with SftpServer(tmp_path / "remote", password="secret") as started:
        yield started


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def settings_of(server: SftpServer, **more: object) -> SftpSettings:
    given = {
        "kind": "sftp",
        "host": "127.0.0.1",
        "port": server.port,
        "user": "adapter",
        "host_key": [server.fingerprint],
        "password_env": "DIEF_TEST_PASSWORD",
        **more,
    }
    return SftpSettings.model_validate({name: value for name, value in given.items() if value is not None})


def fetch_of(server: SftpServer, home: Path, source: dict[str, Any] | None = None, **more: Any) -> SftpFetch:
    files = {"kind": "csv", "folder": "drop", "key": ["id"], "settle_seconds": 5, **(source or {})}

    async def no_wait(seconds: float) -> None:
        assert seconds == files["settle_seconds"]

    return SftpFetch(settings_of(server, **more), CsvSettings.model_validate(files), home, no_wait)


def folder(home: Path) -> dict[str, bytes]:
    """What a reader of the drop folder sees."""
    return {p.name: p.read_bytes() for p in (home / "drop").iterdir() if not p.name.startswith(".")}


def left_over(home: Path) -> list[str]:
    return [p.name for p in (home / "drop").iterdir() if p.name.endswith(".part")]


def failed(fetch: SftpFetch) -> SourceError:
    with pytest.raises(SourceError) as raised:
        fetch.run()
    assert "secret" not in str(raised.value)
    return raised.value


def test_new_files_come_once_whole_and_with_their_time(server: SftpServer, home: Path) -> None:
    big = os.urandom(3_000_000)
    first = server.put("b.csv", big, age=900)
    server.put("a.csv", b"id\n1\n", age=600)
    for other in (".hidden.csv", "c.csv.part", "d.tmp", "e.txt"):
        server.put(other, b"x")
    (server.root / "sub.csv").mkdir()
    (server.root / "link.csv").symlink_to("/etc/hostname")
    fetch = fetch_of(server, home)
    fetch.run()
    assert folder(home) == {"a.csv": b"id\n1\n", "b.csv": big}
    assert fetch.fetched == ["b.csv", "a.csv"], "from the oldest to the newest"
    assert int((home / "drop" / "b.csv").stat().st_mtime) == int(first.stat().st_mtime)
    fetch_of(server, home).run()
    assert server.opened == ["b.csv", "a.csv"]
    assert server.changes == []
    assert left_over(home) == []


def test_file_that_was_moved_away_here_does_not_come_again(server: SftpServer, home: Path) -> None:
    server.put("a.csv", b"id\n1\n")
    fetch_of(server, home).run()
    (home / "drop" / "a.csv").unlink()
    fetch_of(server, home).run()
    assert folder(home) == {}


def test_file_that_was_sent_again_comes_again(server: SftpServer, home: Path) -> None:
    server.put("a.csv", b"id\n1\n", age=900)
    fetch_of(server, home).run()
    server.put("a.csv", b"id\n2\n", age=300)
    fetch_of(server, home).run()
    assert folder(home) == {"a.csv": b"id\n2\n"}


def test_renamed_file_comes_under_its_new_name_and_the_old_is_forgotten(
    server: SftpServer, home: Path
) -> None:
    old = server.put("a.csv", b"id\n1\n")
    fetch_of(server, home).run()
    old.rename(server.root / "b.csv")
    fetch_of(server, home).run()
    assert {*folder(home)} == {"a.csv", "b.csv"}
    assert {*json.loads((home / "drop" / ".fetch.json").read_text())} == {"b.csv"}


def test_file_that_grows_on_the_server_waits(server: SftpServer, home: Path) -> None:
    path = server.put("a.csv", b"id\n1\n")
    server.put("b.csv", b"id\n5\n")
    looks = iter(range(100))

    def grow() -> None:
        if next(looks) == 1:
            with path.open("ab") as file:
                file.write(b"2\n")

    server.on_list = grow
    fetch = fetch_of(server, home)
    fetch.run()
    assert folder(home) == {"b.csv": b"id\n5\n"}
    assert fetch.waiting == ["a.csv"]
    fetch_of(server, home).run()
    assert folder(home)["a.csv"] == b"id\n1\n2\n"


@pytest.mark.parametrize("how", ["grows", "shrinks", "goes", "is replaced"])
def test_file_that_changes_while_it_is_fetched_waits(server: SftpServer, home: Path, how: str) -> None:
    path = server.put("a.csv", b"id\n" + b"1\n" * 2_000_000)

    def change(name: str, offset: int) -> None:
        server.on_read = lambda name, offset: None
        match how:
            case "grows":
                with path.open("ab") as file:
                    file.write(b"2\n")
            case "shrinks":
                os.truncate(path, 10)
            case "goes":
                path.unlink()
            case _:
                server.put("new", path.read_bytes()[::-1], age=5).rename(path)

    server.on_read = change
    fetch = fetch_of(server, home)
    fetch.run()
    assert folder(home) == {}
    assert fetch.waiting == ["a.csv"]
    assert left_over(home) == []


def test_transfer_that_breaks_off_leaves_nothing_and_begins_anew(server: SftpServer, home: Path) -> None:
    content = os.urandom(5_000_000)
    server.put("a.csv", b"id\n1\n", age=900)
    server.put("b.csv", content, age=800)
    server.put("c.csv", b"id\n3\n", age=700)
    server.on_read = lambda name, offset: (
        server.drop_connections() if name == "b.csv" and offset > 10**6 else None
    )
    error = failed(fetch_of(server, home))
    assert error.reason == "SERVER_AWAY"
    assert {*folder(home)} == {"a.csv"}, "what came before stays, what stands behind keeps its order"
    assert left_over(home) == []
    server.on_read = lambda name, offset: None
    fetch = fetch_of(server, home)
    fetch.run()
    assert fetch.fetched == ["b.csv", "c.csv"]
    assert folder(home)["b.csv"] == content


def test_part_of_a_killed_fetch_is_no_file_and_is_overwritten(server: SftpServer, home: Path) -> None:
    (home / "drop").mkdir()
    (home / "drop" / ".fetch.part").write_bytes(b"x" * 100)
    (home / "drop" / ".fetch.json").write_text("{broken")
    server.put("a.csv", b"id\n1\n")
    fetch_of(server, home).run()
    assert folder(home) == {"a.csv": b"id\n1\n"}


def test_server_away_and_back(server: SftpServer, home: Path) -> None:
    server.put("a.csv", b"id\n1\n")
    server.stop()
    assert failed(fetch_of(server, home)).reason == "SERVER_AWAY"
    server.start()
    fetch_of(server, home).run()
    assert {*folder(home)} == {"a.csv"}


def test_silent_server_is_given_up(server: SftpServer, home: Path) -> None:
    server.put("a.csv", b"id\n1\n")
    server.on_read = lambda name, offset: time.sleep(3)
    assert failed(fetch_of(server, home, silent_seconds=0.5)).reason == "SERVER_AWAY"
    assert folder(home) == {}


def test_server_whose_clock_is_ahead_hands_over_files_at_once(server: SftpServer, home: Path) -> None:
    server.put("a.csv", b"id\n1\n", age=-7200)
    fetch_of(server, home).run()
    assert (home / "drop" / "a.csv").stat().st_mtime <= time.time() - 5


# -- Handing over with a mark


def test_file_with_a_mark_comes_with_it_and_others_wait(server: SftpServer, home: Path) -> None:
    done = {"handover": "done"}
    server.put("a.csv", b"id\n1\n")
    server.put("a.csv.done", sha256(b"id\n1\n").hexdigest().encode())
    server.put("b.csv", b"id\n2\n")
    fetch = fetch_of(server, home, done)
    fetch.run()
    assert {*folder(home)} == {"a.csv", "a.csv.done"}
    assert fetch.waiting == ["b.csv"]
    server.put("b.csv.done", b"")
    again = fetch_of(server, home, done)
    again.run()
    assert again.fetched == ["b.csv"]
    server.put("a.csv", b"id\n7\n", age=60)
    server.put("a.csv.done", sha256(b"id\n7\n").hexdigest().encode(), age=60)
    fetch_of(server, home, done).run()
    assert folder(home)["a.csv.done"] == sha256(b"id\n7\n").hexdigest().encode()


# -- The right server, the right adapter


def test_other_key_of_the_server_is_refused_before_any_password_is_sent(
    server: SftpServer, home: Path
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").get_fingerprint("sha256")
    server.put("a.csv", b"id\n1\n")
    assert failed(fetch_of(server, home, host_key=[other])).reason == "HOST_KEY_UNKNOWN"
    assert server.opened == []
    fetch_of(server, home, host_key=[other, server.fingerprint]).run()
    assert {*folder(home)} == {"a.csv"}


def test_server_is_known_by_a_known_hosts_file(server: SftpServer, home: Path) -> None:
    server.put("a.csv", b"id\n1\n")
    (home / "known").write_text(server.known_hosts)
    fetch_of(server, home, host_key=None, known_hosts="known").run()
    assert {*folder(home)} == {"a.csv"}
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (home / "known").write_text(f"[127.0.0.1]:{server.port} {other}")
    assert failed(fetch_of(server, home, host_key=None, known_hosts="known")).reason == "HOST_KEY_UNKNOWN"
    with pytest.raises(MappingError, match="known_hosts"):
        fetch_of(server, home, host_key=None, known_hosts="missing").run()


def test_adapter_shows_its_key(server: SftpServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(home / "id", passphrase="word")
    server.client_key = key.convert_to_public()
    server.put("a.csv", b"id\n1\n")
    monkeypatch.setenv("DIEF_TEST_PASSPHRASE", "word")
    shown: dict[str, Any] = {"password_env": None, "key_file": "id"}
    fetch_of(server, home, passphrase_env="DIEF_TEST_PASSPHRASE", **shown).run()
    assert {*folder(home)} == {"a.csv"}
    for wrong in ({"key_file": "missing"}, {}):
        with pytest.raises(MappingError, match="key_file"):
            fetch_of(server, home, **{**shown, **wrong}).run()
    server.client_key = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
    assert (
        failed(fetch_of(server, home, passphrase_env="DIEF_TEST_PASSPHRASE", **shown)).reason
        == "SERVER_DENIES"
    )


def test_wrong_password_and_missing_variable_are_told(
    server: SftpServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIEF_TEST_PASSWORD", "secret-but-wrong")
    assert failed(fetch_of(server, home)).reason == "SERVER_DENIES"
    monkeypatch.delenv("DIEF_TEST_PASSWORD")
    with pytest.raises(MappingError, match="DIEF_TEST_PASSWORD"):
        fetch_of(server, home).run()


def test_folder_that_is_not_there_is_told(server: SftpServer, home: Path) -> None:
    assert failed(fetch_of(server, home, folder="missing")).reason == "SERVER_DENIES"


# -- Hostile servers and full disks


@pytest.mark.parametrize("name", [b"../a.csv", b"/etc/a.csv", b"sub/a.csv", b"x" * 251 + b".csv"])
def test_name_that_leads_out_of_the_folder_ends_the_run(server: SftpServer, home: Path, name: bytes) -> None:
    server.more_names = [name]
    assert failed(fetch_of(server, home)).reason == "SERVER_NAMES_UNFIT"
    assert [p.name for p in home.iterdir() if p.suffix == ".csv"] == []


def test_name_that_is_no_text_stays_what_it_is(server: SftpServer, home: Path) -> None:
    (server.root / os.fsdecode(b"ma\xdfe.csv")).write_bytes(b"id\n1\n")
    fetch_of(server, home).run()
    assert [os.fsencode(name) for name in folder(home)] == [b"ma\xdfe.csv"]


def test_too_many_and_too_large_files_are_told(server: SftpServer, home: Path) -> None:
    for n in range(4):
        server.put(f"{n}.csv", b"id\n" * 100)
    assert failed(fetch_of(server, home, {"max_files": 3})).reason == "TOO_MANY_FILES"
    assert failed(fetch_of(server, home, max_entries=3)).reason == "TOO_MANY_FILES"
    error = failed(fetch_of(server, home, {"max_file_bytes": 10}))
    assert error.reason == "FILE_TOO_LARGE"
    assert "max_file_bytes = 10" in error.diagnosis
    assert server.opened == []


def test_disk_that_is_full_leaves_no_half_file(server: SftpServer, home: Path) -> None:
    server.put("a.csv", b"id\n1\n", age=900)
    server.put("b.csv", b"x" * 200_000, age=800)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        error = failed(fetch_of(server, home))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.reason == "FETCH_FAILED"
    assert {*folder(home)} == {"a.csv"}
    assert left_over(home) == []
    fetch_of(server, home).run()
    assert {*folder(home)} == {"a.csv", "b.csv"}


def test_link_in_the_drop_folder_is_not_written_through(server: SftpServer, home: Path) -> None:
    (home / "drop").mkdir()
    (home / "victim").write_text("mine")
    (home / "drop" / ".fetch.part").symlink_to(home / "victim")
    server.put("a.csv", b"id\n1\n")
    assert failed(fetch_of(server, home)).reason == "FETCH_FAILED"
    assert (home / "victim").read_text() == "mine"


# -- In a mapping

MAPPING = """
version = 1
stream = "arms"

[fetch]
kind = "sftp"
host = "127.0.0.1"
port = {port}
user = "adapter"
password_env = "DIEF_TEST_PASSWORD"
host_key = ["{fingerprint}"]
folder = "/"

[source]
kind = "csv"
folder = "drop"
key = ["id"]
settle_seconds = 0

[select]
draft = {{ column = "id", present = true }}

[constants]
originator = "XA"
"""


def opened(server: SftpServer, home: Path, **changed: str) -> FetchingSource:
    text = MAPPING.format(port=server.port, fingerprint=server.fingerprint)
    for old, new in changed.items():
        text = text.replace(f"{old} = ", f"{new} = ")
    (home / "mapping.toml").write_text(text)
    source = open_source(Mapping.load(home / "mapping.toml"))
    assert isinstance(source, FetchingSource)
    return source


def keys(parts: list[Row | Milestone]) -> list[str | None]:
    return [part.key for part in parts if isinstance(part, Row)]


def test_fetch_runs_before_the_files_are_read(server: SftpServer, home: Path) -> None:
    server.put("a.csv", b"id\n1\n2\n")
    source = opened(server, home)
    assert source.columns() == ()
    parts = list(source.read(None))
    assert keys(parts) == ["1", "2"]
    assert source.columns() == ("id",)
    assert source.kind == "csv"
    cursor = Cursor.decode(parts[-1].cursor.encode(), source.kind)
    server.put("b.csv", b"id\n3\n")
    assert keys(list(opened(server, home).read(cursor))) == ["3"]


def test_what_was_fetched_is_read_although_the_server_is_away(server: SftpServer, home: Path) -> None:
    server.put("a.csv", b"id\n1\n")
    source = opened(server, home)
    server.on_read = lambda name, offset: None
    fetch = fetch_of(server, home, folder="/")
    fetch.run()
    server.stop()
    parts: list[Row | Milestone] = []
    with pytest.raises(SourceError) as raised:
        any(parts.append(part) for part in source.read(None))  # type: ignore[func-returns-value]
    assert raised.value.reason == "SERVER_AWAY"
    assert keys(parts) == ["1"]
    server.start()


def test_row_of_the_quarantine_is_read_as_its_file_kind_reads_it(server: SftpServer, home: Path) -> None:
    server.put("a.csv", b'id;x\n1;"a\n')
    source = opened(server, home)
    [torn] = [part for part in source.read(None) if isinstance(part, Row)]
    kept = Row(torn.key, torn.values, torn.position, torn.cursor, raw=torn.raw)
    assert source.restored(kept).faults


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "csv"\nfolder = "drop"', 'kind = "sql"\nurl = "sqlite:///x"\ntable = "t"', "fetch"),
        ("settle_seconds = 0", 'pattern = "**/*.csv"', "pattern"),
        ("host_key", "host_kee", "do you mean `host_key`"),
        ("password_env", "password", "password"),
        ('host = "127.0.0.1"', 'host = "a b"', "host"),
        ('host_key = ["SHA256:', 'host_key = ["MD5:', "host_key"),
    ],
)
def test_fetch_that_cannot_be_is_refused_with_its_line(
    server: SftpServer, home: Path, old: str, new: str, words: str
) -> None:
    text = MAPPING.format(port=server.port, fingerprint=server.fingerprint)
    if "sql" in new:
        text = text.replace("settle_seconds = 0\n", "")
    assert old in text
    (home / "mapping.toml").write_text(text.replace(old, new))
    with pytest.raises(MappingError, match=r"mapping\.toml:\d+") as raised:
        Mapping.load(home / "mapping.toml")
    assert words in str(raised.value)
