"""`dief version`."""

from __future__ import annotations

import typer

from node import __version__

app = typer.Typer()


@app.command(help="Print the version of this software.\n\nExample: dief version")
def version() -> None:
    """Print the version."""
    typer.echo(f"dief-node {__version__}")
