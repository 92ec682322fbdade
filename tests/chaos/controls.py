"""The tree and its owner, each broken in one rule: the walk and the scenarios must see every one of them fail."""

from __future__ import annotations

import base64
import os
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stream.ledger import Ledger
from stream.vault.keynode import KEY_BYTES, Level, Node, seal
from stream.vault.keytree import Staged
from stream.vault.rootstore import version_of
from tests.chaos.walk import SmallTree
from tests.simulated.roots import SteppedRoots


class NoKey(SmallTree):
    """A removal writes its path under the keys that it had; only the root has the key that was wrapped for it."""

    def stage(self, root_key: bytes | None = None) -> Staged:
        erasing = bool(self._rekey)
        self._root.key = root_key or self._root.key
        self._dirty |= self._rekey | ({self._root} if erasing else set())
        self._rekey = set()
        staged = super().stage()
        staged.erasing = self.wrapping = erasing
        return staged


class LeafOnly(NoKey):
    """A removal re-keys its leaf, and nothing above it."""

    def stage(self, root_key: bytes | None = None) -> Staged:
        for leaf in [node for node in self._rekey if node.level == Level.LEAF]:
            leaf.key = os.urandom(KEY_BYTES)
            leaf.parent.put(leaf.id, leaf.key)
            self._dirty.add(leaf.parent)
        return super().stage(root_key)


class PlainCopy(SmallTree):
    """A used key enters its new page as a fresh one does, under the key that the page has."""

    def copy(self, page: bytes, entry: bytes, group: bytes, bucket: bytes) -> bytes | None:
        key = self.get(page, entry)
        return None if key is None else self.insert(group, bucket, entry, key)


class AllBut(SteppedRoots):
    """Destroys every version but the committed one."""

    async def destroy_before(self, wrapped: bytes) -> None:
        await super().destroy_before(wrapped)
        kept = version_of(wrapped).removeprefix("file:")
        for path in self._folder.glob("v*"):
            if path.name != kept:
                path.unlink()


class Reuse(SteppedRoots):
    """An attempt takes the version that an aborted one has left."""

    async def wrap(self, key: bytes) -> bytes:
        versions = sorted(self._folder.glob("v*"), key=lambda path: int(path.name[1:]))
        if len(versions) < 2:
            return await super().wrap(key)
        name, nonce = f"file:{versions[-1].name}".encode(), os.urandom(12)
        return name + b":" + base64.b64encode(nonce + AESGCM(versions[-1].read_bytes()).encrypt(nonce, key, name))


async def at_the_answer(_: Ledger, __: int) -> None:
    """In place of `Ledger._marked`: the coordinator's answer is taken for the marker."""


def seal_counted(node: Node, place: bytes, wrapped: bytes = b"") -> bytes:
    """In place of `seal`: the nonce counts what the node holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream.vault.keynode.os", SimpleNamespace(urandom=lambda size: len(node.body).to_bytes(size)))
        return seal(node, place, wrapped)
