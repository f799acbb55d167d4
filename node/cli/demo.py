"""`dief demo`: the main job, seen."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.options import AsJson
from node.cli.output import guarded

if TYPE_CHECKING:
    from node.demo.stage import Stage

app = typer.Typer()


@app.command(
    help="""See the whole exchange with four nodes on this machine: real processes, keys, sockets, files.

XA, XB and XE are States Parties, XD is a signatory. Everything is made in a temporary folder and removed again;
with --keep the nodes stay up, and the commands to talk to them are printed. Exit status is not 0 if a step fails.

Example: dief demo --json"""
)
@guarded
def demo(
    as_json: AsJson = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the nodes running, and their folder in any case.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where to make the homes; must be empty.")
    ] = None,
) -> None:
    """Run the demonstration."""
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise typer.BadParameter("--dir names something that is not an empty folder.")
    from node.demo.stage import Stage
    from node.demo.story import Story
    from registry_adapters.samples import samples_folder

    place = (folder or Path(tempfile.mkdtemp(prefix="dief-demo-"))).absolute()
    stage = Stage(place)
    ok = False
    try:
        with _signals_interrupt():
            ok = _play(Story(stage, samples_folder()), as_json=as_json)
    finally:
        with _uninterrupted():
            if not (keep and ok):
                stage.end()
            if folder is None and not keep:
                shutil.rmtree(place, ignore_errors=True)
    if keep:
        _print_commands(stage, running=ok, to_stderr=as_json)
    if not ok:
        raise typer.Exit(1)


def _play(story: Any, *, as_json: bool) -> bool:
    """Run step after step until one fails; whether all held."""
    results: list[dict[str, Any]] = []
    began = time.perf_counter()
    for step in story.steps():
        results.append(_run(step, as_json=as_json))
        if not results[-1]["ok"]:
            break
    ok = all(result["ok"] for result in results)
    if as_json:
        typer.echo(json.dumps(results, ensure_ascii=False, indent=2))
    elif ok:
        typer.echo(f"\nAll {len(results)} steps held, in {time.perf_counter() - began:.1f} s.")
    return ok


def _run(step: Any, *, as_json: bool) -> dict[str, Any]:
    from node.demo.stage import StepFailedError

    if not as_json:
        typer.secho(f"\n▸ {step.shows}", bold=True)
        if step.case:
            typer.secho(f"  Case: {step.case}.", dim=True)
    began = time.perf_counter()
    try:
        detail, ok = step.act(), True
    except StepFailedError as error:
        detail, ok = str(error), False
    except Exception as error:  # noqa: BLE001 - whatever breaks a step, the rest must still be ended and reported
        detail, ok = f"{type(error).__name__}: {str(error)[:500]}", False
    took = round((time.perf_counter() - began) * 1000)
    if not as_json:
        mark = typer.style("  ✓ ", fg="green") if ok else typer.style("  ✗ ", fg="red")
        typer.echo(f"{mark}{detail}  {typer.style(f'[{took} ms]', dim=True)}")
    return {"name": step.name, "ok": ok, "ms": took, "detail": detail, "case": step.case}


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """What ends this process from outside does so as Ctrl-C does, so that the nodes are ended too."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Tidying up is not left half done because somebody is impatient."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_commands(stage: Stage, *, running: bool, to_stderr: bool) -> None:
    if not running:
        typer.echo(f"\nHomes and logs of the nodes, which are ended, stay in {stage.folder}.", err=to_stderr)
        return
    beside = Path(sys.executable).with_name("dief")
    dief = "dief" if shutil.which("dief") == str(beside) else shlex.join([str(beside)])
    xa, xb, xd = (shlex.quote(str(stage[state].config)) for state in ("XA", "XB", "XD"))
    lines = [
        "\nThe nodes are still running. Talk to them, for example:",
        *(
            f"  {dief} status --config {shlex.quote(str(actor.config))}        # {state}"
            for state, actor in stage.actors.items()
        ),
        f"  {dief} alert list --config {xb}",
        f"  {dief} screen --serial tkr-04417 --config {xb}",
        f"  {dief} query --peer XA --serial gl9120066 --config {xd}",
        f"  {dief} release list --all --config {xa}",
        f"End them with: kill {' '.join(map(str, stage.process_ids))}",
        f"and remove what they leave: rm -r {shlex.quote(str(stage.folder))}",
    ]
    for line in lines:
        typer.echo(line, err=to_stderr)
