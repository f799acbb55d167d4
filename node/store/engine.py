"""The database behind one URL: SQLite by default, PostgreSQL by changing the URL.

Everything that only one of the two understands stands in this module.

- One write transaction at a time (`write`, `run_write`), also where several processes share the database: what a
  transaction reads stays true until it commits. A commit is on disk when it returns (I5).
- Reads see one snapshot and can not write.
- `scrub` makes erased bytes leave the files too: freed pages are overwritten (secure_delete) and the
  write-ahead log is truncated (I6).

Example:
    store = Store.open("sqlite:///data/node.db")
    with store.write() as conn:
        conn.execute(insert(table(Denial)).values(state="XB", ...))
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.pool import QueuePool

from node.store.tables import all_tables

T = TypeVar("T")

WRITER_CACHE_KIB = 262_144
READER_CACHE_KIB = 16_384
WAL_CHECKPOINT_PAGES = 8_192
BUSY_TIMEOUT_MS = 30_000
SCRUB_ATTEMPTS = 200
SCRUB_PAUSE_S = 0.02
WRITER_LOCK = 0x64696566
"""Key of PostgreSQL's advisory lock that makes write transactions take turns ("dief" in ASCII)."""
_AFTER_COMMIT = "dief_after_commit"


class Store:
    """Connections of one node to its database. Thread-safe."""

    def __init__(self, url: str) -> None:
        """Connect; tables are made or migrated separately (`create_all`, node.store.migrations).

        Args:
            url: SQLAlchemy URL, for example "sqlite:////var/lib/dief/node.db" or "postgresql+psycopg://...".
        """
        self.url = _with_driver(make_url(url))
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self._lock = threading.RLock()
        self._writer_thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="store-reader")
        if self.sqlite:
            if self.url.database:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            self._write_engine = self._sqlite_engine(WRITER_CACHE_KIB, writable=True)
            self._read_engine = self._sqlite_engine(READER_CACHE_KIB, writable=False)
        else:
            self._write_engine = self._postgresql_engine(writable=True)
            self._read_engine = self._postgresql_engine(writable=False)

    @classmethod
    def open(cls, url: str) -> Store:
        """Same as the constructor; reads better at the call."""
        return cls(url)

    def _sqlite_engine(self, cache_kib: int, *, writable: bool) -> Engine:
        engine = create_engine(
            self.url,
            hide_parameters=True,
            poolclass=QueuePool,
            pool_size=1 if writable else 5,
            max_overflow=0 if writable else 20,
            connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
        )

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: object) -> None:
            connection.isolation_level = None
            cursor = connection.cursor()
            for pragma in (
                f"busy_timeout = {BUSY_TIMEOUT_MS}",
                "journal_mode = WAL",
                "synchronous = FULL",
                "secure_delete = ON",
                "foreign_keys = ON",
                "temp_store = MEMORY",
                f"cache_size = -{cache_kib}",
                f"wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}",
                f"query_only = {'OFF' if writable else 'ON'}",
            ):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writable else "BEGIN")

        return engine

    def _postgresql_engine(self, *, writable: bool) -> Engine:
        engine = create_engine(
            self.url,
            hide_parameters=True,
            pool_size=1 if writable else 5,
            max_overflow=0 if writable else 20,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED" if writable else "REPEATABLE READ",
            execution_options={"postgresql_readonly": not writable},
        )

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: object) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")
                cursor.execute("SHOW synchronous_commit")
                if cursor.fetchone()[0] in ("off", "local"):
                    cursor.execute("SET synchronous_commit = on")
            connection.commit()

        if writable:

            @event.listens_for(engine, "begin")
            def _begin(connection: Connection) -> None:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")

        return engine

    def create_all(self) -> None:
        """Make every table that is not there yet."""
        with self._lock:
            all_tables().create_all(self._write_engine)

    @property
    def write_engine(self) -> Engine:
        """Engine of the writer, for migrations."""
        return self._write_engine

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction: committed and on disk when the block ends, rolled back if it raises."""
        with self._lock:
            with self._write_engine.begin() as connection:
                connection.info[_AFTER_COMMIT] = []
                yield connection
                todo: list[Callable[[], None]] = connection.info.pop(_AFTER_COMMIT)
            for action in todo:
                action()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One read-only snapshot."""
        with self._read_engine.begin() as connection:
            yield connection

    async def run_write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one write transaction on the writer's thread."""

        def job() -> T:
            with self.write() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._writer_thread, job)

    async def run_read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a snapshot on a reader's thread."""

        def job() -> T:
            with self.read() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, job)

    async def run_scrub(self) -> bool:
        """`scrub` on the writer's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._writer_thread, self.scrub)

    def scrub(self) -> bool:
        """Make bytes that committed transactions erased leave the files too.

        Returns:
            Whether it is done; False where long readers kept the write-ahead log in use, try again later.
            On PostgreSQL always True: dead rows go with vacuum, and receipts state that horizon.
        """
        if not self.sqlite:
            return True
        pause = threading.Event()
        with self._lock:
            raw = self._write_engine.raw_connection()
            try:
                for _ in range(SCRUB_ATTEMPTS):
                    cursor = raw.cursor()
                    cursor.execute("PRAGMA busy_timeout = 100")
                    busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
                    cursor.close()
                    if busy is not None and busy[0] == 0:
                        return True
                    pause.wait(SCRUB_PAUSE_S)
                return False
            finally:
                raw.close()

    async def run_release_memory(self) -> None:
        """`release_memory` on the writer's thread."""
        await asyncio.get_running_loop().run_in_executor(self._writer_thread, self.release_memory)

    def release_memory(self) -> None:
        """Give page caches back to the system, after a catch-up."""
        if self.sqlite:
            with self._lock, self._write_engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA shrink_memory")
            self._read_engine.dispose()
        _trim()

    def close(self) -> None:
        """Finish running work and close every connection."""
        self._writer_thread.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._read_engine.dispose()
        self._write_engine.dispose()


def after_commit(conn: Connection, action: Callable[[], None]) -> None:
    """Run `action` once the write transaction of `conn` is on disk, before the next one begins; never if it fails."""
    conn.info[_AFTER_COMMIT].append(action)


def waiting_for_commit(conn: Connection, kind: type[T]) -> T | None:
    """The action of a type that this transaction has registered already, to add to it; or None."""
    return next((action for action in conn.info[_AFTER_COMMIT] if isinstance(action, kind)), None)


_PLACEHOLDER = {"qmark": "?", "pyformat": "%s", "format": "%s"}
_statements: dict[tuple[str, str, tuple[str, ...]], str] = {}


def bulk_insert(
    conn: Connection, target: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert many rows by the driver's own executemany: the catch-up path.

    Args:
        conn: Write transaction.
        target: Table.
        columns: Column names, in the order of the row tuples.
        rows: Values as the driver takes them.
    """
    if not rows:
        return
    key = (conn.dialect.name, target.name, tuple(columns))
    statement = _statements.get(key)
    if statement is None:
        quote = conn.dialect.identifier_preparer.quote
        mark = _PLACEHOLDER[conn.dialect.paramstyle]
        statement = (
            f"INSERT INTO {quote(target.name)} ({', '.join(map(quote, columns))}) "  # noqa: S608
            f"VALUES ({', '.join([mark] * len(columns))})"
        )
        _statements[key] = statement
    conn.exec_driver_sql(statement, list(rows))


def _trim() -> None:
    """Have the C library give back what it keeps of freed memory, where it can (glibc)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _with_driver(url: URL) -> URL:
    """`postgresql://...` means the one driver that the node comes with."""
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
