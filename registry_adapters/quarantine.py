"""The quarantine for people and files: lists without values, single rows and exports with them.

Rules:
- A list shows where, which column and why, never a value; values are shown one row at a time, or exported to a file
  that stays with the registry's authority.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import IO, Any

from registry_adapters.state import Quarantined, State


def summary(entry: Quarantined) -> dict[str, Any]:
    """An entry without values."""
    fault = entry.faults[0]
    return {
        "id": entry.id,
        "row": entry.position,
        "column": fault.column,
        "field": fault.field,
        "reason": fault.reason,
        "description": fault.description,
        "faults": len(entry.faults),
        "refused_by": entry.refused_by,
        "times": entry.times,
        "first_at": _iso(entry.first_ms),
        "last_at": _iso(entry.last_ms),
    }


def whole(entry: Quarantined) -> dict[str, Any]:
    """An entry with all its faults and values."""
    return {
        "id": entry.id,
        "row": entry.position,
        "key": entry.key,
        "refused_by": entry.refused_by,
        "faults": [asdict(fault) for fault in entry.faults],
        "values": {name: _printable(value) for name, value in entry.values.items()},
        "raw": _printable(entry.raw),
        "times": entry.times,
        "first_at": _iso(entry.first_ms),
        "last_at": _iso(entry.last_ms),
    }


def export(state: State, file: IO[str]) -> int:
    """Write every entry as a line of JSON.

    Args:
        state: The adapter's folder.
        file: Open for text.

    Returns:
        How many entries were written.
    """
    written = 0
    for entry in state.quarantined():
        file.write(json.dumps(whole(entry), ensure_ascii=False) + "\n")
        written += 1
    return written


def _printable(value: Any) -> Any:
    """Text with undecodable bytes written as \\xNN, so that every terminal and file takes it."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return value


def _iso(moment_ms: int) -> str:
    return (
        datetime.fromtimestamp(moment_ms / 1000, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    )
