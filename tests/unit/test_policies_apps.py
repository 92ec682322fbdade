"""The five apps as they run: what their texts keep in memory or on the device never becomes a row."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.agents import api, jobs
from stream.agents.book import Job
from stream.agents.owner import RefusedByVerdict, submit
from stream.events.bus import Outcome, OutputFacts
from stream.events.rows import AssetState, JobState
from stream.policies import compiler
from stream.policies.deadlines import MIN_BUCKET_S, NoPromise, bucket_width_s, ceiling, floor
from stream.policies.vocabulary import MEDIA, Clock, DataClass, Place
from tests import twins
from tests.unit.desk import Desk

ROOT = Path(__file__).parents[2]
POLICIES = compiler.load_all("")
T0 = 1_764_201_600.0
DAY = 86_400.0

choices = st.sampled_from(["", "none", "save", "discard"])
faces = st.sampled_from([True, False, None])
clocks = st.dictionaries(st.sampled_from(Clock), st.floats(min_value=T0, max_value=T0 + 400 * DAY), max_size=8)


def test_the_five_are_there():
    assert set(POLICIES) == {"genzo", "talentedi", "background-removal-ai", "batchpix", "perfect-me"}


@pytest.mark.parametrize("app", POLICIES)
def test_what_people_must_do_is_written_down_for_them(app):
    for duty in POLICIES[app].duties:
        assert not duty.artefact or (ROOT / duty.artefact).is_file(), duty.name


@pytest.mark.parametrize("app", ["batchpix", "background-removal-ai"])
@given(st.sampled_from(sorted(MEDIA)), choices, faces, clocks)
def test_nothing_of_a_picture_can_be_stored(app, data_class, choice, face, started):
    with pytest.raises(NoPromise):
        ceiling(POLICIES[app], data_class, choice=choice, has_face=face, clocks=started)


@pytest.mark.parametrize("app", POLICIES)
@given(st.tuples(st.sampled_from(DataClass), choices, faces), clocks, clocks)
def test_clocks_that_start_later_only_shorten_and_never_below_a_floor(app, thing, started, more):
    policy, (data_class, choice, face) = POLICIES[app], thing
    later = {clock: at for clock, at in more.items() if clock not in started}
    try:
        before = ceiling(policy, data_class, choice=choice, has_face=face, clocks=started).at
        after = ceiling(policy, data_class, choice=choice, has_face=face, clocks={**started, **later}).at
    except NoPromise:
        return
    if Clock.PROCESSING_FAILED not in later:  # which takes the place of the job's end, where a text says so
        assert after <= before
    if Clock.LOG_EVENT_RECORDED in started:
        assert floor(policy, data_class, started) <= after


@pytest.mark.parametrize("app", POLICIES)
async def test_what_is_not_for_the_server_leaves_no_row(app: str, tmp_path: Path) -> None:
    desk = await Desk(tmp_path).open()
    for operation in POLICIES[app].operations:
        if operation.runs is Place.SERVER:
            continue
        ask = api.Submit("tenant", app, "user", operation.name, b"{}", "", (api.InputSlot(),) * len(operation.inputs))
        with pytest.raises(RefusedByVerdict) as refused:
            await submit(desk.estate, ask)
        kind = {Place.MEMORY: "in-memory-only", Place.DEVICE: "on-device-only"}[operation.runs]
        assert refused.value.problem.kind == kind
        assert not dict(desk.ledger.items())
        assert not desk.events


async def at_work(folder: Path) -> Desk:
    """A desk where an engine performs whatever the five apps offer, in the region where data must stay."""
    desk = await Desk(folder, region="CN").open()
    names = {operation.name for policy in POLICIES.values() for operation in policy.operations}
    desk.estate.tools = replace(desk.estate.tools, available=dict.fromkeys(names, ()))
    return desk


async def job_of(desk: Desk, app: str, operation: str, media_type: str = "image/jpeg") -> Job:
    """A job with everything that its policy asks for, its inputs uploaded, leased to an engine."""
    policy = POLICIES[app]
    for consent in policy.consents:
        await desk.ask(api.PutConsent("tenant", app, "alice", consent.purpose, consent.version, granted=True))
    if policy.age is not None:
        await desk.ask(api.PutAge("tenant", app, "alice", "adult"))
    job = await desk.submit(app=app, operation=operation, choice="")
    assert job.body is not None
    for asset_id in job.body.inputs:
        facts = OutputFacts("input", 5, media_type, 2, 2)
        await desk.do(jobs.received, job, desk.asset(asset_id), facts)
    await desk.heard()
    return desk.job(job.id)


class TestPerfectMe:
    async def test_an_upload_whose_job_failed_may_wait_for_another_try_until_a_day_after_it_came(
        self, tmp_path: Path
    ) -> None:
        desk = await at_work(tmp_path)
        job = await job_of(desk, "perfect-me", "expression")
        came = desk.clock.moment
        desk.clock.moment += 60
        await desk.do(jobs.failed, job, Outcome("failed", kind="permanent", wiped=True))
        assert desk.job(job.id).head.state is JobState.FAILED
        face = desk.asset(job.body.inputs[0])
        assert face.head.state is AssetState.STORED
        assert came + DAY - 400 <= face.head.due < face.head.ceiling == came + DAY  # a lead, and a bucket of 337 s
        assert face.head.clause == "004 §1 User Face ¶2, 1.1.2"

    @pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.CANCELLED])
    async def test_and_goes_at_once_where_it_did_not_fail(self, tmp_path: Path, state: JobState) -> None:
        desk = await at_work(tmp_path)
        job = await job_of(desk, "perfect-me", "expression")
        desk.clock.moment += 60
        await desk.do(jobs.end, job, state)
        assert desk.asset(job.body.inputs[0]).head.state is AssetState.DEAD

    async def test_of_a_video_a_video_is_made(self, tmp_path: Path) -> None:
        desk = await at_work(tmp_path)
        job = await job_of(desk, "perfect-me", "anime", "video/mp4")
        assert desk.asset(job.body.inputs[0]).head.data_class == DataClass.UPLOAD_VIDEO
        _, (made,) = await desk.leased(job)
        assert made.head.data_class == DataClass.RESULT_VIDEO
        still = await job_of(desk, "perfect-me", "anime")
        assert desk.asset(still.body.inputs[0]).head.data_class == DataClass.UPLOAD_IMAGE
        _, (made,) = await desk.leased(still)
        assert made.head.data_class == DataClass.RESULT_IMAGE


class TestTalentedi:
    @pytest.mark.parametrize("data_class", ["upload_image", "upload_video", "voice_audio", "mask_result"])
    def test_no_longer_promise_makes_the_pages_of_an_hours_things_coarser(self, data_class: str) -> None:
        assert bucket_width_s(POLICIES["talentedi"], data_class) == MIN_BUCKET_S

    def test_app_lists_are_collected_only_once_somebody_decides_it(self) -> None:
        decided = compiler.load_all("", {"talentedi": {"app_lists": "30 d"}})["talentedi"]
        assert POLICIES["talentedi"].never_stored(DataClass.INSTALLED_APPS) is not None
        clocks = {Clock.COLLECTED: T0}
        assert ceiling(decided, "installed_apps", choice="", has_face=None, clocks=clocks).at == T0 + 30 * DAY

    async def test_a_cutouts_mask_goes_once_returned(self, tmp_path: Path) -> None:
        desk = await at_work(tmp_path)
        job = await job_of(desk, "talentedi", "cutout")
        _, (mask,) = await desk.leased(job)
        await desk.outcome(desk.job(job.id), Outcome("succeeded", outputs=(OutputFacts("result", 5),), wiped=True))
        mask = desk.asset(mask.id)
        assert mask.head.on_return
        assert mask.head.state is AssetState.STORED
        assert desk.asset(job.body.inputs[0]).head.state is AssetState.DEAD  # the upload went with its job

    async def test_no_upload_serves_twice(self, tmp_path: Path) -> None:
        desk = await at_work(tmp_path)
        job = await job_of(desk, "talentedi", "portrait_effect")
        again = (api.InputSlot(asset=job.body.inputs[0]),)
        with pytest.raises(RefusedByVerdict) as refused:
            await desk.submit(app="talentedi", operation="portrait_effect", choice="", inputs=again)
        assert refused.value.problem.kind == "no-reuse"

    async def test_an_effect_lives_ten_days(self, tmp_path: Path) -> None:
        desk = await at_work(tmp_path)
        job = await job_of(desk, "talentedi", "portrait_effect")
        _, (made,) = await desk.leased(job)
        desk.clock.moment += 30
        await desk.outcome(desk.job(job.id), Outcome("succeeded", outputs=(OutputFacts("result", 5),), wiped=True))
        assert desk.asset(made.id).head.ceiling == desk.clock.moment + 10 * DAY


@pytest.mark.parametrize("twin", twins.TWINS, ids=lambda twin: twin.name)
def test_twins_compile(twin: twins.Twin) -> None:
    """Without them no test of the running system begins."""
    policy = compiler.compile_policy(twins.text(twin).encode(), f"{twin.name}.toml", for_tests=True)
    assert {one.data_class for one in policy.promises} == {one.data_class for one in POLICIES[twin.app].promises}
