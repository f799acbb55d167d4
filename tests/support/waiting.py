"""Waiting for something to become true, with a deadline instead of a sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T], what: str, *, seconds: float = 30.0, every: float = 0.02) -> T:
    """The first true result of `look`.

    Raises:
        AssertionError: `what` did not happen within `seconds`; the last result or error is named.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            result = look()
        except Exception as error:  # noqa: BLE001 - a node that is not up yet refuses connections
            last = error
        else:
            if result:
                return result
            last = result
        time.sleep(every)
    raise AssertionError(f"{what} did not happen within {seconds} s; last seen: {last!r}")
