"""`dief bench`: the promises of speed, measured on this machine beside the limit that it could reach."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from node.cli.options import AsJson
from node.cli.output import emit, guarded

app = typer.Typer(
    help="""Measure this machine against the promises.

Two nodes run as real processes in a temporary folder, over mTLS on loopback, each with a SQLite database of its own.
Tables say which promise is kept; --json gives the figures, ms meaning milliseconds, `machine` what they are of.

Example: dief bench all"""
)

Alerts = Annotated[
    int,
    typer.Option("--alerts", min=100, max=10_000_000, help="How many alerts the origin holds before."),
]
Keep = Annotated[bool, typer.Option("--keep", help="Leave the nodes' folder.")]


@app.command(
    help="""An empty follower takes in all alerts of one peer.

--json: entries_per_s; limit_per_s and ratio_to_limit (the same data with nothing checked but hashes and signatures);
naive_per_s and ratio_to_naive (an ORM, a commit and a signature an alert); n, seconds; resident_mb of the follower
a second after.

Example: dief bench catchup --json"""
)
@guarded
def catchup(alerts: Alerts = 100_000, as_json: AsJson = False, keep: Keep = False) -> None:
    """Measure catch-up."""
    _measure(["catchup"], alerts, as_json, keep)


@app.command(
    help="""From the commit at the origin to the index of the peer.

--json: n; p50_ms, p99_ms; whole_p50_ms and whole_p99_ms from handing the record in.

Example: dief bench live --alerts 10000"""
)
@guarded
def live(alerts: Alerts = 1_000, as_json: AsJson = False, keep: Keep = False) -> None:
    """Measure the live path."""
    _measure(["live"], alerts, as_json, keep)


@app.command(
    help="""One application, 10 identifiers and 6 names, against all alerts held.

--json: n applications, alerts held; p50_ms, p99_ms of the whole call.

Example: dief bench screen --alerts 1000000"""
)
@guarded
def screen(alerts: Alerts = 100_000, as_json: AsJson = False, keep: Keep = False) -> None:
    """Measure screening."""
    _measure(["screen"], alerts, as_json, keep)


@app.command(
    help="""One serial, written in another way, against all alerts held.

--json: n questions, alerts held; p50_ms, p99_ms of the whole call.

Example: dief bench trace --alerts 1000000"""
)
@guarded
def trace(alerts: Alerts = 100_000, as_json: AsJson = False, keep: Keep = False) -> None:
    """Measure tracing."""
    _measure(["trace"], alerts, as_json, keep)


@app.command(
    help="""A hundred followers of one origin: 99 that verify, in one process, and a node that stores.

--json: n alerts, clients; p50_ms, p99_ms from the origin's moment to each of the hundred; stored_p99_ms to the node
alone; mb_per_follower that the origin needs for each while nothing is sent.

Example: dief bench follow --json"""
)
@guarded
def follow(alerts: Alerts = 500, as_json: AsJson = False, keep: Keep = False) -> None:
    """Measure a hundred followers."""
    _measure(["follow"], alerts, as_json, keep)


@app.command(
    help="""A peer with a hundred logs connects again, and nothing is new.

--json: n connections, logs, entries in them; p50_ms, p99_ms from opening the connection to the end of the backlog,
bytes both ways with TLS (the largest); resigned_p50_ms, resigned_p99_ms, resigned_bytes where every checkpoint was
signed again meanwhile.

Example: dief bench reconnect --alerts 100000"""
)
@guarded
def reconnect(alerts: Alerts = 10_000, as_json: AsJson = False, keep: Keep = False) -> None:
    """Measure connecting again."""
    _measure(["reconnect"], alerts, as_json, keep)


@app.command(
    help="""A registry loads the watch, and new alerts are matched against all of it.

Records have a serial each, and every tenth a name; they are loaded through RegistryService by batches of 1,000. Each
alert meets at least three.

