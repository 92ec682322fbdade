"""Virtual time, jobs and money: what every policy is measured by, the same for all. A policy is a subclass."""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import msgspec

from ray_cluster.simulator.trace import Asked

RETRY_AFTER_S = (1.0, 10.0, 60.0)
"""A failed attempt is tried again after so long; after the last, its job has failed (Rules.retry_after_s)."""

FAILS_AT = 0.5
"""A failing attempt fails after this share of what it would take."""

SAMPLES = 400
"""Points of a drawn line, over the time in which jobs arrive."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool is given, whoever steers it."""

    max_actors: int = 16
    start_s: float = 2.0  # from asking for an actor until it can work; paid for
    hand_over_s: float = 0.02  # until an idle actor has begun with a job
    price_per_hour: float = 1.0  # of one actor


class Point(msgspec.Struct, frozen=True):
    """How it stood at a moment."""

    at_s: float
    queued: int
    actors: int
    busy: int
    missed: int


class Job:
    """A job of the trace, and what became of it."""

    __slots__ = ("asked", "attempts", "deadline", "ended_at", "name")

    def __init__(self, number: int, asked: Asked) -> None:
        self.name = str(number)
        self.asked = asked
        self.deadline = asked.arrival_s + asked.deadline_s
        self.attempts = 0
        self.ended_at = math.inf  # when its result was there; never, if it failed

    @property
    def attempt_s(self) -> float:
        """What its next attempt will really take."""
        return self.asked.gpu_s * (FAILS_AT if self.attempts < self.asked.fails else 1.0)


class World(ABC):
    """Plays a trace. `queued`, `actors` and `busy` are kept by the policy for the drawing."""

    def __init__(self, trace: list[Asked], setup: Setup) -> None:
        self.setup = setup
        self.jobs = [Job(number, asked) for number, asked in enumerate(trace)]
        self.now = trace[0].arrival_s
        self.points: list[Point] = []
        self.paid_s = 0.0
        self.useful_s = 0.0
        self.wasted_s = 0.0
        self.errors: list[float] = []  # predicted ÷ actual, of those who predict
        self.queued = self.actors = self.busy = 0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._open = len(self.jobs)
        self._samples: list[tuple[float, int, int, int]] = []

    def play(self, until: float = math.inf) -> None:
        """Until every job has ended, or until then."""
        first, last = self.jobs[0].asked.arrival_s, self.jobs[-1].asked.arrival_s
        every_s = max((last - first) / SAMPLES, 1e-3)
        for job in self.jobs:
            self.at(job.asked.arrival_s, self.arrived, job)
        self.at(first, self._sample, every_s)
        self.begin()
        while self._open and self._events[0][0] <= until:
            self.now, _, call, args = heapq.heappop(self._events)
            call(*args)
        self.close()
        self._samples.append((self.now, self.queued, self.actors, self.busy))
        missed = sorted(job.deadline for job in self.jobs if job.ended_at > job.deadline)
        self.points = [Point(*sample, bisect_left(missed, sample[0])) for sample in self._samples]

    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        """Call then; in order of asking, if at the same time."""
        self._number += 1
        heapq.heappush(self._events, (when, self._number, call, args))

    def ran(self, job: Job, seconds: float) -> bool:
        """An attempt is over; whether it made the result. Else it is queued again after a while, or has failed."""
        job.attempts += 1
        if job.attempts > job.asked.fails:
            self.useful_s += seconds
            job.ended_at = self.now
            self._open -= 1
            return True
        self.wasted_s += seconds
        if job.attempts > len(RETRY_AFTER_S):
            self._open -= 1
        else:
            self.at(self.now + RETRY_AFTER_S[job.attempts - 1], self.arrived, job)
        return False

    def pay(self, since: float) -> None:
        """An actor that was asked for then has gone."""
        self.paid_s += self.now - since

    @abstractmethod
    def begin(self) -> None:
        """Before the first job."""

    @abstractmethod
    def arrived(self, job: Job) -> None:
        """It waits for an attempt."""

    @abstractmethod
    def close(self) -> None:
        """All jobs have ended: every actor that is still there goes, and is paid."""

    def _sample(self, every_s: float) -> None:
        self._samples.append((self.now, self.queued, self.actors, self.busy))
        self.at(self.now + every_s, self._sample, every_s)
