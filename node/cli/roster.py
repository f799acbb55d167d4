"""`dief roster`: the signed list of participants, made by its keepers on files, trusted by nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from node.cli import client
from node.cli.options import AsJson, Config
from node.cli.output import emit, guarded
from node.ops.errors import DiefError

if TYPE_CHECKING:
    from dief.v1.roster_pb2 import Roster, RosterEnvelope

app = typer.Typer(
    no_args_is_help=True,
    help="""The signed list of participants: make, sign, check, trust.

Its keepers work on files, each with an own key, on machines without a network if they like:

  dief roster keygen keeper-a.key
  dief roster init roster-1.json --keeper keeper-a.key.pub --keeper keeper-b.key.pub --threshold 2
  dief roster add roster-1.json xa.card.json xb.card.json
  dief roster sign roster-1.json --key keeper-a.key
  dief roster verify roster-1.json

Each node then trusts the first one by its digest, compared by telephone, and later ones by their signatures:

  dief roster trust roster-1.json --sha256 3f2a...
  dief roster update roster-2.json""",
)

FileArgument = Annotated[Path, typer.Argument(help="Roster file (DSSE in JSON).")]
COLUMNS = ("state", "name", "treaty_status", "participation", "endpoints", "trust_digest")


class DraftError(DiefError):
    """The file can not be written as asked."""

    default_reason: ClassVar[str] = "DRAFT"


@app.command(
    help="""Make a key of a keeper of the roster, or a log key: FILE (mode 0600) and FILE.pub.

Example: dief roster keygen keeper-a.key"""
)
@guarded
def keygen(file: Annotated[Path, typer.Argument(help="Private key to write.")]) -> None:
    """Make an Ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from node.cli.roster_files import PUBLIC_SUFFIX
    from node.identity import dsse, pem

    if file.exists():
        raise DraftError(f"{file} is there already.", "Choose another name; keys are never overwritten.")
    key = Ed25519PrivateKey.generate()
    pem.write_key(file, key)
    public = dsse.public_bytes(key).hex()
    pem.write_atomic(file.with_name(file.name + PUBLIC_SUFFIX), public.encode() + b"\n")
    typer.echo(f"{public}  {file}")


@app.command(
    help="""Begin a roster: version 1, or with --after the version that follows a signed one.

Examples:

  dief roster init roster-1.json --keeper keeper-a.key.pub --keeper keeper-b.key.pub --threshold 2

  dief roster init roster-2.json --after roster-1.json"""
)
@guarded
def init(
    file: FileArgument,
    after: Annotated[
        Path | None, typer.Option("--after", help="Signed roster of the version before.")
    ] = None,
    federation: Annotated[str, typer.Option("--federation", help="Name of the federation.")] = "dief",
    keeper: Annotated[
        list[str] | None, typer.Option("--keeper", help="Keeper's public key, hex or file; repeatable.")
    ] = None,
    threshold: Annotated[
        int | None,
        typer.Option("--threshold", help="How many keepers must sign; by default all, or as before."),
    ] = None,
    days: Annotated[float, typer.Option("--days", help="Life; 90 at most.")] = 60,
) -> None:
    """Begin a roster."""
    from node.cli.roster_files import check_threshold, public_key_argument, read_roster, write_roster
    from node.identity import authoring
    from node.ops.clock import now_ms

    if file.exists():
        raise DraftError(f"{file} is there already.", "Choose another name for the new roster.")
    keys = [public_key_argument(text) for text in keeper or ()]
    if after is not None:
        draft = authoring.next_version(read_roster(after), now_ms=now_ms(), days=days)
        held = {key.public_key for key in draft.roster_keys}
        draft.roster_keys.extend(authoring.roster_key(key) for key in keys if key not in held)
        draft.threshold = threshold or draft.threshold
        check_threshold(draft.threshold, len(draft.roster_keys))
    elif keys:
        check_threshold(threshold or len(keys), len(set(keys)))
        draft = authoring.first_version(
            federation, keepers=keys, threshold=threshold or len(keys), now_ms=now_ms(), days=days
        )
    else:
        raise DraftError(
            "A first roster needs the key of a keeper.", "Give --keeper KEY.pub, or --after ROSTER."
        )
    write_roster(file, authoring.wrap(draft))
    typer.echo(f"{file} is a draft of roster {draft.version}. Next: dief roster add {file} CARD")


