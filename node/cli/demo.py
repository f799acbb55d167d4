"""`dief demo`: the main job, seen."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.options import AsJson

if TYPE_CHECKING:
    from node.demo.stage import Stage

app = typer.Typer()


@app.command(
    help="""See the whole exchange with four nodes on this machine: real processes, keys, sockets, files.

XA, XB and XE are States Parties, XD is a signatory. Everything is made in a temporary folder and removed again;
with --keep the nodes stay up, and the commands to talk to them are printed. Exit status is not 0 if a step fails.

Example: dief demo --json"""
)
def demo(
    as_json: AsJson = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the nodes running.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where to make the homes; must be empty.")
    ] = None,
) -> None:
    """Run the demonstration."""
    from node.demo.stage import Stage
    from node.demo.story import Story
    from registry_adapters.samples import samples_folder

    with ExitStack() as stack:
        if folder is not None and folder.exists() and any(folder.iterdir()):
            raise typer.BadParameter("--dir names a folder that is not empty.")
        if folder is None:
            place = Path(tempfile.mkdtemp(prefix="dief-demo-"))
            if not keep:
                stack.callback(_remove, place)
        else:
            place = folder
        stage = Stage(place)
        if not keep:
            stack.callback(stage.end)
        story = Story(stage, samples_folder())
        results = []
        began = time.perf_counter()
        for step in story.steps():
            results.append(_run(step, as_json=as_json))
            if not results[-1]["ok"]:
                stage.end()
                break
        took = time.perf_counter() - began
        ok = all(result["ok"] for result in results)
        if as_json:
            typer.echo(json.dumps(results, ensure_ascii=False, indent=2))
        elif ok:
            typer.echo(f"\nAll {len(results)} steps held, in {took:.1f} s.")
        if keep and ok and not as_json:
            _print_commands(stage)
    if not ok:
        raise typer.Exit(1)


def _run(step: Any, *, as_json: bool) -> dict[str, Any]:
    from node.demo.stage import StepFailedError

    if not as_json:
        typer.secho(f"\n▸ {step.shows}", bold=True)
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
    return {"name": step.name, "ok": ok, "ms": took, "detail": detail}


def _remove(place: Path) -> None:
    import shutil

    shutil.rmtree(place, ignore_errors=True)


def _print_commands(stage: Stage) -> None:
    typer.echo("\nThe nodes are still running. Talk to them, for example:")
    for state, actor in stage.actors.items():
        typer.echo(f"  dief status --config {actor.config}        # {state}")
    typer.echo(f"  dief alert list --config {stage['XB'].config}")
    typer.echo(f"  dief screen --serial tkr-04417 --config {stage['XB'].config}")
    typer.echo(f"End them with: pkill -f {stage.folder}")
