"""Workers, a publisher and a ledger, in any order, dying at any step: nothing is counted, drawn or published twice."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import topics
from stream.agents import publishing
from stream.agents.publishing import BUDGET_KEY, Publisher
from stream.events.rows import rows
from stream.ledger import Change
from stream.metrics import budget, cells
from stream.metrics.anonymity import CELLS_A_DAY, OWNERS_A_DAY, THRESHOLD
from stream.metrics.cells import HOUR_S, HOURS_A_DAY, Kind
from stream.metrics.tally import Ask, Share, Tallies
from stream.policies import compiler

PARTITIONS = 2
MIDNIGHT = 20_000 * HOURS_A_DAY
POLICIES = {"genzo": compiler.load("genzo")}
KINDS = cells.universe(POLICIES.values())[:6]

DEATHS = ("", "unasked", "uncharged", "charged", "undrawn", "unpublished", "published")

steps = st.one_of(
    st.tuples(st.just("job"), st.integers(0, 5), st.integers(0, len(KINDS) - 1)),
    st.tuples(st.just("job"), st.integers(0, 5), st.integers(0, len(KINDS) - 1)),
    st.tuples(st.just("hour"), st.integers(1, 30)),
    st.tuples(st.just("move"), st.integers(0, PARTITIONS - 1), st.integers(0, 2)),
    st.tuples(st.just("crash"), st.integers(0, 2)),
    st.tuples(st.just("publish"), st.sampled_from(DEATHS)),
)


class Died(Exception):  # noqa: N818 - it is what happened
    """The publisher's process ended here."""


