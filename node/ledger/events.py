"""What goes into logs and what comes out of them, as plain values.

The ledger knows positions, digests and erasures; what a body means is the business of node.alerts.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that is to be appended to one of this State's own logs.

    Attributes:
        kind: Value of dief.v1.EventKind.
        subject: Resource name that the event is about; empty for erasures.
        revision: Revision of the subject from 1, or 0.
        body: Serialised body, or None for kinds without one.
        expires_ms: Moment from which the body is hidden and then erased, or None.
        erases: Pairs (log_id, seq); an empty log_id means the log that the event is appended to.
    """

    kind: int
    subject: str = ""
    revision: int = 0
    body: bytes | None = None
    expires_ms: int | None = None
    erases: tuple[tuple[bytes, int], ...] = ()


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry that a transaction has just stored, with its header's facts; body None where it is erased."""

    entry_id: int
    log_pk: int
    log_id: bytes
    origin: str
    seq: int
    kind: int
    subject: str
    revision: int
    committed_ms: int
    expires_ms: int | None
    reader_role: int
    body: bytes | None
    received_ms: int


@dataclass(frozen=True, slots=True)
class Erased:
    """An entry whose body and salt a transaction has just removed because of the entry `by_entry_id`."""

    entry_id: int
    log_id: bytes
    origin: str
    seq: int
    by_entry_id: int


@dataclass(frozen=True, slots=True)
class Applied:
    """Everything that one append or one verified batch changed in the ledger, in order."""

    stored: tuple[StoredEntry, ...] = field(default=())
    erased: tuple[Erased, ...] = field(default=())
