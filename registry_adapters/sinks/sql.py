"""Notices into a table that a registry offers.

Rules:
- One transaction a write: all notices or none. A notice whose id is there already is passed over.
- Nothing but this table is touched; nothing is locked beyond the rows that are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from registry_adapters.errors import SinkError
from registry_adapters.notice import NAMES, Notice
from registry_adapters.sinks.settings import SqlSinkSettings

_WAIT_SECONDS = 10


class SqlSink:
    """A table of the registry.

    Args:
        settings: `[write_back]` of the mapping.
        url: The database, as `SqlSinkSettings.address` gives it.
    """

    kind = "sql"

    def __init__(self, settings: SqlSinkSettings, url: str) -> None:
        self._settings = settings
        self._engine = _engine(url, dict(settings.connect_args))
        self._table: sa.Table | None = None
        self._names: dict[str, str] = {}

    def check(self) -> None:
        """Whether the table and its columns are there."""
        self._target()

    def write(self, notices: Sequence[Notice]) -> None:
        """Insert, or bring up to date, in one transaction."""
        table = self._target()
        try:
            with self._engine.begin() as conn:
                fresh = self._without_known(conn, table, notices)
                if self._settings.one_row_a_hit:
                    for notice in fresh:
                        self._replace(conn, table, notice)
                elif fresh:
                    conn.execute(table.insert(), [self._row(notice) for notice in fresh])
        except SQLAlchemyError as error:
            raise _failed(error) from None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _target(self) -> sa.Table:
        if self._table is not None:
            return self._table
        schema, _, name = self._settings.table.rpartition(".")
        try:
            table = sa.Table(name, sa.MetaData(), schema=schema or None, autoload_with=self._engine)
        except sa.exc.NoSuchTableError:
            raise SinkError(
                f"The registry has no table {self._settings.table}, or the account may not see it.",
                "Let the registry's administrator make it (registry_adapters/README.md shows the statement).",
                reason="NO_TABLE",
            ) from None
        except SQLAlchemyError as error:
            raise _failed(error) from None
        names = dict(self._settings.columns) or {name: name for name in NAMES if name in table.c}
        missing = sorted(column for column in names.values() if column not in table.c)
        if missing:
            raise SinkError(
                f"The table {self._settings.table} has no column {', '.join(missing)}; "
                f"it has {', '.join(table.c.keys())}.",
                "Mend [write_back.columns], or the table.",
                reason="NO_COLUMN",
            )
        key = "hit" if self._settings.one_row_a_hit else "notice"
        needed = {"notice", "record_key"} | ({"hit", "version"} if self._settings.one_row_a_hit else set())
        if not needed <= set(names):
            raise SinkError(
                f"The table {self._settings.table} must take {', '.join(sorted(needed))}.",
                f"Add these columns; `{key}` tells one row from another.",
                reason="NO_COLUMN",
            )
        self._names, self._table = names, table
        return table

    def _row(self, notice: Notice) -> dict[str, Any]:
        values = notice.as_dict()
        return {column: values[name] for name, column in self._names.items()}

    def _without_known(self, conn: Connection, table: sa.Table, notices: Sequence[Notice]) -> list[Notice]:
        column = table.c[self._names["notice"]]
        ids = [notice.notice for notice in notices]
        known = set(conn.execute(sa.select(column).where(column.in_(ids))).scalars())
        return list({notice.notice: notice for notice in notices if notice.notice not in known}.values())

    def _replace(self, conn: Connection, table: sa.Table, notice: Notice) -> None:
        """One row a hit, and one row a record for what became of it."""
        key = table.c[self._names["hit"]]
        version = table.c[self._names["version"]]
        row = self._row(notice)
        same = key == notice.hit if notice.hit else table.c[self._names["notice"]] == notice.notice
        found = conn.execute(sa.select(version).where(same)).first()
        if found is None:
            conn.execute(table.insert().values(row))
        elif int(found[0] or 0) < notice.version:
            conn.execute(table.update().where(same).values(row))


def _engine(url: str, connect_args: dict[str, Any]) -> Engine:
    try:
        engine = sa.create_engine(url, connect_args=connect_args, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise SinkError(
            f"The database URL of [write_back] cannot be used: {type(error).__name__}.",
            "Write dialect+driver://user@host/database, and install the driver beside the adapter.",
        ) from None

    @sa.event.listens_for(engine, "connect")
    def _configure(raw: Any, _record: object) -> None:
        statement = {
            "postgresql": f"SET lock_timeout = {_WAIT_SECONDS * 1000}",
            "mysql": f"SET SESSION innodb_lock_wait_timeout = {_WAIT_SECONDS}",
            "mariadb": f"SET SESSION innodb_lock_wait_timeout = {_WAIT_SECONDS}",
            "sqlite": f"PRAGMA busy_timeout = {_WAIT_SECONDS * 1000}",
        }.get(engine.dialect.name)
        if statement is not None:
            cursor = raw.cursor()
            cursor.execute(statement)
            cursor.close()
            raw.commit()

    return engine


def _failed(error: SQLAlchemyError) -> SinkError:
    cause = getattr(error, "orig", None) or error
    return SinkError(
        f"The registry's table refused or went away: {type(cause).__name__}.",
        "Nothing is lost: the same notices come again. Try an INSERT with the registry's own client.",
    )
