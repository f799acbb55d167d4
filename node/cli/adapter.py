"""`dief adapter`: connect a national registry by a mapping file.

The node is reached with `[clients.registry]` of dief.toml, or, from another network zone, with --node, --ca, --cert
and --key alone.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from node.cli.options import AsJson, Config
from node.cli.output import emit, emit_one, guarded
from node.ops.errors import DiefError

if TYPE_CHECKING:
    from registry_adapters import AdapterError, Mapping, RegistryClient, Report, Sink, State, Told

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(help="Connect a national registry.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Rows that could not become drafts.", no_args_is_help=True)
app.add_typer(quarantine_app, name="quarantine")

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
_COUNTS = ("read", "accepted", "unchanged", "unselected", "quarantined", "vanished")


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


@app.command(
    help="Try a mapping: reads and validates every row, sends and keeps nothing.\n\n"
    "Example: dief adapter check seizures.toml"
)
@guarded
@adapted
def check(
    mapping: MappingFile,
    limit: Annotated[int | None, typer.Option(min=1, help="Rows to read at most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Dry run."""
    from registry_adapters import check as checking
    from registry_adapters import open_source

    loaded = _load(mapping)
    with _bar(as_json) as moved:
        report = checking.check(loaded, open_source(loaded), limit, lambda read: moved(read, "read"))
    if as_json:
        typer.echo(json.dumps(report.as_dict(), ensure_ascii=False, indent=2))
        return
    emit_one(
        {
            "rows read": report.read,
            "drafts": report.drafts,
            "withdrawals": report.withdrawals,
            "unselected": report.unselected,
            "quarantined": report.quarantined,
            **report.detected,
            **({"not handed over yet": report.waiting} if report.waiting else {}),
        },
        as_json=False,
    )
    if report.first_rejects:
        typer.echo("\nFirst rejects")
        emit(report.first_rejects, as_json=False, columns=("row", "field", "column", "reason", "description"))
    if report.unmapped:
        typer.echo("\nCodes that no table maps")
        emit(report.unmapped, as_json=False, columns=("column", "code", "rows"))


