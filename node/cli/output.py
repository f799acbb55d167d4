"""What commands print: tables for people, JSON for machines, errors with their mend."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from shutil import get_terminal_size
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer

from node.ops.errors import DiefError

WHOLE = frozenset({"log", "state", "stands", "treaty_status", "last_contact", "checkpoint_time"})
"""Columns that people copy from or that are useless in pieces: never wrapped."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})\.\d{3}Z")

P = ParamSpec("P")
R = TypeVar("R")


class FileUnusableError(DiefError):
    """A file or folder is missing, is none, or may not be read or written."""

    default_reason = "FILE_UNUSABLE"
    default_mend = "Check the path and who may read and write there."


class DatabaseUnusableError(DiefError):
    """The database can not be reached, opened or written."""

    default_reason = "DATABASE_UNUSABLE"
    default_mend = "Check `[database] url`, free space, and that no other program holds the database."


def emit(
    rows: Iterable[Mapping[str, Any]],
    *,
    as_json: bool,
    columns: Sequence[str],
    empty: str = "Nothing.",
    blocks: bool = False,
    below: str = "",
) -> None:
    """Print a listing.

    Args:
        rows: One mapping a line.
        as_json: Print one JSON array instead of a table.
        columns: Keys shown in the table, in order; JSON carries every key.
        empty: Sentence shown instead of an empty table.
        below: Key of a long text that is told below the table, after the first column's value, where it is not empty.
        blocks: Print a block of lines a row, headed by the first column, where identifiers are too long for a table.
    """
    listed = list(rows)
    if as_json:
        typer.echo(json.dumps(listed, ensure_ascii=False, indent=2))
        return
    if not listed:
        typer.echo(empty)
        return
    if blocks:
        _emit_blocks(listed, columns)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        whole = column in WHOLE or column.endswith("_at")
        shown.add_column(column.replace("_", " "), overflow="fold", no_wrap=whole)
    for row in listed:
        shown.add_row(*(Text(_cell(row.get(column, ""))) for column in columns))
    Console(soft_wrap=False).print(shown)
    for row in listed:
        if below and row.get(below):
            typer.echo(textwrap.fill(f"{_cell(row.get(columns[0]))}: {_cell(row[below])}", _width()))


def _width() -> int:
    return get_terminal_size().columns


def _emit_blocks(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    head, *rest = columns
    width = max(len(column) for column in rest)
    for row in rows:
        typer.secho(_cell(row.get(head, "")), bold=True)
        for column in rest:
            text = _cell(row.get(column, ""))
            if text:
                indent = " " * (width + 6)
                lines = textwrap.wrap(text, max(40, _width() - len(indent))) or [""]
                typer.echo(f"    {column.replace('_', ' '):<{width}}  " + f"\n{indent}".join(lines))


def emit_one(value: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one object, key by key or as JSON."""
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
        return
    width = max((len(key) for key in value), default=0)
    for key, item in value.items():
        typer.echo(f"{key.replace('_', ' '):<{width}}  {_cell(item)}")


def fail(error: DiefError) -> NoReturn:
    """Print what is wrong and what mends it, and exit with 1."""
    typer.secho(f"error: {error.diagnosis}", fg="red", err=True)
    typer.secho(f"mend:  {error.mend}", err=True)
    raise typer.Exit(1)


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command: domain errors and statuses of the node become two plain lines instead of a trace."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except DiefError as error:
            fail(error)
        except Exception as error:
            translated = _translated(error)
            if translated is None:
                raise
            fail(translated)

    return run


def _translated(error: Exception) -> DiefError | None:
    """What is wrong outside our code, in plain words; None where it is a fault of ours, whose trace must be seen."""
    if "grpc" in sys.modules:
        from node.cli.client import as_dief_error

        if (refused := as_dief_error(error)) is not None:
            return refused
    if "sqlalchemy" in sys.modules:
        from sqlalchemy.exc import DBAPIError

        if isinstance(error, DBAPIError):
            return DatabaseUnusableError(f"The database can not be used: {error.orig}.")
    if isinstance(error, OSError) and error.filename is not None:
        return FileUnusableError(f"{error.filename} can not be used: {error.strerror}.")
    return None


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    text = "" if value is None else str(value)
    return _MOMENT.sub(r"\1 \2", _CONTROL.sub("\ufffd", text))
