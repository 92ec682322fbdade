"""Masses: a whole bucket dies at its moment, unless something of it is in somebody's hands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
import pytest_asyncio

from stream.agents import api, retention
from stream.agents.assets import Gone
from stream.agents.book import HIDDEN_AGAIN_S, Asset, Job
from stream.agents.certify import UNKNOWN_OFFSET, Certifier
from stream.agents.drops import PATIENCE_S, Drop
from stream.agents.estate import Estate
from stream.audit.log import Entry
from stream.audit.receipts import Cause, Receipt, milliseconds
from stream.events.bus import Outcome, OutputFacts
from stream.events.rows import AssetState
from stream.ledger import Change, Commit
from stream.policies.deadlines import bucket_of
from tests.unit.desk import APP, TENANT, Desk

T = TypeVar("T")
MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)
JOBS = 5


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = await Desk(tmp_path).open()
    desk.estate.certifier = Certifier(desk.estate)
    return desk


async def done(desk: Desk, work: Awaitable[T]) -> T:
    """What an awaiting piece of the owner returns, with its commits coming true meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0)
        await desk.commit()
    return task.result()


async def finished(desk: Desk) -> tuple[Job, list[Asset]]:
    """A job that succeeded, with a saved upload and a result."""
    job, (made,) = await desk.leased(await desk.uploaded())
    await desk.outcome(job, MADE)
    await desk.heard()
    assert job.body is not None
    return desk.job(job.id), [desk.asset(job.body.inputs[0]), desk.asset(made.id)]


async def told(desk: Desk) -> None:
    """Everything that has come due was announced, as retention does it."""
    while keys := await done(desk, retention._next(desk.estate)):
        desk.estate.commit(retention.announce(desk.estate, keys))
        await desk.commit()
        await desk.heard()


def receipts(desk: Desk, entries: list[Entry]) -> list[Receipt]:
    leaves = [msgspec.json.decode(entry.leaf) for entry in entries]
    return [msgspec.convert(leaf, Receipt) for leaf in leaves if leaf["kind"] == "erased"]


