"""`dief peer`: this node's own yes or no to other participants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli import client
from node.cli.options import AsJson, Config
from node.cli.output import emit, guarded

if TYPE_CHECKING:
    from dief.v1 import operator_pb2

app = typer.Typer(
    no_args_is_help=True, help="Admit, deny and list participants. The roster alone grants nothing."
)


def _capitals(value: str) -> str:
    return value.upper()


StateArgument = Annotated[
    str, typer.Argument(help="ISO 3166-1 alpha-2 code, for example XB.", callback=_capitals)
]
COLUMNS = ("state", "name", "stands", "admitted", "lag_entries", "last_contact")


def peer_row(peer: operator_pb2.PeerStatus) -> dict[str, Any]:
    """One participant as a row for tables and JSON."""
    from dief.v1 import operator_pb2, roster_pb2

    from node.ops.clock import from_timestamp, to_iso

    return {
        "state": peer.state,
        "name": peer.display_name,
        "treaty_status": roster_pb2.TreatyStatus.Name(peer.treaty_status).removeprefix("TREATY_STATUS_"),
        "stands": operator_pb2.PeerState.Name(peer.peer_state).removeprefix("PEER_STATE_"),
        "admitted": peer.admitted,
        "denied": peer.denied,
        "endpoints": list(peer.endpoints),
        "lag_entries": peer.lag_entries,
        "last_contact": to_iso(from_timestamp(peer.last_contact)) if peer.HasField("last_contact") else "",
        "last_error": peer.last_error,
        "trust_digest": peer.trust_digest,
        "software": peer.software,
        "inbound_streams": peer.inbound_streams,
    }


@app.command(
    "list", help="All participants and how replication from each stands.\n\nExample: dief peer list --json"
)
@guarded
def list_(config: Config = None, as_json: AsJson = False) -> None:
    """List participants."""
    from dief.v1 import operator_pb2, operator_pb2_grpc

    with client.connect(config, "operator") as channel:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        answer = stub.ListPeers(operator_pb2.ListPeersRequest(), timeout=client.CALL_SECONDS)
    emit(
        map(peer_row, answer.peers),
        as_json=as_json,
        columns=COLUMNS,
        below="last_error",
        empty="No roster is trusted yet: `dief roster trust FILE --sha256 ...`.",
    )


@app.command(
    help="""Admit a participant, or its changed keys, as the trusted roster lists them.

Compare the trust digest with the other State by telephone first.

Example: dief peer admit XB --digest 3f2a..."""
)
@guarded
def admit(
    state: StateArgument,
    digest: Annotated[str, typer.Option("--digest", help="Trust digest, compared out of band.")] = "",
    config: Config = None,
) -> None:
    """Admit a participant."""
    from dief.v1 import operator_pb2, operator_pb2_grpc

    with client.connect(config, "operator") as channel:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        answer = stub.AdmitPeer(
            operator_pb2.AdmitPeerRequest(state=state, trust_digest=digest), timeout=client.CALL_SECONDS
        )
    typer.echo(f"{state} is admitted with trust digest {answer.peer.trust_digest}.")


@app.command(
    help='Cut a participant off now; always wins.\n\nExample: dief peer deny XB --reason "key theft reported"'
)
@guarded
def deny(
    state: StateArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; goes into the audit trail.")] = "",
    config: Config = None,
) -> None:
    """Deny a participant."""
    from dief.v1 import operator_pb2, operator_pb2_grpc

    with client.connect(config, "operator") as channel:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        stub.DenyPeer(operator_pb2.DenyPeerRequest(state=state, reason=reason), timeout=client.CALL_SECONDS)
    typer.echo(f"{state} is denied; its streams are cut.")


@app.command(help="Take a denial back; the admission stands as before.\n\nExample: dief peer allow XB")
@guarded
def allow(state: StateArgument, config: Config = None) -> None:
    """Take a denial back."""
    from dief.v1 import operator_pb2, operator_pb2_grpc

    with client.connect(config, "operator") as channel:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        stub.AllowPeer(operator_pb2.AllowPeerRequest(state=state), timeout=client.CALL_SECONDS)
    typer.echo(f"{state} is no longer denied.")
