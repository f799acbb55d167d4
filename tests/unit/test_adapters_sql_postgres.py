"""The SQL source on a real PostgreSQL server: typed columns, arrays, server-side cursor, nothing written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from registry_adapters import Cursor, Row
from registry_adapters.errors import SourceError
from registry_adapters.sources.sql import SqlSource
from registry_adapters.sources.sql_settings import SqlSettings
from tests.support.postgres import Cluster


@pytest.fixture
def registry(postgres_cluster: Cluster) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres_cluster.database(migrated=False))
    with engine.begin() as conn:
        conn.execute(
            sa.text(
                "CREATE TABLE firearm (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), serials text[], payload jsonb,"
                " updated_at timestamptz NOT NULL DEFAULT now() - interval '1 day', deleted_at timestamptz)"
            )
        )
        conn.execute(
            sa.text(
                "INSERT INTO firearm (serials, payload)"
                " SELECT ARRAY['S' || i, ''], jsonb_build_array(jsonb_build_object('n', i))"
                " FROM generate_series(1, 500) i"
            )
        )
    yield engine
    engine.dispose()


def rows(engine: sa.Engine, cursor: Cursor | None, **settings: Any) -> tuple[list[Row], Cursor | None]:
    given = {
        "kind": "sql",
        "url": engine.url.render_as_string(hide_password=False),
        "table": "firearm",
        "key": ["id"],
        "fetch_size": 100,
        **settings,
    }
    if "query" in given:
        del given["table"]
    checked = SqlSettings.model_validate(given)
    source = SqlSource(checked, checked.url or "")
    try:
        parts = list(source.read(cursor))
    finally:
        source.close()
    last = Cursor.decode(parts[-1].cursor.encode(), "sql") if parts else cursor
    return [part for part in parts if isinstance(part, Row)], last


def test_typed_rows_come_incrementally_with_ties_and_late_rows(registry: sa.Engine) -> None:
    marked = {"watermark": "updated_at", "soft_delete": "deleted_at"}
    first, cursor = rows(registry, None, **marked)
    assert len(first) == len({row.key for row in first}) == 500
    assert isinstance(first[0].values["serials"], list), "arrays are lists"
    again, cursor = rows(registry, cursor, **marked)
    assert again == [], "500 rows of one mark are not read again"
    with registry.begin() as conn:
        conn.execute(
            sa.text(
                "INSERT INTO firearm (id, updated_at)"
                " SELECT '00000000-0000-0000-0000-000000000001', max(updated_at) FROM firearm"
            )
        )
    late, cursor = rows(registry, cursor, **marked)
    assert "00000000-0000-0000-0000-000000000001" in {row.key for row in late}
    with registry.begin() as conn:
        conn.execute(
            sa.text("UPDATE firearm SET deleted_at = now(), updated_at = now() WHERE serials[1] = 'S7'")
        )
    gone, _ = rows(registry, cursor, **marked)
    assert [row.deleted for row in gone if row.values["serials"] == ["S7", ""]] == [True]


def test_complete_pass_over_a_query_resumes_at_its_key(registry: sa.Engine) -> None:
    query = {"query": "SELECT f.id, f.serials FROM firearm f WHERE f.deleted_at IS NULL;"}
    whole, _ = rows(registry, None, **query)
    rest, _ = rows(registry, Cursor.decode(whole[199].cursor.encode(), "sql"), **query)
    assert [row.key for row in rest] == [row.key for row in whole[200:]]
    assert {row.scan for row in rest} == {whole[0].scan}


def test_query_that_writes_is_refused_by_the_database(registry: sa.Engine) -> None:
    with registry.begin() as conn:
        conn.execute(
            sa.text(
                "CREATE FUNCTION sly() RETURNS int LANGUAGE sql AS 'DELETE FROM firearm; SELECT 1' VOLATILE"
            )
        )
    with pytest.raises(SourceError):
        rows(registry, None, query="SELECT sly() AS id")
    with registry.connect() as conn:
        assert conn.execute(sa.text("SELECT count(*) FROM firearm")).scalar_one() == 500
