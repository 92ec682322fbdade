"""Inserted and erased equals never inserted: the whole partition, rows and keys and root store, up to what is listed.

Left out, and residues therefore: how many root versions there were, offsets and what is not yet compacted, ids of
nodes, and how full the pages of a bucket are.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream import topics
from stream.ledger import Change
from stream.vault.keynode import Level
from tests.chaos.walk import lived, simulated
from tests.chaos.world import PARTITION, PLACES, World
from tests.simulated.kafka import Status
from tests.simulated.loop import run

BURIALS_S = 30.0

assets = st.lists(
    st.tuples(st.sampled_from(PLACES), st.booleans(), st.booleans()), min_size=1, max_size=30
)  # (place, whether it stays, whether its predecessors are committed first)


def entry_of(number: int) -> bytes:
    return b"entry%011d" % number


async def fill(world: World, wanted: list[tuple[tuple[bytes, bytes], bool, bool]], *, doomed: bool) -> None:
    """The assets that stay, and with `doomed` the others too, which are erased again."""
    await world.open()
    gone: list[tuple[bytes, bytes]] = []
    for number, (place, stays, after) in enumerate(wanted):
        if not (stays or doomed):
            continue
        entry = entry_of(number)
        page, _ = world.ledger.pages.new_key(*place, entry)
        future = world.ledger.apply(Change(rows={entry: page}))
        if not stays:
            gone.append((page, entry))
        if after:
            await future
    half = len(gone) // 2
    for erased in (gone[:half], gone[half:]):
        rows: dict[bytes, bytes | None] = {entry: None for _, entry in erased}
        await world.ledger.apply(Change(rows=rows, erase=erased))
    await asyncio.sleep(BURIALS_S)


def canonical(world: World) -> dict[str, Any]:
    """Everything that is there of the partition, with names instead of random ids."""
    ledger, tree = world.ledger, world.ledger.pages._tree
    for topic in (topics.LEDGER, topics.KEYS):
        world.cluster.log(topic, PARTITION).compact()
    said: dict[tuple[bytes, bytes], set[bytes]] = {}
    for node in tree._nodes.values():
        if node.level == Level.LEAF:
            assert node.parent is not None
            assert node.parent.parent is not None
            place = node.parent.parent.label, node.parent.label
            said.setdefault(place, set()).update(entry for entry, _ in node.entries())
    kept = {entry.key for entry in world.cluster.log(topics.KEYS, PARTITION).entries if entry.status != Status.MARKER}
    return {
        "rows": {entry: ledger.pages.key(page, entry) is not None for entry, page in ledger.items()},
        "rows in the topic": {entry.key for entry in world.cluster.log(topics.LEDGER, PARTITION).entries},
        "keys": said,
        "records of dead nodes": {key for key in kept if key is not None and len(key) == 16} - set(tree._nodes),
        "root versions": len(list(world.folder.glob("v*"))),
        "places": set(tree.places()),
    }


def lives(wanted: list[tuple[tuple[bytes, bytes], bool, bool]], *, doomed: bool) -> dict[str, Any]:
    with TemporaryDirectory() as folder, simulated(random.Random(1)) as cluster:
        world = World(cluster, Path(folder) / "roots", 1)
        found: dict[str, Any] = {}

        async def live() -> None:
            await fill(world, wanted, doomed=doomed)
            found["before a reopening"] = canonical(world)
            await world.owner.end()
            owner = world.successor()
            await owner.ledger.open()
            world._owner = owner
            found["after it"] = canonical(world)

        run(lived(world, live()))
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(assets)
def test_inserted_and_erased_equals_never_inserted(wanted: list[tuple[tuple[bytes, bytes], bool, bool]]) -> None:
    assert lives(wanted, doomed=True) == lives(wanted, doomed=False)


def test_it_would_see_a_difference() -> None:
    stays, goes = (PLACES[0], True, True), (PLACES[1], False, True)
    assert lives([stays, goes], doomed=True) == lives([stays], doomed=True)
    assert lives([stays, stays], doomed=True) != lives([stays], doomed=True)
