"""What sources of files share about columns: whether those that are needed are there, keys, and spoiled numbers.

Rules:
- A column that is needed and missing stops the run before a row is read, with the nearest name that is there.
- Where columns may be absent from single rows (paths of JSON and XML), one that no row of a file has, while an unknown
  one of nearly the same name is there, counts as renamed.
- A number that a spreadsheet program has written in powers of ten is doubtful where a number or mark should stand.

Source: cases pandas-dev/pandas#4793, Quartz/bad-data-guide#33.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from registry_adapters.errors import FieldFault, SchemaDriftError
from registry_adapters.keys import join_key
from registry_adapters.mapping.convert import UnfitError, as_text

_NEAR: Final = 0.5
_RENAMED: Final = 0.65
_SHOWN: Final = 40
_MARKS: Final = "\ufeff\u200b"
_POWER = re.compile(r"\s*[+-]?\d([.,]\d+)?[eE]\+\d{1,3}\s*")


def header_names(fields: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns without blanks and byte order marks."""
    return tuple(field.strip().strip(_MARKS).strip() for field in fields)


def missing_columns(header: Sequence[str], needed: Collection[str]) -> list[str]:
    """Columns that are needed and not there, each with the nearest name that is."""
    told = []
    for column in sorted({*needed} - {*header}):
        close = difflib.get_close_matches(column, header, 1, _NEAR)
        told.append(f"{column} (nearest: {close[0]!a})" if close else column)
    return told


def check_header(name: str, fields: Sequence[str], needed: Collection[str]) -> tuple[str, ...]:
    """The names of a header that has all columns that are needed, each once.

    Args:
        name: Name of the file.
        fields: The header as it stands.
        needed: Columns that the mapping reads.

    Raises:
        SchemaDriftError: One is missing or stands there twice.
    """
    header = header_names(fields)
    told = missing_columns(header, needed)
    if told:
        shown = ", ".join(ascii(field) for field in fields[:_SHOWN]) + (" …" if len(fields) > _SHOWN else "")
        raise SchemaDriftError(
            f"{name} has no column {'; '.join(told)}. Its header reads: {shown}.",
            "Mend the file's header, or the mapping's columns and the way in which [source] reads the file.",
        )
    twice = [column for column, times in Counter(header).items() if times > 1 and column in needed]
    if twice:
        raise SchemaDriftError(
            f"{name} has more than one column {', '.join(map(ascii, twice))}.",
            "Have one of them renamed: which one is meant cannot be known.",
        )
    return header


def check_paths(
    name: str, met: Collection[str], needed: Collection[str], unused: Collection[str]
) -> list[str]:
    """Columns that no row of a file has.

    Args:
        name: Name of the file.
        met: Columns that its rows have.
        needed: Columns that the mapping reads.
        unused: Columns that are known and not wanted.

    Raises:
        SchemaDriftError: One of them was renamed, as it seems.
    """
    absent = sorted({*needed} - {*met})
    unknown = {path.casefold(): path for path in sorted({*met} - {*needed} - {*unused})}
    renamed = [
        (column, unknown[close[0]])
        for column in absent
        if (close := difflib.get_close_matches(column.casefold(), unknown, 1, _RENAMED))
    ]
    if renamed:
        told = "; ".join(f"{column}, but {other!a}" for column, other in renamed)
        raise SchemaDriftError(
            f"No row of {name} has {told}.",
            "Mend the mapping if it was renamed; else list the other one under `unused` of [source].",
        )
    return absent


def key_of(
    values: Mapping[str, Any], columns: Sequence[str], may_be_blank: Collection[str] = ()
) -> str | None:
    """The registry's key of a row; None where a part of it is missing or no text or number.

    Args:
        values: The row.
        columns: Columns that make the key.
        may_be_blank: Of these, those that need not be filled.
    """
    parts = []
    for column in columns:
        value = values.get(column)
        if isinstance(value, (bool, list, dict)):
            return None
        try:
            parts.append(as_text(value).strip())
        except UnfitError:
            return None
    whole = all(part or column in may_be_blank for column, part in zip(columns, parts, strict=True))
    return join_key(parts) if whole and any(parts) else None


def with_key_fault(
    key: str | None, faults: Sequence[FieldFault], columns: Sequence[str]
) -> tuple[FieldFault, ...]:
    """Faults of a row, among them that it has no key where nothing else says why.

    Args:
        key: The row's key.
        faults: Its faults so far.
        columns: Columns that make the key.
    """
    if key is None and not faults:
        return (FieldFault("", columns[0], "KEY_MISSING", "A row needs its key, a text or a number."),)
    return tuple(faults)


def powers_of_ten(values: Mapping[str, Any], identifiers: Collection[str]) -> Iterator[FieldFault]:
    """Faults of "1.2E+46", as text or number, where a number or mark should stand."""
    for column in sorted(identifiers):
        value = values.get(column)
        if isinstance(value, Decimal):
            exponent = value.as_tuple().exponent
            spoiled = not isinstance(exponent, int) or exponent > 0
        else:
            spoiled = isinstance(value, str) and _POWER.fullmatch(value) is not None
        if spoiled:
            words = "A program has written this number in powers of ten: its digits are lost."
            yield FieldFault("", column, "POWER_OF_TEN", words)
