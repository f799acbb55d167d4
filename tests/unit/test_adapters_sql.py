"""Rows of databases: incremental, complete, late, deleted, undecodable."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from registry_adapters import Cursor, Milestone, Row
from registry_adapters.errors import CursorError, SchemaDriftError, SourceError
from registry_adapters.keys import join_key
from registry_adapters.sources.sql import SqlSource
from registry_adapters.sources.sql_engine import open_engine
from registry_adapters.sources.sql_marks import less_seconds, moment_of, slack_of, tick_of
from registry_adapters.sources.sql_settings import SqlSettings

NOW = datetime(2026, 3, 2, 10, 1, tzinfo=UTC).timestamp()


class Registry:
    """A table `party(id, name, updated_at)` and a clock."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "registry.sqlite"
        self.now = NOW
        with self.database() as database:
            database.execute(
                "CREATE TABLE party (id TEXT PRIMARY KEY, name, updated_at TEXT, deleted_at TEXT)"
            )

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.file)) as database, database:
            yield database

    def put(self, key: str | None, mark: str | None, name: Any = "n", deleted: str | None = None) -> None:
        with self.database() as database:
            database.execute("INSERT OR REPLACE INTO party VALUES (?, ?, ?, ?)", (key, name, mark, deleted))

    def source(self, **settings: Any) -> SqlSource:
        given = {"kind": "sql", "url": f"sqlite:///{self.file}", "table": "party", "key": ["id"], **settings}
        if "query" in given:
            del given["table"]
        checked = SqlSettings.model_validate(given)
        return SqlSource(checked, checked.address(self.file.parent), lambda: self.now)

    def read(self, cursor: Cursor | None, **settings: Any) -> tuple[list[str | None], Cursor]:
        parts = list(self.source(**settings).read(cursor))
        keys = [part.key for part in parts if isinstance(part, Row)]
        last = Cursor.decode(parts[-1].cursor.encode(), "sql") if parts else cursor
        assert last is not None
        return keys, last


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


MARKED = {"watermark": "updated_at", "overlap_seconds": 60, "fetch_size": 3}
T = "2026-03-02 10:00:{:02d}.000000"


def test_incremental_run_reads_what_changed(registry: Registry) -> None:
    for i in range(10):
        registry.put(f"p{i}", T.format(i))
    keys, cursor = registry.read(None, **MARKED)
    assert keys == [f"p{i}" for i in range(10)]
    registry.now += 62
    keys, cursor = registry.read(cursor, **MARKED)
    assert keys == [f"p{i}" for i in range(10)], "once more, behind the overlap"
    registry.put("p3", "2026-03-02 11:00:00.000000")
    assert registry.read(cursor, **MARKED)[0] == ["p3"]


def test_bulk_update_of_one_mark_is_not_read_again_and_a_late_tie_arrives(registry: Registry) -> None:
    for i in range(200):
        registry.put(f"p{i:03d}", T.format(0))
    keys, cursor = registry.read(None, **MARKED)
    assert len(keys) == 200
    registry.now += 62
    keys, cursor = registry.read(cursor, **MARKED)
    assert len(keys) == 200, (
        "once more, behind the overlap: until then a row could change within the same tick"
    )
    keys, cursor = registry.read(cursor, **MARKED)
    assert keys == []
    registry.put("a-late", T.format(0))
    keys, cursor = registry.read(cursor, **MARKED)
    assert "a-late" in keys, "although its key lies before the last one"
    registry.now += 61
    assert registry.read(cursor, **MARKED)[0] == []


def test_row_that_commits_late_inside_the_overlap_is_found(registry: Registry) -> None:
    registry.put("p1", T.format(30))
    _, cursor = registry.read(None, **MARKED)
    registry.put("p0", T.format(10))
    assert "p0" in registry.read(cursor, **MARKED)[0]


def test_row_that_changes_twice_within_one_tick_is_read_again_inside_the_overlap(registry: Registry) -> None:
    registry.put("p1", T.format(30), "before")
    _, cursor = registry.read(None, **MARKED)
    registry.put("p1", T.format(30), "after")
    [row] = [part for part in registry.source(**MARKED).read(cursor) if isinstance(part, Row)]
    assert row.values["name"] == "after"


