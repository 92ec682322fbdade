"""The policies to compare with: one queue, first come first served, and three rules for how many actors there are.

Kinder than the originals where a choice was to be made: an actor that is to go ends its job first, an idle one goes
before a busy one, and all share one queue.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

from ray_cluster.simulator.trace import Asked
from ray_cluster.simulator.world import Job, Setup, World


class Rule(Protocol):
    """How many actors, asked every `every_s`."""

    every_s: float
    first: int  # before the first job

    def desired(self, now: float, ongoing: int, actors: int) -> int:
        """`ongoing`: jobs that wait or run."""
        ...


class Fixed:
    """So many, always."""

    every_s = math.inf

    def __init__(self, actors: int) -> None:
        self.first = actors

    def desired(self, now: float, ongoing: int, actors: int) -> int:
        """The same."""
        del now, ongoing, actors
        return self.first


class Lag:
    """KEDA's Kafka scaler: lag ÷ target, looked at every 30 s (pollingInterval), down to none.

    Lag counts what is not committed yet, running jobs included. Down only to the most that was wanted within 300 s:
    KEDA's cooldownPeriod to none, the stabilisation window of the HorizontalPodAutoscaler, which KEDA drives, else.
    """

    every_s = 30.0
    first = 0
    COOL_DOWN_S = 300.0

    def __init__(self, target: float) -> None:
        self._target = target
        self._wanted: deque[tuple[float, int]] = deque()

    def desired(self, now: float, ongoing: int, actors: int) -> int:
        """The most of ceil(lag ÷ target) within the cool-down."""
        del actors
        self._wanted.append((now, math.ceil(ongoing / self._target)))
        while self._wanted[0][0] < now - self.COOL_DOWN_S:
            self._wanted.popleft()
        return max(wanted for _, wanted in self._wanted)


class Serve:
    """Ray Serve's default, replica_queue_length_autoscaling_policy, with the defaults of its AutoscalingConfig.

    Requests that wait or run, in the mean of 30 s, ÷ 2 for each replica; more once that has been so for 30 s, fewer
    after 600 s, and never none.
    """

    every_s = 1.0
    first = 1
    TARGET = 2.0  # target_ongoing_requests
    LOOK_BACK_S = 30
    UP_S = 30.0
    DOWN_S = 600.0

    def __init__(self) -> None:
        self._seen: deque[int] = deque(maxlen=self.LOOK_BACK_S)
        self._since: float | None = None
        self._upwards = False

    def desired(self, now: float, ongoing: int, actors: int) -> int:
        """As `_apply_delay_logic` has it: what was wanted at the end of the delay, if it was wanted all along."""
        self._seen.append(ongoing)
        wanted = max(1, math.ceil(sum(self._seen) / len(self._seen) / self.TARGET))
        if wanted == actors:
            self._since = None
            return actors
        if self._since is None or self._upwards != (wanted > actors):
            self._since, self._upwards = now, wanted > actors
        if now - self._since >= (self.UP_S if self._upwards else self.DOWN_S):
            self._since = None
            return wanted
        return actors


class Queue(World):
    """One queue; a rule for the actors."""

    def __init__(self, trace: list[Asked], setup: Setup, rule: Rule) -> None:
        super().__init__(trace, setup)
        self._rule = rule
        self._waiting: deque[Job] = deque()
        self._idle: list[float] = []  # since when each has been paid for
        self._desired = 0

    def begin(self) -> None:
        """The first actors are there from the start, ready."""
        self._desired = self.actors = min(self._rule.first, self.setup.max_actors)
        self._idle = [self.now] * self.actors
        if self._rule.every_s < math.inf:
            self.at(self.now, self._look)

    def arrived(self, job: Job) -> None:
        """At the end of the queue, whatever it is."""
        self._waiting.append(job)
        self._give()

    def close(self) -> None:
        """Those that are idle: of a job that was not waited for, nothing is counted."""
        for since in self._idle:
            self.pay(since)
        self._idle.clear()

    def _look(self) -> None:
        ongoing = len(self._waiting) + self.busy
        self._desired = min(self._rule.desired(self.now, ongoing, self._desired), self.setup.max_actors)
        while self.actors > self._desired and self._idle:
            self._go(self._idle.pop())
        while self.actors < self._desired:
            self.actors += 1
            self.at(self.now + self.setup.start_s, self._free, self.now)
        self.at(self.now + self._rule.every_s, self._look)

    def _free(self, since: float) -> None:
        if self.actors > self._desired:
            self._go(since)
        else:
            self._idle.append(since)
            self._give()

    def _go(self, since: float) -> None:
        self.actors -= 1
        self.pay(since)

    def _give(self) -> None:
        while self._waiting and self._idle:
            job, since = self._waiting.popleft(), self._idle.pop()
            self.busy += 1
            self.at(self.now + self.setup.hand_over_s + job.attempt_s, self._ended, job, job.attempt_s, since)
        self.queued = len(self._waiting)

    def _ended(self, job: Job, seconds: float, since: float) -> None:
        self.busy -= 1
        self.ran(job, seconds)
        self._free(since)
