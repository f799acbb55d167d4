"""SQL sources that follow a change table, an audit table or an outbox, and that compare keys, on each database."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from registry_adapters import Cursor, Milestone, Row
from registry_adapters.errors import SourceError
from tests.support.sql_registries import SqlRegistry, keys

CHANGES: dict[str, Any] = {
    "changes": {"table": "journal", "key": ["party_id"], "order": "n"},
    "fetch_size": 3,
}
MOMENT = {"sqlite": "TEXT", "postgresql": "timestamptz", "mariadb": "TIMESTAMP(6) NULL"}


@pytest.fixture
def registry(sql_registry: SqlRegistry) -> SqlRegistry:
    """A table `party` without any time of change, and a journal of the keys that changed."""
    kind = sql_registry.kind
    sql_registry.do(
        "CREATE TABLE party (id VARCHAR(40) PRIMARY KEY, name VARCHAR(200))",
        f"CREATE TABLE journal (n INTEGER PRIMARY KEY, party_id VARCHAR(40), op VARCHAR(10), at {MOMENT[kind]})",
    )
    return sql_registry


def put(registry: SqlRegistry, key: str, name: str = "n") -> None:
    registry.do("DELETE FROM party WHERE id = :key", key=key)
    registry.do("INSERT INTO party VALUES (:key, :name)", key=key, name=name)


def note(registry: SqlRegistry, number: int, key: str | None, op: str = "U") -> None:
    now = datetime.now(UTC)
    at: Any = now if registry.kind == "postgresql" else now.replace(tzinfo=None)
    if registry.kind == "sqlite":
        at = now.isoformat(sep=" ", timespec="microseconds")
    registry.do("INSERT INTO journal VALUES (:number, :key, :op, :at)", number=number, key=key, op=op, at=at)


def seen(rows: list[Row]) -> dict[str | None, Any]:
    return {row.key: "gone" if row.deleted else row.values["name"] for row in rows}


def test_all_rows_first_then_those_whose_keys_were_journalled(registry: SqlRegistry) -> None:
    note(registry, 1, "p0")
    for i in range(8):
        put(registry, f"p{i}")
    parts = list(registry.source(**CHANGES).read(None))
    assert keys(parts) == [f"p{i}" for i in range(8)]
    assert sum(isinstance(part, Milestone) and bool(part.completed_scan) for part in parts) == 1
    cursor = Cursor.decode(parts[-1].cursor.encode(), "sql")
    rows, cursor = registry.read(cursor, **CHANGES)
    assert rows == []
    for number in range(2, 8):
        put(registry, f"p{number}", "new")
        note(registry, number, f"p{number}")
    registry.do("DELETE FROM party WHERE id = 'p1'")
    note(registry, 8, "p1", "D")
    note(registry, 9, None)
    rows, cursor = registry.read(cursor, **CHANGES)
    assert seen(rows) == {**{f"p{i}": "new" for i in range(2, 8)}, "p1": "gone"}
    assert registry.read(cursor, **CHANGES)[0] == []


def test_number_that_commits_late_is_waited_for(registry: SqlRegistry) -> None:
    """Bug 16: numbers are taken at insert, not at commit."""
    put(registry, "early")
    put(registry, "late")
    note(registry, 10, "early")
    _, cursor = registry.read(None, **CHANGES)
    note(registry, 13, "early")
    rows, cursor = registry.read(cursor, **CHANGES)
    assert keys(rows) == ["early"]
    note(registry, 12, "late")
    rows, cursor = registry.read(cursor, **CHANGES)
    assert keys(rows) == ["late"], "number 12 appeared behind 13"
    note(registry, 11, "late")
    note(registry, 9, "late")
    rows, cursor = registry.read(cursor, **CHANGES)
    assert keys(rows) == ["late"], "also one that was in flight before the first run"
    assert registry.read(cursor, **CHANGES)[0] == []


def test_number_that_never_appears_is_given_up(registry: SqlRegistry) -> None:
    put(registry, "p1")
    note(registry, 1, "p1")
    note(registry, 3, "p1")
    _, cursor = registry.read(None, **CHANGES)
    assert [2, 2] in [gap[:2] for gap in cursor.state["changes"]["missing"]]
    registry.clock = lambda: time.time() + 3700
    _, cursor = registry.read(cursor, **CHANGES)
    assert cursor.state["changes"]["missing"] == []


def test_transaction_in_flight_on_postgresql_is_neither_waited_on_nor_lost(
    postgres_registry: SqlRegistry,
) -> None:
    """Bug 16 with two writers at the same time, one of them slow."""
    registry = postgres_registry
    registry.do(
        "CREATE TABLE party (id text PRIMARY KEY, name text)",
        "CREATE TABLE journal (n bigserial PRIMARY KEY, party_id text)",
        "INSERT INTO party VALUES ('slow', 'old'), ('fast', 'old')",
    )
    slow = registry.engine.connect()
    with slow.begin():
        slow.execute(sa.text("INSERT INTO journal (party_id) VALUES ('slow')"))
        slow.execute(sa.text("UPDATE party SET name = 'new' WHERE id = 'slow'"))
        registry.do(
            "INSERT INTO journal (party_id) VALUES ('fast')",
            "UPDATE party SET name = 'new' WHERE id = 'fast'",
        )
        rows, cursor = registry.read(None, **CHANGES)
        assert seen(rows) == {"slow": "old", "fast": "new"}
        rows, cursor = registry.read(cursor, **CHANGES)
        assert rows == []
    slow.close()
    rows, cursor = registry.read(cursor, **CHANGES)
    assert seen(rows) == {"slow": "new"}


def test_interrupted_run_hands_over_every_key_again_or_later(registry: SqlRegistry) -> None:
    for i in range(7):
        put(registry, f"p{i}")
    note(registry, 1, "p0")
    _, cursor = registry.read(None, **CHANGES)
    for i in range(7):
        put(registry, f"p{i}", "new")
        note(registry, 2 + i, f"p{i}")
    parts = list(registry.source(**CHANGES).read(cursor))
    for place, part in enumerate(parts):
        before = set(keys(parts[: place + 1]))
        rest, _ = registry.read(Cursor.decode(part.cursor.encode(), "sql"), **CHANGES)
        assert before | set(keys(rest)) == {f"p{i}" for i in range(7)}


def test_interrupted_first_load_goes_on_and_forgets_no_change(registry: SqlRegistry) -> None:
    for i in range(7):
        put(registry, f"p{i}")
    note(registry, 1, "p0")
    parts = registry.source(**CHANGES).read(None)
    for _ in range(4):
        part = next(parts)
    parts.close()  # type: ignore[attr-defined]
    put(registry, "p0", "new")
    note(registry, 2, "p0")
    rest, _ = registry.read(Cursor.decode(part.cursor.encode(), "sql"), **CHANGES)
    assert seen(rest) == {"p4": "n", "p5": "n", "p6": "n", "p0": "new"}


def test_empty_journal_is_followed_from_its_first_entry(registry: SqlRegistry) -> None:
    put(registry, "p1")
    _, cursor = registry.read(None, **CHANGES)
    _, cursor = registry.read(cursor, **CHANGES)
    put(registry, "p1", "new")
    note(registry, 500, "p1")
    rows, cursor = registry.read(cursor, **CHANGES)
    assert seen(rows) == {"p1": "new"}
    note(registry, 499, "p1")
    assert keys(registry.read(cursor, **CHANGES)[0]) == ["p1"]


def test_audit_table_ordered_by_a_moment_is_followed_with_overlap(registry: SqlRegistry) -> None:
    audit = {"changes": {"query": "SELECT at, party_id FROM journal", "key": ["party_id"], "order": "at"}}
    put(registry, "p1")
    put(registry, "p2")
    note(registry, 1, "p1")
    _, cursor = registry.read(None, **audit)
    put(registry, "p2", "new")
    note(registry, 2, "p2")
    rows, cursor = registry.read(cursor, **audit)
    assert seen(rows)["p2"] == "new"
    registry.do("DELETE FROM party WHERE id = 'p2'")
    note(registry, 3, "p2")
    rows, cursor = registry.read(cursor, **audit)
    assert seen(rows)["p2"] == "gone"


def test_outbox_that_calls_a_kept_row_deleted_is_believed_until_a_newer_entry(registry: SqlRegistry) -> None:
    outbox = {"changes": {**CHANGES["changes"], "operation": "op", "deletes": ["D"]}}
    put(registry, "p1")
    put(registry, "p2")
    note(registry, 1, "p1")
    _, cursor = registry.read(None, **outbox)
    note(registry, 2, "p1", "D")
    note(registry, 3, "p2", "D")
    note(registry, 4, "p2", "I")
    rows, cursor = registry.read(cursor, **outbox)
    assert seen(rows) == {"p1": "gone", "p2": "n"}


def test_key_that_the_journal_spells_otherwise_is_no_deletion(postgres_registry: SqlRegistry) -> None:
    registry = postgres_registry
    one = "aaaaaaaa-0000-4000-8000-000000000001"
    registry.do(
        "CREATE TABLE party (id uuid PRIMARY KEY, name text)",
        "CREATE TABLE journal (n int PRIMARY KEY, party_id text)",
        f"INSERT INTO party VALUES ('{one}', 'n')",
        "INSERT INTO journal VALUES (10, NULL)",
    )
    _, cursor = registry.read(None, **CHANGES)
    registry.do("INSERT INTO journal VALUES (11, 'not a uuid')")
    registry.do(f"INSERT INTO journal VALUES (12, ' {{{one.upper()}}} ')")
    rows, _ = registry.read(cursor, **CHANGES)
    assert seen(rows) == {one: "n"}


# -- Comparison of keys


COMPARED: dict[str, Any] = {
    "watermark": "updated_at",
    "overlap_seconds": 1,
    "fetch_size": 3,
    "compare_every": "24h",
}


@pytest.fixture
def marked(sql_registry: SqlRegistry) -> SqlRegistry:
    """Thirty parties whose marks are numbers: nothing late is found by them."""
    sql_registry.do("CREATE TABLE party (id VARCHAR(40) PRIMARY KEY, name VARCHAR(200), updated_at INTEGER)")
    for i in range(30):
        sql_registry.do(f"INSERT INTO party VALUES ('p{i:02d}', 'n', {100 + i})")
    return sql_registry


def days(registry: SqlRegistry, count: float) -> None:
    later = time.time() + count * 86400
    registry.clock = lambda: later


def first_comparison(registry: SqlRegistry) -> Cursor:
    """The first comparison knows nothing: it shows every row once."""
    _, cursor = registry.read(None, **COMPARED)
    days(registry, 1.1)
    rows, cursor = registry.read(cursor, **COMPARED)
    assert {row.key for row in rows} == {f"p{i:02d}" for i in range(30)}
    return cursor


def test_comparison_finds_what_committed_late_and_what_vanished(marked: SqlRegistry) -> None:
    cursor = first_comparison(marked)
    marked.do("INSERT INTO party VALUES ('late', 'n', 50)", "DELETE FROM party WHERE id = 'p07'")
    marked.do("UPDATE party SET updated_at = 60 WHERE id = 'p03'")
    days(marked, 2)
    rows, cursor = marked.read(cursor, **COMPARED)
    assert {row.key for row in rows} <= {"p29"}, "not due yet: only the newest mark is read again"
    days(marked, 2.2)
    rows, cursor = marked.read(cursor, **COMPARED)
    assert seen(rows) | {"p29": "n"} == {"late": "n", "p03": "n", "p07": "gone", "p29": "n"}
    days(marked, 3.3)
    rows, _ = marked.read(cursor, **COMPARED)
    assert {row.key for row in rows} <= {"p29"}


def test_interrupted_comparison_goes_on_and_finds_the_same(marked: SqlRegistry) -> None:
    cursor = first_comparison(marked)
    late = [f"a{i}" for i in range(5)] + [f"z{i}" for i in range(5)]
    for key in late:
        marked.do(f"INSERT INTO party VALUES ('{key}', 'n', 1)")
    marked.do("DELETE FROM party WHERE id IN ('p00', 'p28')")
    days(marked, 2.2)
    found: set[str | None] = set()
    for stop in (7, 1, 9, 4, 1000):
        parts = marked.source(**COMPARED).read(cursor)
        for place, part in enumerate(parts):
            found.update(keys([part]))
            cursor = Cursor.decode(part.cursor.encode(), "sql") or cursor
            if place == stop:
                break
        parts.close()  # type: ignore[attr-defined]
    assert found - {"p29"} == {*late, "p00", "p28"}
    assert "comparing" not in cursor.state


def test_comparison_that_misses_most_keys_tells_nothing_as_deleted(marked: SqlRegistry) -> None:
    cursor = first_comparison(marked)
    marked.do("DELETE FROM party WHERE id <> 'p29'")
    days(marked, 2.2)
    with pytest.raises(SourceError) as raised:
        list(marked.source(**COMPARED).read(cursor))
    assert raised.value.reason == "VANISHED_TOO_MANY"
    rows = [
        part for part in marked.source(**COMPARED, accept_vanished=True).read(cursor) if isinstance(part, Row)
    ]
    assert sum(row.deleted for row in rows) == 29


def test_lost_folder_costs_a_reading_and_loses_nothing(marked: SqlRegistry) -> None:
    cursor = first_comparison(marked)
    (marked.folder / "state" / "keys.db").unlink()
    marked.do("INSERT INTO party VALUES ('late', 'n', 50)")
    days(marked, 2.2)
    rows, _ = marked.read(cursor, **COMPARED)
    assert {row.key for row in rows} == {"late", *(f"p{i:02d}" for i in range(30))}
