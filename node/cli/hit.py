"""`dief hit`: national records that met an alert, for officers whose registry has no screen for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli import client
from node.cli.alert import purpose_code
from node.cli.options import AsJson, Config
from node.cli.output import emit, emit_one, guarded

if TYPE_CHECKING:
    from dief.v1.watch_pb2 import Hit

app = typer.Typer(no_args_is_help=True, help="National records that met an alert: list, show, decide.")

HitArgument = Annotated[str, typer.Argument(help="The hit, for example hits/0191f3c0-...")]
STATES = ("open", "decided", "cleared", "all")
DECISIONS = ("SAME", "NOT_THE_SAME", "UNDECIDED_ASK_ORIGINATOR", "SAME_BUT_LAWFUL")


def _name(given: str) -> str:
    return given if given.startswith("hits/") else f"hits/{given}"


def hit_row(hit: Hit) -> dict[str, Any]:
    """A hit for people and for JSON."""
    from dief.v1 import codes_pb2, watch_pb2

    from node.ops.clock import from_timestamp, to_iso

    return {
        "name": hit.name,
        "version": hit.version,
        "state": watch_pb2.HitState.Name(hit.state).removeprefix("HIT_STATE_"),
        "cleared_because": watch_pb2.ClearReason.Name(hit.clear_reason).removeprefix("CLEAR_REASON_")
        if hit.clear_reason
        else "",
        "record": f"{hit.stream}/{hit.key}",
        "reference": hit.reference,
        "record_kind": watch_pb2.WatchRecordKind.Name(hit.record_kind).removeprefix("WATCH_RECORD_KIND_"),
        "alert": hit.alert,
        "revision": hit.revision,
        "call": hit.origin,
        "strength": codes_pb2.MatchStrength.Name(hit.strength).removeprefix("MATCH_STRENGTH_")
        if hit.strength
        else "",
        "met": [
            f"{match.field} = {match.path} "
            f"({codes_pb2.MatchStrength.Name(match.strength).removeprefix('MATCH_STRENGTH_')})"
            for match in hit.matches
        ],
        "decision": codes_pb2.HitDecision.Name(hit.decision).removeprefix("HIT_DECISION_")
        if hit.decision
        else "",
        "decided_by": hit.decided_by,
        "decided_at": to_iso(from_timestamp(hit.decided_at)) if hit.HasField("decided_at") else "",
        "found_at": to_iso(from_timestamp(hit.found_at)),
        "changed_at": to_iso(from_timestamp(hit.changed_at)),
    }


COLUMNS = (
    "name", "state", "cleared_because", "record", "reference", "record_kind", "alert", "call", "strength", "met",
    "decision", "found_at",
)  # fmt: skip


@app.command(
    "list",
    help="Hits, newest first; those that wait for an officer by default.\n\nExample: dief hit list --state all",
)
@guarded
def list_(
    state: Annotated[str, typer.Option("--state", help=f"One of {', '.join(STATES)}.")] = "open",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List hits."""
    from dief.v1 import desk_pb2, desk_pb2_grpc, watch_pb2

    if state.lower() not in STATES:
        raise typer.BadParameter(f"{state} is none of {', '.join(STATES)}.", param_hint="--state")
    states = [] if state.lower() == "all" else [watch_pb2.HitState.Value(f"HIT_STATE_{state.upper()}")]
    rows = []
    with client.connect(config, "officer") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        token = ""
        while True:
            request = desk_pb2.ListHitsRequest(states=states, page_token=token)
            answer = stub.ListHits(request, timeout=client.CALL_SECONDS)
            rows += [hit_row(hit) for hit in answer.hits]
            token = answer.next_page_token
            if not token:
                break
    emit(rows, as_json=as_json, columns=COLUMNS, empty="No hit waits for an officer.", blocks=True)


@app.command(
    help="""One hit, and what the alert says as it stands now; the reading is recorded.

Example: dief hit show hits/0191f3c0-... --purpose LICENSING"""
)
@guarded
def show(
    hit: HitArgument,
    purpose: Annotated[str, typer.Option("--purpose", help="Why, for the audit trail.")] = "LICENSING",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show one hit."""
    from dief.v1 import desk_pb2, desk_pb2_grpc
    from google.protobuf import json_format

    request = desk_pb2.GetHitRequest(name=_name(hit), purpose=purpose_code(purpose))
    with client.connect(config, "officer") as channel:
        answer = desk_pb2_grpc.DeskServiceStub(channel).GetHit(request, timeout=client.CALL_SECONDS)
    row = hit_row(answer.hit)
    alert = answer.alert.alert
    if as_json:
        held = json_format.MessageToDict(alert, preserving_proto_field_name=True)
        emit_one({**row, "content": held if answer.HasField("alert") else None}, as_json=True)
        return
    row["title"] = alert.titles[0].text if alert.titles else "The alert is gone; nothing of it is held here."
    row["restrictions"] = [
        name.removeprefix("USE_RESTRICTION_")
        for name in json_format.MessageToDict(alert.handling).get("restrictions", ())
    ]
    emit_one(row, as_json=False)


@app.command(
    help=f"""Record what you decided: {", ".join(DECISIONS)}.

NOT_THE_SAME keeps the pair quiet until the record or the alert changes. The registry is told.

Example: dief hit decide hits/0191f3c0-... NOT_THE_SAME --reason "other calibre, seen in person" """
)
@guarded
def decide(
    hit: HitArgument,
    decision: Annotated[str, typer.Argument(help=f"One of {', '.join(DECISIONS)}.")],
    reason: Annotated[str, typer.Option("--reason", help="In your words, for the audit trail.")] = "",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Decide on one hit."""
    from dief.v1 import codes_pb2, desk_pb2, desk_pb2_grpc

    wanted = decision.upper().replace("-", "_")
    if wanted not in DECISIONS:
        raise typer.BadParameter(f"{decision} is none of {', '.join(DECISIONS)}.", param_hint="DECISION")
    with client.connect(config, "officer") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        read = stub.GetHit(desk_pb2.GetHitRequest(name=_name(hit)), timeout=client.CALL_SECONDS)
        answer = stub.DecideHit(
            desk_pb2.DecideHitRequest(
                name=_name(hit),
                version=read.hit.version,
                decision=codes_pb2.HitDecision.Value(f"HIT_DECISION_{wanted}"),
                reason=reason,
            ),
            timeout=client.CALL_SECONDS,
        )
    emit_one(hit_row(answer.hit), as_json=as_json)
