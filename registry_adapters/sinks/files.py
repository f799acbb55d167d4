"""Notices into files that a registry reads from a folder.

Rules:
- A file appears whole and under its final name, or not at all; it is on disk before the node is told.
- After a kill between the two, the next file says the same again: the notice ids are the same.
- A CSV cell never begins with a sign that a spreadsheet would take for a formula.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from registry_adapters.errors import SinkError
from registry_adapters.notice import NAMES, Notice
from registry_adapters.sinks.settings import FileSinkSettings

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Also the full-width forms, which spreadsheets of East Asian systems take for the same."""


class FileSink:
    """A folder of the registry.

    Args:
        settings: `[write_back]` of the mapping.
        home: Folder of the mapping file.
        stream: Name of the stream, which begins every file's name.
    """

    kind = "file"

    def __init__(self, settings: FileSinkSettings, home: Path, stream: str) -> None:
        self._settings = settings
        self._folder = home / settings.folder
        self._stream = stream

    def check(self) -> None:
        """Whether the folder is there and takes files."""
        if not self._folder.is_dir() or not os.access(self._folder, os.W_OK | os.X_OK):
            raise SinkError(
                f"The folder {self._settings.folder} of [write_back] is missing or cannot be written.",
                "Make it, and let the adapter's account write there.",
                reason="NO_FOLDER",
            )

    def write(self, notices: Sequence[Notice]) -> None:
        """Write one new file, where there is anything to say."""
        if not notices:
            return
        self.check()
        name = f"{self._stream}-{time.time_ns()}.{self._settings.format}"
        part = self._folder / f".{name}.part"
        try:
            with part.open("xb") as file:
                file.write(self._bytes(notices))
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._folder / name)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            raise SinkError(
                f"A file of notices cannot be written: {error.strerror}.",
                "Make room, or mend the folder's rights; nothing is lost, the same notices come again.",
            ) from None

    def _bytes(self, notices: Sequence[Notice]) -> bytes:
        rows = [notice.as_dict() for notice in notices]
        if self._settings.format == "json":
            return json.dumps(rows, ensure_ascii=False, indent=1).encode()
        if self._settings.format == "jsonl":
            return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        if self._settings.format == "xlsx":
            return _workbook(rows)
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._settings.separator)
        writer.writerow(NAMES)
        writer.writerows([_harmless(str(value)) for value in row.values()] for row in rows)
        return text.getvalue().encode(self._settings.encoding, "replace")


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _workbook(rows: Sequence[dict[str, object]]) -> bytes:
    """A workbook of one sheet whose cells are all text, so that no spreadsheet changes a number."""
    import xlsxwriter

    held = io.BytesIO()
    with xlsxwriter.Workbook(held, {"in_memory": True}) as book:
        text = book.add_format({"num_format": "@"})
        sheet = book.add_worksheet("notices")
        for place, row in enumerate((NAMES, *(row.values() for row in rows))):
            for column, value in enumerate(row):
                sheet.write_string(place, column, str(value), text)
    return held.getvalue()
