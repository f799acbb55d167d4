"""All peers: one follower for each admitted State with an endpoint, started and stopped as trust changes.

- A follower that can not be made, or ends though nobody ended it, is told of and made again after a while (I12).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from dief.v1 import operator_pb2, roster_pb2

from node.federation.follower import Follower
from node.federation.trust import LiveTrust
from node.identity.trust_store import TrustState
from node.ops.counters import refused
from node.ops.failures import failure
from node.ops.tasks import end

LOOK_SECONDS = 60.0
AGAIN_SECONDS = 5.0
"""After a follower could not be made."""

log = structlog.get_logger(__name__)


class Peers:
    """Keeps followers in step with trust. For the event loop only."""

    def __init__(self, *, own_state: str, trust: LiveTrust, make_follower: Callable[[str], Follower]) -> None:
        self._own_state = own_state
        self._trust = trust
        self._make = make_follower
        self._running: dict[str, tuple[Follower, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Follow every peer that trust allows, until cancelled."""
        try:
            while True:
                changed = self._trust.changed
                whole = self._adjust()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS if whole else AGAIN_SECONDS):
                        await changed.wait()
        finally:
            running, self._running = self._running, {}
            await end(*(task for _, task in running.values()))

    def follower(self, state: str) -> Follower | None:
        """The running follower of a peer."""
        running = self._running.get(state)
        return None if running is None else running[0]

    def wake_receipts(self) -> None:
        """Erased bytes have left the files: every follower looks for receipts that it may send now."""
        for follower, _ in self._running.values():
            follower.wake_receipts()

    def shown(self, state: str) -> None:
        """A peer has called this node."""
        running = self._running.get(state)
        if running is not None:
            running[0].peer_shown()

    def _adjust(self) -> bool:
        """Start and end followers; whether every peer that is wanted has one."""
        wanted = followable(self._trust.state, self._own_state)
        for state in list(self._running):
            task = self._running[state][1]
            if task.done():
                error = None if task.cancelled() else task.exception()
                refused.inc("FOLLOWER_ENDED")
                log.error("follower_ended", peer=state, **({} if error is None else failure(error)))
            if task.done() or state not in wanted:
                self._running.pop(state)[1].cancel()
        for state in wanted - set(self._running):
            try:
                follower = self._make(state)
            except Exception as error:  # noqa: BLE001 - the other peers are followed
                log.error("follower_not_made", peer=state, **failure(error))
                continue
            self._running[state] = (follower, asyncio.create_task(follower.run(), name=f"follow-{state}"))
        return wanted == set(self._running)


def followable(state: TrustState, own_state: str) -> set[str]:
    """States whose nodes this one may follow now: admitted, not denied, taking part, with an endpoint."""
    if state.view is None or state.stopped:
        return set()
    found = set()
    for code in state.view.states():
        participant = state.view.participant(code)
        if (
            participant is not None
            and code != own_state
            and code in state.admitted
            and code not in state.denied
            and participant.endpoints
            and participant.treaty_status != roster_pb2.TREATY_STATUS_SECRETARIAT
            and participant.state_of_participation != roster_pb2.PARTICIPANT_STATE_SUSPENDED
        ):
            found.add(code)
    return found


def peer_state(state: TrustState, code: str, follower: Follower | None) -> operator_pb2.PeerState.ValueType:
    """How a participant stands, for operators."""
    participant = None if state.view is None else state.view.participant(code)
    if code in state.denied:
        return operator_pb2.PEER_STATE_DENIED
    if participant is None or (
        participant.state_of_participation != roster_pb2.PARTICIPANT_STATE_ACTIVE and follower is None
    ):
        return operator_pb2.PEER_STATE_NOT_PARTICIPATING
    if code in state.recovery:
        return operator_pb2.PEER_STATE_RECOVERY
    if code not in state.admitted:
        return operator_pb2.PEER_STATE_NOT_ADMITTED
    return operator_pb2.PEER_STATE_CONNECTING if follower is None else follower.progress.state