@app.command(
    help="Send what is new in a registry, once or again and again, until SIGTERM.\n\n"
    "Example: dief adapter run seizures.toml --every 30s"
)
@guarded
@adapted
def run(
    mapping: MappingFile,
    once: Annotated[bool, typer.Option("--once", help="One run; the default without --every.")] = False,
    every: Annotated[str | None, typer.Option(help="Seconds between runs, as 30s, 5m or 1h.")] = None,
    accept_vanished: Annotated[
        bool, typer.Option("--accept-vanished", help="Withdraw also where most rows are gone at once.")
    ] = False,
    state: StateFolder = None,
    config: Config = None,
    node: Node = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Run an adapter."""
    from registry_adapters import AdapterError, Runner, Told, WriteBack, open_sink, open_source

    seconds = None if every is None or once else _seconds(every)
    loaded = _load(mapping)
    stop = _stopped_by_signals()
    with (
        _state(loaded, state) as held,
        _node(config, node, ca, cert, key, stop) as client,
        _bar(as_json or seconds is not None) as moved,
    ):
        source = open_source(loaded, state, accept_vanished=accept_vanished)
        runner = Runner(
            loaded,
            source,
            client,
            held,
            lambda report: moved(report.read, f"{report.accepted} sent"),
            accept_vanished=accept_vanished,
        )
        sink = open_sink(loaded)
        settings = loaded.file.write_back
        if seconds is None:
            if held.paused:
                raise DiefError(
                    "The stream is paused.", f"Run `dief adapter resume {mapping}`.", reason="PAUSED"
                )
            _tell(runner.run_once(), as_json=as_json)
            if sink is not None and settings is not None:
                told_back(
                    WriteBack(loaded.stream, sink, settings.tell, client, held).round(), as_json=as_json
                )
            return

        def told(outcome: Report | Told | AdapterError) -> None:
            if isinstance(outcome, Told):
                told_back(outcome, as_json=as_json)
            elif not isinstance(outcome, AdapterError):
                _tell(outcome, as_json=as_json)
            elif as_json:
                typer.echo(json.dumps({"error": outcome.reason, "diagnosis": outcome.diagnosis}))
            else:
                typer.secho(f"error: {outcome.diagnosis}\nmend:  {outcome.mend}", fg="red", err=True)

        with _telling(loaded, sink, client, held, told):
            runner.follow(seconds, told)


@contextmanager
def _telling(
    loaded: Mapping,
    sink: Sink | None,
    client: RegistryClient,
    held: State,
    told: Callable[[Told | AdapterError], None],
) -> Iterator[None]:
    """Tell the registry in a thread of its own, so that neither way waits for the other (I12)."""
    from registry_adapters import WriteBack

    settings = loaded.file.write_back
    if sink is None or settings is None:
        yield
        return

    def tell() -> None:
        with held.companion() as state:
            WriteBack(loaded.stream, sink, settings.tell, client, state).follow(settings.every, told)

    thread = threading.Thread(target=tell, name="write-back")
    thread.start()
    try:
        yield
    finally:
        client.stop.set()
        thread.join()


def told_back(told: Told, *, as_json: bool) -> None:
    """Print what the registry was told."""
    if as_json:
        typer.echo(json.dumps({"told": asdict(told)}))
    elif told.hits or told.outcomes:
        typer.echo(f"told the registry: hits {told.hits}  outcomes {told.outcomes}  waiting {told.waiting}")


@app.command(
    help="How the stream stands: last run, cursor, quarantine, hits that wait.\n\n"
    "Example: dief adapter status seizures.toml"
)
@guarded
@adapted
def status(
    mapping: MappingFile,
    offline: Annotated[
        bool, typer.Option("--offline", help="From the adapter's folder only; do not ask the node.")
    ] = False,
    state: StateFolder = None,
    config: Config = None,
    node: Node = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show how a stream stands."""
    from registry_adapters import State
    from registry_adapters import status as standing

    loaded = _load(mapping)
    with ExitStack() as open_things:
        client = (
            None
            if offline
            else open_things.enter_context(_node(config, node, ca, cert, key, threading.Event()))
        )
        held = State.look(state or loaded.home / loaded.file.state, loaded.stream)
        if held is not None:
            open_things.enter_context(held)
        found = standing.status(loaded, held, client)
    if not as_json:
        found["last_run"] = "  ".join(f"{name} {value}" for name, value in found["last_run"].items())
    emit_one(found, as_json=as_json)


@app.command(
    help="Let no further run of the stream begin; a run under way ends.\n\nExample: dief adapter pause seizures.toml"
)
@guarded
@adapted
def pause(mapping: MappingFile, state: StateFolder = None) -> None:
    """Pause a stream."""
    _paused(mapping, state, pause=True)


@app.command(help="Let runs of the stream begin again.\n\nExample: dief adapter resume seizures.toml")
@guarded
@adapted
def resume(mapping: MappingFile, state: StateFolder = None) -> None:
    """Resume a stream."""
    _paused(mapping, state, pause=False)


def _paused(mapping: Path, state: Path | None, *, pause: bool) -> None:
    from registry_adapters import State

    loaded = _load(mapping)
    held = State.look(state or loaded.home / loaded.file.state, loaded.stream)
    if held is None:
        raise DiefError("No adapter has run on this folder yet.", "Check --state.", reason="USAGE")
    with held:
        (held.pause if pause else held.resume)()
    typer.echo("Paused: no run begins until `dief adapter resume`." if pause else "Runs begin again.")


@quarantine_app.command("list", help="Rows in quarantine with their reasons.")
@guarded
@adapted
def quarantine_list(mapping: MappingFile, state: StateFolder = None, as_json: AsJson = False) -> None:
    """List the quarantine."""
    from registry_adapters.quarantine import summary

    with _state(_load(mapping), state) as held:
        emit(
            map(summary, held.quarantined()),
            as_json=as_json,
            columns=("id", "row", "column", "field", "reason", "refused_by", "times"),
            empty="The quarantine is empty.",
        )


@quarantine_app.command("show", help="One row of the quarantine with its values.")
@guarded
@adapted
def quarantine_show(
    mapping: MappingFile,
    entry: Annotated[int, typer.Argument(help="Its number, from `list`.")],
    state: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show one row."""
    from registry_adapters.quarantine import whole

    with _state(_load(mapping), state) as held:
        found = next(held.quarantined([entry]), None)
    if found is None:
        raise DiefError(
            f"There is no entry {entry}.", "See `dief adapter quarantine list`.", reason="NOT_FOUND"
        )
    shown = whole(found)
    if not as_json:
        shown["faults"] = [
            f"{f['column'] or f['field']}: {f['description']} [{f['reason']}]" for f in shown["faults"]
        ]
        shown["values"] = json.dumps(shown["values"], ensure_ascii=False)
    emit_one(shown, as_json=as_json)


@quarantine_app.command("replay", help="Map and send rows of the quarantine again, after a mend.")
@guarded
@adapted
def quarantine_replay(
    mapping: MappingFile,
    entries: Ids = None,
    state: StateFolder = None,
    config: Config = None,
    node: Node = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Replay rows."""
    from registry_adapters import Runner, open_source

    loaded = _load(mapping)
    with _state(loaded, state) as held, _node(config, node, ca, cert, key, threading.Event()) as client:
        report = Runner(loaded, open_source(loaded), client, held).replay(entries or [])
    _tell(report, as_json=as_json)


@quarantine_app.command("export", help="Write the quarantine as JSON Lines, values included.")
@guarded
@adapted
def quarantine_export(
    mapping: MappingFile,
    to: Annotated[Path | None, typer.Option("--to", help="File to write; default: standard output.")] = None,
    state: StateFolder = None,
) -> None:
    """Export the quarantine."""
    from registry_adapters.quarantine import export

    with _state(_load(mapping), state) as held:
        if to is None:
            export(held, sys.stdout)
            return
        with to.open("w", encoding="utf-8") as file:
            written = export(held, file)
    typer.echo(f"{written} rows written.")


def _load(path: Path) -> Mapping:
    from registry_adapters import Mapping

    return Mapping.load(path)


@contextmanager
def _state(mapping: Mapping, folder: Path | None) -> Iterator[State]:
    from registry_adapters import State

    with State.open(folder or mapping.home / mapping.file.state, mapping.stream) as state:
        yield state


@contextmanager
def _node(
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


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def _seconds(text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _SUFFIXES else (text, "s")
    try:
        seconds = float(number) * _SUFFIXES[unit]
    except ValueError:
        seconds = 0
    if not 0 < seconds < 1e6:
        raise DiefError("--every is no duration.", "Write it as 30s, 5m or 1h.", reason="USAGE")
    return seconds


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
        return
    counts: dict[str, Any] = report.as_dict()
    typer.echo("  ".join(f"{name} {counts[name]}" for name in _COUNTS) + f"  in {report.seconds:.1f} s")
    if report.first_rejects:
        emit(report.first_rejects, as_json=False, columns=("row", "field", "column", "reason", "description"))


@contextmanager
def _bar(hidden: bool) -> Iterator[Callable[[int, str], None]]:
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
