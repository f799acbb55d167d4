"""The trust of this moment: roster, admissions, denials, whether the federation side is stopped.

One snapshot for all calls and streams of the process; whoever changes trust calls `refresh`, and every stream wakes
to be authorised again (I9).
"""

from __future__ import annotations

import asyncio

from dief.v1 import handling_pb2

from node.identity.trust_store import TrustState, load_trust
from node.ledger.logs import HeldLog
from node.store.engine import Store


class LiveTrust:
    """Holds the newest TrustState. `state` may be read from any thread; waiting is for the event loop."""

    def __init__(self, store: Store, own_state: str) -> None:
        self._store = store
        self._own_state = own_state
        self._changed: asyncio.Event = asyncio.Event()
        with store.read() as conn:
            self.state: TrustState = load_trust(conn)

    async def refresh(self) -> None:
        """Load trust again and wake everything that depends on it."""
        self.state = await self._store.run_read(load_trust)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def refresh_if_changed(self) -> None:
        """Load trust again if another process changed it, and wake streams only then."""
        found = await self._store.run_read(load_trust)
        if _fingerprint(found) != _fingerprint(self.state):
            await self.refresh()

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next change; take a new one after each."""
        return self._changed

    def members(self, audience: handling_pb2.Audience) -> tuple[str, ...]:
        """Members that a log of this audience would have now, this State included."""
        view = self.state.view
        if view is None:
            return (self._own_state,)
        allowed = self.state.admitted - self.state.denied
        return view.members(audience, allowed, self._own_state)

    def may_hold(self, log: HeldLog, peer: str) -> bool:
        """Whether a peer may be sent anything of an own log: by its genesis and still by roster and denials (I2)."""
        return peer in log.members and peer not in self.state.denied


def _fingerprint(state: TrustState) -> tuple[object, ...]:
    version = (0, b"") if state.view is None else (state.view.version, state.view.digest)
    return (version, state.admitted, state.recovery, state.denied, state.stopped)
