"""Make the next step by comparing the tables with what the steps so far lead to.

    python -m node.store.migrations.make "expiry of hits"

Read what it wrote before you commit it: renames look like a drop and an add.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from node.store.engine import Store
from node.store.migrations import config, migrate
from node.store.tables import all_tables


def make(message: str) -> Path | None:
    """Write the next step into `versions/`.

    Args:
        message: What the step is for, in a few words; becomes part of the file's name.

    Returns:
        The new file, formatted, or None where tables and steps agree.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"sqlite:///{folder}/steps.db")
        try:
            with store.write() as connection:
                settings = config(connection)
                scripts = ScriptDirectory.from_config(settings)
                steps = list(scripts.walk_revisions())
            if steps:
                migrate(store)
            with store.write() as connection:
                context = MigrationContext.configure(connection, opts={"compare_type": True})
                if not compare_metadata(context, all_tables()):
                    return None
                made = command.revision(
                    config(connection), message, autogenerate=True, rev_id=f"{len(steps) + 1:04d}"
                )
        finally:
            store.close()
    if made is None or isinstance(made, list):
        raise RuntimeError("Alembic made no single step")
    path = Path(made.path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(
        "".join(line for line in lines if not line.lstrip().startswith("# ###")), encoding="utf-8"
    )
    for tidy in (["check", "--fix", "--quiet"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *tidy, str(path)], check=True)
    return path


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the next migration step.")
    parser.add_argument("message", help="what the step is for, in a few words")
    path = make(parser.parse_args().message)
    sys.stdout.write("Tables and steps agree.\n" if path is None else f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
