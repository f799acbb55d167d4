"""A table, view or query of a registry, read in an order that can be resumed at any place.

Rules:
- Its columns are asked for before every run; a column that is missing is told with the nearest one that there
  is, and one whose type has changed is warned of, before a row is read.
- A place is the values of the order's columns. Reading goes on behind a place, or from the first value of an
  order.
- A transaction lasts a bounded time; then, or where the server ended it, reading goes on behind the last place.
- Rows whose place holds null are read by themselves.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa

from registry_adapters.errors import SchemaDriftError, SourceError
from registry_adapters.keys import join_key
from registry_adapters.sources.sql_engine import Database, OddValueError
from registry_adapters.sources.sql_values import canonical

Found = tuple[Any, ...]
Place = Sequence[Any]
_KEYS_AT_ONCE: Final = 500
_LARGEST: Final = 250


@dataclass(frozen=True, slots=True)
class Since:
    """Where reading begins: at the first row whose first value of the order is this or more."""

    mark: Any


class Relation:
    """What stands behind FROM.

    Args:
        database: Where.
        table: Name of a table or view; or
        query: a query.
        needed: Columns that are used, each with the setting that names it.
        transaction_seconds: How long a transaction may last.
    """

    def __init__(
        self,
        database: Database,
        table: str | None,
        query: str | None,
        needed: dict[str, str],
        transaction_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database = database
        self.name = table or "query"
        self._table = table
        self._query = None if query is None else query.rstrip().rstrip(";") + "\n"
        self._needed = needed
        self._transaction_seconds = transaction_seconds
        self._clock = clock
        self._families: dict[str, str] | None = None
        self._source: sa.FromClause = sa.table("")

    @property
    def families(self) -> dict[str, str]:
        """Column to the family of its type."""
        if self._families is None:
            self.look()
        assert self._families is not None
        return self._families

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.families)

    def look(self, before: Iterable[str] = ()) -> None:
        """Ask for the columns anew.

        Args:
            before: Columns that there were once: a renamed one is looked for among the others.

        Raises:
            SchemaDriftError: One that is needed is missing.
            SourceError: The relation cannot be read.
        """
        named = (
            f"({self._query}) dief_q" if self._query is not None else self.database.quoted(self._table or "")
        )
        offered = self.database.columns(escaped(named))
        known = {*before, *(self._families or ())}
        near = [name for name in offered if known and name not in known] or list(offered)
        missing = [_missed(name, where, near) for name, where in self._needed.items() if name not in offered]
        if missing:
            raise SchemaDriftError(
                f"The registry offers no column {', '.join(missing)}; it offers {', '.join(offered)[:1000]}.",
                "Mend the mapping, or the query or the settings of [source].",
            )
        self._families = offered
        columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in offered]
        if self._query is not None:
            self._source = sa.text(escaped(self._query)).columns(*columns).subquery("dief_q")
        else:
            schema, _, name = (self._table or "").rpartition(".")
            self._source = sa.table(name, *columns, schema=schema or None)

    def picker(self, names: Sequence[str]) -> Callable[[Found], Found]:
        """A function from a row to the values of some of its columns."""
        return _picker([self.columns.index(name) for name in names])

    def ordered(
        self,
        order: Sequence[str],
        begin: Place | Since | None,
        pick: Sequence[str] | None = None,
        within: Callable[[sa.FromClause], sa.ColumnElement[bool]] | None = None,
    ) -> Iterator[list[Found]]:
        """Rows in the order of columns none of which is null, some at a time.

        Args:
            order: The columns; together they tell rows apart.
            begin: A place to begin behind, or a value to begin with.
            pick: Columns to read; all where None.
            within: A further condition.

        Raises:
            SourceError: The registry cannot be reached or read.
        """
        by = [self._source.c[name] for name in order]
        what = [self._source] if pick is None else [self._source.c[name] for name in pick]
        statement = sa.select(*what).where(*(column.is_not(None) for column in by)).order_by(*by)
        if within is not None:
            statement = statement.where(within(self._source))
        names = self.columns if pick is None else tuple(pick)
        place_of = _picker([names.index(name) for name in order])
        size = self.database.page_rows
        while True:
            begun, read, late = self._clock(), 0, False
            page = _from(statement, by, begin)
            try:
                with closing(self.database.chunks(page.limit(size) if size else page)) as chunks:
                    for chunk in chunks:
                        yield chunk
                        read += len(chunk)
                        begin = place_of(chunk[-1])
                        late = self._clock() - begun > self._transaction_seconds
                        if late:
                            break
            except OddValueError:
                continue
            except SourceError:
                if not read:
                    raise
                continue
            if not late and (not size or read < size):
                return

    def without(self, order: Sequence[str]) -> Iterator[list[Found]]:
        """Rows that no order reaches because one of its columns is null."""
        by = [self._source.c[name] for name in order]
        null = sa.or_(*(column.is_(None) for column in by))
        size = self.database.page_rows
        statement, read = sa.select(self._source).where(null), 0
        while True:
            page = statement.order_by(*by).limit(size).offset(read) if size else statement
            before = read
            try:
                for chunk in self.database.chunks(page):
                    yield chunk
                    read += len(chunk)
            except OddValueError:
                read = before
                continue
            if not size or read - before < size:
                return

    def by_keys(self, columns: Sequence[str], keys: Iterable[Found]) -> tuple[list[Found], list[Found]]:
        """The rows of some keys.

        Args:
            columns: The key's columns.
            keys: As another table wrote them.

        Returns:
            The rows that there are, and the keys (in the relation's own form) that have none; a key counts as without
            row only after it was asked for by itself, so that another spelling of it is no deletion.
        """
        own = list(dict.fromkeys(self.own_form(columns, key) for key in keys))
        by = [self._source.c[name] for name in columns]
        key_of = self.picker(columns)
        rows: list[Found] = []
        gone: list[Found] = []
        at_once = _KEYS_AT_ONCE if len(by) == 1 else _LARGEST // len(by)
        for begin in range(0, len(own), at_once):
            part = own[begin : begin + at_once]
            held = self._select(_any_of(by, part))
            rows.extend(held)
            shown = {join_key(key_of(row)) for row in held}
            for key in part:
                if join_key(key) in shown:
                    continue
                alone = self._select(_any_of(by, [key])) if held or len(part) > 1 else []
                rows.extend(alone)
                if not alone:
                    gone.append(key)
        return rows, gone

    def own_form(self, columns: Sequence[str], key: Found) -> Found:
        """A key that another table wrote, as the relation's own columns give it."""
        return tuple(canonical(part, self.families[name]) for part, name in zip(key, columns, strict=True))

    def count(self, column: str, low: Any, high: Any) -> int:
        """How many rows lie between two values of a column, both included."""
        by = self._source.c[column]
        statement = (
            sa.select(sa.func.count())
            .select_from(self._source)
            .where(by >= as_given(low), by <= as_given(high))
        )
        return int(self.database.rows(statement)[0][0])

    def largest(self, column: str, count: int) -> list[Any]:
        """The largest values of a column, largest first."""
        by = self._source.c[column]
        statement = sa.select(by).where(by.is_not(None)).order_by(by.desc()).limit(count)
        return [row[0] for row in self.database.rows(statement)]

    def latest(self, keys: Sequence[str], part: Sequence[Found], order: str) -> dict[str, Any]:
        """For some keys, the largest value of the order among all their rows."""
        by = [self._source.c[name] for name in keys]
        found: dict[str, Any] = {}
        for begin in range(0, len(part), _LARGEST):
            condition = _any_of(by, part[begin : begin + _LARGEST])
            statement = sa.select(*by, sa.func.max(self._source.c[order])).where(condition).group_by(*by)
            found.update({join_key(row[:-1]): row[-1] for row in self.database.rows(statement)})
        return found

    def _select(self, condition: sa.ColumnElement[bool]) -> list[Found]:
        statement = sa.select(self._source).where(condition)
        try:
            return self.database.rows(statement)
        except OddValueError:
            return self.database.rows(statement)


def escaped(query: str, keep: str = "") -> str:
    """A query for sa.text, whose colons bind nothing.

    Args:
        query: As it stands in the mapping.
        keep: Name of the one parameter that is bound.
    """
    kept = rf"(?!{keep}\b)" if keep else ""
    return re.sub(rf"(?<!\\):{kept}", r"\\:", query)


def as_given(value: Any) -> sa.ColumnElement[Any]:
    """A value whose type the database infers from what it is compared with."""
    return sa.literal(value, sa.types.NULLTYPE)


def _missed(name: str, where: str, offered: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.casefold(), {o.casefold(): o for o in offered}, 1, 0.5)
    hint = next((o for o in offered if near and o.casefold() == near[0]), "")
    told = ", ".join(part for part in (where and f"named by {where}", hint and f"nearest: {hint}") if part)
    return f"{name} ({told})" if told else name


def _picker(places: Sequence[int]) -> Callable[[Found], Found]:
    if len(places) == 1:
        only = places[0]
        return lambda found: (found[only],)
    return itemgetter(*places)


def _any_of(by: Sequence[sa.ColumnElement[Any]], keys: Sequence[Found]) -> sa.ColumnElement[bool]:
    if len(by) == 1:
        return by[0].in_(
            sa.bindparam(None, [key[0] for key in keys], type_=sa.types.NULLTYPE, expanding=True)
        )
    return sa.or_(
        *(sa.and_(*(column == as_given(part) for column, part in zip(by, key, strict=True))) for key in keys)
    )


def _from(
    statement: sa.Select[Any], order: Sequence[sa.ColumnElement[Any]], begin: Place | Since | None
) -> sa.Select[Any]:
    """The statement with its beginning; the first column stands alone too, so that an index can serve it."""
    if begin is None:
        return statement
    if isinstance(begin, Since):
        return statement.where(order[0] >= as_given(begin.mark))
    return statement.where(order[0] >= as_given(begin[0]), _behind(order, begin))


def _behind(order: Sequence[sa.ColumnElement[Any]], place: Place) -> sa.ColumnElement[bool]:
    """(a, b) > (x, y) in a form that every database knows."""
    first: sa.ColumnElement[bool] = order[0] > as_given(place[0])
    if len(order) == 1:
        return first
    return sa.or_(first, sa.and_(order[0] == as_given(place[0]), _behind(order[1:], place[1:])))
