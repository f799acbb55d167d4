"""Rows of XML files that a registry drops into a folder: elements, and what belongs to them by ids.

Rules:
- A file is gone through before its first row is taken, so one that is broken, cut off or hostile gives no row at all.
- A renamed root or row element, and a column that no row has while an unknown one of nearly the same name is there,
  stop the run.
- A row that is too large, repeats what may not repeat, or refers to an id that stands there twice is handed over with
  its fault, and so is an element that must belong to a row and belongs to none.

Source: domain schema B (after XWaffe).
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from registry_adapters.errors import FieldFault, SchemaDriftError, SourceError
from registry_adapters.source import Cursor, Milestone, Row
from registry_adapters.sources.columns import check_paths, key_of, with_key_fault
from registry_adapters.sources.drop_folder import DropFolder, Taken
from registry_adapters.sources.file_settings import XmlSettings
from registry_adapters.sources.xml_events import read_events
from registry_adapters.sources.xml_index import Index
from registry_adapters.sources.xml_tree import Collector, Columns, Wanted, columns_of, longest, member_path

KIND: Final = "xml"
_ROW_TOO_LARGE = FieldFault("", "", "ROW_TOO_LARGE", "The element has more than max_row_bytes.")


@dataclass(slots=True)
class _Seen:
    """What a first pass has found."""

    rows: int = 0
    met: set[str] = field(default_factory=set)


class XmlSource:
    """A stream of rows from XML.

    Args:
        settings: `[source]` of the mapping.
        home: Folder of the mapping file.
        needed: Columns that the mapping reads.
        inside: Columns that hold lists, with the members of their elements that it reads.
        clock: Seconds since the epoch.
    """

    kind = KIND

    def __init__(
        self,
        settings: XmlSettings,
        home: Path,
        needed: frozenset[str] = frozenset(),
        inside: frozenset[tuple[str, str]] = frozenset(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        joined = {join.column for join in settings.join}
        paths = {member_path(column, member, joined) for column, member in inside}
        self._needed = needed | {*settings.key} | paths
        self._row_path = tuple(settings.rows.split("/"))
        self._parts: dict[tuple[str, ...], list[int]] = {}
        for number, join in enumerate(settings.join):
            self._parts.setdefault(tuple(join.elements.split("/")), []).append(number)
        self._folder = DropFolder(KIND, settings, home, clock)
        self.report = self._folder.report

    def columns(self) -> tuple[str, ...]:
        """Columns that the newest file has; none where there is no file."""
        with self._folder.newest() as taken:
            if taken is None:
                return ()
            with self._index() as index:
                return tuple(sorted(self._first_pass(taken, index, every_column=True).met))

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows of every file that was not read yet."""
        return self._folder.read(cursor, self._rows)

    def restored(self, row: Row) -> Row:
        """A row of the quarantine; what is wrong with a file's structure stays wrong until it is sent again."""
        faults = tuple(FieldFault(**held) for held in json.loads(row.raw)) if row.raw else ()
        return replace(row, faults=faults)

    def _index(self) -> Index:
        return Index(self._settings.join, self._settings.max_repeats, self._settings.max_row_bytes)

    def _rows(self, taken: Taken) -> Iterator[Row]:
        with self._index() as index:
            seen = self._first_pass(taken, index)
            self._check_columns(taken.name, seen)
            number, line = 0, 0
            for wanted in self._elements(taken, (self._row_path,)):
                number += 1
                if number > taken.begin:
                    yield self._row(wanted, taken, number, index, same_line=wanted.node.line == line)
                line = wanted.node.line
            for orphan in index.orphans():
                number += 1
                if number > taken.begin:
                    words = (
                        f"It belongs to no row: no {orphan.join.ours} is the same as its {orphan.join.its}."
                    )
                    fault = FieldFault("", orphan.join.column, "REFERENCE_UNKNOWN", words)
                    position = f"{taken.name}:{orphan.line}#{orphan.join.column}"
                    cursor = taken.cursor(number)
                    raw = json.dumps([asdict(fault)])
                    yield Row(None, orphan.values, position, cursor, (fault,), scan=taken.scan, raw=raw)

    def _row(self, wanted: Wanted, taken: Taken, number: int, index: Index, *, same_line: bool) -> Row:
        columns = columns_of(wanted.node, "", self._settings.lists)
        values = {**wanted.around, **columns.values}
        faults = [_ROW_TOO_LARGE] if wanted.too_large else []
        faults.extend(self._broken_lists(columns))
        faults.extend(index.join(values))
        position = f"{taken.name}:{wanted.node.line}" + (f"#{number}" if same_line else "")
        key = key_of(values, self._settings.key)
        faults = [*with_key_fault(key, faults, self._settings.key)]
        raw = json.dumps([asdict(fault) for fault in faults]) if faults else ""
        return Row(key, values, position, taken.cursor(number), tuple(faults), scan=taken.scan, raw=raw)

    def _broken_lists(self, columns: Columns) -> Iterator[FieldFault]:
        for path in sorted(columns.repeated):
            if any(f"{column}/".startswith(f"{path}/") for column in self._needed):
                words = "The element repeats, and `lists` of [source] does not name it."
                yield FieldFault("", path, "REPEATED", words)
        for path, length in longest(columns.values):
            if length > self._settings.max_repeats:
                yield FieldFault("", path, "LIST_TOO_LONG", "The list has more than max_repeats elements.")

    def _first_pass(self, taken: Taken, index: Index, *, every_column: bool = False) -> _Seen:
        """Go through a file to its end: is it whole, what does it hold, and what do rows refer to."""
        seen = _Seen()
        always = every_column or any(join.must_match for join in self._settings.join)
        collector = self._collector((self._row_path, *self._parts))
        for wanted in self._elements(taken, (), collector):
            if wanted.path == self._row_path:
                seen.rows += 1
                if always or not self._needed <= seen.met:
                    columns = columns_of(wanted.node, "", self._settings.lists)
                    seen.met |= columns.met | {*wanted.around}
                    index.saw({**wanted.around, **columns.values})
            elif wanted.too_large:
                raise SourceError(
                    f"{taken.name}: line {wanted.node.line}: an element has more than max_row_bytes.",
                    "Raise the limit if it is really that large; else have the file sent again.",
                    reason="XML_TOO_LARGE",
                )
            for number in self._parts.get(wanted.path, ()):
                column = self._settings.join[number].column
                columns = columns_of(wanted.node, column, self._settings.lists)
                seen.met |= columns.met | {column}
                index.add(number, wanted.node.line, columns.values)
        index.ready()
        self._check_names(taken.name, collector, seen)
        return seen

    def _collector(self, wanted: tuple[tuple[str, ...], ...]) -> Collector:
        return Collector(wanted, self._settings)

    def _elements(
        self, taken: Taken, wanted: tuple[tuple[str, ...], ...], collector: Collector | None = None
    ) -> Iterator[Wanted]:
        taken.file.seek(0)
        collector = collector or self._collector(wanted)
        for _ in read_events(taken.file, taken.name, collector, self._settings.max_depth):
            yield from collector.taken()

    def _check_names(self, name: str, collector: Collector, seen: _Seen) -> None:
        """Stop where the root has another name or namespace, or rows have, as it seems, another name."""
        if seen.rows:
            return
        if collector.root != self._row_path[0]:
            raise SchemaDriftError(
                f"{name} begins with {collector.root!a}, not with {self._row_path[0]!a}.",
                "Mend `rows`, `namespace` or `prefixes` of [source], or move the file out of the folder.",
            )
        known = {
            "/".join(path[:i]) for path in (self._row_path, *self._parts) for i in range(1, len(path) + 1)
        }
        close = difflib.get_close_matches(self._settings.rows, sorted(collector.beside - known), 1, 0.8)
        if close:
            raise SchemaDriftError(
                f"{name} has no {self._settings.rows!a}, but {close[0]!a}.",
                "Mend `rows` of [source] if it was renamed.",
            )

    def _check_columns(self, name: str, seen: _Seen) -> None:
        if seen.rows:
            absent = check_paths(name, seen.met, self._needed, self._settings.unused)
            if absent:
                self.report.facts["in no row"] = f"{name}: {', '.join(absent)}"
