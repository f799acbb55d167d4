"""How following one peer stands, and which of its logs are to be tried again when."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from dief.v1 import operator_pb2

from node.federation.backoff import Backoff

MOST_FAULTY_LOGS = 1000
FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 300.0

State: TypeAlias = "operator_pb2.PeerState.ValueType"


@dataclass(slots=True)
class Progress:
    """How replication from one peer stands."""

    state: State = operator_pb2.PEER_STATE_CONNECTING
    last_contact_ms: int = 0
    last_error: str = ""
    software: str = ""


class LogFaults:
    """Logs of one peer that stopped here, and when each is to be fetched again.

    - No more than 1000 are remembered, whatever a peer sends (I11). Who is forgotten is fetched again with the next
      connection instead of at a moment of its own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[Backoff, float]] = {}

    def note(self, log_id: bytes, *, for_good: bool) -> None:
        """A log stopped; for good where its origin lied, otherwise to be tried again later after each time."""
        backoff, _ = self._known.pop(log_id, (Backoff(FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS), 0.0))
        while len(self._known) >= MOST_FAULTY_LOGS:
            del self._known[next(iter(self._known))]
        self._known[log_id] = (backoff, inf if for_good else self._clock() + backoff.next())

    def clear(self, log_id: bytes) -> None:
        """A log goes on."""
        self._known.pop(log_id, None)

    def next_after(self, moment: float) -> float:
        """When the next log is due after a moment of the monotonic clock; infinite where none is."""
        return min((retry_at for _, retry_at in self._known.values() if retry_at > moment), default=inf)

    def __len__(self) -> int:
        return len(self._known)