@app.command(
    help="""Put participants into a draft by their cards, or replace what it says of them.

Compare each card with its State by telephone first. Signatures made before fall away.

Example: dief roster add roster-2.json xb.card.json"""
)
@guarded
def add(
    file: FileArgument,
    cards: Annotated[list[Path], typer.Argument(help="Cards made by `dief pki card`.")],
) -> None:
    """Put participants in."""
    from node.identity import authoring, pem
    from node.identity.view import TrustParts
    from node.ops.clock import now_ms

    envelope, draft = _draft(file)
    for path in cards:
        participant = authoring.from_card(pem.read_limited(path))
        replaced = authoring.put(draft, participant, now_ms())
        digest = TrustParts.of(participant).digest(participant.state).hex()
        typer.echo(f"{participant.state} {'replaced' if replaced else 'added'}, trust digest {digest}")
    _rewrite(file, envelope, draft)


@app.command(
    "set",
    help="""Let a participant take part, suspend or remove it. Signatures made before fall away.

Example: dief roster set roster-3.json XB suspended""",
)
@guarded
def set_(
    file: FileArgument,
    state: Annotated[str, typer.Argument(help="ISO 3166-1 alpha-2, for example XB.")],
    participation: Annotated[str, typer.Argument(help="active, suspended or removed.")],
) -> None:
    """Change participation."""
    from dief.v1.roster_pb2 import ParticipantState

    from node.cli.roster_files import choice
    from node.identity import authoring
    from node.ops.clock import now_ms

    envelope, draft = _draft(file)
    value = choice(ParticipantState, participation, "PARTICIPATION")
    authoring.set_participation(draft, state, value, now_ms())
    _rewrite(file, envelope, draft)
    typer.echo(f"{state} is {participation} in roster {draft.version}.")


@app.command(
    help="""Move a key a step on: prepared, active, retired, or revoked for ever. Signatures made before fall away.

Example: dief roster key roster-3.json 8f01... retired"""
)
@guarded
def key(
    file: FileArgument,
    public_key: Annotated[str, typer.Argument(help="Log key or roster key, hex or file.")],
    step: Annotated[str, typer.Argument(help="prepared, active, retired or revoked.")],
) -> None:
    """Move a key a step on."""
    from dief.v1.roster_pb2 import KeyState

    from node.cli.roster_files import choice, public_key_argument
    from node.identity import authoring

    envelope, draft = _draft(file)
    authoring.set_key_state(draft, public_key_argument(public_key), choice(KeyState, step, "STEP"))
    _rewrite(file, envelope, draft)
    typer.echo(f"The key is {step} in roster {draft.version}.")


@app.command(
    help="""Sign a roster as its keeper, or with a State's old log key for that State's new keys.

A changed CA or log key is admitted everywhere at once if the State's old log key signs too.

Example: dief roster sign roster-1.json --key keeper-a.key"""
)
@guarded
def sign(
    file: FileArgument,
    key_file: Annotated[Path, typer.Option("--key", help="Private key, mode 0600.")],
) -> None:
    """Sign a roster."""
    from node.cli.roster_files import read_roster, write_roster
    from node.identity import dsse, pem, roster
    from node.identity.participants import active_keys

    envelope = read_roster(file)
    draft = roster.parse(envelope)
    roster.check_content(draft)
    private = pem.read_ed25519_key(key_file)
    public = dsse.public_bytes(private)
    signed = dsse.sign(envelope, dsse.signer_of(private))
    write_roster(file, signed)
    if public in active_keys(draft):
        missing = roster.missing_signatures(signed, draft)
        typer.echo(
            f"Signed as a keeper; {f'{missing} more to go' if missing else 'the threshold is reached'}."
        )
    else:
        typer.echo(
            "Signed. The roster's own keys are not among this one, so it counts for a State's new keys only."
        )
    typer.echo(f"SHA-256 {roster.digest_of(signed).hex()}")


