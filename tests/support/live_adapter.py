"""Adapter processes beside real nodes, and registers for them to read: CSV files, SQLite and PostgreSQL alike."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from node.identity.pem import certificates_pem, key_pem
from node.identity.pki import Credential
from tests.support.nodes import NodeProcess
from tests.support.registries import HEADER, SAMPLES, drop
from tests.support.waiting import until

COLUMNS = HEADER.split(";")
PATIENCE = 90
"""Seconds: processes start slowly on a machine that does other things too."""


class CsvRegister:
    """The sample register of seizures as a drop folder; the mapping is the sample's."""

    def __init__(self, folder: Path, stream: str) -> None:
        (folder / "drop").mkdir(parents=True)
        self.mapping = folder / "mapping.toml"
        self.environment: dict[str, str] = {}
        self._files = 0
        text = _sample(stream).replace("settle_seconds = 5", "settle_seconds = 0")
        self.mapping.write_text(text, encoding="utf-8")

    def put(self, *lines: str) -> None:
        """New rows, in a file of their own."""
        self._files += 1
        drop(self.mapping, f"{self._files:04}.csv", *lines)

    def put_bytes(self, *lines: bytes) -> None:
        """New rows as bytes, whatever they are."""
        self._files += 1
        file = drop(self.mapping, f"{self._files:04}.csv.part")
        file.write_bytes(file.read_bytes() + b"\r\n".join(lines) + b"\r\n")
        os.utime(file, (1_700_000_000 + self._files, 1_700_000_000 + self._files))
        file.rename(file.with_suffix(""))


class SqlRegister:
    """The same register as a table `arm` of any database; the mapping but for its source is the sample's.

    Args:
        folder: For the mapping.
        stream: Name of the stream.
        url: SQLAlchemy URL, which the adapter gets from its environment.
        watermark: Whether rows have a time of change that the adapter follows; else each run is a complete pass.
    """

    def __init__(self, folder: Path, stream: str, url: str, *, watermark: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.mapping = folder / "mapping.toml"
        self.environment = {"REGISTER_URL": url}
        self.engine = sa.create_engine(url)
        columns = ", ".join(f"{name} TEXT" for name in COLUMNS)
        with self.engine.begin() as conn:
            now = "timestamp DEFAULT CURRENT_TIMESTAMP NOT NULL"
            conn.execute(
                sa.text(f"CREATE TABLE arm ({columns}, changed_at {now}, PRIMARY KEY (num_cadastro))")
            )
        source = '[source]\nkind = "sql"\nurl_env = "REGISTER_URL"\ntable = "arm"\nkey = ["num_cadastro"]\n'
        source += 'watermark = "changed_at"\n' if watermark else ""
        text = re.sub(r"\[source\].*?(?=\n\[select\])", lambda _: source, _sample(stream), flags=re.DOTALL)
        self.mapping.write_text(text, encoding="utf-8")

    def put(self, *lines: str) -> None:
        """New rows, in one transaction."""
        marks = ", ".join(f":{name}" for name in COLUMNS)
        rows = [dict(zip(COLUMNS, line.split(";"), strict=True)) for line in lines]
        with self.engine.begin() as conn:
            conn.execute(sa.text(f"INSERT INTO arm ({', '.join(COLUMNS)}) VALUES ({marks})"), rows)

    def execute(self, statement: str) -> None:
        """Any change."""
        with self.engine.begin() as conn:
            conn.execute(sa.text(statement))


Register = CsvRegister | SqlRegister


class AdapterProcess:
    """`dief adapter run`, as a State starts it: it knows the node's address, three PEM files and the mapping."""

    def __init__(
        self,
        register: Register,
        node: NodeProcess,
        national_ca: bytes,
        credential: Credential,
        every: str = "0.2s",
    ) -> None:
        self._register = register
        self._folder = register.mapping.parent
        self._output = self._folder / "output.jsonl"
        self._process: subprocess.Popen[bytes] | None = None
        self._every = every
        files = {
            "ca": national_ca,
            "cert": certificates_pem(credential.chain),
            "key": key_pem(credential.key),
        }
        self._to_node = ["--node", f"127.0.0.1:{node.national_port}"]
        for name, content in files.items():
            path = self._folder / f"{name}.pem"
            path.write_bytes(content)
            path.chmod(0o600)
            self._to_node += [f"--{name}", str(path)]

    def start(self) -> None:
        """Start it, to run until it is stopped."""
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(
                    "run", str(self._register.mapping), "--every", self._every, "--json", *self._to_node
                ),
                stdout=output,
                stderr=output,
                env=self._environment(),
            )

    def once(self) -> subprocess.CompletedProcess[str]:
        """One run."""
        return self._call("run", str(self._register.mapping), "--once", "--json", *self._to_node)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        return self._end(signal.SIGTERM)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def reports(self) -> list[dict[str, Any]]:
        """What it said of its runs so far: counts, or an error."""
        lines = self._output.read_text(encoding="utf-8").splitlines() if self._output.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def output(self) -> str:
        """Everything that it wrote."""
        return self._output.read_text(encoding="utf-8") if self._output.exists() else ""

    def total(self, count: str) -> int:
        """A count over all its runs."""
        return sum(report.get(count, 0) for report in self.reports())

    def quarantine(self) -> dict[str, tuple[str, str]]:
        """Key or, where it could not be read, position of each row in quarantine, to its column and reason."""
        done = self._call("quarantine", "list", str(self._register.mapping), "--json")
        found = {}
        for entry in json.loads(done.stdout):
            shown = self._call("quarantine", "show", str(self._register.mapping), str(entry["id"]), "--json")
            key = json.loads(shown.stdout)["key"]
            found[key or entry["row"]] = (entry["column"], entry["reason"])
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _end(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        return process.wait(timeout=PATIENCE)

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=3 * PATIENCE,
            env=self._environment(),
        )

    @staticmethod
    def _command(*arguments: str) -> Sequence[str]:
        return [sys.executable, "-m", "node.cli", "adapter", *arguments]

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, **self._register.environment, "COLUMNS": "250"}


def settled(adapter: AdapterProcess, count: str, wanted: int) -> None:
    """Wait until a count over all runs has reached what is wanted."""
    until(
        lambda: adapter.total(count) >= wanted,
        f"{count} reaching {wanted}; the adapter said {adapter.output()[-2000:]}",
        seconds=PATIENCE,
    )


def _sample(stream: str) -> str:
    text = (SAMPLES / "seizures_c" / "mapping.toml").read_text(encoding="utf-8")
    return text.replace('stream = "seizures"', f'stream = "{stream}"')
