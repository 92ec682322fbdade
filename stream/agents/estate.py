"""An estate: one partition as its owner holds it. State and tools, no decisions; those are in the modules beside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from stream.agents.api_operator import Original
from stream.agents.book import Book, Job
from stream.agents.certify import Certifier
from stream.agents.codes import Codes
from stream.agents.crowd import Crowd
from stream.agents.drops import Drops
from stream.agents.passage import Passage
from stream.agents.watch import Watch
from stream.audit.log import Entry, Log
from stream.clock import Clock
from stream.errors import MayflyError
from stream.ids import Mint
from stream.ledger import Change, Commit, Ledger, LedgerLost
from stream.metrics.tally import Tallies
from stream.policies import compiler
from stream.policies.announcements import Announcement
from stream.policies.calendar import Holidays
from stream.policies.model import Policy
from stream.policies.verdict import Available
from stream.vault.custody import S3Custody
from stream.vault.pages import KeyPages

if TYPE_CHECKING:
    from stream.agents.closing import Closer
    from stream.agents.dispatch import Dispatcher
    from stream.agents.grants import Grants
    from stream.agents.sweeper import Sweeper

log = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True, kw_only=True)
class Rules:
    """The platform's own numbers (settings), as the owner of a partition needs them. Seconds and bytes."""

    lead_s: float = 60.0
    returned_max_s: float = 600.0
    content_free_s: float = 86_400.0
    await_inputs_s: float = 3_600.0
    parked_retention_s: float = 604_800.0
    lease_url_s: float = 900.0
    retry_after_s: tuple[float, ...] = (1.0, 10.0, 60.0)
    grant_ttl_s: float = 10.0
    revoke_wait_s: float = 0.5
    max_image_bytes: int = 20 << 20
    max_video_bytes: int = 200 << 20
    max_pixels: int = 50_000_000
    max_duration_s: float = 60.0
    max_jobs_per_subject: int = 1000
    max_items_per_job: int = 32
    region: str = ""  # where this deployment is; empty: it does not say


@dataclass(slots=True, frozen=True, kw_only=True)
class Tools:
    """What all estates of a worker share."""

    clock: Clock
    mint: Mint
    policies: Mapping[str, Policy]
    available: Available
    custody: S3Custody
    rules: Rules
    real_time: Callable[[], float]  # for URLs and grants, which no demo clock moves
    end: Callable[[], None]  # of this process: a supervisor starts another
    calendar: Holidays = field(default_factory=Holidays)  # by which working days are shown
    post: Callable[[str, str, str, str], Awaitable[None]] | None = None  # codes to addresses (accounts.Post)
    announced: Callable[[], Iterable[Announcement]] = tuple  # what takes effect when, as the register has it now
    approvers: Callable[[], Mapping[str, bytes]] = dict  # of legal holds, as registered now: name → public key
    tallies: Tallies = field(default_factory=Tallies)
    crowd: Crowd = field(default_factory=Crowd)
    original: Callable[[int, str], Awaitable[Original | None]] | None = None  # of a parked event, by partition and name
    profiles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # operation → ever smaller ones (attempts)


class Estate:
    """One partition, open."""

    def __init__(self, ledger: Ledger, pages: KeyPages, audit: Log, tools: Tools) -> None:
        self.partition = ledger.partition
        self.ledger, self.pages, self.audit = ledger, pages, audit
        self.tools, self.rules = tools, tools.rules
        self.clock, self.mint, self.custody = tools.clock, tools.mint, tools.custody
        self.book = Book(ledger, pages, await_inputs_s=self.rules.await_inputs_s)
        self.opened_at = tools.real_time()
        self.codes = Codes()
        self.watch = Watch(base=int(self.opened_at) << 20)  # so that a sequence grows across owners too
        self.certifier = Certifier(self)
        self.drops = Drops(self)
        self.passage = Passage(tools.crowd.pool)
        self.grants: Grants
        self.closer: Closer
        self.dispatcher: Dispatcher
        self.sweeper: Sweeper
        self._tasks: set[asyncio.Task[Any]] = set()
        self.tally = tools.tallies.open(self.partition, self.now())
        self._closers: list[Callable[[], None]] = [
            lambda: self.tally.close(self.now()),
            lambda: self.tools.crowd.close(self.partition),
            self.book.close,
        ]

    def __repr__(self) -> str:
        return f"Estate(partition={self.partition})"

    def now(self) -> float:
        """The promise clock."""
        return self.clock.now()

    def policy(self, app: str) -> Policy:
        """The app's policy. Raises UnknownApp."""
        return compiler.find(self.tools.policies, app)

    def commit(self, change: Change) -> asyncio.Future[Commit]:
        """Apply a change; its `then` callbacks run once it is committed."""
        try:
            future = self.ledger.apply(change)
            for job in self.book.moved.values():
                self._seen(job)
        finally:
            self.book.discard()
        if change.then or change.leaves:
            future.add_done_callback(lambda done: self._follow(change, done))
        return future

    def count_jobs(self) -> None:
        """Right after the opening: what a former owner left unfinished is claimed by this one."""
        for job_id in self.book.active:
            if (job := self.book.job(job_id)) is not None:
                self._seen(job)

    def log(self, change: Change, make: Callable[[Log], Entry]) -> int:
        """The index that an entry of the audit log will have. It is made when the change is applied, not before.

        A decision that fails half-way thus leaves no gap in the log.
        """
        index = len(self.audit) + len(change.leaves)

        def made() -> bytes:
            entry = make(self.audit)
            change.then.append(lambda _: self.audit.settle(entry.index + 1))
            return msgspec.msgpack.encode(entry)

        change.leaves.append(made)
        return index

    def spawn(self, work: Coroutine[Any, Any, None], name: str, *, vital: bool = False) -> None:
        """Run beside the agents until done, or until the estate closes. What it raises is logged.

        `vital`: promises depend on it, so that without it this process must not go on.
        """
        task = asyncio.create_task(work, name=f"{name}-{self.partition}")
        self._tasks.add(task)
        task.add_done_callback(self._vital_ended if vital else self._ended)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Called when the estate closes."""
        self._closers.append(callback)

    async def close(self) -> None:
        """Stop all work on this partition, wipe its keys."""
        for callback in self._closers:
            callback()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.ledger.close()

    def _seen(self, job: Job) -> None:
        """Count it. Its change is applied: whatever goes wrong here must not look like a decision that failed."""
        try:
            self.tools.crowd.put(self.partition, job)
            self.passage.put(job, early_s=job.head.not_before - self.now())
        except Exception:
            log.exception("estate %d: a job was not counted", self.partition)

    def _follow(self, change: Change, done: asyncio.Future[Commit]) -> None:
        if done.cancelled() or done.exception() is not None or self.ledger.lost is not None:
            return  # lost in the very turn of the loop that its commit ended: the next owner takes it up from the rows
        for callback in change.then:
            callback(done.result())

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            kind = error.kind if isinstance(error, MayflyError) else type(error).__name__
            log.error("%s ended with %s: a new owner will take it up", task.get_name(), kind, exc_info=error)

    def _vital_ended(self, task: asyncio.Task[Any]) -> None:
        self._ended(task)
        if task.cancelled() or (error := task.exception()) is None or isinstance(error, LedgerLost):
            return
        self.tools.end()
