"""Who is calling: the certificate of the connection against the trust of this moment, on every call (I9).

Two guards because there are two listeners with different CAs. Both deny by default.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import grpc
from cryptography import x509
from dief.v1 import roster_pb2

from node.federation.errors import RosterExpiredError
from node.federation.trust import LiveTrust
from node.identity.certificates import (
    PeerIdentity,
    authenticate,
    authenticate_national,
    check_standing,
    presented_chain,
)
from node.identity.errors import (
    FederationStoppedError,
    NoRosterError,
)
from node.identity.spiffe import Kind, SpiffeId
from node.ops.clock import now_ms

Context = grpc.aio.ServicerContext[Any, Any]


class FederationGuard:
    """Authenticates peers of the federation listener."""

    def __init__(self, trust: LiveTrust) -> None:
        self._trust = trust

    def peer(self, context: Context, *, erase_only_allowed: bool = False) -> PeerIdentity:
        """The State that calls.

        Args:
            context: Of the call.
            erase_only_allowed: Whether a State removed within 90 days may still make this call.

        Raises:
            IdentityError: Says which rule failed.
        """
        state = self._trust.state
        if state.stopped:
            raise FederationStoppedError("The operator of this node stopped the federation side.")
        if state.view is None:
            raise NoRosterError("This node trusts no roster yet.")
        if not erase_only_allowed and state.view.expired(now_ms()):
            raise RosterExpiredError("The roster has expired.")
        return authenticate(
            presented_chain(context.auth_context()),
            state.view,
            admitted=state.admitted,
            denied=state.denied,
            now_ms=now_ms(),
            removed_allowed=erase_only_allowed,
        )

    def recheck(self, peer: PeerIdentity, *, erase_only: bool) -> None:
        """Whether a peer that was authenticated may go on with its stream.

        Args:
            peer: Who opened it.
            erase_only: Whether the stream carries nothing but erasures.

        Raises:
            IdentityError: It may not.
        """
        state = self._trust.state
        if state.stopped:
            raise FederationStoppedError("The operator of this node stopped the federation side.")
        if state.view is None:
            raise NoRosterError("This node trusts no roster any more.")
        if not erase_only and state.view.expired(now_ms()):
            raise RosterExpiredError("The roster has expired.")
        check_standing(
            peer,
            state.view,
            admitted=state.admitted,
            denied=state.denied,
            now_ms=now_ms(),
            removed_allowed=erase_only,
        )

    def erase_only(self, state: str) -> bool:
        """Whether a State is only told of erasures now: the roster removed it, or has expired (design: Trust)."""
        view = self._trust.state.view
        participant = None if view is None else view.participant(state)
        return (
            view is None
            or view.expired(now_ms())
            or participant is None
            or participant.state_of_participation == roster_pb2.PARTICIPANT_STATE_REMOVED
        )


class NationalGuard:
    """Authenticates the own State's registries, officers and operators."""

    def __init__(
        self,
        *,
        state: str,
        federation: str,
        ca: tuple[x509.Certificate, ...],
        crl: Callable[[], x509.CertificateRevocationList | None],
    ) -> None:
        self._state = state
        self._federation = federation
        self._ca = ca
        self._crl = crl

    def caller(self, context: Context, kinds: Collection[Kind]) -> SpiffeId:
        """The person or system that calls, if its kind is one of `kinds`.

        Raises:
            IdentityError: Says which rule failed.
        """
        identity = authenticate_national(
            presented_chain(context.auth_context()),
            self._ca,
            state=self._state,
            federation=self._federation,
            kinds=frozenset(kinds),
            now_ms=now_ms(),
            crl=self._crl(),
        )
        return identity.spiffe_id
