"""`dief screen`: exact matching on normal forms against every alert held here; nobody else learns of it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from node.cli import client
from node.cli.alert import purpose_code
from node.cli.options import AsJson, Config
from node.cli.output import emit, guarded

app = typer.Typer()

Values = list[str] | None
KINDS = {
    "serial": "SERIAL",
    "lot": "LOT",
    "name": "PARTY_NAME",
    "party_id": "PARTY_IDENTIFIER",
    "document": "DOCUMENT",
    "imo": "IMO",
    "aircraft": "AIRCRAFT",
    "container": "CONTAINER",
    "contact": "CONTACT",
}


@app.command(
    help="""Match serials, names, documents and conveyances against all alerts held here.

Answered from this node's own copy: no other State learns what was asked. Exit status 0 with or without hits.

Example: dief screen --serial "EX 004417" --name "Example Trading LLC" --purpose LICENSING"""
)
@guarded
def screen(
    serial: Annotated[Values, typer.Option("--serial", help="Serial number as read; repeat.")] = None,
    lot: Annotated[Values, typer.Option("--lot", help="Ammunition lot; repeat.")] = None,
    name: Annotated[Values, typer.Option("--name", help="Party name; repeat.")] = None,
    party_id: Annotated[
        Values, typer.Option("--party-id", help="LEI, VAT or register number; repeat.")
    ] = None,
    document: Annotated[Values, typer.Option("--document", help="EUC or licence number; repeat.")] = None,
    imo: Annotated[Values, typer.Option("--imo", help="IMO ship number; repeat.")] = None,
    aircraft: Annotated[Values, typer.Option("--aircraft", help="Registration or msn; repeat.")] = None,
    container: Annotated[Values, typer.Option("--container", help="Container number; repeat.")] = None,
    contact: Annotated[Values, typer.Option("--contact", help="Phone, e-mail or site; repeat.")] = None,
    make: Annotated[str, typer.Option("--make", help="Make that narrows the serials.")] = "",
    purpose: Annotated[str, typer.Option("--purpose", help="Why, for the audit trail.")] = "LICENSING",
    reference: Annotated[str, typer.Option("--reference", help="Own case number; stays in the node.")] = "",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Screen terms."""
    from dief.v1 import codes_pb2, desk_pb2, desk_pb2_grpc

    from node.ops.clock import from_timestamp, to_iso

    given: dict[str, Values] = {
        "serial": serial,
        "lot": lot,
        "name": name,
        "party_id": party_id,
        "document": document,
        "imo": imo,
        "aircraft": aircraft,
        "container": container,
        "contact": contact,
    }
    request = desk_pb2.ScreenRequest(purpose=purpose_code(purpose), reference=reference)
    for option, values in given.items():
        kind = codes_pb2.IndicatorKind.Value(f"INDICATOR_KIND_{KINDS[option]}")
        for value in values or []:
            request.terms.add(kind=kind, value=value, context=make if option == "serial" else "")
    if not request.terms:
        raise typer.BadParameter("Name at least one term, for example --serial.")
    with client.connect(config, "officer") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        answer = stub.Screen(request, timeout=client.CALL_SECONDS)
    hits: list[dict[str, Any]] = [
        {
            "term": request.terms[hit.term].value,
            "strength": codes_pb2.MatchStrength.Name(hit.strength).removeprefix("MATCH_STRENGTH_"),
            "met": hit.value,
            "where": hit.path,
            "alert": hit.alert.name,
            "origin": hit.alert.origin,
            "title": hit.alert.alert.titles[0].text if hit.alert.alert.titles else "",
            "why": hit.explanation,
            "weakened_by": list(hit.weaknesses),
        }
        for hit in answer.hits
    ]
    screened_at = to_iso(from_timestamp(answer.screened_at))
    if as_json:
        whole = {
            "hits": hits,
            "not_searched": list(answer.not_searched),
            "origins_not_current": list(answer.origins_not_current),
            "screened_at": screened_at,
        }
        typer.echo(json.dumps(whole, ensure_ascii=False, indent=2))
        return
    emit(
        hits,
        as_json=False,
        columns=("alert", "term", "met", "where", "strength", "why", "weakened_by", "title"),
        empty="No hit.",
        blocks=True,
    )
    for line in answer.not_searched:
        typer.secho(f"not searched: term {line}", fg="yellow")
    if answer.origins_not_current:
        typer.secho(
            f"not current: {', '.join(answer.origins_not_current)}; no hit there is no proof of absence.",
            fg="yellow",
        )
    typer.echo(f"Screened at {screened_at}.")
