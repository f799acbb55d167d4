"""A federation to test against: States with CAs, leaves and log keys, and rosters that a test may corrupt.

Every part is a real one, made by the code that ships; what a test wants to be wrong it changes in one line:

    fed = DevFederation(["XA", "XB"], signatories=["XD"])
    fed.view.bundle("XB")                                    # version 1, signed by the threshold
    fed["XA"].issue("spiffe://xb.dief/node/main")            # XA's CA signs for XB
    fed.next(lambda roster: roster.participants.pop())       # version 2, signed
    fed.sign(fed.successor(), keys=fed.roster_keys[:1])      # too few signatures
    fed["XA"].write(tmp_path / "xa" / "pki")                 # files as a node reads them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from dief.v1.roster_pb2 import (
    KEY_ALGORITHM_ED25519,
    KEY_STATE_ACTIVE,
    PARTICIPANT_STATE_ACTIVE,
    TREATY_STATUS_SECRETARIAT,
    TREATY_STATUS_SIGNATORY,
    TREATY_STATUS_STATE_PARTY,
    KeyState,
    Participant,
    Roster,
    RosterEnvelope,
    RosterKey,
    TreatyStatus,
)

from node.identity import dsse, pki, roster
from node.identity.development import DevelopmentPki
from node.identity.keys import TlsKey
from node.identity.pem import certificates_pem
from node.identity.pki import Authority, Credential
from node.identity.roster import TrustedRoster
from node.identity.spiffe import Kind, SpiffeId
from node.identity.view import RosterView
from node.ops.clock import now_ms, to_timestamp

DAY_MS = 24 * 3_600_000


def log_key(key: Ed25519PrivateKey, state: KeyState.ValueType = KEY_STATE_ACTIVE) -> RosterKey:
    """A key as a roster lists it."""
    return RosterKey(algorithm=KEY_ALGORITHM_ED25519, public_key=dsse.public_bytes(key), state=state)


def der(certificate: x509.Certificate) -> bytes:
    """A certificate as a roster lists it."""
    return certificate.public_bytes(serialization.Encoding.DER)


def forge(
    authority: Authority,
    uris: Sequence[str] = ("spiffe://xa.dief/node/main",),
    *,
    key: TlsKey | None = None,
    ca: bool = False,
    start: datetime | None = None,
    days: float = 7,
    usages: Sequence[x509.ObjectIdentifier] = (
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ),
    more: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> Credential:
    """A certificate that `pki.issue` would refuse to make: any URI names, dates, usages, or a CA.

    Args:
        authority: who signs it; it is not checked for anything.
        uris: URI names.
        key: its key, or None for a fresh one.
        ca: whether it is a CA.
        start: from when it is valid, an hour ago by default.
        days: for how long.
        usages: extended key usages.
        more: further extensions, each with whether it is critical.
    """
    key = key or pki.new_key()
    start = start or datetime.now(UTC) - timedelta(hours=1)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names = names or [x509.DNSName("node.example")]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "forged")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False),
            critical=True,
        )
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    return Credential((builder.sign(authority.key, hashes.SHA256()),), key)


def forge_ca(
    name: str,
    *,
    key: TlsKey | None = None,
    ca: bool = True,
    path_length: int | None = 0,
    signs: bool = True,
    key_id: bytes | None = None,
    days: float = 3650,
    start: datetime | None = None,
    omit: type[x509.ExtensionType] | None = None,
    more: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> Authority:
    """A self-signed CA of any subject, with what `pki.create_ca` would never put into one.

    Args:
        name: common name of its subject.
        key: its key, or None for a fresh one.
        ca: basic constraint.
        path_length: how many CAs may stand below it; None for any number.
        signs: whether its key usage says that it signs certificates.
        key_id: subject key id; that of the key by default, empty for none.
        days: life.
        start: from when it is valid, an hour ago by default.
        omit: an extension that it should have and does not.
        more: further extensions, each with whether it is critical.
    """
    key = key or pki.new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = start or datetime.now(UTC) - timedelta(hours=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
    )
    wanted: list[x509.ExtensionType] = [
        x509.BasicConstraints(ca=ca, path_length=path_length if ca else None),
        x509.KeyUsage(True, False, False, False, False, signs, signs, False, False),
    ]
    for extension in wanted:
        if type(extension) is not omit:
            builder = builder.add_extension(extension, critical=True)
    if key_id is None:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    elif key_id:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(key_id), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    return Authority(builder.sign(key, hashes.SHA256()), key)


class DevState:
    """One State: its CAs, node, national identities and log key."""

    def __init__(self, state: str, federation: str) -> None:
        self.pki = DevelopmentPki.make(state, federation)
        self.state = state
        self.federation = federation
        self.ca = self.pki.federation_ca
        self.national_ca = self.pki.national_ca
        self.log_key = self.pki.log_key

    @property
    def node(self) -> Credential:
        """The node's leaf and key."""
        return self.pki.node

    @property
    def node_pem(self) -> bytes:
        """The node's chain as a TLS connection presents it."""
        return certificates_pem(self.pki.node.chain)

    def national(self, kind: Kind | str) -> Credential:
        """A leaf of the national CA."""
        return self.pki.clients[Kind(kind)]

    def issue(self, uri: str | None = None, **changes: Any) -> Credential:
        """A leaf by this State's federation CA with any name; see `forge` for what may be changed."""
        name = uri or str(SpiffeId(self.state, self.federation, Kind.NODE, "main"))
        return forge(self.ca, (name,), **changes)

    def write(self, folder: Path) -> Path:
        """Files as a node reads them.

        Returns:
            The folder.
        """
        self.pki.write(folder)
        return folder


