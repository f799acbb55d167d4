"""What a watermark says of time; pure.

Rules:
- A mark has a tick: a day for dates, a second for text without a fraction, else a microsecond. Within one tick
  a row may change twice without a trace in its mark.
- A mark without a zone may be up to 14 hours off the database's clock.
- A mark that is no time (a number, free text) cannot be moved back: only its ties are read again.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

DAY: Final = 86400.0
ZONES: Final = 14 * 3600.0


def moment_of(mark: Any) -> float | None:
    """Seconds since the epoch at which a mark's tick ends; None where it is no time.

    Args:
        mark: As the database gave it; without a zone it counts as UTC.
    """
    if isinstance(mark, str):
        if mark in ("infinity", "-infinity"):
            return math.inf if mark == "infinity" else -math.inf
        try:
            mark = date.fromisoformat(mark) if len(mark) == 10 else datetime.fromisoformat(mark)
        except ValueError:
            return None
    if isinstance(mark, datetime):
        zoned = mark if mark.tzinfo is not None else mark.replace(tzinfo=UTC)
        return (zoned - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() + tick_of(mark)
    if isinstance(mark, date):
        return (mark - date(1970, 1, 1)).days * DAY + DAY
    return None


def tick_of(mark: Any) -> float:
    """Seconds within which changes of a row have the same mark."""
    if isinstance(mark, datetime):
        return 0.0 if mark.microsecond else 1.0
    if isinstance(mark, date):
        return DAY
    if isinstance(mark, str):
        return DAY if len(mark) == 10 else 0.0 if "." in mark else 1.0
    return 0.0


def slack_of(mark: Any) -> float:
    """Seconds by which a mark may be off the database's clock because it names no zone."""
    if isinstance(mark, datetime):
        return 0.0 if mark.tzinfo is not None else ZONES
    if isinstance(mark, str) and len(mark) > 19:
        return 0.0 if mark.endswith("Z") or mark[-6] in "+-" else ZONES
    return ZONES


def less_seconds(mark: Any, seconds: float) -> Any:
    """A watermark moved back; one that is neither a date nor ISO text stays, so that only its ties are read again.

    Args:
        mark: As the database gave it; text keeps its form ("T" or blank, fraction or none, offset or none).
        seconds: How far back.
    """
    try:
        if isinstance(mark, datetime):
            return mark - timedelta(seconds=seconds)
        if isinstance(mark, date):
            return mark - timedelta(days=math.ceil(seconds / DAY))
        if isinstance(mark, str) and len(mark) == 10:
            return less_seconds(date.fromisoformat(mark), seconds).isoformat()
        if isinstance(mark, str) and len(mark) >= 19:
            moved = datetime.fromisoformat(mark) - timedelta(seconds=seconds)
            text = moved.isoformat(sep=mark[10], timespec="microseconds" if "." in mark else "seconds")
            return text.replace("+00:00", "Z") if mark.endswith("Z") else text
    except (ValueError, OverflowError):
        return mark
    return mark
