"""The registry's own key of a row as one text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def join_key(parts: Sequence[Any]) -> str:
    """One opaque key of one or several columns; a slash inside a part is written %2F where there are several."""
    if len(parts) == 1:
        return key_text(parts[0])
    return "/".join(key_text(part).replace("%", "%25").replace("/", "%2F") for part in parts)


def key_text(part: Any) -> str:
    """One column of a key as text; bytes in hexadecimal digits."""
    if isinstance(part, (bytes, bytearray, memoryview)):
        return bytes(part).hex()
    return str(part)
