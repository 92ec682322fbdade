"""What an operator does to a pool, and what the scheduler says for itself: on real lanes, seats and decisions."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from ray_cluster.desk import Desk
from ray_cluster.hand import BadScale
from ray_cluster.helm import Helm
from ray_cluster.lanes import Lanes
from ray_cluster.leases import Inventory, Work
from ray_cluster.operating import Operating, UnknownActor, UnknownPool, seat_status
from ray_cluster.orders import Drain, Order, Pause, Reasons, Resume, Scale, Seats, SeatStatus, Why
from ray_cluster.pools import ClusterConfig, Pool, PoolStatus
from ray_cluster.roster import Roster, Seat

POOLS = {name: Pool(name, ("noop",), max_actors=3) for name in ("p", "q")}
NOW = 1000.0


class House:
    """A scheduler without Ray."""

    def __init__(self, **config: Any) -> None:
        config = {"max_actors": 4, "idle_s": 60.0} | config
        self.config = ClusterConfig(pools=tuple(POOLS.values()), **config)
        self.lanes, self.roster, self.desk = Lanes(), Roster(), Desk(10)
        self.helm = Helm(self.config, self.lanes, self.roster, lambda _: None)
        self.retry_in_s = 0.0
        self.operating = Operating(
            POOLS, lanes=self.lanes, roster=self.roster, desk=self.desk, helm=self.helm, status=self.status
        )

    def status(self, pool: str) -> PoolStatus:
        seats = self.roster.of(pool)
        floor, most = self.helm.limits_of(POOLS[pool], NOW)
        return PoolStatus(
            pool,
            queued=self.lanes.waiting(pool),
            actors=len(seats),
            starting=sum(not seat.ready for seat in seats),
            leased=sum(seat.load > 0 for seat in seats),
            draining=0,
            desired=self.helm.decisions[pool].desired,
            reason=self.helm.decisions[pool].reason,
            error="start-timeout" if self.retry_in_s else "",
            retry_in_s=self.retry_in_s,
            unplaced=sum(seat.unplaced for seat in seats),
            min_actors=floor,
            max_actors=most,
        )

    def seat(self, name: str, *, ready: bool = True, pool: str = "p") -> Seat:
        seat = self.roster.seats[name] = Seat(name, pool)
        if ready:
            seat.begin(NOW)
            seat.tell(Inventory(pool, 1, (), (1, 2), ((1, b"1"), (2, b"2"))), NOW)
        return seat

    def queue(self, *jobs: str, alone: bool = False) -> None:
        for job in jobs:
            self.lanes.add(Work(job, "w", "p", "standard", "t", cost_s=10.0, deadline=time.time() + 60, alone=alone))

    def steer(self) -> list[str]:
        return list(self.helm.steer(NOW, time.time(), blocked=["p"] if self.retry_in_s else []).begin)

    def leased(self) -> list[str]:
        return [proposal.job for _, proposal in self.roster.match(self.lanes, NOW, promise_now=time.time())]

    def why(self) -> Reasons:
        self.steer()
        (reasons,) = self.ask(Why("p"))
        return reasons

    def ask(self, order: Order) -> Any:
        return self.operating.answer(msgspec.msgpack.decode(msgspec.msgpack.encode(order), type=Order))


def test_a_paused_pool_leases_nothing_and_starts_nothing_for_what_waits() -> None:
    house = House()
    house.seat("a")
    house.queue("1", "2")
    house.ask(Pause("p"))
    assert house.steer() == []
    assert house.leased() == []
    reasons = house.why()
    assert (reasons.held, {one.waits_for for one in reasons.waiting}) == (True, {"resume"})
    house.ask(Resume("p"))
    house.steer()
    assert house.leased() == ["1"]


def test_a_floor_and_a_maximum_set_by_hand_hold_until_set_again() -> None:
    house = House()
    house.ask(Scale("p", min_actors=2))
    assert house.steer() == ["p", "p"]
    house.ask(Scale("p", max_actors=0))
    house.queue("1")
    assert house.steer() == []
    reasons = house.why()
    assert (reasons.held, reasons.waiting[0].waits_for) == (True, "maximum")
    house.ask(Scale("p"))
    assert house.steer() == ["p"]
    assert house.ask(Scale("p")).max_actors == 3


def test_pausing_keeps_what_was_set_and_scaling_keeps_the_pause() -> None:
    house = House()
    house.ask(Scale("p", 1, 2))
    house.ask(Pause("p"))
    assert (house.helm.hands["p"].min_actors, house.helm.hands["p"].max_actors) == (1, 2)
    house.ask(Scale("p", 2))
    assert house.helm.hands["p"].paused


@pytest.mark.parametrize("order", [Scale("p", 2, 1), Scale("p", 4)])
def test_a_floor_above_the_maximum_is_refused(order: Scale) -> None:
    house = House()
    with pytest.raises(BadScale):
        house.ask(order)
    assert house.helm.hands == {}


@pytest.mark.parametrize("order", [Pause("x"), Scale("x"), Drain("x"), Drain(), Seats("x"), Why("x")])
def test_an_unknown_pool_is_refused(order: Order) -> None:
    with pytest.raises(UnknownPool):
        House().ask(order)


def test_an_actor_or_a_pool_is_drained() -> None:
    house = House()
    seats = [house.seat(name) for name in ("a", "b")]
    other = house.seat("c", pool="q")
    house.queue("1")
    house.leased()
    told = house.ask(Drain(actor="a"))
    assert (told.actors, told.leases, seats[0].drained, seats[1].drained) == (("a",), 1, True, False)
    told = house.ask(Drain("p"))
    assert (told.actors, told.leases, seats[1].drained, other.drained) == (("a", "b"), 1, True, False)
    with pytest.raises(UnknownActor):
        house.ask(Drain(actor="z"))


def test_each_waiting_job_says_what_it_waits_for() -> None:
    house = House()
    house.queue("1", "2")
    assert {one.waits_for for one in house.why().waiting} == {"start"}
    seat = house.seat("a", ready=False)
    assert {one.waits_for for one in house.why().waiting} == {"start"}
    seat.unplaced = True
    reasons = house.why()
    assert (reasons.held, {one.waits_for for one in reasons.waiting}) == (True, {"machine"})
    seat.begin(NOW)
    waiting = house.why().waiting
    assert [(one.job, one.waits_for, one.position, one.eta_s) for one in waiting] == [
        ("1", "turn", 0, 0.0),
        ("2", "turn", 1, 10.0),
    ]


def test_what_is_offered_or_asleep_waits_for_its_worker() -> None:
    house = House()
    house.seat("a")
    house.queue("1")
    assert house.leased() == ["1"]
    house.desk.sleep("w", [Work("2", "w", "p", "batch", "t", cost_s=1, deadline=0)])
    assert {(one.job, one.waits_for) for one in house.why().waiting} == {("1", "worker"), ("2", "worker")}


def test_a_suspect_waits_for_an_actor_of_its_own() -> None:
    house = House()
    house.seat("a")
    house.queue("1")
    house.leased()
    house.queue("suspect", alone=True)
    assert [one.waits_for for one in house.why().waiting if one.job == "suspect"] == ["alone"]


def test_limits_and_failed_starts_are_named() -> None:
    house = House(max_actors=1)
    house.seat("c", pool="q")
    house.seat("c2", pool="q").tell(Inventory("q", 2, ("x",), ()), NOW)
    house.queue("1")
    assert house.why().waiting[0].waits_for == "limit"
    house.retry_in_s = 2.0
    reasons = house.why()
    assert (reasons.waiting[0].waits_for, reasons.held, reasons.cause) == ("retry", True, "blocked")


def test_only_so_many_jobs_are_shown_and_the_rest_counted() -> None:
    house = House()
    house.queue(*(str(n) for n in range(30)))
    (reasons,) = house.ask(Why("p", 10))
    assert (len(reasons.waiting), reasons.more) == (10, 20)
    assert len(house.ask(Why())) == len(POOLS)


def test_an_actor_in_a_word() -> None:
    house = House()
    seat = house.seat("a", ready=False)
    assert seat_status(seat, NOW).state == "starting"
    seat.unplaced = True
    assert seat_status(seat, NOW).state == "unplaced"
    seat.begin(NOW)
    assert seat_status(seat, NOW).state == "idle"
    house.queue("1")
    seat.tell(Inventory("p", 1, (), (1,), ((1, b"1"),), jobs=7, grown_bytes=5), NOW)
    house.leased()
    (told,) = house.ask(Seats("p"))
    assert told == SeatStatus("a", "p", "busy", 1, 7, 5, told.free_in_s)
    seat.drained = True
    assert seat_status(seat, NOW).state == "draining"
    seat.retiring = True
    assert seat_status(seat, NOW).state == "leaving"


def test_an_actor_without_a_machine_goes_as_soon_as_nobody_wants_it() -> None:
    house = House()
    seat = house.seat("a", ready=False)
    house.queue("1")
    assert house.helm.steer(NOW, time.time()).retire == ()
    seat.unplaced = True
    assert house.helm.steer(NOW, time.time()).retire == ()
    house.lanes.withdraw("1")
    assert house.helm.steer(NOW, time.time()).retire == (seat,)


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_loses_no_job_and_offers_none_twice(jump_s: float) -> None:
    house = House()
    for name in ("a", "b"):
        house.seat(name)
    house.queue("1", "2", "3")
    promise_now = time.time()
    seen = [proposal.job for _, proposal in house.roster.match(house.lanes, NOW, promise_now=promise_now)]
    assert sorted(seen) == ["1", "2"]
    house.helm.steer(NOW, promise_now + jump_s)
    house.roster.seats["a"].tell(Inventory("p", 2, (), (2,)), NOW + 1)
    seen = [proposal.job for _, proposal in house.roster.match(house.lanes, NOW + 1, promise_now=promise_now + jump_s)]
    assert seen == ["3"]
    assert house.roster.overdue(NOW - 1) == []  # nothing that was offered counts as late for it
