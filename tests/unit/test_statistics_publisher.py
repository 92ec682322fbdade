"""Counting and publishing, decision by decision, without a stack: nothing twice, and nothing without an account."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from stream.agents import api, jobs, restore
from stream.agents.publishing import BUDGET_KEY, PATIENCE_S, Publisher
from stream.events.bus import Outcome, OutputFacts
from stream.events.rows import Budget, JobState, Offsets, rows
from stream.ledger import Change, LedgerLost
from stream.metrics import cells
from stream.metrics.anonymity import BUDGET, EPSILON, OWNERS_A_DAY, THRESHOLD
from stream.metrics.budget import MAX_HOURS
from stream.metrics.cells import HOUR_S, HOURS_A_DAY, hour_of
from stream.metrics.tally import Ask, Counted, Share, Tally
from tests.unit.desk import APP, TENANT, Desk

MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)
BROKEN = Outcome("failed", kind="permanent", reason="no-face", wiped=True)
MIDNIGHT = (hour_of(time.time()) // HOURS_A_DAY + 3) * HOURS_A_DAY  # a desk opens today
MANY = THRESHOLD + 1000


class Office:
    """A desk with a publisher, whose workers answer what the test says, and whose noise is plus one."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.draws = desk, 0
        self.shares: list[Share] = []
        self.asked: list[Ask] = []
        self.release: Callable[[list[int]], list[int]] = lambda counts: [count + 1 for count in counts]

    def at(self, hour: float) -> None:
        self.desk.clock.moment = (MIDNIGHT + hour) * HOUR_S

    def hears(self, *users: int, hour: int = 0, partition: int = 0, operation: str = "noop", **more: Any) -> None:
        """A share of all hours that are over, with users in one of them."""
        until = hour_of(self.desk.clock.now())
        counts = tuple(Counted(APP, operation, "succeeded", MIDNIGHT + hour, each) for each in users)
        known = {"tenure": "t", "hours": tuple(range(MIDNIGHT - 1, until))} | more
        self.shares.append(Share(partition, until=until, counts=counts, **known))

    async def collect(self, ask: Ask) -> list[Share]:
        self.asked.append(ask)
        return self.shares

    def make(self) -> Callable[[list[int]], list[int]]:
        self.draws += 1
        return self.release

    async def work(self, *, patience_s: float = 0) -> None:
        """A publisher begins, as after a takeover, and goes on until it has nothing to do."""
        publisher = Publisher(self.desk.estate, self.collect, make=self.make, patience_s=patience_s)
        turning = asyncio.create_task(self._turns(publisher))
        while not turning.done():
            await asyncio.sleep(0)
            await self.desk.commit()
        turning.result()

    async def _turns(self, publisher: Publisher) -> None:
        while not await publisher.turn():
            pass

    @property
    def told(self) -> list[tuple[str, int]]:
        return [(cell.hour, cell.count) for cell in map(cells.decode, self.desk.published)]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


@pytest_asyncio.fixture
async def office(desk: Desk) -> Office:
    """Its account was opened on the day before."""
    office = Office(desk)
    office.at(-3)
    await office.work()
    office.at(1)
    return office


def counter(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"mayfly_statistics_{name}", labels) or 0.0


def account(desk: Desk) -> Budget:
    header, _ = rows.decode(desk.ledger.get(BUDGET_KEY))
    assert isinstance(header, Budget)
    return header


