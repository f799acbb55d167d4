"""`dief alert`: draft by hand, read, list, withdraw."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli import client
from node.cli.options import AsJson, Config
from node.cli.output import emit, emit_one, guarded

if TYPE_CHECKING:
    from dief.v1 import desk_pb2

app = typer.Typer(no_args_is_help=True, help="Draft, read, list and withdraw alerts.")

AlertArgument = Annotated[str, typer.Argument(help="The alert, for example alerts/XA/0191f3c0-...")]
Purpose = Annotated[str, typer.Option("--purpose", help="Why it is read, for the audit trail.")]
LIST_COLUMNS = ("alert", "revision", "standing", "status", "title", "committed_at")


def purpose_code(word: str) -> Any:
    """A purpose by its short or whole name."""
    from dief.v1 import handling_pb2

    from node.cli.alert_file import AlertFileError

    name = word if word.startswith("PURPOSE_") else f"PURPOSE_{word.upper()}"
    if name not in handling_pb2.Purpose.keys():
        known = ", ".join(key.removeprefix("PURPOSE_") for key in handling_pb2.Purpose.keys()[1:])
        raise AlertFileError("--purpose names no purpose.", f"Known: {known}.")
    return handling_pb2.Purpose.Value(name)


def view_row(view: desk_pb2.AlertView) -> dict[str, Any]:
    """One alert as held here, as a row."""
    from dief.v1 import codes_pb2, desk_pb2

    from node.cli.alert_file import alert_to_dict
    from node.ops.clock import from_timestamp, to_iso

    status = (
        codes_pb2.AlertStatus.Name(view.alert.status).removeprefix("ALERT_STATUS_")
        if view.alert.status
        else ""
    )
    return {
        "alert": view.name,
        "revision": view.revision,
        "origin": view.origin,
        "standing": desk_pb2.AlertStanding.Name(view.standing).removeprefix("ALERT_STANDING_"),
        "status": status,
        "title": view.alert.titles[0].text if view.alert.titles else "",
        "committed_at": to_iso(from_timestamp(view.committed_at)),
        "received_at": to_iso(from_timestamp(view.received_at)),
        "proof": {
            "log_id": view.proof.log_id.hex(),
            "seq": view.proof.seq,
            "leaf_hash": view.proof.leaf_hash.hex(),
            "checkpoint_size": view.proof.checkpoint_size,
            "checkpoint_time": to_iso(from_timestamp(view.proof.checkpoint_time)),
        },
        "content": alert_to_dict(view.alert),
    }


@app.command(help="Print an alert file to fill in.\n\nExample: dief alert template > alert.toml")
def template() -> None:
    """Print a template."""
    from node.cli.alert_file import TEMPLATE

    typer.echo(TEMPLATE, nl=False)


@app.command(
    help="""Make a draft from a file; nothing leaves before the release policy or a person decides.

With --revise the file becomes the next, complete revision of an alert of this State.

Example: dief alert draft alert.toml"""
)
@guarded
def draft(
    file: Annotated[Path, typer.Argument(help="TOML or JSON; see `dief alert template`.")],
    revise: Annotated[str, typer.Option("--revise", help="Alert that it revises.")] = "",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Make a draft."""
    from dief.v1 import draft_pb2

    from node.cli.alert_file import read_draft

    content = read_draft(file)
    if revise:
        content.action = draft_pb2.DRAFT_ACTION_REVISE
        content.alert.name = revise
    else:
        content.action = draft_pb2.DRAFT_ACTION_PUBLISH
    _create(config, content, as_json=as_json)


