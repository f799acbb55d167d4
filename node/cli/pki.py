"""`dief pki`: certificates of one State, for development and for a real CA."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from node.cli.options import AsJson, Config
from node.cli.output import emit, guarded
from node.ops.errors import DiefError

if TYPE_CHECKING:
    from cryptography import x509

    from node.identity.pki import Authority

app = typer.Typer(
    no_args_is_help=True,
    help="""Certificates: development CAs, requests for a real CA, renewal.

A State has two CAs, apart from each other: the federation CA signs its node only, the national CA signs registries,
officers and operators. `dev` makes both on this machine to try things out. A real State keeps its CA keys elsewhere:
`csr` makes a request here, its CA signs it there, and only the certificate comes back.""",
)

DnsOption = Annotated[list[str] | None, typer.Option("--dns", help="Host name of the listener; repeatable.")]
IpOption = Annotated[list[str] | None, typer.Option("--ip", help="Address of the listener; repeatable.")]
CaOption = Annotated[Path, typer.Option("--ca", help="Certificate of the CA.")]
CaKeyOption = Annotated[Path, typer.Option("--ca-key", help="Its key, mode 0600.")]
COLUMNS = ("subject", "spiffe_id", "ca", "not_after", "days_left")


class FilesExistError(DiefError):
    """The folder already holds keys that would be lost."""

    default_reason: ClassVar[str] = "FILES_EXIST"


class NoWayToRenewError(DiefError):
    """Nothing here can renew the certificate, or it failed."""

    default_reason: ClassVar[str] = "RENEWAL_FAILED"


@app.command(
    help="""Make CAs and certificates of one State for development.

Files: federation-ca, national-ca, node, national-server, registry, officer, delegate, approver, operator and
auditor, each .pem and .key, and log.key.

Example: dief pki dev xa/pki --state XA --dns node.xa.example"""
)
@guarded
def dev(
    folder: Annotated[Path, typer.Argument(help="Folder for the files.")],
    state: Annotated[str, typer.Option("--state", help="ISO 3166-1 alpha-2, for example XA.")],
    federation: Annotated[str, typer.Option("--federation", help="Name of the federation.")] = "dief",
    dns: DnsOption = None,
    ip: IpOption = None,
    days: Annotated[float, typer.Option("--days", help="Life of the node's certificate.")] = 7,
) -> None:
    """Make development certificates."""
    from node.identity.development import LOCAL_DNS, LOCAL_IPS, DevelopmentPki

    if any((folder / name).exists() for name in ("federation-ca.key", "national-ca.key", "log.key")):
        raise FilesExistError(
            f"{folder} already holds keys.", "Choose another folder; nothing was changed in this one."
        )
    made = DevelopmentPki.make(
        state,
        federation,
        dns=[*LOCAL_DNS, *(dns or ())],
        ips=[*LOCAL_IPS, *(ip or ())],
        node_days=days,
    )
    files = made.write(folder)
    typer.echo(
        f"{len(files)} files of {state} are in {folder}. For development only: the CA keys lie beside."
    )


@app.command(
    help="""Make a key and a request for a certificate that a CA elsewhere signs.

The key is made if it is not there yet, mode 0600; it never leaves this machine.

Example: dief pki csr pki/node.key node.csr --id spiffe://xa.dief/node/main --dns node.xa.example"""
)
@guarded
def csr(
    key: Annotated[Path, typer.Argument(help="Private key, made if missing.")],
    request: Annotated[Path, typer.Argument(help="Request to write (PEM).")],
    spiffe_id: Annotated[
        str, typer.Option("--id", help="SPIFFE ID: spiffe://<state>.<federation>/<kind>/<name>.")
    ],
    dns: DnsOption = None,
    ip: IpOption = None,
) -> None:
    """Make a certificate request."""
    from cryptography.hazmat.primitives import serialization

    from node.identity import pem, pki
    from node.identity.spiffe import SpiffeId

    wanted = SpiffeId.parse(spiffe_id)
    if not key.exists():
        pem.write_key(key, pki.new_key())
    made = pki.make_csr(pem.read_key(key), wanted, dns=dns or (), ips=ip or ())
    pem.write_atomic(request, made.public_bytes(serialization.Encoding.PEM))
    typer.echo(f"{request} asks for {wanted}. Next, where the CA key is: dief pki sign {request} CERTIFICATE")