--json: n records, names; records_per_s loaded; node_cpu_us, processor time of the node a record; alerts matched;
p50_ms, p99_ms of matching one, with the commit of its hits.

Example: dief bench watch --records 1000000"""
)
@guarded
def watch(
    records: Annotated[
        int, typer.Option("--records", min=1_000, max=20_000_000, help="How many records are under watch.")
    ] = 1_000_000,
    as_json: AsJson = False,
    keep: Keep = False,
) -> None:
    """Measure the watch."""
    _measure(["watch"], records, as_json, keep)


@app.command(
    help="""An adapter loads a registry into the watch for the first time, and once more after 100 rows changed.

The adapter runs as a process of its own. The registry is a table dief_bench_arm that is made and dropped again.

--json: n rows, registry (sqlite or postgresql); rows_per_s; limit_per_s and ratio_to_limit (the same rows read with the
bare driver, made into the same messages, sent and stored, nothing else); adapter_peak_mb; adapter_cpu_us, node_cpu_us,
processor time a row; changes; later_seconds, of the run for them; later_whole_seconds, with the start of its process.

Example: dief bench load --rows 1000000 --url postgresql://bench@db.example/registry"""
)
@guarded
def load(
    rows: Annotated[
        int, typer.Option("--rows", min=1_000, max=20_000_000, help="How many rows the registry has.")
    ] = 200_000,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="DIEF_BENCH_URL",
            help="Database in which the registry is made; without it a SQLite file.",
        ),
    ] = None,
    as_json: AsJson = False,
    keep: Keep = False,
) -> None:
    """Measure a first load."""
    _measure(["load"], rows, as_json, keep, url)


@app.command(
    "all",
    help="""All of them, with as many nodes as need be.

--json: the figures of each under its name.

Example: dief bench all --json""",
)
@guarded
def everything(alerts: Alerts = 100_000, as_json: AsJson = False, keep: Keep = False) -> None:
    """Measure everything."""
    from node.bench import run

    _measure(run.MEASUREMENTS, alerts, as_json, keep)


def _measure(
    measurements: Sequence[str], alerts: int, as_json: bool, keep: bool, registry: str | None = None
) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from node.bench import run

    columns = (TextColumn("{task.description:<26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as shown:

        def task(what: str, total: int) -> Any:
            begun = shown.add_task(what, total=total)
            return lambda done: shown.advance(begun, done)

        found = run.run(measurements, alerts, task, keep=keep, registry=registry)
    if as_json:
        only = found[measurements[0]] if len(measurements) == 1 else found
        typer.echo(json.dumps(only, indent=2))
        return
    _show(found, [_row(goal) for goal in run.goals(found)])


def _row(goal: Any) -> dict[str, Any]:
    bound = f"{'>=' if goal.at_least else '<='} {goal.goal:g}"
    return {
        "path": goal.path,
        "figure": goal.figure,
        "measured": f"{goal.measured:.2f}",
        "goal": bound,
        "ok": "ok" if goal.ok else "not ok",
    }


def _show(found: dict[str, dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    if caught := found.get("catchup"):
        typer.echo(
            f"{caught['n']} alerts in {caught['seconds']:.1f} s: {caught['entries_per_s']:,.0f} entries/s; "
            f"limit {caught['limit_per_s']:,.0f}, naive {caught['naive_per_s']:,.0f}."
        )
    if watched := found.get("watch"):
        typer.echo(
            f"{watched['n']:,} records: {watched['records_per_s']:,.0f}/s; "
            f"an alert against them in {watched['p50_ms']:.1f} ms."
        )
    if loaded := found.get("load"):
        typer.echo(
            f"{loaded['n']:,} rows of {loaded['registry']}: {loaded['rows_per_s']:,.0f}/s; "
            f"limit {loaded['limit_per_s']:,.0f}."
        )
    emit(rows, as_json=False, columns=("path", "figure", "measured", "goal", "ok"))
    typer.echo(next(iter(found.values()))["machine"])
