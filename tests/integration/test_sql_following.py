"""SQL sources on PostgreSQL, MariaDB and SQLite: what changed arrives, late, tied, deleted, whatever the clocks say."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from registry_adapters import Cursor, Milestone, Row
from registry_adapters.errors import SchemaDriftError, SourceError
from tests.support.sql_registries import SqlRegistry, keys

MOMENT = {"sqlite": "TEXT", "postgresql": "timestamptz", "mariadb": "TIMESTAMP(6) NULL"}
TEXT_ARRAY = {"sqlite": "TEXT", "postgresql": "text[]", "mariadb": "JSON"}
MARKED: dict[str, Any] = {"watermark": "updated_at", "overlap_seconds": 60, "fetch_size": 3}


@pytest.fixture
def registry(sql_registry: SqlRegistry) -> SqlRegistry:
    """A table `party`; on SQLite its moments are text with their zone."""
    kind = sql_registry.kind
    sql_registry.do(
        f"CREATE TABLE party (id VARCHAR(40) PRIMARY KEY, name VARCHAR(200), updated_at {MOMENT[kind]},"
        f" deleted_at {MOMENT[kind]})"
    )
    return sql_registry


def ago(registry: SqlRegistry, seconds: float) -> Any:
    """A moment in the past, as the registry writes it."""
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    if registry.kind == "sqlite":
        return moment.isoformat(sep=" ", timespec="microseconds")
    return moment if registry.kind == "postgresql" else moment.replace(tzinfo=None)


def put(registry: SqlRegistry, key: str, mark: Any, name: str = "n") -> None:
    registry.do("DELETE FROM party WHERE id = :key", key=key)
    registry.do(
        "INSERT INTO party (id, name, updated_at) VALUES (:key, :name, :mark)", key=key, name=name, mark=mark
    )


def test_changes_ties_late_rows_and_soft_deletes_arrive(registry: SqlRegistry) -> None:
    day = 86400.0
    bulk = ago(registry, day)
    for i in range(10):
        put(registry, f"p{i}", bulk)
    settings = {**MARKED, "soft_delete": "deleted_at"}
    rows, cursor = registry.read(None, **settings)
    assert sorted(map(str, keys(rows))) == [f"p{i}" for i in range(10)]
    rows, cursor = registry.read(cursor, **settings)
    if registry.kind != "mariadb":
        assert rows == [], "a bulk update of yesterday is not read again"
    put(registry, "a-late", bulk)
    rows, cursor = registry.read(cursor, **settings)
    assert "a-late" in keys(rows), "one more row with the same microsecond"
    registry.do("UPDATE party SET deleted_at = :now, updated_at = :now WHERE id = 'p3'", now=ago(registry, 0))
    rows, cursor = registry.read(cursor, **settings)
    assert [row.deleted for row in rows if row.key == "p3"] == [True]


def test_row_that_changes_twice_within_the_marks_resolution_arrives_however_late_the_next_run(
    registry: SqlRegistry,
) -> None:
    mark = ago(registry, 0)
    put(registry, "p1", mark, "before")
    _, cursor = registry.read(None, **MARKED)
    put(registry, "p1", mark, "after")
    registry.clock = lambda: time.time() + 7200
    rows, _ = registry.read(cursor, **MARKED)
    assert [row.values["name"] for row in rows] == ["after"]


def test_mark_in_the_future_hides_nothing_that_is_written_before(registry: SqlRegistry) -> None:
    put(registry, "p1", ago(registry, 3600))
    put(registry, "poison", ago(registry, -30 * 86400))
    rows, cursor = registry.read(None, **MARKED)
    assert keys(rows) == ["p1", "poison"]
    put(registry, "p2", ago(registry, 0))
    rows, cursor = registry.read(cursor, **MARKED)
    assert "p2" in keys(rows)
    put(registry, "p3", ago(registry, 0))
    rows, _ = registry.read(cursor, **MARKED)
    assert "p3" in keys(rows)


def test_registry_whose_clock_is_behind_loses_nothing(registry: SqlRegistry) -> None:
    registry.clock = lambda: time.time() + 5 * 86400
    put(registry, "p1", ago(registry, 2))
    _, cursor = registry.read(None, **MARKED)
    put(registry, "p2", ago(registry, 1))
    rows, cursor = registry.read(cursor, **MARKED)
    assert "p2" in keys(rows)
    put(registry, "p3", ago(registry, 0))
    assert "p3" in keys(registry.read(cursor, **MARKED)[0])


def test_registry_whose_clock_is_set_back_loses_nothing(registry: SqlRegistry) -> None:
    """The first run sees a registry whose clock shows an hour more than the later ones."""
    put(registry, "p1", ago(registry, -3595))
    if registry.kind == "sqlite":  # a file has no clock: it is ours that was set back
        registry.clock = lambda: time.time() + 3600
        _, cursor = registry.read(None, **MARKED)
        registry.clock = time.time
    else:
        _, cursor = registry.read(None, **MARKED)
        ours, theirs, peak = cursor.state["clocks"]
        after = [ago(registry, -3595), "p1"]
        ahead = {"clocks": [ours, theirs + 3600, peak + 3600], "after": after, "window": -1}
        cursor = Cursor("sql", {**cursor.state, **ahead})
    put(registry, "p2", ago(registry, 0))
    rows, cursor = registry.read(cursor, **MARKED)
    assert "p2" in keys(rows)
    put(registry, "p3", ago(registry, 0))
    rows, _ = registry.read(cursor, **MARKED)
    assert "p3" in keys(rows), "also in the runs after, until the clock has caught up"


def test_run_goes_on_behind_any_row(registry: SqlRegistry) -> None:
    for i in range(9):
        put(registry, f"p{i}", ago(registry, 86400 - i // 4))
    for settings in (MARKED, {"fetch_size": 3}):
        parts = list(registry.source(**settings).read(None))
        rows = [part for part in parts if isinstance(part, Row)]
        assert len(rows) == 9
        for seen, row in enumerate(rows):
            rest, _ = registry.read(Cursor.decode(row.cursor.encode(), "sql"), **settings)
            assert {r.key for r in rows[seen + 1 :]} <= set(keys(rest))


def test_arrays_and_json_come_as_lists_or_as_json_text(sql_registry: SqlRegistry) -> None:
    kind = sql_registry.kind
    value = "ARRAY['S1','']" if kind == "postgresql" else """'["S1",""]'"""
    json_type = {"sqlite": "TEXT", "postgresql": "jsonb", "mariadb": "JSON"}[kind]
    sql_registry.do(
        f"CREATE TABLE party (id INTEGER PRIMARY KEY, serials {TEXT_ARRAY[kind]}, payload {json_type})",
        f"""INSERT INTO party VALUES (1, {value}, '[{{"n" : 1}}]')""".replace(":", r"\:"),
    )
    rows, _ = sql_registry.read(None)
    if kind == "postgresql":
        assert rows[0].values["serials"] == ["S1", ""]
        assert rows[0].values["payload"] == [{"n": 1}]
    else:
        assert rows[0].values["serials"] == '["S1",""]'


@pytest.mark.parametrize(
    ("columns", "key", "values"),
    [
        ("id INTEGER PRIMARY KEY", ["id"], ["(-2147483648)", "(7)", "(2147483647)"]),
        ("id VARCHAR(10) PRIMARY KEY", ["id"], ["('AE-DU')", "('GB')", "('UKCS')"]),
        ("a INTEGER, b VARCHAR(9), PRIMARY KEY (a, b)", ["a", "b"], ["(1, 'x/y')", "(1, 'z')", "(2, 'x')"]),
        ("id UUID", ["id"], [f"('{c * 8}-0000-4000-8000-000000000000')" for c in "19a"]),
    ],
    ids=["serial", "text", "composite", "uuid"],
)
def test_key_of_any_type_tells_rows_apart_and_is_a_place(
    sql_registry: SqlRegistry, columns: str, key: list[str], values: list[str]
) -> None:
    if sql_registry.kind == "sqlite":
        columns = columns.replace("UUID", "TEXT")
    sql_registry.do(f"CREATE TABLE party ({columns})", f"INSERT INTO party VALUES {', '.join(values)}")
    rows, _ = sql_registry.read(None, key=key, fetch_size=1)
    assert len({row.key for row in rows}) == 3
    rest, _ = sql_registry.read(Cursor.decode(rows[0].cursor.encode(), "sql"), key=key)
    assert keys(rest) == keys(rows)[1:]
    view = {"query": "SELECT * FROM party;", "key": key, "fetch_size": 2}
    assert keys(sql_registry.read(None, **view)[0]) == keys(rows)


def test_query_with_two_rows_of_one_key_is_told(registry: SqlRegistry) -> None:
    put(registry, "p1", ago(registry, 1))
    query = "SELECT id, name FROM party UNION ALL SELECT id, name FROM party"
    rows, _ = registry.read(None, query=query)
    assert [[fault.reason for fault in row.faults] for row in rows] == [[], ["KEY_DOUBLE"]]


def test_renamed_column_stops_the_run_with_its_nearest_name(registry: SqlRegistry) -> None:
    put(registry, "p1", ago(registry, 86400))
    source = registry.source(**MARKED, needed=["name"])
    parts = list(source.read(None))
    registry.do("ALTER TABLE party RENAME COLUMN name TO full_name")
    with pytest.raises(SchemaDriftError, match=r"name .*nearest: full_name"):
        next(source.read(parts[-1].cursor))
    registry.do("ALTER TABLE party RENAME COLUMN full_name TO name")
    registry.do("ALTER TABLE party RENAME COLUMN updated_at TO changed_at")
    with pytest.raises(SchemaDriftError, match=r"updated_at \(named by `watermark`.*nearest: changed_at"):
        next(source.read(parts[-1].cursor))


def test_column_whose_type_changed_is_warned_of(sql_registry: SqlRegistry) -> None:
    if sql_registry.kind == "sqlite":
        pytest.skip("SQLite has no types of columns that a driver could tell.")
    sql_registry.do(
        "CREATE TABLE party (id INTEGER PRIMARY KEY, serial_no VARCHAR(20))",
        "INSERT INTO party VALUES (1, '00012345')",
    )
    source = sql_registry.source()
    [_, last] = list(source.read(None))
    assert source.report.warnings == []
    using = " USING serial_no\\:\\:integer" if sql_registry.kind == "postgresql" else ""
    verb = "ALTER COLUMN serial_no TYPE" if sql_registry.kind == "postgresql" else "MODIFY serial_no"
    sql_registry.do(f"ALTER TABLE party {verb} INTEGER{using}")
    list(source.read(Cursor.decode(last.cursor.encode(), "sql")))
    assert source.report.warnings == [
        "Column serial_no was text and is integer now: see whether its values are still whole."
    ]


def test_look_up_finds_one_serial_and_never_more_than_its_limit(registry: SqlRegistry) -> None:
    from registry_adapters.sources.sql_settings import LookupSettings

    for i in range(5):
        put(registry, f"p{i}", ago(registry, 1), "SN'; DROP TABLE party; --" if i == 0 else "same")
    query = "SELECT id, name FROM party WHERE name = :value ORDER BY id;"
    source = registry.source(lookups={"serial": LookupSettings(query=query, limit=3)})
    assert source.lookup("serial", "SN'; DROP TABLE party; --") == [
        {"id": "p0", "name": "SN'; DROP TABLE party; --"}
    ]
    assert [found["id"] for found in source.lookup("serial", "same")] == ["p1", "p2", "p3"]
    assert source.lookup("serial", "absent") == []
    for kind, value in (("licence", "x"), ("serial", ""), ("serial", "x" * 300), ("serial", "a\0b")):
        with pytest.raises(SourceError) as raised:
            source.lookup(kind, value)
        assert raised.value.reason in ("LOOKUP_UNKNOWN", "LOOKUP_UNFIT")


def test_nothing_can_be_written_through_a_source(registry: SqlRegistry) -> None:
    from registry_adapters.sources.sql_settings import LookupSettings

    put(registry, "p1", ago(registry, 1))
    for statement in ("DELETE FROM party WHERE id = :value", "UPDATE party SET name = :value"):
        source = registry.source(lookups={"bad": LookupSettings(query=statement)})
        with pytest.raises(SourceError):
            source.lookup("bad", "p1")
    with registry.engine.connect() as conn:
        assert conn.execute(sa.text("SELECT name FROM party")).scalar_one() == "n"


def test_writer_is_never_kept_waiting(registry: SqlRegistry) -> None:
    """A run that stands in the middle holds no lock that a writer, or a change of the table, would wait for."""
    for i in range(60):
        put(registry, f"p{i:02d}", ago(registry, 86400 - i))
    impatient = {
        "sqlite": "PRAGMA busy_timeout = 0",
        "postgresql": "SET lock_timeout = '100ms'",
        "mariadb": "SET SESSION innodb_lock_wait_timeout = 1",
    }[registry.kind]
    for settings in (MARKED, {"fetch_size": 3}):
        parts = registry.source(**settings).read(None)
        next(parts)
        with registry.engine.begin() as conn:
            conn.execute(sa.text(impatient))
            conn.execute(sa.text("UPDATE party SET name = 'written while read'"))
            conn.execute(sa.text("DELETE FROM party WHERE id = 'p59'"))
        put(registry, "p59", ago(registry, 86400 - 59))
        rest = [part for part in parts if isinstance(part, Row)]
        assert {row.key for row in rest} >= {f"p{i:02d}" for i in range(1, 59)}


def test_milestones_let_a_run_without_rows_move_on(registry: SqlRegistry) -> None:
    put(registry, "p1", ago(registry, 86400))
    _, cursor = registry.read(None, **MARKED)
    parts = list(registry.source(**MARKED).read(cursor))
    assert isinstance(parts[-1], Milestone)
