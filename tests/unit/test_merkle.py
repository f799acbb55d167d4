"""The Merkle core against published vectors, and every rule of its docstrings (I4)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from node.ledger.errors import ProofError, TreeStateError
from node.ledger.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    CompactRange,
    Subtree,
    SubtreeReader,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

# The reference tree of Certificate Transparency: eight leaves, the root at every size, and proofs.
# Source: github.com/transparency-dev/merkle, proof/verify_test.go (Apache-2.0), itself from RFC 6962's
# reference implementation. Their leaf numbers start at 1, ours at 0.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(text)
    for text in (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): INCLUSION[0, 8],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (6, 7): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}


class StoredTree:
    """A store as the node has it: leaf hashes and every eighth level; counts its reads."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = list(leaves)
        self.tree = CompactRange()
        self.levels: dict[int, list[bytes]] = {}
        self.reads: list[tuple[int, int, int]] = []
        for subtree in self.tree.extend(leaves):
            row = self.levels.setdefault(subtree.level, [])
            assert subtree.index == len(row)
            row.append(subtree.hash)

    def leaf_hashes(self, first: int, count: int) -> Sequence[bytes]:
        self.reads.append((0, first, count))
        return self.leaves[first : first + count]

    def stored(self, level: int, first: int, count: int) -> Sequence[bytes]:
        self.reads.append((level, first, count))
        return self.levels.get(level, [])[first : first + count]

    def reader(self) -> SubtreeReader:
        self.reads.clear()
        return SubtreeReader(len(self.leaves), self.leaf_hashes, self.stored)


REFERENCE = StoredTree([leaf_hash(leaf) for leaf in LEAVES])


def numbered(count: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(8, "big")) for number in range(count)]


def unhex(proof: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(item) for item in proof]


def test_hashes_equal_the_published_rfc6962_vectors() -> None:
    # Source: github.com/transparency-dev/merkle, rfc6962/rfc6962_test.go.
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert (
        node_hash(b"N123", b"N456").hex()
        == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    )


def test_a_leaf_never_passes_for_a_node() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)


def test_roots_of_the_reference_tree_at_every_size() -> None:
    tree = CompactRange()
    assert tree.root() == EMPTY_ROOT
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        tree.append(leaf_hash(leaf))
        assert tree.root() == root


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_published_inclusion_proofs_are_made_and_accepted(index: int, size: int) -> None:
    proof = unhex(INCLUSION[index, size])
    assert inclusion_proof(index, size, REFERENCE.reader()) == proof
    verify_inclusion(leaf_hash(LEAVES[index]), index, size, proof, ROOTS[size - 1])


@pytest.mark.parametrize(("m", "n"), CONSISTENCY)
def test_published_consistency_proofs_are_made_and_accepted(m: int, n: int) -> None:
    proof = unhex(CONSISTENCY[m, n])
    assert consistency_proof(m, n, REFERENCE.reader()) == proof
    verify_consistency(m, ROOTS[m - 1], n, ROOTS[n - 1], proof)


@pytest.mark.parametrize(
    ("index", "size"), [(0, 0), (1, 0), (1, 1), (2, 1), (-1, 8), (8, 8), (0, MAX_SIZE + 1)]
)
def test_a_leaf_beyond_the_size_is_neither_proven_nor_accepted(index: int, size: int) -> None:
    with pytest.raises(ProofError):
        inclusion_proof(index, size, REFERENCE.reader())
    with pytest.raises(ProofError):
        verify_inclusion(leaf_hash(b""), index, size, [], leaf_hash(b""))


@pytest.mark.parametrize(("m", "n"), [(2, 1), (-1, 1), (0, MAX_SIZE + 1)])
def test_a_larger_tree_is_never_extended_by_a_smaller_one(m: int, n: int) -> None:
    with pytest.raises(ProofError):
        consistency_proof(m, n, REFERENCE.reader())
    with pytest.raises(ProofError):
        verify_consistency(m, ROOTS[1], n, ROOTS[0], [])


def test_every_tree_extends_the_empty_one_without_a_proof() -> None:
    assert consistency_proof(0, 8, REFERENCE.reader()) == []
    verify_consistency(0, EMPTY_ROOT, 8, ROOTS[7], [])
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])


