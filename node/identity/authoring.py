"""What the keepers of a roster do to a draft of it: begin a version, put participants in, move keys a step on.

Rules:
- A participant describes itself in a card: JSON with its names, CA certificates, public log keys and endpoints. The
  keepers check a card out of band before they put it in; nothing in it is secret.
- A draft is changed as a whole and then signed; any change makes a new payload, so older signatures fall away.
- Keys move prepare → activate → retire, or are revoked; nothing moves a key back from REVOKED.

Example:
    draft = first_version("dief", keepers=[key], threshold=1, now_ms=now_ms())
    put(draft, from_card(card))
    envelope = dsse.sign(wrap(draft), signer)
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from dief.v1.roster_pb2 import (
    KEY_ALGORITHM_ED25519,
    KEY_STATE_ACTIVE,
    KEY_STATE_REVOKED,
    PARTICIPANT_STATE_ACTIVE,
    KeyState,
    Participant,
    ParticipantState,
    Roster,
    RosterEnvelope,
    RosterKey,
    TreatyStatus,
)

from node.identity import dsse, pem
from node.identity.errors import RosterContentError, UnknownParticipantError
from node.identity.roster import digest_of, parse
from node.identity.view import DAY_MS
from node.ops.clock import to_timestamp

CARD: Final = "dief-participant-v1"
"""First field of a card: what the file is."""

DAYS: Final = 60
"""Life of a roster by default, in days."""

MAX_CARD_BYTES: Final = 1 << 20
"""Largest card that is read, in bytes."""


def roster_key(public_key: bytes, state: KeyState.ValueType = KEY_STATE_ACTIVE, label: str = "") -> RosterKey:
    """An Ed25519 key as a roster lists it."""
    return RosterKey(algorithm=KEY_ALGORITHM_ED25519, public_key=public_key, state=state, label=label)


def first_version(
    federation: str, *, keepers: Sequence[bytes], threshold: int, now_ms: int, days: float = DAYS
) -> Roster:
    """A draft of version 1 without participants.

    Args:
        federation: its name.
        keepers: public keys of its keepers.
        threshold: how many of them must sign.
        now_ms: moment of issue.
        days: life.
    """
    draft = Roster(federation=federation, version=1, threshold=threshold)
    draft.roster_keys.extend(roster_key(key) for key in keepers)
    return _dated(draft, now_ms, days)


def next_version(current: RosterEnvelope, *, now_ms: int, days: float = DAYS) -> Roster:
    """A draft of the version after a signed one, with the same content.

    Raises:
        MalformedRosterError: the current one is no roster.
    """
    draft = parse(current)
    draft.version += 1
    draft.previous_digest = digest_of(current)
    return _dated(draft, now_ms, days)


def wrap(draft: Roster) -> RosterEnvelope:
    """The draft in an envelope that nobody has signed yet."""
    return dsse.wrap(draft.SerializeToString(deterministic=True))


def put(draft: Roster, participant: Participant, now_ms: int) -> bool:
    """Puts a participant in, or in place of what the draft says of that State.

    Whether it takes part, and since when, are the keepers' decisions and stay as they are; so do revoked keys.

    Returns:
        Whether the State was listed before.
    """
    entries = {one.state: one for one in draft.participants}
    before = entries.get(participant.state)
    entry = Participant()
    entry.CopyFrom(participant)
    if before is None:
        entry.state_of_participation = PARTICIPANT_STATE_ACTIVE
        entry.state_of_participation_since.CopyFrom(to_timestamp(now_ms))
        entry.treaty_status_since.CopyFrom(to_timestamp(now_ms))
    else:
        entry.state_of_participation = before.state_of_participation
        entry.state_of_participation_since.CopyFrom(before.state_of_participation_since)
        same = before.treaty_status == entry.treaty_status
        entry.treaty_status_since.CopyFrom(before.treaty_status_since if same else to_timestamp(now_ms))
        revoked = {key.public_key: key for key in before.log_keys if key.state == KEY_STATE_REVOKED}
        kept = [key for key in entry.log_keys if key.public_key not in revoked]
        del entry.log_keys[:]
        entry.log_keys.extend([*kept, *revoked.values()])
    entries[participant.state] = entry
    del draft.participants[:]
    draft.participants.extend(entries[state] for state in sorted(entries))
    return before is not None


def set_participation(draft: Roster, state: str, value: ParticipantState.ValueType, now_ms: int) -> None:
    """Lets a State take part, suspends or removes it.

    Raises:
        UnknownParticipantError: the draft does not list it.
    """
    entry = _entry(draft, state)
    entry.state_of_participation = value
    entry.state_of_participation_since.CopyFrom(to_timestamp(now_ms))


def set_key_state(draft: Roster, public_key: bytes, value: KeyState.ValueType) -> None:
    """Moves a log key or a roster key a step on.

    Raises:
        RosterContentError: the draft lists no such key, or has revoked it.
    """
    log_keys = [key for participant in draft.participants for key in participant.log_keys]
    for key in [*draft.roster_keys, *log_keys]:
        if key.public_key == public_key:
            if key.state == KEY_STATE_REVOKED and value != KEY_STATE_REVOKED:
                raise RosterContentError("The key is revoked; it does not come back.", "List a new key.")
            key.state = value
            return
    raise RosterContentError("The draft lists no such key.", "Look at its keys with `dief roster show FILE`.")


def to_card(participant: Participant) -> bytes:
    """A participant as a file for the keepers of the roster."""
    content = {
        "card": CARD,
        "state": participant.state,
        "display_name": participant.display_name,
        "treaty_status": short_name(TreatyStatus, participant.treaty_status),
        "ca_certificates": [
            pem.certificates_pem([x509.load_der_x509_certificate(der)]).decode()
            for der in participant.ca_certificates
        ],
        "log_keys": [key_row(key) for key in participant.log_keys],
        "sealing_key": participant.sealing_key.hex(),
        "endpoints": list(participant.endpoints),
    }
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"


def from_card(data: bytes) -> Participant:
    """What a card says of a participant; the rules of `participants` are checked when the draft is signed.

    Args:
        data: hostile.

    Raises:
        RosterContentError: no card.
    """
    try:
        if len(data) > MAX_CARD_BYTES:
            raise ValueError("too large")
        content = json.loads(data)
        if content["card"] != CARD:
            raise ValueError("another kind of file")
        return Participant(
            state=content["state"],
            display_name=content["display_name"],
            treaty_status=from_short_name(TreatyStatus, content["treaty_status"]),
            ca_certificates=[
                certificate.public_bytes(serialization.Encoding.DER)
                for text in content["ca_certificates"]
                for certificate in pem.certificates_from_pem(text.encode())
            ],
            log_keys=[_key_of(row) for row in content["log_keys"]],
            sealing_key=bytes.fromhex(content.get("sealing_key", "")),
            endpoints=content.get("endpoints", []),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise RosterContentError(
            "The file is no participant's card.",
            "Make one on the participant's side with `dief pki card FILE`.",
        ) from error


def key_row(key: RosterKey) -> dict[str, str]:
    """A key for people and JSON."""
    return {
        "public_key": key.public_key.hex(),
        "state": short_name(KeyState, key.state),
        "label": key.label,
    }


def short_name(enum: Any, value: int) -> str:
    """Name of an enum value without its prefix; its number where this version does not know it."""
    try:
        return str(enum.Name(value)).removeprefix(_prefix(enum))
    except ValueError:
        return str(value)


def from_short_name(enum: Any, name: str) -> Any:
    """The value of a name without prefix, in any case, "-" for "_".

    Raises:
        ValueError: there is none.
    """
    return enum.Value(_prefix(enum) + name.upper().replace("-", "_"))


def _prefix(enum: Any) -> str:
    return str(enum.Name(0)).removesuffix("UNSPECIFIED")


def _key_of(row: Mapping[str, Any]) -> RosterKey:
    return roster_key(
        bytes.fromhex(row["public_key"]), from_short_name(KeyState, row["state"]), row.get("label", "")
    )


def _entry(draft: Roster, state: str) -> Participant:
    for participant in draft.participants:
        if participant.state == state:
            return participant
    raise UnknownParticipantError(f"The draft does not list {state}.")


def _dated(draft: Roster, now_ms: int, days: float) -> Roster:
    draft.issued_at.CopyFrom(to_timestamp(now_ms))
    draft.expires_at.CopyFrom(to_timestamp(now_ms + int(days * DAY_MS)))
    return draft
