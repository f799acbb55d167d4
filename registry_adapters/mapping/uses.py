"""What a mapping takes each column for, so that a source can tell a value that a program has spoiled.

Rules:
- An identifier is what fills a number or mark of an alert: there a changed digit makes another thing of it.
- A column may be used for several things; an identifier stays one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from registry_adapters.mapping.file import FieldRule, MappingFile, TermRule
from registry_adapters.mapping.paths import PARTIAL_DATE, TIMESTAMP, AlertPath

_HOLE = re.compile(r"\{([^{}]+)\}")
_IDENTIFIERS: Final = frozenset(
    {
        *("national_reference", "as_read", "as_registered", "first", "last", "pattern"),
        *(
            "lots",
            "headstamps",
            "packaging_marks",
            "contract_numbers",
            "ballistic_reference",
            "hs_code",
            "code",
        ),
        *("number_as_read", "register_number", "embargo_references", "phones", "postal_code", "sites"),
        *(
            "imo_number",
            "mmsi",
            "call_sign",
            "aircraft_registration",
            "aircraft_msn",
            "icao24",
            "journey_number",
        ),
        *("containers", "seals", "number_plate", "vin"),
    }
)
_NAMES: Final = frozenset({"PARTY_NAME", "VESSEL_NAME"})
_IDENTIFIER_PATHS: Final = ("identifiers[", "markings[")


@dataclass(frozen=True, slots=True)
class Uses:
    """Columns by what they are taken for.

    Attributes:
        identifiers: Numbers and marks, and the registry's key.
        texts: Other text.
        dates: Dates and moments.
    """

    identifiers: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    dates: frozenset[str] = frozenset()


def uses(file: MappingFile) -> Uses:
    """What the columns of a mapping are taken for."""
    identifiers = set(file.source.key)
    texts: set[str] = set()
    dates: set[str] = set()
    rules = [*file.field, *(rule for group in file.each for rule in group.field)]
    for rule in rules:
        path = AlertPath.parse(rule.to)
        leaf = path.leaf
        if leaf.message_type is not None and leaf.message_type.full_name in (PARTIAL_DATE, TIMESTAMP):
            dates.update(_columns(rule))
        elif leaf.name in _IDENTIFIERS or any(part in path.text for part in _IDENTIFIER_PATHS):
            identifiers.update(_columns(rule))
        elif leaf.type == leaf.TYPE_STRING and not (rule.number or rule.decimal_comma or rule.codes):
            texts.update(_columns(rule))
    for term in file.watch.term if file.watch is not None else ():
        columns = set(_columns(term)) if term.each is None else {term.each}
        (texts if term.kind in _NAMES else identifiers).update(columns)
    return Uses(frozenset(identifiers), frozenset(texts - identifiers), frozenset(dates))


def members(file: MappingFile) -> frozenset[tuple[str, str]]:
    """Columns that hold lists, each with a member of its elements that the mapping reads; "" for the element itself."""
    found: set[tuple[str, str]] = set()
    for group in file.each:
        for rule in group.field:
            found.update(
                (group.column, member) for column in _columns(rule) if (member := _member(column)) is not None
            )
    for term in file.watch.term if file.watch is not None else ():
        if term.each is not None:
            found.update(
                (term.each, member) for column in _columns(term) if (member := _member(column)) is not None
            )
    return frozenset(found)


def _member(column: str) -> str | None:
    """The member that `@.name` names, "" for `@`; None for a column of the row and for `@index`."""
    if column == "@":
        return ""
    return column.removeprefix("@.") if column.startswith("@.") else None


def _columns(rule: FieldRule | TermRule) -> Iterator[str]:
    if rule.column is not None:
        yield rule.column
    yield from _HOLE.findall(rule.template or "")