@pytest.mark.parametrize(
    ("m", "root_m", "n", "root_n", "proof"),
    [
        pytest.param(0, ROOTS[0], 8, ROOTS[7], [], id="empty-tree-with-other-root"),
        pytest.param(0, ROOTS[0], 0, ROOTS[0], [], id="both-empty-with-other-root"),
        pytest.param(0, EMPTY_ROOT, 0, ROOTS[0], [], id="both-empty-second-with-other-root"),
        pytest.param(0, EMPTY_ROOT, 8, ROOTS[7], [EMPTY_ROOT], id="proof-from-the-empty-tree"),
        pytest.param(8, ROOTS[7], 8, ROOTS[6], [], id="equal-size-different-roots"),
        pytest.param(8, ROOTS[7], 8, ROOTS[7], [EMPTY_ROOT], id="equal-size-with-a-proof"),
        pytest.param(1, ROOTS[0], 8, ROOTS[7], [], id="no-proof"),
        pytest.param(6, ROOTS[5], 8, ROOTS[7], [], id="no-proof-not-a-power-of-two"),
        pytest.param(6, ROOTS[5][:31], 8, ROOTS[7], unhex(CONSISTENCY[6, 8]), id="short-earlier-root"),
        pytest.param(6, ROOTS[5], 8, ROOTS[7] + b"\0", unhex(CONSISTENCY[6, 8]), id="long-later-root"),
        pytest.param(6, ROOTS[4], 8, ROOTS[7], unhex(CONSISTENCY[6, 8]), id="other-earlier-root"),
        pytest.param(6, ROOTS[5], 8, ROOTS[6], unhex(CONSISTENCY[6, 8]), id="other-later-root"),
        pytest.param(2, ROOTS[2], 5, ROOTS[4], unhex(CONSISTENCY[2, 5]), id="other-root-power-of-two"),
        pytest.param(6, ROOTS[5], 8, ROOTS[7], [b"", *unhex(CONSISTENCY[6, 8])], id="empty-hash-before"),
        pytest.param(6, ROOTS[5], 8, ROOTS[7], [*unhex(CONSISTENCY[6, 8]), b""], id="empty-hash-after"),
        pytest.param(2, ROOTS[1], 5, ROOTS[4], [ROOTS[0], b"short"], id="short-hash"),
    ],
)
def test_false_consistency_is_refused(
    m: int, root_m: bytes, n: int, root_n: bytes, proof: list[bytes]
) -> None:
    with pytest.raises(ProofError):
        verify_consistency(m, root_m, n, root_n, proof)


@pytest.mark.parametrize(
    ("leaf", "proof", "root"),
    [
        pytest.param(b"", [], leaf_hash(b""), id="empty-leaf-hash"),
        pytest.param(leaf_hash(b""), [], b"", id="empty-root"),
        pytest.param(b"", [], b"", id="both-empty"),
        pytest.param(leaf_hash(b""), [leaf_hash(b"")], leaf_hash(b""), id="proof-where-none-is-needed"),
    ],
)
def test_false_inclusion_in_a_tree_of_one_leaf_is_refused(
    leaf: bytes, proof: list[bytes], root: bytes
) -> None:
    with pytest.raises(ProofError):
        verify_inclusion(leaf, 0, 1, proof, root)


def test_proof_errors_carry_reason_diagnosis_and_mend() -> None:
    with pytest.raises(ProofError) as caught:
        verify_inclusion(leaf_hash(b"other"), 0, 8, unhex(INCLUSION[0, 8]), ROOTS[7])
    assert caught.value.reason == "PROOF_INVALID"
    assert str(caught.value) == f"{caught.value.diagnosis} {caught.value.mend}"


def test_a_compact_range_is_taken_up_again_where_it_was_stored() -> None:
    leaves = numbered(7)
    tree = CompactRange()
    tree.extend(leaves[:5])
    again = CompactRange.from_bytes(tree.to_bytes())
    assert again == tree
    again.extend(leaves[5:])
    assert tree.size == 5
    tree.extend(leaves[5:])
    assert again.root() == tree.root()


