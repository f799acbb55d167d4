"""Certificates of a State: its federation CA, its national CA, and what they sign.

Rules:
- A State has two CAs, apart: the federation CA signs `node` only; the national CA signs persons, registries
  and the server certificate of the national listener, and means nothing in the federation.
- ECDSA P-256; a CA has pathlen 0, may sign certificates and revocation lists, has a key id and a subject of
  its own, and *no URI name constraints*: cryptography refuses every leaf below such a CA.
- A leaf has exactly one URI name, its SPIFFE ID, beside DNS names and IP addresses; it may be used as server
  and as client.
- Of a request a CA keeps the public key and, once they fit the CA, the SPIFFE ID, DNS names and addresses.
  Everything else is the CA's own decision.
- Validity starts five minutes back, so that clocks may differ a little, and never outlives the CA.

Example:
    ca = create_ca("XA", "dief", role=CaRole.FEDERATION)
    node = issue(ca, SpiffeId.parse("spiffe://xa.dief/node/main"), dns=["node.xa.example"])

Source: RFC 5280, X509-SVID §3-4.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from node.identity.errors import IssuanceError
from node.identity.keys import ACCEPTED_KEYS, TlsKey, TlsPublicKey, accepted_key
from node.identity.spiffe import NATIONAL_KINDS, Kind, SpiffeId, trust_domain

NODE_DAYS: Final = 7
"""Life of a node's leaf by default, in days."""

PERSON_DAYS: Final = 365
"""Life of a national certificate by default, in days."""

CA_DAYS: Final = 3650
"""Life of a development CA by default, in days."""

SKEW: Final = timedelta(minutes=5)
"""How far back validity starts."""

_MAX_NAMES: Final = 32


