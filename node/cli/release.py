"""`dief release`: drafts that wait for a decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from node.cli import client
from node.cli.draft_view import COLUMNS, draft_row
from node.cli.options import AsJson, Config
from node.cli.output import emit, emit_one, guarded

app = typer.Typer(no_args_is_help=True, help="Drafts that wait for a decision: list, show, approve, refuse.")

DraftArgument = Annotated[str, typer.Argument(help="The draft, for example drafts/0191f3c0-...")]


def _name(given: str) -> str:
    return given if given.startswith("drafts/") else f"drafts/{given}"


@app.command(
    "list",
    help="Drafts, newest first; those that wait for a person by default.\n\nExample: dief release list --all",
)
@guarded
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Also released, refused and held ones.")] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List drafts."""
    from dief.v1 import desk_pb2, desk_pb2_grpc, draft_pb2

    states = [] if everything else [draft_pb2.DRAFT_STATE_WAITING]
    rows = []
    with client.connect(config, "approver") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        token = ""
        while True:
            answer = stub.ListDrafts(
                desk_pb2.ListDraftsRequest(states=states, page_token=token), timeout=client.CALL_SECONDS
            )
            rows += [draft_row(draft) for draft in answer.drafts]
            token = answer.next_page_token
            if not token:
                break
    emit(rows, as_json=as_json, columns=COLUMNS, empty="No draft waits for a decision.", blocks=True)


@app.command(
    help="What leaves, to whom, under which law, and what is stripped.\n\nExample: dief release show 0191f3c0-..."
)
@guarded
def show(draft: DraftArgument, config: Config = None, as_json: AsJson = False) -> None:
    """Show one draft as it would leave."""
    from dief.v1 import desk_pb2, desk_pb2_grpc

    with client.connect(config, "approver") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        answer = stub.GetDraft(desk_pb2.GetDraftRequest(name=_name(draft)), timeout=client.CALL_SECONDS)
    row = draft_row(answer.draft)
    if as_json:
        typer.echo(json.dumps(row, ensure_ascii=False, indent=2))
        return
    content = row.pop("content")
    decisions = row.pop("decisions")
    emit_one(row, as_json=False)
    if decisions:
        typer.echo("\nDecisions so far")
        emit(decisions, as_json=False, columns=("outcome", "decided_by", "legal_basis", "decided_at"))
    typer.echo("\nContent, as it would leave")
    typer.echo(json.dumps(content, ensure_ascii=False, indent=2))


@app.command(
    help="""Approve a draft; it leaves at once where no second person is asked for.

Example: dief release approve 0191f3c0-... --legal-basis "Export Control Act s. 12 (2)" """
)
@guarded
def approve(
    draft: DraftArgument,
    legal_basis: Annotated[
        str, typer.Option("--legal-basis", help="Law it rests on, beside the policy's.")
    ] = "",
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="A State that shall not get it; repeat.")
    ] = None,
    etag: Annotated[str, typer.Option("--etag", help="The state that you read (`show --json`).")] = "",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Approve a draft."""
    from dief.v1 import desk_pb2, desk_pb2_grpc, draft_pb2

    with client.connect(config, "approver") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        if not etag:
            etag = stub.GetDraft(
                desk_pb2.GetDraftRequest(name=_name(draft)), timeout=client.CALL_SECONDS
            ).draft.etag
        answer = stub.ApproveDraft(
            desk_pb2.ApproveDraftRequest(
                name=_name(draft), etag=etag, legal_basis=legal_basis, exclude_states=exclude or []
            ),
            timeout=client.CALL_SECONDS,
        )
    row = draft_row(answer.draft)
    if as_json:
        typer.echo(json.dumps(row, ensure_ascii=False, indent=2))
    elif answer.draft.state != draft_pb2.DRAFT_STATE_RELEASED:
        typer.echo("Approved; a second person has to approve it too.")
    elif answer.draft.action == draft_pb2.DRAFT_ACTION_WITHDRAW:
        typer.echo(f"Withdrawn: {row['alert']}. Who has erased it: dief alert receipts {row['alert']}")
    else:
        typer.echo(
            f"Released as {row['alert']} revision {row['revision']} to {', '.join(row['recipients'])}."
        )


@app.command(help='Refuse a draft.\n\nExample: dief release refuse 0191f3c0-... --reason "court restriction"')
@guarded
def refuse(
    draft: DraftArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why, in words; stays in the node.")],
    config: Config = None,
) -> None:
    """Refuse a draft."""
    from dief.v1 import desk_pb2, desk_pb2_grpc

    with client.connect(config, "approver") as channel:
        stub = desk_pb2_grpc.DeskServiceStub(channel)
        found = stub.GetDraft(desk_pb2.GetDraftRequest(name=_name(draft)), timeout=client.CALL_SECONDS).draft
        stub.RefuseDraft(
            desk_pb2.RefuseDraftRequest(name=found.name, etag=found.etag, reason=reason),
            timeout=client.CALL_SECONDS,
        )
    typer.echo("Refused; nothing left the node.")


@app.command(
    "policy-check",
    help="Check a release policy without a node.\n\nExample: dief release policy-check policy.toml",
)
@guarded
def policy_check(path: Annotated[Path, typer.Argument(help="The policy file.")]) -> None:
    """Check a release policy."""
    from node.release import Policy

    policy = Policy.load(path)
    typer.echo(f"{path} is a valid policy with {len(policy.rules)} rules.")
