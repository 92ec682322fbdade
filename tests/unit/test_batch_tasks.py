"""What an actor is told of a batch: pieces of all its items in one task, and nothing that its stage does not need."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import patch

import pytest
import pytest_asyncio

from ray_cluster import batch
from stream.agents import api, jobs
from stream.agents.book import Job
from stream.agents.dispatch import BATCH_MARGIN, LEASE_MAX_S, Dispatcher
from stream.errors import LostLease
from stream.events.bus import ItemOutcome, Outcome, OutputFacts
from stream.events.lease import ACTOR_GONE, OUT_OF_MEMORY, SHARED, Progress, Proposal, Size, Task
from stream.events.rows import JobState
from stream.vault.envelope import Recipient
from stream.vault.purposes import lease_info, params_info
from tests.unit.desk import FACTS, TENANT, Desk

PARAMS = b'{"format":"png"}'
FEATURE = OutputFacts("feature", 9, "application/octet-stream")


class Urls:
    """Custody, as far as tasks need it."""

    def __init__(self) -> None:
        self.seconds: set[int] = set()

    def put_url(self, name: str, seconds: int) -> str:
        self.seconds.add(seconds)
        return f"put/{name}"

    get_url = put_url


class Died(LostLease):
    def __init__(self, kind: str) -> None:
        super().__init__("expected an actor that lives")
        self.kind = kind  # type: ignore[misc]


class Cluster:
    """One actor that takes what is started, and ends as told."""

    def __init__(self) -> None:
        self.recipient = Recipient.new()
        self.started: list[Task] = []
        self.outcome: Outcome | None = Outcome("failed")
        self.words: list[Progress] = []  # what it says before that
        self.dies = ""

    async def start(self, _actor: str, task: Task) -> None:
        self.started.append(task)

    async def progress(self, _actor: str, job: str, fence: int, **_: object) -> Progress:
        if self.words:
            return self.words.pop(0)
        if self.dies:
            raise Died(self.dies)
        return Progress(job, fence, 1, outcome=self.outcome)

    async def ack(self, *_: object) -> None:
        pass


class Bench:
    """A desk with a dispatcher whose predictions are `cost_s` an item."""

    def __init__(self, desk: Desk, cost_s: float) -> None:
        self.desk, self.cluster, self.urls = desk, Cluster(), Urls()
        desk.estate.custody = self.urls  # type: ignore[assignment]
        self.learnt: list[tuple[str, Size, float]] = []
        self.dispatcher = Dispatcher(
            self.cluster,  # type: ignore[arg-type]
            "worker",
            owner=lambda _: desk.estate,
            pool=lambda _: "litert",
            cost_s=lambda _operation, _size: cost_s,
            learn=lambda *told: self.learnt.append(told),
        )

    async def dressed(self, *roles: str) -> Job:
        """A batch that waits for an actor, with parameters and with faces to be looked for."""
        await self.desk.ask(api.PutConsent(TENANT, "genzo", "alice", "face_processing", "2025-1", granted=True))
        slots = tuple(api.InputSlot(role=role) for role in roles)
        return await self.desk.uploaded(
            app="genzo", operation="clothing_change", choice="save", inputs=slots, params=PARAMS
        )

    async def leased(self, job: Job) -> Task:
        proposal = Proposal(job=job.id, actor="engine-1", public=self.cluster.recipient.public, offer=1)
        leasing = asyncio.create_task(self.dispatcher._commit_lease(self.desk.estate, proposal))
        while not leasing.done():
            await asyncio.sleep(0)
            await self.desk.commit()
        assert (await leasing) == self.desk.job(job.id).head.fence
        return self.cluster.started[-1]

    async def ended(self, job: Job, outcome: Outcome) -> None:
        """The actor has said so."""
        self.cluster.outcome, head = outcome, self.desk.job(job.id).head
        following = asyncio.create_task(
            self.dispatcher._follow(self.desk.estate, job.id, head.fence, head.actor), name="follow"
        )
        while not following.done():
            await asyncio.sleep(0)
            await self.desk.commit()
        await following

    def params(self, task: Task) -> bytes:
        return self.cluster.recipient.open_bytes(task.sealed_params, params_info(task.app, fence=task.fence))


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> Bench:
    return Bench(await Desk(tmp_path).open(), 30.0)


def detected(*items: int) -> Outcome:
    return Outcome("succeeded", items=tuple(ItemOutcome(n, FEATURE, engine_s=1.0 + n) for n in items), wiped=True)


async def test_each_stage_is_given_what_it_needs(bench: Bench) -> None:
    job = await bench.dressed("", "garment", "")
    looking = await bench.leased(job)
    assert (looking.operation, bench.params(looking)) == ("detect", b"{}")  # whose parameters are another operation's
    assert [(piece.item, piece.role) for piece in looking.inputs] == [(0, "input"), (2, "input")]
    assert [(piece.item, piece.role) for piece in looking.outputs] == [(0, "feature"), (2, "feature")]
    await bench.desk.outcome(bench.desk.job(job.id), detected(0, 2))
    await bench.desk.heard()
    job = bench.desk.job(job.id)
    assert job.head.state is JobState.QUEUED
    making = await bench.leased(job)
    assert (making.operation, bench.params(making)) == ("clothing_change", PARAMS)
    assert [(piece.item, piece.role) for piece in making.inputs] == [
        (0, "input"),
        (2, "input"),
        (SHARED, "input"),
        (0, "feature"),
        (2, "feature"),
    ]
    assert job.body is not None
    parts = batch.parts(making)
    assert [[piece.asset for piece in part.inputs] for part in parts] == [
        [job.body.inputs[0], job.body.inputs[1], job.body.features[0]],
        [job.body.inputs[2], job.body.inputs[1], job.body.features[1]],
    ]
    for piece in (*making.inputs, *making.outputs):  # each opens, under the lease that it was sealed for
        info = lease_info(piece.asset, making.app, fence=making.fence, role=piece.role)
        bench.cluster.recipient.open_key(piece.sealed_key, info).wipe()


async def test_its_parts_are_what_jobs_of_their_own_would_be(bench: Bench) -> None:
    task = await bench.leased(await bench.dressed(""))
    assert batch.parts(task) == (task,)
    assert {piece.item for piece in (*task.inputs, *task.outputs)} == {0}


@pytest.mark.parametrize(("cost_s", "seconds"), [(30.0, 900.0 + 60 * BATCH_MARGIN), (1e6, LEASE_MAX_S)])
async def test_its_urls_live_as_long_as_its_items_take(tmp_path: Path, cost_s: float, seconds: float) -> None:
    bench = Bench(await Desk(tmp_path).open(), cost_s)
    await bench.leased(await bench.dressed("", ""))
    assert bench.urls.seconds == {int(seconds)}
    bench.urls.seconds.clear()
    await bench.leased(await bench.dressed(""))
    assert bench.urls.seconds == {900}


async def test_its_cost_is_that_of_all_items_that_are_left(bench: Bench) -> None:
    job = await bench.dressed("", "garment", "", "")
    bench.dispatcher.ready(job.id)
    assert bench.dispatcher._queue[job.id].cost_s == 90.0
    assert job.body is not None
    await bench.desk.ask(api.DeleteAsset(TENANT, "genzo", job.body.inputs[0]))
    await bench.desk.heard()
    bench.dispatcher.ready(job.id)
    assert bench.dispatcher._queue[job.id].cost_s == 60.0


async def test_each_item_that_succeeded_teaches(bench: Bench) -> None:
    job = await bench.dressed("", "")
    await bench.leased(job)
    failed = ItemOutcome(1, kind="permanent", reason="undecodable-media", engine_s=9.0)
    await bench.ended(job, Outcome("succeeded", items=(*detected(0).items, failed), wiped=True))
    assert [(operation, seconds) for operation, _, seconds in bench.learnt] == [("detect", 1.0)]


@pytest.mark.parametrize(
    ("roles", "heard", "suspect"),
    [(["garment", "", ""], [], 1), (["", ""], [0], 0), (["", ""], [0, 1], 1), ([""], [], -1)],
)
@pytest.mark.parametrize("reason", [ACTOR_GONE, OUT_OF_MEMORY])
async def test_the_item_that_an_actor_died_at_is_named(
    bench: Bench, roles: list[str], heard: list[int], suspect: int, reason: str
) -> None:
    """The last that it said it was at; the first, where it said nothing."""
    job = await bench.dressed(*roles)
    await bench.leased(job)
    fence = bench.desk.job(job.id).head.fence
    bench.cluster.words = [Progress(job.id, fence, seq, item=item) for seq, item in enumerate(heard)]
    bench.cluster.dies = reason
    with patch.object(jobs, "completed", wraps=jobs.completed) as completed:
        await bench.ended(job, Outcome("failed"))
    (outcome,) = [call.args[-1] for call in completed.call_args_list]
    assert (outcome.reason, outcome.suspect) == (reason, suspect)


async def test_a_new_owner_does_not_wait_for_the_word_that_the_last_input_came(bench: Bench) -> None:
    desk = bench.desk
    whole = await desk.submit(inputs=(api.InputSlot(),) * 2)
    partly = await desk.submit(inputs=(api.InputSlot(),) * 2)
    assert whole.body is not None
    assert partly.body is not None
    for job, asset_id in (
        (whole, whole.body.inputs[0]),
        (whole, whole.body.inputs[1]),
        (partly, partly.body.inputs[0]),
    ):
        await desk.do(jobs.received, job, desk.asset(asset_id), FACTS)
    words = list(desk.events)
    desk.events.clear()
    bench.dispatcher.resume(desk.estate)
    await desk.commit()
    assert [desk.job(job.id).head.state for job in (whole, partly)] == [JobState.QUEUED, JobState.AWAITING]
    desk.events += words  # they come after all: nothing is begun twice
    await desk.heard()
    assert [desk.job(job.id).head.state for job in (whole, partly)] == [JobState.QUEUED, JobState.AWAITING]
    assert desk.job(whole.id).head.fence == 0
