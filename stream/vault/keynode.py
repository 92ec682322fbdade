"""One node of the key tree, and its record: `head ‖ wrapped root key ‖ nonce ‖ AES-256-GCM(label ‖ entries)`.

A leaf's entries are (asset id, data key), an inner node's (child id, child key). The head and the node's place and id
are authenticated, so a record moved to another node, partition or level does not open.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stream.errors import BrokenPromise

ID_BYTES = 16
KEY_BYTES = 32
ENTRY_BYTES = ID_BYTES + KEY_BYTES
NONCE_BYTES = 12
FORMAT = 1
_HEAD = struct.Struct(">BBHH")  # format, level, length of the label, length of the wrapped root key

ROOT = bytes(ID_BYTES)
"""Record key of the root node. Every other node id is random and never used twice."""


class Level(IntEnum):
    """The four fixed levels: nothing is split, merged or moved, so no node ever changes its parent."""

    LEAF = 0
    BUCKET = 1
    GROUP = 2
    ROOT = 3


class DamagedTree(BrokenPromise):
    """The records do not form a tree under this root key: serve nothing, and do not start anew over them."""

    kind: ClassVar[str] = "key-tree-damaged"


@dataclass(slots=True, eq=False)
class Node:
    """A node in memory. `label` is a group's or a bucket's name, so that reopening finds it again."""

    id: bytes
    key: bytes = field(repr=False)
    level: Level
    parent: Node | None = field(default=None, repr=False)
    label: bytes = b""
    body: bytearray = field(default_factory=bytearray, repr=False)

    def find(self, entry: bytes) -> int:
        """Offset of the entry, or -1. A hit inside a key is no hit: entries start at multiples of ENTRY_BYTES."""
        at = self.body.find(entry)
        while at >= 0 and at % ENTRY_BYTES:
            at = self.body.find(entry, at + 1)
        return at

    def get(self, entry: bytes) -> bytes | None:
        """The key of this entry."""
        at = self.find(entry)
        return None if at < 0 else bytes(self.body[at + ID_BYTES : at + ENTRY_BYTES])

    def put(self, entry: bytes, key: bytes) -> None:
        """Add an entry, or give it another key."""
        if (at := self.find(entry)) < 0:
            self.body += entry + key
        else:
            self.body[at + ID_BYTES : at + ENTRY_BYTES] = key

    def remove(self, entry: bytes) -> None:
        """Overwrite an entry that is there with the last one, and the last one's place with zeros."""
        at = self.find(entry)
        self.body[at : at + ENTRY_BYTES] = self.body[-ENTRY_BYTES:]
        self.body[-ENTRY_BYTES:] = bytes(ENTRY_BYTES)
        del self.body[-ENTRY_BYTES:]

    def wipe(self) -> None:
        """Overwrite and forget all entries."""
        self.body[:] = bytes(len(self.body))
        self.body.clear()

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """(entry, key), in no order that means anything."""
        for at in range(0, len(self.body), ENTRY_BYTES):
            yield bytes(self.body[at : at + ID_BYTES]), bytes(self.body[at + ID_BYTES : at + ENTRY_BYTES])


def seal(node: Node, place: bytes, wrapped: bytes = b"") -> bytes:
    """The record of a node; only the root's carries `wrapped`, its own key as the root store wrapped it.

    The nonce is random: a counter would repeat after an aborted attempt, whose record an attacker holds.
    """
    head = _HEAD.pack(FORMAT, node.level, len(node.label), len(wrapped)) + wrapped
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(node.key).encrypt(nonce, node.label + node.body, place + node.id + head)
    return b"".join((head, nonce, sealed))


def unseal(node_id: bytes, key: bytes, record: bytes, place: bytes) -> Node:
    """The node of a record, without its parent. Raises DamagedTree if the key does not open it as this node."""
    try:
        _, level, label, wrapped = _head(record)
        at = _HEAD.size + wrapped
        nonce, sealed = record[at : at + NONCE_BYTES], record[at + NONCE_BYTES :]
        plain = AESGCM(key).decrypt(nonce, sealed, place + node_id + record[:at])
        return Node(node_id, key, Level(level), None, plain[:label], bytearray(memoryview(plain)[label:]))
    except (InvalidTag, ValueError) as error:
        raise DamagedTree(
            f"expected a record of node {node_id.hex()} under its parent's key, got {len(record)} bytes that do not"
            " open: serve nothing; bring the `keys` topic back from a replica"
        ) from error


def wrapped_key(record: bytes) -> bytes:
    """The root key as wrapped by the root store, from the root's record. Raises DamagedTree."""
    wrapped = _head(record)[3]
    return record[_HEAD.size : _HEAD.size + wrapped]


def _head(record: bytes) -> tuple[int, int, int, int]:
    if len(record) < _HEAD.size or record[0] != FORMAT:
        raise DamagedTree(f"expected a node's record of format {FORMAT}, got {len(record)} bytes of another")
    version, level, label, wrapped = _HEAD.unpack_from(record)
    return version, level, label, wrapped
