"""The store keeps its promises on SQLite and on PostgreSQL alike."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError

from node.store.engine import Store, after_commit, bulk_insert
from node.store.tables import table
from node.store.tables.ledger import Entry, Subtree
from tests.support.databases import Databases

ENTRY = table(Entry)
SUBTREE = table(Subtree)
BYTES = bytes(range(256))


def test_bytes_come_back_as_the_bytes_they_were(databases: Databases) -> None:
    store = databases.open()
    with store.write() as conn:
        conn.execute(insert(ENTRY).values(id=1 << 41, header=BYTES, salt=None, body=b""))
    with store.read() as conn:
        row = conn.execute(select(ENTRY)).one()
    assert (row.id, row.header, row.salt, row.body) == (1 << 41, BYTES, None, b"")
    assert type(row.header) is bytes


def test_many_rows_go_in_by_one_call_with_reserved_column_names(databases: Databases) -> None:
    store = databases.open()
    with store.write() as conn:
        bulk_insert(
            conn,
            SUBTREE,
            ("log_pk", "level", "index", "hash"),
            [(1, 8, index, bytes([index]) * 32) for index in range(200)],
        )
        bulk_insert(conn, SUBTREE, ("log_pk", "level", "index", "hash"), [])
    with store.read() as conn:
        assert conn.execute(select(func.count()).select_from(SUBTREE)).scalar_one() == 200


def test_a_write_that_raises_leaves_nothing_and_runs_no_action(databases: Databases) -> None:
    store = databases.open()
    done: list[str] = []

    def failing() -> None:
        with store.write() as conn:
            conn.execute(insert(ENTRY).values(id=1, header=b"h"))
            after_commit(conn, lambda: done.append("never"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    with store.write() as conn:
        assert conn.execute(select(ENTRY.c.id)).first() is None
        after_commit(conn, lambda: done.append("committed"))
        assert done == []
    assert done == ["committed"]


def test_a_reader_sees_one_snapshot_and_can_not_write(databases: Databases) -> None:
    store = databases.open()
    with store.read() as conn:
        assert conn.execute(select(func.count()).select_from(ENTRY)).scalar_one() == 0
        with store.write() as writing:
            writing.execute(insert(ENTRY).values(id=1, header=b"h"))
        assert conn.execute(select(func.count()).select_from(ENTRY)).scalar_one() == 0
    with pytest.raises(DBAPIError), store.read() as conn:
        conn.execute(insert(ENTRY).values(id=2, header=b"h"))


def test_two_processes_sharing_a_database_write_in_turn(databases: Databases) -> None:
    """Each transaction reads the highest key and adds one: without turns, keys collide or are lost."""
    url = databases.url()
    stores = [databases.open(url), databases.open(url)]

    def count_up(store: Store) -> None:
        for _ in range(20):
            with store.write() as conn:
                highest = conn.execute(select(func.max(ENTRY.c.id))).scalar_one() or 0
                conn.execute(insert(ENTRY).values(id=highest + 1, header=b"h"))

    threads = [threading.Thread(target=count_up, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with stores[0].read() as conn:
        assert conn.execute(select(func.max(ENTRY.c.id))).scalar_one() == 40


async def test_work_runs_on_the_writers_thread_and_on_readers_threads(databases: Databases) -> None:
    store = databases.open()
    await store.run_write(lambda conn: conn.execute(insert(ENTRY).values(id=7, header=b"h")))
    assert await store.run_read(lambda conn: conn.execute(select(ENTRY.c.id)).scalar_one()) == 7
    assert await store.run_write(lambda _: threading.current_thread().name) == "store-writer_0"


def test_a_commit_is_on_disk_when_it_returns_whatever_the_server_is_set_to(databases: Databases) -> None:
    """I5."""
    store = databases.open()
    with store.write() as conn:
        if store.sqlite:
            assert conn.execute(text("PRAGMA synchronous")).scalar_one() == 2
            assert conn.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        else:
            assert conn.execute(text("SHOW synchronous_commit")).scalar_one() == "on"


def test_i6_erased_bytes_leave_the_files(sqlite_databases: Databases, tmp_path: Path) -> None:
    store = sqlite_databases.open()
    secret = b"serial number EA00000001" * 50
    with store.write() as conn:
        conn.execute(insert(ENTRY).values(id=1, header=b"h", salt=None, body=secret))
    assert store.scrub()
    assert any(secret[:24] in path.read_bytes() for path in tmp_path.glob("1.db*"))
    with store.write() as conn:
        conn.execute(ENTRY.update().values(body=None))
    assert store.scrub()
    assert not any(secret[:24] in path.read_bytes() for path in tmp_path.glob("1.db*"))


def test_scrubbing_waits_for_no_reader_for_ever(
    sqlite_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.store.engine.SCRUB_ATTEMPTS", 2)
    store = sqlite_databases.open()
    with store.read() as reading:
        reading.execute(select(ENTRY)).all()
        with store.write() as conn:
            conn.execute(insert(ENTRY).values(id=1, header=b"h"))
        assert not store.scrub()
    assert store.scrub()
    store.release_memory()


def test_a_postgresql_url_needs_no_driver(databases: Databases) -> None:
    store = databases.open()
    assert store.url.drivername in ("sqlite", "postgresql+psycopg")
    assert store.scrub()
    store.release_memory()


def test_create_all_makes_every_table(databases: Databases) -> None:
    store = databases.open(databases.url(migrated=False))
    store.create_all()
    store.create_all()
    with store.read() as conn:
        for name in ("log", "entry", "alert", "audit", "roster", "peer"):
            assert conn.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() == 0
