"""What every test gets.

- A home of its own, so that no test reads the developer's configuration.
- Databases of both kinds, made from a migrated template (tests/support/databases.py).
- Hypothesis without a deadline or a check for slowness: what an example costs depends on the machine, and a
  test that fails by the clock proves nothing. A failure prints the blob that reproduces it anywhere.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.databases import databases, postgres_cluster, sqlite_databases, sqlite_template
from tests.support.mariadb import mariadb_server
from tests.support.sql_registries import mariadb_registry, postgres_registry, sql_registry

__all__ = [
    "databases",
    "mariadb_registry",
    "mariadb_server",
    "own_home",
    "postgres_cluster",
    "postgres_registry",
    "sql_registry",
    "sqlite_databases",
    "sqlite_template",
]

settings.register_profile(
    "dief", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("dief")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Points HOME at an empty folder and hides DIEF_CONFIG."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("DIEF_CONFIG", raising=False)
    return home
