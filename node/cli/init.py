"""`dief init`: the home of a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.cli.output import guarded

app = typer.Typer()


@app.command(
    help="""Make the home of a node: settings, log key and a release policy that asks a person for everything.

With --dev also development CAs and certificates for the node and for every national role, so that it can be tried
at once. A real State keeps its CAs elsewhere: see `dief pki --help`.

Example: dief init /srv/dief-xa --state XA --dev"""
)
@guarded
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    state: Annotated[str, typer.Option("--state", help="ISO 3166-1 alpha-2 code of the own State.")],
    federation: Annotated[str, typer.Option("--federation", help="Name of the federation.")] = "dief",
    federation_listen: Annotated[str, typer.Option("--listen", help="host:port for peers.")] = "0.0.0.0:7443",
    national_listen: Annotated[
        str, typer.Option("--national", help="host:port for the own State.")
    ] = "127.0.0.1:7444",
    dev: Annotated[bool, typer.Option("--dev", help="Make development CAs and certificates too.")] = False,
    dns: Annotated[
        list[str] | None, typer.Option("--dns", help="With --dev: host name of the listeners; repeat.")
    ] = None,
) -> None:
    """Make the home of a node."""
    from node.home import make_home

    make_home(
        folder,
        state,
        federation,
        federation_listen=federation_listen,
        national_listen=national_listen,
        dev=dev,
        dns=("localhost", *(dns or ())),
    )
    typer.echo(f"{folder}/dief.toml is the node of {state}.")
    if dev:
        typer.echo("Next: a roster (`dief roster --help`), then `dief serve`.")
    else:
        typer.echo(
            "Next: certificates (`dief pki csr --help`), a roster (`dief roster --help`), then `dief serve`."
        )
