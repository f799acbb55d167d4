"""Roster files, cards and keys as the commands name them."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from node.identity import authoring, dsse, pem
from node.identity.errors import CredentialFileError, MalformedRosterError

if TYPE_CHECKING:
    from dief.v1.roster_pb2 import Roster, RosterEnvelope, RosterKey

PUBLIC_SUFFIX = ".pub"
_HEX = re.compile(r"[0-9a-fA-F]{64}")


def read_roster(path: Path) -> RosterEnvelope:
    """The envelope in a file.

    Raises:
        MalformedRosterError: missing, unreadable or no roster.
    """
    try:
        with path.open("rb") as file:
            data = file.read(dsse.MAX_JSON_BYTES + 1)
    except OSError as error:
        raise MalformedRosterError(
            f"{path} can not be read: {error.strerror}.", "Name the file that the keepers of the roster sent."
        ) from error
    return dsse.from_json(data)


def write_roster(path: Path, envelope: RosterEnvelope) -> None:
    """Writes an envelope whole."""
    pem.write_atomic(path, dsse.to_json(envelope))


def public_key_argument(text: str) -> bytes:
    """A public key from hex, from a `.pub` file or from a private key file.

    Raises:
        CredentialFileError: none of them.
    """
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    path = Path(text)
    content = pem.read_limited(path)
    stripped = content.decode("ascii", "replace").strip()
    if _HEX.fullmatch(stripped):
        return bytes.fromhex(stripped)
    if b"PRIVATE KEY" not in content:
        raise CredentialFileError(
            f"{path} holds no Ed25519 key.", "Name a key made by `dief roster keygen`, or 64 hex digits."
        )
    return dsse.public_bytes(pem.read_ed25519_key(path))


def key_argument(text: str) -> RosterKey:
    """A key with its step: FILE or HEX, with ":prepared", ":retired" or ":revoked" behind if it is not active."""
    from dief.v1.roster_pb2 import KEY_STATE_ACTIVE, KeyState

    name, colon, step = text.rpartition(":")
    if colon:
        try:
            return authoring.roster_key(public_key_argument(name), authoring.from_short_name(KeyState, step))
        except ValueError:
            pass
    return authoring.roster_key(public_key_argument(text), KEY_STATE_ACTIVE)


def choice(enum: Any, name: str, option: str) -> Any:
    """The enum value of a word on the command line.

    Raises:
        typer.BadParameter: there is none; names those that there are.
    """
    try:
        value = authoring.from_short_name(enum, name)
    except ValueError:
        value = 0
    if not value:
        names = [authoring.short_name(enum, one).lower() for one in enum.values() if one]
        raise typer.BadParameter(", ".join(names), param_hint=option)
    return value


def participant_rows(content: Roster) -> list[dict[str, Any]]:
    """Participants for tables and JSON."""
    from dief.v1.roster_pb2 import ParticipantState, TreatyStatus

    from node.identity.view import TrustParts

    return [
        {
            "state": one.state,
            "name": one.display_name,
            "treaty_status": authoring.short_name(TreatyStatus, one.treaty_status),
            "participation": authoring.short_name(ParticipantState, one.state_of_participation),
            "endpoints": list(one.endpoints),
            "trust_digest": TrustParts.of(one).digest(one.state).hex(),
            "ca_sha256": [sha256(der).hexdigest() for der in one.ca_certificates],
            "log_keys": [authoring.key_row(key) for key in one.log_keys],
        }
        for one in content.participants
    ]


def check_threshold(threshold: int, keys: int) -> None:
    """Refuse a threshold that all keepers together can not reach."""
    if threshold > keys:
        raise typer.BadParameter(
            f"{threshold} keepers can not sign, there are {keys}.", param_hint="--threshold"
        )