class CaRole(StrEnum):
    """The two CAs of a State."""

    FEDERATION = "federation"
    NATIONAL = "national"


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that may sign here.

    Attributes:
        certificate: its certificate.
        key: its private key.
    """

    certificate: x509.Certificate
    key: TlsKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credential:
    """A leaf with what is needed to use it.

    Attributes:
        chain: leaf first, then intermediates; never the root.
        key: private key of the leaf.
    """

    chain: tuple[x509.Certificate, ...]
    key: TlsKey = field(repr=False)

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return self.chain[0]


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def ca_subject(state: str, federation: str, role: CaRole) -> x509.Name:
    """Subject of a CA: different for every State, federation and role."""
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"{trust_domain(state, federation)} {role} CA")]
    )


def create_ca(
    state: str,
    federation: str,
    *,
    role: CaRole = CaRole.FEDERATION,
    days: float = CA_DAYS,
    key: TlsKey | None = None,
    now: datetime | None = None,
) -> Authority:
    """Makes a self-signed CA.

    Args:
        state: ISO 3166-1 alpha-2, upper case.
        federation: name of the federation.
        role: which of the two CAs.
        days: life.
        key: key to use, or None for a fresh one.
        now: moment of issue; this machine's clock by default.

    Raises:
        MalformedSpiffeIdError: State or federation can stand in no trust domain.
    """
    SpiffeId(state, federation, Kind.NODE, "ca")
    key = key or new_key()
    issued = now or _now()
    subject = ca_subject(state, federation, CaRole(role))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(issued - SKEW)
        .not_valid_after(issued + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def issue(
    authority: Authority,
    spiffe_id: SpiffeId,
    *,
    dns: Iterable[str] = (),
    ips: Iterable[str] = (),
    days: float | None = None,
    key: TlsKey | None = None,
    now: datetime | None = None,
) -> Credential:
    """Makes a key and signs its leaf.

    Args:
        authority: CA of the same State and of the role that the kind asks for.
        spiffe_id: whom it is for.
        dns: host names under which a node listens.
        ips: addresses under which a node listens.
        days: life; NODE_DAYS for a node and PERSON_DAYS for the national kinds by default.
        key: key of the leaf, or None for a fresh one.
        now: moment of issue; this machine's clock by default.

    Raises:
        IssuanceError: the CA is of another State or role, or a name or the life is out of bounds.
    """
    key = key or new_key()
    certificate = _sign_leaf(authority, spiffe_id, key.public_key(), _names(dns, ips), days, now)
    return Credential((certificate,), key)


def make_csr(
    key: TlsKey, spiffe_id: SpiffeId, *, dns: Iterable[str] = (), ips: Iterable[str] = ()
) -> x509.CertificateSigningRequest:
    """A request for a leaf, for a CA that is elsewhere (PKCS #10).

    Raises:
        IssuanceError: a DNS name or address is malformed.
    """
    names = [x509.UniformResourceIdentifier(str(spiffe_id)), *_names(dns, ips)]
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_leaf_subject(spiffe_id))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )


def sign_csr(
    authority: Authority,
    request: x509.CertificateSigningRequest,
    *,
    days: float | None = None,
    now: datetime | None = None,
) -> x509.Certificate:
    """Signs a request, of which only key, SPIFFE ID, DNS names and addresses are kept.

    Args:
        authority: CA of the State that the request names.
        request: hostile until checked.
        days: life, as in `issue`.
        now: moment of issue; this machine's clock by default.

    Raises:
        IssuanceError: the request proves no possession of its key, names not exactly one SPIFFE ID, or asks
            for something that this CA may not give.
    """
    if not request.is_signature_valid:
        raise IssuanceError("The request is not signed by its own key.", "Make it again with `dief pki csr`.")
    try:
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise IssuanceError(
            "The request names no SPIFFE ID.", "Make it again with `dief pki csr`."
        ) from error
    names = list(extension.value)
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    kept = [name for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]
    if len(uris) != 1 or len(uris) + len(kept) != len(names):
        raise IssuanceError(
            "The request must name exactly one SPIFFE ID and, beside it, only DNS names and addresses.",
            "Make it again with `dief pki csr`.",
        )
    spiffe_id = SpiffeId.parse(uris[0])
    dns = [name.value for name in kept if isinstance(name, x509.DNSName)]
    ips = [str(name.value) for name in kept if isinstance(name, x509.IPAddress)]
    return _sign_leaf(authority, spiffe_id, request.public_key(), _names(dns, ips), days, now)


def make_crl(
    authority: Authority, serials: Iterable[int], *, days: float = 30, now: datetime | None = None
) -> x509.CertificateRevocationList:
    """A revocation list of a CA.

    Args:
        authority: CA that signed the certificates.
        serials: serial numbers of all certificates that are revoked.
        days: until the next list is due.
        now: moment of issue; this machine's clock by default.
    """
    issued = now or _now()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(issued - SKEW)
        .next_update(issued + timedelta(days=days))
        .add_extension(_authority_key_id(authority.certificate), critical=False)
    )
    for serial in sorted(set(serials)):
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(issued).build()
        builder = builder.add_revoked_certificate(revoked)
    return builder.sign(authority.key, hashes.SHA256())


def _sign_leaf(
    authority: Authority,
    spiffe_id: SpiffeId,
    public_key: object,
    names: Sequence[x509.GeneralName],
    days: float | None,
    now: datetime | None,
) -> x509.Certificate:
    _check_authority(authority.certificate, spiffe_id)
    key = _check_leaf_key(public_key)
    issued = now or _now()
    life = days if days is not None else (NODE_DAYS if spiffe_id.kind == Kind.NODE else PERSON_DAYS)
    start = max(issued - SKEW, authority.certificate.not_valid_before_utc)
    end = min(issued + timedelta(days=life), authority.certificate.not_valid_after_utc)
    if end <= start:
        raise IssuanceError(
            "The certificate would end before it begins.", "Give it more days, or renew the CA first."
        )
    uri = x509.UniformResourceIdentifier(str(spiffe_id))
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(_leaf_subject(spiffe_id))
        .issuer_name(authority.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([uri, *names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_authority_key_id(authority.certificate), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _check_authority(certificate: x509.Certificate, spiffe_id: SpiffeId) -> None:
    roles = (CaRole.NATIONAL,) if spiffe_id.kind in NATIONAL_KINDS else tuple(CaRole)
    subjects = [ca_subject(spiffe_id.state, spiffe_id.federation, role) for role in roles]
    if certificate.subject not in subjects:
        raise IssuanceError(
            f"This CA is not one of {spiffe_id.trust_domain} that may sign {spiffe_id}.",
            "Use that State's own CA: the federation CA for its node, the national CA for every other kind.",
        )


def _check_leaf_key(public_key: object) -> TlsPublicKey:
    key = accepted_key(public_key)
    if key is None:
        raise IssuanceError(f"The key is not {ACCEPTED_KEYS}.", "Make an ECDSA P-256 key.")
    return key


def _names(dns: Iterable[str], ips: Iterable[str]) -> list[x509.GeneralName]:
    try:
        names: list[x509.GeneralName] = [x509.DNSName(_check_dns(name)) for name in dns]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ips]
    except ValueError as error:
        raise IssuanceError(
            "A DNS name or an address is malformed.", "Give host names in ASCII and plain addresses."
        ) from error
    if len(names) > _MAX_NAMES:
        raise IssuanceError(f"More than {_MAX_NAMES} names.", "Name only what the node listens on.")
    return names


def _check_dns(name: str) -> str:
    labels = name.split(".")
    good = all(
        0 < len(label) < 64
        and label.isascii()
        and label.replace("-", "a").isalnum()
        and not label.startswith("-")
        and not label.endswith("-")
        for label in labels
    )
    if not good or len(name) > 253:
        raise ValueError("not a host name")
    return name


def _leaf_subject(spiffe_id: SpiffeId) -> x509.Name:
    name = f"{spiffe_id.kind} {spiffe_id.name}"[:64]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _authority_key_id(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
