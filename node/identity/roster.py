"""Which rosters are trusted: bytes in, a trusted roster or an exception out; nothing is fetched or stored here.

Rules of the envelope:
- It is in the one accepted form (`dsse`) and holds a Roster whose content breaks no rule (`participants`).
- Only ACTIVE roster keys count, each public key once.

Rules of first trust:
- The payload has the SHA-256 that a person compared over a second channel.
- The threshold of the roster's own keys signed it.

Rules of an update from version N:
- The federation is unchanged.
- The version is N+1 exactly. A skipped version says which ones to fetch, an older one is refused.
- Version N again is nothing new. Version N with another digest, signed by the threshold of N's keys or of its
  predecessor's, is a fork: the first is kept and an alarm rises. Without these signatures it is noise.
- `previous_digest` is the SHA-256 of N's payload.
- The threshold of N's keys *and* the threshold of its own signed it.
- A key that N revoked does not come back.

Rules of time:
- It is not issued in the future, five minutes of skew aside.
- An expired roster is still trusted as a step to newer ones; its view says that it has expired.

Example:
    trusted = trust_first(dsse.from_json(first), bytes.fromhex(compared), now_ms())
    trusted = update(trusted, dsse.from_json(second), now_ms())
    trusted.view.bundle("XB")

Source: TUF specification v1.0.33 §5.3 (root role); python-tuf's trusted_metadata_set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from dief.v1.roster_pb2 import KEY_STATE_REVOKED, Roster, RosterEnvelope
from google.protobuf.message import DecodeError

from node.identity import dsse
from node.identity.errors import (
    MalformedRosterError,
    RosterContentError,
    RosterDigestError,
    RosterFederationError,
    RosterForkError,
    RosterSignatureError,
    RosterSkippedError,
    RosterTooOldError,
)
from node.identity.participants import active_keys, violations
from node.identity.view import RosterView
from node.ops.clock import from_timestamp

MAX_SKEW_MS: Final = 5 * 60_000
"""How far in the future a roster may be issued by this node's clock, in ms."""


@dataclass(frozen=True, slots=True, eq=False)
class TrustedRoster:
    """A roster that passed every rule.

    Attributes:
        envelope: as received, to hand on.
        roster: its payload, not to be changed.
        digest: SHA-256 of the payload.
        view: for everybody who asks.
        previous: the roster trusted before, whose keys signed this one; None after first trust.
    """

    envelope: RosterEnvelope = field(repr=False)
    roster: Roster = field(repr=False)
    digest: bytes
    view: RosterView
    previous: Roster | None = field(repr=False)

    @property
    def version(self) -> int:
        """Its version."""
        return self.roster.version


def digest_of(envelope: RosterEnvelope) -> bytes:
    """SHA-256 of the payload: what first trust compares and the next version names."""
    return sha256(envelope.payload).digest()


def parse(envelope: RosterEnvelope) -> Roster:
    """The roster in an envelope, its form checked, its content and signatures not.

    Raises:
        MalformedRosterError: not in the one accepted form.
    """
    dsse.check_form(envelope)
    try:
        return Roster.FromString(envelope.payload)
    except DecodeError as error:
        raise MalformedRosterError("The payload is no roster.") from error


def check_content(roster: Roster) -> None:
    """Refuses a roster that breaks a rule of `participants`.

    Raises:
        RosterContentError: with every violation in words.
    """
    if found := violations(roster):
        raise RosterContentError(
            f"Roster {roster.version} breaks rules: " + "; ".join(found) + ".",
            violations=tuple(_field_and_words(each) for each in found),
        )


def _field_and_words(violation: str) -> tuple[str, str]:
    field_path, _, words = violation.partition(": ")
    return field_path, words


def trust_first(envelope: RosterEnvelope, expected_sha256: bytes, now_ms: int) -> TrustedRoster:
    """Trusts a first roster, of any version, on the word of a person who compared its digest.

    Args:
        envelope: hostile until this returns.
        expected_sha256: digest that came over a second channel, 32 bytes.
        now_ms: this node's clock.

    Raises:
        RosterError: a rule of the envelope, of first trust or of time is broken.
    """
    roster = parse(envelope)
    digest = digest_of(envelope)
    if digest != expected_sha256:
        raise RosterDigestError(
            f"The roster has SHA-256 {digest.hex()}, which is not the one that was compared."
        )
    _check_threshold(envelope, roster, "its own")
    check_content(roster)
    _check_issued(roster, now_ms)
    return TrustedRoster(envelope, roster, digest, RosterView.of(roster, digest), None)


