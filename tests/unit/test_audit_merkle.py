import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.audit import merkle
from stream.audit.merkle import Tree, leaf_hash, node_hash, verify_consistency, verify_inclusion

# The reference leaves and roots of the certificate-transparency test suites.
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def mth(leaves):
    """RFC 9162 §2.1.1, as written."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = largest(len(leaves))
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def path(m, leaves):
    """§2.1.3.1"""
    if len(leaves) == 1:
        return []
    k = largest(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m, leaves, whole):
    """§2.1.4.1"""
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = largest(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def largest(n):
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def leaves_of(count):
    return [b"%d" % each for each in range(count)]


sizes = st.integers(1, 70)


@pytest.mark.parametrize("size", ROOTS)
def test_reference_roots(size):
    assert Tree(LEAVES).root(size).hex() == ROOTS[size]


@settings(deadline=None)
@given(st.data(), sizes)
def test_agrees_with_the_definition(data, size):
    leaves, tree = leaves_of(size), Tree(leaves_of(size + 3))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert tree.root(size) == mth(leaves)
    assert tree.leaf(index) == leaf_hash(leaves[index])
    assert tree.inclusion_proof(index, size) == path(index, leaves)
    assert tree.consistency_proof(old, size) == subproof(old, leaves, True)


def test_every_proof_of_every_small_tree_verifies():
    tree = Tree(leaves_of(33))
    for size in range(1, 34):
        root = tree.root(size)
        for index in range(size):
            proof = tree.inclusion_proof(index, size)
            assert verify_inclusion(tree.leaf(index), index, size, proof, root)
            assert not verify_inclusion(tree.leaf(index), index + 1, size, proof, root)
            assert not verify_inclusion(tree.leaf(index), index, size, [*proof, root], root)
            assert not verify_inclusion(tree.leaf(index), index, size, proof[:-1], root) or size == 1
        for old in range(1, size + 1):
            assert verify_consistency(old, size, tree.consistency_proof(old, size), tree.root(old), root)


@settings(deadline=None)
@given(st.data(), st.integers(2, 70))
def test_one_flipped_bit_never_verifies(data, size):
    tree = Tree(leaves_of(size))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    parts = [tree.leaf(index), tree.root(), *tree.inclusion_proof(index)]
    which = data.draw(st.integers(0, len(parts) - 1))
    parts[which] = flip(data, parts[which])
    assert not verify_inclusion(parts[0], index, size, parts[2:], parts[1])
    parts = [tree.root(old), tree.root(), *tree.consistency_proof(old)]
    which = data.draw(st.integers(0, len(parts) - 1))
    parts[which] = flip(data, parts[which])
    assert not verify_consistency(old, size, parts[2:], parts[0], parts[1])


def flip(data, raw):
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    return bytes(byte ^ (1 << at % 8 if each == at // 8 else 0) for each, byte in enumerate(raw))


def test_consistency_at_the_edges():
    tree = Tree(leaves_of(5))
    assert verify_consistency(5, 5, [], tree.root(), tree.root())
    assert not verify_consistency(5, 5, [tree.root()], tree.root(), tree.root())
    assert not verify_consistency(5, 4, [], tree.root(5), tree.root(4))
    assert not verify_consistency(3, 5, [], tree.root(3), tree.root(5))
    proof = tree.consistency_proof(3)
    assert not verify_consistency(3, 5, [*proof, tree.root()], tree.root(3), tree.root())
    assert tree.consistency_proof(0) == tree.consistency_proof(5) == []
    assert not verify_inclusion(tree.leaf(0), 0, 0, [], tree.root())
    assert not verify_consistency(4, 5, [], tree.root(4), tree.root(5))


def test_what_is_not_there_is_an_index_error():
    tree = Tree(leaves_of(5))
    for call in (
        lambda: tree.root(6),
        lambda: tree.leaf(5),
        lambda: tree.inclusion_proof(5),
        lambda: tree.inclusion_proof(0, 6),
        lambda: tree.inclusion_proof(-1),
        lambda: tree.consistency_proof(6),
    ):
        with pytest.raises(IndexError):
            call()


def test_appending_costs_two_hashes_and_a_root_or_path_some_dozens(monkeypatch):
    counted = 0

    def counting(left, right):
        nonlocal counted
        counted += 1
        return node_hash(left, right)

    monkeypatch.setattr(merkle, "node_hash", counting)
    tree = Tree(leaves_of(4095))
    assert counted < 4095
    for ask in (tree.root, lambda: tree.inclusion_proof(7), lambda: tree.consistency_proof(2047)):
        counted = 0
        ask()
        assert counted <= 12
