"""Two stores and what passes between them: an origin that writes logs, followers that take them in, and a liar.

- `Origin` and `FollowerStore` use the node's own code only; `sync` moves frames as Follow does: preludes, then batches.
- `ForgedLog` is an origin of raw bytes: it may sign anything, leave anything out and change its history.

    origin = Origin(databases.open(), tmp_path / "anchor.log")
    origin.append(origin.event(b"body"))
    follower = FollowerStore(databases.open(), "XB", origin)
    follower.sync()
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dief.v1 import federation_pb2, handling_pb2, log_pb2
from sqlalchemy import Connection, select

from node.ledger import logs, reading
from node.ledger.anchor import Anchor
from node.ledger.checkpoint import (
    Checkpoint,
    Ed25519NoteSigner,
    Ed25519NoteVerifier,
    open_checkpoint,
    sign_checkpoint,
    trust_domain,
)
from node.ledger.errors import LedgerError
from node.ledger.events import Applied, NewEvent
from node.ledger.header import body_digest
from node.ledger.ingest import Source, ingest, ingest_prelude
from node.ledger.logs import HeldLog
from node.ledger.merkle import CompactRange, consistency_proof, inclusion_proof, leaf_hash
from node.ledger.state import entry_id
from node.ledger.storing import ENTRY
from node.ledger.writer import LogWriter
from node.ops.clock import to_timestamp
from node.store.engine import Store

FEDERATION = "dief"
PUBLISHED = int(log_pb2.EVENT_KIND_ALERT_PUBLISHED)
REVISED = int(log_pb2.EVENT_KIND_ALERT_REVISED)
WITHDRAWN = int(log_pb2.EVENT_KIND_ALERT_WITHDRAWN)
START_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
E = TypeVar("E", bound=LedgerError)
Frame = federation_pb2.Batch | federation_pb2.Prelude


def named(*states: str) -> handling_pb2.Audience:
    """An audience of named States."""
    return handling_pb2.Audience(kind=handling_pb2.AUDIENCE_KIND_NAMED_STATES, states=states)


def event(body: bytes = b"body", kind: int = PUBLISHED, **more: Any) -> NewEvent:
    """An event with any body: the ledger does not look inside."""
    return NewEvent(kind, "alerts/XA/00000000-0000-7000-8000-000000000000", 1, body, **more)


@dataclass
class Clock:
    """A clock that tests move."""

    now: int = START_MS

    def __call__(self) -> int:
        return self.now


class Origin:
    """A State's store, key, anchor and writer. `reopen` is a restart."""

    def __init__(
        self,
        store: Store,
        anchor: Path,
        state: str = "XA",
        members: Sequence[str] = ("XA", "XB"),
        clock: Callable[[], int] | None = None,
        key: Ed25519PrivateKey | None = None,
    ) -> None:
        self.store = store
        self.state = state
        self.members = tuple(members)
        self.clock: Any = clock or Clock()
        self.key = key or Ed25519PrivateKey.generate()
        self.anchor_path = anchor
        self.told: list[frozenset[bytes]] = []
        self.reopen()

    def reopen(self, store: Store | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        """A new writer on the files as they are, as after a restart."""
        self.store = store or self.store
        self.anchor = Anchor(self.anchor_path)
        self.writer = LogWriter(
            federation=FEDERATION,
            origin=self.state,
            signer=Ed25519NoteSigner(trust_domain(FEDERATION, self.state), self.key),
            anchor=self.anchor,
            members=lambda _: self.members,
            clock=self.clock,
            monotonic=monotonic,
        )
        self.writer.subscribe(self.told.append)

    @property
    def verifiers(self) -> tuple[Ed25519NoteVerifier, ...]:
        """Its log key, as the roster would give it."""
        return (
            Ed25519NoteVerifier(
                trust_domain(FEDERATION, self.state), self.key.public_key().public_bytes_raw()
            ),
        )

    def append(self, *events: NewEvent, audience: handling_pb2.Audience | None = None) -> Applied:
        """Append in one transaction."""
        with self.store.write() as conn:
            return self.writer.append(conn, audience or named("XA", "XB"), events)

    def logs(self) -> list[HeldLog]:
        """Its own logs."""
        with self.store.read() as conn:
            return logs.load_all(conn, own=True)

    @property
    def log(self) -> HeldLog:
        """Its newest log."""
        return self.logs()[-1]

    def frames(self, cursors: dict[bytes, int], limit: int = 1000) -> Iterable[Frame]:
        """What Follow sends to a caller with these cursors: preludes of every log, then batches log by log."""
        with self.store.read() as conn:
            held = logs.load_all(conn, own=True)
            frames: list[Frame] = []
            for log in held:
                if log.log_id in cursors:
                    frames += reading.read_preludes(conn, log, cursors[log.log_id], cursors)
            for log in held:
                first = cursors.get(log.log_id, 0)
                while True:
                    batch = reading.read_batch(conn, log, first, limit)
                    frames.append(batch)
                    first += len(batch.entries)
                    if not batch.entries or first >= log.size:
                        break
        return frames


class FollowerStore:
    """A State that follows one origin, or the forged logs of a liar."""

    def __init__(self, store: Store, state: str, origin: Origin | ForgedLog) -> None:
        self.store = store
        self.state = state
        self.origin = origin
        self.clock = origin.clock
        self.source = Source(FEDERATION, state, origin.state, origin.verifiers)

    def cursors(self) -> dict[bytes, int]:
        """How far each log of the origin is held."""
        return {log.log_id: log.size for log in self.logs()}

    def logs(self) -> list[HeldLog]:
        """The logs held of the origin."""
        with self.store.read() as conn:
            return logs.load_all(conn, origin=self.origin.state)

    def take(self, frame: Frame) -> Applied:
        """One frame, in one transaction."""
        with self.store.write() as conn:
            if isinstance(frame, federation_pb2.Batch):
                return ingest(conn, self.source, frame, self.clock())
            return Applied(erased=ingest_prelude(conn, self.source, frame, self.clock()))

    def sync(self, limit: int = 1000, most: int | None = None) -> Applied:
        """Take what the origin has, or the first `most` frames of it."""
        if not isinstance(self.origin, Origin):
            raise TypeError("a forged log is taken frame by frame")
        taken = [self.take(frame) for frame in list(self.origin.frames(self.cursors(), limit))[:most]]
        return Applied(
            tuple(entry for part in taken for entry in part.stored),
            tuple(erased for part in taken for erased in part.erased),
        )

    def refuses(self, frame: Frame, error: type[E]) -> E:
        """Assert that a frame raises exactly this error and that nothing of it is stored."""
        before = everything(self.store)
        with pytest.raises(error) as refused:
            self.take(frame)
        assert type(refused.value) is error, refused.value
        assert everything(self.store) == before
        return refused.value


def everything(store: Store) -> list[tuple[Any, ...]]:
    """Every row of every table of the ledger."""
    from node.store.tables import ledger, table

    models = (
        ledger.Log,
        ledger.Entry,
        ledger.Erasure,
        ledger.Missing,
        ledger.Subtree,
        ledger.PendingCheckpoint,
    )
    with store.read() as conn:
        return [
            (model.__name__, *row)
            for model in models
            for row in sorted(conn.execute(select(table(model))), key=repr)
        ]


def rows(conn: Connection, log: HeldLog) -> list[tuple[bytes, bytes | None, bytes | None]]:
    """Header, salt and body of each entry of a log."""
    query = (
        select(ENTRY.c.header, ENTRY.c.salt, ENTRY.c.body)
        .where(ENTRY.c.id >= entry_id(log.pk, 0), ENTRY.c.id < entry_id(log.pk + 1, 0))
        .order_by(ENTRY.c.id)
    )
    return [(header, salt, body) for header, salt, body in conn.execute(query)]


def entries(store: Store, log: HeldLog) -> list[tuple[bytes, bytes | None, bytes | None]]:
    """`rows` of a store."""
    with store.read() as conn:
        return rows(conn, log)


def checked_root(store: Store, log: HeldLog) -> bytes:
    """The root that the stored headers really have."""
    tree = CompactRange()
    tree.extend([leaf_hash(header) for header, _, _ in entries(store, log)])
    assert tree.size == log.size, "a hole, or entries beyond the size"
    return tree.root()


@dataclass
class ForgedLog:
    """One log made by hand, whose origin may lie in any way; each method is one lie or one honest step."""

    state: str = "XA"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    clock: Clock = field(default_factory=Clock)
    genesis: dict[str, Any] = field(default_factory=dict)
    entries: list[log_pb2.Entry] = field(default_factory=list)
    log_id: bytes = b""

    def __post_init__(self) -> None:
        values: dict[str, Any] = {
            "federation": FEDERATION,
            "origin": self.state,
            "audience": named("XA", "XB"),
            "members": ["XA", "XB"],
            "epoch": 1,
            "salt": b"s" * 32,
            "opened_at": to_timestamp(self.clock()),
        }
        body = log_pb2.Genesis(**{**values, **self.genesis}).SerializeToString(deterministic=True)
        self.log_id = self.log_id or hashlib.sha256(body).digest()
        self.add(kind=int(log_pb2.EVENT_KIND_GENESIS), body=body)

    @property
    def verifiers(self) -> tuple[Ed25519NoteVerifier, ...]:
        """Its log key, as the roster would give it."""
        return (
            Ed25519NoteVerifier(
                trust_domain(FEDERATION, self.state), self.key.public_key().public_bytes_raw()
            ),
        )

    def add(
        self, body: bytes | None = b"body", kind: int = PUBLISHED, at: int | None = None, **changes: Any
    ) -> ForgedLog:
        """Append an entry, or overwrite the one at `at`; `changes` are fields of its header."""
        seq = len(self.entries) if at is None else at
        salt = hashlib.sha256(b"salt %d" % seq).digest()
        values: dict[str, Any] = {
            "log_id": self.log_id,
            "seq": seq,
            "kind": kind,
            "committed_at": to_timestamp(self.clock()),
        }
        if body is not None:
            values |= {"body_digest": body_digest(salt, body), "body_size": len(body)}
        header = log_pb2.EntryHeader(**{**values, **changes}).SerializeToString(deterministic=True)
        entry = log_pb2.Entry(header=header, salt=salt if body is not None else b"", body=body or b"")
        if at is None:
            self.entries.append(entry)
        else:
            self.entries[at] = entry
        return self

    def fill(self, count: int) -> ForgedLog:
        """Append distinct entries."""
        for _ in range(count):
            self.add(b"body %d" % len(self.entries))
        return self

    def leaves(self) -> list[bytes]:
        """Leaf hashes."""
        return [leaf_hash(entry.header) for entry in self.entries]

    def root(self, size: int | None = None) -> bytes:
        """Root of the first `size` entries, all by default."""
        tree = CompactRange()
        tree.extend(self.leaves()[: len(self.entries) if size is None else size])
        return tree.root()

    def sign(
        self,
        size: int | None = None,
        *,
        root: bytes | None = None,
        time_ms: int | None = None,
        key: Ed25519PrivateKey | None = None,
        state: str | None = None,
    ) -> bytes:
        """A signed note about the log, or about whatever is given."""
        state = state or self.state
        size = len(self.entries) if size is None else size
        return sign_checkpoint(
            Ed25519NoteSigner(trust_domain(FEDERATION, state), key or self.key),
            federation=FEDERATION,
            origin=state,
            log_id=self.log_id,
            size=size,
            root=self.root(size) if root is None else root,
            time_ms=self.clock() if time_ms is None else time_ms,
        ).note

    def opened(self, note: bytes) -> Checkpoint:
        """A note of this log as a checkpoint."""
        return open_checkpoint(
            note, self.verifiers, federation=FEDERATION, origin=self.state, log_id=self.log_id
        )

    def batch(
        self, first: int = 0, last: int | None = None, checkpoint: bytes | None = None
    ) -> federation_pb2.Batch:
        """Entries `first` to `last` (exclusive; all by default), with a proof to a checkpoint, all of it by default."""
        last = len(self.entries) if last is None else last
        checkpoint = self.sign() if checkpoint is None else checkpoint
        batch = federation_pb2.Batch(
            log_id=self.log_id, first_seq=first, entries=self.entries[first:last], checkpoint=checkpoint
        )
        size = self.opened(checkpoint).size if checkpoint else len(self.entries)
        if last < size <= len(self.entries):
            batch.consistency_proof.extend(self.consistency(last, size))
        return batch

    def prelude(self, *positions: int, checkpoint: bytes | None = None) -> federation_pb2.Prelude:
        """Headers at some positions, each with its inclusion proof."""
        prelude = federation_pb2.Prelude(log_id=self.log_id, checkpoint=checkpoint or self.sign())
        for seq in positions:
            prelude.headers.add(
                header=self.entries[seq].header, inclusion_proof=self.inclusion(seq, len(self.entries))
            )
        return prelude

    def consistency(self, m: int, n: int) -> list[bytes]:
        """Consistency proof of this history."""
        return consistency_proof(m, n, self._lookup())

    def inclusion(self, seq: int, size: int) -> list[bytes]:
        """Inclusion proof of this history."""
        return inclusion_proof(seq, size, self._lookup())

    def _lookup(self) -> Callable[[int, int], bytes]:
        leaves = self.leaves()

        def lookup(level: int, index: int) -> bytes:
            tree = CompactRange()
            tree.extend(leaves[index << level : (index + 1) << level])
            return tree.root()

        return lookup


def flipped(data: bytes, bit: int = 0) -> bytes:
    """The same bytes but for one bit, counted around the end."""
    changed = bytearray(data)
    bit %= 8 * len(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
