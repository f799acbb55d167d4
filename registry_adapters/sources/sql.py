"""Rows of a table, view or query behind any SQLAlchemy URL.

Rules:
- Nothing is written and nothing is locked: the transaction is read-only where the database knows such a thing,
  SQLite files are opened read-only, and every transaction ends with a rollback.
- Rows come in the order of (watermark, key), a bounded number at a time. SQLite, whose readers keep writers
  waiting, is read in short transactions, page by page; others through a server-side cursor.
- With a watermark, a run begins behind the last (watermark, key) *less the overlap*, because a row that commits
  late carries an older mark. Once the overlap has passed since the newest mark was first seen, that window is
  read again only if rows have joined it (or, where it fits into one page, have left it); so a bulk update that
  gives 200,000 rows one mark is not read again for ever, and a row that joins them late still arrives. What this
  misses: a row that joins the window between the same two runs in which another one leaves it.
- Rows without a watermark are read in every run. Rows without a key are yielded with a fault.
- Without a watermark every run is a complete pass; it can be resumed at its last key.

Source: cases meltano/sdk#2154, singer-io/tap-mysql#131.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from registry_adapters.errors import FieldFault, SchemaDriftError, SourceError
from registry_adapters.keys import join_key
from registry_adapters.source import Cursor, Milestone, Row
from registry_adapters.sources.sql_settings import SqlSettings

KIND: Final = "sql"


def open_engine(url: str, connect_args: dict[str, Any]) -> Engine:
    """An engine that can only read.

    Args:
        url: SQLAlchemy URL.
        connect_args: Passed to the driver.

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
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise SourceError(
            f"The database URL cannot be used: {type(error).__name__}.",
            "Write dialect+driver://user@host/database, and install the driver beside the adapter.",
        ) from None
    sa.event.listen(engine, "connect", _read_only(engine.dialect.name))
    return engine


def _read_only(dialect: str) -> Callable[[Any, Any], None]:
    def prepare(raw: Any, _record: object) -> None:
        if dialect == "sqlite":
            raw.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            raw.execute("PRAGMA query_only = ON")
        elif dialect in ("mysql", "mariadb"):
            with raw.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")

    return prepare


