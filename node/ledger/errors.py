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
