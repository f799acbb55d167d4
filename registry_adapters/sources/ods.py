"""ODS workbooks, cell by cell as the program stored them, in memory that does not grow with the sheet.

Rules:
- Of a text, only what the cell itself shows counts: no comments, no drawings.
- Rows that are repeated with the same content are handed over once: they say the same.

Source: OpenDocument 1.3 part 3, 9.1 and 19.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from registry_adapters.errors import SourceError
from registry_adapters.sources.cells import Cell, Format, iso_date_cell, number_cell, text_cell, whole_number
from registry_adapters.sources.file_settings import SpreadsheetSettings
from registry_adapters.sources.xlsx import SheetRow
from registry_adapters.sources.xml_events import local_name, read_events
from registry_adapters.sources.zipped import Archive

_CONTENT: Final = "content.xml"
_MANIFEST: Final = "META-INF/manifest.xml"
_MEND: Final = "Save it again as .ods with the spreadsheet program, without a password."
_BESIDE: Final = frozenset({"annotation", "note", "frame", "custom-shape", "shapes", "tracked-changes"})


class Ods:
    """A workbook.

    Args:
        archive: The file.
        name: What it is called, for errors.
        settings: `[source]` of the mapping.
    """

    def __init__(self, archive: Archive, name: str, settings: SpreadsheetSettings) -> None:
        self._archive = archive
        self._name = name
        self._settings = settings
        if _MANIFEST in archive.names and "encryption-data" in self._names(_MANIFEST).seen:
            raise SourceError(f"{name} is encrypted.", _MEND, reason="WORKBOOK_UNREADABLE")
        found = self._names(_CONTENT)
        self.sheets = {sheet: style not in found.hidden for sheet, style in found.sheets.items()}

    def rows(self, sheet: str) -> Iterator[SheetRow]:
        """The rows of a sheet that are not blank.

        Args:
            sheet: Its name.

        Raises:
            SourceError: The workbook is broken, or beyond a limit.
        """
        events = _Sheet(sheet, self._name, self._settings)
        with self._archive.open(_CONTENT) as stream:
            for _ in read_events(stream, self._name, events):
                yield from events.taken()
                if events.done:
                    return

    def _names(self, member: str) -> _Names:
        names = _Names()
        with self._archive.open(member) as stream:
            for _ in read_events(stream, self._name, names):
                pass
        return names


class _Names:
    """Sheets, the styles of hidden ones, and which elements there are; reads the document through."""

    def __init__(self) -> None:
        self.sheets: dict[str, str] = {}
        self.hidden: set[str] = set()
        self.seen: set[str] = set()
        self._style = ""
        self._tables = 0

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        local = local_name(name)
        if len(self.seen) < 1000:
            self.seen.add(local)
        held = _attributes(attributes) if local in ("style", "table-properties", "table") else {}
        match local:
            case "style":
                self._style = held.get("name", "")
            case "table-properties":
                if held.get("display") == "false":
                    self.hidden.add(self._style)
            case "table":
                self._tables += 1
                if self._tables == 1:
                    self.sheets[held.get("name", "")] = held.get("style-name", "")

    def text(self, data: str) -> None:
        pass

    def end(self, name: str) -> None:
        if local_name(name) == "table":
            self._tables -= 1


class _Sheet:
    """The cells of one sheet."""

    def __init__(self, sheet: str, name: str, settings: SpreadsheetSettings) -> None:
        self._sheet = sheet
        self._name = name
        self._settings = settings
        self._rows: list[SheetRow] = []
        self._cells: dict[int, Cell] = {}
        self._tables = 0
        self._active = False
        self._row = 0
        self._row_times = 1
        self._column = 0
        self._cell: dict[str, str] = {}
        self._beside = 0
        self._paragraphs: list[str] = []
        self._size = 0
        self._in_text = 0
        self.done = False

    def taken(self) -> list[SheetRow]:
        """The rows that have become complete."""
        rows, self._rows = self._rows, []
        return rows

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        local = local_name(name)
        if local == "table":
            self._tables += 1
            if self._tables == 1:
                self._active = not self.done and _attributes(attributes).get("name", "") == self._sheet
        if not self._active or self._tables > 1:
            return
        if self._beside or local in _BESIDE:
            self._beside += 1
            return
        match local:
            case "table-row":
                self._row += 1
                self._row_times = _times(_attributes(attributes).get("number-rows-repeated"))
                self._column = 0
                self._cells = {}
            case "table-cell" | "covered-table-cell":
                self._cell = _attributes(attributes)
                self._paragraphs = []
                self._size = 0
            case "p":
                self._in_text += 1
                self._paragraphs.append("")
            case "s":
                self._add(" " * min(_times(_attributes(attributes).get("c")), 1000))
            case "tab":
                self._add("\t")
            case "line-break":
                self._add("\n")

    def text(self, data: str) -> None:
        if self._in_text and not self._beside:
            self._add(data)

    def end(self, name: str) -> None:
        local = local_name(name)
        if local == "table":
            self._tables -= 1
            self.done = self.done or (self._active and not self._tables)
            self._active = self._active and self._tables > 0
        if not self._active or self._tables > 1:
            return
        if self._beside:
            self._beside -= 1
            return
        match local:
            case "p":
                self._in_text -= 1
            case "table-cell" | "covered-table-cell":
                self._keep(_made(self._cell, "\n".join(self._paragraphs), self._settings.max_cell_characters))
            case "table-row":
                if self._cells:
                    self._rows.append((self._row, self._cells))
                self._row += self._row_times - 1

    def _add(self, data: str) -> None:
        if self._paragraphs and self._size <= self._settings.max_cell_characters:
            self._paragraphs[-1] += data
            self._size += len(data)

    def _keep(self, cell: Cell | None) -> None:
        times = _times(self._cell.get("number-columns-repeated"))
        if cell is not None:
            if self._column + times > self._settings.max_columns:
                raise SourceError(
                    f"{self._name} has more columns than max_columns = {self._settings.max_columns}.",
                    _MEND,
                    reason="WORKBOOK_UNREADABLE",
                )
            for column in range(self._column, self._column + times):
                self._cells[column] = cell
        self._column += times


def _made(cell: dict[str, str], text: str, limit: int) -> Cell | None:
    """A cell of its attributes and its text."""
    kind = cell.get("value-type", "")
    if kind == "error" or (cell.get("formula") and text.startswith(("#", "Err:"))):
        return Cell("error", None)
    match kind:
        case "":
            return Cell("formula", None) if cell.get("formula") else text_cell(text, limit)
        case "float" | "percentage" | "currency":
            made = number_cell(cell.get("value", ""), Format(), since_1904=False)
            same = (
                made.kind == "number"
                and text.isascii()
                and text.isdigit()
                and text.lstrip("0") == str(made.value)
            )
            return Cell(made.kind, made.value, text) if same else made
        case "date":
            return iso_date_cell(cell.get("date-value", ""))
        case "time":
            return Cell("time", text)
        case "boolean":
            return Cell("bool", cell.get("boolean-value") == "true")
    return text_cell(text or cell.get("string-value", ""), limit)


def _times(text: str | None) -> int:
    return whole_number(text) or 1


def _attributes(attributes: dict[str, str]) -> dict[str, str]:
    return {local_name(key): held for key, held in attributes.items()}
