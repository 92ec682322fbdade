"""The real ledger and key tree on a simulated Kafka, stopped everywhere: nothing lost, nothing recovered.

MAYFLY_WALK_ROUNDS=5000 makes the walk longer; `python -m tests.chaos.walk` prints what it tried.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import mkdtemp

import pytest

from stream.vault.keynode import _HEAD, ENTRY_BYTES, NONCE_BYTES, ROOT, wrapped_key
from stream.vault.keytree import KeyTree
from tests.chaos import controls
from tests.chaos.walk import COMMIT_STEPS, SmallTree, life, lived, simulated
from tests.chaos.world import PLACES, SESSION_S, KeyLost, KeyRecovered, Owner, World
from tests.simulated.loop import run
from tests.simulated.roots import HALF, SteppedRoots

ROUNDS = int(os.environ.get("MAYFLY_WALK_ROUNDS", "400"))
SEEDS = range(8, 12)
TAG_BYTES = 16

OPENING_STEPS = [
    "init asked",
    "init answered",
    "reader starts",
    "begin asked",
    "end looked for",
    "end seen",
    "fetch",
    "unwrap asked",
    "unwrapped",
    "destruction asked",
    HALF,
    "destroyed",
    "add asked",
    "add answered",
    "produce asked",
    "produce answered",
    "end asked",
    "end answered",
]

Scenario = Callable[[World], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., World]:
    """Runs a scenario in a fresh world, in no time."""

    def play(scenario: Scenario, tree: type[KeyTree] = SmallTree, roots: type[SteppedRoots] = SteppedRoots) -> World:
        with simulated(random.Random(1), tree) as cluster:
            world = World(cluster, Path(mkdtemp(dir=tmp_path)) / "roots", 1, roots)
            run(lived(world, _played(world, scenario)))
        return world

    return play


async def _played(world: World, scenario: Scenario) -> None:
    await world.open()
    await scenario(world)
    world.check()
    await world.attack(opened=True)


async def filled(world: World, count: int = 5, at: int = 0) -> list[bytes]:
    """So many keys, committed."""
    before = set(world.live)
    for _ in range(count):
        world.insert(PLACES[at])
    await world.done()
    return [entry for entry in world.live if entry not in before]


async def stopped(world: World, step: str, change: Callable[[], None]) -> Owner:
    """The owner stands at that step of the commit of this change."""
    world.owner.machine.arm("freeze", at=step)
    change()
    await world.done()
    assert world.owner.machine.stopped_at == step
    await world.attack(opened=False)
    return world.owner


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[World]:
    """As the walk left them."""
    return [life(ROUNDS // len(SEEDS), seed, tmp_path_factory.mktemp("walk")) for seed in SEEDS]


class TestWalk:
    def test_nothing_is_lost_and_nothing_recovered_however_owners_end(self, worlds: list[World]) -> None:
        count = sum((world.count for world in worlds), Counter[str]())
        assert count["rounds"] == ROUNDS // len(SEEDS) * len(SEEDS)
        for tried in (
            *("reopenings", "power cuts", "openings stopped", "closed mid-way", "stopped: frozen", "stopped: failed"),
            *("zombies awake", "zombie writes refused", "openers awake", "openers that took over"),
            *("insert found in", "insert found out", "erase found in", "erase found out", "drop found in"),
            *("move found in", "move found out", "open, though never used", "event"),
            *("rows behind their keys after a power cut", "markers skipped"),
        ):
            assert count[tried] > 0, tried
        assert count["attacks"] > count["reopenings"] > ROUNDS // 5
        assert count["zombie writes refused"] == count["zombies awake"]
        assert sum(len(world.erased) for world in worlds) > ROUNDS

    def test_it_stopped_at_every_step(self, worlds: list[World]) -> None:
        stops = sum((world.stops for world in worlds), Counter[str]())
        assert set(COMMIT_STEPS) <= set(stops)

    def test_no_nonce_was_used_twice(self, worlds: list[World]) -> None:
        for world in worlds:
            assert not twins(world)


def erasure(world: World) -> Callable[[], None]:
    """Two of five keys in one page and the next are erased, and another one moves."""
    first, second, third, *_ = world.live

    def change() -> None:
        world.erase([first, second])
        world.move(third, PLACES[-1])
        world.insert(PLACES[1])

    return change


@pytest.mark.parametrize("step", COMMIT_STEPS)
class TestStoppedInACommit:
    def test_and_killed(self, play: Callable[..., World], step: str) -> None:
        async def scenario(world: World) -> None:
            await filled(world)
            owner = await stopped(world, step, erasure(world))
            await owner.end()
            await world.open()

        play(scenario)

    def test_and_a_coordinator_that_skips_its_markers(self, play: Callable[..., World], step: str) -> None:
        async def scenario(world: World) -> None:
            await filled(world)
            owner = await stopped(world, step, erasure(world))
            await owner.end()
            world.cluster.skip_markers()
            await world.open()

        play(scenario)

    @pytest.mark.parametrize("decided", [False, True])
    def test_and_the_power_cut(self, play: Callable[..., World], step: str, decided: bool) -> None:
        async def scenario(world: World) -> None:
            await filled(world)
            owner = await stopped(world, step, erasure(world))
            await owner.end()
            world.was_cut = True
            world.cluster.power_cut(decided=decided)
            await world.open()
            await world.attack(opened=True)
            await world.repair()

        play(scenario)

    @pytest.mark.parametrize("clock_stands", [False, True])
    def test_and_awake_when_its_successor_has_erased_more(
        self, play: Callable[..., World], step: str, clock_stands: bool
    ) -> None:
        async def scenario(world: World) -> None:
            await filled(world)
            world.owner.machine.clock_stands = clock_stands
            zombie = await stopped(world, step, erasure(world))
            await world.until(lambda: world.cluster.seats["ledger-0"].ending is None)
            await sessions()
            await world.open()
            world.erase([next(iter(world.live))])
            await world.done()
            await world.wake(zombie)

        world = play(scenario)
        assert world.count["zombie writes refused"] == 1


@pytest.mark.parametrize("step", OPENING_STEPS)
@pytest.mark.parametrize("wakes", [False, True])
def test_stopped_while_it_opens(play: Callable[..., World], step: str, wakes: bool) -> None:
    """After an owner that left older roots alive; it may wake when another one has opened and erased."""

    async def scenario(world: World) -> None:
        await filled(world)
        owner = await stopped(world, "destruction asked", erasure(world))
        await owner.end()
        late = world.successor()
        await late.open_until(at=step)
        assert late.machine.stopped_at == step
        await world.attack(opened=False)
        await sessions()
        await world.open()
        world.erase([next(iter(world.live))])
        await world.done()
        if wakes:
            await world.wake_opener(late)

    play(scenario)


async def sessions() -> None:
    """Until a successor may exist."""
    await asyncio.sleep(SESSION_S)


class TestAnAbortedMove:
    """Its record stays in the log, under a key of the page that it went to: that must not be the page's present key."""

    @staticmethod
    async def scenario(world: World) -> None:
        entry, *_ = await filled(world)
        await filled(world, 1, at=-1)
        owner = await stopped(world, "end asked", lambda: world.move(entry, PLACES[-1]))
        await owner.end()
        await world.open()
        world.erase([entry])
        await world.done()

    def test_opens_nothing_once_the_key_is_erased_where_it_lies(self, play: Callable[..., World]) -> None:
        assert play(self.scenario).count["move found out"] == 1

    def test_would_open_if_the_page_kept_its_key(self, play: Callable[..., World]) -> None:
        with pytest.raises(KeyRecovered):
            play(self.scenario, tree=controls.PlainCopy)


