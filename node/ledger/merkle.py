"""The Merkle tree of a log, pure: hashing, compact ranges, proofs and their verification.

Rules:
- SHA-256; a leaf is hashed behind 0x00, two children behind 0x01, so that a leaf can never pass for
  a node; the root of the empty tree is the hash of nothing.
- Sizes and indexes count leaves from 0 and stay below 2^63, which every database can hold.
- The perfect subtree (level, index) covers the leaves from index * 2^level up to (index + 1) * 2^level.
- A store keeps leaf hashes and the roots of perfect subtrees at levels 8, 16, 24, ... (TILE_HEIGHT);
  everything between is computed when a proof needs it.
- A proof has exactly the length that its sizes demand; one hash more or less is an error.

Example:
    >>> tree = CompactRange()
    >>> finished = tree.extend([leaf_hash(b"genesis"), leaf_hash(b"entry 1")])
    >>> tree.root() == node_hash(leaf_hash(b"genesis"), leaf_hash(b"entry 1"))
    True

Source: RFC 6962 §2.1; RFC 9162 §2.1 (verification algorithms §2.1.3.2 and §2.1.4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from node.ledger.errors import ProofError, TreeStateError

HASH_SIZE = 32
"""Length of every hash, in bytes."""

MAX_SIZE = 2**63 - 1
"""The largest number of leaves a tree may have."""

TILE_HEIGHT = 8
"""Subtree roots are kept at multiples of this level, in runs (tiles) of 2^TILE_HEIGHT."""

EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves."""

_TILE_WIDTH = 1 << TILE_HEIGHT

SubtreeLookup = Callable[[int, int], bytes]
"""Answers (level, index) with the root of that perfect subtree."""


@dataclass(frozen=True, slots=True)
class Subtree:
    """The root of a perfect subtree that has just become complete."""

    level: int
    index: int
    hash: bytes


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf, 32 bytes (RFC 6962 §2.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node over its two children, 32 bytes (RFC 6962 §2.1)."""
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The whole state of a growing tree in at most 63 hashes: enough to append and to give the root.

    Attributes:
        size: number of leaves.
        hashes: roots of the perfect subtrees that make up the tree, from the left, the largest first;
            one for every bit that is set in `size`.
    """

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Takes up a tree at any point.

        Raises:
            TreeStateError: the hashes do not fit the size.
        """
        if not 0 <= size <= MAX_SIZE:
            raise TreeStateError("The stored tree has an impossible size.")
        if len(hashes) != size.bit_count() or any(len(item) != HASH_SIZE for item in hashes):
            raise TreeStateError("The stored tree has hashes that do not fit its size.")
        self.size = size
        self.hashes = list(hashes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CompactRange):
            return NotImplemented
        return self.size == other.size and self.hashes == other.hashes

    def copy(self) -> CompactRange:
        """An independent copy, to try an append that may be given up."""
        return CompactRange(self.size, self.hashes)

    def append(self, leaf: bytes) -> list[Subtree]:
        """Appends one leaf hash; see extend."""
        return self.extend((leaf,))

    def extend(self, leaves: Sequence[bytes]) -> list[Subtree]:
        """Appends leaf hashes in order.

        Args:
            leaves: leaf hashes of 32 bytes each.

        Returns:
            The subtrees that became complete at levels 8, 16, 24, ..., by level and then by index:
            what a store has to keep beside the leaf hashes.

        Raises:
            TreeStateError: a leaf hash has a wrong length, or the tree would grow beyond MAX_SIZE.
                The tree is then unchanged.
        """
        size = self.size + len(leaves)
        if size > MAX_SIZE:
            raise TreeStateError("The tree cannot take that many leaves.", "Open the next epoch of this log.")
        if any(len(leaf) != HASH_SIZE for leaf in leaves):
            raise TreeStateError("A leaf hash has a wrong length.", "Append leaf hashes, not leaves.")
        finished: list[Subtree] = []
        left_over: list[bytes] = []
        pending = self.hashes
        nodes = list(leaves)
        first = self.size  # index of nodes[0] at this level
        level = 0
        while nodes:
            if level and level % TILE_HEIGHT == 0:
                finished += [Subtree(level, first + i, node) for i, node in enumerate(nodes)]
            if first & 1:
                nodes.insert(0, pending.pop())
            if len(nodes) & 1:
                left_over.append(nodes.pop())
            nodes = _parents(nodes)
            first >>= 1
            level += 1
        pending.extend(reversed(left_over))
        self.size = size
        return finished

    def root(self) -> bytes:
        """The root of the tree, 32 bytes."""
        return _fold(self.hashes)

    def to_bytes(self) -> bytes:
        """The state as stored: size in 8 bytes, big-endian, then the hashes."""
        return self.size.to_bytes(8, "big") + b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, data: bytes) -> CompactRange:
        """Reads what to_bytes wrote.

        Raises:
            TreeStateError: the bytes are not exactly one such state.
        """
        if len(data) < 8 or (len(data) - 8) % HASH_SIZE:
            raise TreeStateError("The stored tree has a wrong length.")
        starts = range(8, len(data), HASH_SIZE)
        return cls(int.from_bytes(data[:8], "big"), [data[start : start + HASH_SIZE] for start in starts])


def inclusion_proof(index: int, size: int, get_subtree: SubtreeLookup) -> list[bytes]:
    """The path that proves the leaf at `index` to be in the tree of `size` leaves.

    Args:
        index: position of the leaf.
        size: size of the tree that the proof is for; may be smaller than the stored one.
        get_subtree: gives the root of any perfect subtree within `size`.

    Returns:
        Hashes from the leaf's sibling up to the root's child.

    Raises:
        ProofError: there is no such leaf in a tree of that size.

    Source: RFC 9162 §2.1.3.1.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError("There is no such leaf in a tree of that size.", "Ask for a leaf below the size.")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range_root(middle, high, get_subtree))
            high = middle
        else:
            path.append(_range_root(low, middle, get_subtree))
            low = middle
    path.reverse()
    return path


