"""Steering, and the journal that lets every decision be taken again."""

from __future__ import annotations

import random

import msgspec

from ray_cluster.floors import Floor
from ray_cluster.helm import Helm
from ray_cluster.journal import Journal, Line, again, read, written
from ray_cluster.lanes import LANE_WEIGHTS, Lanes
from ray_cluster.leases import Inventory, Work
from ray_cluster.pools import ClusterConfig, Pool
from ray_cluster.roster import Roster, Seat


class Ship:
    """Pools whose actors start at once and end their jobs when told."""

    def __init__(self, *pools: Pool, **config: object) -> None:
        self.lanes, self.roster, self.said = Lanes(), Roster(), list[Line]()
        self.config = ClusterConfig(pools=pools, **({"max_actors": 4, "idle_s": 10.0} | config))  # type: ignore[arg-type]
        self.helm = Helm(self.config, self.lanes, self.roster, self.said.append)
        self._made = 0

    def ask(self, job: str, pool: str = "p", *, cost_s: float = 4.0, deadline: float = 10.0) -> None:
        self.lanes.add(Work(job, "w", pool, "interactive", "t", cost_s=cost_s, deadline=deadline))

    def step(self, now: float, *, blocked: tuple[str, ...] = ()) -> None:
        orders = self.helm.steer(now, now, blocked=blocked)
        for seat in orders.retire:
            del self.roster.seats[seat.name]
        for pool in orders.begin:
            self._made += 1
            seat = self.roster.seats[f"{pool}{self._made}"] = Seat(f"{pool}{self._made}", pool)
            seat.begin(now)
            seat.tell(Inventory(pool, 1, (), (1, 2), ((1, b"1"), (2, b"2"))), now)
        for _ in self.roster.match(self.lanes, now, promise_now=now):
            pass

    def end(self, now: float) -> None:
        for seat in self.roster.seats.values():
            seat.tell(Inventory(seat.pool, 2, (), (3, 4), ((3, b"3"), (4, b"4"))), now)


def test_up_for_work_and_down_to_the_warm_minimum() -> None:
    ship = Ship(Pool("p", (), max_actors=4, min_actors=1))
    for job in "abc":
        ship.ask(job)
    ship.step(0.0)
    assert len(ship.roster.seats) == 3  # 12 s in half of 10 s at 0.8 would take four; they are three
    ship.end(5.0)
    ship.step(5.0)
    ship.end(9.0)
    ship.step(20.0)
    ship.step(20.1)
    assert len(ship.roster.seats) == 1
    assert [line.decisions["p"].desired for line in ship.said] == [3, 1]


def test_the_timetable_holds_in_the_clusters_time_zone() -> None:
    morning = Floor(2, "08:00", "20:00")
    ship = Ship(Pool("p", (), max_actors=4, floors=(morning,)), time_zone="Asia/Shanghai")
    ship.step(-60.0)  # 1970-01-01 07:59 there
    assert not ship.roster.seats
    ship.step(0.0)
    assert len(ship.roster.seats) == 2
    assert ship.said[-1].decisions["p"].cause == "floor"


def test_growth_starts_the_cool_down() -> None:
    ship = Ship(Pool("p", (), max_actors=4), idle_s=1.0, cooldown_s=30.0)
    ship.ask("a")
    ship.step(0.0)
    ship.end(2.0)
    ship.step(29.0)
    assert len(ship.roster.seats) == 1
    ship.step(30.0)
    assert not ship.roster.seats


def test_a_decision_is_logged_when_it_changes_and_never_else() -> None:
    ship = Ship(Pool("p", (), max_actors=1))
    ship.ask("a", cost_s=30.0, deadline=100.0)
    for tick in range(20):
        ship.step(tick / 10)
    assert [line.decisions["p"].desired for line in ship.said] == [1]
    ship.ask("b", cost_s=30.0, deadline=40.0)
    ship.ask("c", cost_s=30.0, deadline=40.0)
    ship.step(2.0)
    assert len(ship.said) == 1  # its own maximum is what the pool would have
    ship.step(3.0, blocked=("p",))
    assert [line.decisions["p"].cause for line in ship.said] == ["jobs", "blocked"]


def test_every_line_gives_the_same_decision_again() -> None:
    rng = random.Random(7)
    pools = (Pool("p", (), max_actors=3, price_per_hour=1.0), Pool("q", (), max_actors=3, min_actors=1))
    ship = Ship(*pools, ceiling_per_hour=2.0, cooldown_s=2.0, idle_s=3.0)
    now = 0.0
    for number in range(600):
        now += rng.random()
        if rng.random() < 0.4:
            ship.ask(str(number), rng.choice("pq"), cost_s=rng.uniform(0.1, 8), deadline=now + rng.uniform(0, 60))
        if rng.random() < 0.3:
            ship.end(now)
        ship.step(now, blocked=("p",) if rng.random() < 0.1 else ())
    assert len(ship.said) > 100
    for line in ship.said:
        logged = read(f"2026-11-27 INFO {written(line)}\n")
        assert logged == line
        assert again(logged) == line.decisions
    other = msgspec.structs.replace(ship.said[0], limits=msgspec.structs.replace(ship.said[0].limits, max_actors=0))
    assert again(other) != other.decisions
    assert set(LANE_WEIGHTS) & {word for line in ship.said for word in written(line).split('"')} == set()


def test_what_is_no_decision_is_not_read_as_one() -> None:
    assert read("something else") is None
    assert read('{"t": "now", "what": "something else"}') is None


def test_the_ring_keeps_the_last_lines() -> None:
    ship, journal = Ship(Pool("p", (), max_actors=4)), Journal(kept=3)
    ship.ask("a")
    ship.step(0.0)
    (line,) = ship.said
    for desired in range(5):
        decided = {"p": msgspec.structs.replace(line.decisions["p"], desired=desired)}
        assert journal.note(0.0, line.limits, line.demands, decided)
        assert journal.note(0.0, line.limits, line.demands, decided) is None
    assert [line.decisions["p"].desired for line in journal.lines] == [2, 3, 4]
