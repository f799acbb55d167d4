"""XLSX workbooks, cell by cell as the program stored them, in memory that does not grow with the sheet.

Rules:
- Text that cells share is kept in a file while the workbook is read.
- A formula gives the value that the program calculated last; one that it never did is told as such.

Source: ECMA-376 part 1 (transitional and strict).
"""

from __future__ import annotations

import re
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Final

from registry_adapters.errors import SourceError
from registry_adapters.sources.cells import (
    Cell,
    Format,
    format_of,
    iso_date_cell,
    number_cell,
    text_cell,
    whole_number,
)
from registry_adapters.sources.file_settings import SpreadsheetSettings
from registry_adapters.sources.xml_events import local_name, read_events
from registry_adapters.sources.zipped import Archive

_REFERENCE = re.compile(r"([A-Z]{1,3})([1-9]\d{0,6})")
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_MEND: Final = "Save it again as .xlsx with the spreadsheet program, or move it out of the folder."
SheetRow = tuple[int, dict[int, Cell]]
"""Number of the row, from 1, and its cells that are not blank by number of the column, from 0."""


class Xlsx:
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
        self._book = self._part("_rels/.rels", "officeDocument")
        self._folder = PurePosixPath(self._book).parent
        self._relations = self._related(
            str(self._folder / "_rels" / f"{PurePosixPath(self._book).name}.rels")
        )
        self._since_1904 = False
        self.sheets: dict[str, bool] = {}
        self._parts: dict[str, str] = {}
        for path, attributes in self._elements(self._book, "workbookPr", "sheet"):
            if path[-1] == "workbookPr":
                self._since_1904 = attributes.get("date1904") in ("1", "true")
            elif path[-2:] == ["sheets", "sheet"]:
                sheet = attributes.get("name", "")
                self.sheets[sheet] = attributes.get("state", "visible") == "visible"
                self._parts[sheet] = attributes.get("id", "")

    def rows(self, sheet: str) -> Iterator[SheetRow]:
        """The rows of a sheet that are not blank.

        Args:
            sheet: Its name.

        Raises:
            SourceError: The workbook is broken, or beyond a limit.
        """
        _kind, part = self._relations.get(self._parts[sheet], ("", ""))
        self._archive.check(part)
        with tempfile.TemporaryFile() as store, self._archive.open(part) as stream:
            events = _Sheet(self._name, self._settings, self._formats(), self._strings(store))
            events.since_1904 = self._since_1904
            for _ in read_events(stream, self._name, events):
                yield from events.taken()

    def _formats(self) -> list[Format]:
        part = self._first("styles")
        codes: dict[int, str] = {}
        formats: list[Format] = []
        for path, attributes in self._elements(part, "numFmt", "xf") if part else ():
            number = whole_number(attributes.get("numFmtId")) or 0
            if path[-1] == "numFmt":
                codes[number] = attributes.get("formatCode", "")
            elif path[-2:] == ["cellXfs", "xf"]:
                formats.append(format_of(number, codes.get(number, "")))
        return formats

    def _strings(self, store: IO[bytes]) -> _Strings:
        part = self._first("sharedStrings")
        strings = _Strings(store)
        if part:
            events = _SharedText(strings, self._settings.max_cell_characters)
            with self._archive.open(part) as stream:
                for _ in read_events(stream, self._name, events):
                    pass
        return strings

    def _first(self, kind: str) -> str:
        found = (target for held, target in self._relations.values() if held == kind)
        return next((target for target in found if target in self._archive.names), "")

    def _part(self, relations: str, kind: str) -> str:
        for held, target in self._related(relations, folder="").values():
            if held == kind:
                return target
        raise SourceError(f"{self._name} is no XLSX workbook.", _MEND, reason="WORKBOOK_UNREADABLE")

    def _related(self, part: str, folder: str | None = None) -> dict[str, tuple[str, str]]:
        """Id to kind and member of what a part of the workbook refers to."""
        base = str(self._folder) if folder is None else folder
        found = {}
        for _path, attributes in self._elements(part, "Relationship"):
            target = attributes.get("Target", "")
            member = target.lstrip("/") if target.startswith("/") else f"{base}/{target}".lstrip("/")
            kind = attributes.get("Type", "").rpartition("/")[2]
            found[attributes.get("Id", "")] = kind, member.removeprefix("./")
        return found

    def _elements(self, part: str, *wanted: str) -> Iterator[tuple[list[str], dict[str, str]]]:
        """Path and attributes of the elements of these names, all without namespaces."""
        events = _Elements(frozenset(wanted))
        with self._archive.open(part) as stream:
            for _ in read_events(stream, self._name, events):
                yield from events.found
                events.found.clear()


