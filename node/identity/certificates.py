"""Who a certificate chain proves to be, and whether that peer may speak now (I9).

Rules:
- The leaf has exactly one URI name; it is a SPIFFE ID whose trust domain, `<state>.<federation>`, names a
  participant of the roster. No other name, of subject or host, means anything.
- The chain validates against the federation bundle of *that* State and no other. A chain that another State's
  bundle validates is told apart: that CA speaks for a State that is not its own.
- The leaf's key is one of those accepted here (`keys`).
- The kind is the one that the listener is for: `node` in the federation.
- Leaf, intermediates and CA are valid at this moment.
- Then, in this order: not denied here, admitted here, taking part by the roster.
- Signatures are checked once for each leaf and roster; dates, denials, admission and participation every time.
- Nationally: the chain validates against the own State's national CA, the SPIFFE ID names the own State, the kind
  is one of those asked for, and the CA's revocation list, where one is given, is its own, fresh, and does not
  name the leaf.

Example:
    peer = authenticate(pem_chain, view, admitted={"XB"}, denied=set(), now_ms=now_ms())
    check_standing(peer, newer_view, admitted={"XB"}, denied={"XB"}, now_ms=now_ms())  # DeniedError

Source: RFC 5280 §6, X509-SVID §5.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from node.identity.errors import (
    CertificateExpiredError,
    DeniedError,
    MalformedSpiffeIdError,
    NotAdmittedError,
    NotParticipatingError,
    RevokedCertificateError,
    UnknownIdentityError,
    WrongKindError,
    WrongStateError,
)
from node.identity.keys import ACCEPTED_KEYS, accepted_key
from node.identity.pem import MALFORMED, certificates_from_pem
from node.identity.spiffe import Kind, SpiffeId
from node.identity.view import Participation, RosterView

MAX_CHAIN: Final = 8
"""Most certificates that a peer may present."""

MAX_CHAIN_BYTES: Final = 64 * 1024
"""Largest presented chain in PEM, in bytes."""

CACHE_SIZE: Final = 4096
"""Chains whose signatures are remembered as checked."""

Chain = bytes | Sequence[x509.Certificate]
"""A presented chain, leaf first: PEM bytes, or certificates."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """Whom a chain proves.

    Attributes:
        state: the State.
        spiffe_id: the whole identity.
        leaf_sha256: SHA-256 of the leaf.
        not_after_ms: when the first certificate of the chain expires.
        chain: as presented, to be judged again by a newer roster.
    """

    state: str
    spiffe_id: SpiffeId
    leaf_sha256: bytes
    not_after_ms: int
    chain: tuple[x509.Certificate, ...] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class _Window:
    """When every certificate of a verified chain is valid, in ms."""

    start_ms: int
    end_ms: int

    @classmethod
    def of(cls, chain: Sequence[x509.Certificate]) -> _Window:
        return cls(
            max(_ms(one.not_valid_before_utc) for one in chain),
            min(_ms(one.not_valid_after_utc) for one in chain),
        )

    def check(self, now_ms: int) -> None:
        if now_ms < self.start_ms:
            raise CertificateExpiredError("The certificate, or a CA above it, is not valid yet.")
        if now_ms > self.end_ms:
            raise CertificateExpiredError("The certificate, or a CA above it, has expired.")


class _Verified:
    """Remembers chains whose signatures are checked: (SHA-256 of the leaf, digest of the roster) → window."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._windows: OrderedDict[tuple[bytes, bytes], _Window] = OrderedDict()
        self._lock = Lock()

    def get(self, leaf: bytes, roster: bytes, now_ms: int) -> _Window | None:
        """The window, if it holds this moment; else another path may, and signatures are checked again."""
        with self._lock:
            window = self._windows.get((leaf, roster))
            if window is None or not window.start_ms <= now_ms <= window.end_ms:
                return None
            self._windows.move_to_end((leaf, roster))
            return window

    def put(self, leaf: bytes, roster: bytes, window: _Window) -> None:
        """Remembers one; the least used is forgotten."""
        with self._lock:
            self._windows[leaf, roster] = window
            self._windows.move_to_end((leaf, roster))
            while len(self._windows) > self._size:
                self._windows.popitem(last=False)


_verified = _Verified(CACHE_SIZE)


