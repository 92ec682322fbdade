"""What a log's leaves must say of each other, read in order: who signs, what completes what, which time comes first."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from itertools import pairwise
from typing import ClassVar

from stream.audit.checkpoint import Checkpoint, open_note, origin_of
from stream.audit.disclosures import Disclosure
from stream.audit.leaves import Leaf, WrongLeaf, decode, kind_of, signer_of
from stream.audit.merkle import leaf_hash
from stream.audit.receipts import Absent, Receipt
from stream.audit.signer import key_id, signed_by
from stream.audit.signing_key import SigningKey
from stream.errors import BadRequest


class BadLog(BadRequest):
    """This copy of a log does not prove what a log proves."""

    kind: ClassVar[str] = "log-bad"
    status: ClassVar[int] = 422


class WrongSigner(BadLog):
    """A leaf is not signed by the key that the leaves before it name."""

    kind: ClassVar[str] = "log-wrong-signer"


class WrongLeafSignature(BadLog):
    """A leaf's signature is not its key's over it."""

    kind: ClassVar[str] = "log-wrong-signature"


class UnknownKey(BadLog):
    """The key that is trusted never signed this log."""

    kind: ClassVar[str] = "log-untrusted-key"


class WrongOrder(BadLog):
    """A leaf tells of something that cannot be so after those before it."""

    kind: ClassVar[str] = "log-wrong-order"


class History:
    """Feed it every leaf. `keys`: (index of the leaf that names it, public key), the chain of who signs."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.keys: list[tuple[int, bytes]] = []
        self.counts: Counter[str] = Counter()
        self.covered = self.held = 0  # assets that receipts cover; that holds kept
        self.disclosed = 0  # things that disclosures handed out
        self.first_ms = self.last_ms = 0  # of erasures
        self._receipts: dict[int, tuple[Receipt, bytes]] = {}  # not yet completed, with their hashes
        self._commits: list[tuple[int, str]] = []  # (offset in `keys`, root version) of erasing commits, ascending

    def take(self, index: int, raw: bytes, signature: bytes) -> None:
        """The next leaf. Raises a BadLog or WrongLeaf that says what is wrong with it."""
        leaf = decode(raw, index)
        if getattr(leaf, "partition", self.partition) != self.partition:
            raise WrongLeaf(f"expected a leaf of partition {self.partition} at {index}, got another partition's")
        self._signed(index, leaf, raw, signature)
        self.counts[kind_of(leaf)] += 1
        if isinstance(leaf, Receipt):
            self._erased(index, leaf, raw)
        elif isinstance(leaf, Absent):
            self._absent(index, leaf)
        elif isinstance(leaf, Disclosure):
            self.disclosed += leaf.count

    def public_at(self, size: int) -> bytes:
        """The key that signs a checkpoint over the first `size` leaves. Raises WrongSigner."""
        for index, public in reversed(self.keys):
            if index < size:
                return public
        raise WrongSigner("expected the first leaf to name the key that signs the log")

    def trust(self, public: bytes) -> None:
        """Raises UnknownKey unless this key is one of the chain: those after it are named by it."""
        if all(public != known for _, known in self.keys):
            names = ", ".join(key_id(known) for _, known in self.keys)
            raise UnknownKey(f"expected a log signed by {key_id(public)}, got one signed by {names}")

    def open(self, note: str, head: Checkpoint) -> None:
        """Raises WrongCheckpoint unless this note of `head` is signed by the key of its time."""
        open_note(note, origin_of(self.partition), self.public_at(head.size))

    def _signed(self, index: int, leaf: Leaf, raw: bytes, signature: bytes) -> None:
        if index == 0:
            if not isinstance(leaf, SigningKey):
                raise WrongSigner("expected the first leaf to name the key that signs the log")
            public = bytes.fromhex(leaf.public)
        else:
            public = self.keys[-1][1]
        name = signer_of(leaf)
        if name and name != key_id(public):
            raise WrongSigner(f"expected leaf {index} to be signed by {key_id(public)}, as the leaves before it say")
        if not (signed_by(public, signature, raw) if name else not signature):
            raise WrongLeafSignature(f"expected the signature of {key_id(public)} over leaf {index}, got another")
        if isinstance(leaf, SigningKey):
            self.keys.append((index, bytes.fromhex(leaf.public)))

    def _erased(self, index: int, leaf: Receipt, raw: bytes) -> None:
        if leaf.t_unreadable_ms < leaf.t_hidden_ms:
            raise WrongOrder(f"expected what leaf {index} erased to be hidden before it was unreadable")
        if leaf.keys_offset >= 0:
            self._commit(index, leaf)
        self._receipts[index] = leaf, leaf_hash(raw)
        self.covered, self.held = self.covered + leaf.count, self.held + leaf.holds
        self.first_ms = min(self.first_ms or leaf.t_unreadable_ms, leaf.t_unreadable_ms)
        self.last_ms = max(self.last_ms, leaf.t_unreadable_ms)

    def _commit(self, index: int, leaf: Receipt) -> None:
        """Commits and root versions ascend together. Receipts need not: a mass is told over several later commits."""
        commit = leaf.keys_offset, leaf.root_version
        at = bisect_left(self._commits, commit)
        if self._commits[at : at + 1] == [commit]:
            return
        around = [*self._commits[max(0, at - 1) : at], commit, *self._commits[at : at + 1]]
        for (offset, version), (next_offset, next_version) in pairwise(around):
            if offset == next_offset or _not_ascending(version, next_version):
                raise WrongOrder(f"expected the commit and root version of leaf {index} to fit the other receipts'")
        self._commits.insert(at, commit)

    def _absent(self, index: int, leaf: Absent) -> None:
        receipt, hashed = self._receipts.pop(leaf.erased_index, (None, b""))
        if receipt is None or hashed.hex() != leaf.erased_hash:
            raise WrongOrder(f"expected leaf {index} to complete a receipt before it, that nothing has completed yet")
        if leaf.t_gone_ms < receipt.t_unreadable_ms:
            raise WrongOrder(f"expected what leaf {index} found absent to be unreadable before")
        self.last_ms = max(self.last_ms, leaf.t_gone_ms)

    @property
    def pending(self) -> int:
        """Receipts whose objects are not yet said to be absent."""
        return len(self._receipts)


def _not_ascending(one: str, other: str) -> bool:
    """Whether two versions of one root store, as `file:v12`, are not in this order. Stores cannot be compared."""
    first, second = _VERSION.match(one), _VERSION.match(other)
    return bool(first and second and first[1] == second[1] and int(first[2]) >= int(second[2]))


_VERSION = re.compile(r"([a-z]+):v([0-9]{1,18})(?![0-9])")