def consistency_proof(m: int, n: int, get_subtree: SubtreeLookup) -> list[bytes]:
    """The proof that the tree of `n` leaves is an extension of the tree of `m` leaves.

    Args:
        m: the earlier size.
        n: the later size; may be smaller than the stored one.
        get_subtree: gives the root of any perfect subtree within `n`.

    Returns:
        The hashes, lowest first; none where m is 0 or m equals n, as nothing needs proof then.

    Raises:
        ProofError: the sizes are not 0 <= m <= n.

    Source: RFC 9162 §2.1.4.1.
    """
    if not 0 <= m <= n <= MAX_SIZE:
        raise ProofError("A tree cannot be an extension of a larger one.", "Ask with the smaller size first.")
    if m in (0, n):
        return []
    path: list[bytes] = []
    low, high = 0, n
    while high != m:
        middle = low + _split(high - low)
        if m <= middle:
            path.append(_range_root(middle, high, get_subtree))
            high = middle
        else:
            path.append(_range_root(low, middle, get_subtree))
            low = middle
    if low:  # otherwise the verifier knows this hash: it is the earlier root itself
        path.append(_range_root(low, high, get_subtree))
    path.reverse()
    return path


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Checks that the leaf hash stands at `index` in the tree of `size` leaves with this root.

    Raises:
        ProofError: it is not proven.

    Source: RFC 9162 §2.1.3.2.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError("The proof is for a leaf that a tree of that size does not have.")
    _require_hash(leaf)
    node, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("The inclusion proof is too long.")
        _require_hash(sibling)
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise ProofError("The inclusion proof is too short.")
    if result != root:
        raise ProofError("The inclusion proof does not lead to the root.")


