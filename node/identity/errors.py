"""What can be wrong with an identity, a certificate file or a roster."""

from __future__ import annotations

from typing import ClassVar

from node.ops.errors import DiefError


class IdentityError(DiefError):
    """Root of the errors of identity; what reaches the wire has the name of an ErrorReason as reason."""

    default_reason: ClassVar[str] = "UNKNOWN_IDENTITY"


# -- Who speaks (I9)


class UnknownIdentityError(IdentityError):
    """No certificate, or none that a known bundle validates."""

    default_mend: ClassVar[str] = (
        "Use a node certificate signed by the federation CA that the newest roster lists for your State."
    )


class MalformedSpiffeIdError(UnknownIdentityError):
    """The text is not a SPIFFE ID in the one form that is accepted."""

    default_mend: ClassVar[str] = (
        "Use a certificate with exactly one URI name of the form spiffe://<state>.<federation>/<kind>/<name>."
    )


class RevokedCertificateError(UnknownIdentityError):
    """The certificate stands in its CA's revocation list, or that list can not be relied on."""

    default_mend: ClassVar[str] = "Ask the national authority for a new certificate."


class WrongStateError(IdentityError):
    """The chain validates against the bundle of another State than the SPIFFE ID names."""

    default_reason: ClassVar[str] = "WRONG_STATE"
    default_mend: ClassVar[str] = (
        "Keep the certificate as evidence and speak to the State whose CA signed it; its CA may be compromised."
    )


class WrongKindError(IdentityError):
    """The certificate is of a kind that may not call this service."""

    default_reason: ClassVar[str] = "WRONG_KIND"
    default_mend: ClassVar[str] = "Use a certificate of the kind that this service is for."


class CertificateExpiredError(IdentityError):
    """The certificate, or a CA above it, is expired or not valid yet."""

    default_reason: ClassVar[str] = "CERTIFICATE_EXPIRED"
    default_mend: ClassVar[str] = (
        "Renew the certificate (`dief pki renew`) and compare the clocks of both sides."
    )


class NotAdmittedError(IdentityError):
    """The roster lists the State, but this node has not admitted it or its changed keys."""

    default_reason: ClassVar[str] = "NOT_ADMITTED"
    default_mend: ClassVar[str] = (
        "Compare the trust digest out of band, then `dief peer admit STATE --trust-digest HEX`."
    )


class DeniedError(IdentityError):
    """This node's operator denied the State."""

    default_reason: ClassVar[str] = "DENIED"
    default_mend: ClassVar[str] = (
        "Speak to the operator of the node that denied you; `dief peer allow` ends it."
    )


class NotParticipatingError(IdentityError):
    """The roster suspends or has removed the State."""

    default_reason: ClassVar[str] = "NOT_PARTICIPATING"
    default_mend: ClassVar[str] = "Speak to the keepers of the roster."


class FederationStoppedError(IdentityError):
    """The operator stopped the federation side of this node."""

    default_reason: ClassVar[str] = "FEDERATION_STOPPED"
    default_mend: ClassVar[str] = "Try again later; the node's operator ends it with `dief federation start`."


# -- Files


class CredentialFileError(IdentityError):
    """A certificate or key file is missing, unreadable, malformed or does not fit the other one."""

    default_reason: ClassVar[str] = "CREDENTIAL_FILE"


class KeyFileModeError(CredentialFileError):
    """A private key file may be read by others than its owner."""

    default_reason: ClassVar[str] = "KEY_FILE_MODE"


class IssuanceError(IdentityError):
    """A CA may not sign what was asked of it."""

    default_reason: ClassVar[str] = "ISSUANCE_REFUSED"


class RenewalError(IdentityError):
    """The node's certificate could not be renewed."""

    default_reason: ClassVar[str] = "RENEWAL_FAILED"


# -- Roster


class RosterError(IdentityError):
    """Root of all that can be wrong with a roster."""

    default_reason: ClassVar[str] = "INVALID"
    default_mend: ClassVar[str] = (
        "Fetch the roster again from its keepers; tell them if it stays wrong. The roster trusted so far goes on."
    )


class MalformedRosterError(RosterError):
    """The bytes are not an envelope around a roster in the one form that is accepted."""


class RosterContentError(RosterError):
    """The roster breaks a rule about its own content.

    Attributes:
        violations: pairs of a field path in the roster and what is wrong there; empty where one field says little.
    """

    default_mend: ClassVar[str] = "The keepers of the roster correct it, sign it and send it again."

    def __init__(
        self, diagnosis: str, mend: str | None = None, *, violations: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(diagnosis, mend)
        self.violations = violations


class RosterSignatureError(RosterError):
    """Fewer keys signed than the threshold asks for."""

    default_mend: ClassVar[str] = "Collect the missing signatures with `dief roster sign` and try again."


class RosterDigestError(RosterError):
    """The roster is not the one that the digest names."""

    default_mend: ClassVar[str] = (
        "Compare the SHA-256 with the keepers over a second channel; do not trust this file before."
    )


class RosterFederationError(RosterError):
    """The roster is of another federation."""

    default_mend: ClassVar[str] = "Use the roster of this federation; two federations never mix."


class RosterTooOldError(RosterError):
    """The roster is older than the one trusted here (rollback)."""

    default_reason: ClassVar[str] = "STALE"
    default_mend: ClassVar[str] = "Nothing is to be done here; who sent it should fetch the newest roster."


class RosterSkippedError(RosterError):
    """Versions between the roster trusted here and this one are missing."""

    default_reason: ClassVar[str] = "STALE"


class RosterForkError(RosterError):
    """Two signed rosters of one version: the first is kept, an alarm rises."""

    default_reason: ClassVar[str] = "ROSTER_FORK"
    default_mend: ClassVar[str] = (
        "Keep both files and call the keepers of the roster at once: their keys may be misused. "
        "The roster trusted first goes on here."
    )


class NoRosterError(RosterError):
    """No roster is trusted here yet."""

    default_reason: ClassVar[str] = "NOT_FOUND"
    default_mend: ClassVar[str] = (
        "Compare its digest with the keepers, then `dief roster trust FILE --sha256 HEX`."
    )


class UnknownParticipantError(RosterError):
    """The roster lists no such State."""

    default_reason: ClassVar[str] = "NOT_FOUND"
    default_mend: ClassVar[str] = "Compare the State's two letters with `dief roster show`."


class TrustDigestError(RosterError):
    """The roster lists other certificates and keys for a State than the operator compared."""

    default_reason: ClassVar[str] = "STALE"
    default_mend: ClassVar[str] = (
        "Compare the digest with that State again, over a second channel, before you admit it."
    )