class SqlSource:
    """A stream of rows from a database.

    Args:
        settings: `[source]` of the mapping.
        url: The database, as `SqlSettings.address` gives it.
    """

    kind = KIND

    def __init__(self, settings: SqlSettings, url: str, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._engine = open_engine(url, dict(settings.connect_args))
        self._clock = clock
        self._columns: tuple[str, ...] | None = None
        self._order = (*([settings.watermark] if settings.watermark else []), *settings.key)

    def columns(self) -> tuple[str, ...]:
        """Names of the columns, asked without reading a row."""
        if self._columns is None:
            with self._transaction() as conn:
                found = conn.execute(sa.text(f"SELECT * FROM {self._named()} WHERE 1 = 0"))  # noqa: S608 - the mapping's
                self._columns = tuple(found.keys())
            needed = {*self._order, *([self._settings.soft_delete] if self._settings.soft_delete else [])}
            missing = sorted(needed - set(self._columns))
            if missing:
                raise SchemaDriftError(
                    f"The registry offers no column {', '.join(missing)}; it offers {', '.join(self._columns)}.",
                    "Mend `key`, `watermark` or `soft_delete` of [source], or the query.",
                )
        return self._columns

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows behind the cursor; see the module's rules."""
        rows = self._relation()
        state = dict(cursor.state) if cursor else {}
        yield from self._without_order(rows, state)
        if self._settings.watermark:
            yield from self._changes(rows, state)
        else:
            yield from self._complete_pass(rows, state)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _changes(self, rows: sa.FromClause, state: dict[str, Any]) -> Iterator[Row | Milestone]:
        after: list[Any] | None = state.get("after")
        begin = self._begin(rows, state)
        newest = after
        for values in self._pages(rows, begin):
            here = self._place(values)
            if newest is None or self._is_behind(here, newest):
                if newest is None or here[0] != newest[0]:
                    state = {**state, "seen": self._clock()}
                newest = here
            yield self._row(values, Cursor(KIND, {**state, "after": newest, "window": -1}))
        if newest is not None:
            count = self._count_window(rows, newest[0])
            yield Milestone(Cursor(KIND, {**state, "after": newest, "window": count}))

    def _begin(self, rows: sa.FromClause, state: dict[str, Any]) -> list[Any] | None:
        """Place to begin behind: the last row, or a watermark alone where the window before it is read again."""
        after: list[Any] | None = state.get("after")
        if after is None:
            return None
        held, settled = state.get("window", -1), self._clock() - state.get("seen", 0.0)
        if held >= 0 and settled > self._settings.overlap_seconds:
            count = self._count_window(rows, after[0])
            if count == held or self._settings.fetch_size < count < held:
                return after
        return [self._window_start(after[0])]

    def _window_start(self, mark: Any) -> Any:
        return less_seconds(mark, self._settings.overlap_seconds)

    def _count_window(self, rows: sa.FromClause, mark: Any) -> int:
        column = rows.c[self._settings.watermark or ""]
        statement = (
            sa.select(sa.func.count())
            .select_from(rows)
            .where(column >= self._window_start(mark), column <= mark)
        )
        with self._transaction() as conn:
            return int(conn.execute(statement).scalar_one())

    def _is_behind(self, here: Sequence[Any], newest: Sequence[Any]) -> bool:
        """Whether a row lies behind the newest one; the database's order is taken where Python cannot compare."""
        try:
            return tuple(here) > tuple(newest)
        except TypeError:
            return True

    def _complete_pass(self, rows: sa.FromClause, state: dict[str, Any]) -> Iterator[Row | Milestone]:
        scan = str(state.get("scan") or uuid4().hex)
        for values in self._pages(rows, state.get("after")):
            yield self._row(values, Cursor(KIND, {"scan": scan, "after": self._place(values)}), scan)
        yield Milestone(Cursor(KIND, {}), completed_scan=scan)

    def _without_order(self, rows: sa.FromClause, state: dict[str, Any]) -> Iterator[Row | Milestone]:
        """Rows that no order can reach because their key or watermark is null."""
        here = Cursor(KIND, state)
        missing = sa.or_(*(rows.c[name].is_(None) for name in self._order))
        for values in self._stream(sa.select(rows).where(missing)):
            yield self._row(values, here)

    def _row(self, values: dict[str, Any], cursor: Cursor, scan: str = "") -> Row:
        parts = [values[name] for name in self._settings.key]
        key = None if any(part is None for part in parts) else join_key(parts)
        table = self._settings.table or "query"
        faults: tuple[FieldFault, ...] = ()
        if key is None:
            words = "A row needs its key: the registry holds null."
            faults = (FieldFault("", self._settings.key[0], "KEY_MISSING", words),)
        column = self._settings.soft_delete
        deleted = column is not None and values[column] not in (None, "", 0, False)
        return Row(key, values, f"{table}/{key or 'without key'}", cursor, faults, deleted, scan)

    def _place(self, values: dict[str, Any]) -> list[Any]:
        return [values[name] for name in self._order]

    def _relation(self) -> sa.FromClause:
        columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in self.columns()]
        if self._settings.query is not None:
            return sa.text(self._settings.query.rstrip().rstrip(";")).columns(*columns).subquery("dief_q")
        schema, _, name = (self._settings.table or "").rpartition(".")
        return sa.table(name, *columns, schema=schema or None)

    def _named(self) -> str:
        """The table or the query as it stands behind FROM."""
        if self._settings.query is not None:
            return f"({self._settings.query.rstrip().rstrip(';')}) dief_q"
        quote = self._engine.dialect.identifier_preparer.quote
        return ".".join(quote(part) for part in (self._settings.table or "").split("."))

    def _pages(self, rows: sa.FromClause, begin: list[Any] | None) -> Iterator[dict[str, Any]]:
        order = [rows.c[name] for name in self._order]
        present = sa.and_(*(column.is_not(None) for column in order))
        statement = sa.select(rows).where(present).order_by(*order)
        if self._engine.dialect.name != "sqlite":
            yield from self._stream(_from(statement, order, begin))
            return
        size = self._settings.fetch_size
        while True:
            page = list(self._stream(_from(statement, order, begin).limit(size)))
            yield from page
            if len(page) < size:
                return
            begin = self._place(page[-1])

    def _stream(self, statement: sa.Select[Any]) -> Iterator[dict[str, Any]]:
        with self._transaction() as conn:
            options = {"yield_per": self._settings.fetch_size}
            for found in conn.execute(statement, execution_options=options):
                yield dict(zip(self.columns(), found, strict=True))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as conn:
                if self._engine.dialect.name == "postgresql":
                    conn = conn.execution_options(postgresql_readonly=True)
                try:
                    yield conn
                finally:
                    conn.rollback()
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise SourceError(
                f"The registry's database refused or went away: {type(cause).__name__}.",
                "Try the query with the registry's own client; the run goes on where it stopped.",
            ) from None


def _from(
    statement: sa.Select[Any], order: Sequence[sa.ColumnElement[Any]], begin: list[Any] | None
) -> sa.Select[Any]:
    """The statement from a watermark (one value of several columns) or behind a whole place."""
    if begin is None:
        return statement
    if len(begin) < len(order):
        return statement.where(order[0] >= begin[0])
    return statement.where(_behind(order, begin))


def _behind(order: Sequence[sa.ColumnElement[Any]], place: Sequence[Any]) -> sa.ColumnElement[bool]:
    """(a, b) > (x, y) in a form that every database knows."""
    first: sa.ColumnElement[bool] = order[0] > place[0]
    if len(order) == 1:
        return first
    return sa.or_(first, sa.and_(order[0] == place[0], _behind(order[1:], place[1:])))


def less_seconds(mark: Any, seconds: float) -> Any:
    """A watermark moved back; one that is neither a date nor ISO text stays, so that only its ties are read again.

    Args:
        mark: As the database gave it; text keeps its form ("T" or blank, fraction or none, offset or none).
        seconds: How far back.
    """
    if isinstance(mark, datetime):
        return mark - timedelta(seconds=seconds)
    if isinstance(mark, date):
        return mark - timedelta(days=int(seconds // 86400))
    if isinstance(mark, str) and len(mark) >= 19:
        try:
            moment = datetime.fromisoformat(mark) - timedelta(seconds=seconds)
        except (ValueError, OverflowError):
            return mark
        text = moment.isoformat(sep=mark[10], timespec="microseconds" if "." in mark else "seconds")
        return text.replace("+00:00", "Z") if mark.endswith("Z") else text
    return mark
