"""What can go wrong between two nodes."""

from __future__ import annotations

from typing import ClassVar

from node.ops.errors import DiefError


class FederationError(DiefError):
    """Root of the federation's errors."""

    default_reason: ClassVar[str] = "UNAVAILABLE"


class LogNotFoundError(FederationError):
    """No such log, or not for the caller: the two are never told apart (I2)."""

    default_reason: ClassVar[str] = "NOT_FOUND"
    default_mend: ClassVar[str] = "Ask only for logs in whose members you are."


class StreamQuotaError(FederationError):
    """The peer has too many streams or calls open (I11)."""

    default_reason: ClassVar[str] = "QUOTA"
    default_mend: ClassVar[str] = "Close a stream of this peer, then retry."


class CursorAheadError(FederationError):
    """The caller holds more of a log than its origin."""

    default_reason: ClassVar[str] = "LOG_DIVERGED"
    default_mend: ClassVar[str] = (
        "Keep the entries: they help the origin to find back what it lost (CompareCheckpoints)."
    )


class RosterExpiredError(FederationError):
    """The roster has expired: only erasures flow."""

    default_reason: ClassVar[str] = "ROSTER_EXPIRED"
    default_mend: ClassVar[str] = (
        "Both operators: get the next roster from its keepers, `dief roster update FILE`."
    )


class PeerUnknownError(FederationError):
    """A peer that this node may not or can not speak to."""

    default_reason: ClassVar[str] = "NOT_ADMITTED"
    default_mend: ClassVar[str] = "See `dief peer list`; admit it with `dief peer admit`."


class StalledStreamError(FederationError):
    """A client does not read its stream, so it may not keep it (I11)."""

    default_reason: ClassVar[str] = "QUOTA"
    default_mend: ClassVar[str] = "Read what is sent, or close the stream; open it again from your cursors."


class StaleTokenError(FederationError):
    """A page token belongs to something that has changed since."""

    default_reason: ClassVar[str] = "STALE"
    default_mend: ClassVar[str] = "Begin again without a token."


class EndlessAnswerError(FederationError):
    """A peer's pages do not end, or repeat themselves."""

    default_reason: ClassVar[str] = "PEER_ENDLESS"
    default_mend: ClassVar[str] = "Do not rely on this answer; tell the peer's operator, and ask again later."


class FaultyPeerError(FederationError):
    """A peer sends more faulty logs than anything but malice explains (I11)."""

    default_reason: ClassVar[str] = "PEER_FAULTY"
    default_mend: ClassVar[str] = "Tell the peer's operator; until then it is tried again from time to time."
