"""Rows of CSV files that a registry drops into a folder.

Rules:
- A file counts as handed over when it has not changed for `settle_seconds`, or, with `handover = "done"`, when
  `<name>.done` lies beside it. Names that begin with a dot or end in .part or .tmp are never read.
- A file is copied before it is read. One that changed while it was copied is left for the next run.
- Files are read from the oldest to the newest; which were read is kept in the cursor by name and SHA-256. A file
  sent again with corrections is read again; unchanged rows of it send nothing.
- A header that comes again is no row. A header without a column that is needed stops the run with the nearest
  known name, before a row is lost.
- Surplus fields belong to the free text of the last column where the mapping says so (`overflow`); otherwise the
  record is handed over with a fault.

Source: cases pandas-dev/pandas#4793, domain schema C.
"""

from __future__ import annotations

import difflib
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from registry_adapters.errors import FieldFault, SchemaDriftError, SourceError
from registry_adapters.keys import join_key
from registry_adapters.mapping.file import CsvSettings
from registry_adapters.source import Cursor, Milestone, Row, SourceReport
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

KIND: Final = "csv"
_UNFINISHED = (".part", ".tmp", ".done", ".filepart", ".crdownload")
_CHUNK = 1 << 20
_MARKS = "\ufeff\u200b"
_WORDS = {
    "RECORD_TOO_LARGE": "The record is longer than max_record_bytes.",
    "NOT_WELL_FORMED": "A quote is not closed, or text follows a closing quote.",
    "FIELD_COUNT": "The record has more or fewer fields than the header.",
}


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    changed_ns: int


