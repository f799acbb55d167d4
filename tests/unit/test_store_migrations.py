"""Migrations lead every database to exactly the tables that the code has."""

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from node.store.migrations import SchemaTooNewError, config, migrate, newest
from node.store.tables import all_tables
from tests.support.databases import Databases


def test_the_steps_lead_to_the_tables_of_the_code(databases: Databases) -> None:
    store = databases.open(databases.url(migrated=False))
    migrate(store)
    with store.write() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, all_tables()) == [], "mend: python -m node.store.migrations.make"


def test_migrating_again_changes_nothing(databases: Databases) -> None:
    store = databases.open()
    with store.write() as conn:
        before = MigrationContext.configure(conn).get_current_revision()
    migrate(store)
    with store.write() as conn:
        assert MigrationContext.configure(conn).get_current_revision() == before
        assert before == ScriptDirectory.from_config(config(conn)).get_current_head() == newest()


def test_a_start_that_has_nothing_to_migrate_does_without_alembic(sqlite_databases: Databases) -> None:
    """A tenth of a node's start: it is loaded where there is a step to take."""
    url = sqlite_databases.url()
    code = (
        "import sys; from node.store.engine import Store; from node.store.migrations import migrate;"
        f"store = Store.open({url!r}); migrate(store); store.close(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_database_of_a_newer_version_is_refused_untouched(databases: Databases) -> None:
    store = databases.open()
    with store.write() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaTooNewError) as refused:
        migrate(store)
    assert refused.value.reason == "SCHEMA_TOO_NEW"
    with store.read() as conn:
        assert conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"


def test_a_step_that_fails_leaves_the_database_as_it_was(databases: Databases) -> None:
    store = databases.open(databases.url(migrated=False))
    with store.write() as conn:
        conn.execute(text("CREATE TABLE subtree (id INTEGER)"))
    with pytest.raises(Exception, match="subtree"):
        migrate(store)
    with store.write() as conn:
        assert inspect(conn).get_table_names() == ["subtree"]