class TestBrokenControls:
    """Each breaks one rule, and is seen to."""

    @staticmethod
    async def erase_one(world: World) -> None:
        entry, *_ = await filled(world)
        world.erase([entry])
        await world.done()

    @pytest.mark.parametrize("tree", [controls.NoKey, controls.LeafOnly])
    def test_a_removal_that_does_not_re_key_up_to_the_root(
        self, play: Callable[..., World], tree: type[KeyTree]
    ) -> None:
        play(self.erase_one)
        with pytest.raises(KeyRecovered, match="1 of 1 erased keys"):
            play(self.erase_one, tree=tree)

    @staticmethod
    async def stale_destruction(world: World) -> None:
        """An owner stalls while it opens; its successor erases; it wakes and destroys."""
        entry, *_ = await filled(world)
        await world.owner.end()
        late = world.successor()
        await late.open_until(at="destruction asked")
        await sessions()
        await world.open()
        world.erase([entry])
        await world.done()
        await world.wake_opener(late)
        await world.owner.end()
        await world.open()

    def test_destroying_all_but_the_committed_version(self, play: Callable[..., World]) -> None:
        play(self.stale_destruction)
        with pytest.raises(KeyLost, match="does not open"):
            play(self.stale_destruction, roots=controls.AllBut)

    @staticmethod
    async def lost_marker(world: World) -> None:
        """The power fails between the coordinator's answer and the marker's arrival."""
        entry, *_ = await filled(world)
        world.cluster.marker_s = lambda: 1.0
        world.erase([entry])
        await until_answered(world)
        await world.owner.end()
        world.was_cut = True
        world.cluster.power_cut(decided=False)
        await world.open()

    def test_destroying_at_the_coordinators_answer(
        self, play: Callable[..., World], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert not play(self.lost_marker).erased
        monkeypatch.setattr("stream.ledger.Ledger._marked", controls.at_the_answer)
        with pytest.raises(KeyLost, match="does not open"):
            play(self.lost_marker)

    @staticmethod
    async def lost_insert(world: World) -> None:
        world.cluster.marker_s = lambda: 1.0
        world.insert(PLACES[0])
        await until_answered(world)
        await world.owner.end()
        world.acknowledge()
        world.was_cut = True
        world.cluster.power_cut(decided=False)
        await world.open()

    def test_a_key_that_is_used_at_the_coordinators_answer(
        self, play: Callable[..., World], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert len(play(self.lost_insert).never) == 1
        monkeypatch.setattr("stream.ledger.Ledger._marked", controls.at_the_answer)
        with pytest.raises(KeyLost, match="1 of 1"):
            play(self.lost_insert)

    @staticmethod
    async def aborted_version(world: World) -> None:
        """An attempt that erases one key aborts, after its version was wrapped; the next owner erases another."""
        one, other, *_ = await filled(world)
        owner = await stopped(world, "end asked", lambda: world.erase([other]))
        await owner.end()
        await world.open()
        world.erase([one])
        await world.done()

    def test_a_root_version_that_two_attempts_use(self, play: Callable[..., World]) -> None:
        play(self.aborted_version)
        with pytest.raises(KeyRecovered):
            play(self.aborted_version, roots=controls.Reuse)

    @staticmethod
    async def shared_nonce(world: World) -> None:
        """An insert aborts, whose key is nobody's secret; the next owner's goes to the same place in the same page."""
        await filled(world, 1)
        owner = await stopped(world, "end asked", lambda: world.insert(PLACES[0]))
        await owner.end()
        await world.open()
        (entry,) = await filled(world, 1)
        world.erase([entry])
        await world.done()
        (known,) = [entry + key for entry, key in world.never.items()]
        secret = entry + world.erased[entry]
        for one, other in twins(world):
            if len(one) == len(other):
                pads = zip(one[-ENTRY_BYTES - TAG_BYTES :], other[-ENTRY_BYTES - TAG_BYTES :], known, strict=False)
                if bytes(a ^ b ^ c for a, b, c in pads) == secret:
                    raise KeyRecovered("two records under one key and nonce give away what one of them held")

    def test_nonces_that_are_counted(self, play: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
        play(self.shared_nonce)
        monkeypatch.setattr("stream.vault.keytree.seal", controls.seal_counted)
        with pytest.raises(KeyRecovered, match="nonce"):
            play(self.shared_nonce)


async def until_answered(world: World) -> None:
    """Until the coordinator has answered a commit, and whatever follows at once has happened."""
    steps = world.owner.machine.steps
    before = steps["end answered"]
    await world.until(lambda: steps["end answered"] > before)
    await asyncio.sleep(0.1)


def twins(world: World) -> list[tuple[bytes, bytes]]:
    """Different records of one node that share a nonce."""
    seen: dict[tuple[bytes, bytes], bytes] = {}
    found = []
    for record in world.history():
        if record.key is not None and record.value and len(record.key) == len(ROOT):
            at = _HEAD.size + len(wrapped_key(record.value))
            nonce = record.key, record.value[at : at + NONCE_BYTES]
            if seen.setdefault(nonce, record.value) != record.value:
                found.append((seen[nonce], record.value))
    return found
