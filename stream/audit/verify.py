"""An auditor's check of one log, from its files alone: nobody is asked, and nothing is believed but one public key.

Everything is computed again from the leaves: their hashes, every tile, the root. Then the head's signature, the chain
of keys from the first leaf on, each leaf's own signature, and what the leaves say of each other (history.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec

from stream.audit.checkpoint import Checkpoint, WrongCheckpoint, decode_note, origin_of, parse_note
from stream.audit.history import BadLog, History
from stream.audit.merkle import Tree
from stream.audit.tiles import CHECKPOINT, ENTRIES, HEIGHT, SIGNATURES, WIDTH, Tile, hashes, tiles, unbundle

Read = Callable[[str], bytes | None]
"""The file at a path of the layout, or None."""


class MissingTile(BadLog):
    """A file that the head's size demands is not there."""

    kind: ClassVar[str] = "log-missing-tile"


class WrongTile(BadLog):
    """A tile does not hold the hashes of the leaves."""

    kind: ClassVar[str] = "log-wrong-tile"


class AlteredLeaf(BadLog):
    """A leaf is not the one that the log's head covers."""

    kind: ClassVar[str] = "log-altered-leaf"


class ReorderedLeaves(BadLog):
    """A leaf lies where the log's head has another of its leaves."""

    kind: ClassVar[str] = "log-reordered-leaves"


class WrongRoot(BadLog):
    """Leaves and tiles agree with each other, and not with the signed head."""

    kind: ClassVar[str] = "log-wrong-root"


class ShrunkenLog(BadLog):
    """The log is shorter than a head of it that was seen before."""

    kind: ClassVar[str] = "log-shrank"


class ForkedLog(BadLog):
    """The log does not begin with the leaves that a head seen before covers: somebody was shown another log."""

    kind: ClassVar[str] = "log-forked"


class Audited(msgspec.Struct, frozen=True):
    """A log that holds together."""

    head: Checkpoint
    tree: Tree
    history: History
    trusted: bool  # a key of its chain was compared with one that the caller trusts


def audit(read: Read, *, trusted_key: bytes | None = None, since: str | None = None) -> Audited:
    """Check the whole log. Raises a BadLog, WrongLeaf, TruncatedBundle or WrongCheckpoint that says what is wrong.

    `trusted_key`: 32 bytes, any key of the chain: it vouches for those that come after, and the head for all before.
    `since`: a checkpoint of the same log that was seen before (a signed note).
    """
    note = decode_note(_file(read, CHECKPOINT))
    head = parse_note(note)
    partition = _partition(head)
    seen = None if since is None else parse_note(since)
    _not_shorter(head, seen)
    files = _files(read, head.size)
    tree, history = Tree(files.leaves), History(partition)
    _same(tree, files.hashes, head, seen)
    for index, (leaf, signature) in enumerate(zip(files.leaves, files.signatures, strict=True)):
        history.take(index, leaf, signature)
    history.open(note, head)
    if seen is not None and since is not None:
        history.open(since, seen)
    if trusted_key is not None:
        history.trust(trusted_key)
    return Audited(head, tree, history, trusted_key is not None)


class _Files(msgspec.Struct):
    leaves: list[bytes]
    signatures: list[bytes]
    hashes: dict[Tile, bytes]


def _files(read: Read, size: int) -> _Files:
    files = _Files([], [], {})
    for tile in tiles(size):
        raw = _file(read, tile.path)
        if tile.kind == ENTRIES:
            files.leaves += unbundle(raw, tile.width)
        elif tile.kind == SIGNATURES:
            files.signatures += unbundle(raw, tile.width)
        else:
            hashes(raw, tile.width)
            files.hashes[tile] = raw
    return files


def _same(tree: Tree, stored: dict[Tile, bytes], head: Checkpoint, seen: Checkpoint | None) -> None:
    """The leaves' own tree is that of the head, of the tiles, and of the head seen before."""
    if seen is not None and tree.root(seen.size) != seen.root:
        raise ForkedLog(f"expected the first {seen.size} leaves to be those of the checkpoint seen before; they differ")
    if tree.root() != head.root:
        raise _why(tree, stored, head, forked=seen is not None)
    for tile, raw in stored.items():
        if raw != tree.subtrees(HEIGHT * tile.level, tile.index * WIDTH, tile.width):
            raise WrongTile(f"expected the hashes of the leaves in {tile.path}, got others")


def _why(tree: Tree, stored: dict[Tile, bytes], head: Checkpoint, *, forked: bool) -> BadLog:
    """What is wrong where the leaves do not make the head's root. The tiles tell, if they do."""
    logged = Tree()
    for tile, raw in stored.items():
        if tile.kind == "0":
            for each in hashes(raw, tile.width):
                logged.append_hash(each)
    if logged.root() != head.root:
        if forked:
            return ForkedLog("expected a head over the leaves that were seen before and some more; it covers others")
        return WrongRoot(f"expected leaves with the root of the signed head of {head.size}; they have another")
    index = next(at for at in range(head.size) if tree.leaf(at) != logged.leaf(at))
    if any(tree.leaf(index) == logged.leaf(at) for at in range(head.size)):
        return ReorderedLeaves(f"expected the leaf that the log holds at {index}, got another of its leaves")
    return AlteredLeaf(f"expected the leaf that the log holds at {index}, got one that it does not hold")


def _not_shorter(head: Checkpoint, seen: Checkpoint | None) -> None:
    if seen is None:
        return
    if seen.origin != head.origin:
        raise WrongCheckpoint(f"expected a checkpoint of {head.origin} to compare with, got another log's")
    if seen.size > head.size:
        raise ShrunkenLog(f"expected at least the {seen.size} leaves that were seen before, the log has {head.size}")


def _partition(head: Checkpoint) -> int:
    number = head.origin.rpartition("/")[2]
    if not number.isdecimal() or origin_of(int(number)) != head.origin:
        raise WrongCheckpoint("expected the head of a partition's log, its name and number in the first line")
    return int(number)


def _file(read: Read, path: str) -> bytes:
    raw = read(path)
    if raw is None:
        raise MissingTile(f"expected {path}, it is not there: export the log again")
    return raw
