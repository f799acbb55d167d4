"""`dief bench`: the promises of speed, measured on this machine beside the limit that it could reach."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from node.cli.options import AsJson
from node.cli.output import emit, guarded

app = typer.Typer(
    help="""Measure this machine against the promises.

Two nodes run as real processes in a temporary folder, over mTLS on loopback, each with a SQLite database of its own.

Example: dief bench all"""
)

Alerts = Annotated[
    int,
    typer.Option("--alerts", min=100, max=10_000_000, help="How many alerts the origin holds before."),
]
Keep = Annotated[bool, typer.Option("--keep", help="Leave the nodes' folder.")]


@app.command(help="An empty follower takes in all alerts of one peer.\n\nExample: dief bench catchup --json")
@guarded
def catchup(alerts: Alerts = 100_000, as_json: AsJson = False, keep: Keep = False) -> None:
    """Measure catch-up."""
    _measure(["catchup"], alerts, as_json, keep)


@app.command(
    help="From the commit at the origin to the index of the peer.\n\nExample: dief bench live --alerts 10000"
)
@guarded
def live(alerts: Alerts = 1_000, as_json: AsJson = False, keep: Keep = False) -> None:
    """Measure the live path."""
    _measure(["live"], alerts, as_json, keep)


@app.command(help="One application against all alerts held.\n\nExample: dief bench screen --alerts 1000000")
@guarded
def screen(alerts: Alerts = 100_000, as_json: AsJson = False, keep: Keep = False) -> None:
    """Measure screening."""
    _measure(["screen"], alerts, as_json, keep)


@app.command("all", help="All of them with the same two nodes.\n\nExample: dief bench all --json")
@guarded
def everything(alerts: Alerts = 100_000, as_json: AsJson = False, keep: Keep = False) -> None:
    """Measure everything."""
    _measure(["catchup", "live", "screen"], alerts, as_json, keep)


def _measure(measurements: list[str], alerts: int, as_json: bool, keep: bool) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from node.bench import run

    columns = (TextColumn("{task.description:<26}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as shown:

        def task(what: str, total: int) -> Any:
            begun = shown.add_task(what, total=total)
            return lambda done: shown.advance(begun, done)

        found = run.run(measurements, alerts, task, keep=keep)
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
    emit(rows, as_json=False, columns=("path", "figure", "measured", "goal", "ok"))
    typer.echo(next(iter(found.values()))["machine"])
