"""A MariaDB server of the tests' own, from the system's binaries.

- One server a session, on a Unix socket in a folder of its own; nothing listens on the network.
- MariaDB should not run as root: then it runs as `nobody`. Where that can not be, or where no server is installed
  (Debian: mariadb-server-core and mariadb-client-core), the tests say so and skip.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import until

_PLACES = ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec")


class MariaDb:
    """One running server; `database` makes an empty database in it."""

    def __init__(self) -> None:
        """Start it.

        Raises:
            pytest.skip.Exception: It can not run here; the message says why.
        """
        if find_spec("pymysql") is None:
            pytest.skip("The package PyMySQL is not installed: MariaDB is not tested.")
        server, install = _program("mariadbd", "mysqld"), _program("mariadb-install-db", "mysql_install_db")
        user = _unprivileged()
        # A socket's path has at most 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="dief-my-", dir="/tmp"))
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
                *(install, "--no-defaults", f"--datadir={data}", f"--tmpdir={self._folder}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
            ],
            capture_output=True,
            text=True,
            check=False,
            **common,
        )
        if made.returncode != 0:
            shutil.rmtree(self._folder, ignore_errors=True)
            pytest.skip(
                f"MariaDB can not make its tables here: {(made.stderr or made.stdout).strip()[-300:]}"
            )
        self._command = [
            *(server, "--no-defaults", f"--datadir={data}", f"--tmpdir={self._folder}"),
            *(f"--socket={self.socket}", "--skip-networking", "--innodb-flush-log-at-trx-commit=0"),
            *("--innodb-buffer-pool-size=64M", "--max-connections=100"),
        ]
        self._common = common
        self._made = 0
        self._start()

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._folder / "sock"

    def url(self, database: str) -> str:
        """SQLAlchemy URL of a database."""
        return f"mariadb+pymysql://root@localhost/{database}?unix_socket={self.socket}&charset=utf8mb4"

    def database(self) -> str:
        """URL of a new, empty database."""
        self._made += 1
        name = f"test_{self._made}"
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return self.url(name)

    def stop(self) -> None:
        """Stop it and remove its files."""
        self._server.send_signal(signal.SIGTERM)
        self._server.wait(timeout=60)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(self._command, stdout=log, stderr=log, **self._common)
        until(self._answers, "MariaDB answering", seconds=60)

    def _answers(self) -> bool:
        if self._server.poll() is not None:
            pytest.skip(f"MariaDB does not start here: {(self._folder / 'log').read_text()[-300:]}")
        # PyMySQL leaves the socket of a refused connection open.
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(str(self.socket))
        return True

    def _connect(self) -> Any:
        import pymysql

        return pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDb]:
    """One MariaDB server for the session, started when the first test asks."""
    server = MariaDb()
    yield server
    server.stop()


def _program(*names: str) -> str:
    for name in names:
        for place in (None, *_PLACES):
            found = shutil.which(name, path=place)
            if found:
                return found
    pytest.skip(f"No MariaDB server is installed ({' or '.join(names)} is missing): MariaDB is not tested.")


def _unprivileged() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        pytest.skip("MariaDB should not run as root, and there is no user `nobody` to run it as.")
