"""What one worker knows of everybody's unfinished jobs, and what its owners answer by it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import pytest_asyncio

from ray_cluster.standing import SILENT_S, Standings
from stream.agents import api, crowd
from stream.agents.admission import Limits, QueueFull, TooManyJobs
from stream.agents.book import Job
from stream.agents.crowd import STALE_S, Crowd, keep, opaque
from stream.errors import StoreUnavailable
from stream.events.bus import Outcome, OutputFacts
from stream.events.lease import Claim, Place, Standing
from stream.events.rows import JobState, Lane
from stream.ledger import Change
from stream.metrics import admission as metrics
from tests.unit.desk import APP, TENANT, Desk

MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)
BROKEN = Outcome("failed", kind="permanent", reason="engine-fault", wiped=True)


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest_asyncio.fixture
async def desk(tmp_path: Path, clock: Time) -> Desk:
    desk = await Desk(tmp_path).open()
    known = Crowd(Limits(dict.fromkeys(Lane, 10.0), 100), monotonic=clock)
    known.predict = lambda operation: (operation, 2.0)
    object.__setattr__(desk.estate.tools, "crowd", known)
    return desk


def of(desk: Desk) -> Crowd:
    return desk.estate.tools.crowd


class TestWithoutARow:
    """Pictures of RAM-only apps: sums, for as long as they are worked on."""

    NO_LIMIT: ClassVar[dict[str, Any]] = {"max_jobs": 0, "max_work_s": 0.0}

    def test_it_is_claimed_as_a_job_is_and_leaves_nothing(self, clock: Time) -> None:
        known = Crowd(monotonic=clock)
        known.predict = lambda operation: (operation, 2.0)
        where = ("noop", Lane.INTERACTIVE, opaque(TENANT))
        with suppress(ZeroDivisionError), known.holding(TENANT, "noop", Lane.INTERACTIVE, **self.NO_LIMIT) as took:
            assert known.claims() == [Claim(*where, 1, 2.0)]
            took()
            took()  # as when its actor refused, and another takes it
            assert known.claims() == [Claim(*where, leased=1, leased_s=2.0)]
            raise ZeroDivisionError
        assert known.claims() == []
        assert known._jobs == {}

    def test_a_flood_of_it_closes_the_lane_to_who_sent_it_and_no_metric_moves(self, clock: Time) -> None:
        known = Crowd(Limits(dict.fromkeys(Lane, 10.0), 100), monotonic=clock)
        known.predict = lambda operation: (operation, 2.0)

        def counted() -> list[float]:
            return [
                metrics.ADMITTED.labels(Lane.INTERACTIVE)._value.get(),
                metrics.REFUSED.labels(QueueFull.kind, Lane.INTERACTIVE)._value.get(),
            ]

        before = counted()
        with ExitStack() as held:
            for _ in range(5):
                held.enter_context(known.holding("flood", "noop", Lane.INTERACTIVE, **self.NO_LIMIT))
            with pytest.raises(QueueFull) as full:
                known.look("flood", "noop", Lane.INTERACTIVE, **self.NO_LIMIT)
            assert full.value.retry_after_s == 2.0
            assert known.look("another", "noop", Lane.INTERACTIVE, **self.NO_LIMIT)
            assert counted() == before
        assert known.look("flood", "noop", Lane.INTERACTIVE, **self.NO_LIMIT)


class TestOurs:
    async def test_a_job_is_claimed_from_its_submission_to_its_end(self, desk: Desk) -> None:
        job = await desk.submit()
        mine = Claim("noop", Lane.INTERACTIVE, opaque(TENANT), 1, 2.0)
        assert of(desk).claims() == [mine]
        job = await desk.uploaded(lane=Lane.BATCH)
        leased, _ = await desk.leased(job)
        assert of(desk).claims() == [mine, Claim("noop", Lane.BATCH, opaque(TENANT), leased=1, leased_s=2.0)]
        await desk.outcome(leased, MADE)
        assert of(desk).claims() == [mine]

    async def test_a_decision_that_failed_claims_nothing(self, desk: Desk) -> None:
        await desk.submit()
        job = await desk.submit()
        leased = msgspec.structs.replace(job.head, state=JobState.LEASED)
        desk.book.put_job(Change(), Job(job.id, leased, job.body))
        desk.book.discard()
        assert [(claim.waiting, claim.leased) for claim in of(desk).claims()] == [(2, 0)]

    async def test_what_cannot_be_counted_is_committed_all_the_same(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise ValueError

        monkeypatch.setattr(desk.estate.passage, "put", broken)
        job = await desk.uploaded()
        assert job.head.state is JobState.QUEUED
        assert "was not counted" in caplog.text

    async def test_a_new_owner_claims_what_is_unfinished(self, desk: Desk) -> None:
        await desk.uploaded()
        leased, _ = await desk.leased(await desk.uploaded())
        broken, _ = await desk.leased(await desk.uploaded())
        await desk.outcome(broken, BROKEN)
        before = of(desk).claims()
        of(desk).close(1)
        assert of(desk).claims() == before
        of(desk).close(desk.estate.partition)
        assert of(desk).claims() == []
        desk.estate.count_jobs()
        assert of(desk).claims() == before
        assert desk.job(leased.id).head.state is JobState.LEASED

    async def test_an_operation_without_an_engine_here_still_counts(self, desk: Desk) -> None:
        def unknown(_: str) -> tuple[str, float]:
            raise StoreUnavailable

        of(desk).predict = unknown
        await desk.submit()
        assert [(claim.pool, claim.waiting_s) for claim in of(desk).claims()] == [("", 1.0)]


class TestOwner:
    async def test_a_tenant_at_its_limit_is_told_when_to_come_again(self, desk: Desk) -> None:
        refused = metrics.REFUSED.labels(TooManyJobs.kind, Lane.INTERACTIVE)
        before = refused._value.get()
        job = await desk.submit(max_jobs=1, idempotency_key="k")
        with pytest.raises(TooManyJobs):
            await desk.submit(max_jobs=1)
        assert refused._value.get() == before + 1
        assert (await desk.submit(max_jobs=1, idempotency_key="k")).id == job.id  # what is there already is told
        await desk.ask(api.DeleteJob(TENANT, APP, job.id))
        await desk.submit(max_jobs=1)

    async def test_other_workers_jobs_count_as_long_as_they_are_heard_of(self, desk: Desk, clock: Time) -> None:
        told = of(desk).claims()
        theirs = Claim("noop", Lane.INTERACTIVE, opaque(TENANT), 5, 10.0)
        of(desk).heard(Standing((theirs,), {"noop": 1}), told)
        with pytest.raises(QueueFull):
            await desk.submit()
        await desk.submit(lane=Lane.BATCH)
        clock.now = STALE_S + 1  # the scheduler, or that worker, is no more
        await desk.submit()

    async def test_ours_are_not_counted_twice(self, desk: Desk) -> None:
        await desk.submit()
        told = of(desk).claims()
        await desk.submit()
        of(desk).heard(Standing(tuple(told), {"noop": 1}), told)
        assert [(claim.waiting, claim.waiting_s) for claim in of(desk).standing().claims] == [(2, 4.0)]

    async def test_the_answer_to_a_submission_says_where_it_would_wait(self, desk: Desk) -> None:
        first = await desk.submit(subject="bob")
        assert (await desk.ask(api.GetJob(TENANT, APP, first.id))).queue_position is None  # nobody was heard yet
        of(desk).heard(Standing(tuple(of(desk).claims()), {"noop": 1}), of(desk).claims())
        view = await desk.ask(
            api.Submit(TENANT, APP, "alice", "noop", b"{}", "save", (api.InputSlot(),), lane=Lane.INTERACTIVE)
        )
        assert (view.queue_position, view.eta_s) == (1, 2.0)
        shown = await desk.ask(api.GetJob(TENANT, APP, first.id))
        assert (shown.queue_position, shown.eta_s) == (1, 2.0)  # it is not before itself
        queued = await desk.uploaded(subject="eve", lane=Lane.BATCH)
        desk.dispatcher.places[queued.id] = Place(7, 70.0)
        assert (await desk.ask(api.GetJob(TENANT, APP, queued.id))).queue_position == 7  # the scheduler's own word
        leased, _ = await desk.leased(queued)
        assert (await desk.ask(api.GetJob(TENANT, APP, leased.id))).queue_position is None


class TestStandings:
    def test_each_workers_last_word_counts(self) -> None:
        one, two = Claim("p", "batch", "t", 1, 2.0), Claim("p", "batch", "t", 3, 6.0, 1, 2.0)
        standings = Standings()
        standings.tell("a", [Claim("p", "batch", "t", 99, 99.0)], 0.0)
        standings.tell("a", [one], 1.0)
        standings.tell("b", [two, Claim("p", "batch", "u", 1, 1.0)], 1.0)
        assert standings.merged() == [Claim("p", "batch", "t", 4, 8.0, 1, 2.0), Claim("p", "batch", "u", 1, 1.0)]

    def test_a_silent_worker_is_forgotten(self) -> None:
        standings = Standings()
        standings.tell("gone", [Claim("p", "batch", "t", 1, 2.0)], 0.0)
        standings.tell("a", [], SILENT_S)
        assert len(standings.merged()) == 1
        standings.tell("a", [], SILENT_S + 0.1)
        assert standings.merged() == []


class Flaky:
    """Away at first."""

    def __init__(self) -> None:
        self.calls = 0
        self.answered = asyncio.Event()

    async def standing(self, _worker: str, claims: list[Claim]) -> Standing:
        self.calls += 1
        if self.calls < 3:
            raise StoreUnavailable("expected a scheduler")
        self.answered.set()
        return Standing((*claims, Claim("p", "batch", "theirs", 1, 1.0)), {"p": 2})


async def test_a_scheduler_that_is_away_is_asked_again() -> None:
    known, scheduler = Crowd(), Flaky()
    keeping = asyncio.create_task(keep(known, scheduler, "w", every_s=0.0))
    await scheduler.answered.wait()
    await asyncio.sleep(0)
    keeping.cancel()
    assert [claim.tenant for claim in known.standing().claims] == ["theirs"]
    assert crowd.opaque("a") != crowd.opaque("b")
