"""`dief adapter`: connect a national registry by a mapping file.

The node is reached with `[clients.registry]` of dief.toml, or, from another network zone, with --node, --ca, --cert
and --key alone.
"""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli import adapter_quarantine, adapter_tools
from node.cli.adapter_shared import (
    Ca,
    Cert,
    Key,
    MappingFile,
    Node,
    StateFolder,
    adapted,
    load,
    node_of,
    progress_bar,
    seconds_of,
    state_of,
    stopped_by_signals,
    tell,
)
from node.cli.options import AsJson, Config
from node.cli.output import emit, emit_one, guarded
from node.ops.errors import DiefError

if TYPE_CHECKING:
    from registry_adapters import AdapterError, Mapping, RegistryClient, Report, Sink, State, Told

COLLECT_AFTER = (20_000, 20, 50)

app = typer.Typer(help="Connect a national registry.", no_args_is_help=True)


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

    loaded = load(mapping)
    with progress_bar(as_json) as moved:
        report = checking.check(loaded, open_source(loaded), limit, lambda read: moved(read, "read"))
    if as_json:
        typer.echo(json.dumps(report.as_dict(), ensure_ascii=False, indent=2))
        return
    emit_one(
        {
            "rows read": report.read,
            "drafts": report.drafts,
            "watched": report.watched,
            "withdrawals": report.withdrawals,
            "unselected": report.unselected,
            "quarantined": report.quarantined,
            **report.detected,
            **({"mended mojibake": report.mended} if report.mended else {}),
            **({"not handed over yet": report.waiting} if report.waiting else {}),
        },
        as_json=False,
    )
    for words in report.warnings:
        typer.secho(f"warning: {words}", fg="yellow", err=True)
    if report.first_rejects:
        typer.echo("\nFirst rejects")
        emit(report.first_rejects, as_json=False, columns=("row", "field", "column", "reason", "description"))
    if report.unmapped:
        typer.echo("\nCodes that no table maps")
        emit(report.unmapped, as_json=False, columns=("column", "code", "rows"))


def _collect_seldom() -> None:
    """Let the collector of cycles run seldom: rows make none, and looking for them took a sixth of a first load."""
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


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

    seconds = None if every is None or once else seconds_of(every)
    loaded = load(mapping)
    _collect_seldom()
    stop = stopped_by_signals()
    with (
        state_of(loaded, state) as held,
        node_of(config, node, ca, cert, key, stop) as client,
        progress_bar(as_json or seconds is not None) as moved,
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
            try:
                tell(runner.run_once(), as_json=as_json)
            finally:
                if sink is not None and settings is not None:
                    told_back(
                        WriteBack(loaded.stream, sink, settings.tell, client, held).round(), as_json=as_json
                    )
            return

        def told(outcome: Report | Told | AdapterError) -> None:
            if isinstance(outcome, Told):
                told_back(outcome, as_json=as_json)
            elif not isinstance(outcome, AdapterError):
                tell(outcome, as_json=as_json)
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

    loaded = load(mapping)
    with ExitStack() as open_things:
        client = (
            None
            if offline
            else open_things.enter_context(node_of(config, node, ca, cert, key, threading.Event()))
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

    loaded = load(mapping)
    held = State.look(state or loaded.home / loaded.file.state, loaded.stream)
    if held is None:
        raise DiefError("No adapter has run on this folder yet.", "Check --state.", reason="USAGE")
    with held:
        (held.pause if pause else held.resume)()
    typer.echo("Paused: no run begins until `dief adapter resume`." if pause else "Runs begin again.")


app.add_typer(adapter_quarantine.app, name="quarantine")
app.command(help=adapter_tools.CONFORM)(adapter_tools.conform)
app.command(help=adapter_tools.LOOKUP)(adapter_tools.lookup)
app.command(help=adapter_tools.NEW)(adapter_tools.new)
