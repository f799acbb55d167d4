"""Entry headers: made once, hashed as the exact bytes, and checked by hand on the hot path.

Rules for a header that is received; breaking one stops its log, because only a bad header or proof does (I10):
- it parses, and names the log it came in and the position it came at;
- its kind is set (an unknown kind is fine) and its moment is a possible one;
- digest and size are both there or both absent, the size at most 512 KiB;
- it erases only positions before its own in its own log, only positions that a log can have, and never a genesis.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from dief.v1 import log_pb2
from google.protobuf.message import DecodeError

from node.ledger.errors import LogFaultError
from node.ledger.events import NewEvent
from node.ledger.merkle import leaf_hash
from node.ledger.state import GENESIS, MAX_BODY_SIZE, MAX_SEQ
from node.ops.clock import to_timestamp

MAX_ERASES = 4096
MAX_SUBJECT = 128
MAX_HEADER_SIZE = 128 * 1024
MAX_SECONDS = 253_402_300_799
"""Last second of the year 9999, the end of google.protobuf.Timestamp."""


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What a verified header says; `leaf` is the RFC 6962 leaf hash of its bytes."""

    raw: bytes
    leaf: bytes
    seq: int
    kind: int
    subject: str
    revision: int
    committed_ms: int
    expires_ms: int | None
    body_digest: bytes
    body_size: int
    erases: tuple[tuple[bytes, int], ...]


def body_digest(salt: bytes, body: bytes) -> bytes:
    """SHA-256(salt || body): what the header keeps of the body, and what reveals nothing once the salt is gone."""
    return hashlib.sha256(salt + body).digest()


def make_header(
    log_id: bytes,
    seq: int,
    event: NewEvent,
    salt: bytes,
    committed_ms: int,
) -> HeaderFacts:
    """Serialise the header of a new entry, once and for ever."""
    header = log_pb2.EntryHeader(
        log_id=log_id,
        seq=seq,
        kind=log_pb2.EventKind.ValueType(event.kind),
        subject=event.subject,
        revision=event.revision,
        committed_at=to_timestamp(committed_ms),
        erases=[log_pb2.Erasure(log_id=target, seq=position) for target, position in event.erases],
    )
    if event.expires_ms is not None:
        header.expires_at.CopyFrom(to_timestamp(event.expires_ms))
    if event.body is not None:
        header.body_digest = body_digest(salt, event.body)
        header.body_size = len(event.body)
    return parse_header(header.SerializeToString(deterministic=True), log_id, seq)


def parse_header(raw: bytes, log_id: bytes, seq: int) -> HeaderFacts:
    """Check a header against the rules above.

    Args:
        raw: Exact bytes as sent.
        log_id: Log that it came in.
        seq: Position that it came at.

    Raises:
        LogFaultError: A rule is broken; the text names the rule and the position, never content.
    """
    if len(raw) > MAX_HEADER_SIZE:
        raise _fault(seq, "is over 128 KiB")
    try:
        header = log_pb2.EntryHeader.FromString(raw)
    except DecodeError:
        raise _fault(seq, "does not parse") from None
    if header.log_id != log_id:
        raise _fault(seq, "names another log")
    if header.seq != seq:
        raise _fault(seq, "names another position")
    if header.kind == 0:
        raise _fault(seq, "has no kind")
    if (header.kind == GENESIS) != (seq == 0):
        raise _fault(seq, "is a genesis out of place or none at position 0")
    if len(header.subject) > MAX_SUBJECT:
        raise _fault(seq, "has a subject over 128 characters")
    committed = header.committed_at
    if not 0 < committed.seconds <= MAX_SECONDS or not 0 <= committed.nanos < 1_000_000_000:
        raise _fault(seq, "has no possible moment of commit")
    expires_ms = None
    if header.HasField("expires_at"):
        expires = header.expires_at
        if not 0 < expires.seconds <= MAX_SECONDS or not 0 <= expires.nanos < 1_000_000_000:
            raise _fault(seq, "has an impossible expiry")
        expires_ms = expires.seconds * 1000 + expires.nanos // 1_000_000
    digest, size = header.body_digest, header.body_size
    if len(digest) not in (0, 32) or size > MAX_BODY_SIZE or (not digest and size):
        raise _fault(seq, "has an impossible body digest or size")
    erases = tuple((target.log_id, target.seq) for target in header.erases) if header.erases else ()
    if erases:
        _check_erases(erases, log_id, seq)
    return HeaderFacts(
        raw,
        leaf_hash(raw),
        seq,
        header.kind,
        header.subject,
        header.revision,
        committed.seconds * 1000 + committed.nanos // 1_000_000,
        expires_ms,
        digest,
        size,
        erases,
    )


def _check_erases(erases: tuple[tuple[bytes, int], ...], log_id: bytes, seq: int) -> None:
    if len(erases) > MAX_ERASES:
        raise _fault(seq, "erases more than 4096 entries")
    for target, position in erases:
        if len(target) not in (0, 32) or not 1 <= position <= MAX_SEQ:
            raise _fault(seq, "erases something that is no entry")
        if target in (b"", log_id) and position >= seq:
            raise _fault(seq, "erases itself or something after it")


def _fault(seq: int, what: str) -> LogFaultError:
    return LogFaultError(f"The header at position {seq} {what}.")
