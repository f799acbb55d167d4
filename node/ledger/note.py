"""Signed notes: text signed by one or more named keys, readable by existing transparency tooling.

Rules:
- A note is the text, an empty line, and 1 to 16 signature lines `— <key name> <base64>`; the base64
  holds the 4-byte key id and the signature. The text ends in a newline, which is signed with it.
- One form only: valid UTF-8, no control character but the newline, canonical base64, nothing before,
  between or after, 64 KiB at most.
- Key name and key id together name a key. Lines of unknown keys are ignored (rotation, witnesses), a
  wrong signature of a known key spoils the note, and at least one known key must have signed.
- Algorithms are told apart by one byte that is hashed into the key id, so a new one needs a new
  NoteSigner and NoteVerifier and no new format.

Source: C2SP signed-note v1.0.0; Ed25519 is RFC 8032.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from node.ledger.errors import CheckpointSignatureError, MalformedCheckpointError, UnknownCheckpointKeyError

MAX_NOTE_BYTES: Final = 64 * 1024
"""Largest note that is looked at, in bytes."""

MAX_SIGNATURES: Final = 16
"""Most signature lines that are looked at; each may cost one verification."""

ALG_ED25519: Final = 0x01
"""Signature type byte of plain Ed25519 over the text."""

KEY_ID_SIZE: Final = 4
"""Length of a key id, in bytes."""

_SIGNATURE_MARK = "\u2014 "
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")


class NoteSigner(Protocol):
    """A key that signs notes: from a file, a token or a key service."""

    @property
    def name(self) -> str:
        """Key name."""

    @property
    def key_id(self) -> bytes:
        """Key id, 4 bytes."""

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`, without the key id."""


class NoteVerifier(Protocol):
    """A key that notes are checked with."""

    @property
    def name(self) -> str:
        """Key name."""

    @property
    def key_id(self) -> bytes:
        """Key id, 4 bytes."""

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `data`; hostile bytes give False, never an exception."""


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line.

    Attributes:
        name: key name.
        key_id: 4 bytes.
        signature: the bytes that the algorithm of the key gave.
    """

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class UnverifiedNote:
    """A note of right form whose signatures nobody has checked: its text must not be believed yet.

    Attributes:
        text: the signed bytes, with the final newline.
        signatures: all signature lines in order.
    """

    text: bytes
    signatures: tuple[NoteSignature, ...]


def key_id(name: str, alg: int, public_key: bytes) -> bytes:
    """The id of a key, 4 bytes: an identifier, not a commitment to the key.

    Args:
        name: key name.
        alg: signature type byte.
        public_key: encoding that the signature type prescribes.

    Source: C2SP signed-note, "Signatures".
    """
    return sha256(name.encode() + b"\n" + bytes((alg,)) + public_key).digest()[:KEY_ID_SIZE]


class Ed25519NoteVerifier:
    """Checks Ed25519 signatures of one named key."""

    def __init__(self, name: str, public_key: bytes) -> None:
        """Takes the 32 bytes of an Ed25519 public key (RFC 8032 §5.1.5).

        Raises:
            ValueError: the name cannot stand in a note, or the key has a wrong length.
        """
        self.name = _require_name(name)
        self.key_id = key_id(name, ALG_ED25519, public_key)
        self._key = Ed25519PublicKey.from_public_bytes(public_key)

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `data`."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


class Ed25519NoteSigner:
    """Signs notes with an Ed25519 key held in memory."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        """Takes a key and the name that it signs under.

        Raises:
            ValueError: the name cannot stand in a note.
        """
        self.name = _require_name(name)
        self.public_key = private_key.public_key().public_bytes_raw()
        self.key_id = key_id(name, ALG_ED25519, self.public_key)
        self._key = private_key

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`, 64 bytes."""
        return self._key.sign(data)


def sign_note(text: bytes, signers: Sequence[NoteSigner]) -> bytes:
    """The note over `text` with one signature line per signer, in their order.

    Args:
        text: what is signed, of the form that parse_note accepts.
        signers: one key, or several while keys rotate.
    """
    lines = [
        f"{_SIGNATURE_MARK}{signer.name} {encode_base64(signer.key_id + signer.sign(text))}\n"
        for signer in signers
    ]
    return text + b"\n" + "".join(lines).encode()


def parse_note(note: bytes) -> UnverifiedNote:
    """Takes a note apart without believing it.

    Raises:
        MalformedCheckpointError: the bytes are not exactly one note.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise MalformedCheckpointError("The note is longer than 64 KiB.")
    try:
        decoded = note.decode()
    except UnicodeDecodeError:
        raise MalformedCheckpointError("The note is not valid UTF-8.") from None
    if _CONTROL.search(decoded):
        raise MalformedCheckpointError("The note contains a control character.")
    text, separator, block = decoded.rpartition("\n\n")
    if not separator:
        raise MalformedCheckpointError("The note has no empty line between text and signatures.")
    if not block.endswith("\n"):
        raise MalformedCheckpointError("The note does not end with a complete signature line.")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedCheckpointError("The note has more than 16 signatures.")
    return UnverifiedNote((text + "\n").encode(), tuple(_parse_signature(line) for line in lines))


def verify_note(note: UnverifiedNote, verifiers: Sequence[NoteVerifier]) -> None:
    """Checks that at least one of the known keys signed, and that none signed wrongly.

    Raises:
        CheckpointSignatureError: a signature that names a known key is wrong.
        UnknownCheckpointKeyError: no signature names a known key.
    """
    verified = False
    for line in note.signatures:
        known = [key for key in verifiers if key.name == line.name and key.key_id == line.key_id]
        if not known:
            continue
        if not any(key.verify(note.text, line.signature) for key in known):
            raise CheckpointSignatureError("A signature of a known key of the origin is wrong.")
        verified = True
    if not verified:
        raise UnknownCheckpointKeyError("No known key of the origin has signed the checkpoint.")


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 §4)."""
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """Reads base64 in its one canonical form only.

    Raises:
        MalformedCheckpointError: another alphabet, stray characters, wrong padding or stray bits.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedCheckpointError("A base64 value cannot be decoded.") from None
    if encode_base64(data) != text:
        raise MalformedCheckpointError("A base64 value is not in canonical form.")
    return data


def _parse_signature(line: str) -> NoteSignature:
    if not line.startswith(_SIGNATURE_MARK):
        raise MalformedCheckpointError("A signature line does not begin with an em dash and a space.")
    name, separator, value = line.removeprefix(_SIGNATURE_MARK).partition(" ")
    if not separator or not _is_name(name):
        raise MalformedCheckpointError("A signature line has no valid key name.")
    data = decode_base64(value)
    if len(data) <= KEY_ID_SIZE:
        raise MalformedCheckpointError("A signature line has no signature.")
    return NoteSignature(name, data[:KEY_ID_SIZE], data[KEY_ID_SIZE:])


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


def _require_name(name: str) -> str:
    if not _is_name(name):
        raise ValueError("a key name must not be empty nor contain spaces or plus signs")
    return name
