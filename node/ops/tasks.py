"""Ending tasks of the event loop so that they have really ended.

For time limits use `asyncio.timeout`, never `asyncio.wait_for`: Python 3.11's `wait_for` swallows a cancellation that
comes in the same turn of the loop as the result (CPython issue 86296, mended in 3.12), and what was to end goes on.
"""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_SECONDS = 1.0


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended, whatever they end with.

    - A cancellation can be lost in code that is not ours, so who has not ended is cancelled again.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()
