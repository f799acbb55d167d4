"""Rows of spreadsheets that a registry drops into a folder: XLSX and ODS.

Rules:
- A cell counts as what the program stored. In a column of numbers and marks that is a text: a number there may have
  lost zeros or digits, a date there was a model or calibre ("24/7", "12/70"), so the row is handed over with a fault,
  unless the mapping trusts the column's whole numbers (`text_columns`).
- In other text a date, or a number with a fraction, is doubtful too; a whole number is taken as it is shown.
- A formula counts with the value that was calculated last. One that never was, an error and a text beyond the limit
  are faults of their column.
- The header is the first row that has the columns that are needed, so titles above it do no harm.

Source: cases Quartz/bad-data-guide#33, tidyverse/readxl#298.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from registry_adapters.errors import FieldFault, SchemaDriftError, SourceError
from registry_adapters.mapping.uses import Uses
from registry_adapters.source import Cursor, Milestone, Row
from registry_adapters.sources.cells import Cell
from registry_adapters.sources.columns import (
    check_header,
    header_names,
    key_of,
    powers_of_ten,
    with_key_fault,
)
from registry_adapters.sources.drop_folder import DropFolder, Taken
from registry_adapters.sources.file_settings import SpreadsheetSettings
from registry_adapters.sources.ods import Ods
from registry_adapters.sources.xlsx import SheetRow, Xlsx
from registry_adapters.sources.zipped import Archive

KIND: Final = "spreadsheet"
_HEADER_ROWS: Final = 50
_SAFE_DIGITS: Final = 10**15
_DOUBTFUL: Final = "SPREADSHEET_DOUBTFUL"
_BROKEN = {
    "error": ("SPREADSHEET_ERROR", "The cell holds an error, or a number or date that cannot be."),
    "formula": (
        "SPREADSHEET_NOT_CALCULATED",
        "The formula of the cell was never calculated: open and save the file.",
    ),
    "long": ("CELL_TOO_LONG", "The cell has more than max_cell_characters."),
}


class SpreadsheetSource:
    """A stream of rows from spreadsheets.

    Args:
        settings: `[source]` of the mapping.
        home: Folder of the mapping file.
        needed: Columns that the mapping reads.
        used: What it takes them for.
        clock: Seconds since the epoch.
    """

    kind = KIND

    def __init__(
        self,
        settings: SpreadsheetSettings,
        home: Path,
        needed: frozenset[str] = frozenset(),
        used: Uses | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._needed = needed | {*settings.key}
        used = used or Uses()
        named = settings.identifier_columns
        self._identifiers = (used.identifiers if named is None else frozenset(named)) | {*settings.key}
        self._texts = used.texts | used.identifiers
        self._dates = used.dates
        self._folder = DropFolder(KIND, settings, home, clock)
        self.report = self._folder.report

    def columns(self) -> tuple[str, ...]:
        """The header of the newest file that is handed over; none where there is no file."""
        with self._folder.newest() as taken:
            if taken is None:
                return ()
            _number, fields, _rest = self._header(taken)
            return tuple(dict.fromkeys(filter(None, header_names(fields))))

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows of every file that was not read yet."""
        return self._folder.read(cursor, self._rows)

    def restored(self, row: Row) -> Row:
        """A row of the quarantine as it would be read now."""
        if not row.raw:
            return row
        cells = {column: _thawed(held) for column, held in json.loads(row.raw).items()}
        return replace(self._row(cells, row.position, row.cursor, row.scan), deleted=row.deleted)

    def _rows_of(self, taken: Taken) -> Iterator[SheetRow]:
        archive = Archive(taken.file, taken.name, self._settings.max_unpacked_bytes)
        book = (Ods if "content.xml" in archive.names else Xlsx)(archive, taken.name, self._settings)
        wanted = self._settings.sheet
        visible = [sheet for sheet, shown in book.sheets.items() if shown]
        if not visible if wanted is None else wanted not in book.sheets:
            shown = ", ".join(map(ascii, book.sheets))
            raise SchemaDriftError(
                f"{taken.name} has no sheet {wanted or 'that is shown'!a}; it has {shown}.",
                "Mend `sheet` of [source], or the workbook.",
            )
        sheet = wanted if wanted is not None else visible[0]
        self.report.facts["sheet"] = sheet
        return book.rows(sheet)

    def _rows(self, taken: Taken) -> Iterator[Row]:
        number, fields, rows = self._header(taken)
        header = check_header(taken.name, fields, self._needed)
        known = sum(1 for field in fields if field)
        for row, cells in rows:
            if row <= max(number, taken.begin) or (len(cells) == known and _texts(cells) == fields):
                continue
            named = {header[i]: cell for i, cell in cells.items() if i < len(header) and header[i]}
            if named:
                yield self._row(named, f"{taken.name}:{row}", taken.cursor(row), taken.scan)

    def _header(self, taken: Taken) -> tuple[int, list[str], Iterator[SheetRow]]:
        """Number and names of the header, the row that has most of what is needed; and the sheet's rows."""
        wanted = self._settings.header_row
        rows = self._rows_of(taken)
        passed: list[SheetRow] = []
        best: tuple[int, list[str]] = (0, [])
        most = (-1, -1)
        for number, cells in islice(rows, None if wanted else _HEADER_ROWS):
            if wanted is not None and number < wanted:
                continue
            passed.append((number, cells))
            if wanted is not None and number > wanted:
                break
            fields = _texts(cells)
            known = len(self._needed & {*header_names(fields)})
            if (known, len(cells)) > most:
                best, most = (number, fields), (known, len(cells))
            if wanted is not None or known == len(self._needed):
                break
        if not best[1]:
            raise SourceError(
                f"{taken.name} has no header.",
                "Mend `sheet` or `header_row` of [source].",
                reason="NO_HEADER",
            )
        self.report.facts["header"] = f"row {best[0]}"
        return *best, chain(passed, rows)

    def _row(self, cells: dict[str, Cell], position: str, cursor: Cursor, scan: str) -> Row:
        faults = [
            fault
            for column in sorted(self._needed & {*cells})
            for fault in self._faults(column, cells[column])
        ]
        values = {column: self._value(column, cell) for column, cell in cells.items()}
        faults.extend(powers_of_ten(values, self._identifiers))
        unsure = {fault.column for fault in faults}
        key = None if unsure & {*self._settings.key} else key_of(values, self._settings.key)
        faults = [*with_key_fault(key, faults, self._settings.key)]
        raw = json.dumps({column: _frozen(cell) for column, cell in cells.items()}) if faults else ""
        return Row(key, values, position, cursor, tuple(faults), scan=scan, raw=raw)

    def _value(self, column: str, cell: Cell) -> Any:
        return cell.shown if cell.shown and column in self._texts | self._identifiers else cell.value

    def _faults(self, column: str, cell: Cell) -> Iterator[FieldFault]:
        if cell.kind in _BROKEN:
            yield FieldFault("", column, *_BROKEN[cell.kind])
        elif cell.kind == "number":
            whole = isinstance(cell.value, int) and abs(cell.value) < _SAFE_DIGITS
            trusted = column in self._settings.text_columns
            if column in self._identifiers and not (trusted and whole):
                yield FieldFault("", column, _DOUBTFUL, "Stored as a number: zeros and digits may be lost.")
            elif column in self._texts and not whole and not trusted:
                yield FieldFault(
                    "", column, _DOUBTFUL, "Stored as a number with a fraction: it may have been a text."
                )
        elif cell.kind != "text" and (
            column in self._identifiers or (column in self._texts and column not in self._dates)
        ):
            yield FieldFault("", column, _DOUBTFUL, f"Stored as a {cell.kind}: it may have been a text.")


def _texts(cells: dict[int, Cell]) -> list[str]:
    """Cells as the names of a header."""
    last = max(cells)
    return [str(cells[i].shown or cells[i].value) if i in cells else "" for i in range(last + 1)]


def _frozen(cell: Cell) -> list[Any]:
    value = cell.value.isoformat() if isinstance(cell.value, (date, datetime)) else cell.value
    return [cell.kind, value, cell.shown]


def _thawed(held: list[Any]) -> Cell:
    kind, value, shown = held
    if kind == "date":
        value = datetime.fromisoformat(value) if "T" in value else date.fromisoformat(value)
    return Cell(kind, value, shown)
