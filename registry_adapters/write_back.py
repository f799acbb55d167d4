"""Telling the registry: hits and outcomes from the node to the sink, each at least once, never in the way of rows.

Rules:
- A hit is acknowledged to the node after the sink has it; a kill between the two tells it again under the same id.
- Outcomes are asked for from the last moment told, less the time that telling took and an overlap: one that changes
  behind the page that is being read comes next time. Which were told stands in the adapter's folder.
- A sink that fails, in whatever way, costs this round only: rows go on, and the same notices come again. A hit that
  it does not take holds up no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from dief.v1 import watch_pb2

from registry_adapters.client import RegistryClient
from registry_adapters.errors import AdapterError, SinkError
from registry_adapters.notice import Notice, of_hit, of_standing
from registry_adapters.sink import Sink
from registry_adapters.state import State

HITS_AT_ONCE: Final = 200
_OVERLAP: Final = timedelta(minutes=5)
_LONGEST_WAIT: Final = 60.0
_DOUBLINGS: Final = 10
_GIVE_UP_AFTER: Final = 3
"""Notices refused one after the other, before one was taken: then it is the sink that fails, not the notice."""
_SINCE: Final = "told_since"


@dataclass(slots=True)
class Told:
    """What a round told.

    Attributes:
        hits: Hits, clearances and decisions written.
        outcomes: Outcomes written.
        waiting: Hits that still wait.
    """

    hits: int = 0
    outcomes: int = 0
    waiting: int = 0


class WriteBack:
    """Tells one stream's registry.

    Args:
        stream: Name of the stream.
        sink: Where to.
        tell: Kinds of notices that are wanted.
        client: The node.
        state: The adapter's folder.
    """

    def __init__(
        self, stream: str, sink: Sink, tell: Sequence[str], client: RegistryClient, state: State
    ) -> None:
        self._stream = stream
        self._sink = sink
        self._tell = frozenset(tell)
        self._client = client
        self._state = state

    def round(self) -> Told:
        """Tell everything that waits.

        Raises:
            SinkError: The sink failed; what it has is acknowledged, the rest comes again.
            NodeError: The node is away.
        """
        told = Told()
        while not self._client.stop.is_set():
            hits, told.waiting = self._client.hits(self._stream, HITS_AT_ONCE)
            if not hits:
                break
            try:
                told.hits += self._tell_hits(hits)
            except SinkError:
                told.hits += self._tell_singly(hits)
        if "OUTCOME" in self._tell:
            told.outcomes = self._outcomes()
        return told

    def _tell_hits(self, hits: Sequence[watch_pb2.Hit]) -> int:
        """Write what the registry wants of hits, and acknowledge them."""
        wanted = [notice for notice in map(of_hit, hits) if notice.kind in self._tell]
        if wanted:
            self._write(wanted)
        self._client.acknowledge(self._stream, hits)
        return len(wanted)

    def _tell_singly(self, hits: Sequence[watch_pb2.Hit]) -> int:
        """Write hits one by one, since the sink refused them together: one that it does not take stops no other (I12).

        Raises:
            SinkError: It refused some still; those come again.
        """
        count = refused = 0
        last: SinkError | None = None
        for hit in hits:
            try:
                count += self._tell_hits([hit])
                refused = 0
            except SinkError as error:
                last = error
                refused += 1
                if refused >= _GIVE_UP_AFTER:
                    break
        if last is not None:
            raise last
        return count

    def follow(self, every: float, told: Callable[[Told | AdapterError], None]) -> None:
        """Round after round until the client's stop event is set; a failure waits for a later round.

        Args:
            every: Seconds between rounds; after a failure the wait grows up to a minute.
            told: Called with what a round told, if anything, and with each failure.
        """
        failures = 0
        while not self._client.stop.is_set():
            try:
                done = self.round()
                failures = 0
                if done.hits or done.outcomes:
                    told(done)
            except AdapterError as error:
                if self._client.stop.is_set():
                    return
                failures += 1
                told(error)
            except Exception as error:  # noqa: BLE001 - whatever it was, the registry is told again later (I12)
                failures += 1
                told(_broken("The write-back", error))
            self._client.stop.wait(min(every * 2.0 ** min(failures, _DOUBLINGS), max(every, _LONGEST_WAIT)))

    def _outcomes(self) -> int:
        held = self._state.fact(_SINCE)
        since = datetime.fromisoformat(held) if held else None
        newest = since
        begun = time.monotonic()
        count = 0
        for notices, moment in self._fresh(since):
            self._write(notices)
            self._state.note_told(notice.notice for notice in notices)
            newest = moment if newest is None else max(newest, moment)
            count += len(notices)
        if newest is not None and newest != since:
            asked = newest - timedelta(seconds=time.monotonic() - begun)
            self._state.set_fact(_SINCE, asked.isoformat())
            self._state.forget_told_before(asked - 2 * _OVERLAP)
        return count

    def _write(self, notices: Sequence[Notice]) -> None:
        try:
            self._sink.write(notices)
        except AdapterError:
            raise
        except Exception as error:  # noqa: BLE001 - a driver, or a sink of another package
            raise _broken("The sink", error) from None

    def _fresh(self, since: datetime | None) -> Iterator[tuple[list[Notice], datetime]]:
        """Outcomes that were not told yet, with the newest moment among them, some at a time."""
        asked = None if since is None else since - _OVERLAP
        batch: list[Notice] = []
        newest = datetime.fromtimestamp(0, UTC)
        for standing in self._client.standings(self._stream, asked):
            notice = of_standing(standing)
            if self._state.was_told(notice.notice):
                continue
            batch.append(notice)
            newest = max(newest, standing.changed_at.ToDatetime(UTC))
            if len(batch) >= HITS_AT_ONCE:
                yield batch, newest
                batch = []
        if batch:
            yield batch, newest


def _broken(what: str, error: Exception) -> SinkError:
    """An error of somebody else's code; its text may quote a value or a secret, so only its class is told."""
    return SinkError(
        f"{what} failed: {type(error).__name__}.",
        "Try `dief adapter conform`; nothing is lost, the same notices come again.",
    )
