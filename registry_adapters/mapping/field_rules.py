"""The rules of a mapping made ready: each knows its place in the alert, its conversion and its faults."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from registry_adapters.errors import FieldFault
from registry_adapters.mapping.conditions import fold
from registry_adapters.mapping.convert import (
    DAY_NUMBERS,
    ISO_FORMATS,
    UnfitError,
    clean,
    convert,
    cut,
    date_pattern,
    decimal_text,
    enum_names,
)
from registry_adapters.mapping.file import EachRule, FieldRule, MappingFile, PlaceholderTable, Problems
from registry_adapters.mapping.paths import PARTIAL_DATE, AlertPath, BadPathError, Tree

HOLE = re.compile(r"\{([^{}]+)\}")
_NOTHING = re.compile(r"(?:0+|X+|9{6,})?", re.IGNORECASE)
_NOTHING_BEGINS = ("", "0", "X", "9")
_ASCII_SIGNS = {ord(sign): None for sign in map(chr, range(128)) if not sign.isalnum()}
_SHOWN_CODE = 60


class View:
    """The cleaned texts of one row, and of the element of a list that is being looked at."""

    __slots__ = ("_cleaned", "_mended", "_unescape", "_values", "last")

    def __init__(
        self, values: Mapping[str, Any], *, unescape: bool, mended: Counter[str] | None = None
    ) -> None:
        self._values = values
        self._unescape = unescape
        self._mended = mended
        self._cleaned: dict[str, str] = {}
        self.last = ""

    def raw(self, column: str) -> Any:
        """The value as the source gave it."""
        self.last = column
        return self._values.get(column)

    def text(self, column: str) -> str:
        """The value as cleaned text.

        Raises:
            UnfitError: It cannot be text of an alert.
        """
        self.last = column
        held = self._cleaned.get(column)
        if held is None:
            mend = None if self._mended is None else partial(self._count, column)
            held = clean(self._values.get(column), unescape=self._unescape, mend=mend)
            self._cleaned[column] = held
        return held

    def _count(self, column: str) -> None:
        if self._mended is not None:
            self._mended[column] += 1

    def element(self, value: Any, index: int) -> View:
        """The row with one element of a list beside it."""
        members = (
            {f"@.{name}": held for name, held in value.items()} if isinstance(value, dict) else {"@": value}
        )
        values = {**self._values, **members, "@index": index + 1}
        return View(values, unescape=self._unescape, mended=self._mended)


@dataclass(frozen=True, slots=True)
class CompiledField:
    """One `[[field]]`."""

    rule: FieldRule
    path: AlertPath
    formats: tuple[str, ...]
    lookup: Callable[[str, str], str] | None
    placeholder: Callable[[str], str] | None
    erased: tuple[AlertPath, Any] | None
    fixed: Any

    def columns(self) -> Iterator[str]:
        """Columns it reads."""
        if self.rule.column is not None:
            yield self.rule.column
        yield from HOLE.findall(self.rule.template or "")
        if self.rule.when is not None:
            yield from self.rule.when.columns()

    def apply(self, tree: Tree, view: View, faults: list[FieldFault], element: int = 0) -> None:
        """Put this rule's value of a row into the tree, or note why it cannot be."""
        try:
            if self.rule.when is not None and not self.rule.when.holds(view.text):
                return
            if self.rule.beside is not None and not _filled(tree, self.rule.beside, element):
                return
            value = self.fixed if self.rule.value is not None else self._value(tree, view, element)
        except UnfitError as error:
            column = self.rule.column or view.last
            faults.append(FieldFault(self._where(element), column, error.reason, error.description))
            return
        if value is not None:
            self.path.put(tree, value, element)

    def _where(self, element: int) -> str:
        return self.path.text.replace("[*]", f"[{element}]")

    def _value(self, tree: Tree, view: View, element: int) -> Any:
        rule = self.rule
        text = template(rule.template, view) if rule.template is not None else view.text(rule.column or "")
        if rule.pattern is not None:
            found = re.search(rule.pattern, text)
            text = (found[1] or "").strip() if found else ""
        if text and self.placeholder is not None:
            meaning = self.placeholder(text)
            if meaning == "erased" and self.erased is not None:
                self.erased[0].put(tree, self.erased[1], element)
                return None
            text = "" if meaning else text
        if not text:
            if rule.required:
                raise UnfitError("MISSING", "The registry must fill this column.")
            return None
        if self.lookup is not None:
            text = self.lookup(rule.column or "", text)
            if not text:
                return None
        if rule.number or rule.decimal_comma:
            text = decimal_text(text, comma=rule.decimal_comma)
        if rule.cut is not None:
            text = cut(text, rule.cut)
        value = convert(text, self.path.leaf, self.formats)
        return [value] if self.path.whole_list else value


