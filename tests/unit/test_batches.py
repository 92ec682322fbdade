"""A job of many items: each is made, or refused, on its own; no result is lost, repeated or silently missing."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.agents import api, api_operator, jobs, sizes
from stream.agents.assets import Gone
from stream.agents.book import Asset, Job, KeyMissing
from stream.agents.closing import Closer
from stream.agents.owner import RefusedByVerdict
from stream.events.bus import DetectCompleted, GenerateCompleted, ItemOutcome, Outcome, OutputFacts
from stream.events.lease import ACTOR_GONE, OUT_OF_MEMORY, SHARED
from stream.events.rows import AssetState, JobState, Stage
from stream.metrics import worker as metrics
from tests.unit.desk import APP, FACTS, TENANT, Desk

RESULT = OutputFacts("result", 9, "image/png", 3, 3)
FEATURE = OutputFacts("feature", 9, "application/octet-stream")


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


def batch(count: int, **changes: Any) -> dict[str, Any]:
    return {"inputs": (api.InputSlot(),) * count} | changes


def good(n: int, **facts: float) -> ItemOutcome:
    return ItemOutcome(n, RESULT, facts=facts, engine_s=1.0)


def bad(n: int, reason: str = "no-face", kind: str = "permanent") -> ItemOutcome:
    return ItemOutcome(n, kind=kind, reason=reason)


def outcome(*items: ItemOutcome) -> Outcome:
    made = any(item.output for item in items)
    return Outcome("succeeded" if made else "failed", items=items, wiped=True)


async def view(desk: Desk, job: Job, app: str = APP) -> api.JobView:
    told: api.JobView = await desk.ask(api.GetJob(TENANT, app, job.id))
    return told


def states(view: api.JobView) -> dict[int, tuple[str, str]]:
    return {item.n: (item.state, item.reason) for item in view.items}


async def genzo(desk: Desk, count: int, choice: str = "save", operation: str = "stylization") -> Job:
    """A batch whose pictures are all there, and whose faces are to be looked for."""
    await desk.ask(api.PutConsent(TENANT, "genzo", "alice", "face_processing", "2025-1", granted=True))
    return await desk.uploaded(**batch(count, app="genzo", operation=operation, choice=choice))


class TestAsked:
    async def test_many_inputs_of_one_kind_are_one_job(self, desk: Desk) -> None:
        job = await desk.submit(**batch(3))
        assert job.body is not None
        assert (job.head.state, job.body.items, len(job.body.inputs)) == (JobState.AWAITING, 3, 3)
        assert states(await view(desk, job)) == dict.fromkeys(range(3), ("awaiting", ""))

    async def test_a_job_waits_until_the_last_input_is_there(self, desk: Desk) -> None:
        job = await desk.submit(**batch(2))
        assert job.body is not None
        first, second = (desk.asset(asset_id) for asset_id in job.body.inputs)
        await desk.do(jobs.received, job, second, FACTS)
        await desk.heard()
        assert desk.job(job.id).head.state is JobState.AWAITING
        assert states(await view(desk, job)) == {0: ("awaiting", ""), 1: ("queued", "")}
        await desk.do(jobs.received, job, first, FACTS)
        await desk.heard()
        assert desk.job(job.id).head.state is JobState.QUEUED

    @pytest.mark.parametrize(("limit", "count", "kind"), [(4, 5, "too-many-items"), (1, 2, "wrong-inputs")])
    async def test_more_than_a_job_may_have_are_refused(
        self, tmp_path: Path, limit: int, count: int, kind: str
    ) -> None:
        desk = await Desk(tmp_path, max_items_per_job=limit).open()
        await desk.submit(**batch(limit))
        with pytest.raises(RefusedByVerdict) as refused:
            await desk.submit(**batch(count))
        assert refused.value.problem.kind == kind

    async def test_a_batch_claims_what_all_its_items_take(self, desk: Desk) -> None:
        await desk.uploaded(**batch(4))
        await desk.uploaded(subject="bob")
        (claim,) = desk.estate.tools.crowd.claims()
        _, one_s = desk.estate.tools.crowd.predict("noop")
        assert (claim.waiting, claim.waiting_s) == (2, 5 * one_s)

    async def test_each_item_has_its_size(self, desk: Desk) -> None:
        job = await desk.uploaded(**batch(3))
        found = sizes.each(desk.estate, job)
        assert list(found) == [0, 1, 2]
        assert len(set(found.values())) == 1


class TestAttempts:
    async def test_there_is_a_row_for_each_result_before_there_is_an_object(self, desk: Desk) -> None:
        job, made = await desk.leased(await desk.uploaded(**batch(3)))
        assert [(asset.head.role, asset.head.n) for asset in made] == [("result", 0), ("result", 1), ("result", 2)]
        assert len({asset.head.object for asset in made}) == 3
        given_ = jobs.used(desk.estate, job)
        assert job.body is not None
        assert [(n, asset.id) for n, asset in given_] == list(enumerate(job.body.inputs))

    async def test_a_refused_item_is_told_and_the_others_are_kept(self, desk: Desk) -> None:
        counted = metrics.INPUTS_REFUSED.labels(APP, "no-face")._value
        before = counted.get()
        job, made = await desk.leased(await desk.uploaded(**batch(3)))
        await desk.outcome(job, outcome(good(0), bad(1), good(2)))
        told = await view(desk, job)
        assert (told.state, told.reason) == ("succeeded", "")
        assert states(told) == {0: ("succeeded", ""), 1: ("failed", "no-face"), 2: ("succeeded", "")}
        assert [item.result for item in told.items] == [made[0].id, "", made[2].id]
        assert desk.asset(made[0].id).head.state is AssetState.STORED
        assert (await desk.ask(api_operator.ShowJob(job.id))).refused == {1: "no-face"}
        assert desk.asset(made[1].id).head.state is AssetState.DEAD  # in the same commit
        with pytest.raises(KeyMissing):
            desk.book.key(made[1].head.page, made[1].id)
        assert counted.get() - before == 1

    async def test_of_none_the_job_fails_by_the_first(self, desk: Desk) -> None:
        job, made = await desk.leased(await desk.uploaded(**batch(2)))
        await desk.outcome(job, outcome(bad(0), bad(1, "undecodable")))
        told = await view(desk, job)
        assert (told.state, told.reason) == ("failed", "no-face")
        assert states(told) == {0: ("failed", "no-face"), 1: ("failed", "undecodable")}
        assert {desk.asset(asset.id).head.state for asset in made} == {AssetState.DEAD}

    async def test_a_failure_that_may_pass_has_all_done_again_and_at_last_the_rest_kept(self, tmp_path: Path) -> None:
        desk = await Desk(tmp_path, retry_after_s=(1.0,)).open()
        said = outcome(good(0), bad(1, "engine-fault", "transient"))
        job, first = await desk.leased(await desk.uploaded(**batch(2)))
        await desk.outcome(job, said)
        again = desk.job(job.id)
        assert again.body is not None
        assert (again.head.state, again.body.attempts, again.body.results) == (JobState.QUEUED, 1, ())
        assert {desk.asset(asset.id).head.state for asset in first} == {AssetState.DEAD}
        job, second = await desk.leased(again)
        await desk.outcome(job, said)
        told = await view(desk, job)
        assert (told.state, states(told)[1]) == ("succeeded", ("failed", "engine-fault"))
        assert told.items[0].result == second[0].id

    async def test_out_of_memory_goes_before_other_failures_for_it_has_a_remedy(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded(**batch(3)))
        await desk.outcome(job, outcome(good(0), bad(1, "x", "transient"), bad(2, "MemoryError", "resource")))
        again = desk.job(job.id).body
        assert again is not None
        assert again.profile == "small"

    async def test_an_attempt_that_fails_as_a_whole_is_tried_again(self, desk: Desk) -> None:
        job, made = await desk.leased(await desk.uploaded(**batch(2)))
        await desk.outcome(job, Outcome("failed", kind="transient", reason="node-lost", wiped=True))
        assert desk.job(job.id).head.state is JobState.QUEUED
        assert {desk.asset(asset.id).head.state for asset in made} == {AssetState.DEAD}

    async def test_an_item_of_which_nothing_is_said_is_not_taken_for_done(self, tmp_path: Path) -> None:
        desk = await Desk(tmp_path, retry_after_s=()).open()
        job, _ = await desk.leased(await desk.uploaded(**batch(2)))
        await desk.outcome(job, outcome(good(0)))
        assert states(await view(desk, job)) == {0: ("succeeded", ""), 1: ("failed", "item-untold")}


class TestFatal:
    """An item that takes its actor down: after as many as a job may, it is refused, and the others begin anew."""

    @pytest.mark.parametrize(
        ("kind", "reason", "tries", "told"),
        [("transient", ACTOR_GONE, 2, "input-crashes-actor"), ("resource", OUT_OF_MEMORY, 3, OUT_OF_MEMORY)],
    )
    async def test_the_others_are_made(self, desk: Desk, kind: str, reason: str, tries: int, told: str) -> None:
        died = Outcome("failed", kind=kind, reason=reason, wiped=True, suspect=1)
        job = await desk.uploaded(**batch(3))
        for _ in range(tries):
            assert desk.job(job.id).head.refused == {}
            leased, _ = await desk.leased(desk.job(job.id))
            await desk.outcome(leased, died)
        again = desk.job(job.id)
        assert again.body is not None
        assert (again.head.state, again.head.refused) == (JobState.QUEUED, {1: told})
        assert (again.body.attempts, again.body.crashes, again.body.profile) == (0, 0, "")
        leased, made = await desk.leased(again)
        assert [asset.head.n for asset in made] == [0, 2]
        await desk.outcome(leased, outcome(good(0), good(2)))
        assert states(await view(desk, job)) == {0: ("succeeded", ""), 1: ("failed", told), 2: ("succeeded", "")}

    @pytest.mark.parametrize(
        ("count", "reason", "suspect"),
        [(2, "node-lost", 1), (2, ACTOR_GONE, -1), (2, ACTOR_GONE, 7), (1, ACTOR_GONE, 0)],
    )
    async def test_nobody_is_blamed_who_is_not_known_to_be_why(
        self, tmp_path: Path, count: int, reason: str, suspect: int
    ) -> None:
        desk = await Desk(tmp_path, retry_after_s=(1.0,)).open()
        job = await desk.uploaded(**batch(count))
        for _ in range(2):
            leased, _ = await desk.leased(desk.job(job.id))
            await desk.outcome(leased, Outcome("failed", kind="transient", reason=reason, wiped=True, suspect=suspect))
        ended = desk.job(job.id).head
        assert (ended.state, ended.refused) == (JobState.FAILED, {})

    async def test_when_each_takes_its_actor_down_it_ends(self, desk: Desk) -> None:
        job = await desk.uploaded(**batch(3))
        leases = 0
        while (now := desk.job(job.id)).head.state is JobState.QUEUED:
            leased, made = await desk.leased(now)
            leases += 1
            first = made[0].head.n
            await desk.outcome(
                leased, Outcome("failed", kind="transient", reason=ACTOR_GONE, wiped=True, suspect=first)
            )
        assert (leases, desk.job(job.id).head.state) == (6, JobState.FAILED)
        assert {state for state, _ in states(await view(desk, job)).values()} == {"failed"}


class TestFaces:
    async def test_what_is_refused_there_is_not_generated(self, desk: Desk) -> None:
        job = await genzo(desk, 3)
        assert job.head.stage is Stage.DETECT
        job, features = await desk.leased(job)
        assert [(asset.head.role, asset.head.n) for asset in features] == [("feature", n) for n in range(3)]
        seen = outcome(ItemOutcome(0, FEATURE, facts={"faces": 1}), bad(1, "undecodable"), ItemOutcome(2, FEATURE))
        await desk.outcome(job, seen)
        await desk.heard()
        job = desk.job(job.id)
        assert job.body is not None
        assert (job.head.stage, job.head.refused) == (Stage.GENERATE, {1: "undecodable"})
        assert [desk.asset(i).head.data_class for i in job.body.inputs] == [
            "face_image",
            "upload_image",
            "upload_image",
        ]
        faces = [(asset := desk.asset(i)).body and asset.body.has_face for i in job.body.inputs]
        assert faces == [True, None, False]  # one was not looked at: it is presumed to hold a face
        job, made = await desk.leased(job)
        assert [asset.head.n for asset in made] == [0, 2]
        assert [asset.body and asset.body.has_face for asset in made] == [True, None]
        roles = [(n, asset.head.role) for n, asset in jobs.used(desk.estate, job)]
        assert roles == [(0, "input"), (2, "input"), (0, "feature"), (2, "feature")]

    async def test_each_results_clock_is_that_of_its_own_picture(self, desk: Desk) -> None:
        old = await genzo(desk, 1)
        assert old.body is not None
        desk.clock.moment += 3600
        slots = (api.InputSlot(old.body.inputs[0]), api.InputSlot())
        job = await desk.uploaded(app="genzo", operation="stylization", choice="save", inputs=slots)
        job, made = await desk.leased(job)
        assert made[0].head.ceiling == made[1].head.ceiling - 3600

    async def test_a_later_job_takes_the_features_of_its_own_picture(self, desk: Desk) -> None:
        job, features = await desk.leased(await genzo(desk, 2))
        await desk.outcome(job, outcome(ItemOutcome(0, FEATURE), ItemOutcome(1, FEATURE, facts={"faces": 1})))
        assert job.body is not None
        later = await desk.uploaded(
            app="genzo", operation="ai_dance", choice="save", inputs=(api.InputSlot(job.body.inputs[1]),)
        )
        assert later.body is not None
        assert (later.head.stage, later.body.features) == (Stage.GENERATE, (features[1].id,))
        later, _ = await desk.leased(later)
        assert [(n, asset.id) for n, asset in jobs.used(desk.estate, later)] == [
            (0, job.body.inputs[1]),
            (0, features[1].id),
        ]

    async def test_errors_outlive_what_they_are_about(self, desk: Desk) -> None:
        job, _ = await desk.leased(await genzo(desk, 2, choice="discard"))
        await desk.outcome(job, outcome(bad(0, "undecodable"), bad(1)))
        ending = desk.job(job.id)
        assert ending.head.ending is JobState.FAILED
        await desk.do(jobs.settle, ending)
        bare = desk.job(job.id)
        assert bare.body is None
        assert states(await view(desk, bare, "genzo")) == {0: ("failed", "undecodable"), 1: ("failed", "no-face")}


class TestShared:
    """What an operation takes besides is one thing, for all items."""

    @staticmethod
    async def dressed(desk: Desk, *asked: api.InputSlot) -> Job:
        await desk.ask(api.PutConsent(TENANT, "genzo", "alice", "face_processing", "2025-1", granted=True))
        return await desk.uploaded(app="genzo", operation="clothing_change", choice="save", inputs=asked)

    async def test_it_is_given_with_every_item_and_has_no_result_of_its_own(self, desk: Desk) -> None:
        job = await self.dressed(desk, api.InputSlot(), api.InputSlot(role="garment"), api.InputSlot())
        assert job.body is not None
        assert (job.body.items, job.body.roles) == (2, ("photo", "garment", "photo"))
        assert [item.n for item in (await view(desk, job, "genzo")).items] == [0, 2]
        job, features = await desk.leased(job)
        assert [(n, asset.head.n) for n, asset in jobs.used(desk.estate, job)] == [(0, 0), (2, 2)]  # no garment
        await desk.outcome(job, outcome(*(ItemOutcome(n, FEATURE, facts={"faces": 1}) for n in (0, 2))))
        await desk.heard()
        assert job.body is not None
        garment = desk.asset(job.body.inputs[1])
        assert garment.body is not None
        assert (garment.body.has_face, garment.head.data_class) == (None, "upload_image")  # nobody looked
        job, made = await desk.leased(desk.job(job.id))
        assert [asset.head.n for asset in made] == [0, 2]
        assert [(n, asset.head.role) for n, asset in jobs.used(desk.estate, job)] == [
            (0, "input"),
            (2, "input"),
            (SHARED, "input"),
            (0, "feature"),
            (2, "feature"),
        ]
        assert features[0].head.n == 0

    async def test_with_one_item_it_follows_the_picture_and_features_come_last(self, desk: Desk) -> None:
        job = await self.dressed(desk, api.InputSlot(role="garment"), api.InputSlot())
        job, _ = await desk.leased(job)
        await desk.outcome(job, Outcome("succeeded", outputs=(FEATURE,), facts={"faces": 1.0}, wiped=True))
        await desk.heard()
        job, (made,) = await desk.leased(desk.job(job.id))
        assert job.body is not None
        assert made.head.n == 1
        found = [(n, asset.id) for n, asset in jobs.used(desk.estate, job)]
        assert found == [(1, asset_id) for asset_id in (job.body.inputs[1], job.body.inputs[0], job.body.features[0])]
        await desk.outcome(job, Outcome("succeeded", outputs=(RESULT,), wiped=True))
        told = await view(desk, desk.job(job.id), "genzo")
        assert [(item.n, item.state, item.result) for item in told.items] == [(1, "succeeded", made.id)]

    async def test_a_result_lives_no_longer_than_what_it_was_made_with(self, desk: Desk) -> None:
        old = await self.dressed(desk, api.InputSlot())
        assert old.body is not None
        desk.clock.moment += 3600
        saved = api.InputSlot(old.body.inputs[0], role="garment")
        job = await self.dressed(desk, api.InputSlot(), api.InputSlot(), saved)
        _, made = await desk.leased(job)
        assert job.body is not None
        assert {asset.head.ceiling for asset in made} == {desk.asset(job.body.inputs[2]).head.ceiling}
        assert desk.asset(job.body.inputs[0]).head.ceiling == made[0].head.ceiling + 3600

    async def test_when_it_goes_nothing_can_be_made(self, desk: Desk) -> None:
        job = await self.dressed(desk, api.InputSlot(), api.InputSlot(), api.InputSlot(role="garment"))
        assert job.body is not None
        await desk.ask(api.DeleteAsset(TENANT, "genzo", job.body.inputs[2]))
        await desk.heard()
        assert desk.job(job.id).head.ending is JobState.EXPIRED

    async def test_a_role_that_the_app_does_not_take_is_refused(self, desk: Desk) -> None:
        with pytest.raises(RefusedByVerdict) as refused:
            await self.dressed(desk, api.InputSlot(), api.InputSlot(role="music"))
        assert refused.value.problem.kind == "wrong-inputs"


class TestGivenUp:
    async def test_an_input_that_is_erased_is_not_waited_for(self, desk: Desk) -> None:
        job = await desk.submit(**batch(3))
        assert job.body is not None
        for asset_id in job.body.inputs[:2]:
            await desk.do(jobs.received, job, desk.asset(asset_id), FACTS)
        await desk.heard()
        await desk.ask(api.DeleteAsset(TENANT, APP, job.body.inputs[2]))
        await desk.heard()
        job = desk.job(job.id)
        assert (job.head.state, job.head.refused) == (JobState.QUEUED, {2: "gone"})
        with pytest.raises(Gone):
            await desk.ask(api.GrantWrite(TENANT, APP, job.id, 2, 5, b""))
        _, made = await desk.leased(job)
        assert [asset.head.n for asset in made] == [0, 1]

    async def test_while_it_waits_for_an_actor_the_others_stay_in_the_queue(self, desk: Desk) -> None:
        job = await desk.uploaded(**batch(2))
        assert job.body is not None
        await desk.ask(api.DeleteAsset(TENANT, APP, job.body.inputs[0]))
        await desk.heard()
        assert (desk.job(job.id).head.state, desk.job(job.id).head.refused) == (JobState.QUEUED, {0: "gone"})

    async def test_what_an_engine_has_is_taken_back_and_the_others_begin_again(self, desk: Desk) -> None:
        job, made = await desk.leased(await desk.uploaded(**batch(2)))
        assert job.body is not None
        erased, other = job.body.inputs
        await desk.ask(api.DeleteAsset(TENANT, APP, erased))
        await desk.heard()
        assert (desk.job(job.id).head.state, desk.job(job.id).head.refused) == (JobState.LEASED, {0: "gone"})
        (told,) = desk.closer.told("erase")
        assert list(told) == [(erased,), "request", (job.id,)]
        assert desk.asset(erased).head.state is AssetState.HIDDEN  # until the actor has wiped
        released = AsyncMock(return_value=True)
        with patch.object(desk.dispatcher, "release", released, create=True):
            erasing = asyncio.create_task(
                Closer(desk.estate, desk.dispatcher, desk.estate.grants)._erase((erased,), "request", (job.id,))  # type: ignore[arg-type]
            )
            while not erasing.done():
                await asyncio.sleep(0)
                await desk.commit()
        released.assert_awaited_once()
        again = desk.job(job.id)
        assert again.body is not None
        assert (again.head.state, again.head.actor, again.body.attempts) == (JobState.QUEUED, "", 0)
        assert {desk.asset(asset_id).head.state for asset_id in (erased, *(a.id for a in made))} == {AssetState.DEAD}
        late = Outcome("cancelled", reason="cancelled", wiped=True)
        assert await desk.outcome(again, late, fence=job.head.fence) is None
        job, (last,) = await desk.leased(again)
        assert [asset.id for _, asset in jobs.used(desk.estate, job)] == [other]
        await desk.outcome(job, Outcome("succeeded", outputs=(RESULT,), wiped=True))
        assert states(await view(desk, job)) == {0: ("failed", "gone"), 1: ("succeeded", "")}
        assert last.head.n == 1

    async def test_the_actor_may_say_so_before_the_owner_has_asked_all(self, desk: Desk) -> None:
        job, made = await desk.leased(await desk.uploaded(**batch(2)))
        assert job.body is not None
        await desk.ask(api.DeleteAsset(TENANT, APP, job.body.inputs[1]))
        await desk.heard()
        await desk.outcome(job, Outcome("cancelled", reason="cancelled", wiped=True))
        assert (desk.job(job.id).head.state, desk.job(job.id).head.refused) == (JobState.QUEUED, {1: "gone"})
        assert {desk.asset(asset.id).head.state for asset in made} == {AssetState.DEAD}

    async def test_or_be_done_before_it_is_stopped_then_what_was_erased_gives_nothing(self, desk: Desk) -> None:
        job, made = await desk.leased(await desk.uploaded(**batch(2)))
        assert job.body is not None
        await desk.ask(api.DeleteAsset(TENANT, APP, job.body.inputs[1]))
        await desk.heard()
        await desk.outcome(job, outcome(good(0), good(1)))
        ended = desk.job(job.id).head
        assert (ended.ending, ended.refused) == (JobState.SUCCEEDED, {1: "gone"})  # once what is hidden is dead
        assert [desk.asset(asset.id).head.state for asset in made] == [AssetState.STORED, AssetState.DEAD]

    async def test_when_all_go_the_job_ends(self, desk: Desk) -> None:
        for job in (await desk.uploaded(**batch(2)), (await desk.leased(await desk.uploaded(**batch(2))))[0]):
            assert job.body is not None
            for asset_id in job.body.inputs:
                await desk.ask(api.DeleteAsset(TENANT, APP, asset_id))
            await desk.heard()
            assert desk.job(job.id).head.ending is JobState.EXPIRED

    async def test_a_picture_that_is_gone_when_the_lease_begins_is_an_item_less(self, desk: Desk) -> None:
        job = await desk.uploaded(**batch(2))
        assert job.body is not None
        await desk.ask(api.DeleteAsset(TENANT, APP, job.body.inputs[0]))  # hidden: nobody has heard of it yet
        job, made = await desk.leased(desk.job(job.id))
        assert ([asset.head.n for asset in made], job.head.refused) == ([1], {0: "gone"})
        await desk.heard()
        assert desk.job(job.id).head.state is JobState.LEASED  # the others go on, and no lease is taken back
        assert desk.closer.told("erase") == []
        assert desk.job(job.id).head.fence == job.head.fence


class TestRetry:
    async def test_all_begin_anew(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded(**batch(2)))
        await desk.outcome(job, outcome(bad(0), bad(1)))
        await desk.ask(api_operator.RetryJob(job.id))
        again = desk.job(job.id)
        assert (again.head.state, again.head.refused) == (JobState.QUEUED, {})
        await desk.heard()
        _, made = await desk.leased(desk.job(job.id))
        assert [asset.head.n for asset in made] == [0, 1]

    async def test_where_some_faces_were_not_found_all_are_looked_for_again(self, desk: Desk) -> None:
        job, _ = await desk.leased(await genzo(desk, 2))
        await desk.outcome(job, outcome(ItemOutcome(0, FEATURE), bad(1, "undecodable")))
        await desk.heard()
        job, _ = await desk.leased(desk.job(job.id))
        assert job.body is not None
        (feature,) = job.body.features
        await desk.outcome(job, Outcome("failed", kind="permanent", reason="no-face", wiped=True))
        await desk.do(jobs.again, desk.job(job.id))
        again = desk.job(job.id)
        assert again.body is not None
        assert (again.head.stage, again.body.features) == (Stage.DETECT, ())
        assert desk.asset(feature).head.state is AssetState.DEAD


ITEM = st.sampled_from(["good", "permanent", "transient", "resource", "untold", "twice"])


def said(patterns: list[str], made: list[Asset]) -> Outcome:
    told: list[ItemOutcome] = []
    for asset, pattern in zip(made, patterns, strict=True):
        n = asset.head.n
        if pattern in {"good", "twice"}:
            told += [good(n)] * (2 if pattern == "twice" else 1)
        elif pattern != "untold":
            told.append(bad(n, f"why-{n}", pattern))
    told.append(good(99))  # of no item of this job
    return outcome(*told)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_result_is_lost_or_repeated(data: st.DataObject) -> None:
    """Any items fail in any way, in any number of attempts, and words of attempts come in any order, again and again.

    At the end each item has a result that is stored, or a kind of failure; and nothing else of the job's is stored.
    """
    count = data.draw(st.integers(2, 4))
    retries = data.draw(st.integers(0, 2))

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            desk = await Desk(Path(folder), retry_after_s=(1.0,) * retries).open()
            job = await desk.uploaded(**batch(count))
            words: list[tuple[int, Outcome]] = []
            stored: dict[str, Asset] = {}
            for _ in range(retries + 4):
                if desk.job(job.id).head.state is not JobState.QUEUED:
                    break
                leased, made = await desk.leased(desk.job(job.id))
                patterns = data.draw(st.lists(ITEM, min_size=len(made), max_size=len(made)))
                words.append((leased.head.fence, said(patterns, made)))
                order = data.draw(st.permutations(words))
                for fence, word in [*order, *order]:
                    await desk.outcome(desk.job(job.id), word, fence=fence)
                for asset in made:
                    if desk.asset(asset.id).head.state is AssetState.STORED:
                        stored[asset.id] = asset
            ended = desk.job(job.id)
            assert ended.head.state in {JobState.SUCCEEDED, JobState.FAILED}
            assert ended.body is not None
            told = await view(desk, ended)
            assert [item.n for item in told.items] == list(range(count))
            results = {item.result for item in told.items if item.result}
            assert results == set(stored) == set(ended.body.results)
            assert len(results) == sum(item.state == "succeeded" for item in told.items)
            assert all(item.reason for item in told.items if item.state == "failed")
            assert all(stored[item.result].head.n == item.n for item in told.items if item.result)
            assert (ended.head.state is JobState.SUCCEEDED) == bool(results)

    asyncio.run(run())


def test_events_of_a_batch_name_no_item() -> None:
    """What is in clear on the bus is what it was: items are in the sealed outcome."""
    assert DetectCompleted.__struct_fields__ == GenerateCompleted.__struct_fields__ == ("job", "fence", "at")