def authenticate(
    chain: Chain,
    view: RosterView,
    *,
    admitted: Collection[str],
    denied: Collection[str],
    now_ms: int,
    kind: Kind | str = Kind.NODE,
    removed_allowed: bool = False,
) -> PeerIdentity:
    """Who presents this chain in the federation, if that State may speak now.

    Args:
        chain: hostile until this returns.
        view: the trusted roster.
        admitted: States that this node has admitted, with the keys that the roster lists now.
        denied: States that this node's operator denied.
        now_ms: this node's clock.
        kind: kind that the listener is for.
        removed_allowed: whether a State that the roster removed within 90 days may still make this call.

    Raises:
        IdentityError: named for the first rule of this module that is broken.
    """
    certificates = parse_chain(chain)
    spiffe_id = spiffe_id_of(certificates[0])
    if spiffe_id.federation != view.federation or view.participant(spiffe_id.state) is None:
        raise UnknownIdentityError("The certificate names no participant of the trusted roster.")
    leaf = certificates[0].fingerprint(hashes.SHA256())
    window = _verify_for(certificates, leaf, spiffe_id.state, view, now_ms)
    if spiffe_id.kind != kind:
        raise WrongKindError(f"A certificate of kind {spiffe_id.kind} may not be used here.")
    peer = PeerIdentity(spiffe_id.state, spiffe_id, leaf, window.end_ms, certificates)
    window.check(now_ms)
    _check_trust(peer.state, view, admitted, denied, now_ms, removed_allowed)
    return peer


def check_standing(
    peer: PeerIdentity,
    view: RosterView,
    *,
    admitted: Collection[str],
    denied: Collection[str],
    now_ms: int,
    removed_allowed: bool = False,
) -> None:
    """Whether a peer that was authenticated before may go on, by the roster and the decisions of now.

    Args:
        peer: from `authenticate`, perhaps by an older roster.
        view: the roster trusted now.
        admitted: as in `authenticate`.
        denied: as in `authenticate`.
        now_ms: this node's clock.
        removed_allowed: as in `authenticate`.

    Raises:
        IdentityError: it may not.
    """
    authenticate(
        peer.chain,
        view,
        admitted=admitted,
        denied=denied,
        now_ms=now_ms,
        kind=peer.spiffe_id.kind,
        removed_allowed=removed_allowed,
    )


def authenticate_national(
    chain: Chain,
    national_ca_certs: Sequence[x509.Certificate],
    *,
    state: str,
    federation: str,
    kinds: Collection[Kind],
    now_ms: int,
    crl: x509.CertificateRevocationList | None = None,
) -> PeerIdentity:
    """Which of the own State's persons or registries presents this chain.

    Args:
        chain: hostile until this returns.
        national_ca_certs: bundle of the national CA.
        state: the own State.
        federation: name of the federation.
        kinds: kinds that may call.
        now_ms: this node's clock.
        crl: revocation list of the national CA, where there is one.

    Raises:
        IdentityError: named for the first rule of this module that is broken.
    """
    certificates = parse_chain(chain)
    spiffe_id = spiffe_id_of(certificates[0])
    verified = _verify(certificates, national_ca_certs, now_ms)
    if verified is None:
        raise UnknownIdentityError(
            "No certificate of the national CA validates this chain.",
            "Use a certificate that the national CA of this State signed.",
        )
    if (spiffe_id.state, spiffe_id.federation) != (state, federation):
        raise WrongStateError(
            "The certificate names another State or federation than this node's own.",
            "Use a certificate of this State; the national CA should not have signed this one.",
        )
    window = _Window.of(verified)
    window.check(now_ms)
    if crl is not None:
        _check_not_revoked(verified, crl, now_ms)
    if spiffe_id.kind not in kinds:
        raise WrongKindError(f"A certificate of kind {spiffe_id.kind} may not call this.")
    leaf = certificates[0].fingerprint(hashes.SHA256())
    return PeerIdentity(spiffe_id.state, spiffe_id, leaf, window.end_ms, certificates)


def presented_chain(auth_context: Mapping[str, Iterable[bytes]]) -> bytes:
    """The chain that a connection presented, in PEM, leaf first.

    gRPC hands the leaf over as `x509_pem_cert` and, only where there are any, the certificates above it as
    `x509_pem_cert_chain`, which does *not* begin with the leaf. Whoever takes that one's first certificate for
    the leaf believes a certificate whose key nobody proved to have.

    Args:
        auth_context: what `ServicerContext.auth_context()` gives.

    Raises:
        UnknownIdentityError: the connection presented no certificate.
    """
    leaf = b"".join(auth_context.get("x509_pem_cert", ()))
    if not leaf:
        raise UnknownIdentityError("The connection presented no certificate.")
    return leaf + b"".join(auth_context.get("x509_pem_cert_chain", ()))


