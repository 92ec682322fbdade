"""What a crash walk acts on: owners of one partition, the simulated cluster, the root store, and a book of every key.

The book holds what was acknowledged, and nothing else: an entry lives once its insert's commit was acknowledged, its
key is secret from the moment on at which its erasure was. What was under way when an owner stopped is looked up in the
tree that the next owner opened.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.errors import KafkaError

from stream import topics
from stream.errors import MayflyError
from stream.ledger import Change, Commit, Ledger, LedgerLost, Outgoing, Replay
from stream.vault.keynode import DamagedTree
from stream.vault.pages import KeyPages, KeysTopicLost
from stream.vault.rootstore import RootGone
from stream.vault.rootstore_file import FileRootStore
from tests.chaos.attacker import Attacker
from tests.simulated.kafka import Cluster, Entry, Status
from tests.simulated.machine import Machine
from tests.simulated.roots import SteppedRoots

PARTITION = 0
GROUPS, BUCKETS = (b"genzo/face", b"genzo/result"), (b"100", b"160", b"220")
PLACES = [(group, bucket) for group in GROUPS for bucket in BUCKETS]
SESSION_S = 6.0  # the group session: a successor exists no sooner after an owner's last sign of life
PATIENCE_S = 60.0
REFUSED_BYTES = 2048


class KeyLost(AssertionError):  # noqa: N818 - what happened
    """A key that was acknowledged, and not erased, is gone."""


class KeyRecovered(AssertionError):  # noqa: N818 - what happened
    """A key that was erased opens."""


class RowsDiffer(AssertionError):  # noqa: N818 - what happened
    """Rows and pages of one transaction do not belong together."""


class ZombieActed(AssertionError):  # noqa: N818 - what happened
    """A former owner wrote, or would have answered a read."""


@dataclass(slots=True)
class Item:
    """One key, and where it lies."""

    place: tuple[bytes, bytes]
    page: bytes
    key: bytes


@dataclass(slots=True)
class Doing:
    """A change under way: what becomes of `entries` once it is acknowledged."""

    kind: str  # insert, erase, drop, move or event
    entries: dict[bytes, Item]
    future: asyncio.Future[Commit]
    before: dict[bytes, Item] = field(default_factory=dict)  # a move's
    dropped: tuple[bytes, bytes] | None = None  # a drop's bucket


class Owner:
    """One process that opens the partition: its machine, and its ledger on the real root store."""

    def __init__(
        self, name: str, cluster: Cluster, folder: Path, rng: random.Random, roots: type[SteppedRoots]
    ) -> None:
        self.machine = cluster.machines[name] = Machine(name, rng)
        pages = KeyPages(PARTITION, roots(FileRootStore(folder), folder, self.machine, rng))
        self.ledger = Ledger(PARTITION, pages, bootstrap=name, boottime=self.machine.boottime)
        self.opening: asyncio.Task[Replay] | None = None  # where it stands in the middle of one

    async def open_until(self, *, at: str = "", after: int = 0) -> None:
        """Open the partition, and stand still at a step of it, if there are so many."""
        self.machine.arm("freeze", at=at, after=after)
        self.opening = asyncio.ensure_future(self.ledger.open())
        stopped = asyncio.ensure_future(self.machine.stopped.wait())
        await asyncio.wait({self.opening, stopped}, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
        stopped.cancel()

    async def end(self) -> None:
        """Whatever it was doing, nothing more comes of it."""
        if self.machine.dead:
            return
        self.machine.kill()
        if self.opening is not None:
            self.opening.cancel()
            await asyncio.gather(self.opening, return_exceptions=True)
        await asyncio.wait_for(self.ledger.close(), PATIENCE_S)


class World:
    """One partition's life."""

    def __init__(self, cluster: Cluster, folder: Path, seed: int, roots: type[SteppedRoots] = SteppedRoots) -> None:
        self._roots = roots
        self.rng = random.Random(seed)
        self.cluster, self.folder = cluster, folder
        self.cluster.log(topics.UPLOAD, PARTITION).max_batch_bytes = REFUSED_BYTES
        self.live: dict[bytes, Item] = {}
        self.erased: dict[bytes, bytes] = {}
        self.never: dict[bytes, bytes] = {}  # keys whose insert was never acknowledged: they sealed nothing
        self.doing: list[Doing] = []
        self.count: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self.was_cut = False
        self.attacker = Attacker(f"keys/{PARTITION}".encode())
        self._owners: list[Owner] = []
        self._owner: Owner | None = None

    # -- owners --------------------------------------------------------------------------------------------------

    @property
    def owner(self) -> Owner:
        assert self._owner is not None
        return self._owner

    @property
    def ledger(self) -> Ledger:
        return self.owner.ledger

    def successor(self) -> Owner:
        """Another process, which has not opened the partition yet."""
        name = f"owner-{len(self._owners) + 1}"
        self._owners.append(Owner(name, self.cluster, self.folder, self.rng, self._roots))
        return self._owners[-1]

    async def end(self) -> None:
        """Everybody is gone."""
        for owner in self._owners:
            await owner.end()

    async def open(self, owner: Owner | None = None) -> None:
        """The partition has this owner now, or a fresh one; everything about it is checked."""
        owner = owner or self.successor()
        try:
            await asyncio.wait_for(owner.ledger.open(), PATIENCE_S)
        except (RootGone, DamagedTree, KeysTopicLost) as error:
            raise KeyLost(f"the partition does not open: {error}") from error
        self._owner = owner
        self.count["openings"] += 1
        self.settle()
        self.check()

    # -- changes -------------------------------------------------------------------------------------------------

    def insert(self, place: tuple[bytes, bytes]) -> None:
        entry = os.urandom(16)
        page, key = self.ledger.pages.new_key(*place, entry)
        self._apply("insert", {entry: Item(place, page, bytes(key.view))}, Change(rows={entry: page}))

    def erase(self, entries: list[bytes]) -> None:
        items = {entry: self.live[entry] for entry in entries}
        pages = [(item.page, entry) for entry, item in items.items()]
        self._apply("erase", items, Change(rows=dict.fromkeys(entries), erase=pages))

    def drop(self, place: tuple[bytes, bytes]) -> None:
        """The whole bucket, which takes no insert until that is committed."""
        items = {entry: item for entry, item in self.live.items() if item.place == place}
        self._apply("drop", items, Change(rows=dict.fromkeys(items), drop=[place]))
        self.doing[-1].dropped = place

    def places(self) -> list[tuple[bytes, bytes]]:
        """Where an insert may go: no bucket whose drop is queued."""
        return [place for place in PLACES if place not in {one.dropped for one in self.doing}]

    def move(self, entry: bytes, place: tuple[bytes, bytes]) -> None:
        old = self.live[entry]
        page = self.ledger.pages.copy(old.page, entry, *place)
        assert page is not None
        change = Change(rows={entry: page}, erase=[(old.page, entry)])
        self._apply("move", {entry: Item(place, page, old.key)}, change)
        self.doing[-1].before = {entry: old}

    def refused(self) -> None:
        """An event that the broker does not take: the whole transaction is written again with a fresh producer."""
        event = Outgoing(topics.UPLOAD, b"job", self.rng.randbytes(2 * REFUSED_BYTES))
        self._apply("event", {}, Change(events=[event]))

    def idle(self) -> asyncio.Future[Commit]:
        return self.ledger.apply(Change())

    def _apply(self, kind: str, entries: dict[bytes, Item], change: Change) -> None:
        self.count[kind] += 1
        future = self.ledger.apply(change)
        self.doing.append(Doing(kind, entries, future))
        for entry in entries:
            self.live.pop(entry, None)

    async def done(self) -> None:
        """Until all that is under way has an answer, or the owner stops."""
        stopped = asyncio.ensure_future(self.owner.machine.stopped.wait())
        try:
            async with asyncio.timeout(PATIENCE_S):
                while waiting := [one.future for one in self.doing if not one.future.done()]:
                    ended, _ = await asyncio.wait({stopped, *waiting}, return_when=asyncio.FIRST_COMPLETED)
                    if stopped in ended and self.owner.machine.frozen:
                        return
                    if stopped in ended:  # it only met an error, and may go on
                        await asyncio.wait(waiting)
        finally:
            stopped.cancel()
            self.acknowledge()

    def acknowledge(self) -> None:
        """Book what has an answer."""
        for one in [one for one in self.doing if one.future.done()]:
            if one.future.exception() is not None:
                continue
            self.doing.remove(one)
            if one.kind in {"erase", "drop"}:
                self.erased |= {entry: item.key for entry, item in one.entries.items()}
            else:
                self.live |= one.entries

    def settle(self) -> None:
        """What was under way when the last owner ended, as the tree of this one has it."""
        doing, self.doing = self.doing, []
        for one in doing:
            for entry, item in one.entries.items():
                here = self._holds(entry, item)
                if one.kind == "insert":
                    self.live |= {entry: item} if here else {}
                    self.never |= {} if here else {entry: item.key}
                elif one.kind in {"erase", "drop"}:
                    self.live |= {entry: item} if here else {}
                    self.erased |= {} if here else {entry: item.key}
                else:
                    self.live[entry] = item if here else one.before[entry]
                self.count[f"{one.kind} found {'in' if here else 'out'}"] += 1

    def _holds(self, entry: bytes, item: Item) -> bool:
        return self.ledger.pages._tree.get(item.page, entry) == item.key

    # -- checks --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """The tree holds what lives, and nothing else; each row names the page of its key."""
        self.count["checks"] += 1
        lost = [entry for entry, item in self.live.items() if not self._holds(entry, item)]
        if lost:
            raise KeyLost(f"{len(lost)} of {len(self.live)} keys are lost")
        if (held := self.ledger.pages.count()) != len(self.live):
            raise KeyRecovered(f"the tree holds {held} keys, of which {len(self.live)} should live")
        rows = {entry: page for entry, page in self.ledger.items() if len(entry) == 16}
        if rows != {entry: item.page for entry, item in self.live.items()}:
            if not self.was_cut:
                raise RowsDiffer(f"{len(rows)} rows, {len(self.live)} keys, not of the same entries and pages")
            self.count["rows behind their keys after a power cut"] += 1

    async def repair(self) -> None:
        """After a power cut rows may be older than keys (`ledger` is not flushed): bring them in line."""
        self.was_cut = False
        rows: dict[bytes, bytes | None] = {entry: None for entry, _ in self.ledger.items() if len(entry) == 16}
        await self.ledger.apply(Change(rows=rows | {entry: item.page for entry, item in self.live.items()}))

    async def attack(self, *, opened: bool) -> None:
        """Nothing that was erased opens; once reopened, only what lives does, and keys that never sealed anything."""
        self.count["attacks"] += 1
        found = await self.attacker.open(self.history(), FileRootStore(self.folder))
        if gone := found & set(self.erased.items()):
            raise KeyRecovered(f"{len(gone)} of {len(self.erased)} erased keys open")
        if not opened:
            return
        live = {(entry, item.key) for entry, item in self.live.items()}
        if strays := found - live - set(self.never.items()):
            raise KeyRecovered(f"{len(strays)} keys open that the tree does not hold")
        if live - found:
            raise KeyLost(f"{len(live - found)} keys are in memory only")
        self.count["open, though never used"] = max(self.count["open, though never used"], len(found - live))

    def history(self) -> list[Entry]:
        return self.cluster.log(topics.KEYS, PARTITION).history

    def written_by(self, name: str) -> set[bytes | None]:
        """Record keys of the ledger that this machine committed."""
        entries = self.cluster.log(topics.LEDGER, PARTITION).history
        return {entry.key for entry in entries if entry.by == name and entry.status is Status.COMMITTED}

    # -- ends ----------------------------------------------------------------------------------------------------

    async def wake(self, zombie: Owner) -> None:
        """A former owner goes on where it stood: its destructions go through, its writes and reads do not."""
        self.count["zombies awake"] += 1
        written = self.written_by(zombie.machine.name)
        zombie.machine.thaw()
        if not self._silent(zombie.ledger):
            raise ZombieActed("a former owner would have answered a read")
        try:
            await asyncio.wait_for(zombie.ledger.apply(Change(rows={b"zombie": b"1"})), PATIENCE_S)
        except (MayflyError, KafkaError):
            self.count["zombie writes refused"] += 1
        else:
            raise ZombieActed("a former owner's commit was acknowledged")
        await self.until(lambda: zombie.ledger.lost is not None)
        await zombie.end()
        if self.written_by(zombie.machine.name) - written:
            raise ZombieActed("a former owner's records were committed")

    async def wake_opener(self, late: Owner) -> None:
        """Who stood in the middle of opening goes on. It may fence the owner and be the next one; never both."""
        self.count["openers awake"] += 1
        late.machine.thaw()
        opening, late.opening = late.opening, None
        assert opening is not None
        await asyncio.wait({opening}, timeout=PATIENCE_S)
        if opening.exception() is None and self._silent(late.ledger):  # its first commit was before its successor
            await self.wake(late)
        elif opening.exception() is None:
            self.count["openers that took over"] += 1
            former = self.owner
            try:
                await asyncio.wait_for(former.ledger.apply(Change(rows={b"zombie": b"1"})), PATIENCE_S)
            except MayflyError:
                await former.end()
            else:
                raise ZombieActed("two owners at once")
            self._owner = late
            self.check()
        else:
            self.count["openers too late to open"] += 1
            await late.end()

    @staticmethod
    def _silent(ledger: Ledger) -> bool:
        """It answers no read."""
        try:
            ledger.check()
        except LedgerLost:
            return True
        return False

    @staticmethod
    async def until(true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                await asyncio.sleep(0.01)
