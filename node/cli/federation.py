"""`dief federation`: the switch for everything towards other States."""

from __future__ import annotations

from typing import Annotated

import typer

from node.cli import client
from node.cli.options import Config
from node.cli.output import guarded

app = typer.Typer(no_args_is_help=True, help="Stop or start everything towards other States, in seconds.")

Reason = Annotated[str, typer.Option("--reason", help="Why; goes into the audit trail.")]


def _set(config: Config, *, stopped: bool, reason: str) -> None:
    from dief.v1 import operator_pb2, operator_pb2_grpc

    with client.connect(config, "operator") as channel:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        stub.SetFederation(
            operator_pb2.SetFederationRequest(stopped=stopped, reason=reason), timeout=client.CALL_SECONDS
        )
    typer.echo(
        "Federation is stopped: no stream to or from another State." if stopped else "Federation is running."
    )


@app.command(
    help='Cut every stream to and from other States now.\n\nExample: dief federation stop --reason "audit"'
)
@guarded
def stop(config: Config = None, reason: Reason = "") -> None:
    """Stop the federation side."""
    _set(config, stopped=True, reason=reason)


@app.command(help="Let streams to and from other States run again.\n\nExample: dief federation start")
@guarded
def start(config: Config = None, reason: Reason = "") -> None:
    """Start the federation side."""
    _set(config, stopped=False, reason=reason)


@app.command(
    "resume-signing",
    help="""Sign again after a start-up comparison that could not be settled by itself.

Logs whose entries are lost are closed and continued in a new epoch. Do this only when the database is the newest
there is.

Example: dief federation resume-signing --reason "restored from Monday's backup, no member reachable" """,
)
@guarded
def resume_signing(
    reason: Annotated[str, typer.Option("--reason", help="Why.")], config: Config = None
) -> None:
    """Decide that signing goes on."""
    from dief.v1 import operator_pb2, operator_pb2_grpc

    with client.connect(config, "operator") as channel:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        answer = stub.ResumeSigning(
            operator_pb2.ResumeSigningRequest(reason=reason), timeout=client.CALL_SECONDS
        )
    typer.echo(f"Signing goes on; {len(answer.closed_logs)} logs were closed as lost.")
