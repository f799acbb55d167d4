"""Two rosters, the second signed by both thresholds, and envelopes that must not be trusted."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from dief.v1.roster_pb2 import (
    KEY_ALGORITHM_ED25519,
    KEY_STATE_ACTIVE,
    KEY_STATE_RETIRED,
    PARTICIPANT_STATE_ACTIVE,
    TREATY_STATUS_SIGNATORY,
    TREATY_STATUS_STATE_PARTY,
    KeyState,
    Participant,
    Roster,
    RosterEnvelope,
    RosterKey,
    TreatyStatus,
)

from node.identity import dsse
from node.identity.view import TrustParts
from node.ops.clock import to_timestamp
from tests.support.vector_log import FEDERATION, OPENED_MS, fixed, private_key

DAY_MS = 24 * 3_600_000
ISSUED_MS = OPENED_MS - DAY_MS


def _key(label: str, state: KeyState.ValueType = KEY_STATE_ACTIVE) -> RosterKey:
    return RosterKey(
        algorithm=KEY_ALGORITHM_ED25519,
        public_key=dsse.public_bytes(private_key(label)),
        state=state,
        label=label,
    )


def _ca(state: str) -> bytes:
    """A federation CA in DER, the same bytes each time (RFC 6979 signature)."""
    key = ec.derive_private_key(int.from_bytes(fixed(f"CA of {state}")[:31], "big"), ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Federation CA of {state}, test vector")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(fixed(f"serial number of the CA of {state}")[:8], "big") | 1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
        .public_bytes(serialization.Encoding.DER)
    )


def _participant(state: str, status: TreatyStatus.ValueType, endpoint: str) -> Participant:
    return Participant(
        state=state,
        display_name=f"State {state}",
        treaty_status=status,
        state_of_participation=PARTICIPANT_STATE_ACTIVE,
        ca_certificates=[_ca(state)],
        log_keys=[_key(f"log key of {state}")],
        endpoints=[endpoint],
    )


def _roster(version: int, keys: Sequence[RosterKey], previous: bytes) -> Roster:
    issued = ISSUED_MS + (version - 1) * DAY_MS
    return Roster(
        federation=FEDERATION,
        version=version,
        previous_digest=previous,
        issued_at=to_timestamp(issued),
        expires_at=to_timestamp(issued + 90 * DAY_MS),
        threshold=2,
        roster_keys=keys,
        participants=[
            _participant("XA", TREATY_STATUS_STATE_PARTY, "node.xa.example:7443"),
            _participant("XB", TREATY_STATUS_STATE_PARTY, "node.xb.example:7443"),
            _participant("XD", TREATY_STATUS_SIGNATORY, "node.xd.example:7443"),
        ],
    )


def _signed(payload: bytes, labels: Sequence[str]) -> RosterEnvelope:
    envelope = dsse.wrap(payload)
    for label in labels:
        envelope = dsse.sign(envelope, dsse.signer_of(private_key(label)))
    return envelope


def _file(envelope: RosterEnvelope) -> Any:
    return json.loads(dsse.to_json(envelope))


def rosters() -> dict[str, Any]:
    """Both versions with what is signed, and the refused ones."""
    a, b, c, d = (f"roster key {letter}" for letter in "ABCD")
    first = _roster(1, [_key(a), _key(b), _key(c)], b"").SerializeToString(deterministic=True)
    digest = sha256(first).digest()
    keys = [_key(a, KEY_STATE_RETIRED), _key(b), _key(d)]
    second = _roster(2, keys, digest).SerializeToString(deterministic=True)
    skipped = _roster(3, keys, digest).SerializeToString(deterministic=True)
    unlinked = _roster(2, keys, fixed("another roster")).SerializeToString(deterministic=True)
    bare = _signed(second, [a, b, d])
    for signature, label in zip(bare.signatures, sorted([a, b, d], key=_key_id), strict=True):
        signature.sig = private_key(label).sign(second)
    other_type = _signed(second, [a, b, d])
    other_type.payload_type = "application/json"
    twice = _signed(second, [b, d])
    twice.signatures.append(twice.signatures[0])
    return {
        "about": "DSSE v1.0.2. Signed is PAE = 'DSSEv1' SP len(type) SP type SP len(payload) SP payload, lengths in "
        "decimal ASCII; keyid = hex SHA-256 of the raw public key. Version 2 needs two ACTIVE keys of version 1 and "
        "two ACTIVE keys of its own. `refused` are refused where version 1 is trusted.",
        "payload_type": dsse.PAYLOAD_TYPE,
        "trust_digests": {
            one.state: TrustParts.of(one).digest(one.state).hex()
            for one in Roster.FromString(second).participants
        },
        "keys": [
            {
                "label": label,
                "seed": fixed(label).hex(),
                "public_key": dsse.public_bytes(private_key(label)).hex(),
                "keyid": _key_id(label),
            }
            for label in (a, b, c, d)
        ],
        "valid": [
            {
                "version": version,
                "envelope": _file(envelope),
                "payload_sha256": sha256(envelope.payload).hexdigest(),
                "pae_sha256": sha256(dsse.pae(envelope)).hexdigest(),
                "pae_start": dsse.pae(envelope)[: -len(envelope.payload)].decode(),
            }
            for version, envelope in ((1, _signed(first, [a, c])), (2, _signed(second, [a, b, d])))
        ],
        "refused": [
            {"name": "only the new threshold signed", "envelope": _file(_signed(second, [b, d]))},
            {"name": "only the old threshold signed", "envelope": _file(_signed(second, [a, b]))},
            {
                "name": "the old keys of a version that skips one",
                "envelope": _file(_signed(skipped, [a, b, d])),
            },
            {"name": "names another version before it", "envelope": _file(_signed(unlinked, [a, b, d]))},
            {"name": "signed without PAE", "envelope": _file(bare)},
            {"name": "another payload type", "envelope": _file(other_type)},
            {"name": "one key signs twice", "envelope": _file(twice)},
        ],
    }


def _key_id(label: str) -> str:
    return dsse.key_id(dsse.public_bytes(private_key(label)))
