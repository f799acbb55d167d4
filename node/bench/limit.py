"""What this machine could do at best, and what a naive design does, with the same entries from the same origin.

- Limit: one process takes the stream over mTLS, parses each batch, hashes every entry twice, checks one signature a
  batch, and writes entry, alert and indicators to the same tables with the bare driver, a commit a batch, FULL.
  It validates nothing, so its index keys are bytes of the hashes.
- Naive: the whole work (parse, validate, find indicators, check) alert by alert, objects of an ORM, one commit and one
  signature check an alert, SQLite as it comes; from entries at hand.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dief.v1 import event_pb2, federation_pb2, federation_pb2_grpc
from sqlalchemy import create_engine
from sqlmodel import Session

from node.alerts.bodies import validator
from node.alerts.indicators import indicator_key, indicators
from node.bench.pair import FEDERATION, SEPARATE, BenchError, Pair, Progress, credentials
from node.ledger.checkpoint import Ed25519NoteVerifier, open_checkpoint, trust_domain
from node.ledger.state import GENESIS
from node.store import engine
from node.store.engine import Store
from node.store.tables import table
from node.store.tables.alerts import INDICATOR_BITS, Alert, Indicator
from node.store.tables.ledger import SEQ_BITS, Entry

_KEYS = struct.Struct(">11q").unpack_from
"""A sample has 11 distinct indicators; 88 of the 96 bytes of two digests and a salt make their keys."""
_TABLES = ("entry", "alert", "indicator")
_PRAGMAS = (
    "synchronous = FULL",
    f"cache_size = -{engine.WRITER_CACHE_KIB}",
    f"wal_autocheckpoint = {engine.WAL_CHECKPOINT_PAGES}",
)


def limit_per_s(pair: Pair, verifier: Ed25519NoteVerifier, progress: Progress) -> float:
    """Entries a second that the composite limit reaches."""
    path = pair.folder / "limit.db"
    make_tables(path, "WAL")
    with closing(opened(path)) as database:
        count = 0
        begun = time.perf_counter()
        for batch in _batches(pair):
            open_checkpoint(
                batch.checkpoint, [verifier], federation=FEDERATION, origin="XA", log_id=batch.log_id
            )
            write(database, dict(zip(_TABLES, _rows(batch), strict=True)))
            count += len(batch.entries)
            progress(len(batch.entries))
        return count / (time.perf_counter() - begun)


def naive_per_s(pair: Pair, count: int, progress: Progress) -> float:
    """Alerts a second that the naive design reaches."""
    path = pair.folder / "naive.db"
    make_tables(path, "DELETE")
    entries = next(_batches(pair)).entries[1 : count + 1]
    key = Ed25519PrivateKey.generate()
    signatures = [key.sign(entry.header) for entry in entries]
    public = key.public_key()
    naive = create_engine(f"sqlite:///{path}")
    begun = time.perf_counter()
    with Session(naive) as session:
        for seq, (entry, signature) in enumerate(zip(entries, signatures, strict=True), 1):
            public.verify(signature, entry.header)
            alert = event_pb2.AlertPublished.FromString(entry.body).alert
            if validator().collect_violations(alert):
                raise BenchError("A sample is not valid.")
            found = [(each.kind, indicator_key(each.kind, each.form)) for each in indicators(alert)]
            stored, shown, _ = _entry_rows(1, seq, entry)
            base = seq << INDICATOR_BITS
            index = [(base + n, value, kind) for n, (kind, value) in enumerate(found)]
            for model, rows in ((Entry, stored), (Alert, shown), (Indicator, index)):
                names = table(model).columns.keys()
                session.add_all(model(**dict(zip(names, row, strict=True))) for row in rows)
            session.commit()
            progress(1)
    elapsed = time.perf_counter() - begun
    naive.dispose()
    return len(entries) / elapsed


def origin_verifier(public_key: bytes) -> Ed25519NoteVerifier:
    """Verifier of the origin's checkpoints."""
    return Ed25519NoteVerifier(trust_domain(FEDERATION, "XA"), public_key)


def _batches(pair: Pair) -> Iterator[federation_pb2.Batch]:
    folder = pair.follower.home / "pki"
    shown = credentials(folder, "federation-ca", "node", pair.origin.home / "pki")
    with grpc.secure_channel(pair.origin.endpoint, shown, SEPARATE) as channel:
        stub = federation_pb2_grpc.FederationServiceStub(channel)
        call = stub.Follow(federation_pb2.FollowRequest(roster_version=1, software="bench"))
        for frame in call:
            match frame.WhichOneof("frame"):
                case "batch":
                    yield frame.batch
                case "caught_up":
                    break
        call.cancel()


Rows = tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], list[tuple[Any, ...]]]


def _rows(batch: federation_pb2.Batch) -> Rows:
    entries: Rows = ([], [], [])
    for seq, entry in enumerate(batch.entries, batch.first_seq):
        for whole, part in zip(entries, _entry_rows(1, seq, entry), strict=True):
            whole += part
    return entries


def _entry_rows(log_pk: int, seq: int, entry: Any) -> Rows:
    """Rows of one entry in the order of the tables' columns."""
    header, salt, body = entry.header, entry.salt, entry.body
    leaf = hashlib.sha256(b"\0" + header).digest()
    digest = hashlib.sha256(salt + body).digest()
    key = log_pk << SEQ_BITS | seq
    row = (key, header, salt, body)
    if seq == 0:
        return [row], [], []
    alert = (
        seq,
        seq,
        key,
        log_pk,
        "XA",
        digest[:16],
        1,
        False,
        GENESIS,
        3,
        0,
        seq,
        seq,
        None,
        1,
        1,
        1,
        1,
        1,
        " XB ",
    )
    base = seq << INDICATOR_BITS
    return [row], [alert], [(base + n, value, 1) for n, value in enumerate(_KEYS(leaf + digest + salt))]


def write(database: sqlite3.Connection, rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
    """Write rows in one transaction: table to values in the order of its columns."""
    database.execute("BEGIN IMMEDIATE")
    for target, values in rows.items():
        if values:
            marks = ", ".join("?" * len(values[0]))
            database.executemany(f"INSERT INTO {target} VALUES ({marks})", values)  # noqa: S608 - names are ours
    database.execute("COMMIT")


def opened(path: Path) -> sqlite3.Connection:
    """The database as a node opens it, for any thread that takes its turn."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in _PRAGMAS:
        database.execute(f"PRAGMA {pragma}")
    return database


def make_tables(path: Path, journal: str) -> None:
    """A database with the tables of a node and a mode of journal."""
    store = Store.open(f"sqlite:///{path}")
    store.create_all()
    store.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {journal}")
