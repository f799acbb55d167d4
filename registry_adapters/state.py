"""The adapter's own folder: what was sent, and the rows in quarantine. National data, which stays on this side.

Rules:
- It only saves work and keeps rejects: lost, it is rebuilt from what the node tells of the stream's keys.
- A key is noted before its record is sent, its hash once the node has answered. So after a kill at any point a key
  is known at least as early as the node knows it, and its record is sent again rather than forgotten.
- One row has one quarantine entry, however often it is met; a later good row with its key resolves it.
- One process at a time: the folder is locked.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from registry_adapters.errors import FieldFault, StateError
from registry_adapters.source import Row

_BUSY_MS: Final = 10_000
_TABLES = """
CREATE TABLE IF NOT EXISTS sent (
    key TEXT PRIMARY KEY, hash BLOB, draft INTEGER NOT NULL, watched INTEGER NOT NULL, scan TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sent_held ON sent (scan) WHERE draft OR watched;
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY, ident TEXT NOT NULL UNIQUE, key TEXT, position TEXT NOT NULL, refused_by TEXT NOT NULL,
    hash BLOB, faults TEXT NOT NULL, columns TEXT NOT NULL, raw TEXT NOT NULL, deleted INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, times INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS flight (
    ident TEXT PRIMARY KEY, key TEXT, position TEXT NOT NULL, columns TEXT NOT NULL, raw TEXT NOT NULL,
    deleted INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (notice TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_KEEP = """
INSERT INTO quarantine (ident, key, position, refused_by, hash, faults, columns, raw, deleted, first_ms, last_ms, times)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (ident) DO UPDATE SET position = excluded.position, refused_by = excluded.refused_by,
    hash = excluded.hash, faults = excluded.faults, columns = excluded.columns, raw = excluded.raw,
    deleted = excluded.deleted, last_ms = excluded.last_ms, times = times + 1
"""


@dataclass(slots=True)  # frozen, it would take twice as long to make one for each row
class Sent:
    """What was sent for a key. Nobody changes it.

    Attributes:
        hash: Content hash that the node has taken; None where that is not known.
        draft: A draft, or the node may have one; False after a withdrawal.
        watched: Under watch, or the node may watch it.
    """

    hash: bytes | None
    draft: bool
    watched: bool = False


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that waits for a mend.

    Attributes:
        id: Number in this folder.
        key: The registry's key, None where it could not be read.
        position: Where the row stood.
        refused_by: "adapter", or "node" for what the node refused.
        hash: Content hash of what the node refused.
        faults: Every reason.
        values: The row's columns.
        raw: The record as it stood, where it could not be taken apart.
        deleted: The registry marked it as deleted.
        first_ms: When it was first met, milliseconds since the epoch.
        last_ms: When it was last met.
        times: How often.
    """

    id: int
    key: str | None
    position: str
    refused_by: str
    hash: bytes | None
    faults: tuple[FieldFault, ...]
    values: Mapping[str, Any]
    raw: str
    deleted: bool
    first_ms: int
    last_ms: int
    times: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row on its way into quarantine."""

    row: Row
    faults: tuple[FieldFault, ...]
    refused_by: str
    hash: bytes | None = None


class State(AbstractContextManager["State"]):
    """The folder of one stream, open and locked."""

    def __init__(self, database: sqlite3.Connection, lock: IO[bytes] | None, file: Path) -> None:
        self._db = database
        self._lock = lock
        self._file = file

    @classmethod
    def open(cls, folder: Path, stream: str) -> State:
        """Open the folder, making it where it does not exist.

        Raises:
            StateError: It cannot be written, or another adapter runs on it.
        """
        mend = "Give the adapter a folder that it may write, by `state` of the mapping or --state."
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (folder / f"{stream}.lock").open("wb")
        except OSError as error:
            raise StateError(f"The adapter's folder cannot be used: {error.strerror}.", mend) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise StateError(
                f"Another adapter runs for the stream {stream} on this folder.",
                "Stop it, or wait for its end.",
            ) from None
        try:
            file = folder / f"{stream}.db"
            database = _connected(file)
            database.executescript(f"PRAGMA journal_mode = WAL; {_TABLES}")
        except sqlite3.Error as error:
            lock.close()
            raise StateError(
                f"The adapter's folder cannot be used: {error.__class__.__name__}.", mend
            ) from None
        return cls(database, lock, file)

    @classmethod
    def look(cls, folder: Path, stream: str) -> State | None:
        """The folder for reading, beside an adapter that runs; None where no adapter has run yet.

        Raises:
            StateError: It cannot be read.
        """
        file = folder / f"{stream}.db"
        if not file.is_file():
            return None
        try:
            database = _connected(file)
            database.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise StateError(
                f"The adapter's folder cannot be read: {error.__class__.__name__}.",
                "Run this as the account that the adapter runs as.",
            ) from None
        return cls(database, None, file)

    def companion(self) -> State:
        """The same folder for another thread of this process."""
        return State(_connected(self._file), None, self._file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    @property
    def paused(self) -> bool:
        """Whether an operator has paused the stream: a file beside the database says so, whoever runs."""
        return self._file.with_suffix(".paused").exists()

    def pause(self) -> None:
        """Let no further run begin, until `resume`."""
        self._file.with_suffix(".paused").touch()

    def resume(self) -> None:
        """Let runs begin again."""
        self._file.with_suffix(".paused").unlink(missing_ok=True)

    def known(self, keys: Sequence[str]) -> dict[str, Sent]:
        """What was sent for these keys; keys never sent are left out."""
        marks = ",".join("?" * len(keys))
        found = self._db.execute(f"SELECT key, hash, draft, watched FROM sent WHERE key IN ({marks})", keys)  # noqa: S608
        return {key: Sent(held, bool(draft), bool(watched)) for key, held, draft, watched in found}

    def refused_hashes(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Hashes of what the node refused for these keys."""
        marks = ",".join("?" * len(keys))
        found = self._db.execute(
            f"SELECT key, hash FROM quarantine WHERE refused_by = 'node' AND key IN ({marks})",  # noqa: S608
            keys,
        )
        return {key: held for key, held in found if held is not None}

    def before_sending(
        self,
        sent: Mapping[str, Sent],
        refusals: Sequence[Refusal],
        seen: Iterable[str],
        scan: str,
        flight: Iterable[Row] = (),
    ) -> None:
        """Note, in one transaction, what is about to be sent and what goes into quarantine.

        Args:
            sent: Keys about to be sent, with what the node may hold of them from then on.
            refusals: Rows that are not sent.
            seen: Keys that a complete pass has shown.
            scan: Name of the pass, "" where there is none.
            flight: Rows that the node may refuse one by one: kept until it has answered.
        """
        with _transaction(self._db):
            self._db.executemany(
                "DELETE FROM flight WHERE ident = ?",
                [(ident,) for one in refusals for ident in _idents(one.row)],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO flight VALUES (?, ?, ?, ?, ?, ?)", map(_flight_of, flight)
            )
            self._db.executemany(
                "INSERT INTO sent (key, hash, draft, watched, scan) VALUES (?, NULL, ?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET hash = NULL, draft = draft OR excluded.draft,"
                " watched = watched OR excluded.watched",
                [(key, int(held.draft), int(held.watched), scan) for key, held in sent.items()],
            )
            self._keep(refusals)
            if scan:
                self._db.executemany("UPDATE sent SET scan = ? WHERE key = ?", [(scan, key) for key in seen])

    def after_sending(
        self, taken: Mapping[str, Sent], resolved: Sequence[Row], refusals: Sequence[Refusal]
    ) -> None:
        """Note, in one transaction, what the node answered.

        Args:
            taken: Keys that the node took, with what it holds of them now.
            resolved: Good rows, whose quarantine entries end; with the refused ones they are on their way no more.
            refusals: Rows that the node refused.
        """
        with _transaction(self._db):
            self._db.executemany(
                "UPDATE sent SET hash = ?, draft = ?, watched = ? WHERE key = ?",
                [(held.hash, int(held.draft), int(held.watched), key) for key, held in taken.items()],
            )
            for table, rows in (
                ("flight", [*resolved, *(one.row for one in refusals)]),
                ("quarantine", resolved),
            ):
                if self._db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None:  # noqa: S608
                    idents = [(ident,) for row in rows for ident in _idents(row)]
                    self._db.executemany(f"DELETE FROM {table} WHERE ident = ?", idents)  # noqa: S608
            self._keep(refusals)

    def in_flight(self) -> list[Quarantined]:
        """Rows that were sent and whose answer was never noted, as after a kill."""
        found = self._db.execute("SELECT key, position, columns, raw, deleted FROM flight ORDER BY ident")
        return [
            Quarantined(
                0, key, position, "", None, (), json.loads(columns), json.loads(raw), bool(deleted), 0, 0, 0
            )
            for key, position, columns, raw, deleted in found.fetchall()
        ]

    def landed(self) -> None:
        """Note that everything that was in flight has been answered."""
        self._db.execute("DELETE FROM flight")

    def held_outside(self, scan: str) -> dict[str, Sent]:
        """Keys that the node may hold something of and a complete pass has not shown."""
        found = self._db.execute(
            "SELECT key, hash, draft, watched FROM sent WHERE (draft OR watched) AND scan <> ? ORDER BY key",
            (scan,),
        )
        return {key: Sent(held, bool(draft), bool(watched)) for key, held, draft, watched in found.fetchall()}

    def held(self) -> int:
        """How many keys the node may hold something of."""
        return int(self._db.execute("SELECT count(*) FROM sent WHERE draft OR watched").fetchone()[0])

    def rebuild(self, drafted: Iterable[str], watched: Iterable[str]) -> None:
        """Note keys that the node knows, as after the loss of this folder."""
        keep = (
            "INSERT INTO sent (key, hash, draft, watched) VALUES (?, NULL, ?, ?) ON CONFLICT (key) DO UPDATE"
            " SET draft = draft OR excluded.draft, watched = watched OR excluded.watched"
        )
        with _transaction(self._db):
            self._db.executemany(keep, ((key, 1, 0) for key in drafted))
            self._db.executemany(keep, ((key, 0, 1) for key in watched))
            self.set_fact("built", "1")

    def fact(self, name: str) -> str:
        """A small fact about the stream, "" where it is not set."""
        found = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return "" if found is None else str(found[0])

    def set_fact(self, name: str, value: str) -> None:
        """Keep a small fact."""
        self._db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def was_told(self, notice: str) -> bool:
        """Whether an outcome was written to the registry."""
        return self._db.execute("SELECT 1 FROM told WHERE notice = ?", (notice,)).fetchone() is not None

    def note_told(self, notices: Iterable[str]) -> None:
        """Note that outcomes were written to the registry."""
        now = time.time_ns() // 1_000_000
        with _transaction(self._db):
            self._db.executemany(
                "INSERT OR IGNORE INTO told VALUES (?, ?)", [(notice, now) for notice in notices]
            )

    def forget_told_before(self, moment: datetime) -> None:
        """Forget outcomes that are not asked for again."""
        self._db.execute("DELETE FROM told WHERE at_ms < ?", (int(moment.timestamp() * 1000),))

    def quarantined(self, ids: Sequence[int] = (), after: int = 0) -> Iterator[Quarantined]:
        """Entries of the quarantine, oldest first.

        Args:
            ids: Only these; all where empty.
            after: Only entries with a higher number.
        """
        columns = (
            "id, key, position, refused_by, hash, faults, columns, raw, deleted, first_ms, last_ms, times"
        )
        while page := self._db.execute(
            f"SELECT {columns} FROM quarantine WHERE id > ? ORDER BY id LIMIT 200",  # noqa: S608
            (after,),
        ).fetchall():
            after = page[-1][0]
            for found in page:
                if ids and found[0] not in ids:
                    continue
                faults = tuple(FieldFault(**held) for held in json.loads(found[5]))
                yield Quarantined(
                    id=found[0],
                    key=found[1],
                    position=found[2],
                    refused_by=found[3],
                    hash=found[4],
                    faults=faults,
                    values=json.loads(found[6]),
                    raw=json.loads(found[7]),
                    deleted=bool(found[8]),
                    first_ms=found[9],
                    last_ms=found[10],
                    times=found[11],
                )

    def quarantine_size(self) -> int:
        """How many rows are in quarantine."""
        return int(self._db.execute("SELECT count(*) FROM quarantine").fetchone()[0])

    def _keep(self, refusals: Iterable[Refusal]) -> None:
        now = time.time_ns() // 1_000_000
        self._db.executemany(_KEEP, [_entry(refusal, now) for refusal in refusals])


def _connected(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, isolation_level=None)
    database.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    return database


def _key_of(row: Row) -> str | None:
    return None if row.key is None else row.key.encode("utf-8", "backslashreplace").decode()


def _idents(row: Row) -> tuple[str, ...]:
    """What a row may stand under: its place, from when its key could not be read, and its key."""
    key = _key_of(row)
    return (f"p:{row.position}",) if key is None else (f"p:{row.position}", f"k:{key}")


def _flight_of(row: Row) -> tuple[Any, ...]:
    """A row on its way, as `flight` keeps it."""
    key = _key_of(row)
    return (
        f"k:{key}" if key is not None else f"p:{row.position}",
        key,
        row.position,
        json.dumps(dict(row.values), default=str),
        json.dumps(row.raw),
        int(row.deleted),
    )


def _entry(refusal: Refusal, now: int) -> tuple[Any, ...]:
    ident, key, position, columns, raw, deleted = _flight_of(refusal.row)
    faults = json.dumps([asdict(fault) for fault in refusal.faults])
    return (ident, key, position, refusal.refused_by, refusal.hash, faults, columns, raw, deleted, now, now)


class _transaction(AbstractContextManager[None]):  # noqa: N801 - reads as a statement
    """All or nothing, on disk when it ends."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
