"""`dief status`: one screen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from node.cli import client
from node.cli.options import AsJson, Config
from node.cli.output import emit, emit_one, guarded
from node.cli.peer import COLUMNS, peer_row

if TYPE_CHECKING:
    from dief.v1 import operator_pb2

app = typer.Typer()

LOG_COLUMNS = ("log", "origin", "members", "epoch", "size", "state", "checkpoint_time", "not_projected")


def _log_row(log: operator_pb2.LogStatus) -> dict[str, Any]:
    from node.ops.clock import from_timestamp, to_iso

    return {
        "log": log.log_id.hex()[:12],
        "log_id": log.log_id.hex(),
        "origin": log.origin,
        "members": list(log.members),
        "epoch": log.epoch,
        "size": log.size,
        "checkpoint_size": log.checkpoint_size,
        "checkpoint_time": to_iso(from_timestamp(log.checkpoint_time)),
        "state": log.state,
        "reader_role": log.reader_role,
        "not_projected": log.not_projected,
        "detail": log.detail,
    }


@app.command(help="How the node stands: peers, logs, certificates, drafts.\n\nExample: dief status --json")
@guarded
def status(config: Config = None, as_json: AsJson = False) -> None:
    """Show the node's status."""
    from dief.v1 import operator_pb2, operator_pb2_grpc

    from node.ops.clock import from_timestamp, to_iso

    with client.connect(config, "operator") as channel:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        answer = stub.GetStatus(operator_pb2.GetStatusRequest(), timeout=client.CALL_SECONDS)
    head = {
        "state": answer.state,
        "federation": answer.federation,
        "software": answer.software,
        "started_at": to_iso(from_timestamp(answer.started_at)),
        "roster_version": answer.roster_version,
        "roster_expires_at": to_iso(from_timestamp(answer.roster_expires_at))
        if answer.roster_version
        else "",
        "certificate_expires_at": to_iso(from_timestamp(answer.certificate_expires_at)),
        "federation_stopped": answer.federation_stopped,
        "signing_paused": answer.signing_paused,
        "alerts": answer.alerts,
        "drafts_waiting": answer.drafts_waiting,
        "federation_address": answer.federation_address,
        "national_address": answer.national_address,
    }
    peers = [peer_row(peer) for peer in answer.peers]
    logs = [_log_row(log) for log in answer.logs]
    if as_json:
        whole = {
            **head,
            "peers": peers,
            "logs": logs,
            "refused": dict(answer.refused),
            "warnings": list(answer.warnings),
        }
        typer.echo(json.dumps(whole, indent=2))
        return
    emit_one(head, as_json=False)
    typer.echo("\nPeers")
    emit(peers, as_json=False, columns=COLUMNS, below="last_error", empty="None.")
    typer.echo("\nLogs")
    emit(logs, as_json=False, columns=LOG_COLUMNS, empty="None yet.")
    if answer.refused:
        typer.echo("\nRefused since the start")
        emit(
            ({"reason": reason, "times": times} for reason, times in sorted(answer.refused.items())),
            as_json=False,
            columns=("reason", "times"),
        )
    for warning in answer.warnings:
        typer.secho(f"warning: {warning}", fg="yellow")
