"""A working package of a source of one's own, to begin from: `dief adapter new`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from registry_adapters.errors import AdapterError

_KIND: Final = re.compile(r"[a-z][a-z0-9_]{1,40}")

_PYPROJECT: Final = """\
[build-system]
requires = ["hatchling>=1.33"]
build-backend = "hatchling.build"

[project]
name = "dief-adapter-@kind@"
version = "0.1.0"
description = "Reads @kind@ for a dief-node"
requires-python = ">=3.11"
dependencies = ["dief-node"]

[project.entry-points."dief.sources"]
@kind@ = "@kind@:PLUGIN"

[tool.hatch.build.targets.wheel]
packages = ["@kind@"]
"""

_SOURCE: Final = '''\
"""Reads the registry of @kind@: here a text file of JSON lines; put your own reading in `Records.read`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from registry_adapters.errors import FieldFault, SourceError
from registry_adapters.plugins import SourcePlugin
from registry_adapters.source import Cursor, Milestone, Row

KIND = "@kind@"


class Settings(BaseModel, extra="forbid"):
    """What may stand in [source] of the mapping beside `kind` and `key`."""

    file: Path


class Records:
    """The source: three members are all (registry_adapters.source.Source)."""

    kind = KIND

    def __init__(self, settings: Settings, key: tuple[str, ...], home: Path, needed: frozenset[str]) -> None:
        self._file = home / settings.file
        self._key = key
        self._needed = needed

    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(sorted({*self._key, *self._needed}))

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows behind the cursor: here, behind the last line that was read."""
        done = int(cursor.state.get("line", 0)) if cursor else 0
        try:
            with self._file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if number > done and line.strip():
                        yield self._row(number, line)
                        done = number
        except OSError as error:
            raise SourceError(f"The file cannot be read: {error.strerror}.", "Check `file` of [source].") from None
        yield Milestone(Cursor(KIND, {"line": done}))

    def _row(self, number: int, line: str) -> Row:
        behind = Cursor(KIND, {"line": number})
        position = f"{self._file.name}:{number}"
        try:
            values: dict[str, Any] = json.loads(line)
            key = "/".join(str(values[column]) for column in self._key)
        except (ValueError, KeyError, TypeError):
            fault = FieldFault("", self._key[0], "UNREADABLE", "The line is no JSON object with the key columns.")
            return Row(None, {}, position, behind, (fault,), raw=line)
        return Row(key, values, position, behind)


PLUGIN = SourcePlugin(Settings, Records)
'''

_MAPPING: Final = """\
# Rows of this registry are watched: alerts of other States are matched against them. Nothing of them leaves the node.
# registry_adapters/README.md of dief-node tells how rows become drafts.

version = 1
stream = "@stream@"

[source]
kind = "@kind@"
file = "sample.jsonl"
key = ["id"]

[watch]
kind = "HOLDING"
reference = "{id}"

[[watch.term]]
kind = "SERIAL"
column = "serial"
context = "make"
"""

_SAMPLE: Final = """\
{"id": 1, "serial": "EX 000101", "make": "Example Arms"}
{"id": 2, "serial": "EX 000102", "make": "Example Arms"}
"""

_TRIALS: Final = '''\
"""The trials that every source must pass, on the sample."""

from pathlib import Path

from @kind@ import Records, Settings
from registry_adapters.conformance import try_source

HOME = Path(__file__).parents[1]


def test_the_source_keeps_the_rules() -> None:
    settings = Settings(file=Path("sample.jsonl"))
    sample = HOME / "sample.jsonl"
    trials = try_source(
        lambda: Records(settings, ("id",), HOME, frozenset({"serial", "make"})), fingerprint=sample.read_bytes
    )
    assert [trial for trial in trials if not trial.held] == []
'''


def write_package(folder: Path, kind: str) -> list[Path]:
    """Write the package.

    Args:
        folder: Where to; it must not exist.
        kind: Name of the kind, of its Python package and of its stream.

    Returns:
        The files written.

    Raises:
        AdapterError: The name does not do, the folder exists, or it cannot be written.
    """
    if not _KIND.fullmatch(kind):
        raise AdapterError(
            f"`{kind}` cannot be the name of a kind.",
            "Use small letters, digits and _, beginning with a letter.",
        )
    files = {
        "pyproject.toml": _PYPROJECT,
        f"{kind}/__init__.py": _SOURCE,
        f"{kind}/py.typed": "",
        "mapping.toml": _MAPPING,
        "sample.jsonl": _SAMPLE,
        "tests/test_conformance.py": _TRIALS,
    }
    try:
        folder.mkdir(parents=True)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.replace("@kind@", kind).replace("@stream@", kind), encoding="utf-8")
    except FileExistsError:
        raise AdapterError(f"{folder} exists already.", "Name a folder that does not exist.") from None
    except OSError as error:
        raise AdapterError(f"{folder} cannot be written: {error.strerror}.", "Name another folder.") from None
    return [folder / name for name in files]
