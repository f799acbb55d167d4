"""A roster as the rest of the node asks it: who takes part, with which certificates and keys, for whom.

Rules:
- Immutable: a newer roster is a new view.
- Log keys that verify are ACTIVE or RETIRED; never PREPARED, never REVOKED.
- The Secretariat is in no audience, a State that does not take part now neither.
- An audience of a kind that is not known here has no reader but its origin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from cryptography import x509
from dief.v1.handling_pb2 import (
    AUDIENCE_KIND_NAMED_STATES,
    AUDIENCE_KIND_STATES_PARTIES,
    AUDIENCE_KIND_STATES_PARTIES_AND_SIGNATORIES,
    Audience,
)
from dief.v1.roster_pb2 import (
    KEY_STATE_ACTIVE,
    KEY_STATE_RETIRED,
    KEY_STATE_REVOKED,
    PARTICIPANT_STATE_ACTIVE,
    PARTICIPANT_STATE_REMOVED,
    TREATY_STATUS_SECRETARIAT,
    TREATY_STATUS_SIGNATORY,
    TREATY_STATUS_STATE_PARTY,
    Participant,
    Roster,
    RosterKey,
)

from node.ops.clock import from_timestamp

DAY_MS: Final = 24 * 3_600_000
"""One day, in ms."""

ERASE_ONLY_MS: Final = 90 * DAY_MS
"""How long a removed State may still fetch erasures, in ms."""

WARNING_DAYS: Final = 30
"""From how many days before its expiry a roster warns."""

_VERIFYING: Final = (KEY_STATE_ACTIVE, KEY_STATE_RETIRED)
_TRUST_TAG: Final = b"dief-trust-v1\x00"


class Participation(StrEnum):
    """What the roster lets a State do now."""

    FULL = "FULL"
    ERASE_ONLY = "ERASE_ONLY"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class TrustParts:
    """What admission fixes of a participant: its CA certificates and its log keys that are not revoked.

    Attributes:
        certificates: SHA-256 of each CA certificate.
        log_keys: raw public keys.
    """

    certificates: frozenset[bytes]
    log_keys: frozenset[bytes]

    @classmethod
    def of(cls, participant: Participant) -> TrustParts:
        """The parts that a roster lists for a participant."""
        return cls(
            frozenset(sha256(der).digest() for der in participant.ca_certificates),
            frozenset(key.public_key for key in participant.log_keys if key.state != KEY_STATE_REVOKED),
        )

    def digest(self, state: str) -> bytes:
        """One SHA-256 over the parts, for two people to compare over a second channel."""
        hasher = sha256(_TRUST_TAG + state.encode())
        for parts in (self.certificates, self.log_keys):
            hasher.update(len(parts).to_bytes(4, "big") + b"".join(sorted(parts)))
        return hasher.digest()

    def covers(self, other: TrustParts) -> bool:
        """Whether the other holds nothing that is not in this one."""
        return other.certificates <= self.certificates and other.log_keys <= self.log_keys

    def common(self, other: TrustParts) -> TrustParts:
        """What both hold."""
        return TrustParts(self.certificates & other.certificates, self.log_keys & other.log_keys)


@dataclass(frozen=True, slots=True, eq=False)
class RosterView:
    """A trusted roster, ready for questions.

    Attributes:
        version: version of the roster.
        digest: SHA-256 of its payload.
        federation: name of the federation.
        issued_ms: when it was made.
        expires_ms: after which only erasures flow.
    """

    version: int
    digest: bytes
    federation: str
    issued_ms: int
    expires_ms: int
    _participants: Mapping[str, Participant] = field(repr=False)
    _bundles: Mapping[str, tuple[x509.Certificate, ...]] = field(repr=False)

    @classmethod
    def of(cls, roster: Roster, digest: bytes) -> RosterView:
        """The view of a roster whose content is checked already."""
        return cls(
            roster.version,
            digest,
            roster.federation,
            from_timestamp(roster.issued_at),
            from_timestamp(roster.expires_at),
            MappingProxyType({one.state: one for one in roster.participants}),
            MappingProxyType(
                {
                    one.state: tuple(map(x509.load_der_x509_certificate, one.ca_certificates))
                    for one in roster.participants
                }
            ),
        )

    def states(self) -> tuple[str, ...]:
        """All participants, sorted."""
        return tuple(self._participants)

    def participant(self, state: str) -> Participant | None:
        """What the roster says of a State (not to be changed), or None where it does not list it."""
        return self._participants.get(state)

    def bundle(self, state: str) -> tuple[x509.Certificate, ...]:
        """Federation CA certificates of a State; empty where the roster lists none."""
        return self._bundles.get(state, ())

    def log_keys(self, state: str) -> tuple[RosterKey, ...]:
        """Keys that checkpoints of a State are verified with."""
        participant = self._participants.get(state)
        if participant is None:
            return ()
        return tuple(key for key in participant.log_keys if key.state in _VERIFYING)

    def signing_keys(self, state: str) -> tuple[bytes, ...]:
        """Public keys that a State may make new signatures with now."""
        return tuple(key.public_key for key in self.log_keys(state) if key.state == KEY_STATE_ACTIVE)

    def trust_parts(self, state: str) -> TrustParts:
        """What admission of a State would fix; empty for a State that is not listed."""
        return TrustParts.of(self._participants.get(state) or Participant())

    def trust_digest(self, state: str) -> bytes:
        """SHA-256 over CA certificates and log keys of a State that are not revoked."""
        return self.trust_parts(state).digest(state)

    def participation(self, state: str, now_ms: int) -> Participation:
        """What a State may do now, admission and denials aside."""
        participant = self._participants.get(state)
        if participant is None:
            return Participation.NONE
        if participant.state_of_participation == PARTICIPANT_STATE_ACTIVE:
            return Participation.FULL
        if participant.state_of_participation == PARTICIPANT_STATE_REMOVED:
            removed_ms = from_timestamp(participant.state_of_participation_since)
            if now_ms < removed_ms + ERASE_ONLY_MS:
                return Participation.ERASE_ONLY
        return Participation.NONE

    def members(self, audience: Audience, admitted: Iterable[str], origin: str) -> tuple[str, ...]:
        """Who reads a log of this audience.

        Args:
            audience: whom it is for.
            admitted: States that the origin has admitted.
            origin: the State that writes it; always a member.

        Returns:
            Sorted States: taking part now, in the audience by treaty status or name, and admitted; with origin.
        """
        wanted = {state for state in admitted if self._in_audience(audience, state)}
        return tuple(sorted(wanted | {origin}))

    def _in_audience(self, audience: Audience, state: str) -> bool:
        participant = self._participants.get(state)
        if participant is None or participant.state_of_participation != PARTICIPANT_STATE_ACTIVE:
            return False
        status = participant.treaty_status
        if status == TREATY_STATUS_SECRETARIAT:
            return False
        if audience.kind == AUDIENCE_KIND_STATES_PARTIES:
            return status == TREATY_STATUS_STATE_PARTY
        if audience.kind == AUDIENCE_KIND_STATES_PARTIES_AND_SIGNATORIES:
            return status in (TREATY_STATUS_STATE_PARTY, TREATY_STATUS_SIGNATORY)
        return audience.kind == AUDIENCE_KIND_NAMED_STATES and state in audience.states

    def expired(self, now_ms: int) -> bool:
        """Whether only erasures may flow."""
        return now_ms >= self.expires_ms

    def warning(self, now_ms: int) -> str | None:
        """Words for the operator when the roster is expired or about to be, or None."""
        if self.expired(now_ms):
            return (
                f"Roster {self.version} has expired: only erasures flow. "
                "Fetch the newest roster and run `dief roster update FILE`."
            )
        days = (self.expires_ms - now_ms) // DAY_MS
        if days < WARNING_DAYS:
            return (
                f"Roster {self.version} expires in {days} days; after that only erasures flow. "
                "Ask its keepers for the next version and run `dief roster update FILE`."
            )
        return None
