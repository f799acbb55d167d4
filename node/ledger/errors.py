"""What can be wrong with a log, its tree, its proofs and its checkpoints."""

from __future__ import annotations

from typing import ClassVar

from node.ops.errors import DiefError


class LedgerError(DiefError):
    """Root of the ledger's errors."""

    default_reason: ClassVar[str] = "LEDGER_INVALID"


class ProofError(LedgerError):
    """An inclusion or consistency proof does not lead to the given root."""

    default_reason: ClassVar[str] = "PROOF_INVALID"
    default_mend: ClassVar[str] = (
        "Fetch the proof again; if it stays wrong, stop this log and tell its origin."
    )


class TreeStateError(LedgerError):
    """The stored state of a tree (compact range or subtree roots) is damaged or incomplete."""

    default_reason: ClassVar[str] = "TREE_STATE_INVALID"
    default_mend: ClassVar[str] = "Rebuild the tree of this log from its stored entry headers."


class CheckpointError(LedgerError):
    """Root of all that can be wrong with a checkpoint."""

    default_reason: ClassVar[str] = "CHECKPOINT_INVALID"
    default_mend: ClassVar[str] = (
        "Fetch the checkpoint again; if it stays wrong, stop this log and tell its origin."
    )


class MalformedCheckpointError(CheckpointError):
    """The bytes are not a checkpoint in the one form that is accepted."""

    default_reason: ClassVar[str] = "CHECKPOINT_MALFORMED"


class WrongLogError(CheckpointError):
    """The checkpoint speaks for another log than the one it was asked for."""

    default_reason: ClassVar[str] = "CHECKPOINT_WRONG_LOG"


class UnknownCheckpointKeyError(CheckpointError):
    """No signature of the checkpoint comes from a key that the admitted roster gives its origin."""

    default_reason: ClassVar[str] = "CHECKPOINT_KEY_UNKNOWN"
    default_mend: ClassVar[str] = (
        "Compare the origin's log keys in the newest roster, and admit a changed key if it is right."
    )


class CheckpointSignatureError(CheckpointError):
    """A signature that claims to come from a known key of the origin is wrong."""

    default_reason: ClassVar[str] = "CHECKPOINT_SIGNATURE_INVALID"


class AnchorError(LedgerError):
    """The anchor file is damaged, or was about to go back."""

    default_reason: ClassVar[str] = "ANCHOR_INVALID"
    default_mend: ClassVar[str] = (
        "Keep the file, restore the anchor from its disk's copy, or move it away and start: the node then waits "
        "for its peers or for `dief federation resume-signing`."
    )


class LogFaultError(LedgerError):
    """A header, position or proof is wrong: this log stops and is fetched again, the others go on (I4, I10)."""

    default_reason: ClassVar[str] = "LOG_FAULT"
    default_mend: ClassVar[str] = (
        "The follower fetches this log again by itself; if it stays wrong, tell its origin."
    )


class LogEvidenceError(LedgerError):
    """Two signed checkpoints can not both be true: the log stops for good and the evidence is kept (I4).

    Attributes:
        verdict: Name of the Verdict.
        first_note: The older signed note.
        second_note: The newer signed note.
        proof: For a rewrite the other root and then the consistency proof; else empty.
    """

    default_reason: ClassVar[str] = "LOG_EVIDENCE"
    default_mend: ClassVar[str] = (
        "Export the evidence, show it to the other members and speak to the origin; everything else goes on."
    )

    def __init__(
        self, diagnosis: str, *, verdict: str, first_note: bytes, second_note: bytes, proof: bytes = b""
    ) -> None:
        super().__init__(diagnosis)
        self.verdict = verdict
        self.first_note = first_note
        self.second_note = second_note
        self.proof = proof


class LogDivergedError(LedgerError):
    """A new checkpoint does not continue the one held; whether it is evidence needs a proof from its origin.

    Attributes:
        held_note: The checkpoint held.
        new_note: The one that does not fit.
        other_root: Root of the new history at the held checkpoint's size, where it is known.
        next_leaf: Leaf hash of the new history's entry right after it, where it is known: with its inclusion proof
            node.ledger.evidence finds the root.
    """

    default_reason: ClassVar[str] = "LOG_DIVERGED"

    def __init__(
        self,
        diagnosis: str,
        *,
        held_note: bytes,
        new_note: bytes,
        other_root: bytes | None,
        next_leaf: bytes | None = None,
    ) -> None:
        super().__init__(diagnosis)
        self.held_note = held_note
        self.new_note = new_note
        self.other_root = other_root
        self.next_leaf = next_leaf


class LogClosedError(LedgerError):
    """The log takes erasing entries only, or none at all."""

    default_reason: ClassVar[str] = "WRONG_STATE_FOR_STEP"
    default_mend: ClassVar[str] = "Append to the current epoch of the same audience."


class SigningPausedError(LedgerError):
    """The node may not sign yet: anchor, database and members have not been compared or do not agree."""

    default_reason: ClassVar[str] = "SIGNING_PAUSED"
    default_mend: ClassVar[str] = (
        "Wait until a member of the logs is reachable, or decide with `dief federation resume-signing`."
    )


class EntryTooLargeError(LedgerError):
    """A body is over 512 KiB."""

    default_reason: ClassVar[str] = "TOO_LARGE"
    default_mend: ClassVar[str] = "Carry further items in list parts."
