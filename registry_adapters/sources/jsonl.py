"""Rows of JSON Lines files that a registry drops into a folder: one object a line.

Rules:
- The member b of an object a is the column `a.b`; a list stays one value. Numbers keep their digits.
- A line that is no object, has a member twice, is too long or lies too deep is handed over with its fault.
- A member may be absent from a row. One that no row of a file has, while an unknown one of nearly the same name is
  there, stops the run before the file's first row.

Source: jsonlines.org; RFC 8259.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final

from registry_adapters.errors import FieldFault, SourceError
from registry_adapters.source import Cursor, Milestone, Row
from registry_adapters.sources.columns import check_paths, key_of, powers_of_ten, with_key_fault
from registry_adapters.sources.drop_folder import DropFolder, Taken
from registry_adapters.sources.file_settings import JsonlSettings
from registry_adapters.sources.json_records import NotJsonError, columns_of, parse

KIND: Final = "jsonl"
_SAMPLE_LINES: Final = 1000
_TOO_LARGE = FieldFault("", "", "RECORD_TOO_LARGE", "The line is longer than max_record_bytes.")
_NOT_JSON = FieldFault(
    "", "", "NOT_JSON", "The line is no JSON, or a number in it is beyond reason (NaN is none)."
)


class JsonlSource:
    """A stream of rows from JSON Lines.

    Args:
        settings: `[source]` of the mapping.
        home: Folder of the mapping file.
        needed: Columns that the mapping reads.
        identifiers: Columns that hold numbers and marks.
        clock: Seconds since the epoch.
    """

    kind = KIND

    def __init__(
        self,
        settings: JsonlSettings,
        home: Path,
        needed: frozenset[str] = frozenset(),
        identifiers: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._needed = needed | {*settings.key}
        self._identifiers = identifiers
        self._folder = DropFolder(KIND, settings, home, clock)
        self.report = self._folder.report

    def columns(self) -> tuple[str, ...]:
        """Members of the first lines of the newest file that is handed over; none where there is no file."""
        met: dict[str, None] = {}
        with self._folder.newest() as taken:
            for number, line in self._lines(taken) if taken is not None else ():
                met.update(dict.fromkeys(self._taken_apart(line)[0]))
                if number >= _SAMPLE_LINES:
                    break
        return tuple(met)

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows of every file that was not read yet."""
        return self._folder.read(cursor, self._rows)

    def restored(self, row: Row) -> Row:
        """A row of the quarantine as it would be read now."""
        if not row.raw:
            return row
        made = self._row(row.raw.encode("utf-8", "surrogateescape"), row.position, row.cursor, row.scan)
        return replace(made, deleted=row.deleted)

    def _rows(self, taken: Taken) -> Iterator[Row]:
        self._check_columns(taken)
        for number, line in self._lines(taken):
            if number > taken.begin:
                position = f"{taken.name}:{number}"
                yield self._row(line, position, taken.cursor(number), taken.scan)

    def _row(self, line: bytes, position: str, cursor: Cursor, scan: str) -> Row:
        values, faults = self._taken_apart(line)
        key = key_of(values, self._settings.key)
        faults = (*faults, *powers_of_ten(values, self._identifiers))
        faults = with_key_fault(key, faults, self._settings.key)
        raw = line.decode("utf-8", "surrogateescape") if faults else ""
        return Row(key, values, position, cursor, faults, scan=scan, raw=raw)

    def _taken_apart(self, line: bytes) -> tuple[dict[str, Any], tuple[FieldFault, ...]]:
        if len(line) > self._settings.max_record_bytes:
            return {}, (_TOO_LARGE,)
        try:
            return columns_of(parse(line), self._settings.max_depth)
        except NotJsonError:
            return {}, (_NOT_JSON,)

    def _check_columns(self, taken: Taken) -> None:
        """Stop before the first row where a member was renamed."""
        met: set[str] = set()
        for _number, line in self._lines(taken):
            met.update(self._taken_apart(line)[0])
            if self._needed <= met:
                return
        if met:
            absent = check_paths(taken.name, met, self._needed, self._settings.unused)
            self.report.facts["in no row"] = f"{taken.name}: {', '.join(absent)}"

    def _lines(self, taken: Taken) -> Iterator[tuple[int, bytes]]:
        """Lines with their numbers from 1, blank ones left out; one that is too long is cut, so that this shows."""
        taken.file.seek(0)
        limit = self._settings.max_record_bytes + 1
        for number, line in enumerate(_bounded(taken.file, limit), 1):
            if number == 1:
                _check_first(line, taken.name)
            if line.strip():
                yield number, line


def _bounded(file: IO[bytes], limit: int) -> Iterator[bytes]:
    while line := file.readline(limit + 2):
        whole = line.endswith(b"\n")
        yield line.rstrip(b"\r\n")[:limit]
        while not whole and (rest := file.readline(1 << 20)):
            whole = rest.endswith(b"\n")


def _check_first(line: bytes, name: str) -> None:
    mend = "Have it written as UTF-8, one JSON object a line."
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or line[1:2] == b"\0":
        raise SourceError(
            f"{name} is no UTF-8: it is written in units of 16 or 32 bits.", mend, reason="ENCODING"
        )
    if line.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
        raise SourceError(f"{name} is one JSON array, not JSON Lines.", mend, reason="NOT_JSON_LINES")
