"""JSON from outside, taken apart with every limit named: what sources of records in JSON share; pure.

Rules:
- Numbers keep their digits: a fraction is a Decimal, never a float. NaN and Infinity are no JSON.
- The member b of an object a is the column `a.b`, beside `a` itself; a list stays one value.
- A record that has a member twice, lies too deep or is no object is handed over with its fault, never guessed at.

Source: RFC 8259.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from registry_adapters.errors import FieldFault

_RAW_CHARACTERS: Final = 10_000
_TWICE: Final = "An object has a member twice: which one counts is unknown."
_NOT_AN_OBJECT: Final = FieldFault("", "", "NOT_AN_OBJECT", "A record is a JSON object.")


class NotJsonError(ValueError):
    """Bytes that are no JSON that can be read; it carries nothing of them."""


class Doubled(dict[str, Any]):
    """An object that has a member twice."""


def parse(data: bytes) -> Any:
    """A JSON text.

    Args:
        data: In UTF-8, with or without its mark.

    Raises:
        NotJsonError: It is none, or its nesting or a number in it is beyond reason.
    """
    try:
        return json.loads(
            data.decode("utf-8-sig"),
            parse_float=_decimal,
            parse_constant=_no_number,
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError, InvalidOperation):
        raise NotJsonError from None


def columns_of(record: object, max_depth: int) -> tuple[dict[str, Any], tuple[FieldFault, ...]]:
    """The columns of a record, and its faults.

    Args:
        record: As `parse` gave it.
        max_depth: How deep objects and lists may lie in each other.
    """
    if not isinstance(record, dict):
        return {}, (_NOT_AN_OBJECT,)
    faults = [*_faults(record, max_depth)]
    if faults:
        return {}, tuple(faults)
    values: dict[str, Any] = {}
    twice = _flatten(record, "", values)
    if twice:
        return {}, (FieldFault("", twice, "MEMBER_TWICE", _TWICE),)
    return values, ()


def raw_text(record: object) -> str:
    """A record that could not be taken apart, for people; cut where it is long."""
    try:
        text = json.dumps(record, default=str, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "(nested too deep to show)"
    return text[:_RAW_CHARACTERS]


def property_names(properties: object, prefix: str = "", depth: int = 0) -> Iterable[str]:
    """Columns that a JSON Schema promises.

    Args:
        properties: Its `properties`.
        prefix: Path in front of them.
        depth: How deep they lie.
    """
    if not isinstance(properties, Mapping) or depth > 32:
        return
    for name, schema in properties.items():
        yield prefix + str(name)
        if isinstance(schema, Mapping):
            yield from property_names(schema.get("properties"), f"{prefix}{name}.", depth + 1)


def _faults(value: object, room: int, path: str = "") -> Iterable[FieldFault]:
    if not isinstance(value, (dict, list)):
        return
    if room <= 0:
        yield FieldFault("", path, "TOO_DEEP", "Objects and lists lie deeper in each other than max_depth.")
        return
    if isinstance(value, Doubled):
        yield FieldFault("", path, "MEMBER_TWICE", _TWICE)
    members = value.items() if isinstance(value, dict) else ((None, held) for held in value)
    for name, held in members:
        inner = path if name is None else f"{path}.{name}" if path else str(name)
        yield from _faults(held, room - 1, inner)


def _flatten(record: dict[str, Any], prefix: str, values: dict[str, Any]) -> str:
    """Put the columns of a record into `values`; the name of one that two members claim, "" where none is."""
    twice = ""
    for name, held in record.items():
        column = prefix + name
        twice = column if column in values else twice
        values[column] = held
        if isinstance(held, dict):
            twice = _flatten(held, f"{column}.", values) or twice
    return twice


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    return held if len(held) == len(pairs) else Doubled(pairs)


def _decimal(digits: str) -> Decimal:
    number = Decimal(digits)
    if abs(number.adjusted()) > 400:
        raise NotJsonError
    return number


def _no_number(_word: str) -> Any:
    raise NotJsonError
