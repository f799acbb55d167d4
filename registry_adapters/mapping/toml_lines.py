"""Line numbers of the keys of a TOML document, which tomllib does not keep.

The document is cut into statements, each the shortest run of lines that tomllib itself accepts, so this never
disagrees with the parser about what a string or an array is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

_HEADER = re.compile(r"^\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")

Path = tuple[str | int, ...]


def key_lines(text: str) -> dict[Path, int]:
    """Line of every table and key, counted from 1.

    Args:
        text: A document that tomllib accepts.
    """
    lines: dict[Path, int] = {(): 1}
    arrays: dict[Path, int] = {}
    prefix: Path = ()
    for number, statement in _statements(text.splitlines()):
        header = _HEADER.match(statement) if statement.lstrip().startswith("[") else None
        if header is not None:
            prefix = _table(_dotted(header[2]), arrays, is_array=header[1] == "[[")
            lines[prefix] = number
            continue
        for path in _paths(tomllib.loads(statement)):
            lines.setdefault(prefix + path, number)
    return lines


def line_of(lines: dict[Path, int], path: Sequence[str | int]) -> int:
    """Line of a path, or of the nearest thing around it that has one."""
    known = tuple(path)
    while known not in lines:
        known = known[:-1]
    return lines[known]


def _statements(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    start = 0
    while start < len(lines):
        stripped = lines[start].strip()
        if not stripped or stripped.startswith("#"):
            start += 1
            continue
        end = start + 1
        while end < len(lines) and not _complete("\n".join(lines[start:end])):
            end += 1
        yield start + 1, "\n".join(lines[start:end])
        start = end


def _complete(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _dotted(name: str) -> Path:
    parts: list[str] = []
    held: Any = tomllib.loads(f"{name} = 0")
    while isinstance(held, dict):
        key, held = next(iter(held.items()))
        parts.append(key)
    return tuple(parts)


def _table(name: Path, arrays: dict[Path, int], *, is_array: bool) -> Path:
    """The path of a table header with the indices of the arrays it lies in."""
    path: Path = ()
    for depth, part in enumerate(name, 1):
        path += (part,)
        if depth == len(name) and is_array:
            arrays[path] = arrays.get(path, -1) + 1
        if path in arrays:
            path += (arrays[path],)
    return path


def _paths(held: object, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    if isinstance(held, dict):
        for key, value in held.items():
            yield from _paths(value, (*path, key))
    elif isinstance(held, list):
        for index, value in enumerate(held):
            yield from _paths(value, (*path, index))
