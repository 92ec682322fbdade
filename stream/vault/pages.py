"""One partition's pages of keys: the tree and its root store together, as the ledger commits them.

The order that design decision 7 asks for is spread over three calls of the ledger: `stage` takes the changes, `seal`
wraps a fresh root before the transaction, `destroy_older` runs once the transaction's marker is in the topic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from stream.errors import StoreUnavailable
from stream.vault.keytree import KeyTree, Place, Staged, wrapped_root
from stream.vault.rootstore import RootStore, version_of
from stream.vault.secret import Key

BURIED_PER_COMMIT = 1000


class KeysTopicLost(StoreUnavailable):
    """The root store has been used, but `keys` holds no root: the topic was lost, or was not read to its end."""

    kind: ClassVar[str] = "keys-topic-lost"


@dataclass(slots=True, frozen=True)
class StagedPages:
    """What one commit writes to `keys`."""

    nodes: Staged
    buried: list[bytes]

    @property
    def erasing(self) -> bool:
        """Older roots must be destroyed after this commit."""
        return self.nodes.erasing


class KeyPages:
    """The keys of one partition. `open` before use; after `wipe` it is of no use to anybody."""

    def __init__(self, partition: int, roots: RootStore) -> None:
        self._roots = roots
        self._place = f"keys/{partition}".encode()
        self._tree = KeyTree(self._place)

    async def open(self, records: dict[bytes, bytes]) -> None:
        """Load the tree and destroy older roots before anything is served (a former owner may not have).

        Raises KeysTopicLost or DamagedTree.
        """
        wrapped = wrapped_root(records)
        if wrapped:
            self._tree = KeyTree.load(self._place, await self._roots.unwrap(wrapped), records)
            await self._roots.destroy_before(wrapped)
        elif await self._roots.used():
            raise KeysTopicLost(
                f"expected a root in {self._place.decode()}, since its root store has been used: restore the topic's"
                " replica; starting afresh would lose every key"
            )
        else:
            self._tree = KeyTree(self._place)

    def new_key(self, group: bytes, bucket: bytes, entry: bytes) -> tuple[bytes, Key]:
        """(page, key) for `entry` (16 random bytes). Use or release the key only once its commit is acknowledged."""
        key = Key.new()
        return self._tree.insert(group, bucket, entry, bytes(key.view)), key

    def key(self, page: bytes, entry: bytes) -> Key | None:
        """The key, or None: erased."""
        raw = self._tree.get(page, entry) if page else None
        return None if raw is None else Key(raw)

    def copy(self, page: bytes, entry: bytes, group: bytes, bucket: bytes) -> bytes | None:
        """A key in another page too (its id), or None: erased. The change that says so erases it from `page`."""
        return self._tree.copy(page, entry, group, bucket)

    def erase(self, page: bytes, entry: bytes) -> None:
        """Forget one key in the commit being staged; nothing happens where it is forgotten already."""
        self._tree.erase(page, entry)

    def drop(self, group: bytes, bucket: bytes) -> None:
        """Forget every key of a bucket in the commit being staged."""
        self._tree.drop(group, bucket)

    def due(self, bucket: bytes) -> list[Place]:
        """The (group, bucket) of every bucket whose label is `bucket` or sorts before it."""
        return [place for place in self._tree.places() if place[1] <= bucket]

    def of(self, group: bytes, bucket: bytes) -> list[bytes]:
        """The pages of a bucket."""
        return self._tree.pages(group, bucket)

    def place_of(self, page: bytes) -> Place | None:
        """(group, bucket) of a page that lives."""
        return self._tree.place_of(page)

    def count(self) -> int:
        """Live keys."""
        return self._tree.count()

    def stage(self) -> StagedPages:
        """Take what changed; no await in here, so the tree may change again at once."""
        nodes = self._tree.stage()
        return StagedPages(nodes, self._tree.bury(BURIED_PER_COMMIT))

    async def seal(self, staged: StagedPages) -> dict[bytes, bytes | None]:
        """The records to write in one transaction."""
        wrapped = await self._roots.wrap(staged.nodes.root_key) if staged.erasing else None
        return {**dict.fromkeys(staged.buried), **staged.nodes.records(wrapped)}

    async def destroy_older(self) -> str:
        """Destroy the root versions older than the committed one; its name, for the receipt."""
        await self._roots.destroy_before(self._tree.wrapped)
        return self.root_version

    @property
    def root_version(self) -> str:
        """The root store's name of the present root; every older one is destroyed."""
        return version_of(self._tree.wrapped)

    @property
    def claim(self) -> str:
        """What the root store promises of a destroyed version."""
        return self._roots.claim

    def wipe(self) -> None:
        """Overwrite every key in memory."""
        self._tree.wipe()
