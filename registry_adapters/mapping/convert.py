"""From what a registry holds to what a field of an alert takes; pure, value by value.

Rules:
- Text is trimmed, put into Unicode NFC, and refused with control characters or undecodable bytes.
- A value that is blank is absent; whether it may be is the mapping's to say.
- A date exists or is refused; reduced precision ("2026", "03/2026") is kept as such.
- Dates of other calendars, and day numbers of spreadsheets, only where the mapping names them: "hijri:dd/mm/yyyy"
  (Umm al-Qura), "buddhist:dd/mm/yyyy" (543 years ahead), "excel" and "excel1904". Local digits are read as digits.
- UTF-8 that was read as cp1252 is refused, or undone and counted where the mapping says so.
- Numbers with a decimal comma only where the mapping says so; nothing is rounded.
- Codes are names of the protos' enums, with or without the enum's prefix.

Source: ISO 8601; Unicode Standard Annex 15.
"""

from __future__ import annotations

import html
import re
import unicodedata
from calendar import monthrange
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
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
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_PARTS = {
    "dd": r"(?P<day>\d{1,2})",
    "mmm": r"(?P<name>[A-Za-z]{3,9})\.?",
    "mm": r"(?P<month>\d{1,2})",
    "yyyy": r"(?P<year>\d{4})",
}
CALENDARS: Final = ("hijri", "buddhist")
DAY_NUMBERS: Final = {"excel": date(1899, 12, 30), "excel1904": date(1904, 1, 1)}
"""Formats of day numbers, with the day that is number 0. 1900-02-29 never was: earlier days are refused."""
_FIRST_DAY_NUMBER: Final = 61
_BUDDHIST_YEARS: Final = 543
_MOJIBAKE_ROUNDS: Final = 2
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
    if type(value) is int:
        return str(value)
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


def clean(value: object, *, unescape: bool = False, mend: Callable[[], None] | None = None) -> str:
    """A value as text fit for an alert; "" where it is blank.

    Args:
        value: As the driver or file gives it.
        unescape: Undo HTML escaping, also where it was done twice.
        mend: Undo UTF-8 that was read as cp1252, and call this for each text that it is done to; refuse where None.

    Raises:
        UnfitError: Undecodable bytes or control characters.
    """
    if value is None:
        return ""
    text = value if type(value) is str else as_text(value)
    if not text.isascii():
        text = check_decoded(text, mend)
    elif "&" not in text and text.isprintable():
        return text.strip()
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


def check_decoded(text: str, mend: Callable[[], None] | None = None) -> str:
    """Refuse what a decoder could not read; the text, mended where that is asked for.

    Raises:
        UnfitError: Bytes were undecodable, or the text is UTF-8 that was read as cp1252 ("Ã©" for "é").
    """
    if any("\ud800" <= c <= "\udfff" or c == "\ufffd" for c in text):
        raise UnfitError("ENCODING", "Bytes that are no text in the encoding that the mapping names.")
    plain = text
    for _ in range(_MOJIBAKE_ROUNDS):
        try:
            plain = plain.encode("cp1252").decode("utf-8")
        except UnicodeError:
            break
    if plain == text:
        return text
    if mend is None:
        raise UnfitError(
            "ENCODING", "UTF-8 that was read as cp1252: mend `encoding`, or the registry's text."
        )
    mend()
    return plain


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
    """The pattern of a date format of dd, mm or mmm (an English name) and yyyy, for example "dd/mm/yyyy".

    Args:
        form: The format; "hijri:" or "buddhist:" may stand before it.

    Raises:
        ValueError: The format lacks yyyy or has something unknown in it.
    """
    pattern = ""
    rest = _without_calendar(form)
    while rest:
        for part, group in _PARTS.items():
            if rest.startswith(part):
                pattern += group
                rest = rest[len(part) :]
                break
        else:
            if rest[0].isalnum():
                raise ValueError(
                    f"`{form}` may hold dd, mm, mmm and yyyy, behind {' or '.join(CALENDARS)} and a colon"
                )
            pattern += re.escape(rest[0])
            rest = rest[1:]
    try:
        compiled = re.compile(pattern, re.ASCII)
    except re.error:
        raise ValueError(f"`{form}` names a part twice") from None
    named = compiled.groupindex
    if "month" in named and "name" in named:
        raise ValueError(f"`{form}` names a part twice")
    if "year" not in named or ("day" in named and "month" not in named and "name" not in named):
        raise ValueError(f"`{form}` needs yyyy, and mm or mmm where it has dd")
    if form.startswith("hijri:") and "day" not in named:
        raise ValueError(f"`{form}` needs dd: a month of one calendar is no month of another")
    return compiled