@app.command(
    help="""Take an alert of this State back; every node erases it by its next sync.

--unfounded clears whoever was named: hits are cleared too.

Example: dief alert withdraw alerts/XA/0191f3c0-... --unfounded"""
)
@guarded
def withdraw(
    alert: AlertArgument,
    unfounded: Annotated[bool, typer.Option("--unfounded", help="It was wrong.")] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw an alert."""
    from dief.v1 import codes_pb2, draft_pb2

    reason = codes_pb2.WITHDRAWAL_REASON_UNFOUNDED if unfounded else codes_pb2.WITHDRAWAL_REASON_WITHDRAWN
    content = draft_pb2.DraftInput(
        action=draft_pb2.DRAFT_ACTION_WITHDRAW, alert_name=alert, withdrawal_reason=reason
    )
    _create(config, content, as_json=as_json)


def _create(config: Config, content: Any, *, as_json: bool) -> None:
    from dief.v1 import desk_pb2, desk_pb2_grpc, draft_pb2

    from node.cli.draft_view import draft_row
    from node.ops.ids import uuid7

    with client.connect(config, "officer") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        answer = stub.CreateDraft(
            desk_pb2.CreateDraftRequest(input=content, request_id=str(uuid7())), timeout=client.CALL_SECONDS
        )
    row = draft_row(answer.draft)
    if as_json:
        typer.echo(json.dumps(row, ensure_ascii=False, indent=2))
        return
    if (
        answer.draft.state == draft_pb2.DRAFT_STATE_RELEASED
        and answer.draft.action == draft_pb2.DRAFT_ACTION_WITHDRAW
    ):
        typer.echo(f"Withdrawn: {row['alert']}. Who has erased it: dief alert receipts {row['alert']}")
    elif answer.draft.state == draft_pb2.DRAFT_STATE_RELEASED:
        typer.echo(f"Released by rule {row['rule']} as {row['alert']} revision {row['revision']}.")
    else:
        typer.echo(
            f"{row['draft']} is {row['state']} ({row['policy_outcome']} by rule {row['rule'] or 'default'})."
        )
        typer.echo(f"Next: dief release show {row['draft']}")


@app.command(
    help="Read one alert; the reading is recorded.\n\nExample: dief alert show alerts/XB/0191f3c0-..."
)
@guarded
def show(
    alert: AlertArgument, purpose: Purpose = "LICENSING", config: Config = None, as_json: AsJson = False
) -> None:
    """Read one alert."""
    from dief.v1 import desk_pb2, desk_pb2_grpc

    with client.connect(config, "officer") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        answer = stub.GetAlertView(
            desk_pb2.GetAlertViewRequest(name=alert, purpose=purpose_code(purpose)),
            timeout=client.CALL_SECONDS,
        )
    row = view_row(answer.alert)
    if as_json:
        typer.echo(json.dumps(row, ensure_ascii=False, indent=2))
        return
    content, proof = row.pop("content"), row.pop("proof")
    emit_one(row, as_json=False)
    typer.echo("\nProof")
    emit_one(proof, as_json=False)
    typer.echo("\nContent")
    typer.echo(json.dumps(content, ensure_ascii=False, indent=2))


@app.command("list", help="Alerts held here, newest first.\n\nExample: dief alert list --origin XB --json")
@guarded
def list_(
    origin: Annotated[list[str] | None, typer.Option("--origin", help="Only of this State; repeat.")] = None,
    gone: Annotated[bool, typer.Option("--gone", help="Also withdrawn, expired and hidden ones.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many.")] = 100,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List alerts."""
    from dief.v1 import desk_pb2, desk_pb2_grpc

    rows: list[dict[str, Any]] = []
    with client.connect(config, "officer") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        token = ""
        while len(rows) < limit:
            answer = stub.ListAlerts(
                desk_pb2.ListAlertsRequest(
                    origins=origin or [],
                    show_gone=gone,
                    page_size=min(500, limit - len(rows)),
                    page_token=token,
                ),
                timeout=client.CALL_SECONDS,
            )
            rows += [view_row(view) for view in answer.alerts]
            token = answer.next_page_token
            if not token:
                break
    emit(rows, as_json=as_json, columns=LIST_COLUMNS, empty="No alert is held here.", blocks=True)


@app.command(help="Follow alerts as they arrive, until Ctrl-C.\n\nExample: dief alert follow --json")
@guarded
def follow(
    every: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between looks.")] = 1.0,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Print new alerts as they are held here."""
    from dief.v1 import desk_pb2, desk_pb2_grpc

    seen: set[tuple[str, int]] = set()
    first = True
    with client.connect(config, "officer") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        while True:
            answer = stub.ListAlerts(desk_pb2.ListAlertsRequest(page_size=100), timeout=client.CALL_SECONDS)
            for view in reversed(answer.alerts):
                key = (view.name, view.revision)
                if key not in seen and not first:
                    row = view_row(view)
                    typer.echo(
                        json.dumps(row, ensure_ascii=False)
                        if as_json
                        else f"{row['received_at']}  {row['alert']} rev {row['revision']}  {row['title']}"
                    )
                seen.add(key)
            first = False
            time.sleep(every)


@app.command(
    help="Who has erased a withdrawn or revised alert, and who is silent.\n\nExample: dief alert receipts alerts/XA/..."
)
@guarded
def receipts(alert: AlertArgument, config: Config = None, as_json: AsJson = False) -> None:
    """Show receipts."""
    from dief.v1 import desk_pb2, desk_pb2_grpc, federation_pb2

    from node.ops.clock import from_timestamp, to_iso

    with client.connect(config, "officer") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        answer = stub.ListReceipts(desk_pb2.ListReceiptsRequest(alert=alert), timeout=client.CALL_SECONDS)
    rows = [
        {
            "state": row.state,
            "revision": row.revision,
            "seq": row.seq,
            "log_id": row.log_id.hex(),
            "says": federation_pb2.ReceiptKind.Name(row.kind).removeprefix("RECEIPT_KIND_")
            if row.kind
            else "nothing yet",
            "at": to_iso(from_timestamp(row.at)) if row.HasField("at") else "",
            "backups_expired_at": to_iso(from_timestamp(row.backups_expired_at))
            if row.HasField("backups_expired_at")
            else "",
            "last_contact": to_iso(from_timestamp(row.last_contact)) if row.HasField("last_contact") else "",
        }
        for row in answer.rows
    ]
    emit(
        rows,
        as_json=as_json,
        columns=("state", "revision", "says", "at", "backups_expired_at", "last_contact"),
        empty="Nothing of this alert was to be erased.",
    )
