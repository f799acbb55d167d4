"""The command `dief`: one file a noun, loaded only when its noun is used, so that `dief --help` answers at once."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

NOUNS = {
    "init": "Make the home of a node: settings, keys and a release policy.",
    "serve": "Run the node.",
    "status": "One screen: peers, logs, certificates, drafts.",
    "demo": "See the whole exchange with four nodes on this machine.",
    "pki": "Certificates: development CAs, requests for a real CA, renewal.",
    "roster": "The signed list of participants: make, sign, check, trust.",
    "peer": "Admit, deny and list participants.",
    "federation": "Stop or start everything towards other States.",
    "alert": "Draft, read, list and withdraw alerts.",
    "release": "Drafts that wait for a decision.",
    "screen": "Match serials, names and documents against all alerts held here.",
    "hit": "National records that met an alert: list, show, decide.",
    "query": "Ask a peer for its alerts over gRPC and check every proof.",
    "adapter": "Connect a national registry.",
    "bench": "Measure this machine against the promises.",
    "version": "Print the version.",
}


def _unwrap(command: Any) -> None:
    """Join the lines of each paragraph of a help text, so that it fits any terminal; lists of commands stay."""
    paragraphs = (command.help or "").split("\n\n")
    command.help = "\n\n".join(
        each if "  dief " in each else " ".join(each.split("\n")) for each in paragraphs
    )
    for below in getattr(command, "commands", {}).values():
        _unwrap(below)


class _LazyGroup(TyperGroup):
    """Loads node.cli.<noun> when the noun is used; its `app` is the command."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(NOUNS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in NOUNS:
            return None
        module = importlib.import_module(f"node.cli.{cmd_name}")
        module.app._add_completion = False
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        _unwrap(command)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(NOUNS.items()))


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""One State's node in the Diversion Information Exchange Forum (DIEF) of the Arms Trade Treaty.

Begin with `dief demo` to see what it does, or with `dief init DIR --state XA` to set up a node.
Commands find the node's settings by --config, DIEF_CONFIG or ./dief.toml.""",
)


@app.callback()
def _root() -> None:
    """One State's node in the Diversion Information Exchange Forum (DIEF) of the Arms Trade Treaty."""


def main(arguments: list[str] | None = None) -> Any:
    """Entry point of the installed command."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    return app(arguments if arguments is not None else sys.argv[1:], prog_name="dief")