def _without_calendar(form: str) -> str:
    calendar, colon, rest = form.partition(":")
    return rest if colon and calendar in CALENDARS else form


def partial_date(value: object, formats: Sequence[str] = ISO_FORMATS) -> PartialDate:
    """A date with the precision it has.

    Args:
        value: A date of the driver, or text in one of the formats; a time behind it is dropped.
        formats: Formats to try.

    Raises:
        UnfitError: It is written otherwise, or no such day exists.
    """
    if isinstance(value, (datetime, date)):
        return PartialDate(year=value.year, month=value.month, day=value.day)
    text = re.sub(r"[T ]\d{1,2}:\d{2}.*$", "", _ascii_digits(str(value).strip()))
    for form in formats:
        if form in DAY_NUMBERS:
            if re.fullmatch(r"\d{1,7}(\.\d+)?", text):
                return _numbered(int(text.partition(".")[0]), form)
            continue
        match = date_pattern(form).fullmatch(text)
        if match is not None:
            return _dated(match.groupdict(), form)
    raise UnfitError("DATE_FORMAT", f"A date must be written as {' or '.join(formats)}.")


def _dated(parts: dict[str, str | None], form: str) -> PartialDate:
    name = (parts.get("name") or "").lower()[:3]
    month = _MONTHS.index(name) + 1 if name in _MONTHS else int(parts.get("month") or 0)
    if "name" in parts and not month:
        raise UnfitError("DATE_FORMAT", "The month must be an English name, such as Mar or March.")
    has_month = "name" in parts or "month" in parts
    year, day = int(parts["year"] or 0), int(parts.get("day") or 0)
    if form.startswith("hijri:"):
        return _from_hijri(year, month, day)
    if form.startswith("buddhist:"):
        year -= _BUDDHIST_YEARS
    if year < 1 or (has_month and not 1 <= month <= 12):
        raise UnfitError("DATE_IMPOSSIBLE", "No such day in the calendar.")
    if "day" in parts and not 1 <= day <= monthrange(year, month)[1]:
        raise UnfitError("DATE_IMPOSSIBLE", "No such day in the calendar.")
    return PartialDate(year=year, month=month, day=day)


def _from_hijri(year: int, month: int, day: int) -> PartialDate:
    """By the Umm al-Qura calendar, which is known from 1343 to 1500 AH."""
    from hijridate import Hijri

    try:
        found = Hijri(year, month, day).to_gregorian()
    except (ValueError, OverflowError):
        raise UnfitError("DATE_IMPOSSIBLE", "No such day in the Hijri calendar of 1343 to 1500.") from None
    return PartialDate(year=found.year, month=found.month, day=found.day)


def _numbered(number: int, form: str) -> PartialDate:
    """A day by its number in a spreadsheet."""
    if form == "excel" and number < _FIRST_DAY_NUMBER:
        raise UnfitError("DATE_IMPOSSIBLE", "A day number before March 1900 is no date of a registry.")
    try:
        found = DAY_NUMBERS[form] + timedelta(days=number)
    except OverflowError:
        raise UnfitError("DATE_IMPOSSIBLE", "No such day in the calendar.") from None
    return PartialDate(year=found.year, month=found.month, day=found.day)


def _ascii_digits(text: str) -> str:
    """Text with the digits of any script as 0 to 9."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)


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
