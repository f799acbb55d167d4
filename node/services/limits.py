"""How much one caller may have under way at once (I11)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from node.federation.errors import StreamQuotaError


class Limits:
    """Counts of open streams and running calls by caller; for the event loop only."""

    def __init__(self, *, streams: int, calls: int) -> None:
        self._most = {"stream": streams, "call": calls}
        self._open: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def hold(self, caller: str, what: str) -> Iterator[None]:
        """Hold one "stream" or "call" of a caller for the length of a block.

        Raises:
            StreamQuotaError: The caller already has the most it may have.
        """
        key = (caller, what)
        if self._open[key] >= self._most[what]:
            raise StreamQuotaError(f"There are already {self._open[key]} {what}s of this caller under way.")
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1

    def open_streams(self, caller: str) -> int:
        """Streams that a caller has open now."""
        return self._open[(caller, "stream")]
