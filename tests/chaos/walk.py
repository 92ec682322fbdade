"""A crash walk of the real ledger and key tree: stopped at every step, opened again, attacked each time.

    python -m tests.chaos.walk --rounds 5000 --seed 1

A round is a few changes; at some step of it (each request to Kafka and its answer, each call of the root store, before
and after) the owner freezes, dies or meets an error. The power may be cut. A frozen owner may wake much later. Then
another owner opens the partition, or stops while it opens, and what the book says is compared with the tree, with the
rows, and with what an attacker opens who kept every record and has every living root. Prints what was tried.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stream import topics
from stream.vault.keytree import KeyTree
from tests.chaos.world import BUCKETS, GROUPS, PARTITION, SESSION_S, Owner, World
from tests.simulated.clients import plug
from tests.simulated.kafka import Cluster
from tests.simulated.loop import run
from tests.simulated.machine import Dead, How
from tests.simulated.roots import HALF, SteppedRoots

LIFE_ROUNDS = 250  # of one partition: an attacker reads its whole history at each turn
FAN = 3  # entries in a node, so that a few keys make a tree of all levels
BURIED = 5
STEPS_IN_A_ROUND = 40
STEPS_IN_AN_OPENING = 30
MAX_ENTRIES = 60
HOWS: tuple[How, ...] = ("freeze", "freeze", "fail")

COMMIT_STEPS = [
    "unwrap asked",
    "unwrapped",
    "wrap asked",
    "wrapped",
    "add asked",
    "add answered",
    "produce asked",
    "produce answered",
    "end asked",
    "end answered",
    "end looked for",
    "end seen",
    "destruction asked",
    HALF,
    "destroyed",
]
"""An erasing commit, in order: before each request and before its answer, before and after each call of the store."""


class SmallTree(KeyTree):
    """The tree with nodes of three entries."""

    def __init__(self, place: bytes, *, fan: int = FAN) -> None:
        super().__init__(place, fan=fan)

    @classmethod
    def load(cls, place: bytes, root_key: bytes, records: Any, *, fan: int = FAN) -> KeyTree:
        return super().load(place, root_key, records, fan=fan)


@contextmanager
def simulated(rng: random.Random, tree: type[KeyTree] = SmallTree) -> Iterator[Cluster]:
    """A cluster that every ledger made in here talks to, and small trees."""
    with pytest.MonkeyPatch.context() as patch:
        cluster = Cluster(rng)
        plug(patch, cluster)
        patch.setattr("stream.vault.pages.KeyTree", tree)
        patch.setattr("stream.vault.pages.BURIED_PER_COMMIT", BURIED)
        yield cluster


class Walk:
    """One partition's life, at random."""

    def __init__(self, world: World) -> None:
        self.world, self.rng, self.count = world, world.rng, world.count
        self.zombies: list[Owner] = []

    async def run(self, rounds: int) -> None:
        """So many rounds; raises KeyLost, KeyRecovered, RowsDiffer or ZombieActed."""
        world = self.world
        await world.open()
        for _ in range(rounds):
            self.count["rounds"] += 1
            await self.round()
            if self.zombies and self.rng.random() < 1 / 3:
                await self.wake()
            if self.rng.random() < 1 / 10:
                world.cluster.log(topics.KEYS, PARTITION).compact()
                world.cluster.log(topics.LEDGER, PARTITION).compact()
        world.check()
        await world.attack(opened=True)

    async def round(self) -> None:
        """A few changes, and a stop in their middle or none."""
        world, machine = self.world, self.world.owner.machine
        if self.rng.random() < 3 / 4:
            how = self.rng.choice(HOWS)
            if self.rng.random() < 1 / 2:
                machine.arm(how, at=self.rng.choice(COMMIT_STEPS), after=self.rng.randrange(3))
            else:
                machine.arm(how, after=self.rng.randrange(STEPS_IN_A_ROUND))
            machine.clock_stands = self.rng.random() < 1 / 2
        for _ in range(self.rng.randrange(1, 5)):
            await self.change()
            if self.rng.random() < 1 / 3 or machine.stopped.is_set():
                await world.done()
            if machine.frozen or world.ledger.lost is not None:
                break
        else:
            await world.done()
        if machine.stopped.is_set():
            world.stops[machine.stopped_at] += 1
            self.count[f"stopped: {'frozen' if machine.frozen else 'failed'}"] += 1
        if machine.frozen or world.ledger.lost is not None:
            return await self.reopen()
        machine.disarm()
        world.check()
        if self.rng.random() < 1 / 5:
            await world.attack(opened=True)
        return None

    async def change(self) -> None:
        """One change, whatever it may be. Returns before it is acknowledged."""
        weights = {
            self.insert: 35,
            self.erase: 25,
            self.move: 10,
            self.drop: 10,
            self.refused: 5,
            self.rest: 10,
            self.skip: 5,
            self.close: 5,
        }
        await self.rng.choices(list(weights), weights=list(weights.values()))[0]()

    async def insert(self) -> None:
        if len(self.world.live) < MAX_ENTRIES:
            for _ in range(self.rng.randrange(1, 7)):
                self.world.insert(self.rng.choice(self.world.places()))

    async def erase(self) -> None:
        """One, or a few."""
        live = list(self.world.live)
        if live:
            self.world.erase(self.rng.sample(live, min(len(live), self.rng.choice((1, 1, 2, 5, 11)))))

    async def move(self) -> None:
        if self.world.live:
            entry = self.rng.choice(list(self.world.live))
            here = self.world.live[entry].place
            self.world.move(entry, self.rng.choice([place for place in self.world.places() if place != here]))

    async def drop(self) -> None:
        await self.world.done()  # what is on its way into a bucket that is dropped would be dropped too
        if self.world.ledger.lost is None and not self.world.owner.machine.frozen:
            self.world.drop((self.rng.choice(GROUPS), self.rng.choice(BUCKETS)))

    async def refused(self) -> None:
        self.world.refused()

    async def skip(self) -> None:
        """Another coordinator, which skips markers; the owner lives on."""
        self.count["markers skipped"] += self.world.cluster.skip_markers()

    async def rest(self) -> None:
        """As long as a step, a group or a few heartbeats take."""
        await asyncio.sleep(self.rng.choice((0.001, 0.02, 1.5)))

    async def close(self) -> None:
        """In the middle of whatever it is."""
        self.count["closed mid-way"] += 1
        await self.world.ledger.close()

    async def reopen(self) -> None:
        """The owner is no more, or seems so: another one opens."""
        world, former = self.world, self.world.owner
        await world.attack(opened=False)
        self.count["reopenings"] += 1
        await self.leave(former)
        while self.rng.random() < 1 / 3:
            await self.stop_opening()
        await world.open()
        if world.was_cut:
            await world.repair()
        await world.attack(opened=True)

    async def stop_opening(self) -> None:
        """An owner stops while it opens."""
        late = self.world.successor()
        await late.open_until(after=self.rng.randrange(STEPS_IN_AN_OPENING))
        if late.machine.frozen:
            self.count["openings stopped"] += 1
            self.world.stops[f"opening: {late.machine.stopped_at}"] += 1
        else:  # it had opened before it could stop
            late.opening = None
            late.machine.freeze()
        await self.leave(late)
        await self.world.attack(opened=False)

    async def leave(self, former: Owner) -> None:
        """It dies, or stays frozen and is taken for dead; the power may go with it."""
        if former.machine.frozen and self.rng.random() < 1 / 2:
            self.zombies.append(former)
        else:
            await former.end()
            if self.rng.random() < 1 / 2:
                self.count["power cuts"] += 1
                self.world.was_cut = True
                self.world.cluster.power_cut()
            else:
                self.count["markers skipped"] += self.world.cluster.skip_markers()
        await asyncio.sleep(SESSION_S)

    async def wake(self) -> None:
        """A former owner wakes late."""
        zombie = self.zombies.pop(self.rng.randrange(len(self.zombies)))
        if zombie.opening is None:
            await self.world.wake(zombie)
        else:
            await self.world.wake_opener(zombie)
        if self.world.ledger.lost is not None:
            await self.reopen()
        self.world.check()
        await self.world.attack(opened=True)


