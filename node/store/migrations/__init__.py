"""Migrations: every database comes to the newest schema by the same steps, a new one as well as an old one.

- `migrate` runs in one write transaction: a step that fails leaves the database as it was.
- A database of a newer version of the node is refused, never touched.
- Alembic is imported only where there is something to do: it would be a tenth of every start.
- A new step is made by comparing tables and steps: `python -m node.store.migrations.make "what it is for"`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from node.ops.errors import DiefError
from node.store.engine import Store

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

FOLDER = Path(__file__).parent


class SchemaTooNewError(DiefError):
    """The database was made by a newer version of the node."""

    default_reason = "SCHEMA_TOO_NEW"
    default_mend = "Start the version of the node that last used this database, or a newer one."


def config(connection: Connection) -> Config:
    """What Alembic needs to know; no file beside the package."""
    from alembic.config import Config

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
        current = _current(connection)
        if current is not None and current == newest():
            return
        from alembic import command
        from alembic.script import ScriptDirectory

        settings = config(connection)
        scripts = ScriptDirectory.from_config(settings)
        if current is not None and not _known(scripts, current):
            raise SchemaTooNewError(f"The database has schema {current}, which this version does not know.")
        command.upgrade(settings, "head")


def newest() -> str:
    """Revision of the newest step: its file's name begins with it."""
    return max(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))


def _current(connection: Connection) -> str | None:
    """Revision that a database is at, as Alembic notes it; None where it was never migrated."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return str(found[0]) if len(found) == 1 else None


def _known(scripts: ScriptDirectory, revision: str) -> bool:
    from alembic.util import CommandError

    try:
        return scripts.get_revision(revision) is not None
    except CommandError:
        return False
