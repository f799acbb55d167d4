"""Files for drop folders in tests."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from registry_adapters import Cursor, Row, Source

CASES = Path(__file__).parents[3] / "shared" / "cases"


def put(folder: Path, name: str, data: bytes | str, age: float = 60) -> Path:
    """Hand over a file that was written `age` seconds ago."""
    file = folder / name
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    changed = file.stat().st_mtime - age
    os.utime(file, (changed, changed))
    return file


def zipped(folder: Path, name: str, members: Mapping[str, str | bytes]) -> Path:
    """Hand over a ZIP file."""
    file = folder / name
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    changed = file.stat().st_mtime - 60
    os.utime(file, (changed, changed))
    return file


def rows(source: Source, cursor: Cursor | None = None) -> list[Row]:
    """The rows of a run."""
    return [part for part in source.read(cursor) if isinstance(part, Row)]


def reasons(row: Row) -> dict[str, str]:
    """Column to reason of a row's faults."""
    return {fault.column: fault.reason for fault in row.faults}


def resumed(source: Source) -> Iterator[tuple[int, list[str | None]]]:
    """How many rows were seen, and the keys that a run gives that goes on behind them."""
    for seen, row in enumerate(rows(source), 1):
        rest = rows(source, Cursor.decode(row.cursor.encode(), source.kind))
        yield seen, [part.key for part in rest]


def end(source: Source, cursor: Cursor | None = None) -> Cursor | None:
    """The cursor behind a run, as the node gives it back."""
    parts = list(source.read(cursor))
    return Cursor.decode(parts[-1].cursor.encode(), source.kind) if parts else cursor
