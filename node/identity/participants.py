"""Rules about what a roster says: every violation in words, so that its keepers can mend all at once.

Rules:
- Participants are sorted by State, each State once.
- A CA certificate is a CA that may sign certificates, has a key id, a key that TLS here accepts, and no
  URI name constraints (our verifier would refuse every leaf below it).
- CAs of different States never share subject, key id or public key: one could speak for the other (I9), and
  handshakes with both would break. One State lists no certificate twice.
- A log key belongs to one State only and is no roster key; no key is listed twice.
- Roster keys are distinct, and the ACTIVE ones can reach the threshold.
- Every moment lies between the years 1970 and 9999.
- The roster expires after it is issued, at most 90 days later.
- Names have no control characters; endpoints are host:port.

Source: design of the roster after the TUF root role; RFC 5280 §4.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple

import protovalidate
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from dief.v1.roster_pb2 import (
    KEY_STATE_ACTIVE,
    Participant,
    Roster,
)

from node.identity.keys import ACCEPTED_KEYS, accepted_key
from node.identity.pem import MALFORMED, certificate_from_der
from node.ops.clock import from_timestamp

MAX_LIFE_MS: Final = 90 * 24 * 3_600_000
"""Longest life of a roster, in ms."""

MAX_VIOLATIONS: Final = 20
"""Most violations that are listed."""

_LAST_SECOND: Final = 253_402_300_799
_ENDPOINT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?):([0-9]{1,5})")


class _Mark(NamedTuple):
    """Something that certificates of two States must not have in common."""

    what: str
    value: bytes


def active_keys(roster: Roster) -> frozenset[bytes]:
    """Public keys whose signatures count towards the threshold."""
    return frozenset(key.public_key for key in roster.roster_keys if key.state == KEY_STATE_ACTIVE)


def violations(roster: Roster) -> list[str]:
    """What is wrong with the content of a roster, at most MAX_VIOLATIONS; empty = nothing."""
    found: list[str] = []
    for violation in _all(roster):
        found.append(violation)
        if len(found) == MAX_VIOLATIONS:
            break
    return found


def _all(roster: Roster) -> Iterator[str]:
    broken = [
        f"{_path(one.proto.field)}: {one.proto.message or one.proto.rule_id}"
        for one in protovalidate.collect_violations(roster)
    ]
    yield from broken
    if broken:
        return
    yield from _moments(roster)
    yield from _life(roster)
    yield from _roster_keys(roster)
    states = [one.state for one in roster.participants]
    if states != sorted(set(states)):
        yield "participants: not sorted by State, or a State is listed twice"
    yield from _log_keys(roster)
    yield from _certificates(roster)
    for participant in roster.participants:
        yield from _words(participant)


def _path(path: protovalidate.FieldPathPb | None) -> str:
    if path is None:
        return "roster"
    names = []
    for element in path.elements:
        subscript = element.subscript
        names.append(element.field_name + (f"[{subscript.value}]" if subscript is not None else ""))
    return ".".join(names)


def _moments(roster: Roster) -> Iterator[str]:
    moments = {"issued_at": roster.issued_at, "expires_at": roster.expires_at}
    for one in roster.participants:
        where = f"participants[{one.state}]"
        moments[f"{where}.treaty_status_since"] = one.treaty_status_since
        moments[f"{where}.state_of_participation_since"] = one.state_of_participation_since
    for name, moment in moments.items():
        if not 0 <= moment.seconds <= _LAST_SECOND or not 0 <= moment.nanos < 1_000_000_000:
            yield f"{name}: no moment between the years 1970 and 9999"


def _life(roster: Roster) -> Iterator[str]:
    issued, expires = from_timestamp(roster.issued_at), from_timestamp(roster.expires_at)
    if expires <= issued:
        yield "expires_at: not after issued_at"
    if expires - issued > MAX_LIFE_MS:
        yield "expires_at: more than 90 days after issued_at"
    if roster.version == 1 and roster.previous_digest:
        yield "previous_digest: must be empty in version 1"
    if roster.version > 1 and len(roster.previous_digest) != 32:
        yield "previous_digest: must be a SHA-256 from version 2 on"


def _roster_keys(roster: Roster) -> Iterator[str]:
    keys = [key.public_key for key in roster.roster_keys]
    if len(set(keys)) != len(keys):
        yield "roster_keys: a key is listed twice"
    if len(active_keys(roster)) < roster.threshold:
        yield "threshold: more than there are ACTIVE roster keys, nobody could ever sign"


def _log_keys(roster: Roster) -> Iterator[str]:
    owner = {key.public_key: "the roster" for key in roster.roster_keys}
    for participant in roster.participants:
        for key in participant.log_keys:
            other = owner.setdefault(key.public_key, participant.state)
            if other != participant.state:
                yield f"participants[{participant.state}].log_keys: a key belongs to {other} too"
        distinct = {key.public_key for key in participant.log_keys}
        if len(distinct) != len(participant.log_keys):
            yield f"participants[{participant.state}].log_keys: a key is listed twice"


def _certificates(roster: Roster) -> Iterator[str]:
    owner: dict[_Mark, str] = {}
    for participant in roster.participants:
        where = f"participants[{participant.state}].ca_certificates"
        if len(set(participant.ca_certificates)) != len(participant.ca_certificates):
            yield f"{where}: a certificate is listed twice"
        for der in participant.ca_certificates:
            try:
                certificate = certificate_from_der(der)
                extensions = certificate.extensions
                key = certificate.public_key()
                marks = _marks(certificate)
            except MALFORMED:
                yield f"{where}: a certificate is malformed"
                continue
            for fault in _ca_faults(extensions, key):
                yield f"{where}: {fault}"
            for mark in marks:
                other = owner.setdefault(mark, participant.state)
                if other != participant.state:
                    yield f"{where}: same {mark.what} as a CA of {other}"


def _ca_faults(extensions: x509.Extensions, key: object) -> Iterator[str]:
    try:
        if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            yield "a certificate is no CA"
    except x509.ExtensionNotFound:
        yield "a certificate is no CA"
    try:
        if not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            yield "a CA may not sign certificates by its key usage"
    except x509.ExtensionNotFound:
        yield "a CA has no key usage"
    try:
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        yield "a CA has no subject key identifier"
    try:
        constraints = extensions.get_extension_for_class(x509.NameConstraints).value
        trees = [*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())]
        if any(isinstance(tree, x509.UniformResourceIdentifier) for tree in trees):
            yield "a CA has URI name constraints, below which no certificate can be verified"
    except x509.ExtensionNotFound:
        pass
    if accepted_key(key) is None:
        yield f"a CA's key is not {ACCEPTED_KEYS}"


def _marks(certificate: x509.Certificate) -> list[_Mark]:
    public_key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    subject = " ".join(certificate.subject.rfc4514_string().casefold().split()).encode()
    marks = [_Mark("subject", sha256(subject).digest()), _Mark("public key", public_key)]
    marks += [
        _Mark("key id", extension.value.digest)
        for extension in certificate.extensions
        if isinstance(extension.value, x509.SubjectKeyIdentifier)
    ]
    return marks


def _words(participant: Participant) -> Iterator[str]:
    where = f"participants[{participant.state}]"
    if not participant.display_name.isprintable():
        yield f"{where}.display_name: has control characters"
    for endpoint in participant.endpoints:
        match = _ENDPOINT.fullmatch(endpoint)
        if match is None or not 0 < int(match[2]) < 65536:
            yield f"{where}.endpoints: not host:port"
    if participant.sealing_key and len(participant.sealing_key) != 32:
        yield f"{where}.sealing_key: not 32 bytes"
