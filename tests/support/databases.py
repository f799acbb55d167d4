"""Databases for tests, the same on SQLite and on PostgreSQL: a test that takes `databases` runs on both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.store.engine import Store
from node.store.migrations import migrate
from tests.support.postgres import Cluster


class Databases:
    """Makes databases and stores of one kind; closes the stores at the end."""

    def __init__(self, folder: Path, template: Path, cluster: Cluster | None) -> None:
        self._folder = folder
        self._template = template
        self._cluster = cluster
        self._stores: list[Store] = []
        self._made = 0

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return "sqlite" if self._cluster is None else "postgresql"

    def url(self, *, migrated: bool = True) -> str:
        """URL of a new database."""
        if self._cluster is not None:
            return self._cluster.database(migrated=migrated)
        self._made += 1
        path = self._folder / f"{self._made}.db"
        if migrated:
            shutil.copy(self._template, path)
        return f"sqlite:///{path}"

    def open(self, url: str | None = None) -> Store:
        """A store on a database, by default on a new one."""
        store = Store.open(url or self.url())
        self._stores.append(store)
        return store

    def close(self) -> None:
        """Close every store."""
        for store in self._stores:
            store.close()


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """One PostgreSQL server for the session, started when the first test asks."""
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with the newest schema, to copy."""
    path = tmp_path_factory.mktemp("template") / "node.db"
    store = Store.open(f"sqlite:///{path}")
    migrate(store)
    store.scrub()
    store.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> Iterator[Databases]:
    """Databases of each kind in turn."""
    cluster = request.getfixturevalue("postgres_cluster") if request.param == "postgresql" else None
    made = Databases(tmp_path, sqlite_template, cluster)
    yield made
    made.close()


@pytest.fixture
def sqlite_databases(tmp_path: Path, sqlite_template: Path) -> Iterator[Databases]:
    """SQLite databases only, for what does not depend on the database."""
    made = Databases(tmp_path, sqlite_template, None)
    yield made
    made.close()
