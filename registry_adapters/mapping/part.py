"""What the parts of a mapping file have in common: unknown keys are errors, and nothing changes once read."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Part(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _seconds(value: Any) -> Any:
    """`"90s"`, `"5m"`, `"24h"`, `"7d"` as seconds; anything else stays for the type to refuse."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d{1,6})([smhd])", value.strip())
    if found is None:
        raise ValueError('a time is written as "90s", "5m", "24h" or "7d"')
    return int(found[1]) * _UNITS[found[2]]


Seconds = Annotated[float, BeforeValidator(_seconds)]
"""A length of time, in seconds or as text with its unit."""
