"""Checkpoints: what an origin signs about its log, how that is checked, and what proves a lie.

Rules:
- The signed text has exactly four lines: `<state>.<federation>/<log id in hex>`, the size, the root in
  base64, and the extension line `time <Unix milliseconds>`. Lower case, canonical numbers, no other line.
- The key name is the origin's trust domain `<state>.<federation>`: one key signs all logs of an origin,
  and a key of another State never counts, whatever it signed.
- A checkpoint is believed only after open_checkpoint, with keys that the admitted roster gives that
  origin (design I3). Everything before that is an UnverifiedCheckpoint.
- Two opened checkpoints of one log are judged by compare (design I4).

Source: C2SP tlog-checkpoint and signed-note v1.0.0; RFC 6962 §2.1 for the root.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from node.ledger.errors import MalformedCheckpointError, ProofError, WrongLogError
from node.ledger.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE, verify_consistency
from node.ledger.note import (
    Ed25519NoteSigner,
    Ed25519NoteVerifier,
    NoteSigner,
    NoteVerifier,
    UnverifiedNote,
    decode_base64,
    encode_base64,
    parse_note,
    sign_note,
    verify_note,
)

__all__ = [
    "LOG_ID_SIZE",
    "MAX_TIME_MS",
    "Checkpoint",
    "Ed25519NoteSigner",
    "Ed25519NoteVerifier",
    "NoteSigner",
    "NoteVerifier",
    "UnverifiedCheckpoint",
    "Verdict",
    "checkpoint_text",
    "compare",
    "open_checkpoint",
    "parse_checkpoint",
    "sign_checkpoint",
    "trust_domain",
]

LOG_ID_SIZE: Final = 32
"""Length of a log id, in bytes: the SHA-256 of the genesis body."""

MAX_TIME_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999, the end of google.protobuf.Timestamp."""