@dataclass(frozen=True, slots=True)
class CompiledEach:
    """One `[[each]]`."""

    rule: EachRule
    fields: tuple[CompiledField, ...]

    def columns(self) -> Iterator[str]:
        """Columns it reads."""
        yield self.rule.column
        for part in self.fields:
            yield from part.columns()
        if self.rule.when is not None:
            yield from self.rule.when.columns()

    def apply(self, tree: Tree, view: View, faults: list[FieldFault]) -> None:
        """Apply the fields to every element of the row's list; blank elements are none."""
        try:
            if self.rule.when is not None and not self.rule.when.holds(view.text):
                return
            elements = _elements(view, self.rule)
        except UnfitError as error:
            faults.append(FieldFault("", self.rule.column, error.reason, error.description))
            return
        for index, element in enumerate(elements):
            inner = view.element(element, index)
            for part in self.fields:
                part.apply(tree, inner, faults, index)


def elements_of(view: View, column: str) -> list[Any]:
    """The list that a column holds, as an array or as JSON.

    Raises:
        UnfitError: It holds no list.
    """
    held = view.raw(column)
    if isinstance(held, (str, bytes)):
        try:
            held = json.loads(held) if held.strip() else []
        except ValueError:
            raise UnfitError("LIST", "The column must hold a JSON array.") from None
    if held is None:
        return []
    if not isinstance(held, (list, tuple)):
        raise UnfitError("LIST", "The column must hold an array.")
    return list(held)


def _elements(view: View, rule: EachRule) -> list[Any]:
    held = elements_of(view, rule.column)
    elements = [e for e in held if e is not None and not (isinstance(e, str) and not e.strip())]
    if len(elements) > rule.limit:
        raise UnfitError("LIST_TOO_LONG", f"The column holds more than {rule.limit} elements.")
    return elements


@cache
def _parts(template: str) -> tuple[tuple[str, str], ...]:
    """A template as pairs of a text and the column behind it, "" behind the last text."""
    parts = HOLE.split(template)
    return tuple(zip(parts[::2], [*parts[1::2], ""], strict=True))


def template(template: str, view: View) -> str:
    """The template with its columns filled in; "" where every one of them is blank."""
    found = []
    holes = filled = False
    for text, column in _parts(template):
        found.append(text)
        if column:
            holes = True
            value = view.text(column)
            if value:
                filled = True
                found.append(value)
    return "" if holes and not filled else " ".join("".join(found).split())


def _filled(tree: Tree, prefix: str, element: int) -> bool:
    """Whether rules above have put something at or below a place."""
    held: Any = tree
    for part in re.findall(r"[a-z_0-9]+|\*", prefix):
        step: str | int = element if part == "*" else int(part) if part.isdigit() else part
        if not isinstance(held, dict) or step not in held:
            return False
        held = held[step]
    return bool(held)


def _squeezed(text: str) -> str:
    """Text as placeholders compare it: letters and digits only, without accents, upper case."""
    if text.isascii():
        return (text if text.isalnum() else text.translate(_ASCII_SIGNS)).upper()
    plain = unicodedata.normalize("NFKD", text).upper()
    return "".join(c for c in plain if c.isalnum())


def placeholder(table: PlaceholderTable) -> Callable[[str], str]:
    """What a text stands for: "erased", "absent", or "" for a number like any other."""
    words = {_squeezed(word): "absent" for word in table.absent}
    words |= {_squeezed(word): "erased" for word in table.erased}

    def meaning(text: str) -> str:
        bare = _squeezed(text)
        known = words.get(bare)
        if known is not None:
            return known
        return "absent" if bare[:1] in _NOTHING_BEGINS and _NOTHING.fullmatch(bare) else ""

    return meaning


