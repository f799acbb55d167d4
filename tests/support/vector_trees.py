"""Merkle proofs that must hold, and proofs that must not."""

from __future__ import annotations

from typing import Any

from node.ledger.merkle import EMPTY_ROOT, leaf_hash
from tests.support.vector_log import Tree, hexes

LEAVES = 13
SIZES = (1, 2, 3, 4, 7, 8, 11, 13)


def _leaves() -> list[bytes]:
    return [f"leaf {index}".encode() for index in range(LEAVES)]


def inclusion_vectors() -> dict[str, Any]:
    """Inclusion proofs at several sizes, and proofs that must not pass."""
    leaves = _leaves()
    hashes = [leaf_hash(leaf) for leaf in leaves]
    tree = Tree(hashes)

    def case(index: int, size: int) -> dict[str, Any]:
        return {
            "index": index,
            "size": size,
            "leaf_hash": hashes[index].hex(),
            "proof": hexes(tree.inclusion(index, size)),
            "root": tree.root(size).hex(),
        }

    good = hexes(tree.inclusion(4, 7))
    other = hashes[5].hex()
    refused = [
        case(4, 7) | {"name": "one hash too many", "proof": [*good, other]},
        case(4, 7) | {"name": "one hash too few", "proof": good[:-1]},
        case(4, 7) | {"name": "hashes in another order", "proof": good[::-1]},
        case(4, 7) | {"name": "no proof at all", "proof": []},
        case(4, 7) | {"name": "another leaf", "leaf_hash": other},
        case(4, 7) | {"name": "another position", "index": 5},
        case(4, 7) | {"name": "another size", "size": 9},
        case(4, 7) | {"name": "another root", "root": tree.root(8).hex()},
        case(4, 7) | {"name": "a position beyond the tree", "index": 7},
        case(4, 7) | {"name": "a hash of 31 bytes", "proof": [good[0][:-2], *good[1:]]},
        case(0, 1) | {"name": "an empty tree", "size": 0, "proof": [], "root": EMPTY_ROOT.hex()},
    ]
    return {
        "about": "RFC 9162 section 2.1.3. A proof has exactly the length that index and size demand.",
        "empty_root": EMPTY_ROOT.hex(),
        "leaves": hexes(leaves),
        "leaf_hashes": hexes(hashes),
        "roots": [tree.root(size).hex() for size in range(LEAVES + 1)],
        "valid": [case(index, size) for size in SIZES for index in range(size)],
        "refused": refused,
    }


def consistency_vectors() -> dict[str, Any]:
    """Consistency proofs between several sizes, and proofs that must not pass."""
    tree = Tree([leaf_hash(leaf) for leaf in _leaves()])

    def case(m: int, n: int) -> dict[str, Any]:
        return {
            "m": m,
            "root_m": tree.root(m).hex(),
            "n": n,
            "root_n": tree.root(n).hex(),
            "proof": hexes(tree.consistency(m, n)),
        }

    good = hexes(tree.consistency(6, 11))
    refused = [
        case(6, 11) | {"name": "one hash too many", "proof": [*good, good[0]]},
        case(6, 11) | {"name": "one hash too few", "proof": good[:-1]},
        case(6, 11) | {"name": "no proof at all", "proof": []},
        case(6, 11) | {"name": "hashes in another order", "proof": good[::-1]},
        case(6, 11) | {"name": "another earlier root", "root_m": tree.root(5).hex()},
        case(6, 11) | {"name": "another later root", "root_n": tree.root(12).hex()},
        case(7, 7) | {"name": "equal sizes with a proof", "proof": [good[0]]},
        case(7, 7) | {"name": "equal sizes with different roots", "root_m": tree.root(6).hex()},
        case(6, 11) | {"name": "a tree that shrinks", "m": 11, "n": 6},
        case(0, 7) | {"name": "an empty tree with a root", "root_m": tree.root(1).hex()},
    ]
    return {
        "about": "RFC 9162 section 2.1.4. Where m is 0 or equals n the proof is empty.",
        "valid": [case(m, n) for n in SIZES for m in range(n + 1)],
        "refused": refused,
    }
