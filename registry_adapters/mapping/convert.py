"""From what a registry holds to what a field of an alert takes; pure, value by value.

Rules:
- Text is trimmed, put into Unicode NFC, and refused with control characters or undecodable bytes.
- A value that is blank is absent; whether it may be is the mapping's to say.
- A date exists or is refused; reduced precision ("2026", "03/2026") is kept as such.
- Numbers with a decimal comma only where the mapping says so; nothing is rounded.
- Codes are names of the protos' enums, with or without the enum's prefix.

Source: ISO 8601; Unicode Standard Annex 15.
"""

from __future__ import annotations

import html
import re
import unicodedata
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final

from dief.v1.alert_pb2 import PartialDate
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from registry_adapters.mapping.paths import PARTIAL_DATE, TIMESTAMP

_UNESCAPE_ROUNDS: Final = 3
_TRUE = frozenset({"1", "true", "t", "yes", "y"})
_FALSE = frozenset({"0", "false", "f", "no", "n"})
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PARTS = {"dd": r"(?P<day>\d{1,2})", "mm": r"(?P<month>\d{1,2})", "yyyy": r"(?P<year>\d{4})"}
ISO_FORMATS: Final = ("yyyy-mm-dd", "yyyy-mm", "yyyy")


class UnfitError(ValueError):
    """A value that a field cannot take.

    Attributes:
        reason: Stable word.
        description: The rule, without the value.
    """

    def __init__(self, reason: str, description: str) -> None:
        super().__init__(description)
        self.reason = reason
        self.description = description


def as_text(value: object) -> str:
    """A value of a driver as text: whole floats without a fraction, moments as ISO 8601.

    Raises:
        UnfitError: It is binary.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise UnfitError("BINARY", "The column holds binary data: cast it to text in the query.")
    return str(value)


def clean(value: object, *, unescape: bool = False) -> str:
    """A value as text fit for an alert; "" where it is blank.

    Args:
        value: As the driver or file gives it.
        unescape: Undo HTML escaping, also where it was done twice.

    Raises:
        UnfitError: Undecodable bytes or control characters.
    """
    text = as_text(value)
    if not text.isascii():
        check_decoded(text)
    if unescape and "&" in text:
        for _ in range(_UNESCAPE_ROUNDS):
            plain = html.unescape(text)
            if plain == text:
                break
            text = plain
    text = unicodedata.normalize("NFC", text).strip().strip("\ufeff\u200b")
    if _CONTROL.search(text):
        raise UnfitError("CONTROL_CHARACTER", "Control characters have no place in text.")
    return text


def check_decoded(text: str) -> None:
    """Refuse what a decoder could not read.

    Raises:
        UnfitError: Bytes were undecodable, or the text is UTF-8 that was read as cp1252 ("Ã©" for "é").
    """
    if any("\ud800" <= c <= "\udfff" or c == "\ufffd" for c in text):
        raise UnfitError("ENCODING", "Bytes that are no text in the encoding that the mapping names.")
    try:
        text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return
    raise UnfitError("ENCODING", "UTF-8 that was read as cp1252: mend `encoding`, or the registry's text.")


def cut(text: str, size: int) -> str:
    """Text of at most `size` characters, with an ellipsis where something was cut off."""
    return text if len(text) <= size else text[: size - 1].rstrip() + "…"


def decimal_text(text: str, *, comma: bool = False) -> str:
    """A number with a point, no grouping, no superfluous zeros.

    Args:
        text: As in the registry.
        comma: The registry writes a decimal comma, and points or blanks between thousands.

    Raises:
        UnfitError: No number.
    """
    plain = text.replace("\u00a0", " ")
    if comma:
        plain = re.sub(r"(?<=\d)[. ](?=\d{3}(\D|$))", "", plain).replace(",", ".")
    if not _NUMBER.fullmatch(plain):
        raise UnfitError("NUMBER", "Not a number in the form that the mapping names.")
    sign = "-" if plain.startswith("-") else ""
    whole, _, fraction = plain.lstrip("+-").partition(".")
    fraction = fraction.rstrip("0")
    return sign + (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")


@cache
def date_pattern(form: str) -> re.Pattern[str]:
    """The pattern of a date format of dd, mm and yyyy, for example "dd/mm/yyyy".

    Raises:
        ValueError: The format lacks yyyy or has something unknown in it.
    """
    pattern = ""
    rest = form
    while rest:
        for part, group in _PARTS.items():
            if rest.startswith(part):
                pattern += group
                rest = rest[len(part) :]
                break
        else:
            if rest[0].isalnum():
                raise ValueError(f"`{form}` may hold dd, mm and yyyy")
            pattern += re.escape(rest[0])
            rest = rest[1:]
    try:
        compiled = re.compile(pattern, re.ASCII)
    except re.error:
        raise ValueError(f"`{form}` names a part twice") from None
    if "year" not in compiled.groupindex or (
        "day" in compiled.groupindex and "month" not in compiled.groupindex
    ):
        raise ValueError(f"`{form}` needs yyyy, and mm where it has dd")
    return compiled


def partial_date(value: object, formats: Sequence[str] = ISO_FORMATS) -> PartialDate:
    """A date with the precision it has.

    Args:
        value: A date of the driver, or text in one of the formats; a time behind it is dropped.
        formats: Formats to try, of dd, mm and yyyy.

    Raises:
        UnfitError: It is written otherwise, or no such day exists.
    """
    if isinstance(value, (datetime, date)):
        return PartialDate(year=value.year, month=value.month, day=value.day)
    text = re.sub(r"[T ]\d{1,2}:\d{2}.*$", "", str(value).strip())
    for form in formats:
        match = date_pattern(form).fullmatch(text)
        if match is None:
            continue
        parts = {name: int(number) for name, number in match.groupdict().items()}
        found = PartialDate(year=parts["year"], month=parts.get("month", 0), day=parts.get("day", 0))
        if not _exists(found, parts):
            raise UnfitError("DATE_IMPOSSIBLE", "No such day in the calendar.")
        return found
    raise UnfitError("DATE_FORMAT", f"A date must be written as {' or '.join(formats)}.")


def _exists(found: PartialDate, parts: dict[str, int]) -> bool:
    if found.year < 1 or ("month" in parts and not 1 <= found.month <= 12):
        return False
    return "day" not in parts or 1 <= found.day <= monthrange(found.year, found.month)[1]


def timestamp(value: object) -> Timestamp:
    """A moment; without an offset it counts as UTC.

    Raises:
        UnfitError: Not ISO 8601, or no such moment.
    """
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
        else:
            moment = datetime.fromisoformat(str(value))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        found = Timestamp()
        found.FromDatetime(moment)
    except (ValueError, OverflowError):
        raise UnfitError("DATE_FORMAT", "A moment must be written as 2026-11-25T10:00:00Z.") from None
    return found


@cache
def enum_names(enum: EnumDescriptor) -> dict[str, int]:
    """Every way to write the codes of an enum: the full name, and the name without the enum's prefix."""
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    names = {}
    for value in enum.values:
        if value.number:
            names[value.name] = value.number
            names[value.name.removeprefix(prefix)] = value.number
    return names


