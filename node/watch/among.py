"""Rows by many values of one column, by statements of fixed length that are made once and handed to the driver.

A list that SQLAlchemy expands is written out anew with each call, which takes longer than the look-up itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Dialect, Select, bindparam

_SIZES = (4, 40, 400)
_NAMES = tuple(f"among_{n}" for n in range(_SIZES[-1]))


_Statement = tuple[str, dict[str, Any], Sequence[str] | None]
"""Text of a statement, its fixed parameters, and their order where the driver counts them."""


class Among:
    """A query of the rows in which a column has one of some values.

    Args:
        query: What is read, and which rows besides; its own parameters are named.
        column: The column.
    """

    def __init__(self, query: Select[Any], column: Column[Any]) -> None:
        self._query = query
        self._column = column
        self._made: dict[tuple[str, int], _Statement] = {}

    def rows(self, conn: Connection, values: Sequence[Any], **parameters: Any) -> Iterator[tuple[Any, ...]]:
        """The rows, as the driver gives them.

        Args:
            conn: Snapshot or write transaction.
            values: Of the column.
            parameters: Of the query.
        """
        most = _SIZES[-1]
        for start in range(0, len(values), most):
            part = values[start : start + most]
            size = next(size for size in _SIZES if size >= len(part))
            made = self._made.get((conn.dialect.name, size))
            if made is None:
                made = self._made[conn.dialect.name, size] = self._compile(conn.dialect, size)
            statement, fixed, order = made
            given = fixed | parameters | dict(zip(_NAMES[:size], _filled(part, size), strict=True))
            shown = given if order is None else tuple([given[name] for name in order])
            yield from conn.exec_driver_sql(statement, shown)

    def _compile(self, dialect: Dialect, size: int) -> _Statement:
        marks = [bindparam(name, type_=self._column.type) for name in _NAMES[:size]]
        made = self._query.where(self._column.in_(marks)).compile(dialect=dialect)
        fixed = {name: value for name, value in made.params.items() if value is not None}
        return made.string, fixed, made.positiontup if made.positional else None


def _filled(values: Sequence[Any], size: int) -> list[Any]:
    """As many values as a statement has places for: the last one comes again."""
    return [*values, *([values[-1]] * (size - len(values)))]