@app.command(
    help="""Sign a request with a CA made by `dief pki dev`.

Of the request only the key, the SPIFFE ID, host names and addresses are kept, and only if they fit the CA's State.

Example: dief pki sign node.csr pki/node.pem --ca federation-ca.pem --ca-key federation-ca.key"""
)
@guarded
def sign(
    request: Annotated[Path, typer.Argument(help="Request (PEM).")],
    certificate: Annotated[Path, typer.Argument(help="Certificate to write (PEM).")],
    ca: CaOption,
    ca_key: CaKeyOption,
    days: Annotated[float | None, typer.Option("--days", help="Life; 7 for a node, else 365.")] = None,
) -> None:
    """Sign a certificate request."""
    from cryptography import x509

    from node.identity import pem, pki
    from node.identity.errors import IssuanceError

    try:
        asked = x509.load_pem_x509_csr(pem.read_limited(request))
    except ValueError as error:
        raise IssuanceError(
            f"{request} is no certificate request.", "Make one with `dief pki csr`."
        ) from error
    made = pki.sign_csr(_authority(ca, ca_key), asked, days=days)
    pem.write_certificates(certificate, [made])
    _print([made], as_json=False)


@app.command(
    help="""Renew the node's certificate now, the way its settings say.

A running node does this by itself and takes the new files without a restart.

Example: dief pki renew -c /srv/dief-xa/dief.toml"""
)
@guarded
def renew(config: Config = None) -> None:
    """Renew the node's certificate."""
    from node.cli import client
    from node.identity.renewal import ByOthers, Renewer, way_of
    from node.ops.clock import now_ms, to_iso

    settings = client.settings(config)
    own = settings.federation
    ca, ca_key = (
        None if path is None else settings.path(path)
        for path in (own.renewal_ca_certificate, own.renewal_ca_key)
    )
    way = way_of(ca, ca_key, own.renewal_command)
    if way == ByOthers():
        raise NoWayToRenewError(
            "The settings name no way to renew the node's certificate.",
            "Set renewal_ca_certificate and renewal_ca_key, or renewal_command, in [federation]; "
            "or make a request with `dief pki csr` and have your CA sign it.",
        )
    state = Renewer(settings.path(own.certificate), settings.path(own.key), way).check(now_ms(), force=True)
    if not state.renewed:
        raise NoWayToRenewError(
            state.warning or "Nothing was renewed.", "Mend what it says and run it again."
        )
    typer.echo(f"Renewed: the node's certificate is valid until {to_iso(state.not_after_ms)}.")


@app.command(
    help="""Show what a certificate file says.

Example: dief pki show pki/node.pem --json"""
)
@guarded
def show(
    file: Annotated[Path, typer.Argument(help="PEM file with certificates.")], as_json: AsJson = False
) -> None:
    """Show certificates."""
    from node.identity import pem

    _print(pem.read_certificates(file), as_json=as_json)


@app.command(
    help="""Write the State's card for the keepers of the roster: CA certificates, public log key, endpoints.

It holds nothing secret. What is not given comes from the node's settings: the State, the log key, the listener's
address, and federation-ca.pem beside the node's certificate.

Example: dief pki card xa.card.json --name Xanadu --endpoint node.xa.example:7443"""
)
@guarded
def card(
    file: Annotated[Path, typer.Argument(help="Card to write (JSON).")],
    name: Annotated[str, typer.Option("--name", help="Name of the State for people.")],
    status: Annotated[
        str, typer.Option("--status", help="state-party, signatory or secretariat.")
    ] = "state-party",
    state: Annotated[str | None, typer.Option("--state", help="ISO 3166-1 alpha-2.")] = None,
    ca: Annotated[list[Path] | None, typer.Option("--ca", help="Federation CA; repeatable.")] = None,
    log_key: Annotated[
        list[str] | None,
        typer.Option(
            "--log-key", help="Key file or public key in hex, with :prepared, :retired if not active."
        ),
    ] = None,
    endpoint: Annotated[
        list[str] | None, typer.Option("--endpoint", help="host:port of the node; repeatable.")
    ] = None,
    config: Config = None,
) -> None:
    """Write the participant's card."""
    from cryptography.hazmat.primitives import serialization
    from dief.v1.roster_pb2 import Participant, TreatyStatus

    from node.cli import client
    from node.cli.roster_files import key_argument
    from node.identity import authoring, pem
    from node.ops.settings import Settings

    settings: Settings | None = None
    if state is None or ca is None or log_key is None or endpoint is None:
        settings = client.settings(config)
        state = state or settings.state
        ca = ca or [settings.path(settings.federation.certificate).with_name("federation-ca.pem")]
        log_key = log_key or [str(settings.path(settings.log.key))]
        endpoint = [settings.federation.listen] if endpoint is None else endpoint
    for each in endpoint:
        _check_endpoint(each)
    try:
        treaty_status = authoring.from_short_name(TreatyStatus, status)
    except ValueError:
        raise typer.BadParameter("state-party, signatory or secretariat", param_hint="--status") from None
    made = Participant(
        state=state,
        display_name=name,
        treaty_status=treaty_status,
        ca_certificates=[
            one.public_bytes(serialization.Encoding.DER) for path in ca for one in pem.read_certificates(path)
        ],
        log_keys=[] if status == "secretariat" else [key_argument(text) for text in log_key],
        endpoints=endpoint,
    )
    pem.write_atomic(file, authoring.to_card(made))
    typer.echo(
        f"{file} is the card of {state}. Send it to the keepers; tell them its content by telephone too."
    )