def verify_consistency(m: int, root_m: bytes, n: int, root_n: bytes, proof: Sequence[bytes]) -> None:
    """Checks that the tree (n, root_n) is an extension of the tree (m, root_m).

    Rules:
    - m = 0: every tree extends the empty one; root_m must be EMPTY_ROOT and the proof empty.
    - m = n: the roots must be equal and the proof empty.

    Raises:
        ProofError: it is not proven.

    Source: RFC 9162 §2.1.4.2.
    """
    if not 0 <= m <= n <= MAX_SIZE:
        raise ProofError("A tree cannot be an extension of a larger one.")
    _require_hash(root_m)
    _require_hash(root_n)
    if m in (0, n):
        if proof:
            raise ProofError("The consistency proof is too long.")
        if root_m != (EMPTY_ROOT if m == 0 else root_n) or (n == 0 and root_n != EMPTY_ROOT):
            raise ProofError("The roots of two trees that need no proof differ.")
        return
    if not proof:
        raise ProofError("The consistency proof is too short.")
    hashes = iter(proof)
    start = root_m if m & (m - 1) == 0 else next(hashes)
    _require_hash(start)
    node, last = m - 1, n - 1
    while node & 1:
        node >>= 1
        last >>= 1
    earlier = later = start
    for sibling in hashes:
        if last == 0:
            raise ProofError("The consistency proof is too long.")
        _require_hash(sibling)
        if node & 1 or node == last:
            earlier = node_hash(sibling, earlier)
            later = node_hash(sibling, later)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            later = node_hash(later, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise ProofError("The consistency proof is too short.")
    if earlier != root_m:
        raise ProofError("The consistency proof does not lead to the earlier root.")
    if later != root_n:
        raise ProofError("The consistency proof does not lead to the later root.")


class SubtreeReader:
    """Answers for any perfect subtree from what a store keeps: leaf hashes and every eighth level.

    Rules:
    - Reads whole tiles (up to 256 hashes side by side) and remembers them, so that one proof costs at
      most two reads per stored level: the tile of the leaf and the tile at the right edge.
    - Remembers for good, so make one per proof or per batch of proofs, never one per process.
    """

    def __init__(
        self,
        size: int,
        leaf_hashes: Callable[[int, int], Sequence[bytes]],
        stored: Callable[[int, int, int], Sequence[bytes]],
    ) -> None:
        """Binds the reader to a store.

        Args:
            size: size of the stored tree; nothing beyond it is asked for.
            leaf_hashes: answers (first index, count) with that many leaf hashes.
            stored: answers (level, first index, count), level being 8, 16, 24, ..., with that many roots.
        """
        self._size = size
        self._leaf_hashes = leaf_hashes
        self._stored = stored
        self._tiles: dict[tuple[int, int], Sequence[bytes]] = {}
        self._computed: dict[tuple[int, int], bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """The root of the perfect subtree (level, index), 32 bytes.

        Raises:
            TreeStateError: the tree does not have that subtree, or the store lacks hashes it should have.
        """
        if level < 0 or index < 0 or (index + 1) << level > self._size:
            raise TreeStateError("The stored tree has no such subtree.", "Ask for a subtree within its size.")
        above = level % TILE_HEIGHT
        if above == 0:
            return self._tile(level, index >> TILE_HEIGHT)[index % _TILE_WIDTH]
        known = self._computed.get((level, index))
        if known is None:
            first = index << above
            tile = self._tile(level - above, first >> TILE_HEIGHT)
            start = first % _TILE_WIDTH
            row = tile[start : start + (1 << above)]
            while len(row) > 1:
                row = _parents(row)
            known = row[0]
            self._computed[level, index] = known
        return known

    def _tile(self, level: int, number: int) -> Sequence[bytes]:
        tile = self._tiles.get((level, number))
        if tile is None:
            first = number << TILE_HEIGHT
            count = min(_TILE_WIDTH, (self._size >> level) - first)
            tile = self._stored(level, first, count) if level else self._leaf_hashes(first, count)
            if len(tile) != count or any(len(item) != HASH_SIZE for item in tile):
                raise TreeStateError("The store lacks hashes of this tree.")
            self._tiles[level, number] = tile
        return tile


def _fold(perfect: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees that stand side by side, the largest first."""
    if not perfect:
        return EMPTY_ROOT
    result = perfect[-1]
    for left in reversed(perfect[:-1]):
        result = node_hash(left, result)
    return result


def _parents(nodes: Sequence[bytes]) -> list[bytes]:
    """The next level above an even number of nodes that stand side by side."""
    pairs = iter(nodes)
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]


def _split(width: int) -> int:
    """The largest power of two below `width` (RFC 9162 §2.1.1)."""
    return 1 << ((width - 1).bit_length() - 1)


def _range_root(low: int, high: int, get_subtree: SubtreeLookup) -> bytes:
    """The root over the leaves low to high - 1, where `low` starts a subtree at least that wide."""
    perfect: list[bytes] = []
    while low < high:
        level = (high - low).bit_length() - 1
        perfect.append(get_subtree(level, low >> level))
        low += 1 << level
    return _fold(perfect)


def _require_hash(value: bytes) -> None:
    if len(value) != HASH_SIZE:
        raise ProofError("A hash has a wrong length.")
