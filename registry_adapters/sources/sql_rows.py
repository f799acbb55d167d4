"""From what the driver gives to a Row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from registry_adapters.errors import FieldFault
from registry_adapters.keys import join_key
from registry_adapters.source import Cursor, Row
from registry_adapters.sources.sql_relation import Found, Place, Relation

KIND: Final = "sql"
_KEPT: Final = (None, "", 0, False)


class RowMaker:
    """Makes rows of one relation.

    Args:
        relation: What is read.
        key: Columns of the key.
        soft_delete: Column that is filled, or true, where a row counts as deleted.
    """

    def __init__(self, relation: Relation, key: tuple[str, ...], soft_delete: str | None) -> None:
        self._relation = relation
        self.key = key
        self._soft_delete = soft_delete

    def row(self, found: Found, cursor: Cursor, scan: str = "") -> Row:
        """One row."""
        [row] = self.rows([found], cursor.state, None, cursor.after, scan)
        return row

    def rows(
        self,
        chunk: Sequence[Found],
        state: Any,
        order: Sequence[str] | None,
        place: Place | None = None,
        scan: str = "",
    ) -> Iterator[Row]:
        """Rows with their cursors.

        Args:
            chunk: As the driver gave them.
            state: State that their cursors share.
            order: Columns of the place that each row's cursor has; None where all have `place`.
            place: Place that all cursors have; None where each has its own.
            scan: The complete pass that they belong to.
        """
        columns = self._relation.columns
        key_of = self._relation.picker(self.key)
        place_of = None if order is None or place is not None else self._relation.picker(order)
        single = len(self.key) == 1
        mark = None if self._soft_delete is None else columns.index(self._soft_delete)
        name, before = self._relation.name, None
        for found in chunk:
            parts = key_of(found)
            own = place if place_of is None else place_of(found)
            faults: tuple[FieldFault, ...] = ()
            key: str | None
            if None in parts:
                key = None
                faults = (_missing(self.key[0]),)
            else:
                key = parts[0] if single and type(parts[0]) is str else join_key(parts)
                if place_of is not None:
                    if own == before:
                        faults = (_doubled(self.key[0]),)
                    before = own
            yield Row(
                key,
                dict(zip(columns, found, strict=True)),
                f"{name}/{key or 'without key'}",
                Cursor(KIND, state, own),
                faults,
                mark is not None and found[mark] not in _KEPT,
                scan,
            )

    def gone(self, key: str, cursor: Cursor) -> Row:
        """The row of a key that the relation does not show any more."""
        return Row(key, {}, f"{self._relation.name}/{key}", cursor, deleted=True)


def _missing(column: str) -> FieldFault:
    return FieldFault("", column, "KEY_MISSING", "A row needs its key: the registry holds null.")


def _doubled(column: str) -> FieldFault:
    words = "Two rows have this key: the query must give one row a key, or `key` needs further columns."
    return FieldFault("", column, "KEY_DOUBLE", words)
