"""One partition's pages of keys: the tree and its root store together, as the ledger commits them.

The order that design decision 7 asks for is spread over three calls of the ledger: `stage` takes the changes and the
root that was wrapped ahead, `seal` makes the records before the transaction, `destroy_older` is called once the
transaction's marker is in the topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from stream.errors import StoreUnavailable
from stream.vault.keytree import KeyTree, Place, Staged, wrapped_root
from stream.vault.rootkeeper import GRACE_S, RootKeeper
from stream.vault.rootstore import RootStore, RootStoreUnavailable, Why, version_of
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
    wrapped: bytes = b""

    @property
    def erasing(self) -> bool:
        """Older roots must be destroyed after this commit."""
        return self.nodes.erasing


class KeyPages:
    """The keys of one partition. `open` before use; after `wipe` it is of no use to anybody.

    `grace_s`: how long reads go on while the root store is silent.
    """

    def __init__(self, partition: int, roots: RootStore, *, grace_s: float = GRACE_S) -> None:
        self._keeper = RootKeeper(partition, roots, grace_s=grace_s)
        self._place = f"keys/{partition}".encode()
        self._tree = KeyTree(self._place)

    async def open(self, records: dict[bytes, bytes]) -> None:
        """Load the tree and destroy older roots before anything is served (a former owner may not have).

        Waits `grace_s` for a root store that does not answer. Raises RootStoreUnavailable, KeysTopicLost, DamagedTree.
        """
        wrapped = wrapped_root(records)
        if not wrapped and await self._keeper.used():
            raise KeysTopicLost(
                f"expected a root in {self._place.decode()}, since its root store has been used: restore the topic's"
                " replica; starting afresh would lose every key"
            )
        key = await self._keeper.open(wrapped)
        self._tree = KeyTree.load(self._place, key, records) if wrapped else KeyTree(self._place)

    async def keep(self, on_spare: Callable[[], None]) -> None:
        """Until cancelled: have a root wrapped ahead (`on_spare`: there is one again), and older ones destroyed."""
        self._keeper.on_spare = on_spare
        await self._keeper.keep()

    def check(self, *, promising: bool) -> None:
        """Raises RootStoreUnavailable where nothing new may be promised now, or nothing be read any more."""
        if self._keeper.expired or (promising and self._keeper.why is not None):
            what = "promised" if promising else "read"
            raise RootStoreUnavailable(
                f"expected the root store to answer, it has been silent for {self._keeper.silent_s:.0f} s: nothing is"
                f" {what} until erasures can be kept; try again",
                self._keeper.why or Why.SILENT,
            )

    def new_key(self, group: bytes, bucket: bytes, entry: bytes) -> tuple[bytes, Key]:
        """(page, key) for `entry` (16 random bytes). Use or release the key only once its commit is acknowledged.

        A row of the same commit must name the page: an opening erases what no row names.
        """
        key = Key.new()
        return self._tree.insert(group, bucket, entry, bytes(key.view)), key

    def key(self, page: bytes, entry: bytes) -> Key | None:
        """The key, or None: erased."""
        raw = self._tree.get(page, entry) if page else None
        return None if raw is None else Key(raw)

    def holds(self, page: bytes, entry: bytes) -> bool:
        """Whether `key` would find one, without a copy of it."""
        return self._tree.holds(page, entry)

    def copy(self, page: bytes, entry: bytes, group: bytes, bucket: bytes) -> bytes | None:
        """A key in another page too (its id), or None: erased. The change that says so erases it from `page`.

        Raises RootStoreUnavailable: the commit that follows must re-key the page, and nobody could wrap its root.
        """
        self.check(promising=True)
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

    def census(self) -> dict[bytes, bytes]:
        """Entry → page of every live key. Linear, and 150 bytes each: for an opening or a restore."""
        return dict(self._tree.census())

    def count(self) -> int:
        """Live keys."""
        return self._tree.count()

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        """(page, live keys) of every page."""
        return self._tree.sizes()

    def entries_of(self, page: bytes) -> list[bytes]:
        """The entries of a page."""
        return self._tree.entries_of(page)

    @property
    def erasing(self) -> bool:
        """The next `stage` needs a root that was wrapped ahead."""
        return self._tree.erasing

    @property
    def can_erase(self) -> bool:
        """A root is wrapped ahead: `stage` may follow removals."""
        return self._keeper.has_spare

    @property
    def away(self) -> bool:
        """The root store does not answer."""
        return self._keeper.why is not None

    @property
    def silent_s(self) -> float:
        """Seconds since it last answered."""
        return self._keeper.silent_s

    async def ready(self, within_s: float) -> bool:
        """`can_erase`, waiting a moment for a root that is being wrapped."""
        return await self._keeper.ready(within_s)

    def stage(self) -> StagedPages:
        """Take what changed; no await in here, so the tree may change again at once."""
        spare = self._keeper.take() if self._tree.erasing else None
        nodes = self._tree.stage(spare.key if spare is not None else None)
        return StagedPages(nodes, self._tree.bury(BURIED_PER_COMMIT), spare.wrapped if spare is not None else b"")

    def seal(self, staged: StagedPages) -> dict[bytes, bytes | None]:
        """The records to write in one transaction."""
        return {**dict.fromkeys(staged.buried), **staged.nodes.records(staged.wrapped or None)}

    def destroy_older(self) -> asyncio.Future[None]:
        """Destroy the root versions older than the committed one: done when that is, tried until it is."""
        return self._keeper.destroy_before(self._tree.wrapped)

    def destroyed(self) -> asyncio.Future[None]:
        """Done once no version older than the last committed one lives."""
        return self._keeper.destroyed()

    @property
    def root_version(self) -> str:
        """The root store's name of the present root; every older one is destroyed."""
        return version_of(self._tree.wrapped)

    @property
    def claim(self) -> str:
        """What the root store promises of a destroyed version."""
        return self._keeper.claim

    def wipe(self) -> None:
        """Overwrite every key in memory."""
        self._keeper.close()
        self._tree.wipe()
