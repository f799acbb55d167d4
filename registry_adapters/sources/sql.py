"""Rows of a table, view or query behind any SQLAlchemy URL.

Rules:
- Nothing is written and nothing is kept waiting (sql_engine).
- Changes are found by a watermark (sql_watermark), by a change table (sql_changes), or by complete passes whose
  rows are compared by their content; beside the first two, all keys are compared from time to time
  (sql_keyset).
- Rows without a watermark are read in every run. Rows without a key are yielded with a fault.
- A complete pass can be resumed at its last key.
- Before each run the columns are asked for: a missing one stops the run before a row is skipped, a changed type
  is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa

from registry_adapters.errors import SourceError
from registry_adapters.source import Cursor, Milestone, Row, SourceReport
from registry_adapters.sources.sql_changes import Changes
from registry_adapters.sources.sql_engine import (
    Database,
    OddValueError,
    RefusedError,
    UnfitValueError,
    open_engine,
)
from registry_adapters.sources.sql_keyset import Comparison
from registry_adapters.sources.sql_relation import Relation, escaped
from registry_adapters.sources.sql_rows import KIND, RowMaker
from registry_adapters.sources.sql_settings import ChangesSettings, LookupSettings, SqlSettings
from registry_adapters.sources.sql_watermark import Watermark

Parts = Generator[Row | Milestone, None, dict[str, Any]]
MAX_ASKED: Final = 256
_BESIDE: Final = ("types", "compared", "comparing")


class SqlSource:
    """A stream of rows from a database.

    Args:
        settings: `[source]` of the mapping.
        url: The database, as `SqlSettings.address` gives it.
        clock: Ours, seconds since the epoch.
        needed: Further columns that the mapping uses.
        lookups: `[lookup]` of the mapping.
        memory: File for the comparison of keys.
        accept_vanished: Tell keys as deleted also where a comparison misses most of them.
    """

    kind = KIND

    def __init__(
        self,
        settings: SqlSettings,
        url: str,
        clock: Callable[[], float] = time.time,
        *,
        needed: Iterable[str] = (),
        lookups: Mapping[str, LookupSettings] | None = None,
        memory: Path | None = None,
        accept_vanished: bool = False,
    ) -> None:
        engine = open_engine(url, dict(settings.connect_args), settings.statement_seconds)
        self.report = SourceReport()
        self._settings = settings
        self._clock = clock
        self._lookups = dict(lookups or {})
        self._memory = memory
        self._accept_vanished = accept_vanished
        self._database = Database(engine, settings.fetch_size)
        used = _used(settings) | {name: "the mapping" for name in needed if name not in _used(settings)}
        self._relation = Relation(
            self._database, settings.table, settings.query, used, settings.transaction_seconds
        )
        self._maker = RowMaker(self._relation, settings.key, settings.soft_delete)
        self._entries = None if settings.changes is None else self._change_table(settings.changes)
        self._order = _order(settings)

    def columns(self) -> tuple[str, ...]:
        """Names of the columns, asked without reading a row."""
        return self._relation.columns

    def read(self, cursor: Cursor | None) -> Iterator[Row | Milestone]:
        """Rows behind the cursor; see the module's rules."""
        state = dict(cursor.state) if cursor else {}
        self._look(state)
        try:
            last = yield from self._current(state)
            if self._is_due(last):
                yield from self._comparison().read(last)
        except RefusedError:
            self._look(state)
            raise

    def lookup(self, kind: str, value: str) -> Sequence[Mapping[str, Any]]:
        """One serial, licence or the like on demand.

        Args:
            kind: Name of a `[lookup.<name>]` of the mapping.
            value: What is asked for; at most 256 characters.

        Raises:
            SourceError: The mapping has no such look-up, the value cannot be asked for, or the registry cannot be read.
        """
        settings = self._lookups.get(kind)
        if settings is None:
            raise SourceError(
                f"The mapping has no look-up of this kind; it has {', '.join(sorted(self._lookups)) or 'none'}.",
                "Add [lookup.<name>] with a query that reads `:value`.",
                reason="LOOKUP_UNKNOWN",
            )
        if not value.strip() or len(value) > MAX_ASKED or not value.isprintable():
            raise SourceError(
                f"A look-up asks for a text of 1 to {MAX_ASKED} printable characters.",
                "Ask for the value as it was read.",
                reason="LOOKUP_UNFIT",
            )
        statement = sa.text(escaped(settings.query.rstrip().rstrip(";"), keep="value")).bindparams(
            value=value
        )
        try:
            return self._database.found(statement, settings.limit)
        except OddValueError:
            return self._database.found(statement, settings.limit)
        except UnfitValueError:
            return ()

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def _current(self, state: dict[str, Any]) -> Parts:
        """What is new; returns the state behind it."""
        if self._entries is not None:
            return (yield from self._by_changes(state, self._entries))
        yield from self._without_order(state)
        if self._settings.watermark:
            return (yield from self._by_watermark(state))
        return (yield from self._complete_pass(state, _beside(state)))

    def _by_watermark(self, state: dict[str, Any]) -> Parts:
        beside = _beside(state)
        watermark = self._watermark(self._relation, self._order)
        for stretch in watermark.stretches(state):
            shared = {**beside, **stretch.state}
            order = self._order if stretch.moves else None
            yield from self._maker.rows(stretch.rows, shared, order, stretch.place)
        last = {**beside, **watermark.state}
        yield Milestone(Cursor(KIND, last))
        return last

    def _by_changes(self, state: dict[str, Any], entries: Relation) -> Parts:
        settings = self._settings.changes
        assert settings is not None
        entries.look()
        order = tuple(dict.fromkeys((settings.order, *settings.key)))
        watermark = self._watermark(entries, order)
        changes = Changes(self._relation, entries, settings, self._maker, watermark, self._clock)
        beside = _beside(state)
        position = state.get("changes")
        if position is None or "scan" in state:
            position = position or changes.begin()
            kept = {**beside, "changes": position}
            begun = {**kept, "scan": str(state.get("scan") or uuid4().hex), "after": state.get("after")}
            yield from self._without_order(begun)
            yield from self._complete_pass(begun, kept)
        return (yield from changes.read(position, beside))

    def _complete_pass(self, state: dict[str, Any], kept: dict[str, Any]) -> Parts:
        scan = str(state.get("scan") or uuid4().hex)
        key = self._settings.key
        shared = {**kept, "scan": scan}
        for chunk in self._relation.ordered(key, state.get("after")):
            yield from self._maker.rows(chunk, shared, key, scan=scan)
        yield Milestone(Cursor(KIND, kept), completed_scan=scan)
        return kept

    def _without_order(self, state: dict[str, Any]) -> Iterator[Row]:
        """Rows that no order can reach because their key or watermark is null."""
        for chunk in self._relation.without(self._order):
            yield from self._maker.rows(chunk, state, None)

    def _comparison(self) -> Comparison:
        marks = [self._settings.watermark] if self._settings.watermark else []
        assert self._memory is not None
        return Comparison(
            self._relation,
            self._maker,
            (*marks, *self._settings.compare_columns),
            self._memory,
            self._clock,
            accept_vanished=self._accept_vanished,
        )

    def _is_due(self, state: dict[str, Any]) -> bool:
        every = self._settings.compare_every
        if every is None or self._memory is None:
            return False
        return "comparing" in state or self._clock() - state.get("compared", 0.0) >= every

    def _look(self, state: dict[str, Any]) -> None:
        """Ask for the columns, tell types that have changed, and note both and the time of the first run."""
        self.report.warnings.clear()
        self._relation.look(before=state.get("types") or ())
        types = {name: family for name, family in self._relation.families.items() if family}
        for name, before in dict(state.get("types") or {}).items():
            if types.get(name, before) != before:
                self.report.warnings.append(
                    f"Column {name} was {before} and is {types[name]} now: see whether its values are still whole."
                )
        if types:
            state["types"] = types
        if self._settings.compare_every is not None:
            state.setdefault("compared", self._clock())

    def _watermark(self, relation: Relation, order: tuple[str, ...]) -> Watermark:
        return Watermark(relation, order, self._settings.overlap_seconds, self._clock, self._registry_clock)

    def _registry_clock(self) -> float | None:
        if self._database.dialect == "sqlite":
            return self._clock()
        now = self._database.now()
        if now is None:
            return None
        return (now if now.tzinfo is not None else now.replace(tzinfo=UTC)).timestamp()

    def _change_table(self, settings: ChangesSettings) -> Relation:
        named = (*settings.key, settings.order, *([settings.operation] if settings.operation else []))
        used = dict.fromkeys(named, "[source.changes]")
        seconds = self._settings.transaction_seconds
        return Relation(self._database, settings.table, settings.query, used, seconds)


def _used(settings: SqlSettings) -> dict[str, str]:
    """Columns that the settings name, each with where."""
    used = dict.fromkeys(settings.key, "`key`")
    used.update(dict.fromkeys(settings.compare_columns, "`compare_columns`"))
    if settings.watermark:
        used[settings.watermark] = "`watermark`"
    if settings.soft_delete:
        used[settings.soft_delete] = "`soft_delete`"
    return used


def _order(settings: SqlSettings) -> tuple[str, ...]:
    """What rows are ordered by: the watermark where there is one, and the key."""
    first = [settings.watermark] if settings.watermark else []
    return tuple(dict.fromkeys((*first, *settings.key)))


def _beside(state: dict[str, Any]) -> dict[str, Any]:
    """What a cursor carries besides the place: types, times of comparison."""
    return {name: state[name] for name in _BESIDE if name in state}