@pytest.fixture
def entries(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """Every entry that the log was given."""
    seen: list[Entry] = []
    erased = desk.estate.audit.erased

    def remember(*args: object) -> Entry:
        seen.append(erased(*args))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(desk.estate.audit, "erased", remember)
    return seen


class TestADueBucket:
    async def test_it_dies_in_one_commit_and_every_row_is_covered_by_a_receipt(
        self, desk: Desk, entries: list[Entry]
    ) -> None:
        found = [asset for _ in range(JOBS) for asset in (await finished(desk))[1]]
        before = desk.pages.count()
        desk.clock.moment = due = max(asset.head.due for asset in found)
        assert await done(desk, desk.estate.drops.take()) == []
        assert desk.pages.due(bucket_of(due)) == []
        assert before - desk.pages.count() >= len(found)
        for asset in found:  # unreadable, though no row has been touched yet
            assert desk.asset(asset.id).head.state is AssetState.STORED
            assert desk.asset(asset.id).body is None
            with pytest.raises(Gone):
                await desk.ask(api.GrantRead(TENANT, APP, asset.id, b"", ""))

        await told(desk)
        for asset in found:
            dead = desk.asset(asset.id)
            assert (dead.head.state, dead.head.cause, dead.head.hidden_at) == (AssetState.DEAD, "deadline", due)
            assert desk.estate.audit.receipt_file(asset.head.leaf) is not None
        made = receipts(desk, entries)
        assert sum(receipt.count for receipt in made) == len(found)
        for receipt in made:
            assert (receipt.cause, receipt.t_hidden_ms) == (Cause.DEADLINE, milliseconds(due))
            assert receipt.t_unreadable_ms >= receipt.t_hidden_ms
        assert desk.events == []  # nothing had to be said on the bus for it

    async def test_the_jobs_of_what_died_are_buried_with_it(self, desk: Desk) -> None:
        job, found = await finished(desk)
        desk.clock.moment = max(job.head.due, *(asset.head.due for asset in found))
        await told(desk)
        assert desk.book.job(job.id) is None
        assert not any(desk.book.of_subject.values())

    async def test_a_status_asked_between_the_drop_and_its_rows_lists_what_lives(self, desk: Desk) -> None:
        job, found = await finished(desk)
        desk.clock.moment = found[0].head.due
        await done(desk, desk.estate.drops.take())
        if desk.job(job.id).body is not None:
            view = await desk.ask(api.GetJob(TENANT, APP, job.id))
            assert view.assets == ()

    async def test_nothing_is_due_and_nothing_happens(self, desk: Desk) -> None:
        _, found = await finished(desk)
        groups = desk.ledger.changes, len(desk.ledger._queue)
        desk.clock.moment = min(asset.head.due for asset in found) - 1
        assert await done(desk, desk.estate.drops.take()) == []
        assert (desk.ledger.changes, len(desk.ledger._queue)) == groups
        assert desk.asset(found[0].id).body is not None


class TestInSomebodysHands:
    async def test_a_reader_holds_the_bucket_up_until_the_grant_is_gone(self, desk: Desk) -> None:
        _, found = await finished(desk)
        (_, others) = await finished(desk)
        desk.estate.grants.give(found[0].id, holder=b"reader", ttl_s=10_000.0)
        desk.clock.moment = found[0].head.due
        keys = await done(desk, desk.estate.drops.take())
        assert keys == [found[0].id.encode()]
        assert desk.asset(others[0].id).body is not None  # waits, and is refused by its deadline meanwhile
        desk.estate.commit(retention.announce(desk.estate, keys))
        await desk.commit()
        await desk.heard()
        assert desk.closer.told("erase") == [[(found[0].id,), "deadline", ()]]
        assert await done(desk, desk.estate.drops.take()) == []  # announced once, not each time

        await desk.estate.grants.revoke([found[0].id])
        await desk.do(lambda estate, change: _forget(estate, change, found[0].id))
        assert await done(desk, desk.estate.drops.take()) == []
        assert desk.asset(others[0].id).body is None

    async def test_a_job_under_way_is_ended_first(self, desk: Desk) -> None:
        job = await desk.uploaded()
        assert job.body is not None
        desk.clock.moment = max(job.head.due, desk.asset(job.body.inputs[0]).head.due)
        keys = await done(desk, desk.estate.drops.take())
        assert {job.id.encode(), job.body.inputs[0].encode()} <= set(keys)
        assert desk.job(job.id).body is not None
        desk.estate.commit(retention.announce(desk.estate, keys))
        await desk.commit()
        assert [job.id] in desk.closer.told("finish")
        await told(desk)  # and it is not announced for ever
        assert desk.job(job.id).body is not None  # its end is not announced yet: the bucket waits

    async def test_a_holder_that_never_lets_go_holds_up_the_others_for_a_while_only(self, desk: Desk) -> None:
        _, found = await finished(desk)
        _, others = await finished(desk)
        desk.estate.grants.give(found[0].id, holder=b"reader", ttl_s=10_000.0)
        desk.clock.moment = found[0].head.due
        await told(desk)
        assert desk.asset(others[0].id).head.state is AssetState.STORED
        assert desk.book.aside
        assert retention.next_due(desk.estate) == desk.clock.moment  # a promise is being kept
        desk.clock.moment += PATIENCE_S
        await told(desk)
        assert {desk.asset(asset.id).head.state for asset in (*others, found[1])} == {AssetState.DEAD}
        assert desk.asset(found[0].id).head.state is AssetState.HIDDEN
        assert not desk.book.aside

    async def test_what_comes_due_a_moment_later_does_not_wait_until_a_mass_is_told(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, found = await finished(desk)
        _, (late, _) = await finished(desk)
        desk.clock.moment = found[0].head.due - 5
        await desk.do(_put, Asset(late.id, msgspec.structs.replace(late.head, due=found[0].head.due + 1), late.body))
        monkeypatch.setattr(desk.estate.pages, "due", lambda _: [])  # this one is in a bucket that is not due yet
        desk.clock.moment = found[0].head.due + 1
        mass = [asset.head.page for asset in found]
        desk.estate.drops._of = {page: Drop(Commit(0.0), 0.0, 0.0) for page in mass if page != late.head.page}
        keys = await done(desk, retention._living(desk.estate))
        assert late.id.encode() in keys
        assert not {asset.id.encode() for asset in found if asset.head.page != late.head.page} & set(keys)


class TestWhatWasLeftHalfDone:
    async def test_an_owner_that_died_after_the_drop_is_followed_by_one_that_tells_its_rows(
        self, desk: Desk, entries: list[Entry]
    ) -> None:
        job, found = await finished(desk)
        desk.clock.moment = max(job.head.due, *(asset.head.due for asset in found))
        await done(desk, desk.estate.drops.take())
        desk.estate.drops.settled()  # the new owner knows of no drop
        desk.estate.book = desk.book = type(desk.book)(
            desk.ledger, desk.pages, await_inputs_s=desk.estate.rules.await_inputs_s
        )
        await desk.book.rebuild()
        await desk.book.open_rest()
        assert desk.book.next_due() is None  # what cannot be read keeps nobody from being served
        await done(desk, retention.open_with(desk.estate))
        assert desk.asset(found[0].id).head.state is AssetState.STORED

        await told(desk)
        assert {desk.asset(asset.id).head.state for asset in found} == {AssetState.DEAD}
        assert desk.book.job(job.id) is None
        assert {receipt.keys_offset for receipt in receipts(desk, entries)} == {UNKNOWN_OFFSET}

    async def test_what_came_due_while_nobody_owned_it_is_dropped_before_anything_is_served(self, desk: Desk) -> None:
        _, found = await finished(desk)
        desk.clock.moment = found[0].head.due
        await done(desk, retention.open_with(desk.estate))
        assert desk.asset(found[0].id).body is None
        assert desk.asset(found[0].id).head.state is AssetState.STORED  # its row's turn comes while others are served
        await told(desk)
        assert desk.asset(found[0].id).head.state is AssetState.DEAD

    async def test_what_stays_hidden_is_announced_again(self, desk: Desk) -> None:
        _, found = await finished(desk)
        await desk.ask(api.DeleteAsset(TENANT, APP, found[0].id))
        assert len(desk.events) == 1
        desk.events.clear()  # whoever was to erase it never did
        for _ in range(2):
            desk.clock.moment += HIDDEN_AGAIN_S
            keys = desk.book.take_due(desk.clock.now(), 10)
            assert keys == [found[0].id.encode()]
            desk.estate.commit(retention.announce(desk.estate, keys))
            await desk.commit()
            assert len(desk.events) == 1
            desk.events.clear()


def _put(estate: Estate, change: Change, asset: Asset) -> None:
    estate.book.put_asset(change, asset)


def _forget(estate: object, change: object, asset_id: str) -> None:
    from stream.agents import assets

    assets.forget(estate, change, [estate.book.asset(asset_id)], "deadline")  # type: ignore[arg-type,attr-defined]
