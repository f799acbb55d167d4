"""Rows of flat files that a registry drops into a folder: a record and the records that belong to it.

Rules:
- A file is gone through before its first row is taken: where its lines, counters or run number do not add up, it gives
  no row at all.
- A row with a record of the wrong length, of an unknown type, or twice where one is meant is handed over with a fault.
- Files with run numbers are read in their order; a gap stops the run, since what is missing would be lost in silence.

Source: domain schema D (after CHIEF licenceData).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from registry_adapters.errors import FieldFault, SchemaDriftError
from registry_adapters.source import Cursor, Milestone, Row
from registry_adapters.sources.columns import key_of, missing_columns, with_key_fault
from registry_adapters.sources.drop_folder import DropFolder, Taken
from registry_adapters.sources.file_settings import FlatSettings
from registry_adapters.sources.flat_lines import (
    Checker,
    Record,
    fields_of,
    read_records,
    record_type,
    run_number,
)

KIND: Final = "flat"
_RUN: Final = "run"


class FlatSource:
    """A stream of rows from flat files.

    Args:
        settings: `[source]` of the mapping.
        home: Folder of the mapping file.
        needed: Columns that the mapping reads.
        inside: Columns that hold lists, with the members of their elements that it reads.
        clock: Seconds since the epoch.

    Raises:
        SchemaDriftError: `[source.records]` does not name a field that the mapping reads.
    """

    kind = KIND

    def __init__(
        self,
        settings: FlatSettings,
        home: Path,
        needed: frozenset[str] = frozenset(),
        inside: frozenset[tuple[str, str]] = frozenset(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._folder = DropFolder(KIND, settings, home, clock)
        self.report = self._folder.report
        known = {f"{column}.{name}" for column, layout in settings.records.items() for name in layout.fields}
        members = {
            f"{column}.{member}" if member.count(".") == 0 else member for column, member in inside if member
        }
        missing = [
            *missing_columns(self.columns(), needed | {*settings.key}),
            *missing_columns(sorted(known), members),
        ]
        if missing:
            raise SchemaDriftError(
                f"[source.records] has no field for {', '.join(missing)}.",
                "Mend the mapping's columns, or the layout of the records.",
            )

    def columns(self) -> tuple[str, ...]:
        """Columns by the layout in the mapping."""
        settings = self._settings
        found = [*settings.records[settings.row].fields]
        for name, layout in settings.records.items():
            if name not in (settings.row, settings.trailer, settings.end):
                found.extend([name] if layout.list else [f"{name}.{field}" for field in layout.fields])
        return tuple(found)

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows of every file that was not read yet."""
        return self._folder.read(cursor, self._rows)

    def restored(self, row: Row) -> Row:
        """A row of the quarantine as it would be read now."""
        if not row.raw:
            return row
        settings = self._settings
        records = [
            Record(0, number, record_type(text, settings), text)
            for number, text in enumerate(row.raw.split("\n"), 1)
        ]
        prefix = f"{settings.header}."
        header = {
            name: value for name, value in row.values.items() if settings.header and name.startswith(prefix)
        }
        made = self._row(records, header, row.position, row.cursor, row.scan)
        return replace(made, deleted=row.deleted)

    def _rows(self, taken: Taken) -> Iterator[Row]:
        settings = self._settings
        fields = Checker(taken.name, settings).check(taken.file)
        run = run_number(taken.name, fields, settings, taken.kept.get(_RUN), again=taken.again)
        if run is not None:
            taken.kept[_RUN] = run
        header = {f"{settings.header}.{name}": value for name, value in fields.items()}
        for group in self._groups(taken):
            line = group[0].line
            if line > taken.begin:
                yield self._row(group, header, f"{taken.name}:{line}", taken.cursor(line), taken.scan)

    def _groups(self, taken: Taken) -> Iterator[list[Record]]:
        """The records of each row; of a row that is too large, one more than it may have."""
        settings = self._settings
        group: list[Record] = []
        for record in read_records(taken.file, taken.name, settings):
            if record.type in (settings.row, settings.trailer):
                if group:
                    yield group
                group = []
            if record.type == settings.row or (group and len(group) <= settings.max_row_lines):
                group.append(record)
        if group:
            yield group

    def _row(
        self,
        group: list[Record],
        header: dict[str, str],
        position: str,
        cursor: Cursor,
        scan: str,
    ) -> Row:
        values: dict[str, Any] = dict(header)
        values.update({name: [] for name, layout in self._settings.records.items() if layout.list})
        faults: list[FieldFault] = []
        if len(group) > self._settings.max_row_lines:
            faults.append(FieldFault("", "", "ROW_TOO_LARGE", "The row has more than max_row_lines."))
        around: dict[str, dict[str, str]] = {}
        closed = {self._ended(record) for record in group if record.type == self._settings.end}
        for record in group:
            fault = self._put(record, values, around, closed)
            if fault is not None:
                faults.append(fault)
        key = (
            None if faults and faults[0].column == self._settings.row else key_of(values, self._settings.key)
        )
        faults = [*with_key_fault(key, faults, self._settings.key)]
        raw = "\n".join("" if record.cut else record.text for record in group) if faults else ""
        return Row(key, values, position, cursor, tuple(faults), scan=scan, raw=raw)

    def _ended(self, record: Record) -> str:
        """Type of the record whose group a record ends."""
        return record.text.split(self._settings.separator or "")[1]

    def _put(
        self,
        record: Record,
        values: dict[str, Any],
        around: dict[str, dict[str, str]],
        closed: set[str],
    ) -> FieldFault | None:
        """Put a record's fields into a row; what is wrong with it."""
        settings = self._settings
        if record.type == settings.end:
            around.pop(self._ended(record), None)
            return None
        layout = settings.records.get(record.type)
        if layout is None:
            return FieldFault(
                "", "", "RECORD_UNKNOWN", "[source.records] does not know the type of a record."
            )
        if record.cut:
            return FieldFault(
                "", record.type, "RECORD_TOO_LARGE", "The record is longer than max_record_bytes."
            )
        fields = fields_of(record, settings)
        if fields is None:
            words = f"The record has not the {len(layout.fields)} fields of its type; the separator is never escaped."
            return FieldFault("", record.type, "FIELD_COUNT", words)
        if record.type == settings.row:
            values.update(fields)
        elif layout.list:
            outer = {
                f"{name}.{field}": value for name, held in around.items() for field, value in held.items()
            }
            values[record.type].append({**fields, **outer})
        elif any(f"{record.type}.{name}" in values for name in fields):
            return FieldFault("", record.type, "REPEATED", "The record repeats within a row, and is no list.")
        else:
            values.update({f"{record.type}.{name}": value for name, value in fields.items()})
        if record.type in closed and record.type != settings.row:
            around[record.type] = fields
        return None
