"""The log that the test vectors tell of: one entry for every way a header can be, with fixed keys, salts and moments.

Rules
- Everything is made by the code that ships, from fixed inputs; nothing here is random and nothing asks a clock.
- Two entries are of a newer peer or of another encoder, so that whoever serialises a header again is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dief.v1 import codes_pb2, event_pb2, federation_pb2, handling_pb2, log_pb2

from node.ledger.checkpoint import Checkpoint, Ed25519NoteSigner, sign_checkpoint
from node.ledger.events import NewEvent
from node.ledger.header import HeaderFacts, make_header, parse_header
from node.ledger.merkle import CompactRange, consistency_proof, inclusion_proof
from node.ops.clock import to_timestamp
from tests.support.alert_parts import minimal_alert

FEDERATION = "dief"
ORIGIN = "XA"
MEMBERS = ("XA", "XB", "XD")
AUDIENCE = handling_pb2.Audience(kind=handling_pb2.AUDIENCE_KIND_STATES_PARTIES_AND_SIGNATORIES)
OPENED_MS = 1_793_534_400_000
"""2026-11-01T12:00:00Z."""

UNKNOWN_KIND = 1000
UNKNOWN_FIELD = b"\xa0\x06\x2a"
"""Field 100, a varint of 42: what a newer peer may write behind the fields known here."""


def fixed(label: str) -> bytes:
    """32 bytes that anyone can make again: SHA-256("dief test vector: " + label)."""
    return sha256(f"dief test vector: {label}".encode()).digest()


def hexes(values: Sequence[bytes]) -> list[str]:
    """Bytes as the vectors write them."""
    return [one.hex() for one in values]


def private_key(label: str) -> Ed25519PrivateKey:
    """A key whose seed is `fixed(label)`. For vectors only: everyone knows it."""
    return Ed25519PrivateKey.from_private_bytes(fixed(label))


def signer(label: str = "log key of XA", name: str = f"{ORIGIN.lower()}.{FEDERATION}") -> Ed25519NoteSigner:
    """A signer of checkpoints."""
    return Ed25519NoteSigner(name, private_key(label))


@dataclass(frozen=True, slots=True)
class Made:
    """One entry: what its header says, salt and body as they were before any erasure."""

    name: str
    facts: HeaderFacts
    salt: bytes
    body: bytes | None


class Tree:
    """Roots and proofs over leaf hashes, at any size up to their number."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._leaves = leaves

    def root(self, size: int) -> bytes:
        """Root at a size."""
        tree = CompactRange()
        tree.extend(self._leaves[:size])
        return tree.root()

    def subtree(self, level: int, index: int) -> bytes:
        """Root of a perfect subtree."""
        tree = CompactRange()
        tree.extend(self._leaves[index << level : (index + 1) << level])
        return tree.root()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Inclusion proof."""
        return inclusion_proof(index, size, self.subtree)

    def consistency(self, m: int, n: int) -> list[bytes]:
        """Consistency proof."""
        return consistency_proof(m, n, self.subtree)


def genesis(**changes: object) -> log_pb2.Genesis:
    """Genesis of the worked log, or with changed fields another one."""
    made = log_pb2.Genesis(
        federation=FEDERATION,
        origin=ORIGIN,
        audience=AUDIENCE,
        members=MEMBERS,
        epoch=1,
        salt=fixed("salt of the genesis"),
        opened_at=to_timestamp(OPENED_MS),
    )
    made.MergeFrom(log_pb2.Genesis(**changes))  # type: ignore[arg-type]
    return made


class WorkedLog:
    """Seven entries of XA for States Parties and signatories, two alerts, each later erased or withdrawn."""

    def __init__(self) -> None:
        self.genesis_body = genesis().SerializeToString(deterministic=True)
        self.log_id = sha256(self.genesis_body).digest()
        first, second = minimal_alert(number=1), minimal_alert(number=2, serial="EX-000456")
        revised = minimal_alert(number=1, revision=2, title="Pistol missing from an export, crate found")
        expires_ms = OPENED_MS + 365 * 24 * 3_600_000
        published = event_pb2.AlertPublished
        self._made: list[Made] = []
        self._add("genesis", NewEvent(kind=log_pb2.EVENT_KIND_GENESIS, body=self.genesis_body))
        self._add(
            "alert published, with an expiry",
            NewEvent(
                kind=log_pb2.EVENT_KIND_ALERT_PUBLISHED,
                subject=first.name,
                revision=1,
                body=published(alert=first).SerializeToString(deterministic=True),
                expires_ms=expires_ms,
            ),
        )
        self._add(
            "another alert published",
            NewEvent(
                kind=log_pb2.EVENT_KIND_ALERT_PUBLISHED,
                subject=second.name,
                revision=1,
                body=published(alert=second).SerializeToString(deterministic=True),
                expires_ms=expires_ms,
            ),
        )
        self._add(
            "the first alert revised: erases entry 1",
            NewEvent(
                kind=log_pb2.EVENT_KIND_ALERT_REVISED,
                subject=first.name,
                revision=2,
                body=event_pb2.AlertRevised(alert=revised, change_note="Title").SerializeToString(
                    deterministic=True
                ),
                expires_ms=expires_ms,
                erases=((b"", 1),),
            ),
        )
        self._add_raw(
            "a kind and a header field that only a newer version knows",
            NewEvent(kind=UNKNOWN_KIND, subject="novelties/1", body=b"bytes of an unknown kind"),
            lambda raw: raw + UNKNOWN_FIELD,
        )
        self._add(
            "the second alert withdrawn: erases entry 2",
            NewEvent(
                kind=log_pb2.EVENT_KIND_ALERT_WITHDRAWN,
                subject=second.name,
                revision=1,
                body=event_pb2.AlertWithdrawn(reason=codes_pb2.WITHDRAWAL_REASON_UNFOUNDED).SerializeToString(
                    deterministic=True
                ),
                erases=((b"", 2),),
            ),
        )
        self._add_raw(
            "an erasure without body, its fields written in another order: erases entry 4",
            NewEvent(kind=log_pb2.EVENT_KIND_ERASURE, erases=((b"", 4),)),
            self._log_id_last,
        )

    @property
    def entries(self) -> Sequence[Made]:
        """All entries in order."""
        return self._made

    @cached_property
    def tree(self) -> Tree:
        """The tree over all of them."""
        return Tree([one.facts.leaf for one in self._made])

    def erased_by(self, size: int) -> set[int]:
        """Positions that the first `size` headers erase."""
        return {position for one in self._made[:size] for _, position in one.facts.erases}

    def wire(self, seq: int, size: int) -> log_pb2.Entry:
        """An entry as it travels from a log of that size."""
        one = self._made[seq]
        entry = log_pb2.Entry(header=one.facts.raw)
        if one.body is not None and seq not in self.erased_by(size):
            entry.salt, entry.body = one.salt, one.body
        return entry

    def checkpoint(self, size: int, time_ms: int | None = None) -> Checkpoint:
        """What XA signed at a size, by default when it appended the last entry."""
        return sign_checkpoint(
            signer(),
            federation=FEDERATION,
            origin=ORIGIN,
            log_id=self.log_id,
            size=size,
            root=self.tree.root(size),
            time_ms=self._made[size - 1].facts.committed_ms if time_ms is None else time_ms,
        )

    def batch(self, first: int, end: int, size: int, *, repeat: bool = True) -> federation_pb2.Batch:
        """A batch of the entries [first, end) from a log of that size; `repeat` sends the checkpoint."""
        return federation_pb2.Batch(
            log_id=self.log_id,
            first_seq=first,
            entries=[self.wire(seq, size) for seq in range(first, end)],
            checkpoint=self.checkpoint(size).note if repeat else b"",
            consistency_proof=self.tree.consistency(end, size) if end < size else [],
        )

    def proven(self, seq: int, size: int) -> log_pb2.ProvenEntry:
        """An entry that proves itself against the checkpoint at a size."""
        return log_pb2.ProvenEntry(
            entry=self.wire(seq, size),
            inclusion_proof=self.tree.inclusion(seq, size),
            checkpoint=self.checkpoint(size).note,
        )

    def _add(self, name: str, event: NewEvent) -> None:
        seq = len(self._made)
        salt = fixed(f"salt of entry {seq}")
        facts = make_header(self.log_id, seq, event, salt, OPENED_MS + seq * 1500)
        self._made.append(Made(name, facts, salt, event.body))

    def _add_raw(self, name: str, event: NewEvent, rewrite: Callable[[bytes], bytes]) -> None:
        self._add(name, event)
        made = self._made.pop()
        raw = rewrite(made.facts.raw)
        self._made.append(replace(made, facts=parse_header(raw, self.log_id, made.facts.seq)))

    def _log_id_last(self, raw: bytes) -> bytes:
        field = b"\x0a\x20" + self.log_id
        assert raw.startswith(field)
        return raw.removeprefix(field) + field