class CsvSource:
    """A stream of rows from files.

    Args:
        settings: `[source]` of the mapping.
        home: Folder of the mapping file.
        needed: Columns that the mapping reads.
        clock: Seconds since the epoch.
    """

    kind = KIND

    def __init__(
        self,
        settings: CsvSettings,
        home: Path,
        needed: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._folder = home / settings.folder
        self._needed = needed | {*settings.key}
        self._clock = clock
        self.report = SourceReport()

    def columns(self) -> tuple[str, ...]:
        """The header of the newest file that is handed over; none where there is no file."""
        files = self._handed_over()
        if not files:
            return ()
        with _opened(files[-1].path) as file:
            dialect = self._dialect(file.read(SAMPLE_BYTES))
            file.seek(0)
            first = next(records(file, dialect, self._settings.max_record_bytes), None)
        return () if first is None else header_names(first.fields or ())

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows of every file that was not read yet; see the module's rules."""
        state = dict(cursor.state) if cursor else {}
        files = self._handed_over()
        present = {file.path.name for file in files}
        done: dict[str, str] = {
            name: digest for name, digest in dict(state.get("done", {})).items() if name in present
        }
        for file in files:
            with tempfile.TemporaryFile() as copy:
                digest = self._copied(file, copy)
                if digest is None or done.get(file.path.name) == digest:
                    continue
                begin = int(state.get("line", 0)) if state.get("digest") == digest else 0
                yield from self._rows(file.path.name, copy, digest, done, begin)
            done = {**done, file.path.name: digest}
            yield Milestone(Cursor(KIND, {"done": done}), digest if self._settings.complete else "")

    def parse_raw(self, raw: str, header: Sequence[str], separator: str) -> dict[str, Any] | None:
        """The values of a record kept as it stood, or None where it still cannot be taken apart."""
        fields = parse_record(raw, separator, self._settings.quote)
        if fields is None:
            return None
        fitted = self._fitted(fields, tuple(header), separator)
        return None if fitted is None else dict(zip(header, fitted, strict=True))

    def _handed_over(self) -> list[_File]:
        try:
            found = [path for path in self._folder.glob(self._settings.pattern) if path.is_file()]
        except OSError as error:
            raise SourceError(
                f"The drop folder cannot be read: {type(error).__name__}.",
                "Check `folder` and its permissions.",
            ) from None
        if not self._folder.is_dir():
            raise SourceError("The drop folder does not exist.", "Make it, or mend `folder` of [source].")
        ready = []
        self.report.waiting.clear()
        for path in found:
            if path.name.startswith(".") or path.name.endswith(_UNFINISHED):
                continue
            try:
                changed = path.stat().st_mtime_ns
            except FileNotFoundError:
                continue
            if self._is_ready(path, changed):
                ready.append(_File(path, changed))
            else:
                self.report.waiting.append(path.name)
        if len(ready) > self._settings.max_files:
            raise SourceError(
                f"The drop folder holds {len(ready)} files, more than max_files = {self._settings.max_files}.",
                "Move files that were read long ago out of it.",
            )
        return sorted(ready, key=lambda file: (file.changed_ns, file.path.name))

    def _is_ready(self, path: Path, changed_ns: int) -> bool:
        if self._settings.handover == "done":
            return path.with_name(path.name + ".done").exists()
        return self._clock() - changed_ns / 1e9 >= self._settings.settle_seconds

    def _copied(self, file: _File, copy: IO[bytes]) -> str | None:
        """Copy a file; its SHA-256, or None where it changed or vanished meanwhile."""
        digest = hashlib.sha256()
        try:
            with file.path.open("rb") as original:
                while chunk := original.read(_CHUNK):
                    digest.update(chunk)
                    copy.write(chunk)
            unchanged = file.path.stat().st_mtime_ns == file.changed_ns
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceError(
                f"A file of the drop folder cannot be copied: {error.strerror}.",
                "Check its permissions and the free space of the temporary folder (TMPDIR).",
            ) from None
        copy.seek(0)
        if not unchanged:
            self.report.waiting.append(file.path.name)
            return None
        return digest.hexdigest()

    def _dialect(self, sample: bytes) -> Dialect:
        settings = self._settings
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
        return Dialect(encoding, separator, settings.quote)

    def _rows(
        self, name: str, copy: IO[bytes], digest: str, done: dict[str, str], begin: int
    ) -> Iterator[Row]:
        dialect = self._dialect(copy.read(SAMPLE_BYTES))
        copy.seek(0)
        header: tuple[str, ...] = ()
        for record in records(copy, dialect, self._settings.max_record_bytes):
            if not header:
                header = self._checked_header(record, name)
                continue
            if record.line <= begin or (record.fields and header_names(record.fields) == header):
                continue
            cursor = Cursor(KIND, {"done": done, "digest": digest, "line": record.line})
            scan = digest if self._settings.complete else ""
            yield self._row(record, header, dialect, f"{name}:{record.line}", cursor, scan)

    def _row(
        self,
        record: Record,
        header: tuple[str, ...],
        dialect: Dialect,
        position: str,
        cursor: Cursor,
        scan: str,
    ) -> Row:
        fitted = None if record.fields is None else self._fitted(record.fields, header, dialect.separator)
        if fitted is None:
            reason = record.fault or "FIELD_COUNT"
            fault = FieldFault("", "", reason, _WORDS[reason])
            torn: dict[str, Any] = {"header": list(header), "separator": dialect.separator}
            return Row(None, torn, position, cursor, (fault,), scan=scan, raw=record.text)
        values = dict(zip(header, fitted, strict=True))
        parts = [values[column].strip() for column in self._settings.key]
        return Row(join_key(parts) if all(parts) else None, values, position, cursor, scan=scan)

    def _fitted(self, fields: list[str], header: tuple[str, ...], separator: str) -> list[str] | None:
        """The fields under the header; None where they are too few or too many."""
        surplus = len(fields) - len(header)
        if surplus > 0 and self._settings.overflow == header[-1]:
            last = len(header) - 1
            return [*fields[:last], separator.join(fields[last:])]
        return fields if surplus == 0 else None

    def _checked_header(self, record: Record, name: str) -> tuple[str, ...]:
        header = header_names(record.fields or ())
        told = []
        for column in sorted(self._needed - {*header}):
            close = difflib.get_close_matches(column, header, 1, 0.5)
            told.append(f"{column} (nearest: {close[0]!a})" if close else column)
        if told:
            shown = ", ".join(ascii(field) for field in record.fields or [record.text[:200]])
            raise SchemaDriftError(
                f"{name} has no column {'; '.join(told)}. Its header reads: {shown}.",
                "Mend the file's header, or the mapping's columns, `separator` and `encoding`.",
            )
        if self._settings.overflow is not None and header[-1] != self._settings.overflow:
            raise SchemaDriftError(
                f"{name}: `overflow` names {self._settings.overflow}, but the last column is {header[-1]!a}.",
                "Only the last column can take surplus separators.",
            )
        return header


def header_names(fields: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns without blanks and byte order marks."""
    return tuple(field.strip().strip(_MARKS).strip() for field in fields)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceError(
            f"{path.name} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None
