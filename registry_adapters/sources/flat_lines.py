"""Lines of a flat file taken apart, and the counters with which it proves that it is whole.

Rules:
- Numbered lines are numbered from 1 without a gap. Blank lines are passed over, and count for nothing.
- The separator is never escaped: a record with more or fewer fields than its type has is told, never guessed at,
  unless the mapping names the one field of free text that surplus separators belong to.
- The record that ends a group counts its lines, the trailer counts records, and a file without its trailer was cut off.

Source: domain schema D (after CHIEF licenceData).
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Final

from registry_adapters.errors import SourceError
from registry_adapters.sources.file_settings import FlatSettings

_MEND: Final = "Have the file sent again, or move it out of the folder."


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        line: Line on which it begins, from 1, as the file's lines are counted.
        number: Its place among the records, from 1.
        type: Its type.
        text: As it stands, without its number.
        cut: It is longer than the limit.
    """

    line: int
    number: int
    type: str
    text: str
    cut: bool = False


def file_fault(name: str, words: str, reason: str, mend: str = _MEND) -> SourceError:
    """What is wrong with a file as a whole."""
    return SourceError(f"{name}: {words}.", mend, reason=reason)


def read_records(file: IO[bytes], name: str, settings: FlatSettings) -> Iterator[Record]:
    """The records of a file.

    Args:
        file: The file; it is read from its beginning.
        name: What it is called, for errors.
        settings: `[source]` of the mapping.

    Raises:
        SourceError: Its lines are not numbered as they must be.
    """
    file.seek(0)
    pending: Record | None = None
    for line, text, cut in _lines(file, settings):
        number = pending.number + 1 if pending is not None else 1
        if settings.numbered and not text.startswith(f"{number}{settings.separator}"):
            if pending is None or not settings.wrapped:
                raise file_fault(
                    name, _misnumbered(line, text, number, settings.separator or ""), "LINE_NUMBER"
                )
            joined = f"{pending.text} {text.strip()}"
            cut = cut or pending.cut or len(joined) > settings.max_record_bytes
            pending = replace(pending, text=pending.text if cut else joined, cut=cut)
            continue
        if pending is not None:
            yield pending
        if settings.numbered:
            text = text.partition(settings.separator or "")[2]
        pending = Record(line, number, record_type(text, settings), text, cut)
    if pending is not None:
        yield pending


def fields_of(record: Record, settings: FlatSettings) -> dict[str, str] | None:
    """The fields of a record by their names; None where they are too few or too many."""
    layout = settings.records[record.type]
    if settings.separator is None:
        return _fixed(record.text[settings.type_width :], layout.fields, layout.widths or ())
    held = record.text.split(settings.separator)[1:]
    surplus = len(held) - len(layout.fields)
    if surplus > 0 and layout.overflow is not None:
        at = layout.fields.index(layout.overflow)
        held[at : at + surplus + 1] = [settings.separator.join(held[at : at + surplus + 1])]
        surplus = 0
    return None if surplus else dict(zip(layout.fields, held, strict=True))


class Checker:
    """Goes through a file before a row of it is taken.

    Args:
        name: What it is called, for errors.
        settings: `[source]` of the mapping.
    """

    def __init__(self, name: str, settings: FlatSettings) -> None:
        self._name = name
        self._settings = settings
        self._counted: Counter[str] = Counter()
        self._last_of: dict[str, int] = {}
        self._header: dict[str, str] = {}
        self._row_open = False
        self._closed = False

    def check(self, file: IO[bytes]) -> dict[str, str]:
        """Check numbers, order and counters; the fields of the header.

        Raises:
            SourceError: The file is not whole, or not of this kind.
        """
        settings = self._settings
        for record in read_records(file, self._name, settings):
            if self._closed:
                raise self._fault(record, "follows the trailer", "TRAILER_NOT_LAST")
            if (record.number == 1) != (record.type == settings.header) and settings.header is not None:
                raise self._fault(
                    record, "is the header in the middle" if self._header else "is no header", "HEADER"
                )
            self._counted[record.type] += 1
            self._take(record)
            self._last_of[record.type] = record.number
        if settings.trailer is not None and not self._closed:
            raise file_fault(self._name, "it has no trailer: it was cut off", "CUT_OFF")
        if self._row_open and settings.end is not None:
            raise file_fault(self._name, "its last row is not ended: it was cut off", "CUT_OFF")
        return self._header

    def _take(self, record: Record) -> None:
        settings = self._settings
        if record.type == settings.header:
            self._header = self._whole(record)
        elif record.type == settings.trailer:
            self._closed = True
            self._trailer(record)
        elif record.type == settings.row:
            if self._row_open and settings.end is not None:
                raise self._fault(record, "begins a row before the one before it is ended", "END_MISSING")
            self._row_open = True
        elif settings.end is not None and record.type == settings.end:
            self._end(record)
        elif not self._row_open:
            raise self._fault(record, "belongs to no row", "RECORD_UNKNOWN")

    def _end(self, record: Record) -> None:
        held = record.text.split(self._settings.separator or "")[1:]
        begun = self._last_of.get(held[0]) if len(held) == 2 else None
        if begun is None:
            raise self._fault(record, "ends nothing that was begun", "END_UNKNOWN")
        lines = record.number - begun + 1
        if held[1] != str(lines):
            raise self._fault(record, f"does not count the {lines} lines that are there", "COUNT_WRONG")
        if held[0] == self._settings.row:
            self._row_open = False

    def _trailer(self, record: Record) -> None:
        held = self._whole(record)
        for field, kind in self._settings.counts.items():
            if not _is_number(held[field]) or int(held[field]) != self._counted[kind]:
                words = f"does not count the {self._counted[kind]} records of type {kind} that are there"
                raise self._fault(record, words, "COUNT_WRONG")

    def _whole(self, record: Record) -> dict[str, str]:
        fields = None if record.cut else fields_of(record, self._settings)
        if fields is None:
            count = len(self._settings.records[record.type].fields)
            raise self._fault(record, f"has not the {count} fields of a {record.type}", "FIELD_COUNT")
        return fields

    def _fault(self, record: Record, words: str, reason: str) -> SourceError:
        return file_fault(self._name, f"line {record.line} {words}", reason)


