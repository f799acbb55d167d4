"""Whom this node trusts, in its database: rosters, admissions, denials, and the switch of the federation side.

Rules:
- The roster alone grants nothing: a State counts as admitted while every certificate and key that the newest
  roster lists for it is one that this node admitted.
- New certificates or keys are admitted at once if an admitted log key of that State, which the new roster
  still lists as ACTIVE or RETIRED, signed the new roster too. Otherwise the State is in RECOVERY until an
  operator admits it again.
- What a roster takes away from an admitted State is forgotten here, so it comes back only by admission.
- A denial needs no roster and always wins.
- Nothing here commits: the caller owns the transaction.

Example:
    with store.write() as conn:
        trust_store.update(conn, envelope, now_ms())
    with store.read() as conn:
        trust = trust_store.load_trust(conn)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dief.v1.roster_pb2 import RosterEnvelope
from sqlalchemy import Connection, delete, insert, select
from sqlalchemy import update as update_rows

from node.identity import dsse, roster
from node.identity.certificates import Chain, PeerIdentity, authenticate
from node.identity.errors import (
    FederationStoppedError,
    MalformedSpiffeIdError,
    NoRosterError,
    RosterDigestError,
    TrustDigestError,
    UnknownParticipantError,
)
from node.identity.roster import TrustedRoster
from node.identity.spiffe import Kind
from node.identity.view import RosterView, TrustParts
from node.ops.clock import now_ms as clock_ms
from node.store.tables import table
from node.store.tables.identity import AdmissionRow, DenialRow, SwitchRow, TrustedRosterRow

CO_SIGNED: Final = "co-signed"
"""Who admitted changed keys that an older admitted key vouches for."""

FEDERATION_STOPPED: Final = "federation_stopped"

_ROSTER: Final = table(TrustedRosterRow)
_ADMISSION: Final = table(AdmissionRow)
_DENIAL: Final = table(DenialRow)
_SWITCH: Final = table(SwitchRow)
_STATE: Final = re.compile(r"[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class TrustState:
    """What every call and stream is judged by; a change is a new one.

    Attributes:
        view: the newest trusted roster, or None before first trust.
        admitted: States that are admitted with what the roster lists now.
        recovery: States that were admitted with other certificates or keys.
        denied: States that the operator denied.
        stopped: whether the operator stopped the federation side.
    """

    view: RosterView | None
    admitted: frozenset[str]
    recovery: frozenset[str]
    denied: frozenset[str]
    stopped: bool

    def authenticate(
        self, chain: Chain, now_ms: int, *, kind: Kind = Kind.NODE, removed_allowed: bool = False
    ) -> PeerIdentity:
        """Who presents this chain in the federation, if that State may speak now (I9).

        Raises:
            FederationStoppedError: nobody may.
            NoRosterError: no roster is trusted yet.
            IdentityError: as `node.identity.certificates.authenticate`.
        """
        if self.stopped:
            raise FederationStoppedError("The operator of this node stopped its federation side.")
        if self.view is None:
            raise NoRosterError("This node trusts no roster yet.")
        return authenticate(
            chain,
            self.view,
            admitted=self.admitted,
            denied=self.denied,
            now_ms=now_ms,
            kind=kind,
            removed_allowed=removed_allowed,
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """What this node admitted.

    Attributes:
        state: the State.
        parts: its certificates and keys.
        admitted_ms: when.
        by: SPIFFE ID of the operator, or CO_SIGNED.
    """

    state: str
    parts: TrustParts
    admitted_ms: int
    by: str


# -- Reading


def load_trust(conn: Connection) -> TrustState:
    """Everything that calls are judged by, as the database holds it now."""
    view = load_view(conn)
    admitted: set[str] = set()
    recovery: set[str] = set()
    for admission in admissions(conn):
        if view is not None and view.participant(admission.state) is not None:
            covered = admission.parts.covers(view.trust_parts(admission.state))
            (admitted if covered else recovery).add(admission.state)
    denied = frozenset(conn.execute(select(_DENIAL.c.state)).scalars())
    stopped = conn.execute(select(_SWITCH.c.enabled).where(_SWITCH.c.name == FEDERATION_STOPPED)).scalar()
    return TrustState(view, frozenset(admitted), frozenset(recovery), denied, bool(stopped))


def load_view(conn: Connection) -> RosterView | None:
    """View of the newest trusted roster, or None before first trust."""
    trusted = load_roster(conn)
    return None if trusted is None else trusted.view


def load_roster(conn: Connection) -> TrustedRoster | None:
    """The newest trusted roster, or None before first trust."""
    newest = select(_ROSTER.c.envelope).order_by(_ROSTER.c.version.desc()).limit(2)
    held = [RosterEnvelope.FromString(bytes(data)) for data in conn.execute(newest).scalars()]
    if not held:
        return None
    return roster.restore(held[0], held[1] if len(held) > 1 else None)


def newest_envelope(conn: Connection) -> RosterEnvelope | None:
    """The newest trusted roster as received, or None before first trust."""
    newest = envelopes_after(conn, -1, 1, newest_first=True)
    return newest[0] if newest else None


def envelopes_after(
    conn: Connection, after_version: int, limit: int, *, newest_first: bool = False
) -> list[RosterEnvelope]:
    """Trusted rosters to hand on.

    Args:
        conn: connection.
        after_version: only newer versions.
        limit: at most this many.
        newest_first: order; oldest first is the order in which a peer can trust them.
    """
    order = _ROSTER.c.version.desc() if newest_first else _ROSTER.c.version.asc()
    wanted = select(_ROSTER.c.envelope).where(_ROSTER.c.version > after_version).order_by(order).limit(limit)
    return [RosterEnvelope.FromString(bytes(data)) for data in conn.execute(wanted).scalars()]


def admissions(conn: Connection) -> list[Admission]:
    """All admissions, by State."""
    rows = conn.execute(select(_ADMISSION).order_by(_ADMISSION.c.state))
    return [
        Admission(
            row.state,
            TrustParts(_unhex(row.ca_digests), _unhex(row.log_keys)),
            row.admitted_ms,
            row.admitted_by,
        )
        for row in rows
    ]


# -- Rosters


def trust_first(
    conn: Connection, envelope: RosterEnvelope, expected_sha256: bytes, now_ms: int
) -> TrustedRoster:
    """Trusts a first roster on the word of a person; the same one again is nothing new.

    Raises:
        RosterDigestError: another roster is trusted here already, or it is not the one that was compared.
        RosterError: as `node.identity.roster.trust_first`.
    """
    held = load_roster(conn)
    trusted = roster.trust_first(envelope, expected_sha256, now_ms)
    if held is None:
        _keep(conn, trusted, now_ms)
        return trusted
    if held.digest == trusted.digest:
        return held
    raise RosterDigestError(
        f"Roster {held.version} is trusted here already.",
        "Hand in newer ones with `dief roster update FILE`; first trust is given once.",
    )


def update(conn: Connection, envelope: RosterEnvelope, now_ms: int) -> TrustedRoster:
    """Trusts the next roster, and carries admissions over where the rules allow it.

    Raises:
        NoRosterError: none is trusted yet.
        RosterError: as `node.identity.roster.update`.
    """
    held = load_roster(conn)
    if held is None:
        raise NoRosterError("This node trusts no roster yet.")
    trusted = roster.update(held, envelope, now_ms)
    if trusted is held:
        return held
    _keep(conn, trusted, now_ms)
    for admission in admissions(conn):
        carried = carry_over(admission, trusted, now_ms)
        if carried != admission:
            _put_admission(conn, carried)
    return trusted


def carry_over(admission: Admission, trusted: TrustedRoster, now_ms: int) -> Admission:
    """What is left of an admission, or is added to it, under a new roster. Pure.

    Args:
        admission: as given under older rosters.
        trusted: the new roster.
        now_ms: this node's clock.

    Returns:
        Narrowed to what is still listed; with everything that is listed where an old key vouches for it.
    """
    listed = trusted.view.trust_parts(admission.state)
    kept = admission.parts.common(listed)
    if kept.covers(listed):
        return Admission(admission.state, kept, admission.admitted_ms, admission.by)
    verifying = {key.public_key for key in trusted.view.log_keys(admission.state)}
    if dsse.signed_by(trusted.envelope, kept.log_keys & verifying):
        return Admission(admission.state, listed, now_ms, CO_SIGNED)
    return Admission(admission.state, kept, admission.admitted_ms, admission.by)


def _keep(conn: Connection, trusted: TrustedRoster, now_ms: int) -> None:
    conn.execute(
        insert(_ROSTER).values(
            version=trusted.version,
            digest=trusted.digest,
            envelope=trusted.envelope.SerializeToString(),
            received_ms=now_ms,
        )
    )


# -- Decisions of the operator


def admit(conn: Connection, state: str, trust_digest: str | None, by: str) -> Admission:
    """Admits a participant with the certificates and keys that the newest roster lists.

    Args:
        conn: write transaction.
        state: the State.
        trust_digest: hex SHA-256 that a person compared over a second channel; None = whatever is listed.
        by: SPIFFE ID of the operator.

    Raises:
        NoRosterError: no roster is trusted yet.
        UnknownParticipantError: the roster does not list the State.
        TrustDigestError: the roster lists something else than was compared.
    """
    view = load_view(conn)
    if view is None:
        raise NoRosterError("This node trusts no roster yet.")
    if view.participant(state) is None:
        raise UnknownParticipantError(f"Roster {view.version} lists no such State.")
    if trust_digest is not None and trust_digest.strip().lower() != view.trust_digest(state).hex():
        raise TrustDigestError(
            f"Roster {view.version} lists {state} with trust digest {view.trust_digest(state).hex()}, "
            "which is not the one that was compared."
        )
    admission = Admission(state, view.trust_parts(state), clock_ms(), by)
    _put_admission(conn, admission)
    return admission


def deny(conn: Connection, state: str, reason: str, by: str) -> None:
    """Denies a State; again = with the newer reason.

    Raises:
        MalformedSpiffeIdError: not two letters.
    """
    if not _STATE.fullmatch(state):
        raise MalformedSpiffeIdError("The State is not two letters A-Z.", "Use its ISO 3166-1 alpha-2 code.")
    values = {"reason": reason, "since_ms": clock_ms(), "denied_by": by}
    changed = conn.execute(update_rows(_DENIAL).where(_DENIAL.c.state == state).values(values))
    if changed.rowcount == 0:
        conn.execute(insert(_DENIAL).values(state=state, **values))


def allow(conn: Connection, state: str) -> bool:
    """Takes a denial back.

    Returns:
        Whether there was one.
    """
    return conn.execute(delete(_DENIAL).where(_DENIAL.c.state == state)).rowcount > 0


def set_stopped(conn: Connection, *, stopped: bool) -> None:
    """Stops or starts the federation side; it stays so over restarts."""
    values = {"enabled": stopped, "since_ms": clock_ms()}
    changed = conn.execute(update_rows(_SWITCH).where(_SWITCH.c.name == FEDERATION_STOPPED).values(values))
    if changed.rowcount == 0:
        conn.execute(insert(_SWITCH).values(name=FEDERATION_STOPPED, **values))


def _put_admission(conn: Connection, admission: Admission) -> None:
    values = {
        "trust_digest": admission.parts.digest(admission.state),
        "ca_digests": _hex(admission.parts.certificates),
        "log_keys": _hex(admission.parts.log_keys),
        "admitted_ms": admission.admitted_ms,
        "admitted_by": admission.by,
    }
    changed = conn.execute(
        update_rows(_ADMISSION).where(_ADMISSION.c.state == admission.state).values(values)
    )
    if changed.rowcount == 0:
        conn.execute(insert(_ADMISSION).values(state=admission.state, **values))


def _hex(parts: frozenset[bytes]) -> str:
    return " ".join(sorted(part.hex() for part in parts))


def _unhex(text: str) -> frozenset[bytes]:
    return frozenset(map(bytes.fromhex, text.split()))
