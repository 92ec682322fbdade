"""Jobs in an operator's hands: what is listed, what may be begun anew and what not, what a cancellation takes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream.agents import api, api_operator, jobs, operators, retention, tending
from stream.agents.book import Asset, Job
from stream.audit.leaves import decode
from stream.audit.operated import Action, Operated, target_of
from stream.audit.signer import key_id
from stream.events.bus import DetectRequested, ExpireDue, GenerateRequested, Outcome, OutputFacts
from stream.events.rows import AssetState, JobState, Lane, Stage
from stream.ids import Kind, UnknownId
from stream.metrics import operators as metrics
from tests.unit.desk import APP, TENANT, Desk

MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)
BROKEN = Outcome("failed", kind="permanent", reason="engine-fault", wiped=True)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


async def failed(desk: Desk, **changes: Any) -> Job:
    """A job whose engine could not."""
    job, _ = await desk.leased(await desk.uploaded(**changes))
    await desk.outcome(job, BROKEN)
    if desk.job(job.id).head.state is JobState.ENDING:
        await desk.do(jobs.settle, desk.job(job.id))  # as the closer does
    return desk.job(job.id)


async def lines(desk: Desk, **ask: Any) -> list[api_operator.JobLine]:
    return list((await desk.ask(api_operator.ListJobs(**ask))).jobs)


def leaves(desk: Desk) -> list[Operated]:
    raw, found = desk.estate.audit._entries.read(0, len(desk.estate.audit)), []
    while raw:
        size = int.from_bytes(raw[:2], "big")
        found.append(decode(raw[2 : 2 + size], len(found)))
        raw = raw[2 + size :]
    return [leaf for leaf in found if isinstance(leaf, Operated)]


class TestList:
    async def test_every_filter_narrows(self, desk: Desk) -> None:
        waiting = await desk.submit(lane=Lane.BATCH)
        desk.clock.moment += 100
        queued = await desk.uploaded()
        ended = await failed(desk)
        assert [line.id for line in await lines(desk)] == [waiting.id, *sorted((queued.id, ended.id))]
        assert [line.id for line in await lines(desk, states=(JobState.FAILED,))] == [ended.id]
        assert [line.id for line in await lines(desk, states=(JobState.QUEUED, JobState.AWAITING))] == [
            waiting.id,
            queued.id,
        ]
        assert [line.id for line in await lines(desk, lane=Lane.BATCH)] == [waiting.id]
        assert [line.id for line in await lines(desk, older_than_s=100.0)] == [waiting.id]
        assert await lines(desk, older_than_s=101.0) == []
        assert await lines(desk, app="another") == []
        assert await lines(desk, tenant="another") == []
        assert len(await lines(desk, tenant=TENANT, app=APP)) == 3

    async def test_at_most_so_many_and_how_many_there_are(self, desk: Desk) -> None:
        made = []
        for age_s in (30, 10, 50, 20, 40, 60):
            desk.clock.moment -= age_s
            made.append((age_s, (await desk.submit()).id))
            desk.clock.moment += age_s
        told = await desk.ask(api_operator.ListJobs(limit=2))
        assert told.matched == 6
        assert [line.id for line in told.jobs] == [job for _, job in sorted(made, reverse=True)[:2]]

    async def test_nothing_of_its_content_is_told(self, desk: Desk) -> None:
        job = await failed(desk, params=b'{"fail": true}', subject="somebody of note")
        shown = await desk.ask(api_operator.ShowJob(job.id))
        said = msgspec.json.encode((shown, await lines(desk)))
        for word in (b"somebody", b"fail\\", b"noop", b"image/jpeg"):
            assert word not in said
        (line,) = await lines(desk)
        assert (line.tenant, line.attempts, line.reason, line.fence) == (TENANT, 1, "engine-fault", 1)


class TestRetry:
    async def test_a_failed_job_is_begun_anew_under_its_own_id(self, desk: Desk) -> None:
        job = await failed(desk)
        due = [asset.head.due for asset in desk.book.assets_of(job)]
        assert (await desk.ask(api_operator.ShowJob(job.id))).no_retry == ("", "")
        line = await desk.ask(api_operator.RetryJob(job.id))
        assert (line.state, line.attempts, line.reason, line.ended_at) == (JobState.QUEUED, 0, "", 0.0)
        assert job.id in desk.book.active
        await desk.heard()
        leased, _ = await desk.leased(desk.job(job.id))
        assert leased.head.fence == 2
        await desk.outcome(leased, MADE)
        ended = desk.job(job.id)
        assert ended.head.state is JobState.SUCCEEDED
        source = desk.asset(ended.body.inputs[0])  # type: ignore[union-attr]
        assert source.head.due <= max(due)

    async def test_nothing_of_its_former_attempts_counts_against_it(self, desk: Desk) -> None:
        job = await failed(desk)
        assert job.body is not None
        body = msgspec.structs.replace(job.body, attempts=3, crashes=2, profile="small")
        again = (await desk.do(jobs.again, Job(job.id, job.head, body))).body
        assert (again.attempts, again.crashes, again.profile) == (0, 0, "")

    async def test_features_that_live_are_not_looked_for_again(self, desk: Desk) -> None:
        job = await failed(desk)
        assert job.body is not None
        desk.events.clear()
        await desk.do(jobs.again, job)
        assert desk.job(job.id).head.stage is Stage.DETECT
        found = msgspec.structs.replace(job.body, features=job.body.inputs)  # what lives, whatever it is
        await desk.do(jobs.again, Job(job.id, job.head, found))
        assert desk.job(job.id).head.stage is Stage.GENERATE
        gone = msgspec.structs.replace(job.body, features=(desk.id(Kind.ASSET),))
        await desk.do(jobs.again, Job(job.id, job.head, gone))
        assert desk.job(job.id).head.stage is Stage.DETECT
        assert [type(event) for event in desk.events] == [DetectRequested, GenerateRequested, DetectRequested]

    async def test_what_went_with_its_end_cannot_be_retried(self, desk: Desk) -> None:
        job = await failed(desk, choice="discard")
        with pytest.raises(tending.InputsGone, match="none can be retried"):
            await desk.ask(api_operator.RetryJob(job.id))
        assert (await desk.ask(api_operator.ShowJob(job.id))).no_retry[0] == "inputs-gone"

    async def test_an_input_that_came_due_is_named_with_its_clause(self, desk: Desk) -> None:
        job = await failed(desk)
        source = desk.asset(job.body.inputs[0])  # type: ignore[union-attr]
        desk.clock.moment = source.head.due
        with pytest.raises(tending.InputsGone, match=f"number 0 went.*{source.head.clause}"):
            await desk.ask(api_operator.RetryJob(job.id))

    async def test_an_input_that_its_user_erased_is_not_worked_on(self, desk: Desk) -> None:
        job = await failed(desk)
        await desk.ask(api.DeleteAsset(TENANT, APP, job.body.inputs[0]))  # type: ignore[union-attr]
        with pytest.raises(tending.InputsGone):
            await desk.ask(api_operator.RetryJob(job.id))

    async def test_what_runs_or_succeeded_or_expired_is_not_retried(self, desk: Desk) -> None:
        queued = await desk.uploaded()
        with pytest.raises(tending.StillRuns):
            await desk.ask(api_operator.RetryJob(queued.id))
        done, _ = await desk.leased(queued)
        await desk.outcome(done, MADE)
        with pytest.raises(tending.NothingToRetry):
            await desk.ask(api_operator.RetryJob(done.id))
        with pytest.raises(UnknownId):
            await desk.ask(api_operator.RetryJob(desk.id()))

    async def test_what_waits_for_its_next_try_is_tried_now(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded())
        await desk.outcome(job, Outcome("failed", kind="transient", reason="engine-fault", wiped=True))
        assert desk.job(job.id).head.not_before > desk.clock.now()
        ready = len(desk.dispatcher.told("ready"))
        line = await desk.ask(api_operator.RetryJob(job.id))
        assert (line.state, line.not_before, line.attempts) == (JobState.QUEUED, 0.0, 1)
        assert desk.dispatcher.told("ready")[ready:] == [[job.id]]

    async def test_a_job_that_would_be_refused_today_is_refused(self, desk: Desk) -> None:
        job = await failed(desk)
        desk.estate.tools = replace(desk.estate.tools, available={})
        with pytest.raises(tending.Refused, match="operation-not-available"):
            await desk.ask(api_operator.RetryJob(job.id))
        assert desk.job(job.id).head.state is JobState.FAILED


class TestCancel:
    async def test_a_leased_job_ends_and_its_engine_is_released_by_the_closer(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded())
        line = await desk.ask(api_operator.CancelJob(job.id))
        assert (line.state, line.reason) == (JobState.ENDING, tending.REASON)
        assert desk.job(job.id).head.ending is JobState.CANCELLED
        assert desk.job(job.id).head.actor == "engine-noop-1"  # whom the closer has to ask
        assert desk.closer.told("finish") == [[job.id]]
        source: Asset = desk.asset(job.body.inputs[0])  # type: ignore[union-attr]
        assert source.head.state is AssetState.STORED  # its user chose to keep it
        again = await desk.ask(api_operator.CancelJob(job.id))  # once more: nothing new
        assert again.state is JobState.ENDING
        assert [leaf.action for leaf in leaves(desk)] == [Action.CANCEL]

    async def test_what_has_ended_is_not_cancelled(self, desk: Desk) -> None:
        job = await failed(desk)
        with pytest.raises(tending.HasEnded):
            await desk.ask(api_operator.CancelJob(job.id))

    async def test_a_cancelled_job_can_be_retried(self, desk: Desk) -> None:
        job = await desk.uploaded()
        await desk.ask(api_operator.CancelJob(job.id))
        await desk.do(jobs.settle, desk.job(job.id))  # as the closer does
        assert desk.job(job.id).head.state is JobState.CANCELLED
        assert (await desk.ask(api_operator.RetryJob(job.id))).reason == ""

    async def test_a_deadline_that_comes_meanwhile_wins(self, desk: Desk) -> None:
        job, _ = await desk.leased(await desk.uploaded())
        await desk.decide(retention.expire_due, ExpireDue(job.body.inputs, "deadline", 0.0))  # type: ignore[union-attr]
        await desk.ask(api_operator.CancelJob(job.id))
        assert desk.job(job.id).head.ending is JobState.EXPIRED


class TestWhoDidIt:
    async def test_the_log_says_what_was_done_and_names_a_key_where_it_signed(self, desk: Desk) -> None:
        job = await failed(desk)
        key = Ed25519PrivateKey.from_private_bytes(os.urandom(32))
        public = key.public_key().public_bytes_raw()
        desk.estate.tools = replace(desk.estate.tools, approvers=lambda: {"alice": public})
        before = metrics.ACTIONS.labels(Action.RETRY)._value.get()
        signature = key.sign(operators.signed_part(Action.RETRY, job.id))
        await desk.ask(api_operator.RetryJob(job.id, {"alice": signature}))
        await desk.ask(api_operator.CancelJob(job.id))
        first, second = leaves(desk)
        assert (first.action, first.target) == (Action.RETRY, target_of(Action.RETRY, job.id))
        assert (first.operator, second.operator) == (key_id(public), "")
        assert job.id.encode() not in msgspec.json.encode(first)
        assert metrics.ACTIONS.labels(Action.RETRY)._value.get() == before + 1

    async def test_a_signature_of_another_action_names_nobody(self, desk: Desk) -> None:
        job = await failed(desk)
        key = Ed25519PrivateKey.from_private_bytes(os.urandom(32))
        public = key.public_key().public_bytes_raw()
        desk.estate.tools = replace(desk.estate.tools, approvers=lambda: {"alice": public})
        signature = key.sign(operators.signed_part(Action.CANCEL, job.id))
        with pytest.raises(operators.NotSigned):
            await desk.ask(api_operator.RetryJob(job.id, {"alice": signature}))
        desk.book.discard()
        assert desk.job(job.id).head.state is JobState.FAILED
        assert leaves(desk) == []