class _Elements:
    """Gathers elements by name."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self._wanted = wanted
        self._path: list[str] = []
        self.found: list[tuple[list[str], dict[str, str]]] = []

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        self._path.append(local_name(name))
        if self._path[-1] in self._wanted:
            self.found.append((self._path[-2:], {local_name(key): held for key, held in attributes.items()}))

    def text(self, data: str) -> None:
        pass

    def end(self, name: str) -> None:
        self._path.pop()


class _Strings:
    """Texts by number, kept in a file."""

    def __init__(self, store: IO[bytes]) -> None:
        self._store = store
        self._ends = array("Q", [0])

    def add(self, text: str) -> None:
        self._store.write(data := text.encode("utf-8", "surrogatepass"))
        self._ends.append(self._ends[-1] + len(data))

    def get(self, number: int) -> str | None:
        if not 0 <= number < len(self._ends) - 1:
            return None
        self._store.seek(self._ends[number])
        data = self._store.read(self._ends[number + 1] - self._ends[number])
        return data.decode("utf-8", "surrogatepass")


class _Text:
    """Gathers a text up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[str] = []
        self._size = 0

    def add(self, data: str) -> None:
        if self._size <= self._limit:
            self._parts.append(data[: self._limit + 1 - self._size])
            self._size += len(self._parts[-1])

    def take(self) -> str:
        text = "".join(self._parts)
        self._parts.clear()
        self._size = 0
        return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


class _SharedText:
    """The texts that cells share; readings of Japanese and the like, which stand beside them, are left out."""

    def __init__(self, strings: _Strings, limit: int) -> None:
        self._strings = strings
        self._text = _Text(limit)
        self._inside = False
        self._reading = False

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        local = local_name(name)
        self._reading = self._reading or local == "rPh"
        self._inside = local == "t" and not self._reading

    def text(self, data: str) -> None:
        if self._inside:
            self._text.add(data)

    def end(self, name: str) -> None:
        self._inside = False
        match local_name(name):
            case "rPh":
                self._reading = False
            case "si":
                self._strings.add(self._text.take())


class _Sheet:
    """The cells of a sheet."""

    def __init__(
        self, name: str, settings: SpreadsheetSettings, formats: list[Format], strings: _Strings
    ) -> None:
        self._name = name
        self._settings = settings
        self._formats = formats
        self._strings = strings
        self._rows: list[SheetRow] = []
        self._cells: dict[int, Cell] = {}
        self._row = 0
        self._column = -1
        self._cell: dict[str, str] = {}
        self._formula = False
        self._text = _Text(settings.max_cell_characters)
        self._inside = False
        self._reading = False
        self.since_1904 = False

    def taken(self) -> list[SheetRow]:
        """The rows that have become complete."""
        rows, self._rows = self._rows, []
        return rows

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        match local_name(name):
            case "row":
                self._row = self._next_row(whole_number(attributes.get("r")) or self._row + 1)
                self._column = -1
                self._cells = {}
            case "c":
                self._cell = attributes
                self._formula = False
                self._column = self._placed(attributes.get("r", ""))
            case "f":
                self._formula = True
            case "rPh":
                self._reading = True
            case "v" | "t":
                self._inside = not self._reading

    def text(self, data: str) -> None:
        if self._inside:
            self._text.add(data)

    def end(self, name: str) -> None:
        self._inside = False
        match local_name(name):
            case "rPh":
                self._reading = False
            case "c":
                cell = self._made(self._text.take())
                if cell is not None:
                    self._keep(cell)
            case "row":
                if self._cells:
                    self._rows.append((self._row, self._cells))

    def _next_row(self, number: int) -> int:
        if number <= self._row:
            raise self._fault("has rows that are out of order")
        return number

    def _placed(self, reference: str) -> int:
        found = _REFERENCE.fullmatch(reference)
        if found is None:
            return self._column + 1
        column = 0
        for letter in found[1]:
            column = column * 26 + ord(letter) - 64
        return column - 1

    def _keep(self, cell: Cell) -> None:
        if self._column >= self._settings.max_columns:
            raise self._fault(f"has more columns than max_columns = {self._settings.max_columns}")
        self._cells[self._column] = cell

    def _made(self, text: str) -> Cell | None:
        kind = self._cell.get("t", "n")
        if not text:
            return Cell("formula", None) if self._formula and kind != "str" else None
        match kind:
            case "s":
                place = whole_number(text.strip())
                shared = None if place is None else self._strings.get(place)
                if shared is None:
                    raise self._fault("refers to a text that it does not hold")
                return text_cell(shared, self._settings.max_cell_characters)
            case "inlineStr" | "str":
                return text_cell(text, self._settings.max_cell_characters)
            case "b":
                return Cell("bool", text.strip() == "1")
            case "d":
                return iso_date_cell(text)
            case "n":
                number = whole_number(self._cell.get("s")) or 0
                form = self._formats[number] if number < len(self._formats) else Format()
                return number_cell(text, form, since_1904=self.since_1904)
        return Cell("error", None)

    def _fault(self, words: str) -> SourceError:
        return SourceError(f"{self._name} {words}.", _MEND, reason="WORKBOOK_UNREADABLE")
