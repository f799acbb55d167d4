"""Envelopes around rosters: signed bytes, and who signed them.

Rules:
- What is signed is PAE(payload type, payload): the exact bytes of the payload, never a re-serialisation.
- A signature names its key by the hex SHA-256 of the raw public key, and no key signs twice in one envelope.
  The name only finds the key; what counts is the signature, and which *distinct public keys* made one.
- In files an envelope is JSON: payloadType, payload and sig in base64; on the wire it is a RosterEnvelope.
- Private keys sign through securesystemslib's Signer, so a token or a key service can take a file's place.

Source: DSSE v1.0.2 protocol and envelope; Ed25519 is RFC 8032.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from dief.v1.roster_pb2 import DsseSignature, RosterEnvelope
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey  # type: ignore[attr-defined]

from node.identity.errors import MalformedRosterError

PAYLOAD_TYPE: Final = "application/vnd.dief.roster.v1+protobuf"
"""The one payload type that is accepted."""

MAX_PAYLOAD_BYTES: Final = 4 << 20
"""Largest payload, in bytes."""

MAX_SIGNATURES: Final = 32
"""Most signatures that are looked at."""

MAX_JSON_BYTES: Final = 8 << 20
"""Largest envelope file, in bytes."""

_ALGORITHM: Final = "ed25519"
_KEY_ID: Final = re.compile(r"[0-9a-f]{64}")


def key_id(public_key: bytes) -> str:
    """Name of a key in signatures: hex SHA-256 of its 32 raw bytes."""
    return sha256(public_key).hexdigest()


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Raw public key, 32 bytes."""
    return key.public_key().public_bytes_raw()


def signer_of(key: Ed25519PrivateKey) -> Signer:
    """The signer of a key that is in this process."""
    public = public_bytes(key)
    return CryptoSigner(key, SSlibKey(key_id(public), _ALGORITHM, _ALGORITHM, {"public": public.hex()}))


def pae(envelope: RosterEnvelope) -> bytes:
    """The bytes that signatures are made over."""
    return Envelope(envelope.payload, envelope.payload_type, {}).pae()


def wrap(payload: bytes) -> RosterEnvelope:
    """An envelope without signatures."""
    return RosterEnvelope(payload_type=PAYLOAD_TYPE, payload=payload)


def sign(envelope: RosterEnvelope, signer: Signer) -> RosterEnvelope:
    """The envelope with one signature more; an older one by the same key is replaced.

    Args:
        envelope: stays as it is.
        signer: holder of an Ed25519 key.

    Returns:
        A new envelope, its signatures in order of key id.
    """
    made = signer.sign(pae(envelope))
    signatures = {one.keyid: one for one in envelope.signatures}
    signatures[made.keyid] = DsseSignature(keyid=made.keyid, sig=bytes.fromhex(made.signature))
    return RosterEnvelope(
        payload_type=envelope.payload_type,
        payload=envelope.payload,
        signatures=[signatures[name] for name in sorted(signatures)],
    )


def signed_by(envelope: RosterEnvelope, public_keys: Iterable[bytes]) -> frozenset[bytes]:
    """Which of these keys signed: each is tried at most once, so hostile envelopes cost little.

    Args:
        envelope: hostile; signatures by other keys are ignored.
        public_keys: raw Ed25519 public keys.

    Returns:
        The public keys with a valid signature.
    """
    message = pae(envelope)
    signatures = {one.keyid: one.sig for one in envelope.signatures}
    found = set()
    for public_key in set(public_keys):
        signature = signatures.get(key_id(public_key))
        if signature is not None and _valid(public_key, signature, message):
            found.add(public_key)
    return frozenset(found)


def _valid(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def check_form(envelope: RosterEnvelope) -> None:
    """Refuses an envelope that is not in the one accepted form.

    Raises:
        MalformedRosterError: payload type, sizes or key ids are wrong, or a key signs twice.
    """
    if envelope.payload_type != PAYLOAD_TYPE:
        raise MalformedRosterError("The envelope's payload type is not that of a roster.")
    if not 0 < len(envelope.payload) <= MAX_PAYLOAD_BYTES:
        raise MalformedRosterError(f"The envelope's payload is empty or over {MAX_PAYLOAD_BYTES} bytes.")
    if len(envelope.signatures) > MAX_SIGNATURES:
        raise MalformedRosterError(f"The envelope has more than {MAX_SIGNATURES} signatures.")
    names = [one.keyid for one in envelope.signatures]
    if not all(_KEY_ID.fullmatch(name) for name in names):
        raise MalformedRosterError("A signature does not name its key by a hex SHA-256.")
    if len(set(names)) != len(names):
        raise MalformedRosterError("A key signs twice in one envelope.")
    if any(len(one.sig) != 64 for one in envelope.signatures):
        raise MalformedRosterError("A signature is not 64 bytes long.")


def to_json(envelope: RosterEnvelope) -> bytes:
    """The envelope as a file."""
    signatures = [{"keyid": one.keyid, "sig": _encode(one.sig)} for one in envelope.signatures]
    content = {
        "payloadType": envelope.payload_type,
        "payload": _encode(envelope.payload),
        "signatures": signatures,
    }
    return json.dumps(content, indent=2).encode() + b"\n"


def from_json(data: bytes) -> RosterEnvelope:
    """The envelope that a file holds.

    Args:
        data: hostile; fields that DSSE does not know are ignored.

    Raises:
        MalformedRosterError: no DSSE envelope around a roster.
    """
    if len(data) > MAX_JSON_BYTES:
        raise MalformedRosterError(f"The roster file is over {MAX_JSON_BYTES} bytes.")
    try:
        content = json.loads(data)
        envelope = RosterEnvelope(
            payload_type=content["payloadType"],
            payload=_decode(content["payload"]),
            signatures=[
                DsseSignature(keyid=one["keyid"], sig=_decode(one["sig"])) for one in content["signatures"]
            ],
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedRosterError(
            "The file is not a DSSE envelope in JSON.", "Use the file that the keepers of the roster sent."
        ) from error
    check_form(envelope)
    return envelope


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: Any) -> bytes:
    try:
        return base64.b64decode(text.translate({ord("-"): "+", ord("_"): "/"}), validate=True)
    except (binascii.Error, AttributeError) as error:
        raise ValueError("no base64") from error