class DevFederation:
    """States, the keepers' keys, and the chain of rosters that they signed."""

    def __init__(
        self,
        states: Iterable[str] = ("XA", "XB"),
        *,
        signatories: Iterable[str] = (),
        secretariat: str | None = None,
        federation: str = "dief",
        keepers: int = 3,
        threshold: int = 2,
        issued_ms: int | None = None,
        days: float = 60,
    ) -> None:
        """Makes everything and trusts version 1.

        Args:
            states: States Parties.
            signatories: signatory States.
            secretariat: two letters under which the Secretariat is listed, or None.
            federation: its name.
            keepers: how many roster keys there are.
            threshold: how many must sign.
            issued_ms: when version 1 was issued; now by default.
            days: life of each roster.
        """
        self.federation = federation
        self.days = days
        self.roster_keys = [Ed25519PrivateKey.generate() for _ in range(keepers)]
        kinds: dict[str, TreatyStatus.ValueType] = dict.fromkeys(states, TREATY_STATUS_STATE_PARTY)
        kinds |= dict.fromkeys(signatories, TREATY_STATUS_SIGNATORY)
        if secretariat:
            kinds[secretariat] = TREATY_STATUS_SECRETARIAT
        self.states = {state: DevState(state, federation) for state in sorted(kinds)}
        issued = now_ms() if issued_ms is None else issued_ms
        self.roster = Roster(
            federation=federation,
            version=1,
            issued_at=to_timestamp(issued),
            expires_at=to_timestamp(issued + int(days * DAY_MS)),
            threshold=threshold,
            roster_keys=[log_key(key) for key in self.roster_keys],
            participants=[self._participant(state, kinds[state]) for state in sorted(kinds)],
        )
        """The newest roster; a test may change it and `sign` it again."""
        envelope = self.sign(self.roster)
        self.trusted: TrustedRoster = roster.trust_first(envelope, roster.digest_of(envelope), issued)
        self.envelopes = [envelope]
        """Signed rosters, version 1 first."""

    def __getitem__(self, state: str) -> DevState:
        """A State's own part."""
        return self.states[state]

    @property
    def view(self) -> RosterView:
        """Of the newest trusted roster."""
        return self.trusted.view

    @property
    def envelope(self) -> RosterEnvelope:
        """Of the newest trusted roster."""
        return self.envelopes[-1]

    @property
    def everybody(self) -> frozenset[str]:
        """All States, for tests about something else than admission."""
        return frozenset(self.states)

    def participant(self, state: str) -> Participant:
        """The entry of a State in the newest roster, to change before `sign`."""
        return next(one for one in self.roster.participants if one.state == state)

    def sign(self, content: Roster, keys: Sequence[Ed25519PrivateKey] | None = None) -> RosterEnvelope:
        """An envelope around any content, signed by the keepers, or by exactly these keys."""
        envelope = dsse.wrap(content.SerializeToString(deterministic=True))
        for key in self.roster_keys if keys is None else keys:
            envelope = dsse.sign(envelope, dsse.signer_of(key))
        return envelope

    def successor(self, change: Callable[[Roster], object] | None = None) -> Roster:
        """Content of the next version, not signed: a copy with version, digest and dates moved on."""
        following = Roster()
        following.CopyFrom(self.roster)
        following.version += 1
        following.previous_digest = self.trusted.digest
        if change is not None:
            change(following)
        return following

    def next(
        self,
        change: Callable[[Roster], object] | None = None,
        *,
        cosigners: Sequence[Ed25519PrivateKey] = (),
    ) -> RosterEnvelope:
        """Signs the next version and trusts it.

        Args:
            change: edits the content in place.
            cosigners: further keys that sign, for example a State's old log key.
        """
        content = self.successor(change)
        envelope = self.sign(content, [*self.roster_keys, *cosigners])
        self.trusted = roster.update(self.trusted, envelope, now_ms())
        self.roster = content
        self.envelopes.append(envelope)
        return envelope

    def write_roster(self, path: Path) -> str:
        """The newest roster as a file.

        Returns:
            Hex SHA-256 of the payload, for `dief roster trust`.
        """
        path.write_bytes(dsse.to_json(self.envelope))
        return roster.digest_of(self.envelope).hex()

    def _participant(self, state: str, status: TreatyStatus.ValueType) -> Participant:
        own = self.states[state]
        return Participant(
            state=state,
            display_name=f"State {state}",
            treaty_status=status,
            state_of_participation=PARTICIPANT_STATE_ACTIVE,
            ca_certificates=[der(own.ca.certificate)],
            log_keys=[] if status == TREATY_STATUS_SECRETARIAT else [log_key(own.log_key)],
        )
