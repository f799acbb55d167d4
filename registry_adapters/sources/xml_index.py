"""Elements of one file that other elements refer to by an id, kept on disk while the file is read.

Rules:
- An id may be referred to before it is defined, so the file is gone through once before its rows are read.
- What belongs to a row is taken by the mapping's joins, in their order; a later one may start from an earlier one.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from registry_adapters.errors import FieldFault
from registry_adapters.sources.file_settings import Join
from registry_adapters.sources.xml_tree import member_names

_TABLES: Final = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8192;
CREATE TABLE item (part INTEGER, ref TEXT, place TEXT, line INTEGER, size INTEGER, data TEXT);
CREATE TABLE seen (part INTEGER, ref TEXT, PRIMARY KEY (part, ref)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Orphan:
    """An element that belongs to no row although it must.

    Attributes:
        join: What it was to be.
        line: Where it stands.
        values: Its columns.
    """

    join: Join
    line: int
    values: dict[str, Any]


class Index(AbstractContextManager["Index"]):
    """The elements that rows of one file refer to.

    Args:
        joins: `[[source.join]]` of the mapping.
        max_repeats: Elements that a list may have.
        max_row_bytes: Characters that may belong to a row.
    """

    def __init__(self, joins: tuple[Join, ...], max_repeats: int, max_row_bytes: int) -> None:
        self._joins = joins
        self._max_repeats = max_repeats
        self._max_row_bytes = max_row_bytes
        self._folder = tempfile.TemporaryDirectory()
        self._db = sqlite3.connect(Path(self._folder.name) / "index.db", isolation_level=None)
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._folder.cleanup()

    def add(self, part: int, line: int, values: Mapping[str, Any]) -> None:
        """Keep an element.

        Args:
            part: Number of its join.
            line: Where it stands.
            values: Its columns, beginning with the join's column.
        """
        join = self._joins[part]
        place = values.get(_inner(join.column, join.order_by)) if join.order_by else ""
        data = json.dumps(values)
        held = (part, values.get(_inner(join.column, join.its)), place or "", line, len(data), data)
        self._db.execute("INSERT INTO item VALUES (?, ?, ?, ?, ?, ?)", held)

    def saw(self, values: Mapping[str, Any]) -> None:
        """Note which elements belong to a row."""
        for part, join in enumerate(self._joins):
            ref = values.get(join.ours)
            if join.must_match and isinstance(ref, str):
                self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (part, ref))

    def ready(self) -> None:
        """All elements are kept: they can be looked up."""
        self._db.execute("CREATE INDEX item_ref ON item (part, ref, place)")

    def join(self, values: dict[str, Any]) -> list[FieldFault]:
        """Put what belongs to a row beside its columns.

        Args:
            values: The row's columns.

        Returns:
            Faults: two where one was meant, or too much.
        """
        faults: list[FieldFault] = []
        room = self._max_row_bytes
        lists = {join.column for join in self._joins if join.take == "all"}
        for part, join in enumerate(self._joins):
            start, _, rest = join.ours.partition("/")
            if start in lists:
                member = f"/{rest}" if rest.startswith("@") else rest
                for element in values.get(start) or ():
                    room -= self._one(part, element.get(member), element, faults, room)
            else:
                room -= self._one(part, values.get(join.ours), values, faults, room)
        return faults

    def orphans(self) -> Iterator[Orphan]:
        """Elements that belong to no row although they must, in the file's order."""
        for part, join in enumerate(self._joins):
            if not join.must_match:
                continue
            found = self._db.execute(
                "SELECT line, data FROM item WHERE part = ? AND NOT EXISTS"
                " (SELECT 1 FROM seen WHERE seen.part = item.part AND seen.ref = item.ref) ORDER BY rowid",
                (part,),
            )
            for line, data in found:
                yield Orphan(join, line, json.loads(data))

    def _one(self, part: int, ref: object, into: dict[str, Any], faults: list[FieldFault], room: int) -> int:
        """Put what an id stands for into a row, or into an element of its list; the characters that it takes."""
        join = self._joins[part]
        if join.take == "all":
            into[join.column] = []
        if not isinstance(ref, str):
            return 0
        limit = {"all": self._max_repeats + 1, "only": 2}.get(join.take, 1)
        order = "DESC" if join.take == "last" else "ASC"
        found = self._db.execute(
            f"SELECT size, data FROM item WHERE part = ? AND ref = ? ORDER BY place {order}, rowid {order} LIMIT ?",  # noqa: S608
            (part, ref, limit),
        ).fetchall()
        taken = sum(size for size, _ in found)
        if join.take == "only" and len(found) > 1:
            faults.append(
                FieldFault("", join.column, "REFERENCE_AMBIGUOUS", "More than one element has this id.")
            )
        elif taken > room or len(found) > self._max_repeats:
            words = "More belongs to the row than max_row_bytes or max_repeats allow."
            faults.append(FieldFault("", join.column, "ROW_TOO_LARGE", words))
        elif join.take == "all":
            into[join.column] = [member_names(json.loads(data), join.column) for _, data in found]
        else:
            for _, data in found:
                into.update(json.loads(data))
        return int(taken)


def _inner(column: str, path: str) -> str:
    """A path in a joined element as a column: "./@id" of `owner` is "owner/@id"."""
    return column if path == "." else f"{column}/{path.removeprefix('./')}"
