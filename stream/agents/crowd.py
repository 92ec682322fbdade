"""Everybody's unfinished jobs, as one worker knows them: its own to the moment, others' as the scheduler told last."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from stream.agents import admission
from stream.agents.book import Job
from stream.errors import MayflyError, StoreUnavailable
from stream.events.lease import Claim, Place, Standing
from stream.events.rows import JobState
from stream.ids import digest
from stream.metrics import admission as metrics

log = logging.getLogger(__name__)

EVERY_S = 1.0
STALE_S = 10.0
"""What others had is forgotten when the scheduler has said nothing for so long: it may not be there any more."""

TENANT_DIGITS = 16

NO_PARTITION = -1
"""Of work that has no row."""

_Where = tuple[str, str, str]


class _Unfinished:
    """One job: where it is claimed, and what for."""

    __slots__ = ("cost_s", "leased", "partition", "where")

    def __init__(self, partition: int, where: _Where, cost_s: float, *, leased: bool) -> None:
        self.partition, self.where, self.cost_s, self.leased = partition, where, cost_s, leased


class Crowd:
    """One per worker. `predict(operation)`: (pool, seconds of one actor); `monotonic`: seconds, for staleness only."""

    def __init__(
        self, limits: admission.Limits | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits or admission.Limits()
        self.predict: Callable[[str], tuple[str, float]] = lambda _: ("", 1.0)
        self._monotonic = monotonic
        self._jobs: dict[str, _Unfinished] = {}
        self._own: dict[_Where, list[float]] = {}  # waiting, waiting_s, leased, leased_s
        self._others: dict[_Where, Claim] = {}
        self._all: dict[_Where, Claim] = {}  # ours and others'
        self._heard = Standing()
        self._heard_at = float("-inf")

    # -- what is ours --------------------------------------------------------------------------------------------

    def put(self, partition: int, job: Job) -> None:
        """A job's row was written, or read at an opening."""
        self._drop(job.id)
        if job.body is None or job.head.state.ended or job.head.state is JobState.ENDING:
            return
        pool, cost_s = self._predicted(job.body.operation)
        cost_s *= job.body.items
        where = pool, job.head.lane.value, opaque(job.body.tenant)
        made = _Unfinished(partition, where, cost_s, leased=job.head.state is JobState.LEASED)
        self._jobs[job.id] = made
        self._count(made, 1)

    def pool(self, operation: str) -> str:
        """Where it is done; empty where this version has no engine for it."""
        return self._predicted(operation)[0]

    def close(self, partition: int) -> None:
        """This worker owns the partition no more."""
        for job_id in [job_id for job_id, job in self._jobs.items() if job.partition == partition]:
            self._drop(job_id)

    def claims(self) -> list[Claim]:
        """Of this worker, for the scheduler."""
        return [self._claim(where) for where in self._own]

    # -- what others have ----------------------------------------------------------------------------------------

    def heard(self, standing: Standing, told: list[Claim]) -> None:
        """The scheduler's answer to `told`."""
        self._heard, self._heard_at = standing, self._monotonic()
        self._know(admission.without(standing, told))

    def standing(self) -> Standing:
        """Everybody's claims as of now."""
        if self._others and self._monotonic() - self._heard_at > STALE_S:
            self._know({})
        return Standing(tuple(self._all.values()), self._heard.actors, self._heard.weights, self._heard.quantum_s)

    # -- decisions -----------------------------------------------------------------------------------------------

    def check(
        self, tenant: str, operation: str, lane: str, *, max_jobs: int, max_work_s: float, items: int = 1
    ) -> None:
        """Let one more job in, of so many items. Raises an `admission.Limit`, counted."""
        try:
            self.look(tenant, operation, lane, max_jobs=max_jobs, max_work_s=max_work_s, items=items)
        except admission.Limit as limit:
            metrics.REFUSED.labels(limit.kind, lane).inc()
            raise
        metrics.ADMITTED.labels(lane).inc()

    def look(
        self, tenant: str, operation: str, lane: str, *, max_jobs: int, max_work_s: float, items: int = 1
    ) -> admission.Ask:
        """Whether one more would be let in now, counted by no metric. Raises an `admission.Limit`."""
        pool, cost_s = self._predicted(operation)
        ask = admission.Ask(pool, lane, opaque(tenant), cost_s * items, max_jobs, max_work_s)
        admission.check(self.standing(), ask, self._limits)
        return ask

    @contextmanager
    def holding(
        self, tenant: str, operation: str, lane: str, *, max_jobs: int, max_work_s: float
    ) -> Iterator[Callable[[], None]]:
        """Let work in that has no row, and claim it for the time of the block. Raises an `admission.Limit`.

        What is given is to be called when it is leased. All that is kept are sums, in memory: no id, and no metric,
        since one that moves by one says that somebody's picture was there.
        """
        ask = self.look(tenant, operation, lane, max_jobs=max_jobs, max_work_s=max_work_s)
        made = _Unfinished(NO_PARTITION, (ask.pool, ask.lane, ask.tenant), ask.cost_s, leased=False)
        self._count(made, 1)

        def leased() -> None:
            self._count(made, -1)
            made.leased = True
            self._count(made, 1)

        try:
            yield leased
        finally:
            self._count(made, -1)

    def place(self, job: Job) -> Place | None:
        """Where a job that waits for its inputs would be if they came now; None before the scheduler was heard."""
        mine = self._jobs.get(job.id)
        if mine is None or mine.leased or self._heard_at == float("-inf"):
            return None
        self._count(mine, -1)  # it does not wait for itself
        try:
            return admission.place(self.standing(), admission.Ask(*mine.where, mine.cost_s))
        finally:
            self._count(mine, 1)

    # -- inside --------------------------------------------------------------------------------------------------

    def _predicted(self, operation: str) -> tuple[str, float]:
        try:
            return self.predict(operation)
        except MayflyError:  # a row of an operation that this version has no engine for
            return "", 1.0

    def _drop(self, job_id: str) -> None:
        if (known := self._jobs.pop(job_id, None)) is not None:
            self._count(known, -1)

    def _count(self, job: _Unfinished, by: int) -> None:
        row = self._own.setdefault(job.where, [0.0, 0.0, 0.0, 0.0])
        at = 2 if job.leased else 0
        row[at] += by
        row[at + 1] += by * job.cost_s
        if not row[0] and not row[2]:
            del self._own[job.where]
        self._merge(job.where)

    def _know(self, others: dict[_Where, Claim]) -> None:
        self._others = others
        self._all = dict(others)
        for where in self._own:
            self._merge(where)

    def _merge(self, where: _Where) -> None:
        theirs, ours = self._others.get(where), self._claim(where) if where in self._own else None
        if theirs is not None and ours is not None:
            self._all[where] = theirs.plus(ours)
        elif (one := theirs or ours) is not None:
            self._all[where] = one
        else:
            self._all.pop(where, None)

    def _claim(self, where: _Where) -> Claim:
        waiting, waiting_s, leased, leased_s = self._own[where]
        return Claim(*where, waiting=int(waiting), waiting_s=waiting_s, leased=int(leased), leased_s=leased_s)


class Scheduler(Protocol):
    """What is needed of the cluster."""

    async def standing(self, worker: str, claims: list[Claim]) -> Standing:
        """Tell and hear. Raises StoreUnavailable, also where the scheduler is of a version that cannot."""
        ...


async def keep(crowd: Crowd, scheduler: Scheduler, worker: str, *, every_s: float = EVERY_S) -> None:
    """Tell the scheduler what is ours and hear what others have, until cancelled."""
    while True:
        told = crowd.claims()
        try:
            crowd.heard(await scheduler.standing(worker, told), told)
        except StoreUnavailable as error:
            log.info("the scheduler does not say who waits: %s", error.kind)
        await asyncio.sleep(every_s)


def opaque(tenant: str) -> str:
    """A tenant as Ray knows them."""
    return digest("lane", tenant).hex()[:TENANT_DIGITS]
