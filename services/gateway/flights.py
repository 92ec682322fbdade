"""Uploads, downloads and event streams under way: bounded per tenant, and ended in time when the process stops."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.gateway.errors import GatewayStopping, TooManyRequests, TooManyTransfers
from services.gateway.tenants import Tenant


class Flights:
    """The tasks that move bytes now."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._transfers: Counter[str] = Counter()
        self._submits: Counter[str] = Counter()
        self.stopping = asyncio.Event()

    @contextmanager
    def transfer(self, tenant: Tenant) -> Iterator[None]:
        """One upload or download of this task. Raises TooManyTransfers, GatewayStopping."""
        if self._transfers[tenant.id] >= tenant.limits.transfers:
            raise TooManyTransfers(
                f"expected at most {tenant.limits.transfers} transfers at a time: wait for one to end"
            )
        task = self._begin()
        self._transfers[tenant.id] += 1
        try:
            yield
        finally:
            self._tasks.discard(task)
            self._transfers[tenant.id] -= 1
            if not self._transfers[tenant.id]:
                del self._transfers[tenant.id]

    @contextmanager
    def submit(self, tenant: Tenant) -> Iterator[None]:
        """One request for a job: no tenant's flood takes all owners' time. Raises TooManyRequests."""
        if self._submits[tenant.id] >= tenant.limits.submits:
            raise TooManyRequests(f"expected at most {tenant.limits.submits} requests for jobs at a time: slow down")
        self._submits[tenant.id] += 1
        try:
            yield
        finally:
            self._submits[tenant.id] -= 1
            if not self._submits[tenant.id]:
                del self._submits[tenant.id]

    @contextmanager
    def stream(self) -> Iterator[None]:
        """One event stream of this task, which watches `stopping` itself. Raises GatewayStopping."""
        task = self._begin()
        try:
            yield
        finally:
            self._tasks.discard(task)

    async def land(self, grace_s: float) -> None:
        """Start nothing more; wait `grace_s` for what flies, then cancel it."""
        self.stopping.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=grace_s)

    def _begin(self) -> asyncio.Task[object]:
        if self.stopping.is_set():
            raise GatewayStopping("expected a gateway that stays, this one is stopping: try again")
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        return task