class Compiler:
    """Makes the rules of a mapping file ready and notes what cannot work."""

    def __init__(self, file: MappingFile, problems: Problems, unmapped: Counter[tuple[str, str]]) -> None:
        self._file = file
        self._problems = problems
        self._unmapped = unmapped
        self.columns_by_path: dict[str, str] = {}

    def constants(self) -> Callable[[Tree], None]:
        """`[constants]`, converted once."""
        fixed: list[tuple[AlertPath, Any]] = []
        for text, value in self._file.constants.items():
            where = ("constants", text)
            path = self._path(text, where)
            if path is not None and not path.many:
                fixed.append((path, self._constant(value, path, where)))
            elif path is not None:
                self._problems.add(where, f"`{text}`: [*] stands in [[each]] only")

        def put(tree: Tree) -> None:
            for path, value in fixed:
                path.put(tree, list(value) if isinstance(value, list) else value)

        return put

    def fields(self) -> tuple[CompiledField, ...]:
        """`[[field]]`."""
        made = (self._field(rule, ("field", i), inside=False) for i, rule in enumerate(self._file.field))
        return tuple(rule for rule in made if rule is not None)

    def each(self) -> tuple[CompiledEach, ...]:
        """`[[each]]`."""
        groups = []
        for i, group in enumerate(self._file.each):
            made = (
                self._field(rule, ("each", i, "field", j), inside=True) for j, rule in enumerate(group.field)
            )
            groups.append(CompiledEach(group, tuple(rule for rule in made if rule is not None)))
        return tuple(groups)

    def _field(self, rule: FieldRule, where: tuple[str | int, ...], *, inside: bool) -> CompiledField | None:
        path = self._path(rule.to, (*where, "to"))
        if path is None:
            return None
        if path.many != inside:
            words = "needs [*] inside [[each]]" if inside else "[*] stands in [[each]] only"
            self._problems.add((*where, "to"), f"`{rule.to}`: {words}")
            return None
        if rule.column is not None:
            self.columns_by_path.setdefault(rule.to, rule.column)
        formats = self._formats(rule, path, where)
        return CompiledField(
            rule,
            path,
            formats,
            self._codes(rule, path, where),
            self._placeholders(rule, where),
            self._erased(rule, where),
            None if rule.value is None else self._constant(rule.value, path, (*where, "value")),
        )

    def _path(self, text: str, where: tuple[str | int, ...]) -> AlertPath | None:
        try:
            path = AlertPath.parse(text)
        except BadPathError as error:
            self._problems.add(where, f"`{text}`: {error}")
            return None
        if path.text in ("name", "revision"):
            self._problems.add(where, f"`{text}` is minted by the node")
            return None
        return path

    def _constant(self, value: Any, path: AlertPath, where: tuple[str | int, ...]) -> Any:
        try:
            if path.whole_list:
                listed = value if isinstance(value, list) else [value]
                return [convert(clean(part), path.leaf) for part in listed]
            return convert(clean(value), path.leaf)
        except UnfitError as error:
            self._problems.add(where, f"`{path.text}`: {error.description}{_near_code(value, path.leaf)}")
            return None

    def _formats(self, rule: FieldRule, path: AlertPath, where: tuple[str | int, ...]) -> tuple[str, ...]:
        if rule.date is None:
            return ISO_FORMATS
        if path.leaf.message_type is None or path.leaf.message_type.full_name != PARTIAL_DATE:
            self._problems.add((*where, "date"), f"`{rule.to}` is not a date")
        named = (rule.date,) if isinstance(rule.date, str) else rule.date
        formats: list[str] = []
        for form in named:
            if form in DAY_NUMBERS:
                formats.append(form)
                continue
            if form in ("iso", "partial"):
                formats.extend(ISO_FORMATS if form == "partial" else ISO_FORMATS[:1])
                continue
            try:
                date_pattern(form)
            except ValueError as error:
                self._problems.add((*where, "date"), str(error))
                continue
            formats.append(form)
        return tuple(formats)

    def _codes(
        self, rule: FieldRule, path: AlertPath, where: tuple[str | int, ...]
    ) -> Callable[[str, str], str] | None:
        if rule.codes is None:
            return None
        table = self._file.codes.get(rule.codes)
        if table is None:
            self._problems.add((*where, "codes"), f"there is no table [codes.{rule.codes}]")
            return None
        targets: list[tuple[tuple[str, ...], str]] = [
            (("codes", rule.codes, "map", code), target) for code, target in table.map.items()
        ]
        if table.default:
            targets.append((("codes", rule.codes, "default"), table.default))
        for place, target in targets:
            try:
                if target:
                    convert(target, path.leaf)
            except UnfitError as error:
                words = f"`{rule.to}` cannot be `{target}`: {error.description}"
                self._problems.add(place, words + _near_code(target, path.leaf))
        known = {fold(code): target for code, target in table.map.items()}
        default, unmapped = table.default, self._unmapped

        def lookup(column: str, text: str) -> str:
            target = known.get(fold(text))
            if target is not None:
                return target
            unmapped[column, cut(text, _SHOWN_CODE)] += 1
            if default is None:
                raise UnfitError(
                    "CODE_NOT_MAPPED", f"The table [codes.{rule.codes}] does not know this code."
                )
            return default

        return lookup

    def _placeholders(self, rule: FieldRule, where: tuple[str | int, ...]) -> Callable[[str], str] | None:
        if rule.placeholders is None:
            return None
        table = self._file.placeholders.get(rule.placeholders)
        if table is None:
            words = f"there is no table [placeholders.{rule.placeholders}]"
            self._problems.add((*where, "placeholders"), words)
            return None
        return placeholder(table)

    def _erased(self, rule: FieldRule, where: tuple[str | int, ...]) -> tuple[AlertPath, Any] | None:
        if rule.erased is None:
            return None
        path = self._path(rule.erased.to, (*where, "erased"))
        return None if path is None else (path, self._constant(rule.erased.value, path, (*where, "erased")))


def _near_code(value: Any, leaf: FieldDescriptor) -> str:
    import difflib

    if leaf.type != FieldDescriptor.TYPE_ENUM or isinstance(value, list):
        return ""
    close = difflib.get_close_matches(str(value).upper(), list(enum_names(leaf.enum_type)), 1)
    return f" Do you mean `{close[0]}`?" if close else ""
