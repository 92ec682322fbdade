"""The key tree of one partition: data keys that can be provably forgotten, backups included. Pure: no I/O here.

Four fixed levels (Reardon et al., CCS'13, in our own form): root → group (app, class) → bucket (as many nodes as it
needs) → leaf, the page that an asset's row names. Each node is sealed under a key held in its parent; the root's key
is wrapped by a root store outside Kafka (rootstore.py).

Invariant: whatever was ever sealed under the *present* key of a node names only live entries, or present keys of
living children, or keys that never sealed anything. An insert keeps it: its leaf is rewritten under the same key, and
no ancestor unless a leaf opens; if its commit aborts, a key stays in the log that was never used. A removal breaks it
for its node, and a node's new key breaks it for the parent: so a removal re-keys the path up to and with the root. So
does whatever puts a *used* key into another page, since that commit too may abort. No node ever changes its parent,
none is split or merged: there is nothing else to prove.

How an owner commits, in this order:
  1. apply erasures (never before: a commit in between would write the page without them under its old key);
  2. `staged = tree.stage()`, which seals every node but the root, so that the tree may change again at once;
  3. if `staged.erasing`: wrap `staged.root_key` under a root version that nobody used before;
  4. write `staged.records(wrapped)`, and `tree.bury(…)` as tombstones, in one transaction;
  5. if erasing: once the commit's marker is in the topic, destroy the older root versions.
A key may be used, or leave the process, only after its insert's commit. A change cannot be taken back: if a commit
fails, or its outcome is unknown, discard the whole tree (`wipe`), destroy nothing and exit; the next owner loads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import ClassVar

from stream.errors import BrokenPromise
from stream.vault.keynode import (
    ENTRY_BYTES,
    ID_BYTES,
    KEY_BYTES,
    ROOT,
    DamagedTree,
    Level,
    Node,
    seal,
    unseal,
    wrapped_key,
)

FAN = 256
"""Entries in a leaf or bucket node. Measured: 64 and 1,024 are no better where it matters (round trips decide)."""

Place = tuple[bytes, bytes]


class CommitOutOfTurn(BrokenPromise):
    """Two commits of one tree overlapped: the order of its records on Kafka would not be the order of its changes."""

    kind: ClassVar[str] = "key-tree-commit-out-of-turn"


class Staged:
    """The nodes of one commit, sealed. `erasing`: the root was re-keyed, so wrap `root_key` for `records`."""

    def __init__(self, tree: KeyTree, sealed: dict[bytes, bytes], root: Node | None, *, erasing: bool) -> None:
        self._tree, self._sealed, self._root = tree, sealed, root
        self.erasing = erasing

    def __repr__(self) -> str:
        return f"Staged(nodes={len(self)}, erasing={self.erasing})"

    def __len__(self) -> int:
        return len(self._sealed) + (self._root is not None)

    @property
    def root_key(self) -> bytes:
        """The fresh root key of an erasing commit: 32 bytes, for the root store only."""
        if self._root is None or not self.erasing:
            raise CommitOutOfTurn("expected an erasing commit; this one wraps no root key")
        return self._root.key

    def records(self, wrapped: bytes | None = None) -> dict[bytes, bytes]:
        """Node id → record, to be written in one transaction. `wrapped`: the root key, wrapped; erasing commits only.

        The root's record is sealed here, from a copy of its body as it was at `stage`: by now the tree may differ.
        """
        if self.erasing != bool(wrapped):
            raise CommitOutOfTurn(f"expected a wrapped root key only for an erasing commit; erasing is {self.erasing}")
        if wrapped:
            self._tree.wrapped, self._tree.wrapping = wrapped, False
        if self._root is None:
            return self._sealed
        return self._sealed | {ROOT: seal(self._root, self._tree.place, self._tree.wrapped)}


class KeyTree:
    """A fresh tree, whose first commit is an erasing one (it wraps the first root key). `load` opens an old one.

    `place` (topic and partition) is authenticated in every record. `fan`: entries in a leaf or bucket node.
    """

    def __init__(self, place: bytes, *, fan: int = FAN) -> None:
        self.place, self._full_bytes = place, fan * ENTRY_BYTES
        self.wrapped = b""  # the root key as last wrapped
        self.wrapping = False  # between `stage` and `records` of an erasing commit
        self._root = Node(ROOT, os.urandom(KEY_BYTES), Level.ROOT)
        self._nodes: dict[bytes, Node] = {ROOT: self._root}
        self._groups: dict[bytes, Node] = {}
        self._buckets: dict[Place, list[Node]] = {}
        self._room: dict[Place, dict[bytes, Node]] = {}  # leaves that take inserts, by id
        self._dirty: set[Node] = set()
        self._rekey: set[Node] = {self._root}
        self._garbage: list[bytes] = []  # unreachable nodes, whose records await a tombstone

    @classmethod
    def load(cls, place: bytes, root_key: bytes, records: Mapping[bytes, bytes], *, fan: int = FAN) -> KeyTree:
        """The tree of these records (node id → latest value; tombstones left out). Raises DamagedTree: serve nothing.

        Records that the root does not reach are dead nodes an earlier owner had no time to bury.
        """
        tree = cls(place, fan=fan)
        tree._rekey.clear()
        todo: list[tuple[Node | None, bytes, bytes]] = [(None, ROOT, root_key)]
        while todo:
            parent, node_id, key = todo.pop()
            if (record := records.get(node_id)) is None:
                raise DamagedTree(
                    f"expected a record of node {node_id.hex()}, found none: the `keys` topic was cut or not read to"
                    " its end; serve nothing and replay it"
                )
            node = unseal(node_id, key, record, place)
            tree._adopt(node, parent)
            if node.level != Level.LEAF:
                todo += [(node, *entry) for entry in node.entries()]
        tree.wrapped = wrapped_root(records)
        tree._garbage = [node_id for node_id in records if node_id not in tree._nodes]
        return tree

    def __repr__(self) -> str:
        return f"KeyTree(nodes={len(self._nodes)}, garbage={len(self._garbage)})"

    def count(self) -> int:
        """Live entries. Linear in leaves."""
        return sum(len(node.body) for node in self._nodes.values() if node.level == Level.LEAF) // ENTRY_BYTES

    def census(self) -> Iterator[tuple[bytes, bytes]]:
        """(entry, page) of every live key, in no order that means anything. Nothing may change meanwhile."""
        for node in self._nodes.values():
            if node.level == Level.LEAF:
                yield from ((entry, node.id) for entry, _ in node.entries())

    def places(self) -> list[Place]:
        """(group, bucket) of all that lives: an owner drops those that are overdue before it serves anything."""
        return list(self._buckets)

    def pages(self, group: bytes, bucket: bytes) -> list[bytes]:
        """The leaf ids of a bucket: whose keys die with its drop."""
        return [page for top in self._buckets.get((group, bucket), ()) for page, _ in top.entries()]

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        """(page, how many entries it has) of every leaf."""
        leaves = (node for node in self._nodes.values() if node.level == Level.LEAF)
        return ((leaf.id, len(leaf.body) // ENTRY_BYTES) for leaf in leaves)

    def entries_of(self, page: bytes) -> list[bytes]:
        """The entries of a page, without their keys."""
        leaf = self._leaf(page)
        return [] if leaf is None else [entry for entry, _ in leaf.entries()]

    def place_of(self, page: bytes) -> Place | None:
        """(group, bucket) of a living page."""
        leaf = self._leaf(page)
        return None if leaf is None else _place(leaf)

    def insert(self, group: bytes, bucket: bytes, entry: bytes, key: bytes) -> bytes:
        """Returns the page (leaf id) to keep in the asset's row: with it no index by asset is needed.

        `entry`: 16 random bytes, never used twice. Not into a bucket that is due, or whose drop is queued: a drop
        takes what is there when it commits.
        """
        if len(entry) != ID_BYTES or len(key) != KEY_BYTES:
            raise ValueError(f"expected an entry of {ID_BYTES} bytes and a key of {KEY_BYTES}")
        place = group, bucket
        room = self._room.setdefault(place, {})
        if not room:
            self._open(group, bucket)
        _, leaf = room.popitem()
        leaf.body += entry + key
        if len(leaf.body) < self._full_bytes:
            room[leaf.id] = leaf
        self._dirty.add(leaf)
        return leaf.id

    def get(self, page: bytes, entry: bytes) -> bytes | None:
        """The key; None: it was erased (a row and its page change in one transaction, so it cannot be elsewhere)."""
        leaf = self._leaf(page)
        return None if leaf is None else leaf.get(entry)

    def holds(self, page: bytes, entry: bytes) -> bool:
        """Whether `get` would find a key."""
        leaf = self._leaf(page)
        return leaf is not None and leaf.find(entry) >= 0

    def erase(self, page: bytes, entry: bytes) -> bool:
        """Remove one entry. False: an earlier commit did."""
        leaf = self._leaf(page)
        if leaf is None or leaf.find(entry) < 0:
            return False
        self._remove(leaf, entry)
        return True

    def drop(self, group: bytes, bucket: bytes) -> int:
        """Remove a whole bucket, two nodes rewritten however many entries: how many it held. Linear in leaves."""
        dropped = 0
        for top in list(self._buckets.get((group, bucket), ())):
            for page, _ in list(top.entries()):
                dropped += len(self._nodes[page].body) // ENTRY_BYTES
                self._forget(self._nodes[page])
            self._forget(top)
            assert top.parent is not None
            self._remove(top.parent, top.id)
        return dropped

    def copy(self, page: bytes, entry: bytes, group: bytes, bucket: bytes) -> bytes | None:
        """The first half of a move: into another page too, whose id is returned; None if it was erased before.

        Erase the entry from `page` in the same commit. The page that takes it is re-keyed as well, unlike at an
        insert: this key has been used, and if the commit aborts, its record stays in the log. Under the present key of
        that page it would open for as long as the page lives, also after the entry was erased from where it still lies.
        """
        if (key := self.get(page, entry)) is None:
            return None
        target = self.insert(group, bucket, entry, key)
        self._rekey.add(self._nodes[target])
        return target

    def move(self, page: bytes, entry: bytes, group: bytes, bucket: bytes) -> bytes | None:
        """Into another page (an asset is kept, a hold begins), whose id is returned; None if it was erased before.

        Both pages are re-keyed, the one left behind because the old bucket's copies would still hold the key.
        """
        if (target := self.copy(page, entry, group, bucket)) is not None:
            self.erase(page, entry)
        return target

    @property
    def erasing(self) -> bool:
        """The next `stage` re-keys the root: something was removed, or the tree is fresh."""
        return bool(self._rekey)

    def stage(self, root_key: bytes | None = None) -> Staged:
        """Seal what changed since the last call. Raises CommitOutOfTurn while a re-keyed root awaits its wrapping.

        `root_key`: for a re-keyed root, where one was wrapped ahead: 32 bytes that no attempt ever used.
        """
        if self.wrapping:
            raise CommitOutOfTurn("expected the erasing commit before this one to have made its records")
        for node in list(self._rekey):
            self._rekey.update(_ancestors(node))
        for node in self._rekey:
            node.key = root_key if node is self._root and root_key is not None else os.urandom(KEY_BYTES)
            if node.parent is not None:
                node.parent.put(node.id, node.key)
        changed, erasing = self._dirty | self._rekey, bool(self._rekey)
        self._dirty, self._rekey = set(), set()
        root = None
        if self._root in changed:
            changed.remove(self._root)
            root = Node(ROOT, self._root.key, Level.ROOT, body=bytearray(self._root.body))
        self.wrapping = erasing
        return Staged(self, {node.id: seal(node, self.place) for node in changed}, root, erasing=erasing)

    def bury(self, limit: int) -> list[bytes]:
        """At most `limit` ids of dead nodes, to be written as tombstones; call after `stage`, in the same commit.

        None while the tree holds removals that are not committed: those nodes still live in the root that a crash
        would bring back. None beside an erasing commit either: forgetting comes first.
        """
        if self._rekey or self.wrapping:
            return []
        buried = self._garbage[:limit]
        del self._garbage[:limit]
        return buried

    def wipe(self) -> None:
        """Overwrite all keys and be empty: this owner lost its lease. The tree must not be used again."""
        for node in self._nodes.values():
            node.wipe()
            node.key = b""
        for held in (self._nodes, self._groups, self._buckets, self._room, self._dirty, self._rekey, self._garbage):
            held.clear()
        self.wrapped = b""

    def _leaf(self, page: bytes) -> Node | None:
        node = self._nodes.get(page)
        return node if node is not None and node.level == Level.LEAF else None

    def _open(self, group: bytes, bucket: bytes) -> None:
        """Add a leaf, in a bucket node that has room."""
        above = self._groups.get(group) or self._add(self._root, Level.GROUP, group)
        tops = self._buckets.get((group, bucket), ())
        top = next((top for top in tops if len(top.body) < self._full_bytes), None)
        self._add(top or self._add(above, Level.BUCKET, bucket), Level.LEAF, b"")

    def _add(self, parent: Node, level: Level, label: bytes) -> Node:
        node = Node(os.urandom(ID_BYTES), os.urandom(KEY_BYTES), level, label=label)
        parent.body += node.id + node.key
        self._adopt(node, parent)
        self._dirty |= {parent, node}
        return node

    def _adopt(self, node: Node, parent: Node | None) -> None:
        """Index a node under its parent. Raises DamagedTree if their levels do not follow each other."""
        if node.level != (Level.ROOT if parent is None else parent.level - 1):
            raise DamagedTree(f"expected a child one level below its parent, got level {node.level}")
        node.parent = parent
        self._nodes[node.id] = node
        if parent is None:
            self._root = node
        elif node.level == Level.GROUP:
            self._groups[node.label] = node
        elif node.level == Level.BUCKET:
            self._buckets.setdefault((parent.label, node.label), []).append(node)
        else:
            self._reuse(node)

    def _remove(self, node: Node, entry: bytes) -> None:
        node.remove(entry)
        while not node.body and node.parent is not None:  # an empty node goes too
            self._forget(node)
            node.parent.remove(node.id)
            node = node.parent
        if node.level == Level.LEAF:
            self._reuse(node)
        self._rekey.add(node)

    def _reuse(self, leaf: Node) -> None:
        """Let a leaf that is half empty take inserts. A fuller one not: each would be rewritten for a few entries."""
        if len(leaf.body) <= self._full_bytes // 2:
            self._room.setdefault(_place(leaf), {})[leaf.id] = leaf

    def _forget(self, node: Node) -> None:
        node.wipe()
        node.key = b""
        del self._nodes[node.id]
        self._garbage.append(node.id)
        self._dirty.discard(node)
        self._rekey.discard(node)
        if node.level == Level.GROUP:
            del self._groups[node.label]
            return
        place = _place(node)
        if node.level == Level.LEAF:
            self._room.get(place, {}).pop(node.id, None)
            return
        self._buckets[place].remove(node)
        if not self._buckets[place]:
            del self._buckets[place]
            self._room.pop(place, None)


def wrapped_root(records: Mapping[bytes, bytes]) -> bytes:
    """The wrapped root key in these records, for the root store to unwrap before `load`; empty: there is no tree."""
    record = records.get(ROOT)
    return b"" if record is None else wrapped_key(record)


def _place(node: Node) -> Place:
    bucket = node.parent if node.level == Level.LEAF else node
    assert bucket is not None
    assert bucket.parent is not None
    return bucket.parent.label, bucket.label


def _ancestors(node: Node) -> Iterator[Node]:
    while node.parent is not None:
        node = node.parent
        yield node
