"""`dief query`: ask a peer for its alerts and check every proof."""

from __future__ import annotations

import getpass
import json
from typing import Annotated, Any

import typer

from node.cli import client
from node.cli.alert_file import alert_to_dict
from node.cli.options import AsJson, Config
from node.cli.output import emit, guarded

app = typer.Typer()

Values = list[str] | None
COLUMNS = ("alert", "revision", "status", "title", "matched", "proven_by")


def _codes(enum: Any, prefix: str, words: Values) -> list[int]:
    found = []
    for word in words or []:
        name = word if word.startswith(prefix) else f"{prefix}{word.upper()}"
        if name not in enum.keys():
            known = ", ".join(key.removeprefix(prefix) for key in enum.keys()[1:])
            raise typer.BadParameter(f"{word} is not a code. Known: {known}.")
        found.append(enum.Value(name))
    return found


@app.command(
    help="""Ask a peer for its alerts over gRPC and check every proof.

The peer sees the filters (--status, --stage, --category, --concerned, --since). It never sees serials, names or
documents: those are matched here, after the filtered alerts have arrived and proven themselves.

Needs the node's own certificate, so run it on the node's machine.

Example: dief query --peer XA --stage IN_TRANSIT --serial "EX 004417" """
)
@guarded
def query(
    peer: Annotated[str, typer.Option("--peer", help="State to ask.")],
    status: Annotated[Values, typer.Option("--status", help="AlertStatus; repeat.")] = None,
    stage: Annotated[Values, typer.Option("--stage", help="DiversionStage; repeat.")] = None,
    category: Annotated[Values, typer.Option("--category", help="ArmsCategory; repeat.")] = None,
    concerned: Annotated[Values, typer.Option("--concerned", help="Concerned State; repeat.")] = None,
    since: Annotated[str, typer.Option("--since", help="Committed since this day, 2026-07-15.")] = "",
    serial: Annotated[Values, typer.Option("--serial", help="Matched at home; repeat.")] = None,
    name: Annotated[Values, typer.Option("--name", help="Matched at home; repeat.")] = None,
    document: Annotated[Values, typer.Option("--document", help="Matched at home; repeat.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Query a peer."""
    from datetime import UTC, datetime

    from dief.v1 import codes_pb2, federation_pb2

    from node.federation.peer_client import open_peer
    from node.federation.query import Term, ask
    from node.ops.clock import now_ms, to_iso

    filter_ = federation_pb2.AlertFilter(
        statuses=_codes(codes_pb2.AlertStatus, "ALERT_STATUS_", status),  # type: ignore[arg-type]
        stages=_codes(codes_pb2.DiversionStage, "DIVERSION_STAGE_", stage),  # type: ignore[arg-type]
        categories=_codes(codes_pb2.ArmsCategory, "ARMS_CATEGORY_", category),  # type: ignore[arg-type]
        concerned_states=concerned or [],
    )
    if since:
        try:
            day = datetime.fromisoformat(since).replace(tzinfo=UTC)
        except ValueError:
            raise typer.BadParameter("--since takes a day, for example 2026-07-15.") from None
        filter_.committed_since.FromDatetime(day)
    terms = [
        Term(kind, value)
        for kind, values in (
            (codes_pb2.INDICATOR_KIND_SERIAL, serial),
            (codes_pb2.INDICATOR_KIND_PARTY_NAME, name),
            (codes_pb2.INDICATOR_KIND_DOCUMENT, document),
        )
        for value in values or []
    ]
    with open_peer(client.settings(config), peer, actor=f"cli:{getpass.getuser()}") as (channel, source):
        rows = [
            {
                "alert": answer.alert.name,
                "revision": answer.alert.revision,
                "status": codes_pb2.AlertStatus.Name(answer.alert.status).removeprefix("ALERT_STATUS_"),
                "title": answer.alert.titles[0].text if answer.alert.titles else "",
                "matched": list(answer.matches),
                "proven_by": f"checkpoint {answer.checkpoint.size} of {to_iso(answer.checkpoint.time_ms)}",
                "log_id": answer.log_id.hex(),
                "seq": answer.facts.seq,
                "content": alert_to_dict(answer.alert),
            }
            for answer in ask(channel, source, filter_, terms, now_ms())
        ]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    emit(
        rows,
        as_json=False,
        columns=COLUMNS,
        empty=f"{peer} holds no alert for us that meets this.",
        blocks=True,
    )
    typer.echo(f"{len(rows)} alerts, each proven against a checkpoint signed by {peer}.")
