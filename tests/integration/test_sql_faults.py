"""SQL sources where a registry goes away, holds odd values, or is changed while it is read."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import sqlalchemy as sa

from registry_adapters import Cursor, Row
from registry_adapters.errors import SourceError
from registry_adapters.sources.sql_engine import Database, open_engine
from registry_adapters.sources.sql_relation import Relation
from tests.support.sql_registries import SqlRegistry, keys

ROWS = 40
PAGED: dict[str, Any] = {"fetch_size": 5}
BEGUN = "SELECT max(xact_start) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
KILL = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    " AND datname = current_database()",
    "mariadb": "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND db = database()",
}


@pytest.fixture(params=["postgresql", "mariadb"])
def registry(request: pytest.FixtureRequest) -> SqlRegistry:
    name = "postgres_registry" if request.param == "postgresql" else "mariadb_registry"
    made: SqlRegistry = request.getfixturevalue(name)
    fill(made)
    return made


def fill(registry: SqlRegistry, engine: str = "") -> None:
    """Rows that together are more than sockets hold."""
    registry.do(f"CREATE TABLE party (id INTEGER PRIMARY KEY, name TEXT) {engine}")
    values = ", ".join(f"({i}, repeat('n', 50000))" for i in range(ROWS))
    registry.do(f"INSERT INTO party VALUES {values}")


def cut(registry: SqlRegistry) -> None:
    """End every connection but our own, as the registry's restart does."""
    with registry.engine.connect() as conn:
        found = conn.execute(sa.text(KILL[registry.kind])).scalars().all()
        if registry.kind == "mariadb":
            for connection in found:
                conn.exec_driver_sql(f"KILL {connection}")


def test_run_survives_a_registry_that_goes_away_and_comes_back(registry: SqlRegistry) -> None:
    parts = registry.source(**PAGED).read(None)
    found = [next(parts) for _ in range(7)]
    cut(registry)
    found.extend(parts)
    assert set(keys(found)) == {str(i) for i in range(ROWS)}


def test_registry_that_stays_away_ends_the_run_which_goes_on_at_its_last_row(registry: SqlRegistry) -> None:
    source = registry.source(**PAGED)
    parts = source.read(None)
    found = [next(parts) for _ in range(7)]
    cut(registry)
    registry.do("ALTER TABLE party RENAME TO away")
    with pytest.raises(SourceError):
        found.extend(parts)
    assert len(found) < ROWS
    registry.do("ALTER TABLE away RENAME TO party")
    rest, _ = registry.read(Cursor.decode(found[-1].cursor.encode(), "sql"), **PAGED)
    assert [*keys(found), *keys(rest)] == [str(i) for i in range(ROWS)]


def test_transaction_of_a_long_run_is_ended_and_reading_goes_on(postgres_registry: SqlRegistry) -> None:
    """A long transaction makes ALTER wait, every writer behind it, and keeps old rows from being cleaned up."""
    registry = postgres_registry
    fill(registry)
    ticks = itertools.count(0, 100)
    database = Database(open_engine(registry.url, {}), 5)
    relation = Relation(database, "party", None, {}, 60, lambda: float(next(ticks)))
    relation.look()
    begun, read = set(), 0
    with registry.engine.connect() as conn:
        for chunk in relation.ordered(("id",), None):
            read += len(chunk)
            begun.add(conn.execute(sa.text(BEGUN)).scalar_one())
            conn.rollback()
    database.close()
    assert read == ROWS
    assert len(begun) > 3


def test_statement_that_takes_too_long_is_ended(registry: SqlRegistry) -> None:
    sleep = "pg_sleep(30)" if registry.kind == "postgresql" else "sleep(30)"
    query = f"SELECT id, name FROM party WHERE {sleep} IS NOT NULL"
    with pytest.raises(SourceError):
        list(registry.source(query=query, statement_seconds=1).read(None))