def life(
    rounds: int, seed: int, folder: Path, tree: type[KeyTree] = SmallTree, roots: type[SteppedRoots] = SteppedRoots
) -> World:
    """One partition's life of so many rounds: the world as it ended."""
    with simulated(random.Random(seed), tree) as cluster:
        world = World(cluster, folder / "roots", seed, roots)
        run(lived(world, Walk(world).run(rounds)))
    return world


async def lived(world: World, work: Coroutine[Any, Any, None]) -> None:
    """Do it, and leave nobody running."""
    asyncio.get_running_loop().set_exception_handler(_overheard)
    try:
        await work
    finally:
        await world.end()


def _overheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Nobody waits any more for what the dead were doing."""
    error = context.get("exception")
    while error is not None and not isinstance(error, Dead):
        error = error.__cause__
    if error is None:
        loop.default_exception_handler(context)


def main() -> None:
    """As many lives as the rounds take."""
    arguments = argparse.ArgumentParser(prog="python -m tests.chaos.walk", description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=1)
    asked = arguments.parse_args()
    logging.disable(logging.CRITICAL)
    total, stops, began = Counter[str](), Counter[str](), time.perf_counter()
    left, seed = asked.rounds, asked.seed
    while left > 0:
        with tempfile.TemporaryDirectory() as folder:
            world = life(min(left, LIFE_ROUNDS), seed, Path(folder))
        total += world.count
        total["live at the end"] += len(world.live)
        total["erased"] += len(world.erased)
        stops += world.stops
        left, seed = left - LIFE_ROUNDS, seed + 1
    for name, number in sorted(total.items()):
        sys.stdout.write(f"{number:>8}  {name}\n")
    sys.stdout.write(f"stopped at: {dict(sorted(stops.items()))}\n{time.perf_counter() - began:.1f} s\n")


if __name__ == "__main__":
    main()
