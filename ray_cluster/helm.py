"""One step of scaling: look at every pool, decide, and say which actors begin and which may go. Pure.

The scheduler and the simulator steer by this same code, one on Ray's clock, the other on a made-up one.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from ray_cluster.autoscaler import LONG_AGO_S, Decision, Demand, Limits, decide
from ray_cluster.floors import floor_at
from ray_cluster.hand import NOTHING, Hand
from ray_cluster.journal import Journal, Line
from ray_cluster.lanes import Lanes
from ray_cluster.pools import ClusterConfig, Pool
from ray_cluster.roster import Roster, Seat

TICK_S = 0.25
"""How often time alone is looked at: idleness, overdue proposals, prefetching."""

SCALE_EVERY_S = 0.05
"""Steps are at least so far apart, however much happens."""

REST_S = 10.0
"""Likewise while there is neither work nor an actor: a floor may begin."""

STEER_EVERY_S = 1.0
"""How often demand is looked at while nothing happens: only deadlines come nearer, and idle actors get older."""


class Orders(msgspec.Struct, frozen=True):
    """What is to be done."""

    begin: tuple[str, ...]  # pools, once for each actor
    retire: tuple[Seat, ...]


class Helm:
    """Steers the pools of `config`. `tell` hears of each decision that changed something."""

    def __init__(self, config: ClusterConfig, lanes: Lanes, roster: Roster, tell: Callable[[Line], None]) -> None:
        self.decisions = {pool.name: Decision(0, 0, "nothing to do") for pool in config.pools}
        self.journal = Journal()
        self.hands: dict[str, Hand] = {}  # what operators set, by pool
        self._config, self._lanes, self._roster, self._tell = config, lanes, roster, tell
        self._limits = Limits(
            max_actors=config.max_actors,
            idle_s=config.idle_s,
            target_utilisation=config.target_utilisation,
            cooldown_s=config.cooldown_s,
            ceiling_per_hour=config.ceiling_per_hour,
        )
        self._zone = ZoneInfo(config.time_zone)
        self._grown_at: dict[str, float] = {}

    def limits_of(self, pool: Pool, promise_now: float) -> tuple[int, int]:
        """(floor, maximum) of a pool now: by hand, else by its settings."""
        hand = self.hands.get(pool.name, NOTHING)
        timetable = floor_at(pool.floors, datetime.fromtimestamp(promise_now, self._zone)) if pool.floors else 0
        usual = max(pool.min_actors, timetable)
        return (
            usual if hand.min_actors is None else hand.min_actors,
            pool.max_actors if hand.max_actors is None else hand.max_actors,
        )

    def steer(self, now: float, promise_now: float, *, blocked: Container[str] = ()) -> Orders:
        """Decide, and feed or starve seats accordingly. `blocked`: pools in which starting failed a moment ago."""
        demands = tuple(self._demand(pool, now, promise_now, blocked) for pool in self._config.pools)
        self.decisions = decide(demands, **msgspec.structs.asdict(self._limits))
        if line := self.journal.note(promise_now, self._limits, demands, self.decisions):
            self._tell(line)
        retire: list[Seat] = []
        self._roster.paused = {name for name, hand in self.hands.items() if hand.paused}
        for name, decision in self.decisions.items():
            self._roster.feed(name, decision.feed)
            for seat in self._roster.surplus(name, decision.desired):
                seat.retiring = True
                retire.append(seat)
        begin: list[str] = []
        room = self._config.max_actors - len(self._roster.seats)  # also those of pools that are no more, or leave
        for name, decision in self.decisions.items():
            more = min(decision.desired - self._roster.staying(name), room - len(begin))
            if more > 0:
                begin += [name] * more
                self._grown_at[name] = now
        return Orders(tuple(begin), tuple(retire))

    def _demand(self, pool: Pool, now: float, promise_now: float, blocked: Container[str]) -> Demand:
        floor, max_actors = self.limits_of(pool, promise_now)
        paused = self.hands.get(pool.name, NOTHING).paused
        seen = self._roster.demand(
            pool.name,
            self._lanes,
            now=now,
            promise_now=promise_now,
            max_actors=max_actors,
            blocked=pool.name in blocked,
        )
        grown_at = self._grown_at.get(pool.name)
        return msgspec.structs.replace(
            seen,
            floor=floor,
            queued=() if paused else seen.queued,  # it gets no actor for what it may not lease
            arriving=() if paused else seen.arriving,
            starved_s=0.0 if paused else seen.starved_s,
            price_per_hour=pool.price_per_hour,
            grown_s=LONG_AGO_S if grown_at is None else now - grown_at,
        )
