"""`[watch]` made ready: the facts of a row that alerts are matched against.

Rules:
- A blank cell and one that says that there is no number give no term; a value is never changed, the node normalises.
- A row that is selected but has nothing to match is not watched.
- A hit names the column that met, with the place in its list, never the value: `parties[2]`, and `remarks(1)` for what
  a pattern found second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dief.v1 import codes_pb2, watch_pb2

from registry_adapters.errors import FieldFault
from registry_adapters.mapping.convert import UnfitError, cut
from registry_adapters.mapping.field_rules import HOLE, View, elements_of, placeholder, template
from registry_adapters.mapping.file import MappingFile, Problems, TermRule, WatchRule

MAX_TERMS = 2000
MAX_VALUE, MAX_CONTEXT, MAX_FIELD, MAX_REFERENCE = 512, 200, 100, 256


@dataclass(frozen=True, slots=True)
class CompiledTerm:
    """One `[[watch.term]]`.

    Attributes:
        rule: What the mapping says.
        kind: Kind of fact.
        placeholder: What a text stands for, where the mapping names a table.
        field: What a hit names where the term is not one of a list.
    """

    rule: TermRule
    kind: codes_pb2.IndicatorKind.ValueType
    placeholder: Callable[[str], str] | None
    field: str

    def columns(self) -> Iterator[str]:
        """Columns it reads."""
        yield from _origins(self.rule)
        if self.rule.each is not None:
            yield self.rule.each
        if self.rule.context is not None:
            yield self.rule.context
        if self.rule.when is not None:
            yield from self.rule.when.columns()

    def add(self, record: watch_pb2.WatchRecord, view: View) -> None:
        """Add the terms of a row.

        Raises:
            UnfitError: A cell cannot be read.
        """
        if self.rule.each is None:
            self._from(record, view, self.field)
            return
        for index, element in enumerate(elements_of(view, self.rule.each)):
            if element is not None:
                self._from(record, view.element(element, index), f"{self.rule.each}[{index}]")

    def _from(self, record: watch_pb2.WatchRecord, view: View, field: str) -> None:
        """Add the terms of a row, or of one element of its list."""
        rule = self.rule
        if rule.when is not None and not rule.when.holds(view.text):
            return
        text = template(rule.template, view) if rule.template is not None else view.text(rule.column or "")
        if rule.pattern is None:
            self._one(record, view, text, field)
            return
        for place, found in enumerate(re.finditer(rule.pattern, text)):
            self._one(record, view, (found[1] or "").strip(), f"{field}({place})" if place else field)

    def _one(self, record: watch_pb2.WatchRecord, view: View, value: str, field: str) -> None:
        rule = self.rule
        if not value or (self.placeholder is not None and self.placeholder(value)):
            return
        if len(value) > MAX_VALUE:
            raise UnfitError("TOO_LONG", f"A value to be matched has at most {MAX_VALUE} characters.")
        if len(record.terms) >= MAX_TERMS:
            raise UnfitError("LIST_TOO_LONG", f"A row has at most {MAX_TERMS} facts to be matched.")
        context = cut(view.text(rule.context), MAX_CONTEXT) if rule.context is not None else ""
        record.terms.add(kind=self.kind, value=value, context=context, field=field[:MAX_FIELD])


@dataclass(frozen=True, slots=True)
class CompiledWatch:
    """`[watch]`."""

    rule: WatchRule
    kind: watch_pb2.WatchRecordKind.ValueType
    terms: tuple[CompiledTerm, ...]

    def columns(self) -> Iterator[str]:
        """Columns it reads."""
        yield from HOLE.findall(self.rule.reference)
        if self.rule.select is not None:
            yield from self.rule.select.columns()
        for term in self.terms:
            yield from term.columns()

    def record(self, view: View, faults: list[FieldFault]) -> watch_pb2.WatchRecord | None:
        """What of a row is watched; None where nothing is.

        Args:
            view: The row.
            faults: Takes what cannot be read.
        """
        try:
            if self.rule.select is not None and not self.rule.select.holds(view.text):
                return None
            record = watch_pb2.WatchRecord(kind=self.kind)
            if self.rule.reference:
                record.reference = cut(template(self.rule.reference, view), MAX_REFERENCE)
            for term in self.terms:
                term.add(record, view)
        except UnfitError as error:
            faults.append(FieldFault("watch", view.last, error.reason, error.description))
            return None
        return record if record.terms else None


def compile_watch(file: MappingFile, problems: Problems) -> CompiledWatch | None:
    """`[watch]` of a mapping, with its errors noted; None where it has none."""
    rule = file.watch
    if rule is None:
        return None
    terms = []
    for place, term in enumerate(rule.term):
        table = None if term.placeholders is None else file.placeholders.get(term.placeholders)
        if term.placeholders is not None and table is None:
            problems.add(
                ("watch", "term", place, "placeholders"),
                f"there is no table [placeholders.{term.placeholders}]",
            )
        kind = codes_pb2.IndicatorKind.Value(f"INDICATOR_KIND_{term.kind}")
        field = "+".join(dict.fromkeys(_origins(term)))
        made = CompiledTerm(term, kind, None if table is None else placeholder(table), field)
        if term.each is None and any(column.startswith("@") for column in made.columns()):
            problems.add(("watch", "term", place), "`@` is the element of a list: it needs `each`")
        terms.append(made)
    what = watch_pb2.WatchRecordKind.Value(f"WATCH_RECORD_KIND_{rule.kind}")
    return CompiledWatch(rule, what, tuple(terms))


def _origins(rule: TermRule) -> Iterator[str]:
    """Columns that make the value of a term."""
    if rule.column is not None:
        yield rule.column
    yield from HOLE.findall(rule.template or "")