_FEDERATION = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_ORIGIN_LINE = re.compile(rf"([a-z]{{2}})\.({_FEDERATION.pattern})/([0-9a-f]{{64}})")
_STATE = re.compile(r"[A-Z]{2}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME_KEY = "time "


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An origin's verified word about one log at one moment. Only open and sign make one.

    Attributes:
        origin: the State that wrote the log, ISO 3166-1 alpha-2 in upper case.
        federation: name of the federation.
        log_id: 32 bytes.
        size: number of entries.
        root: root of the Merkle tree over the entry headers, 32 bytes.
        time_ms: when the origin signed, by its own clock, in ms since 1970 UTC.
        note: the signed note as received, the form in which it is stored, sent on and kept as evidence.
    """

    origin: str
    federation: str
    log_id: bytes
    size: int
    root: bytes
    time_ms: int
    note: bytes


@dataclass(frozen=True, slots=True)
class UnverifiedCheckpoint:
    """What a note claims; nothing but its form has been checked. Good for choosing keys, no more.

    Attributes: those of Checkpoint, as claimed, and
        signed: the note taken apart into text and signatures.
    """

    origin: str
    federation: str
    log_id: bytes
    size: int
    root: bytes
    time_ms: int
    note: bytes
    signed: UnverifiedNote


class Verdict(Enum):
    """What two signed checkpoints of one log say about its origin (design I4)."""

    CONSISTENT = "consistent"
    """The later one extends the earlier one, or both say the same."""

    EVIDENCE_SPLIT = "split"
    """Equal size, different roots: two histories were signed. The two notes prove it to anyone."""

    EVIDENCE_REWRITE = "rewrite"
    """The larger tree provably extends another root at the smaller size than the one that was signed.
    The two notes, the other root and the proof show it to anyone."""

    EVIDENCE_SHRINK = "shrink"
    """A later time stands on a smaller size: the log lost entries. The two notes prove it to anyone."""

    UNPROVEN = "unproven"
    """Not shown to be consistent, and not shown to be a lie: fetch a proof, and do not go on without."""


def trust_domain(federation: str, origin: str) -> str:
    """The SPIFFE trust domain of a State, `xa.dief` for XA in dief: its key name in checkpoints.

    Raises:
        ValueError: not an upper-case State code, or not a federation name.
    """
    if not _STATE.fullmatch(origin):
        raise ValueError("an origin is a State code of two upper-case letters")
    if not _FEDERATION.fullmatch(federation):
        raise ValueError("a federation name has lower-case letters, digits, inner dots and hyphens only")
    return f"{origin.lower()}.{federation}"


def checkpoint_text(
    *, federation: str, origin: str, log_id: bytes, size: int, root: bytes, time_ms: int
) -> bytes:
    """The bytes that a checkpoint's signatures cover.

    Args:
        federation, origin, log_id, size, root, time_ms: as in Checkpoint.

    Raises:
        ValueError: a value cannot stand in a checkpoint.
    """
    if len(log_id) != LOG_ID_SIZE or len(root) != HASH_SIZE:
        raise ValueError("log id and root are 32 bytes each")
    if not 0 <= size <= MAX_SIZE or not 0 <= time_ms <= MAX_TIME_MS:
        raise ValueError("size or time is out of range")
    if size == 0 and root != EMPTY_ROOT:
        raise ValueError("the empty tree has one root only")
    name = trust_domain(federation, origin)
    return f"{name}/{log_id.hex()}\n{size}\n{encode_base64(root)}\n{_TIME_KEY}{time_ms}\n".encode()


def sign_checkpoint(
    signer: NoteSigner,
    *,
    federation: str,
    origin: str,
    log_id: bytes,
    size: int,
    root: bytes,
    time_ms: int,
) -> Checkpoint:
    """Signs the state of an own log. The caller has made sure that size and time never go back.

    Args:
        signer: the origin's log key, named after its trust domain.
        federation, origin, log_id, size, root, time_ms: as in Checkpoint.

    Raises:
        ValueError: a value cannot stand in a checkpoint, or the key is named after another State.
    """
    text = checkpoint_text(
        federation=federation, origin=origin, log_id=log_id, size=size, root=root, time_ms=time_ms
    )
    if signer.name != trust_domain(federation, origin):
        raise ValueError("the signing key is not named after the origin's trust domain")
    return Checkpoint(origin, federation, log_id, size, root, time_ms, sign_note(text, [signer]))


def parse_checkpoint(note: bytes) -> UnverifiedCheckpoint:
    """Reads the claims of a note; checks their form and no signature.

    Raises:
        MalformedCheckpointError: the bytes are not exactly one checkpoint in the one accepted form.
    """
    signed = parse_note(note)
    lines = signed.text.decode().split("\n")[:-1]
    if len(lines) != 4:
        raise MalformedCheckpointError("A checkpoint has four lines: origin, size, root and time.")
    log = _ORIGIN_LINE.fullmatch(lines[0])
    if log is None:
        raise MalformedCheckpointError("The origin line does not name a log.")
    size = _parse_number(lines[1], MAX_SIZE, "size")
    root = decode_base64(lines[2])
    if len(root) != HASH_SIZE:
        raise MalformedCheckpointError("The root does not have 32 bytes.")
    if size == 0 and root != EMPTY_ROOT:
        raise MalformedCheckpointError("The root is not that of an empty tree.")
    if not lines[3].startswith(_TIME_KEY):
        raise MalformedCheckpointError("The checkpoint has no time line.")
    time_ms = _parse_number(lines[3].removeprefix(_TIME_KEY), MAX_TIME_MS, "time")
    state, federation, log_id = log.groups()
    return UnverifiedCheckpoint(
        state.upper(), federation, bytes.fromhex(log_id), size, root, time_ms, note, signed
    )


def open_checkpoint(
    note: bytes, verifiers: Sequence[NoteVerifier], *, federation: str, origin: str, log_id: bytes
) -> Checkpoint:
    """Turns a note into a checkpoint that may be believed.

    Args:
        note: the bytes as received.
        verifiers: the log keys that the admitted roster gives the origin; those with a name other than
            the origin's trust domain do not count.
        federation, origin, log_id: the log that was asked for.

    Raises:
        MalformedCheckpointError: wrong form.
        WrongLogError: another log's checkpoint.
        CheckpointSignatureError: a signature that names a known key is wrong.
        UnknownCheckpointKeyError: no known key has signed.
    """
    claim = parse_checkpoint(note)
    if (claim.federation, claim.origin, claim.log_id) != (federation, origin, log_id):
        raise WrongLogError("The checkpoint is of another log than the one asked for.")
    name = trust_domain(federation, origin)
    verify_note(claim.signed, [key for key in verifiers if key.name == name])
    return Checkpoint(origin, federation, log_id, claim.size, claim.root, claim.time_ms, note)


def compare(
    first: Checkpoint,
    second: Checkpoint,
    proof: Sequence[bytes] | None = None,
    proof_root: bytes | None = None,
) -> Verdict:
    """Judges two verified checkpoints of one log, in whichever order they came (design I4).

    Rules:
    - Equal size: equal roots are consistent, different roots are evidence.
    - A smaller size with a later time is evidence; equal times say nothing.
    - Otherwise a valid proof from the smaller one's root is consistency, and a valid proof from
      `proof_root`, another root at the smaller size, is evidence.
    - Whatever is missing or invalid proves nothing.

    Args:
        first, second: checkpoints of the same log, made by open_checkpoint.
        proof: consistency proof between their sizes, as received.
        proof_root: the root at the smaller size that the sender of the proof claims, where it is not
            the one that was signed.

    Raises:
        WrongLogError: the two are not of one log.
    """
    if (first.federation, first.origin, first.log_id) != (second.federation, second.origin, second.log_id):
        raise WrongLogError(
            "The two checkpoints are of different logs.", "Compare checkpoints of one log only."
        )
    small, large = sorted((first, second), key=lambda checkpoint: checkpoint.size)
    if small.size == large.size:
        return Verdict.CONSISTENT if small.root == large.root else Verdict.EVIDENCE_SPLIT
    if small.time_ms > large.time_ms:
        return Verdict.EVIDENCE_SHRINK
    if small.size == 0:
        return Verdict.CONSISTENT
    if proof is None:
        return Verdict.UNPROVEN
    if _extends(small.root, small, large, proof):
        return Verdict.CONSISTENT
    if proof_root is not None and _extends(proof_root, small, large, proof):
        return Verdict.EVIDENCE_REWRITE
    return Verdict.UNPROVEN


def _extends(root: bytes, small: Checkpoint, large: Checkpoint, proof: Sequence[bytes]) -> bool:
    try:
        verify_consistency(small.size, root, large.size, large.root, proof)
    except ProofError:
        return False
    return True


def _parse_number(text: str, most: int, what: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise MalformedCheckpointError(f"The {what} is not a canonical number in range.")
    return int(text)