def test_run_can_go_on_after_any_row(registry: Registry) -> None:
    for i in range(10):
        registry.put(f"p{i}", T.format(i // 4))
    for settings in (MARKED, {"fetch_size": 3}):
        parts = list(registry.source(**settings).read(None))
        rows = [part for part in parts if isinstance(part, Row)]
        for seen, row in enumerate(rows):
            rest, _ = registry.read(Cursor.decode(row.cursor.encode(), "sql"), **settings)
            assert {r.key for r in rows[seen + 1 :]} <= set(rest)


def test_rows_without_watermark_or_key_are_never_lost(registry: Registry) -> None:
    registry.put("p1", None)
    registry.put(None, T.format(1))
    parts = [part for part in registry.source(**MARKED).read(None) if isinstance(part, Row)]
    assert {part.key for part in parts} == {"p1", None}
    assert [part.faults[0].reason for part in parts if part.key is None] == ["KEY_MISSING"]


def test_soft_deleted_rows_are_marked(registry: Registry) -> None:
    registry.put("p1", T.format(1), deleted=T.format(2))
    registry.put("p2", T.format(1))
    parts = registry.source(soft_delete="deleted_at", **MARKED).read(None)
    assert [(part.key, part.deleted) for part in parts if isinstance(part, Row)] == [
        ("p1", True),
        ("p2", False),
    ]


def test_complete_pass_has_a_name_and_an_end(registry: Registry) -> None:
    registry.put("p1", None)
    parts = list(registry.source().read(None))
    assert isinstance(parts[0], Row)
    assert isinstance(parts[-1], Milestone)
    assert parts[0].scan == parts[-1].completed_scan != ""


def test_undecodable_text_costs_its_row_only(registry: Registry) -> None:
    with registry.database() as database:
        database.execute("INSERT INTO party VALUES ('p1', CAST(x'53e36f' AS TEXT), NULL, NULL)")
    registry.put("p2", None)
    parts = [part for part in registry.source().read(None) if isinstance(part, Row)]
    assert parts[0].values["name"] == "S\udce3o"
    assert parts[1].key == "p2"


def test_nothing_can_be_written_and_no_file_is_made(registry: Registry, tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{registry.file}", {})
    with engine.connect() as conn, pytest.raises(sa.exc.OperationalError):
        conn.execute(sa.text("DELETE FROM party"))
    with pytest.raises(SourceError):
        open_engine(f"sqlite:///{tmp_path / 'absent.sqlite'}", {})
    assert not (tmp_path / "absent.sqlite").exists()
    registry.file.chmod(stat.S_IRUSR)
    registry.read(None)


def test_writer_is_not_kept_waiting_between_pages(registry: Registry) -> None:
    for i in range(9):
        registry.put(f"p{i}", T.format(i))
    parts = registry.source(**MARKED).read(None)
    next(parts)
    with closing(sqlite3.connect(registry.file, timeout=0)) as database, database:
        database.execute("UPDATE party SET name = 'written while read' WHERE id = 'p8'")
    [last] = [part for part in parts if isinstance(part, Row) and part.key == "p8"]
    assert last.values["name"] == "written while read"


def test_query_with_a_join_is_a_source(registry: Registry) -> None:
    registry.put("p1", T.format(1))
    query = "SELECT p.id AS id, q.name AS other FROM party p JOIN party q ON q.id = p.id;"
    [row] = [part for part in registry.source(query=query).read(None) if isinstance(part, Row)]
    assert row.values == {"id": "p1", "other": "n"}


def test_missing_column_and_unreachable_database_are_told_without_secrets(registry: Registry) -> None:
    with pytest.raises(SchemaDriftError, match="changed_at"):
        registry.source(watermark="changed_at").columns()
    with pytest.raises(SourceError) as raised:
        registry.source(query="SELECT nonsense FROM nowhere").columns()
    assert "nonsense" not in str(raised.value)
    with pytest.raises(SourceError) as raised:
        open_engine("oracle+absent://user:secret@host/db", {})
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("mark", "moved"),
    [
        ("2026-03-02 10:00:00", "2026-03-02 09:59:00"),
        ("2026-03-02T10:00:00.500000", "2026-03-02T09:59:00.500000"),
        ("2026-03-02T10:00:00Z", "2026-03-02T09:59:00Z"),
        (datetime(2026, 3, 2, 10), datetime(2026, 3, 2, 9, 59)),  # noqa: DTZ001 - as drivers give it
        ("2026-03-02", "2026-03-01"),
        (date(2026, 3, 2), date(2026, 3, 1)),
        (42, 42),
        ("not a date at all, but long", "not a date at all, but long"),
    ],
)
def test_watermark_moves_back_in_its_own_form(mark: Any, moved: Any) -> None:
    assert less_seconds(mark, 60) == moved


def test_keys_of_several_columns_stay_apart() -> None:
    assert join_key(["a/b", "c"]) != join_key(["a", "b/c"])
    assert join_key(["IMA/2026/00017/1"]) == "IMA/2026/00017/1"


@pytest.mark.parametrize(
    "data", [b"garbage", b"{}", b'{"v":2,"kind":"sql","state":{}}', b'{"v":1,"kind":"csv","state":{}}']
)
def test_foreign_cursor_is_refused(data: bytes) -> None:
    with pytest.raises(CursorError):
        Cursor.decode(data, "sql")


@pytest.mark.parametrize(
    ("mark", "tick", "slack"),
    [
        (datetime(2026, 3, 2, 10, tzinfo=UTC), 1, 0),
        (datetime(2026, 3, 2, 10, 0, 0, 5, tzinfo=UTC), 0, 0),
        (datetime(2026, 3, 2, 10), 1, 50400),  # noqa: DTZ001 - as drivers give it
        (date(2026, 3, 2), 86400, 50400),
        ("2026-03-02", 86400, 50400),
        ("2026-03-02T10:00:00Z", 1, 0),
        ("2026-03-02 10:00:00.000000+02:00", 0, 0),
        ("2026-03-02 10:00:00", 1, 50400),
    ],
)
def test_mark_has_a_tick_and_a_zone_or_none(mark: Any, tick: float, slack: float) -> None:
    assert (tick_of(mark), slack_of(mark)) == (tick, slack)
    moment = moment_of(mark)
    assert moment is not None
    assert (
        datetime(2026, 3, 2, 8, tzinfo=UTC).timestamp()
        <= moment
        <= datetime(2026, 3, 3, tzinfo=UTC).timestamp()
    )


def test_mark_that_is_no_time_has_no_moment() -> None:
    assert [moment_of(mark) for mark in (7, "v7", None, b"\x01")] == [None] * 4


def test_day_as_watermark_is_read_again_until_the_day_is_over(registry: Registry) -> None:
    settings = {"watermark": "updated_at", "overlap_seconds": 60}
    registry.put("p1", "2026-03-02", "before")
    _, cursor = registry.read(None, **settings)
    registry.now += 3600
    _, cursor = registry.read(cursor, **settings)
    registry.put("p1", "2026-03-02", "after")
    registry.now += 3600
    [row] = [part for part in registry.source(**settings).read(cursor) if isinstance(part, Row)]
    assert row.values["name"] == "after"
