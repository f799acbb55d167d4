"""A registry's database, opened so that it can only be read and never be kept waiting.

Rules:
- Every transaction is read-only where the database knows such a thing, SQLite files are opened read-only, and
  every transaction ends with a rollback.
- Where the server can tell, a statement has a time limit, a lock is waited for at most some seconds (a reader
  that waits for a lock makes writers wait behind it), and an idle transaction is ended by the server.
- Rows come a bounded number at a time: through a server-side cursor where there is one.
- MariaDB and MySQL put a result aside first, so that tables that lock as a whole are free again while it is
  sent.
- Text that is not in the database's encoding, and dates that Python has not, are read as text: they cost their
  row only.
- No error carries a statement, a value or an address.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, ProgrammingError, SQLAlchemyError

from registry_adapters.errors import SourceError
from registry_adapters.sources.sql_values import family_of, read_as_text, read_odd_values_as_text

LOCK_SECONDS: Final = 20
IDLE_SECONDS: Final = 600
_MARIADB: Final = ("mysql", "mariadb")
_UNFIT: Final = (
    "InvalidTextRepresentation",
    "NumericValueOutOfRange",
    "InvalidDatetimeFormat",
    "DatetimeFieldOverflow",
)


class RefusedError(SourceError):
    """The database does not know the statement: a table or column is missing, or may not be read."""


class UnfitValueError(SourceError):
    """A value that was asked for cannot stand in the column that it is compared with."""


def open_engine(url: str, connect_args: dict[str, Any], statement_seconds: float = 300) -> Engine:
    """An engine that can only read.

    Args:
        url: SQLAlchemy URL.
        connect_args: Passed to the driver.
        statement_seconds: How long one statement may take, where the database can tell.

    Raises:
        SourceError: The URL is wrong, its driver is missing, or the SQLite file does not exist.
    """
    try:
        address = make_url(url)
        if address.get_backend_name() == "sqlite" and address.database and ":memory:" not in address.database:
            file = Path(address.database.removeprefix("file:").partition("?")[0])
            if not file.is_file():
                raise SourceError(f"There is no SQLite file {file.name}.", "Name an existing file in `url`.")
            address = sa.URL.create(
                address.drivername,
                database=f"file:{file.resolve().as_posix()}",
                query={"mode": "ro", "uri": "true"},
            )
        engine = sa.create_engine(address, connect_args=connect_args, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise SourceError(
            f"The database URL cannot be used: {type(error).__name__}.",
            "Write dialect+driver://user@host/database, and install the driver beside the adapter.",
        ) from None
    sa.event.listen(engine, "connect", _prepared(engine.dialect.name, statement_seconds))
    return engine


def _prepared(dialect: str, statement_seconds: float) -> Callable[[Any, Any], None]:
    """What is said to the database on every new connection."""
    thousandths = int(statement_seconds * 1000)

    def prepare(raw: Any, _record: object) -> None:
        if dialect == "sqlite":
            raw.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            raw.execute("PRAGMA query_only = ON")
        elif dialect == "postgresql":
            read_as_text(raw)
            with raw.cursor() as cursor:
                cursor.execute("SET default_transaction_read_only = on")
                cursor.execute(f"SET statement_timeout = {thousandths}")
                cursor.execute(f"SET lock_timeout = {LOCK_SECONDS * 1000}")
                cursor.execute(f"SET idle_in_transaction_session_timeout = {IDLE_SECONDS * 1000}")
            raw.commit()
        elif dialect in _MARIADB:
            with raw.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
                cursor.execute(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
                cursor.execute("SELECT VERSION()")
                mariadb = "mariadb" in str(cursor.fetchone()[0]).lower()
                limit = (
                    f"max_statement_time = {statement_seconds:.3f}"
                    if mariadb
                    else f"max_execution_time = {thousandths}"
                )
                cursor.execute(f"SET SESSION {limit}")

    return prepare


class Database:
    """Reads statements from one database.

    Args:
        engine: As `open_engine` made it.
        fetch_size: Rows fetched at a time.
    """

    def __init__(self, engine: Engine, fetch_size: int) -> None:
        self._engine = engine
        self._odd_values = False
        self.fetch_size = fetch_size
        self.dialect = engine.dialect.name
        self.driver = engine.dialect.driver

    @property
    def page_rows(self) -> int:
        """Rows that one statement may give, 0 where a server-side cursor makes that needless.

        Readers of SQLite, and of tables of MariaDB that lock as a whole, keep writers waiting until the last row is
        fetched: there each page is fetched whole, in a transaction that has ended before its rows are handed over.
        """
        return self.fetch_size if self.dialect in ("sqlite", *_MARIADB) else 0

    def quoted(self, name: str) -> str:
        """A table's name, with or without its schema, as it stands in a statement."""
        quote = self._engine.dialect.identifier_preparer.quote
        return ".".join(quote(part) for part in name.split("."))

    def chunks(self, statement: sa.Select[Any]) -> Generator[list[tuple[Any, ...]], None, None]:
        """Rows of a statement, `fetch_size` at a time, in one read-only transaction.

        Raises:
            SourceError: The database refused, or went away.
        """
        if self.page_rows:
            found = self.rows(statement)
            if found:
                yield found
            return
        options = {"yield_per": self.fetch_size}
        with (
            self._transaction() as conn,
            closing(conn.execute(statement, execution_options=options)) as answer,
        ):
            # SQLAlchemy has looked at one row at most; the others come from the driver, at half the cost a row.
            held = [tuple(row) for row in answer.fetchmany(1)]
            cursor = answer.cursor
            while held and cursor is not None:
                more = cursor.fetchmany(self.fetch_size)
                held.extend(more)
                yield held
                held = [] if len(more) < self.fetch_size else list(cursor.fetchmany(self.fetch_size))

    def rows(self, statement: sa.Select[Any] | sa.TextClause) -> list[tuple[Any, ...]]:
        """All rows of a statement that gives few."""
        with self._transaction() as conn:
            return list(conn.execute(statement).cursor.fetchall())

    def found(self, statement: sa.TextClause, limit: int) -> list[dict[str, Any]]:
        """The first rows of a statement, column to value."""
        with (
            self._transaction() as conn,
            closing(conn.execute(statement, execution_options={"yield_per": limit})) as answer,
        ):
            return [dict(row._mapping) for row in answer.fetchmany(limit)]

    def columns(self, named: str) -> dict[str, str]:
        """Column to the family of its type ("" where the driver does not tell), asked without reading a row.

        Args:
            named: A table, or a query in brackets, as it stands behind FROM.
        """
        with self._transaction() as conn:
            answer = conn.execute(sa.text(f"SELECT * FROM {named} WHERE 1 = 0"))  # noqa: S608 - the mapping's
            return {part[0]: family_of(self.dialect, part[1]) for part in answer.cursor.description}

    def now(self) -> datetime | None:
        """The database's own clock; without a zone it is the session's. None where it is not told."""
        words = {
            "postgresql": "SELECT clock_timestamp()",
            "mysql": "SELECT NOW(6)",
            "mariadb": "SELECT NOW(6)",
            "sqlite": "SELECT NULL",
        }
        [[now]] = self.rows(sa.text(words.get(self.dialect, "SELECT CURRENT_TIMESTAMP")))
        return now if isinstance(now, datetime) else None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        driver_error: type[Exception] = getattr(self._engine.dialect.loaded_dbapi, "Error", SQLAlchemyError)
        try:
            with self._engine.connect() as conn:
                if self.dialect == "postgresql":
                    conn = conn.execution_options(postgresql_readonly=True)
                    if self._odd_values:
                        read_odd_values_as_text(conn.connection.driver_connection)
                try:
                    yield conn
                finally:
                    conn.rollback()
        except (SQLAlchemyError, driver_error, UnicodeDecodeError) as error:
            raise self._told(getattr(error, "orig", None) or error, error) from None

    def _told(self, cause: BaseException, error: Exception) -> SourceError:
        kind = type(cause).__name__
        if kind in ("DataError", "UnicodeDecodeError") and not self._odd_values:
            self._odd_values = True
            return OddValueError(
                "The registry holds a value that the driver cannot read.", "The rows are read again as text."
            )
        if kind in _UNFIT:
            return UnfitValueError(
                "A value cannot stand in the column that it is compared with.",
                "Cast the column to text in the query.",
            )
        known = isinstance(error, ProgrammingError) or kind in ("UndefinedColumn", "UndefinedTable")
        return (RefusedError if known else SourceError)(
            f"The registry's database refused or went away: {kind}.",
            "Try the query with the registry's own client; the run goes on where it stopped.",
        )


class OddValueError(SourceError):
    """The driver met a value that it cannot convert; from now on such values are read as text."""
