"""`dief adapter quarantine`: rows that could not be taken, with their reasons."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from node.cli.adapter_shared import (
    Ca,
    Cert,
    Ids,
    Key,
    MappingFile,
    Node,
    StateFolder,
    adapted,
    load,
    node_of,
    notes_of,
    state_of,
    tell,
)
from node.cli.options import AsJson, Config
from node.cli.output import emit, emit_one, guarded
from node.ops.errors import DiefError

app = typer.Typer(help="Rows that could not be taken.", no_args_is_help=True)


@app.command(
    "list",
    help="""Rows in quarantine with their reasons.

Example: dief adapter quarantine list seizures.toml --json""",
)
@guarded
@adapted
def quarantine_list(mapping: MappingFile, state: StateFolder = None, as_json: AsJson = False) -> None:
    """List the quarantine."""
    from registry_adapters.quarantine import summary

    with notes_of(load(mapping), state) as held:
        emit(
            map(summary, held.quarantined()),
            as_json=as_json,
            columns=("id", "row", "column", "field", "reason", "refused_by", "times"),
            empty="The quarantine is empty.",
        )


@app.command(
    "show",
    help="""One row of the quarantine with its values.

Example: dief adapter quarantine show seizures.toml 17""",
)
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

    with notes_of(load(mapping), state) as held:
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


@app.command(
    "replay",
    help="""Map and send rows of the quarantine again, after a mend.

Example: dief adapter quarantine replay seizures.toml""",
)
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

    loaded = load(mapping)
    with state_of(loaded, state) as held, node_of(config, node, ca, cert, key, threading.Event()) as client:
        report = Runner(loaded, open_source(loaded), client, held).replay(entries or [])
    tell(report, as_json=as_json)


@app.command(
    "export",
    help="""Write the quarantine as JSON Lines, values included.

Example: dief adapter quarantine export seizures.toml --to rejects.jsonl""",
)
@guarded
@adapted
def quarantine_export(
    mapping: MappingFile,
    to: Annotated[Path | None, typer.Option("--to", help="File to write; default: standard output.")] = None,
    state: StateFolder = None,
) -> None:
    """Export the quarantine."""
    from registry_adapters.quarantine import export

    with notes_of(load(mapping), state) as held:
        if to is None:
            export(held, sys.stdout)
            return
        with to.open("w", encoding="utf-8") as file:
            written = export(held, file)
    typer.echo(f"{written} rows written.")