def test_table_that_locks_as_a_whole_is_free_while_its_rows_are_handed_over(
    mariadb_registry: SqlRegistry,
) -> None:
    """MyISAM keeps writers waiting as long as a result is being sent."""
    fill(mariadb_registry, "ENGINE=MyISAM")
    parts = mariadb_registry.source(**PAGED).read(None)
    next(parts)
    with mariadb_registry.engine.begin() as conn:
        conn.execute(sa.text("SET SESSION lock_wait_timeout = 2"))
        conn.execute(sa.text("UPDATE party SET name = 'written while read' WHERE id = 39"))
    parts.close()  # type: ignore[attr-defined]


def test_dates_and_text_that_the_driver_cannot_read_cost_nothing_but_their_row(
    postgres_registry: SqlRegistry,
) -> None:
    registry = postgres_registry
    registry.do(
        "CREATE TABLE party (id integer PRIMARY KEY, born date, updated_at timestamptz, at time, span interval)",
        "INSERT INTO party SELECT i, '2000-01-01', now() - interval '1 day', '10:00', '1 day'"
        " FROM generate_series(1, 20) i",
        "INSERT INTO party VALUES (21, '0044-03-15 BC', 'infinity', NULL, NULL), (22, 'infinity', NULL, NULL, NULL)",
    )
    rows, _ = registry.read(None, **PAGED)
    assert keys(rows) == [str(i) for i in range(1, 23)]
    assert [row.values["born"] for row in rows[-2:]] == ["0044-03-15 BC", "infinity"]
    assert rows[0].values["at"] == "10:00:00"
    marked = {"watermark": "updated_at", **PAGED}
    rows, cursor = registry.read(None, **marked)
    assert {row.key for row in rows} == {str(i) for i in range(1, 23)}
    registry.do("INSERT INTO party VALUES (23, NULL, now(), NULL, NULL)")
    rows, _ = registry.read(cursor, **marked)
    assert "23" in keys(rows), "a mark of infinity hides nothing"


def test_zero_dates_of_mariadb_are_text(mariadb_registry: SqlRegistry) -> None:
    with mariadb_registry.engine.begin() as conn:
        conn.exec_driver_sql("SET SESSION sql_mode = ''")
        conn.exec_driver_sql(
            "CREATE TABLE party (id INTEGER PRIMARY KEY, born DATE NOT NULL, at DATETIME NOT NULL)"
        )
        conn.exec_driver_sql(
            "INSERT INTO party VALUES (1, '0000-00-00', '0000-00-00'), (2, '2026-01-01', now())"
        )
    rows, cursor = mariadb_registry.read(None, watermark="at")
    assert {row.key: row.values["born"] for row in rows}["1"] == "0000-00-00"
    mariadb_registry.do("INSERT INTO party VALUES (3, '2026-01-01', now())")
    assert "3" in keys(mariadb_registry.read(cursor, watermark="at")[0])


def test_query_may_hold_colons_percent_signs_and_comments(registry: SqlRegistry) -> None:
    cast = "id::text" if registry.kind == "postgresql" else "CAST(id AS CHAR)"
    query = f"SELECT id, {cast} AS t, ':x %(y)s 10:30 %' AS told FROM party WHERE name LIKE 'n%' -- all of them :z"
    rows, _ = registry.read(None, query=query)
    assert len(rows) == ROWS
    assert rows[0].values == {"id": 0, "t": "0", "told": ":x %(y)s 10:30 %"}


def test_no_error_carries_a_statement_a_value_or_an_address(registry: SqlRegistry) -> None:
    with pytest.raises(SourceError) as raised:
        registry.read(
            None, query="SELECT id, 1 / (CASE WHEN name = 'secret' THEN 0 ELSE nowhere END) FROM party"
        )
    assert not any(
        word in str(raised.value) for word in ("secret", "nowhere", "SELECT", "sock", "root", "dief-")
    )


def test_row_is_not_lost_that_a_consumer_has_not_taken(registry: SqlRegistry) -> None:
    parts = registry.source(**PAGED).read(None)
    first = next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert isinstance(first, Row)
    rest, _ = registry.read(Cursor.decode(first.cursor.encode(), "sql"), **PAGED)
    assert len(rest) == ROWS - 1
