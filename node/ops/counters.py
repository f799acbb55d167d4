"""Counters that operators read: how often something was refused, and why; labels are reasons, no content."""

from __future__ import annotations

import threading
from collections import Counter


class Counters:
    """Thread-safe counts by reason since the start of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def inc(self, reason: str, by: int = 1) -> None:
        """Count `by` more of `reason` (a stable machine word)."""
        with self._lock:
            self._counts[reason] += by

    def snapshot(self) -> dict[str, int]:
        """All counts as they stand."""
        with self._lock:
            return dict(self._counts)


refused = Counters()