def convert(value: object, field: FieldDescriptor, formats: Sequence[str] = ISO_FORMATS) -> Any:
    """A cleaned, non-blank value as the field takes it.

    Args:
        value: Text, or a date of the driver.
        field: The field of the alert.
        formats: Formats of dates.

    Raises:
        UnfitError: The field does not take it.
    """
    if field.message_type is not None:
        if field.message_type.full_name == PARTIAL_DATE:
            return partial_date(value, formats)
        assert field.message_type.full_name == TIMESTAMP
        return timestamp(value)
    text = as_text(value)
    match field.type:
        case FieldDescriptor.TYPE_ENUM:
            assert field.enum_type is not None
            number = enum_names(field.enum_type).get(text.upper())
            if number is None:
                raise UnfitError("CODE_UNKNOWN", f"Not a code of {field.enum_type.name}.")
            return number
        case FieldDescriptor.TYPE_STRING:
            return text
        case FieldDescriptor.TYPE_BOOL:
            if text.lower() not in _TRUE | _FALSE:
                raise UnfitError("BOOLEAN", "Must be true or false, yes or no, 1 or 0.")
            return text.lower() in _TRUE
        case FieldDescriptor.TYPE_DOUBLE:
            return float(decimal_text(text))
        case FieldDescriptor.TYPE_BYTES:
            try:
                return bytes.fromhex(text)
            except ValueError:
                raise UnfitError("HEX", "Must be hexadecimal.") from None
    whole = decimal_text(text)
    if "." in whole or whole.startswith("-") or len(whole) > 10 or int(whole) > 0xFFFFFFFF:
        raise UnfitError("NUMBER", "Must be a whole number that is not negative.")
    return int(whole)
