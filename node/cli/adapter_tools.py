"""`dief adapter conform | lookup | new`: for those who write an adapter of their own, and those who try one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from node.cli.adapter_shared import MappingFile, adapted, load
from node.cli.options import AsJson
from node.cli.output import emit, guarded
from node.ops.errors import DiefError

CONFORM = """Try whether the source of a mapping keeps the rules: nothing lost, nothing written, resumable anywhere.

Exit status 1 where a rule does not hold. Reads the first 2,000 rows several times; sends nothing.

Example: dief adapter conform seizures.toml"""

LOOKUP = """Look one thing up in the registry on demand, by a query of the mapping's `lookup` tables.

Example: dief adapter lookup licences.toml serial "KT 4401" """

NEW = """Write a working package of a source of your own: settings, source, mapping and trials.

Example: dief adapter new ./xa-arms-book --kind arms_book"""


@guarded
@adapted
def conform(mapping: MappingFile, as_json: AsJson = False) -> None:
    """Try a source."""
    from registry_adapters import open_source
    from registry_adapters.conformance import try_source

    loaded = load(mapping)
    trials = try_source(lambda: open_source(loaded))
    rows = [{"rule": trial.rule, "holds": trial.held, "seen": trial.seen} for trial in trials]
    emit(rows, as_json=as_json, columns=("holds", "rule", "seen"))
    if not all(trial.held for trial in trials):
        raise typer.Exit(1)


@guarded
@adapted
def lookup(
    mapping: MappingFile,
    kind: Annotated[str, typer.Argument(help="Name of the look-up: `serial` for [lookup.serial].")],
    value: Annotated[str, typer.Argument(help="What to look up.")],
    as_json: AsJson = False,
) -> None:
    """Look something up."""
    from registry_adapters import open_source
    from registry_adapters.source import Lookup

    loaded = load(mapping)
    source = open_source(loaded)
    if not isinstance(source, Lookup) or kind not in loaded.file.lookup:
        offered = ", ".join(loaded.file.lookup) or "none"
        raise DiefError(
            f"The mapping has no [lookup.{kind}]; it has {offered}.",
            "Add it, or name another.",
            reason="USAGE",
        )
    found = [{name: _shown(held) for name, held in row.items()} for row in source.lookup(kind, value)]
    emit(found, as_json=as_json, columns=tuple(found[0]) if found else (), empty="Nothing found.")


def _shown(value: object) -> object:
    return value if isinstance(value, (str, int, float, bool, type(None))) else json.dumps(value, default=str)


@guarded
@adapted
def new(
    folder: Annotated[Path, typer.Argument(help="Folder to make; must not exist.")],
    kind: Annotated[str, typer.Option("--kind", help="Name of the kind: letters, digits and _.")],
) -> None:
    """Write a package."""
    from registry_adapters.skeleton import write_package

    for path in write_package(folder, kind):
        typer.echo(path)
    typer.echo(
        f"\nNext: pip install -e {folder}   then: dief adapter conform {folder}/mapping.toml\n"
        f"The source to change is in {folder}/{kind}/__init__.py."
    )
