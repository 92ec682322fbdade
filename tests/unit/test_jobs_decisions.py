"""What happens to a job, decision by decision, without a stack."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from stream.agents import api, jobs, retention, slices
from stream.agents.owner import IdempotencyConflict, NotReusable, RefusedByVerdict
from stream.events.bus import (
    DetectRequested,
    ExpireDue,
    GenerateCompleted,
    GenerateRequested,
    Outcome,
    OutputFacts,
    UploadReceived,
)
from stream.events.rows import AssetState, JobState, Stage
from stream.ledger import LedgerLost
from stream.metrics import worker as metrics
from stream.policies.vocabulary import Features
from stream.vault.record import seal_body
from tests.unit.desk import APP, FACTS, TENANT, Desk

MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


class TestTheWayThere:
    async def test_a_job_waits_for_its_input_then_for_an_actor(self, desk: Desk) -> None:
        job = await desk.submit()
        assert job.head.state is JobState.AWAITING
        assert desk.events == []
        job = await desk.uploaded()
        assert (job.head.state, job.head.stage) == (JobState.QUEUED, Stage.GENERATE)
        assert desk.dispatcher.told("ready")[-1] == [job.id]

    @pytest.mark.parametrize(("features", "stage"), [(Features.NONE, Stage.GENERATE), (Features.STEP, Stage.DETECT)])
    async def test_it_goes_past_a_detection_that_it_does_not_need(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, features: Features, stage: Stage
    ) -> None:
        noop = desk.estate.policy(APP).operation("noop")
        monkeypatch.setattr(jobs, "operation_of", lambda *_: msgspec.structs.replace(noop, features=features))
        job = await desk.submit()
        assert job.body is not None
        await desk.do(jobs.received, job, desk.asset(job.body.inputs[0]), FACTS)
        (event,) = desk.events
        desk.events.clear()
        await desk.decide(jobs.upload_received, event)
        assert desk.job(job.id).head.stage is stage
        assert [type(event) for event in desk.events] == [
            GenerateRequested if stage is Stage.GENERATE else DetectRequested
        ]

    async def test_an_upload_of_a_job_that_is_gone_or_goes_on_already_changes_nothing(self, desk: Desk) -> None:
        job = await desk.uploaded()
        assert job.body is not None
        event = UploadReceived(job.id, job.body.inputs[0], 0.0)
        assert await desk.decide(jobs.upload_received, event) is None
        assert await desk.decide(jobs.upload_received, UploadReceived(desk.id(), "", 0.0)) is None
        waiting = await desk.submit()
        assert await desk.decide(jobs.upload_received, UploadReceived(waiting.id, "", 0.0)) is None

    async def test_only_a_waiting_job_is_handed_to_the_scheduler(self, desk: Desk) -> None:
        job = await desk.submit()
        assert await desk.decide(jobs.generate_requested, GenerateRequested(job.id, 0.0)) is None
        assert await desk.decide(jobs.generate_requested, GenerateRequested(desk.id(), 0.0)) is None

    async def test_a_saved_picture_counts_at_once(self, desk: Desk) -> None:
        job = await desk.uploaded()
        assert job.body is not None
        slot = (api.InputSlot(job.body.inputs[0]),)
        second = await desk.submit(inputs=slot)
        assert second.head.state is JobState.QUEUED
        await desk.heard()
        assert desk.job(second.id).head.stage is Stage.GENERATE
        with pytest.raises(NotReusable):
            await desk.submit(subject="bob", inputs=slot)
        discarded = await desk.uploaded(choice="discard")
        assert discarded.body is not None
        with pytest.raises(NotReusable):
            await desk.submit(inputs=(api.InputSlot(discarded.body.inputs[0]),))

    async def test_an_idempotency_key_is_one_job_of_one_subject(self, desk: Desk) -> None:
        first = await desk.submit(idempotency_key="k", fingerprint=b"1")
        assert (await desk.submit(idempotency_key="k", fingerprint=b"1")).id == first.id
        assert (await desk.submit(idempotency_key="k", fingerprint=b"1", subject="bob")).id != first.id
        with pytest.raises(IdempotencyConflict):
            await desk.submit(idempotency_key="k", fingerprint=b"2")

    async def test_a_subject_has_a_quota(self, tmp_path: Path) -> None:
        desk = await Desk(tmp_path, max_jobs_per_subject=2).open()
        await desk.submit()
        await desk.submit()
        with pytest.raises(RefusedByVerdict) as refused:
            await desk.submit()
        assert refused.value.problem.status == 429
        await desk.submit(subject="bob")


class TestAttempts:
    async def test_rows_before_objects(self, desk: Desk) -> None:
        job, (made,) = await desk.leased(await desk.uploaded())
        assert (job.head.state, job.head.fence, job.head.actor) == (JobState.LEASED, 1, "engine-noop-1")
        assert (made.head.state, made.head.role) == (AssetState.PENDING, "result")
        assert made.head.urls_until == desk.clock.now() + desk.estate.rules.lease_url_s
        assert desk.pages.count() == 4  # subject, job, input, result

    async def test_the_present_fence_is_accepted_once(self, desk: Desk) -> None:
        job, (made,) = await desk.leased(await desk.uploaded())
        assert await desk.outcome(job, MADE) is not None
        ended = desk.job(job.id)
        assert (ended.head.state, ended.head.ended_at) == (JobState.SUCCEEDED, desk.clock.now())
        kept = desk.asset(made.id)
        assert (kept.head.state, kept.head.urls_until) == (AssetState.STORED, 0.0)
        assert kept.body is not None
        assert (kept.body.media_type, kept.body.size_bytes) == ("image/png", 9)
        assert await desk.outcome(job, MADE) is None

    async def test_another_fence_is_nobodys(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded())
        assert await desk.outcome(job, MADE, fence=7) is None
        assert desk.job(job.id).head.state is JobState.LEASED

    async def test_an_outcome_that_its_key_does_not_open_is_no_outcome(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded())
        other = await desk.uploaded()
        sealed = seal_body(desk.book.key(other.head.page, other.id), b"x", other.id.encode())
        with pytest.raises(Exception, match="expected"):
            jobs.attempt_completed(desk.estate, GenerateCompleted(job.id, 1, 0.0), sealed)

    async def test_a_transient_failure_is_tried_again_then_told(self, tmp_path: Path) -> None:
        desk = await Desk(tmp_path, retry_after_s=(1.0, 10.0)).open()
        job = await desk.uploaded()
        for pause_s in (1.0, 10.0):
            leased, (made,) = await desk.leased(desk.job(job.id))
            await desk.outcome(leased, Outcome("failed", kind="transient", reason="engine-fault", wiped=True))
            again = desk.job(job.id)
            assert (again.head.state, again.head.actor) == (JobState.QUEUED, "")
            assert again.head.not_before == desk.clock.now() + pause_s
            assert desk.asset(made.id).head.state is AssetState.DEAD  # what it made, or was about to, is forgotten
            assert desk.pages.key(made.head.page, b"") is None
        leased, _ = await desk.leased(desk.job(job.id))
        await desk.outcome(leased, Outcome("failed", kind="transient", reason="engine-fault", wiped=True))
        ended = desk.job(job.id).head
        assert (ended.state, ended.reason) == (JobState.FAILED, "engine-fault")

    async def test_an_input_takes_down_two_actors_and_no_third(self, desk: Desk) -> None:
        job = await desk.uploaded()
        gone = Outcome("failed", kind="transient", reason="actor-gone", wiped=True)
        await desk.outcome((await desk.leased(job))[0], gone)
        assert desk.job(job.id).head.state is JobState.QUEUED
        await desk.outcome((await desk.leased(desk.job(job.id)))[0], gone)
        ended = desk.job(job.id).head
        assert (ended.state, ended.reason) == (JobState.FAILED, "input-crashes-actor")

    @pytest.mark.parametrize("reason", ["node-lost", "actor-killed", "actor-unknown", "lease-forgotten"])
    async def test_a_loss_that_is_nobodys_fault_is_no_crash(self, desk: Desk, reason: str) -> None:
        job = await desk.uploaded()
        for _ in range(3):
            leased, _ = await desk.leased(desk.job(job.id))
            await desk.outcome(leased, Outcome("failed", kind="transient", reason=reason, wiped=True))
        again = desk.job(job.id)
        assert again.body is not None
        assert (again.head.state, again.body.crashes, again.body.attempts) == (JobState.QUEUED, 0, 3)

    async def test_out_of_memory_takes_the_smaller_profile_and_the_job_says_so(self, desk: Desk) -> None:
        job = await desk.uploaded()
        leased, _ = await desk.leased(job)
        await desk.outcome(leased, Outcome("failed", kind="resource", reason="MemoryError", wiped=True))
        assert (await desk.ask(api.GetJob(TENANT, APP, job.id))).profile == "small"
        leased, _ = await desk.leased(desk.job(job.id))
        await desk.outcome(leased, MADE)
        view = await desk.ask(api.GetJob(TENANT, APP, job.id))
        assert (view.state, view.profile) == ("succeeded", "small")

    @pytest.mark.parametrize(("kind", "tries"), [("permanent", 1), ("resource", 3), ("", 1)])
    async def test_how_often_each_kind_is_tried(self, desk: Desk, kind: str, tries: int) -> None:
        job = await desk.uploaded()
        refused = metrics.INPUTS_REFUSED.labels(APP, "content-refused")._value
        counted = refused.get()
        for _ in range(tries):
            leased, _ = await desk.leased(desk.job(job.id))
            await desk.outcome(leased, Outcome("failed", kind=kind, reason="content-refused", wiped=True))
        assert desk.job(job.id).head.state is JobState.FAILED
        assert refused.get() - counted == (kind == "permanent")

    async def test_a_lease_that_no_actor_took_up_costs_no_attempt(self, desk: Desk) -> None:
        job, (made,) = await desk.leased(await desk.uploaded())
        await desk.do(jobs.unstarted, job)
        again = desk.job(job.id)
        assert again.body is not None
        assert (again.head.state, again.body.attempts, again.head.fence) == (JobState.QUEUED, 0, 1)
        assert desk.asset(made.id).head.state is AssetState.DEAD
        await desk.do(jobs.unstarted, again)  # a second word of it changes nothing
        assert desk.job(job.id).head == again.head


class TestTheEnd:
    async def test_what_goes_immediately_is_dead_before_the_end_is_told(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded(choice="discard"))
        assert job.body is not None
        source = desk.asset(job.body.inputs[0])
        await desk.outcome(job, MADE)
        ending = desk.job(job.id)
        if ending.head.state is JobState.ENDING:
            assert (ending.head.ending, desk.closer.told("finish")) == (JobState.SUCCEEDED, [[job.id]])
        assert ending.head.state is not JobState.SUCCEEDED
        assert desk.asset(source.id).head.state in {AssetState.DEAD, AssetState.STORED}

    async def test_a_job_past_its_promise_expires(self, desk: Desk) -> None:
        job = await desk.uploaded()
        desk.clock.moment = job.head.due
        keys = desk.book.take_due(desk.clock.now(), 100)
        assert job.id.encode() in keys
        desk.estate.commit(retention.announce(desk.estate, keys))
        await desk.commit()
        assert (desk.job(job.id).head.state, desk.job(job.id).head.ending) == (JobState.ENDING, JobState.EXPIRED)
        assert [job.id] in desk.closer.told("finish")

    async def test_an_asset_that_nobody_holds_dies_at_once(self, desk: Desk) -> None:
        job, (made,) = await desk.leased(await desk.uploaded())
        await desk.outcome(job, MADE)
        await desk.ask(api.DeleteAsset(TENANT, APP, made.id))
        assert desk.asset(made.id).head.state is AssetState.HIDDEN
        await desk.heard()
        dead = desk.asset(made.id)
        assert (dead.head.state, dead.head.cause, dead.body) == (AssetState.DEAD, "request", None)

    async def test_an_asset_in_use_dies_once_it_is_let_go(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded())
        assert job.body is not None
        (source,) = job.body.inputs
        await desk.decide(retention.expire_due, ExpireDue((source,), "deadline", 0.0))
        assert desk.job(job.id).head.ending is JobState.EXPIRED
        assert desk.closer.told("erase") == [[(source,), "deadline", (job.id,)]]
        assert desk.asset(source).head.state is not AssetState.DEAD

    async def test_a_reader_is_a_holder(self, desk: Desk) -> None:
        job, (made,) = await desk.leased(await desk.uploaded())
        await desk.outcome(job, MADE)
        desk.estate.grants.give(made.id, holder=b"reader")
        await desk.decide(retention.expire_due, ExpireDue((made.id,), "deadline", 0.0))
        assert desk.closer.told("erase") == [[(made.id,), "deadline", ()]]

    async def test_nothing_lives_and_nothing_is_left_to_tell(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded())
        await desk.outcome(job, MADE)
        await desk.ask(api.DeleteJob(TENANT, APP, job.id))
        await desk.heard()
        bare = desk.job(job.id)
        assert (bare.head.state, bare.body, bare.head.page) == (JobState.SUCCEEDED, None, b"")
        assert bare.head.due <= bare.head.ended_at + desk.estate.rules.content_free_s
        desk.clock.moment = bare.head.due
        desk.estate.commit(retention.announce(desk.estate, desk.book.take_due(desk.clock.now(), 100)))
        await desk.commit()
        assert desk.book.job(job.id) is None


class TestTheBook:
    async def test_it_is_the_same_when_rebuilt(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded(idempotency_key="k"))
        await desk.outcome(job, MADE)
        await desk.submit(subject="bob")
        before = (
            dict(desk.book.subjects),
            {key: set(value) for key, value in desk.book.of_subject.items() if value},
            dict(desk.book.idempotent),
            dict(desk.book.active),
            dict(desk.book.users),
            dict(desk.book._indexed),
        )
        again = type(desk.book)(desk.ledger, desk.pages, await_inputs_s=desk.estate.rules.await_inputs_s)
        await again.rebuild()
        await again.open_rest()
        after = (
            dict(again.subjects),
            {key: set(value) for key, value in again.of_subject.items() if value},
            dict(again.idempotent),
            dict(again.active),
            dict(again.users),
            dict(again._indexed),
        )
        assert after == before

    async def test_before_all_is_indexed_reads_are_answered_and_a_deletion_waits(self, desk: Desk) -> None:
        job, (made,) = await desk.leased(await desk.uploaded(idempotency_key="k"))
        await desk.outcome(job, MADE)
        await desk.heard()
        desk.estate.book = desk.book = type(desk.book)(desk.ledger, desk.pages, await_inputs_s=1.0)
        await desk.book.rebuild()
        assert (await desk.ask(api.GetAsset(TENANT, APP, made.id))).id == made.id
        assert (await desk.submit(subject="bob")).head.state is JobState.AWAITING
        again = asyncio.create_task(desk.submit(idempotency_key="k"))
        for _ in range(20):
            await asyncio.sleep(0)
        deleting = asyncio.create_task(desk.ask(api.DeleteSubject(TENANT, APP, "alice")))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not again.done()
        assert not deleting.done()
        assert desk.asset(made.id).head.state is AssetState.STORED
        await desk.book.open_rest()
        assert (await again).id == job.id
        await deleting
        assert desk.asset(made.id).head.state is AssetState.HIDDEN

    async def test_an_owner_that_lost_its_partition_while_it_indexes_says_so(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await desk.uploaded()
        monkeypatch.setattr(slices, "STEPS_A_LOOK", 1)
        monkeypatch.setattr(slices, "SLICE_S", 0.0)
        rebuilding = asyncio.create_task(desk.book.rebuild())
        await asyncio.sleep(0)
        desk.ledger.lost = TimeoutError()
        with pytest.raises(LedgerLost):
            await rebuilding

    async def test_a_subject_forgotten_leaves_no_name(self, desk: Desk) -> None:
        await desk.uploaded()
        await desk.ask(api.DeleteSubject(TENANT, APP, "alice"))
        assert desk.book.subjects == {}
        assert all(b"alice" not in value for _, value in desk.ledger.items())