def test_a_compact_range_is_stored_as_size_and_hashes() -> None:
    tree = CompactRange()
    assert tree.to_bytes() == bytes(8)
    tree.extend([leaf_hash(leaf) for leaf in LEAVES[:3]])
    assert tree.to_bytes() == b"\0" * 7 + b"\3" + ROOTS[1] + leaf_hash(LEAVES[2])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(7), id="short-size"),
        pytest.param(bytes(9), id="one-byte-more"),
        pytest.param((1).to_bytes(8, "big"), id="hash-missing"),
        pytest.param((1).to_bytes(8, "big") + bytes(31), id="short-hash"),
        pytest.param((1).to_bytes(8, "big") + bytes(64), id="hash-too-many"),
        pytest.param((0).to_bytes(8, "big") + bytes(32), id="hash-in-an-empty-tree"),
        pytest.param((2**63).to_bytes(8, "big") + bytes(32), id="impossible-size"),
    ],
)
def test_damaged_tree_state_is_refused(data: bytes) -> None:
    with pytest.raises(TreeStateError):
        CompactRange.from_bytes(data)


def test_a_copy_is_independent_of_its_original() -> None:
    tree = CompactRange()
    tree.extend(numbered(3))
    trial = tree.copy()
    trial.append(leaf_hash(b"given up"))
    assert (tree.size, trial.size) == (3, 4)
    assert tree.root() != trial.root()


def test_a_refused_append_leaves_the_tree_unchanged() -> None:
    tree = CompactRange()
    tree.extend(numbered(3))
    before = tree.to_bytes()
    with pytest.raises(TreeStateError):
        tree.extend([leaf_hash(b"good"), b"not a hash"])
    assert tree.to_bytes() == before
    full = CompactRange(MAX_SIZE, [bytes(32)] * 63)
    with pytest.raises(TreeStateError):
        full.append(leaf_hash(b"one too many"))
    assert full.size == MAX_SIZE


def test_compact_ranges_compare_by_what_they_hold() -> None:
    assert CompactRange() != CompactRange(1, [leaf_hash(b"")])
    assert CompactRange() != "another thing"


def test_extend_reports_the_subtrees_that_a_store_keeps() -> None:
    leaves = numbered(700)
    tree = CompactRange()
    assert tree.extend(leaves[:255]) == []
    first = tree.append(leaves[255])
    one = CompactRange()
    one.extend(leaves[:256])
    assert first == [Subtree(8, 0, one.root())]
    assert [(item.level, item.index) for item in tree.extend(leaves[256:])] == [(8, 1)]


def test_extend_reports_level_16_after_65536_leaves() -> None:
    tree = CompactRange()
    finished = tree.extend(numbered(65_536 + 256))
    assert [(item.level, item.index) for item in finished] == [
        *((8, index) for index in range(257)),
        (16, 0),
    ]
    assert finished[-1].hash == tree.hashes[0]


def test_one_inclusion_proof_costs_at_most_two_reads_per_stored_level() -> None:
    store = StoredTree(numbered(70_000))
    proof = inclusion_proof(1_000, 70_000, store.reader())
    verify_inclusion(store.leaves[1_000], 1_000, 70_000, proof, store.tree.root())
    assert sorted(store.reads) == [(0, 768, 256), (0, 69_888, 112), (8, 0, 256), (8, 256, 17)]


def test_a_reader_refuses_a_subtree_that_is_not_complete() -> None:
    reader = REFERENCE.reader()
    for level, index in [(0, 8), (3, 1), (4, 0), (-1, 0), (0, -1)]:
        with pytest.raises(TreeStateError):
            reader(level, index)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([], id="nothing"),
        pytest.param(numbered(7), id="one-missing"),
        pytest.param(numbered(9), id="one-too-many"),
        pytest.param([*numbered(7), b"short"], id="short-hash"),
    ],
)
def test_a_reader_never_builds_on_a_damaged_store(answer: list[bytes]) -> None:
    reader = SubtreeReader(8, lambda first, count: answer, lambda level, first, count: answer)
    with pytest.raises(TreeStateError):
        reader(2, 0)