def _check_endpoint(text: str) -> None:
    """Refuse what no peer could dial."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise typer.BadParameter(
            f"{text!r} is not host:port, for example node.xa.example:7443.", param_hint="--endpoint"
        )
    if host in ("0.0.0.0", "[::]"):  # noqa: S104 - refused, not listened on
        raise typer.BadParameter(
            f"{text} says where the node listens, not where peers reach it; name that.",
            param_hint="--endpoint",
        )


@app.command(
    help="""Revoke certificates of the national CA; the file keeps what it revoked before.

Example: dief pki crl pki/national-ca.crl --revoke officer.pem --ca national-ca.pem --ca-key national-ca.key"""
)
@guarded
def crl(
    file: Annotated[Path, typer.Argument(help="Revocation list to write (PEM).")],
    ca: CaOption,
    ca_key: CaKeyOption,
    revoke: Annotated[
        list[Path] | None, typer.Option("--revoke", help="Certificate to revoke; repeatable.")
    ] = None,
    days: Annotated[float, typer.Option("--days", help="Until the next list is due.")] = 30,
) -> None:
    """Write a revocation list."""
    from cryptography.hazmat.primitives import serialization

    from node.identity import pem, pki
    from node.identity.credentials import read_crl

    serials = {one.serial_number for one in read_crl(file)} if file.exists() else set()
    serials |= {pem.read_certificates(path)[0].serial_number for path in revoke or ()}
    made = pki.make_crl(_authority(ca, ca_key), serials, days=days)
    pem.write_atomic(file, made.public_bytes(serialization.Encoding.PEM))
    typer.echo(f"{file} revokes {len(serials)} certificates; the next list is due in {days:g} days.")


def _authority(certificate: Path, key: Path) -> Authority:
    from node.identity import pem
    from node.identity.pki import Authority

    return Authority(pem.read_certificates(certificate)[0], pem.read_key(key))


def _print(certificates: Any, *, as_json: bool) -> None:
    emit(map(_row, certificates), as_json=as_json, columns=COLUMNS)


def _row(certificate: x509.Certificate) -> dict[str, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    from node.identity.certificates import spiffe_id_of
    from node.identity.errors import IdentityError
    from node.ops.clock import now_ms, to_iso

    try:
        spiffe_id = str(spiffe_id_of(certificate))
    except IdentityError:
        spiffe_id = ""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = names.get_values_for_type(x509.DNSName)
        addresses = [str(one) for one in names.get_values_for_type(x509.IPAddress)]
    except (x509.ExtensionNotFound, ValueError):
        hosts, addresses = [], []
    try:
        is_ca = bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        is_ca = False
    start, end = (
        int(moment.timestamp() * 1000)
        for moment in (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    )
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "spiffe_id": spiffe_id,
        "ca": is_ca,
        "dns": hosts,
        "ips": addresses,
        "not_before": to_iso(start),
        "not_after": to_iso(end),
        "days_left": (end - now_ms()) // 86_400_000,
        "serial": f"{certificate.serial_number:x}",
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }
