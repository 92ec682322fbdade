"""Merkle trees as in RFC 9162 §2.1 (and RFC 6962): leaves are hashed with prefix 0x00, nodes with 0x01.

Sizes and indices count leaves; hashes are SHA-256, 32 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

HASH_BYTES = 32


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf's bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """An append-only tree that answers for each of its former sizes. Holds 64 bytes a leaf: every complete subtree."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels = [bytearray()]  # level k: hashes of the complete subtrees of 2^k leaves, in order
        for leaf in leaves:
            self.append(leaf)

    def __len__(self) -> int:
        return len(self._levels[0]) // HASH_BYTES

    def append(self, leaf: bytes) -> int:
        """Add a leaf; its index. Amortised two hashes."""
        return self.append_hash(leaf_hash(leaf))

    def append_hash(self, hashed: bytes) -> int:
        """Add a leaf of which only the hash is known."""
        index, level = len(self), 0
        self._levels[0] += hashed
        while (index >> level) & 1:
            hashed = node_hash(bytes(self._levels[level][-2 * HASH_BYTES : -HASH_BYTES]), hashed)
            level += 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += hashed
        return index

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` leaves (all, unless told)."""
        size = self._checked(len(self) if size is None else size)
        return self._range(0, size) if size else hashlib.sha256().digest()

    def leaf(self, index: int) -> bytes:
        """The hash of a leaf that is there."""
        return self._range(self._checked(index, below=1), index + 1)

    def subtrees(self, level: int, start: int, count: int) -> bytes:
        """The hashes of `count` complete subtrees of 2^level leaves each, from the `start`th on, in one piece."""
        row = self._levels[level] if level < len(self._levels) else bytearray()
        if not 0 <= start <= start + count <= len(row) // HASH_BYTES:
            raise IndexError(f"expected at most {len(row) // HASH_BYTES} subtrees of level {level}")
        return bytes(row[start * HASH_BYTES : (start + count) * HASH_BYTES])

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """PATH(index, first `size` leaves) of RFC 9162 §2.1.3.1, from the leaf up."""
        low, high = 0, self._checked(len(self) if size is None else size)
        if not 0 <= index < high:
            raise IndexError(f"expected an index below {high}, got {index}")
        path = []
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._range(middle, high))
                high = middle
            else:
                path.append(self._range(low, middle))
                low = middle
        return path[::-1]

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """PROOF(old, first `new` leaves) of RFC 9162 §2.1.4.1; empty for an old size of 0 or of `new`."""
        low, high = 0, self._checked(len(self) if new is None else new)
        if not 0 <= old <= high:
            raise IndexError(f"expected an old size of at most {high}, got {old}")
        if old in (0, high):
            return []
        proof = []
        while old < high:
            middle = low + _split(high - low)
            if old <= middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low = middle
        if low:  # else what is left is the old tree itself, whose root the verifier has
            proof.append(self._range(low, high))
        return proof[::-1]

    def _range(self, low: int, high: int) -> bytes:
        """Root over leaves low … high - 1, where `low` is a multiple of the greatest power of two within."""
        size = high - low
        if size & (size - 1) == 0:
            level = size.bit_length() - 1
            at = (low >> level) * HASH_BYTES
            return bytes(self._levels[level][at : at + HASH_BYTES])
        middle = low + _split(size)
        return node_hash(self._range(low, middle), self._range(middle, high))

    def _checked(self, size: int, *, below: int = 0) -> int:
        if not 0 <= size <= len(self) - below:
            raise IndexError(f"expected at most {len(self) - below}, got {size}")
        return size


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Is `leaf` (its hash) at `index` of the tree of `size` leaves with this root? RFC 9162 §2.1.3.2."""
    if not 0 <= index < size:
        return False
    here, last, hashed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if here & 1 or here == last:
            hashed = node_hash(sibling, hashed)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            hashed = node_hash(hashed, sibling)
        here, last = here >> 1, last >> 1
    return last == 0 and hashed == root


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Is the tree of `old` leaves a beginning of the one of `new`? RFC 9162 §2.1.4.2."""
    if not 0 < old < new:
        return old == new and not proof and old_root == new_root
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    here, last = old - 1, new - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        here, last = here >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


def _split(size: int) -> int:
    """The greatest power of two below `size` (at least 2)."""
    return 1 << (size - 1).bit_length() - 1