class TestCounting:
    @pytest_asyncio.fixture
    async def counted(self, desk: Desk) -> Callable[[], dict[str, int]]:
        def found() -> dict[str, int]:
            hour = hour_of(desk.clock.now())
            share = desk.estate.tally.share(Ask(0, hour + 1), (hour + 1) * HOUR_S)
            return {one.outcome: one.users for one in share.counts if (one.app, one.operation) == (APP, "noop")}

        return found

    async def test_each_end_is_counted_once_and_only_once_committed(self, desk: Desk, counted: Any) -> None:
        for choice in ("save", "discard"):  # the second ends in two commits
            job, _ = await desk.leased(await desk.uploaded(subject=choice, choice=choice))
            await desk.outcome(job, MADE)
            change = Change()
            if desk.job(job.id).head.state is JobState.ENDING:
                jobs.settle(desk.estate, change, desk.job(job.id))
            before = counted().get("succeeded", 0)
            desk.estate.commit(change)
            assert counted().get("succeeded", 0) == before
            await desk.commit()
        assert counted() == {"succeeded": 2}
        await desk.do(lambda estate, change: jobs.resettle(estate, change, [job.id]))
        assert counted() == {"succeeded": 2}

    async def test_what_ended_in_vain_counts_as_what_it_was(self, desk: Desk, counted: Any) -> None:
        job, _ = await desk.leased(await desk.uploaded())
        await desk.outcome(job, BROKEN)
        if desk.job(job.id).head.state is JobState.ENDING:
            await desk.do(jobs.settle, desk.job(job.id))
        assert counted() == {"failed": 1}

    async def test_who_is_erased_is_not_counted_any_more(self, desk: Desk, counted: Any) -> None:
        job = await desk.uploaded()
        await desk.ask(api.DeleteSubject(tenant=TENANT, app=APP, subject="alice"))
        await desk.do(jobs.settle, desk.job(job.id))
        assert desk.job(job.id).head.state is JobState.CANCELLED
        assert counted() == {}

    async def test_an_app_that_promises_no_statistics_is_not_counted(self, desk: Desk, counted: Any) -> None:
        policy = desk.estate.policy(APP)
        silent = tuple(one for one in policy.promises if one.data_class != "usage_statistic")
        desk.estate.tools.policies[APP] = msgspec.structs.replace(policy, promises=silent)  # type: ignore[index]
        job, _ = await desk.leased(await desk.uploaded())
        await desk.outcome(job, MADE)
        assert desk.job(job.id).head.state is JobState.SUCCEEDED
        assert counted() == {}

    async def test_no_row_and_no_event_is_written_for_a_count(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded())
        await desk.outcome(job, MADE)
        keys = {key for key, _ in desk.ledger.items()}
        assert {key[:4] for key in keys} == {b"job_", b"ast_", b"sub_"}
        assert desk.published == []


