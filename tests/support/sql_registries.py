"""Registries of each kind of database, for tests of SQL sources: written by one engine, read by a source."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from registry_adapters import Cursor, Milestone, Row
from registry_adapters.sources.sql import SqlSource
from registry_adapters.sources.sql_settings import SqlSettings


class SqlRegistry:
    """One registry.

    Args:
        url: Its database.
        folder: The adapter's own folder.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.engine = sa.create_engine(url)
        self.clock: Callable[[], float] = time.time
        self._sources: list[SqlSource] = []

    @property
    def kind(self) -> str:
        """`sqlite`, `postgresql` or `mariadb`."""
        return self.engine.dialect.name

    def do(self, *statements: str, **values: Any) -> None:
        """Run statements in one transaction that commits."""
        with self.engine.begin() as conn:
            for statement in statements:
                conn.execute(sa.text(statement), values)

    def source(self, **settings: Any) -> SqlSource:
        """A source; `lookup`, `needed`, `accept_vanished` are its own arguments, the others `[source]`."""
        own = {
            name: settings.pop(name) for name in ("lookups", "needed", "accept_vanished") if name in settings
        }
        given = {"kind": "sql", "url": self.url, "table": "party", "key": ["id"], **settings}
        if "query" in given:
            del given["table"]
        checked = SqlSettings.model_validate(given)
        made = SqlSource(
            checked,
            checked.address(self.folder),
            lambda: self.clock(),
            memory=self.folder / "state" / "keys.db",
            **own,
        )
        self._sources.append(made)
        return made

    def read(self, cursor: Cursor | None, **settings: Any) -> tuple[list[Row], Cursor]:
        """Rows of one run, and the cursor behind it as the node would give it back."""
        parts = list(self.source(**settings).read(cursor))
        last = Cursor.decode(parts[-1].cursor.encode(), "sql")
        assert last is not None
        return [part for part in parts if isinstance(part, Row)], last

    def close(self) -> None:
        """Close every connection."""
        for made in self._sources:
            made.close()
        self.engine.dispose()


def keys(parts: Sequence[Row | Milestone]) -> list[str | None]:
    """Keys of rows, in their order."""
    return [part.key for part in parts if isinstance(part, Row)]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def sql_registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlRegistry]:
    """An empty registry on each kind of database in turn."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'registry.sqlite'}"
    elif request.param == "postgresql":
        url = request.getfixturevalue("postgres_cluster").database(migrated=False)
    else:
        url = request.getfixturevalue("mariadb_server").database()
    made = SqlRegistry(url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def postgres_registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlRegistry]:
    """An empty registry on PostgreSQL."""
    made = SqlRegistry(request.getfixturevalue("postgres_cluster").database(migrated=False), tmp_path)
    yield made
    made.close()


@pytest.fixture
def mariadb_registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlRegistry]:
    """An empty registry on MariaDB."""
    made = SqlRegistry(request.getfixturevalue("mariadb_server").database(), tmp_path)
    yield made
    made.close()
