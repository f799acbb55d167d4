"""Migrations: every database comes to the newest schema by the same steps, a new one as well as an old one.

- `migrate` runs in one write transaction: a step that fails leaves the database as it was.
- A database of a newer version of the node is refused, never touched.
- A new step is made by comparing tables and steps: `python -m node.store.migrations.make "what it is for"`.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from node.ops.errors import DiefError
from node.store.engine import Store

FOLDER = Path(__file__).parent


class SchemaTooNewError(DiefError):
    """The database was made by a newer version of the node."""

    default_reason = "SCHEMA_TOO_NEW"
    default_mend = "Start the version of the node that last used this database, or a newer one."


def config(connection: Connection) -> Config:
    """What Alembic needs to know; no file beside the package."""
    made = Config()
    made.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    made.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    made.attributes["connection"] = connection
    return made


def migrate(store: Store) -> None:
    """Bring a database to the newest schema; nothing happens where it is there already.

    Raises:
        SchemaTooNewError: The database knows a step that this version does not have.
    """
    with store.write() as connection:
        settings = config(connection)
        scripts = ScriptDirectory.from_config(settings)
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current == scripts.get_current_head():
            return
        if current is not None and not _known(scripts, current):
            raise SchemaTooNewError(f"The database has schema {current}, which this version does not know.")
        command.upgrade(settings, "head")


def _known(scripts: ScriptDirectory, revision: str) -> bool:
    try:
        return scripts.get_revision(revision) is not None
    except CommandError:
        return False
