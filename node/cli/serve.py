"""`dief serve`."""

from __future__ import annotations

import typer

from node.cli import client
from node.cli.options import Config
from node.cli.output import guarded

app = typer.Typer()


@app.command(help="Run the node until SIGTERM or Ctrl-C.\n\nExample: dief serve --config /etc/dief/dief.toml")
@guarded
def serve(config: Config = None) -> None:
    """Run the node."""
    import asyncio

    from node.cli.beside import adapters
    from node.ops import logging
    from node.server import serve as run

    settings = client.settings(config)
    logging.configure(settings.logging.level, settings.logging.format)
    with adapters(settings, client.config_path(config)):
        asyncio.run(run(settings))
