"""The text of CSV files: which encoding and dialect, and its records one by one; pure but for the open file.

Rules:
- One bad record never spoils the next: a record that does not parse, is too long or has bytes that are no text is
  handed over as it stands, with its fault.
- A quote that is never closed costs one line, not the rest of the file.
- A byte order mark is no part of the first header; the end-of-file mark of DOS on a line of its own is no record.
- Encodings are detected by the mark, by the zero bytes of UTF-16, by valid UTF-8; anything else of 8 bits is
  taken for cp1252, and said so.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

SAMPLE_BYTES: Final = 256 * 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_END_OF_FILE = "\x1a"
_SEPARATORS = ";,\t|"
_MAX_QUOTED_LINES = 1000
_LARGEST_FIELD = 64 << 20


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written.

    Attributes:
        encoding: Name of a Python codec.
        separator: Between fields.
        quote: Around fields, "" where the registry never quotes.
    """

    encoding: str
    separator: str
    quote: str


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        line: Line on which it begins, from 1.
        text: As it stands, without the line end.
        fields: Taken apart; None where it cannot be.
        fault: Stable word for why not.
    """

    line: int
    text: str
    fields: list[str] | None
    fault: str = ""


def detect_encoding(sample: bytes) -> tuple[str, bool]:
    """The likely encoding of a file, and whether it is certain.

    Args:
        sample: Its first bytes.
    """
    for mark, name in _MARKS:
        if sample.startswith(mark):
            return name, True
    pairs = len(sample) // 2
    if pairs >= 8:
        if sample[1::2].count(0) > pairs * 0.6:
            return "utf-16-le", True
        if sample[::2].count(0) > pairs * 0.6:
            return "utf-16-be", True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return "cp1252", False
    return "utf-8", True


def detect_separator(header: str) -> str:
    """The separator that splits the header line into most fields."""
    return max(_SEPARATORS, key=header.count)


def settled_encoding(declared: str, sample: bytes) -> str:
    """The codec to read with: as declared, but for a byte order mark that says more exactly.

    Args:
        declared: From the mapping.
        sample: The file's first bytes.

    Raises:
        LookupError: Python knows no such encoding.
    """
    name = codecs.lookup(declared).name
    marked, certain = detect_encoding(sample)
    if certain and marked in ("utf-8-sig", "utf-16", "utf-32"):
        return marked
    if name in ("utf-16", "utf-32"):
        return "utf-16-be" if marked == "utf-16-be" else f"{name}-le"
    return name


def records(file: IO[bytes], dialect: Dialect, limit: int) -> Iterator[Record]:
    """The records of a file, blank lines left out.

    Args:
        file: Open at its beginning.
        dialect: How it is written.
        limit: Characters that a record may have.
    """
    errors = "replace" if dialect.encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    text = io.TextIOWrapper(file, dialect.encoding, errors=errors, newline="")
    try:
        lines = _Lines(text, limit)
        while (line := lines.next()) is not None:
            if line.text.strip().strip(_END_OF_FILE):
                yield _record(lines, line, dialect, limit)
    finally:
        text.detach()


def parse_record(text: str, separator: str, quote: str) -> list[str] | None:
    """The fields of one record, or None where it is not well formed."""
    csv.field_size_limit(_LARGEST_FIELD)
    try:
        if quote:
            found = list(csv.reader([text], delimiter=separator, quotechar=quote, strict=True))
        else:
            found = list(csv.reader([text], delimiter=separator, quoting=csv.QUOTE_NONE))
    except csv.Error:
        return None
    return found[0] if len(found) == 1 else None


def _record(lines: _Lines, first: _Line, dialect: Dialect, limit: int) -> Record:
    if first.cut:
        return Record(first.number, first.text, None, "RECORD_TOO_LARGE")
    if dialect.quote and first.text.count(dialect.quote) % 2:
        more = lines.until_closed(dialect.quote, limit - len(first.text))
        if more:
            joined = "\n".join((first.text, *(line.text for line in more)))
            fields = parse_record(joined, dialect.separator, dialect.quote)
            if fields is not None:
                return Record(first.number, joined, fields)
            lines.give_back(more)
    fields = parse_record(first.text, dialect.separator, dialect.quote)
    return Record(first.number, first.text, fields, "" if fields is not None else "NOT_WELL_FORMED")


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    cut: bool


class _Lines:
    """Physical lines, of bounded length, that can be given back."""

    def __init__(self, text: io.TextIOWrapper, limit: int) -> None:
        self._text = text
        self._limit = limit
        self._number = 0
        self._back: list[_Line] = []

    def next(self) -> _Line | None:
        if self._back:
            return self._back.pop()
        raw = self._text.readline(self._limit)
        if not raw:
            return None
        self._number += 1
        whole = raw.endswith(("\n", "\r"))
        if not whole and len(raw) >= self._limit:
            self._skip()
            return _Line(self._number, raw, cut=True)
        return _Line(self._number, raw.rstrip("\r\n"), cut=False)

    def until_closed(self, quote: str, room: int) -> list[_Line]:
        """The lines up to the one that closes an open quote; none where it is not closed within bounds."""
        taken: list[_Line] = []
        while (line := self.next()) is not None:
            taken.append(line)
            room -= len(line.text)
            if line.cut or room < 0 or len(taken) > _MAX_QUOTED_LINES:
                break
            if line.text.count(quote) % 2:
                return taken
        self.give_back(taken)
        return []

    def give_back(self, lines: list[_Line]) -> None:
        self._back.extend(reversed(lines))

    def _skip(self) -> None:
        while rest := self._text.readline(self._limit):
            if rest.endswith(("\n", "\r")):
                return