class World:
    """What is real in it: tallies, account, publisher. The ledger is a dict, the topic a list, noise is THRESHOLD."""

    def __init__(self) -> None:
        self.now = (MIDNIGHT + 0.5) * HOUR_S
        self.rows = {BUDGET_KEY: rows.encode(budget.fresh(MIDNIGHT - 1))}
        self.topic: list[cells.Cell] = []
        self.workers = [Tallies() for _ in range(3)]
        self.owner = [0] * PARTITIONS
        self.tallies = [self.workers[0].open(partition, self.now) for partition in range(PARTITIONS)]
        self.ends: defaultdict[tuple[str, str, str, str], set[tuple[int, str]]] = defaultdict(set)
        self.drawn: Counter[int] = Counter()
        self.death = ""
        self.charges: list[range] = []

    def job(self, user: int, kind: int) -> None:
        """One user's job ends."""
        tally, hour = self.tallies[user % PARTITIONS], int(self.now // HOUR_S)
        tally.count(KINDS[kind], (f"user-{user}",), self.now)
        self.ends[(*KINDS[kind], cells.moment(hour))].add((user, tally.tenure))

    def hour(self, hours: int) -> None:
        self.now += hours * HOUR_S

    def move(self, partition: int, worker: int) -> None:
        """A rebalance."""
        self.tallies[partition].close(self.now)
        self.owner[partition] = worker
        self.tallies[partition] = self.workers[worker].open(partition, self.now)

    def crash(self, worker: int) -> None:
        """Its memory is gone; its partitions go to the next one."""
        self.workers[worker] = Tallies()
        for partition, owner in enumerate(self.owner):
            if owner == worker:
                self.owner[partition] = (worker + 1) % 3
                self.tallies[partition] = self.workers[self.owner[partition]].open(partition, self.now)

    def publish(self, death: str) -> None:
        """Whoever owns partition 0 now does all that there is to do, or dies."""
        self.death = death
        estate: Any = SimpleNamespace(
            now=lambda: self.now,
            ledger=SimpleNamespace(get=self.rows.get),
            commit=self._commit,
            mint=SimpleNamespace(partitions=PARTITIONS),
            tools=SimpleNamespace(policies=POLICIES),
        )
        publisher = Publisher(estate, self._collect, make=self._make, patience_s=0)

        async def work() -> None:
            while not await publisher.turn():
                pass

        try:
            asyncio.run(work())
        except Died:
            self.death = ""

    async def _collect(self, ask: Ask) -> list[Share]:
        self._die("unasked")
        return [share for worker in self.workers for share in worker.shares(ask, self.now)]

    async def _commit(self, change: Change) -> None:
        if change.rows:
            self._die("uncharged")
            before = budget_of(self.rows)
            self.rows |= {key: value for key, value in change.rows.items() if value is not None}
            self.charges.append(range(before, budget_of(self.rows)))
            self._die("charged")
        elif change.events:
            self._die("unpublished")
            assert {event.topic for event in change.events} == {topics.STATISTICS}
            self.topic += [cells.decode(event.value) for event in change.events]
            self._die("published")

    def _make(self) -> Callable[[list[int]], list[int]]:
        self._die("undrawn")

        def draw(counts: list[int]) -> list[int]:
            self.drawn.update(self.charges[-1])
            return [THRESHOLD + count if count else 0 for count in counts]

        return draw

    def _die(self, where: str) -> None:
        if where == self.death:
            raise Died


def budget_of(found: dict[bytes, bytes]) -> int:
    header, _ = rows.decode(found[BUDGET_KEY])
    return int(header.next_hour)  # type: ignore[union-attr]


def walk(script: list[tuple[Any, ...]]) -> World:
    world = World()
    for what, *how in script:
        getattr(world, what)(*how)
    return world


@settings(deadline=None, max_examples=150)
@given(st.lists(steps, max_size=50))
def test_nothing_is_counted_drawn_or_published_twice(script: list[tuple[Any, ...]]) -> None:
    world = walk([*script, ("hour", 1), ("publish", "")])
    assert max(Counter(cell.key for cell in world.topic).values(), default=1) == 1
    assert max(world.drawn.values(), default=1) == 1
    of_day: Counter[str] = Counter()
    for cell in world.topic:
        who = world.ends[cell.app, cell.operation, cell.outcome, cell.hour]
        assert cell.count - THRESHOLD <= len({user for user, _ in who})
        of_day[cell.hour[:10]] += cell.count - THRESHOLD
    users = {user for what, *how in script if what == "job" for user in how[:1]}
    assert all(total <= CELLS_A_DAY * OWNERS_A_DAY * len(users) for total in of_day.values())


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, CELLS_A_DAY - 1)), max_size=40))
def test_while_nobody_dies_nothing_is_lost(jobs: list[tuple[int, int]]) -> None:
    world = walk([*(("job", *job) for job in jobs), ("hour", 1), ("move", 1, 2), ("publish", "")])
    found = {(cell.app, cell.operation, cell.outcome, cell.hour): cell.count - THRESHOLD for cell in world.topic}
    assert found == {cell: len(who) for cell, who in world.ends.items()}


@pytest.mark.parametrize("death", DEATHS[1:])
def test_every_death_is_met_and_what_it_costs(death: str) -> None:
    kind: Kind = KINDS[0]
    world = walk([("job", 1, 0), ("hour", 1), ("publish", death), ("publish", "")])
    kept = death in {"unasked", "uncharged", "published"}
    assert [(cell.operation, cell.count) for cell in world.topic] == ([(kind.operation, THRESHOLD + 1)] if kept else [])


def test_without_the_charge_an_hour_would_be_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forgotten(_self: Publisher, _budget: budget.Budget) -> None:
        """Nothing is written."""

    monkeypatch.setattr(publishing.Publisher, "_write", forgotten)
    world = World()
    world.charges.append(range(MIDNIGHT, MIDNIGHT + 1))
    world.job(1, 0)
    world.hour(1)
    for _ in range(2):
        with pytest.raises(Died):
            _once(world)
    assert world.drawn == {MIDNIGHT: 2}
    assert max(Counter(cell.key for cell in world.topic).values()) == 2


def _once(world: World) -> None:
    """`World.publish` swallows a death; this one wants to see it, or the publisher would go on for ever."""
    swallowed = world.topic.copy()
    world.publish("published")
    if world.topic != swallowed:
        raise Died