def update(current: TrustedRoster, envelope: RosterEnvelope, now_ms: int) -> TrustedRoster:
    """Trusts the next roster because the keys of the current one say so.

    Args:
        current: version N.
        envelope: hostile until this returns.
        now_ms: this node's clock.

    Returns:
        Version N+1, or `current` itself where the envelope holds version N again.

    Raises:
        RosterForkError: two signed rosters of one version; raise an alarm and keep both.
        RosterError: another rule is broken.
    """
    roster = parse(envelope)
    digest = digest_of(envelope)
    if roster.federation != current.roster.federation:
        raise RosterFederationError("The roster is of another federation than the one trusted here.")
    if roster.version == current.version:
        _check_same_version(current, envelope, digest)
        return current
    _check_version(current.version, roster.version)
    if roster.previous_digest != current.digest:
        raise RosterDigestError(
            f"Roster {roster.version} follows another roster {current.version} than the one trusted here."
        )
    _check_threshold(envelope, current.roster, f"roster {current.version}'s")
    _check_threshold(envelope, roster, "its own")
    check_content(roster)
    _check_not_revived(current.roster, roster)
    _check_issued(roster, now_ms)
    return TrustedRoster(envelope, roster, digest, RosterView.of(roster, digest), current.roster)


def restore(envelope: RosterEnvelope, previous: RosterEnvelope | None) -> TrustedRoster:
    """A roster that this node trusted before, read back from its own store.

    Args:
        envelope: of the newest trusted version.
        previous: of the version before it, where one was trusted.
    """
    roster = parse(envelope)
    digest = digest_of(envelope)
    before = None if previous is None else parse(previous)
    return TrustedRoster(envelope, roster, digest, RosterView.of(roster, digest), before)


def missing_signatures(envelope: RosterEnvelope, judge: Roster) -> int:
    """How many signatures the envelope lacks for the threshold of a roster's keys; 0 = enough."""
    signed = dsse.signed_by(envelope, active_keys(judge))
    return max(0, max(1, judge.threshold) - len(signed))


def _check_threshold(envelope: RosterEnvelope, judge: Roster, whose: str) -> None:
    missing = missing_signatures(envelope, judge)
    if missing:
        raise RosterSignatureError(
            f"The roster lacks {missing} of {judge.threshold} signatures by {whose} ACTIVE keys."
        )


def _check_version(held: int, offered: int) -> None:
    if offered < held:
        raise RosterTooOldError(f"Roster {offered} is older than roster {held}, which is trusted here.")
    if offered > held + 1:
        wanted = f"roster {held + 1}" if offered == held + 2 else f"rosters {held + 1} to {offered - 1}"
        raise RosterSkippedError(
            f"Roster {offered} can not follow roster {held}: {wanted} missing.",
            f"Fetch {wanted} from any peer or from the keepers and hand in each in order.",
        )


def _check_same_version(current: TrustedRoster, envelope: RosterEnvelope, digest: bytes) -> None:
    if digest == current.digest:
        return
    judges = [current.roster] if current.previous is None else [current.roster, current.previous]
    if all(missing_signatures(envelope, judge) for judge in judges):
        raise RosterSignatureError(
            f"A second roster {current.version} has not enough signatures to be one.",
            "Nothing is to be done here; who sent it is mistaken or hostile.",
        )
    raise RosterForkError(
        f"There are two signed rosters {current.version}: {current.digest.hex()} is trusted here, "
        f"{digest.hex()} came later."
    )


def _check_not_revived(old: Roster, new: Roster) -> None:
    revoked = {key for key, state in _key_states(old) if state == KEY_STATE_REVOKED}
    if any(key in revoked and state != KEY_STATE_REVOKED for key, state in _key_states(new)):
        raise RosterContentError(f"Roster {new.version} brings back a key that roster {old.version} revoked.")


def _key_states(roster: Roster) -> Iterator[tuple[bytes, int]]:
    for key in roster.roster_keys:
        yield key.public_key, key.state
    for participant in roster.participants:
        for key in participant.log_keys:
            yield key.public_key, key.state


def _check_issued(roster: Roster, now_ms: int) -> None:
    if from_timestamp(roster.issued_at) > now_ms + MAX_SKEW_MS:
        raise RosterContentError(
            f"Roster {roster.version} is issued in the future by this node's clock.",
            "Compare this machine's clock; if it is right, ask the keepers of the roster.",
        )


__all__ = [
    "RosterView",
    "TrustedRoster",
    "check_content",
    "digest_of",
    "missing_signatures",
    "parse",
    "restore",
    "trust_first",
    "update",
]
