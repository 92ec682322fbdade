"""An estate without Kafka, Ray or S3: decisions are made for real, and committed when the test says so."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec

from ray_cluster.engines import registry
from stream import topics
from stream.agents import api, jobs, owner
from stream.agents.book import Asset, Job
from stream.agents.estate import Estate, Rules, Tools
from stream.agents.grants import Grants
from stream.audit.log import Log
from stream.audit.signer import open_signer
from stream.events.bus import Event, Outcome, OutputFacts, bus
from stream.events.lease import Place
from stream.events.rows import AssetState
from stream.ids import Kind, Mint
from stream.ledger import Change, Commit, Ledger
from stream.policies import compiler
from stream.vault.pages import KeyPages
from stream.vault.rootstore_file import FileRootStore

POLICIES = Path(__file__).parent.parent / "policies"
APP, TENANT = "testapp", "tenant"
FACTS = OutputFacts("input", 5, "image/jpeg", 2, 2)


class FixedClock:
    """Shows what the test set."""

    def __init__(self) -> None:
        self.moment = float(int(time.time()))

    def now(self) -> float:
        return self.moment

    def observe(self, append_time: float) -> None:
        """Nothing: no broker is here."""


class Heard:
    """Stands where an estate tells the dispatcher, closer, sweeper or certifier what is committed."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.behind = False  # as a certifier
        self.places: dict[str, Place] = {}

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.calls.append((name, *args))

    def told(self, name: str) -> list[tuple[Any, ...]]:
        return [args for said, *args in self.calls if said == name]


class Desk:
    """One estate and what it was told. `await commit()` lets all that was applied so far come true."""

    def __init__(self, folder: Path, **rules: Any) -> None:
        self.clock, self.pages = FixedClock(), KeyPages(0, FileRootStore(folder / "roots"))
        self.ledger = Ledger(0, self.pages, bootstrap="")
        self.dispatcher, self.closer, self.sweeper, self.certifier = Heard(), Heard(), Heard(), Heard()
        self.events: list[Event] = []
        self.published: list[bytes] = []
        self.away = False  # the root store is: rows are committed, and keys wait for `come_back`
        self._folder, self._rules = folder, rules

    async def open(self) -> Desk:
        await self.pages.open({})
        tools = Tools(
            clock=self.clock,
            mint=Mint(bytes(32), 1),
            policies=compiler.load_all(str(POLICIES)),
            available={name: row.params for name, row in registry.OPERATIONS.items() if name != "detect"},
            profiles={name: row.profiles for name, row in registry.OPERATIONS.items()},
            custody=None,  # type: ignore[arg-type]
            rules=Rules(**self._rules),
            real_time=self.clock.now,
            end=lambda: None,
        )
        self.estate = Estate(self.ledger, self.pages, Log(0, open_signer(self._folder / "signing")), tools)
        self.estate.dispatcher = self.dispatcher  # type: ignore[assignment]
        self.estate.closer = self.closer  # type: ignore[assignment]
        self.estate.sweeper = self.sweeper  # type: ignore[assignment]
        self.estate.certifier = self.certifier  # type: ignore[assignment]
        self.estate.grants = Grants(self._acknowledge, ttl_s=10, wait_s=0.1, real_time=self.clock.now)
        self.book = self.estate.book
        await self.book.open_rest()
        return self

    async def _acknowledge(self, _url: str, _grant: str) -> bool:
        return True

    async def commit(self) -> None:
        """As the ledger's writer does it, without a broker."""
        while self.ledger._queue:
            queue, self.ledger._queue = self.ledger._queue, []
            written = self.ledger._written
            for change, future in queue:
                self.events += [bus.decode(event.value)[0] for event in change.events if event.topic in topics.EVENTS]
                self.published += [event.value for event in change.events if event.topic == topics.STATISTICS]
                if self.away and change.erases:
                    self.ledger.erasures.add(change, future)
                    continue
                self._forget(change)
                future.set_result(Commit(self.clock.now()))
            if written is not None and not written.done():
                written.set_result(Commit(self.clock.now()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def come_back(self) -> None:
        """The root store answers: what waited is erased, and told."""
        self.away = False
        taken = self.ledger.erasures.take()
        for each in taken:
            self._forget(each.change)
            each.commit = Commit(self.clock.now())
        self.ledger.erasures.dead(taken)

    def _forget(self, change: Change) -> None:
        for page, entry in change.erase:
            self.pages.erase(page, entry)
        for group, bucket in change.drop:
            self.pages.drop(group, bucket)

    async def ask(self, request: msgspec.Struct) -> Any:
        """What the owner answers."""
        asking = asyncio.create_task(owner.VERBS[_verb(request)](self.estate, request))
        while not asking.done():
            await asyncio.sleep(0)
            await self.commit()
        return asking.result()

    async def submit(self, **changes: Any) -> Job:
        fields: dict[str, Any] = {
            "app": APP,
            "subject": "alice",
            "operation": "noop",
            "params": b"{}",
            "choice": "save",
            "inputs": (api.InputSlot(),),
        }
        view = await self.ask(api.Submit(tenant=TENANT, **fields | changes))
        return self.job(view.id)

    def job(self, job_id: str) -> Job:
        job = self.book.job(job_id)
        assert job is not None
        return job

    def asset(self, asset_id: str) -> Asset:
        asset = self.book.asset(asset_id)
        assert asset is not None
        return asset

    async def decide(self, decision: Any, event: Event, sealed: bytes = b"") -> Change | None:
        """An agent's decision, committed."""
        change: Change | None = decision(self.estate, event, sealed)
        if change is not None:
            self.estate.commit(change)
        await self.commit()
        return change

    async def do(self, fill: Any, *args: Any, **more: Any) -> Any:
        """A change that `fill(estate, change, …)` makes, committed."""
        change = Change()
        made = fill(self.estate, change, *args, **more)
        self.estate.commit(change)
        await self.commit()
        return made

    async def uploaded(self, **changes: Any) -> Job:
        """A job whose inputs are all there, and whose agents have been heard up to the scheduler."""
        job = await self.submit(**changes)
        assert job.body is not None
        for asset_id in job.body.inputs:
            if (asset := self.asset(asset_id)).head.state is AssetState.PENDING:
                await self.do(jobs.received, job, asset, FACTS)
        await self.heard()
        return self.job(job.id)

    async def heard(self) -> None:
        """Every event so far, handled by its agent."""
        from services.worker import AGENTS  # the one place that says which decision an event meets

        decisions = {kind: decide for topic in AGENTS.values() for kind, decide in topic.items()}
        while self.events:
            event = self.events.pop(0)
            await self.decide(decisions[type(event)], event)

    async def leased(self, job: Job, actor: str = "engine-noop-1") -> tuple[Job, list[Asset]]:
        named = Job(job.id, msgspec.structs.replace(job.head, actor=actor), job.body)
        made = await self.do(jobs.outputs, named, job.head.fence + 1)
        return self.job(job.id), made

    async def outcome(self, job: Job, outcome: Outcome, *, fence: int = 0) -> Change | None:
        """The engine's outcome, over the bus."""
        change = jobs.completed(self.estate, job, fence or job.head.fence, outcome)
        (sent,) = change.events
        event, sealed = bus.decode(sent.value)
        return await self.decide(jobs.attempt_completed, event, sealed)

    def id(self, kind: Kind = Kind.JOB) -> str:
        return self.estate.mint.mint(kind, TENANT, 0)


def _verb(request: msgspec.Struct) -> str:
    return next(verb for verb, (kind, _) in api.VERBS.items() if isinstance(request, kind))
