"""What every `dief` command does: help that teaches, and errors in plain words instead of traces."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from node.cli import app
from node.cli.output import emit, guarded
from node.ops.settings import SettingsError, load


def dief(*words: str | Path) -> tuple[int, str]:
    """Runs `dief ...`: exit status, and all that was printed."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    for name in command.list_commands(None):
        yield from commands(command.get_command(None, name), (*path, name))


def test_every_command_explains_itself_with_an_example() -> None:
    found = dict(commands(typer.main.get_command(app)))
    assert len(found) > 40
    assert [path for path, command in found.items() if "Example" not in command.help] == []


def test_help_is_wrapped_by_the_terminal_and_not_by_us() -> None:
    """A line broken for one width leaves a single word on the next one at another."""
    for path, command in commands(typer.main.get_command(app)):
        for paragraph in command.help.split("\n\n"):
            assert "\n" not in paragraph or "  dief " in paragraph, path


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("--state", "xa"), "`state` (it is 'xa')"),
        (("--state", "XAA"), "`state` (it is 'XAA')"),
        (("--state", "XA", "--listen", "7443"), "`federation.listen` (it is '7443')"),
        (("--state", "XA", "--national", "node:99999"), "`national.listen` (it is 'node:99999')"),
        (("--state", "XA", "--federation", "A b"), "`federation_name` (it is 'A b')"),
    ],
)
def test_no_home_is_made_of_wrong_values(tmp_path: Path, words: tuple[str, ...], wrong: str) -> None:
    status, said = dief("init", tmp_path / "home", *words)
    assert (status, wrong in said, "mend:" in said) == (1, True, True)
    assert not (tmp_path / "home").exists()


def test_a_home_that_can_not_be_made_is_told_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, said = dief("init", tmp_path / "file", "--state", "XA")
    assert (status, "can not be made" in said) == (1, True)


def test_settings_that_are_a_folder_are_told_in_plain_words(tmp_path: Path) -> None:
    status, said = dief("status", "--config", tmp_path)
    assert (status, "can not be read: Is a directory" in said) == (1, True)


def test_a_wrong_database_url_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "dief.toml").write_text('state = "XA"\n[database]\nurl = 5\n')
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "dief.toml", {})
    assert "`database.url`: " in caught.value.diagnosis


@pytest.mark.parametrize(
    ("error", "diagnosis"),
    [
        (PermissionError(13, "Permission denied", "/srv/x"), "/srv/x can not be used: Permission denied."),
        (
            OperationalError(
                "SELECT name FROM secret", {"name": "secret"}, sqlite3.OperationalError("disk full")
            ),
            "The database can not be used: disk full.",
        ),
    ],
)
def test_what_the_machine_refuses_is_told_in_plain_words(
    error: Exception, diagnosis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(typer.Exit):
        guarded(fails)()
    said = capsys.readouterr().err
    assert diagnosis in said
    assert "secret" not in said


def test_a_fault_of_ours_shows_its_trace_without_any_value() -> None:
    """Locals may hold content of alerts."""

    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        guarded(fails)()
    assert not app.pretty_exceptions_enable


def test_a_long_text_stands_below_a_table_and_squeezes_no_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [
        {"state": "XB", "stands": "CONNECTING", "last_error": "word " * 40},
        {"state": "XD", "last_error": ""},
    ]
    emit(rows, as_json=False, columns=("state", "stands"), below="last_error")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [["state", "stands"], ["XB", "CONNECTING"], ["XD"]]
    assert lines[3].startswith("XB: word word")
    assert max(map(len, lines)) <= 80
    assert len(lines) == 6