@app.command(
    help="""Show a roster file, or without a file the roster that the running node trusts.

Examples: dief roster show roster-1.json, dief roster show --json"""
)
@guarded
def show(
    file: Annotated[Path | None, typer.Argument(help="Roster file; default: ask the node.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show a roster."""
    from node.cli.roster_files import participant_rows, read_roster
    from node.identity import roster

    envelope = _from_node(config) if file is None else read_roster(file)
    content = roster.parse(envelope)
    roster.check_content(content)
    facts = _facts(envelope, content)
    rows = participant_rows(content)
    if as_json:
        typer.echo(json.dumps({**facts, "participants": rows}, ensure_ascii=False, indent=2))
        return
    typer.echo(
        f"Roster {facts['version']} of {facts['federation']}, issued {facts['issued_at']}, "
        f"expires {facts['expires_at']}\nSHA-256 {facts['sha256']}\n"
        f"{facts['signatures_missing']} of {facts['threshold']} signatures missing"
    )
    emit(rows, as_json=False, columns=COLUMNS, empty="No participants.")


@app.command(
    help="""Check a roster file by every rule, as a node would.

With --previous as the version after it, with --sha256 as a first roster, with neither by its own keys alone.

Example: dief roster verify roster-2.json --previous roster-1.json"""
)
@guarded
def verify(
    file: FileArgument,
    previous: Annotated[Path | None, typer.Option("--previous", help="The version before it.")] = None,
    sha256: Annotated[str, typer.Option("--sha256", help="Digest, compared out of band.")] = "",
    as_json: AsJson = False,
) -> None:
    """Check a roster."""
    from node.cli.roster_files import read_roster
    from node.identity import roster
    from node.ops.clock import now_ms

    envelope = read_roster(file)
    expected = _digest(sha256) if sha256 else roster.digest_of(envelope)
    if previous is None:
        trusted = roster.trust_first(envelope, expected, now_ms())
    else:
        held = read_roster(previous)
        roster.check_content(roster.parse(held))
        before = roster.restore(held, None)
        trusted = roster.update(before, envelope, now_ms())
    facts = _facts(envelope, trusted.roster) | {"warning": trusted.view.warning(now_ms()) or ""}
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    typer.echo(f"Roster {trusted.version} breaks no rule. SHA-256 {facts['sha256']}")
    if facts["warning"]:
        typer.echo(facts["warning"])


@app.command(
    help="""Make the running node trust its first roster, by a digest that you compared over a second channel.

Example: dief roster trust roster-1.json --sha256 3f2a..."""
)
@guarded
def trust(
    file: FileArgument,
    sha256: Annotated[
        str, typer.Option("--sha256", help="SHA-256 of its payload, from the keepers by telephone.")
    ],
    config: Config = None,
) -> None:
    """Trust a first roster."""
    _hand_in(file, config, _digest(sha256))


@app.command(
    help="""Hand the next roster to the running node; its signatures decide.

Peers hand newer rosters on by themselves, so this is needed only where no peer is reachable.

Example: dief roster update roster-2.json"""
)
@guarded
def update(file: FileArgument, config: Config = None) -> None:
    """Hand in the next roster."""
    _hand_in(file, config, b"")


def _hand_in(file: Path, config: Path | None, digest: bytes) -> None:
    from dief.v1 import operator_pb2, operator_pb2_grpc

    from node.cli.roster_files import read_roster

    request = operator_pb2.UpdateRosterRequest(envelope=read_roster(file), trust_sha256=digest)
    with client.connect(config, "operator") as channel:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        answer = stub.UpdateRoster(request, timeout=client.CALL_SECONDS)
    typer.echo(f"Roster {answer.version} is trusted.")
    for state in answer.needs_admission:
        typer.echo(f"{state} is not admitted: compare its trust digest, then `dief peer admit {state}`.")


def _from_node(config: Path | None) -> RosterEnvelope:
    from dief.v1 import operator_pb2, operator_pb2_grpc

    with client.connect(config, "operator") as channel:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        answer: Any = stub.ShowRoster(operator_pb2.ShowRosterRequest(), timeout=client.CALL_SECONDS)
    return answer.envelope  # type: ignore[no-any-return]


def _draft(file: Path) -> tuple[RosterEnvelope, Roster]:
    from node.cli.roster_files import read_roster
    from node.identity import roster

    envelope = read_roster(file)
    return envelope, roster.parse(envelope)


def _rewrite(file: Path, before: RosterEnvelope, draft: Roster) -> None:
    from node.cli.roster_files import write_roster
    from node.identity import authoring

    after = authoring.wrap(draft)
    if before.payload == after.payload:
        return
    write_roster(file, after)
    if before.signatures:
        typer.echo("The content changed, so the signatures fell away: sign it again.", err=True)


def _facts(envelope: RosterEnvelope, content: Roster) -> dict[str, Any]:
    from node.identity import authoring, dsse, roster
    from node.identity.participants import active_keys
    from node.ops.clock import from_timestamp, to_iso

    signers = dsse.signed_by(envelope, active_keys(content))
    return {
        "federation": content.federation,
        "version": content.version,
        "sha256": roster.digest_of(envelope).hex(),
        "previous_sha256": content.previous_digest.hex(),
        "issued_at": to_iso(from_timestamp(content.issued_at)),
        "expires_at": to_iso(from_timestamp(content.expires_at)),
        "threshold": content.threshold,
        "roster_keys": [authoring.key_row(each) for each in content.roster_keys],
        "signed_by": sorted(each.hex() for each in signers),
        "signatures_missing": roster.missing_signatures(envelope, content),
    }


def _digest(text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise typer.BadParameter("64 hex digits", param_hint="--sha256")
    return digest
