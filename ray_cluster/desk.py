"""Where proposals wait for their workers. Work of a worker that stopped asking sleeps, so that it holds no actor."""

from __future__ import annotations

from ray_cluster.bell import Bell
from ray_cluster.leases import Proposal, Work

FORGET_S = 600.0
"""A worker that has not asked for so long is dead: its partitions, and so its work, went to another."""


class Desk:
    """Mailboxes of the workers; `now` is passed in."""

    def __init__(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._boxes: dict[str, _Box] = {}

    def bell(self, worker: str) -> Bell:
        """Rings when a proposal for `worker` comes."""
        return self._box(worker).bell

    def seen(self, worker: str, until: float) -> list[Work]:
        """`worker` has submitted, or listens `until` then; its work that slept."""
        box = self._box(worker)
        box.seen_at = max(box.seen_at, until)
        woken, box.asleep = box.asleep, []
        return woken

    def silent(self, now: float) -> list[str]:
        """Workers that have not asked for a while and may have queued work; the long silent are forgotten."""
        for worker in [w for w, box in self._boxes.items() if now - box.seen_at > FORGET_S]:
            del self._boxes[worker]
        return [worker for worker, box in self._boxes.items() if now - box.seen_at > self._silent_s]

    def sleep(self, worker: str, works: list[Work]) -> None:
        """Keep `works` until `worker` asks again."""
        self._box(worker).asleep += works

    def asleep(self, pool: str) -> list[Work]:
        """What sleeps of a pool."""
        return [work for box in self._boxes.values() for work in box.asleep if work.pool == pool]

    def withdraw(self, job: str) -> None:
        """Forget a job that sleeps."""
        for box in self._boxes.values():
            box.asleep = [work for work in box.asleep if work.job != job]

    def put(self, worker: str, proposal: Proposal) -> None:
        """A proposal for `worker`."""
        box = self._box(worker)
        box.proposals.append(proposal)
        box.bell.ring()

    def take(self, worker: str) -> list[Proposal]:
        """All proposals that wait for `worker`."""
        box = self._box(worker)
        taken, box.proposals = box.proposals, []
        return taken

    def take_back(self, actor: str, offer: int | None = None) -> set[int]:
        """Proposals of `actor`, of one offer or of all, that nobody has fetched yet: never fetch them. Their offers."""
        taken = set()
        for box in self._boxes.values():
            mine = [p for p in box.proposals if p.actor == actor and offer in (None, p.offer)]
            box.proposals = [p for p in box.proposals if p not in mine]
            taken |= {p.offer for p in mine}
        return taken

    def _box(self, worker: str) -> _Box:
        return self._boxes.setdefault(worker, _Box())


class _Box:
    def __init__(self) -> None:
        self.bell = Bell()
        self.proposals: list[Proposal] = []
        self.asleep: list[Work] = []
        self.seen_at = 0.0
