"""Rows of CSV files that a registry drops into a folder.

Rules:
- A header that comes again is no row.
- Surplus fields belong to the free text of the last column where the mapping says so (`overflow`); otherwise the
  record is handed over with a fault.
- A file without a header has no row, and is never a complete pass; where the mapping gives the header, an empty one.
- Where the mapping gives the header, a file whose first record has more or fewer fields stops the run.

Source: domain schema C.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final

from registry_adapters.errors import FieldFault, SchemaDriftError, SourceError
from registry_adapters.source import Cursor, Milestone, Row
from registry_adapters.sources.columns import (
    check_header,
    header_names,
    key_of,
    powers_of_ten,
    with_key_fault,
)
from registry_adapters.sources.csv_text import (
    SAMPLE_BYTES,
    Dialect,
    Record,
    detect_encoding,
    detect_separator,
    parse_record,
    records,
    settled_encoding,
)
from registry_adapters.sources.drop_folder import DropFolder, Taken
from registry_adapters.sources.file_settings import CsvSettings

KIND: Final = "csv"
_WORDS = {
    "RECORD_TOO_LARGE": "The record is longer than max_record_bytes.",
    "NOT_WELL_FORMED": "A quote is not closed, or text follows a closing quote.",
    "FIELD_COUNT": "The record has more or fewer fields than the header.",
}


class CsvSource:
    """A stream of rows from CSV files.

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
        settings: CsvSettings,
        home: Path,
        needed: frozenset[str] = frozenset(),
        identifiers: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._needed = needed | {*settings.key}
        named = settings.identifier_columns
        self._identifiers = identifiers if named is None else frozenset(named)
        self._folder = DropFolder(KIND, settings, home, clock)
        self.report = self._folder.report

    def columns(self) -> tuple[str, ...]:
        """The header of the newest file that is handed over; none where there is no file."""
        with self._folder.newest() as taken:
            if taken is None:
                return ()
            dialect = self._dialect(taken.file)
            if self._settings.header is not None:
                return self._settings.header
            first = next(records(taken.file, dialect, self._settings.max_record_bytes), None)
        return () if first is None else tuple(dict.fromkeys(header_names(first.fields or ())))

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows of every file that was not read yet."""
        return self._folder.read(cursor, self._rows)

    def restored(self, row: Row) -> Row:
        """A row of the quarantine as it would be read now."""
        header, separator = row.values.get("header"), row.values.get("separator")
        if isinstance(header, list) and isinstance(separator, str):
            cut = row.values.get("cut") is True
            fields = None if cut else parse_record(row.raw, separator, self._settings.quote)
            record = Record(0, row.raw, fields, "RECORD_TOO_LARGE" if cut else "")
            made = self._row(record, tuple(header), separator, row.position, row.cursor, row.scan)
            return replace(made, deleted=row.deleted)
        faults = tuple(powers_of_ten(row.values, self._identifiers))
        return replace(row, faults=with_key_fault(row.key, faults, self._settings.key))

    def _dialect(self, file: IO[bytes]) -> Dialect:
        settings = self._settings
        sample = file.read(SAMPLE_BYTES)
        file.seek(0)
        if settings.encoding is None:
            encoding, certain = detect_encoding(sample)
            self.report.facts["encoding"] = (
                encoding if certain else f"{encoding} (assumed: 8 bits, not UTF-8)"
            )
        else:
            try:
                encoding = settled_encoding(settings.encoding, sample)
            except LookupError:
                raise SourceError(
                    f"There is no encoding {settings.encoding}.", "Name one like utf-8 or cp1252."
                ) from None
            self.report.facts["encoding"] = encoding
        separator = settings.separator
        if separator is None:
            separator = detect_separator(sample.decode(encoding, "replace").partition("\n")[0])
        self.report.facts["separator"] = {"\t": "TAB"}.get(separator, separator)
        if settings.encoding is None or settings.separator is None:
            shown = {"\t": "\\t"}.get(separator, separator)
            self.report.facts["write into [source]"] = f'encoding = "{encoding}", separator = "{shown}"'
        return Dialect(encoding, separator, settings.quote)

    def _rows(self, taken: Taken) -> Iterator[Row]:
        dialect = self._dialect(taken.file)
        header: tuple[str, ...] = ()
        for record in records(taken.file, dialect, self._settings.max_record_bytes):
            if not header:
                header = self._checked_header(record, taken.name)
                if self._settings.header is None:
                    continue
            if record.line <= taken.begin or (record.fields and header_names(record.fields) == header):
                continue
            position = f"{taken.name}:{record.line}"
            cursor = taken.cursor(record.line)
            yield self._row(record, header, dialect.separator, position, cursor, taken.scan)
        if not header:
            taken.scan = ""

    def _row(
        self,
        record: Record,
        header: tuple[str, ...],
        separator: str,
        position: str,
        cursor: Cursor,
        scan: str,
    ) -> Row:
        fitted = None if record.fields is None else self._fitted(record.fields, header, separator)
        if fitted is None:
            reason = record.fault or ("NOT_WELL_FORMED" if record.fields is None else "FIELD_COUNT")
            fault = FieldFault("", "", reason, _WORDS[reason])
            torn: dict[str, Any] = {"header": list(header), "separator": separator}
            if reason == "RECORD_TOO_LARGE":
                torn["cut"] = True
            return Row(None, torn, position, cursor, (fault,), scan=scan, raw=record.text)
        if self._settings.blank:
            fitted = ["" if field.strip() in self._settings.blank else field for field in fitted]
        values = dict(zip(header, fitted, strict=True))
        key = key_of(values, self._settings.key, self._settings.blank_in_key)
        faults = with_key_fault(key, tuple(powers_of_ten(values, self._identifiers)), self._settings.key)
        return Row(key, values, position, cursor, faults, scan=scan, raw=record.text if faults else "")

    def _fitted(self, fields: list[str], header: tuple[str, ...], separator: str) -> list[str] | None:
        """The fields under the header; None where they are too few or too many."""
        surplus = len(fields) - len(header)
        if surplus > 0 and self._settings.overflow == header[-1]:
            last = len(header) - 1
            return [*fields[:last], separator.join(fields[last:])]
        return fields if surplus == 0 else None

    def _checked_header(self, record: Record, name: str) -> tuple[str, ...]:
        given = self._settings.header
        if given is not None and record.fields is not None and len(record.fields) != len(given):
            raise SchemaDriftError(
                f"{name} has {len(record.fields)} fields in line {record.line}, but `header` names {len(given)}.",
                "Mend `header`, or the way in which [source] reads the file.",
            )
        header = check_header(name, given or record.fields or [record.text[:200]], self._needed)
        if self._settings.overflow is not None and header[-1] != self._settings.overflow:
            raise SchemaDriftError(
                f"{name}: `overflow` names {self._settings.overflow}, but the last column is {header[-1]!a}.",
                "Only the last column can take surplus separators.",
            )
        return header
