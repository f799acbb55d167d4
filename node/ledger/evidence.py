"""From a suspicion to evidence: two signed checkpoints and a proof that third parties can check offline (I4).

- Equal size and different roots, or a later time with a smaller size: the two notes are all it takes.
- A rewrite: the root of the new history at the older checkpoint's size, and a valid consistency proof from it. The root
  is known where the entries passed that size, and follows otherwise from the inclusion proof of the entry after it.
- Whatever is missing or invalid proves nothing, and is never called evidence.

Source: RFC 6962 §2.1.1: the left siblings on the path of leaf m are the perfect subtrees of the first m leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

from node.ledger.checkpoint import Checkpoint, Verdict, compare
from node.ledger.errors import LogEvidenceError, ProofError
from node.ledger.merkle import CompactRange, verify_inclusion


def root_before(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> bytes:
    """The root over the leaves before one leaf, from that leaf's inclusion proof.

    Args:
        leaf: Leaf hash of the leaf.
        index: Its position; at least 1.
        size: Size of the tree.
        root: Its root.
        proof: Inclusion proof of the leaf, as received.

    Raises:
        ProofError: The proof does not lead to the root.
    """
    verify_inclusion(leaf, index, size, proof, root)
    left = []
    position, last = index, size - 1
    for sibling in proof:
        if position & 1 or position == last:
            left.append(sibling)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        position >>= 1
        last >>= 1
    return CompactRange(index, left[::-1]).root()


def judge(
    held: Checkpoint, new: Checkpoint, proof: Sequence[bytes], other_root: bytes | None
) -> LogEvidenceError | None:
    """The evidence that two verified checkpoints of one log are, or None where nothing is proven.

    Args:
        held: The one verified before.
        new: The one that does not fit.
        proof: Consistency proof between their sizes, as received.
        other_root: Root of the new history at the size of `held`.
    """
    verdict = compare(held, new, proof, other_root)
    if verdict not in (Verdict.EVIDENCE_SPLIT, Verdict.EVIDENCE_SHRINK, Verdict.EVIDENCE_REWRITE):
        return None
    rewrite = verdict is Verdict.EVIDENCE_REWRITE
    return LogEvidenceError(
        "The origin signed two histories of one log.",
        verdict=verdict.name,
        first_note=held.note,
        second_note=new.note,
        proof=(other_root or b"") + b"".join(proof) if rewrite else b"",
    )


def rewritten_root(
    held: Checkpoint, new: Checkpoint, next_leaf: bytes, proof: Sequence[bytes]
) -> bytes | None:
    """Root of the new history at the size of `held`, or None where the proof shows nothing.

    Args:
        held: The older checkpoint, of at least one entry.
        new: The newer one, larger.
        next_leaf: Leaf hash of the new history's entry at position `held.size`.
        proof: Its inclusion proof in the tree of `new`, as received.
    """
    try:
        return root_before(next_leaf, held.size, new.size, new.root, proof)
    except ProofError:
        return None
