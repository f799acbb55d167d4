"""The Merkle core against a naive tree written from the text of RFC 6962 §2.1 (I4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.ledger.errors import ProofError, TreeStateError
from node.ledger.merkle import (
    HASH_SIZE,
    CompactRange,
    Subtree,
    SubtreeReader,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)


class NaiveTree:
    """MTH, PATH and PROOF exactly as RFC 6962 §2.1, §2.1.1 and §2.1.2 define them, by recursion."""

    def __init__(self, data: Sequence[bytes]) -> None:
        self.data = data
        self._known: dict[tuple[int, int], bytes] = {}

    def mth(self, low: int, high: int) -> bytes:
        known = self._known.get((low, high))
        if known is None:
            if high == low:
                known = sha256().digest()
            elif high - low == 1:
                known = sha256(b"\x00" + self.data[low]).digest()
            else:
                k = self._k(high - low)
                known = sha256(b"\x01" + self.mth(low, low + k) + self.mth(low + k, high)).digest()
            self._known[low, high] = known
        return known

    def path(self, m: int, low: int, high: int) -> list[bytes]:
        if high - low == 1:
            return []
        k = self._k(high - low)
        if m < k:
            return [*self.path(m, low, low + k), self.mth(low + k, high)]
        return [*self.path(m - k, low + k, high), self.mth(low, low + k)]

    def proof(self, m: int, n: int) -> list[bytes]:
        return self._subproof(m, 0, n, whole=True)

    def _subproof(self, m: int, low: int, high: int, *, whole: bool) -> list[bytes]:
        if m == high - low:
            return [] if whole else [self.mth(low, high)]
        k = self._k(high - low)
        if m <= k:
            return [*self._subproof(m, low, low + k, whole=whole), self.mth(low + k, high)]
        return [*self._subproof(m - k, low + k, high, whole=False), self.mth(low, low + k)]

    @staticmethod
    def _k(n: int) -> int:
        k = 1
        while k * 2 < n:
            k *= 2
        return k


LARGEST = 65_536 + 600
NAIVE = NaiveTree([b"entry %d" % number for number in range(LARGEST)])
HASHES = [leaf_hash(data) for data in NAIVE.data]
KEPT = {(item.level, item.index): item.hash for item in CompactRange().extend(HASHES)}

unhurried = settings(deadline=None)
few = settings(unhurried, max_examples=30)  # each example hashes a tree of up to 65,000 leaves

small_sizes = st.integers(1, 600)
edges = st.builds(
    lambda edge, offset: edge + offset,
    st.sampled_from([256, 512, 4_096, 32_768, 65_280, 65_536, 65_792]),
    st.integers(-3, 3),
)
sizes = small_sizes | edges
hashes = st.binary(min_size=HASH_SIZE, max_size=HASH_SIZE)


def get_subtree(level: int, index: int) -> bytes:
    return NAIVE.mth(index << level, (index + 1) << level)


def store_reader(size: int) -> SubtreeReader:
    """A reader over only what a store keeps of a tree of this size; asked for more, it fails the test."""

    def leaf_hashes(first: int, count: int) -> list[bytes]:
        assert first + count <= size
        return HASHES[first : first + count]

    def stored(level: int, first: int, count: int) -> list[bytes]:
        assert (first + count) << level <= size
        return [KEPT[level, first + offset] for offset in range(count)]

    return SubtreeReader(size, leaf_hashes, stored)


@st.composite
def two_sizes(draw: st.DrawFn, most: st.SearchStrategy[int] = sizes) -> tuple[int, int]:
    n = draw(most)
    return draw(st.integers(1, n) | st.sampled_from([1 << bit for bit in range(n.bit_length())])), n


@st.composite
def mutations(draw: st.DrawFn, proof: Sequence[bytes]) -> list[bytes]:
    """A proof that differs from the given one: a bit flipped, a hash dropped, added, replaced or moved."""
    wrong = list(proof)
    kinds: list[Callable[[], None]] = []

    def add() -> None:
        wrong.insert(draw(st.integers(0, len(proof))), draw(hashes | st.sampled_from([*proof, b"", b"x"])))

    def flip() -> None:
        at, bit = draw(st.integers(0, len(proof) - 1)), draw(st.integers(0, 8 * HASH_SIZE - 1))
        changed = bytearray(wrong[at])
        changed[bit // 8] ^= 1 << bit % 8
        wrong[at] = bytes(changed)

    def drop() -> None:
        del wrong[draw(st.integers(0, len(proof) - 1))]

    def trim() -> None:
        at = draw(st.integers(0, len(proof) - 1))
        wrong[at] = draw(st.sampled_from([wrong[at][:-1], wrong[at] + b"\0", b""]))

    def swap() -> None:
        one, other = draw(st.lists(st.integers(0, len(proof) - 1), min_size=2, max_size=2, unique=True))
        wrong[one], wrong[other] = wrong[other], wrong[one]

    kinds.append(add)
    if proof:
        kinds += [flip, drop, trim]
    if len(proof) > 1:
        kinds.append(swap)
    draw(st.sampled_from(kinds))()
    return wrong


@few
@given(sizes, st.data())
def test_roots_equal_the_naive_tree_however_the_leaves_arrive(size: int, data: st.DataObject) -> None:
    tree = CompactRange()
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=5)))
    for low, high in zip([0, *cuts], [*cuts, size], strict=True):
        tree.extend(HASHES[low:high])
        assert tree.root() == NAIVE.mth(0, high)
    assert tree.size == size


@few
@given(small_sizes)
def test_one_by_one_is_the_same_as_all_at_once(size: int) -> None:
    one_by_one, at_once = CompactRange(), CompactRange()
    finished: list[Subtree] = []
    for leaf in HASHES[:size]:
        finished += one_by_one.append(leaf)
    assert at_once.extend(HASHES[:size]) == finished
    assert one_by_one == at_once


@few
@given(sizes, st.data())
def test_a_stored_tree_goes_on_from_any_point(size: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, size))
    tree = CompactRange()
    tree.extend(HASHES[:cut])
    again = CompactRange.from_bytes(tree.to_bytes())
    again.extend(HASHES[cut:size])
    assert again.root() == NAIVE.mth(0, size)


@few
@given(sizes, st.data())
def test_every_finished_subtree_equals_the_naive_one(size: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, size))
    tree = CompactRange()
    finished = [*tree.extend(HASHES[:cut]), *tree.extend(HASHES[cut:size])]
    assert all(item.hash == get_subtree(item.level, item.index) for item in finished)
    assert sorted((item.level, item.index) for item in finished) == [
        (level, index) for level in (8, 16) for index in range(size >> level)
    ]


@unhurried
@given(st.binary(max_size=200))
def test_no_stored_bytes_are_read_in_two_ways(data: bytes) -> None:
    try:
        tree = CompactRange.from_bytes(data)
    except TreeStateError:
        return
    assert tree.to_bytes() == data


@unhurried
@given(sizes, st.data())
def test_inclusion_proofs_equal_the_rfc_and_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, get_subtree)
    assert proof == NAIVE.path(index, 0, size)
    verify_inclusion(HASHES[index], index, size, proof, NAIVE.mth(0, size))


@unhurried
@given(two_sizes())
def test_consistency_proofs_equal_the_rfc_and_verify(pair: tuple[int, int]) -> None:
    m, n = pair
    proof = consistency_proof(m, n, get_subtree)
    assert proof == NAIVE.proof(m, n)
    verify_consistency(m, NAIVE.mth(0, m), n, NAIVE.mth(0, n), proof)


def test_all_proofs_of_all_small_trees_verify() -> None:
    for size in range(1, 34):
        root = NAIVE.mth(0, size)
        for number in range(size):
            proof = inclusion_proof(number, size, get_subtree)
            assert proof == NAIVE.path(number, 0, size)
            verify_inclusion(HASHES[number], number, size, proof, root)
            proof = consistency_proof(number + 1, size, get_subtree)
            assert proof == NAIVE.proof(number + 1, size)
            verify_consistency(number + 1, NAIVE.mth(0, number + 1), size, root, proof)


@unhurried
@given(sizes, st.data())
def test_any_change_to_an_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root = NAIVE.path(index, 0, size), NAIVE.mth(0, size)
    with pytest.raises(ProofError):
        verify_inclusion(HASHES[index], index, size, data.draw(mutations(proof)), root)
    with pytest.raises(ProofError):
        verify_inclusion(HASHES[index], index, size, proof, data.draw(hashes))
    with pytest.raises(ProofError):
        verify_inclusion(data.draw(hashes), index, size, proof, root)


@unhurried
@given(st.integers(2, 600) | edges, st.data())
def test_a_leaf_is_proven_at_its_own_index_only(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda number: number != index))
    with pytest.raises(ProofError):
        verify_inclusion(HASHES[index], other, size, NAIVE.path(index, 0, size), NAIVE.mth(0, size))


@unhurried
@given(two_sizes(), st.data())
def test_any_change_to_a_consistency_proof_is_refused(pair: tuple[int, int], data: st.DataObject) -> None:
    m, n = pair
    proof, root_m, root_n = NAIVE.proof(m, n), NAIVE.mth(0, m), NAIVE.mth(0, n)
    with pytest.raises(ProofError):
        verify_consistency(m, root_m, n, root_n, data.draw(mutations(proof)))
    with pytest.raises(ProofError):
        verify_consistency(m, data.draw(hashes), n, root_n, proof)
    with pytest.raises(ProofError):
        verify_consistency(m, root_m, n, data.draw(hashes), proof)


@unhurried
@given(two_sizes(), st.data())
def test_a_reader_over_a_store_makes_the_same_proofs(pair: tuple[int, int], data: st.DataObject) -> None:
    m, n = pair
    reader = store_reader(n)
    index = data.draw(st.integers(0, n - 1))
    assert inclusion_proof(index, n, reader) == NAIVE.path(index, 0, n)
    assert consistency_proof(m, n, reader) == NAIVE.proof(m, n)


@unhurried
@given(two_sizes(), st.data())
def test_a_store_that_has_grown_still_proves_older_sizes(pair: tuple[int, int], data: st.DataObject) -> None:
    older, stored = pair
    reader = store_reader(stored)
    m, index = data.draw(st.integers(1, older)), data.draw(st.integers(0, older - 1))
    assert inclusion_proof(index, older, reader) == NAIVE.path(index, 0, older)
    assert consistency_proof(m, older, reader) == NAIVE.proof(m, older)


@unhurried
@given(sizes, st.data())
def test_a_reader_answers_for_every_perfect_subtree(size: int, data: st.DataObject) -> None:
    level = data.draw(st.integers(0, size.bit_length() - 1))
    index = data.draw(st.integers(0, (size >> level) - 1))
    assert store_reader(size)(level, index) == get_subtree(level, index)
