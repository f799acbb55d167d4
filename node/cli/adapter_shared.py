"""What the commands of `dief adapter` share: their options, and how mapping, folder and node are opened."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from node.cli.output import emit
from node.ops.errors import DiefError

if TYPE_CHECKING:
    from registry_adapters import Mapping, RegistryClient, Report, State

P = ParamSpec("P")
R = TypeVar("R")

MappingFile = Annotated[Path, typer.Argument(help="Mapping file (TOML).", show_default=False)]
StateFolder = Annotated[
    Path | None, typer.Option("--state", help="The adapter's own folder; default: `state` of the mapping.")
]
Node = Annotated[str | None, typer.Option("--node", help="host:port of the node's national listener.")]
Ca = Annotated[Path | None, typer.Option("--ca", help="CA of that listener (PEM); with --node.")]
Cert = Annotated[Path | None, typer.Option("--cert", help="Certificate of kind registry (PEM); with --node.")]
Key = Annotated[Path | None, typer.Option("--key", help="Key of that certificate (PEM); with --node.")]
Ids = Annotated[
    list[int] | None, typer.Argument(help="Entries; all where none is named.", show_default=False)
]

_SUFFIXES = {"s": 1, "m": 60, "h": 3600}
_COUNTS = ("read", "accepted", "unchanged", "unselected", "quarantined", "vanished", "not_watched")


def adapted(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command: the adapters' errors become the node's, which `guarded` prints."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        from registry_adapters import AdapterError

        try:
            return command(*args, **kwargs)
        except AdapterError as error:
            raise DiefError(error.diagnosis, error.mend, reason=error.reason) from None

    return run


def load(path: Path) -> Mapping:
    from registry_adapters import Mapping

    return Mapping.load(path)


@contextmanager
def state_of(mapping: Mapping, folder: Path | None) -> Iterator[State]:
    from registry_adapters import State

    with State.open(folder or mapping.home / mapping.file.state, mapping.stream) as state:
        yield state


@contextmanager
def notes_of(mapping: Mapping, folder: Path | None) -> Iterator[State]:
    """The folder for reading, also beside an adapter that runs."""
    from registry_adapters import State

    where = folder or mapping.home / mapping.file.state
    with State.look(where, mapping.stream) or State.open(where, mapping.stream) as state:
        yield state


@contextmanager
def node_of(
    config: Path | None,
    node: str | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    stop: threading.Event,
) -> Iterator[RegistryClient]:
    from node.cli import client as cli_client
    from registry_adapters import RegistryClient, connect

    if node is None:
        with cli_client.connect(config, "registry") as channel:
            yield RegistryClient(channel, stop=stop)
        return
    if ca is None or cert is None or key is None:
        raise DiefError("--node needs --ca, --cert and --key.", "Name the three PEM files.", reason="USAGE")
    with connect(node, ca, cert, key, stop=stop) as client:
        yield client


def stopped_by_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def seconds_of(text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _SUFFIXES else (text, "s")
    try:
        seconds = float(number) * _SUFFIXES[unit]
    except ValueError:
        seconds = 0
    if not 0 < seconds < 1e6:
        raise DiefError("--every is no duration.", "Write it as 30s, 5m or 1h.", reason="USAGE")
    return seconds


def tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
        return
    counts: dict[str, Any] = report.as_dict()
    typer.echo("  ".join(f"{name} {counts[name]}" for name in _COUNTS) + f"  in {report.seconds:.1f} s")
    for words in report.warnings:
        typer.secho(f"warning: {words}", fg="yellow", err=True)
    if report.first_rejects:
        emit(report.first_rejects, as_json=False, columns=("row", "field", "column", "reason", "description"))


@contextmanager
def progress_bar(hidden: bool) -> Iterator[Callable[[int, str], None]]:
    """A progress bar on a terminal; elsewhere nothing."""
    if hidden or not sys.stderr.isatty():
        yield lambda read, words: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed} rows  {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda read, words: progress.update(task, completed=read, description=words)