def parse_chain(chain: Chain) -> tuple[x509.Certificate, ...]:
    """A presented chain, leaf first.

    Raises:
        UnknownIdentityError: empty, malformed or too long.
    """
    if isinstance(chain, bytes):
        if len(chain) > MAX_CHAIN_BYTES:
            raise UnknownIdentityError("The presented chain is too large.")
        try:
            certificates = certificates_from_pem(chain)
        except ValueError as error:
            raise UnknownIdentityError("The presented chain is malformed.") from error
    else:
        certificates = tuple(chain)
    if not 0 < len(certificates) <= MAX_CHAIN:
        raise UnknownIdentityError(f"The presented chain has not 1 to {MAX_CHAIN} certificates.")
    return certificates


def spiffe_id_of(leaf: x509.Certificate) -> SpiffeId:
    """The SPIFFE ID that a certificate claims; nothing proves it yet.

    Raises:
        MalformedSpiffeIdError: it has not exactly one URI name, or that is no SPIFFE ID of a federation.
        UnknownIdentityError: its extensions are malformed, or its key is of a kind not accepted here.
    """
    try:
        key = accepted_key(leaf.public_key())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    except MALFORMED as error:
        raise UnknownIdentityError("The certificate's key or extensions are malformed.") from error
    if key is None:
        raise UnknownIdentityError(f"The certificate's key is not {ACCEPTED_KEYS}.")
    if len(uris) != 1:
        raise MalformedSpiffeIdError(f"The certificate has {len(uris)} URI names instead of one.")
    return SpiffeId.parse(uris[0])


def _verify_for(
    chain: tuple[x509.Certificate, ...], leaf: bytes, state: str, view: RosterView, now_ms: int
) -> _Window:
    remembered = _verified.get(leaf, view.digest, now_ms)
    if remembered is not None:
        return remembered
    verified = _verify(chain, view.bundle(state), now_ms)
    if verified is None:
        others = [other for other in view.states() if other != state]
        foreign = _verify(chain, [ca for other in others for ca in view.bundle(other)], now_ms)
        if foreign is None:
            raise UnknownIdentityError(f"No CA that the roster lists for {state} validates the certificate.")
        owner = next(other for other in others if foreign[-1] in view.bundle(other))
        raise WrongStateError(f"A CA of {owner} signed a certificate that names {state}.")
    window = _Window.of(verified)
    _verified.put(leaf, view.digest, window)
    return window


def _verify(
    chain: Sequence[x509.Certificate], bundle: Sequence[x509.Certificate], now_ms: int
) -> list[x509.Certificate] | None:
    """A path from leaf to a CA of the bundle that was valid at some moment, now if there is one; or None."""
    if not bundle:
        return None
    store = Store(list(bundle))
    leaf = chain[0]
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    try:
        moments = dict.fromkeys((now, leaf.not_valid_before_utc, leaf.not_valid_after_utc))
    except MALFORMED:
        return None
    for moment in moments:
        verifier = PolicyBuilder().store(store).time(moment.replace(tzinfo=None)).build_client_verifier()
        try:
            return verifier.verify(leaf, list(chain[1:])).chain
        except (VerificationError, *MALFORMED):
            continue
    return None


def _check_trust(
    state: str,
    view: RosterView,
    admitted: Collection[str],
    denied: Collection[str],
    now_ms: int,
    removed_allowed: bool,
) -> None:
    if state in denied:
        raise DeniedError(f"The operator of this node denied {state}.")
    if state not in admitted:
        raise NotAdmittedError(f"This node has not admitted {state} with the keys that the roster lists.")
    participation = view.participation(state, now_ms)
    if participation == Participation.FULL:
        return
    if participation == Participation.ERASE_ONLY and removed_allowed:
        return
    raise NotParticipatingError(f"The roster says that {state} does not take part now.")


def _check_not_revoked(
    verified: Sequence[x509.Certificate], crl: x509.CertificateRevocationList, now_ms: int
) -> None:
    leaf, issuer = verified[0], verified[min(1, len(verified) - 1)]
    try:
        genuine = crl.issuer == issuer.subject and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except TypeError:
        genuine = False
    if not genuine:
        raise RevokedCertificateError(
            "The revocation list is not by the CA that signed the certificate.",
            "Put the national CA's own list at `[national] crl`.",
        )
    if crl.next_update_utc is not None and now_ms > _ms(crl.next_update_utc):
        raise RevokedCertificateError(
            "The revocation list of the national CA is out of date.",
            "Put the CA's newest list at `[national] crl` (`dief pki crl` makes one for a development CA).",
        )
    if crl.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None:
        raise RevokedCertificateError("The national CA revoked this certificate.")


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