class TestPublishing:
    async def test_an_hour_is_published_when_it_is_over_and_only_cells_that_are_large(self, office: Office) -> None:
        suppressed = counter("suppressed_total", app=APP)
        office.hears(MANY)
        office.hears(THRESHOLD - 2, partition=1)
        office.hears(MANY, partition=2, operation="of nobody")
        office.at(0.99)
        await office.work()
        assert office.told == []
        office.at(1)
        await office.work()
        assert office.told == [(cells.moment(MIDNIGHT), MANY + THRESHOLD - 2 + 1)]
        (cell,) = map(cells.decode, office.desk.published)
        assert (cell.app, cell.operation, cell.outcome, cell.partitions, cell.of) == (APP, "noop", "succeeded", 3, 1)
        assert counter("suppressed_total", app=APP) == suppressed + 3  # the other outcomes of the only operation
        assert counter("budget_left", app=APP) == BUDGET - EPSILON

    async def test_a_small_cell_is_not_published(self, office: Office) -> None:
        office.hears(THRESHOLD - 2)
        await office.work()
        assert (office.told, office.draws) == ([], 1)

    async def test_what_was_published_is_never_drawn_again(self, office: Office) -> None:
        office.hears(MANY)
        await office.work()
        first = list(office.desk.published)
        await office.work()
        await office.work()
        assert (office.desk.published, office.draws) == (first, 1)

    async def test_who_dies_between_charge_and_publication_leaves_the_hour_unpublished(self, office: Office) -> None:
        office.hears(MANY)

        def die(_counts: list[int]) -> list[int]:
            raise OSError

        office.release, release = die, office.release
        with pytest.raises(OSError):  # noqa: PT011 - ours
            await office.work()
        office.release = release
        await office.work()
        assert (office.told, office.draws) == ([], 1)
        assert account(office.desk).next_hour == MIDNIGHT + 1

    async def test_a_lost_ledger_publishes_nothing(self, office: Office) -> None:
        office.hears(MANY)
        office.desk.ledger._lose(LedgerLost("fenced"), tell=False)
        publisher = Publisher(office.desk.estate, office.collect, make=office.make, patience_s=0)
        with pytest.raises(LedgerLost):
            await publisher.turn()
        assert (office.told, office.draws) == ([], 0)

    @pytest.mark.parametrize("value", [None, b"", b"\x01\xff", rows.encode(Offsets({}))])
    async def test_without_an_account_nothing_is_published_until_the_next_day(
        self, office: Office, value: bytes | None
    ) -> None:
        unknown = counter("budget_unknown_total")
        office.desk.estate.commit(Change(rows={BUDGET_KEY: value}))
        office.hears(MANY)
        for hour in (1, 5, 23, 24):
            office.at(hour)
            await office.work()
        assert (office.told, office.draws) == ([], 0)
        assert counter("budget_unknown_total") == unknown + 1
        office.at(25)
        office.hears(MANY, hour=24, tenure="next")
        await office.work()
        assert [hour for hour, _ in office.told] == [cells.moment(MIDNIGHT + 24)]

    async def test_an_account_is_never_restored_from_a_backup(self, office: Office) -> None:
        """It would not know what was spent after it."""
        desk = office.desk
        present = restore.Now(
            page_of={}, announced=frozenset(), objects=frozenset(), at=desk.clock.now(), content_free_s=600
        )
        backup = {BUDGET_KEY: desk.ledger.get(BUDGET_KEY) or b""}
        assert restore.plan(backup, desk.pages, desk.estate.audit, present).rows == {}

    async def test_a_share_that_comes_twice_counts_once_and_a_fourth_owner_not_at_all(self, office: Office) -> None:
        refused = counter("refused_total")
        for hour in range(OWNERS_A_DAY + 1):
            office.at(hour + 1)
            for _ in range(2):
                office.hears(MANY, hour=hour, tenure=str(hour), hours=(MIDNIGHT + hour,))
            await office.work()
        assert office.told == [(cells.moment(MIDNIGHT + hour), MANY + 1) for hour in range(OWNERS_A_DAY)]
        assert counter("refused_total") == refused + 1

    async def test_of_two_owners_within_an_hour_the_present_one_is_heard(self, office: Office) -> None:
        office.hears(MANY, tenure="z", open=False)
        office.hears(MANY + 5, tenure="a")
        await office.work()
        assert office.told == [(cells.moment(MIDNIGHT), MANY + 5 + 1)]
        assert account(office.desk).owners == {0: ("a",)}

    async def test_a_late_count_is_lost_and_not_counted_elsewhere(self, office: Office) -> None:
        await office.work()
        office.at(2)
        office.hears(MANY, hour=0)
        await office.work()
        assert office.told == []

    async def test_hours_that_nobody_was_there_for_are_caught_up_with_but_not_for_ever(self, office: Office) -> None:
        office.at(100)
        for hour in (100 - MAX_HOURS - 1, 100 - MAX_HOURS, 99):
            office.hears(MANY, hour=hour, partition=hour)
        await office.work()
        assert [hour for hour, _ in office.told] == [cells.moment(MIDNIGHT + hour) for hour in (52, 99)]
        assert account(office.desk).next_hour == MIDNIGHT + 100

    async def test_who_does_not_answer_is_waited_for_and_then_done_without(self, office: Office) -> None:
        office.hears(MANY, open=False)  # a former owner; of the present one nothing is heard
        await office.work(patience_s=0.01)
        assert len(office.asked) == 2
        assert set(office.asked) == {Ask(MIDNIGHT, MIDNIGHT + 1)}
        assert [count for _, count in office.told] == [MANY + 1]
        assert PATIENCE_S > 10  # a takeover's

    async def test_jobs_of_many_users_from_end_to_end(self, office: Office) -> None:
        """With the real tally and the real noise."""
        desk, estate = office.desk, office.desk.estate
        office.at(5)
        await office.work()
        for n in range(THRESHOLD + 60):  # the noise takes that many away once in 10^7
            estate.tally.count(cells.Kind(APP, "noop", "succeeded"), (TENANT, APP, f"user-{n}"), desk.clock.now())
        office.at(6)

        async def collect(ask: Ask) -> list[Share]:
            return estate.tools.tallies.shares(ask, desk.clock.now())

        publisher = Publisher(estate, collect)
        turning = asyncio.create_task(publisher.turn())
        while not turning.done():
            await asyncio.sleep(0)
            await desk.commit()
        assert turning.result() is False
        ((hour, count),) = office.told
        assert hour == cells.moment(MIDNIGHT + 5)
        assert abs(count - (THRESHOLD + 60)) < 60


def test_a_tally_shows_nobody() -> None:
    tally = Tally(3, 0.0)
    tally.count(cells.Kind(APP, "noop", "failed"), (TENANT, "alice"), 0.0)
    assert repr(tally) == "Tally(partition=3)"