def run_number(
    name: str, header: dict[str, str], settings: FlatSettings, last: object, *, again: bool
) -> int | None:
    """The run number of a file that is in its turn.

    Args:
        name: What the file is called.
        header: Fields of its header.
        settings: `[source]` of the mapping.
        last: Highest number read before, None where there is none.
        again: A file of this name was read before.

    Raises:
        SourceError: It has none, or another one than its name says; one before it is missing, or it came before.
    """
    run = settings.run
    if run is None:
        return None
    text = header[run.field]
    if not _is_number(text):
        raise file_fault(name, "its header holds no run number", "RUN_NUMBER")
    number = int(text)
    if run.in_name is not None:
        found = re.search(run.in_name, name)
        if found is None or not _is_number(found[1]) or int(found[1]) != number:
            words = f"its header says run {number}, its name says another or none"
            raise file_fault(name, words, "RUN_NUMBER_MISMATCH")
    if not isinstance(last, int) or number == last + 1:
        return number
    if number > last and run.accept_gap_to != number:
        raise file_fault(
            name,
            f"it is run {number}, but run {last + 1} was due",
            "RUN_NUMBER_GAP",
            "Put the missing file into the folder (files are taken in the order of their names with"
            f' `order = "name"`), or, if it will never come, set `accept_gap_to = {number}` in [source.run].',
        )
    if number <= last and not again and number not in run.accept_repeated:
        raise file_fault(
            name,
            f"it is run {number}, and run {last} was read before",
            "RUN_NUMBER_REPEATED",
            "Move it out of the folder, or, if it corrects an older file and nothing newer would be undone, name"
            f" {number} in `accept_repeated` of [source.run].",
        )
    return max(number, last)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


def record_type(text: str, settings: FlatSettings) -> str:
    """The type of a record, from its text without a number."""
    if settings.separator is None:
        return text[: settings.type_width].strip()
    return text.partition(settings.separator)[0]


def _fixed(text: str, names: tuple[str, ...], widths: tuple[int, ...]) -> dict[str, str] | None:
    """Fields by their widths; blanks at the end of the line may be missing."""
    found = {}
    for name, width in zip(names, widths, strict=True):
        found[name], text = text[:width], text[width:]
    return None if text.strip() else found


def _lines(file: IO[bytes], settings: FlatSettings) -> Iterator[tuple[int, str, bool]]:
    """Lines that are not blank, with their numbers, and whether they are longer than the limit."""
    decode = codecs.getdecoder(settings.encoding)
    limit = settings.max_record_bytes
    number = 0
    while data := file.readline(limit + 2):
        number += 1
        whole = data.endswith(b"\n")
        data = data.rstrip(b"\r\n")
        if number == 1:
            data = data.removeprefix(codecs.BOM_UTF8)
        while not whole and (rest := file.readline(1 << 20)):
            whole = rest.endswith(b"\n")
        if data.strip():
            yield number, decode(data[:limit], "surrogateescape")[0], len(data) > limit


def _misnumbered(line: int, text: str, due: int, separator: str) -> str:
    found = text.partition(separator)[0].strip()
    if _is_number(found):
        return f"line {line} is numbered {found}, but {due} was due"
    return f"line {line} does not begin with its number, {due}"
