"""Cells of a spreadsheet as the program keeps them; pure.

Rules:
- A cell is what it is stored as, not what it looks like: a number that looks like a date is a date, a text that looks
  like a number is a text.
- Dates count from 1899-12-30 or 1904-01-01; the day 1900-02-29, which never was, is no date.

Source: ECMA-376 part 1, 18.8.30 and 18.17.4; OpenDocument 1.3 part 3, 19.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal

Kind = Literal["text", "number", "date", "time", "bool", "error", "formula", "long"]

_LAST_SERIAL: Final = 2_958_466
_DAYS_TO_1904: Final = 1462
_QUOTED = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!h+\]|m+\]|s+\])[^\]]*\]', re.IGNORECASE)
_PARTS = frozenset("ymdhs")
_BUILT_IN_DATES: Final = frozenset({*range(14, 18), 22, *range(27, 32), 34, 35, 36, *range(50, 59)})
_BUILT_IN_TIMES: Final = frozenset({18, 19, 20, 21, 32, 33, 45, 46, 47})


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that is not blank.

    Attributes:
        kind: What it is stored as; "formula" is one that was never calculated, "long" one beyond the limit.
        value: str, int, float, bool, date or datetime; None where there is none.
        shown: A whole number as it is shown, with its leading zeros; "" where that is not known.
    """

    kind: Kind
    value: Any
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """How a number is shown.

    Attributes:
        kind: As what.
        zeros: Digits that are shown at least.
    """

    kind: Literal["number", "date", "time"] = "number"
    zeros: int = 0


def format_of(number: int, code: str) -> Format:
    """What a number format makes of numbers.

    Args:
        number: Its number; the program's own ones have no code.
        code: Its code, "" for the program's own ones.
    """
    if not code:
        if number in _BUILT_IN_DATES:
            return Format("date")
        return Format("time") if number in _BUILT_IN_TIMES else Format()
    bare = _QUOTED.sub("", code.partition(";")[0])
    parts = _PARTS & {*bare.lower()}
    if parts and bare.lower() != "general":
        return Format("date" if parts & {"y", "d"} or parts == {"m"} else "time")
    return Format(zeros=len(bare) if re.fullmatch("0{2,}", bare) else 0)


def number_cell(text: str, form: Format, *, since_1904: bool) -> Cell:
    """A number as it is meant.

    Args:
        text: As stored.
        form: How it is shown.
        since_1904: Days count from 1904.
    """
    try:
        number = float(text)
        if number != number or number in (float("inf"), float("-inf")):
            return Cell("error", None)
    except ValueError:
        return Cell("error", None)
    if form.kind == "date":
        return _date_cell(number, since_1904=since_1904)
    if form.kind == "time" and abs(number) < _LAST_SERIAL:
        minutes, seconds = divmod(round(number * 86400), 60)
        return Cell("time", f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}")
    if number.is_integer() and abs(number) < 1e15:
        whole = int(number)
        return Cell("number", whole, str(whole).zfill(form.zeros))
    return Cell("number", number)


def _date_cell(serial: float, *, since_1904: bool) -> Cell:
    first = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 30)  # noqa: DTZ001 - a civil date
    if not 0 <= serial < _LAST_SERIAL - (_DAYS_TO_1904 if since_1904 else 0) or (
        not since_1904 and int(serial) == 60
    ):
        return Cell("error", None)
    if not since_1904 and serial < 60:
        first += timedelta(days=1)
    moment = first + timedelta(days=int(serial), seconds=round(serial % 1 * 86400))
    midnight = (moment.hour, moment.minute, moment.second) == (0, 0, 0)
    return Cell("date", moment.date() if midnight else moment)


def iso_date_cell(text: str) -> Cell:
    """A date that is stored in the form of ISO 8601."""
    try:
        moment = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        return Cell("error", None)
    return Cell("date", date(moment.year, moment.month, moment.day) if "T" not in text else moment)


def whole_number(text: str | None) -> int | None:
    """A whole number of at most nine digits, as attributes of a workbook hold them; None where it is none."""
    return int(text) if text and len(text) < 10 and text.isascii() and text.isdigit() else None


def text_cell(text: str, limit: int) -> Cell | None:
    """A text; None where it is blank.

    Args:
        text: As stored.
        limit: Characters that it may have.
    """
    if len(text) > limit:
        return Cell("long", None)
    return Cell("text", text) if text.strip() else None
