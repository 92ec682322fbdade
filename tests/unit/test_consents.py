"""The owner's consent ledger: what is written, what is told, and what a withdrawal ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.agents import api, consents, jobs, owner, records
from stream.agents.book import Asset, Job
from stream.agents.owner import RefusedByVerdict
from stream.events.bus import Outcome, OutputFacts
from stream.events.records import Note
from stream.events.rows import AssetBody, AssetState, JobBody, JobState, SubjectBody
from stream.policies import compiler
from stream.policies.consents import How, digest
from stream.policies.refusals import (
    AgeNotAsked,
    ConsentLedgerFull,
    GuardianNotAsked,
    UnknownAgeBand,
    UnknownPurpose,
    WrongConsentVersion,
    WrongRegion,
)
from stream.policies.vocabulary import Clock, DataClass
from tests.unit.desk import FACTS, TENANT, Desk

APP = "nursery"
MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)
TEXT = "I agree that faces are looked for."


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    return await Desk(tmp_path).open()


async def say(desk: Desk, purpose: str = "face_processing", *, granted: bool = True, **more: Any) -> api.ConsentView:
    asked: dict[str, Any] = {"tenant": TENANT, "app": APP, "subject": "alice", "version": "1"} | more
    return await desk.ask(api.PutConsent(purpose=purpose, granted=granted, **asked))


async def band(desk: Desk, name: str, *, app: str = APP) -> api.AgeView:
    return await desk.ask(api.PutAge(TENANT, app, "alice", name))


async def told(desk: Desk, subject: str = "alice") -> api.ConsentsView:
    return await desk.ask(api.GetConsents(TENANT, APP, subject))


async def uploaded(desk: Desk, operation: str = "noop") -> Job:
    return await desk.uploaded(app=APP, operation=operation)


async def finished(desk: Desk, operation: str = "noop") -> tuple[Job, Asset, Asset]:
    """A job that succeeded: itself, its upload and its result."""
    job, (made,) = await desk.leased(await uploaded(desk, operation))
    await desk.outcome(job, MADE)
    await desk.heard()
    assert job.body is not None
    return desk.job(job.id), desk.asset(job.body.inputs[0]), desk.asset(made.id)


def subject_of(desk: Desk) -> SubjectBody:
    subject = desk.book.subject(desk.book.subjects[TENANT, APP, "alice"])
    assert subject is not None
    return subject.body


class TestTheLedger:
    async def test_it_keeps_every_word(self, desk: Desk) -> None:
        first = desk.clock.now()
        await say(desk, how=How.APP, proof="order-4711")
        desk.clock.moment += 5
        await say(desk, granted=False, version="any")
        desk.clock.moment += 5
        await say(desk, how=How.PAPER, proof=f"sha256:{'a' * 64}", guardian=True)
        view = await told(desk)
        hash_ = desk.estate.policy(APP).hash
        assert view.history == (
            api.ConsentView("face_processing", "1", True, first, "app", "order-4711", False, digest(TEXT), hash_),
            api.ConsentView("face_processing", "any", False, first + 5, "tenant_api", "", False, "", hash_),
            api.ConsentView(
                "face_processing", "1", True, first + 10, "paper", f"sha256:{'a' * 64}", True, digest(TEXT), hash_
            ),
        )
        assert view.standing == ()  # a guardian agreed, and nobody knows that they had to
        assert view.ask == (
            api.AskView("face_processing", "1", "own"),
            api.AskView("promotion", "1", "new"),
        )

    async def test_of_an_unknown_subject_nothing_is_known_and_nothing_is_made(self, desk: Desk) -> None:
        view = await told(desk, "nobody")
        assert (view.standing, view.history, view.age) == ((), (), "")
        assert {one.why for one in view.ask} == {"new"}
        assert desk.book.subjects == {}

    async def test_a_word_repeated_is_written_once(self, desk: Desk) -> None:
        first = await say(desk)
        desk.clock.moment += 5
        assert await say(desk) == first
        gone = await say(desk, granted=False)
        desk.clock.moment += 5
        assert await say(desk, granted=False, version="7") == gone
        assert len((await told(desk)).history) == 2

    @pytest.mark.parametrize(
        ("asked", "error"),
        [
            ({"purpose": "training"}, UnknownPurpose),
            ({"version": "0"}, WrongConsentVersion),
            ({"app": "genzo", "version": "2025-1", "guardian": True}, GuardianNotAsked),
        ],
    )
    async def test_what_is_refused_leaves_nothing(self, desk: Desk, asked: dict[str, Any], error: type) -> None:
        with pytest.raises(error):
            await say(desk, **asked)
        assert desk.book.subjects == {}
        assert len(desk.ledger) == 0

    async def test_a_program_that_runs_in_a_circle_is_stopped_and_may_still_withdraw(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("stream.policies.consents.MAX_GRANTS", 2)
        await say(desk, proof="1")
        await say(desk, proof="2")
        await say(desk, proof="2")  # nothing new
        with pytest.raises(ConsentLedgerFull):
            await say(desk, proof="3")
        await say(desk, granted=False)
        assert len((await told(desk)).history) == 3

    async def test_what_an_earlier_version_kept_comes_first(self, desk: Desk) -> None:
        await say(desk)
        who = desk.book.subject(desk.book.subjects[TENANT, APP, "alice"])
        assert who is not None
        (entry,) = who.body.history
        old = msgspec.structs.replace(entry, how="", text="", policy="")
        body = msgspec.structs.replace(who.body, consents={"face_processing": old}, history=())
        await desk.do(_rewrite_subject, type(who)(who.id, who.head, body))
        assert (await told(desk)).standing == (consents.consent_view(old),)
        await say(desk, "promotion")
        assert subject_of(desk).consents == {}
        assert [one.purpose for one in subject_of(desk).history] == ["face_processing", "promotion"]

    async def test_a_new_text_is_to_be_asked_again(self, desk: Desk) -> None:
        await say(desk)
        policy = desk.estate.policy(APP)
        texts = tuple(msgspec.structs.replace(one, version="2", text=f"{one.text} More.") for one in policy.consents)
        desk.estate.tools.policies[APP] = msgspec.structs.replace(policy, consents=texts)  # type: ignore[index]
        view = await told(desk)
        assert view.standing == ()
        assert {(one.purpose, one.version, one.why) for one in view.ask} == {
            ("face_processing", "2", "changed"),
            ("promotion", "2", "new"),
        }

    async def test_it_is_sealed_and_goes_with_its_subject(self, desk: Desk) -> None:
        await say(desk, proof="order-4711")
        assert not any(b"order-4711" in value for _, value in desk.ledger.items())
        await desk.ask(api.DeleteSubject(TENANT, APP, "alice"))
        assert (await told(desk)).history == ()


def _rewrite_subject(estate: Any, change: Any, subject: Any) -> None:
    estate.book.put_subject(change, subject)


class TestTexts:
    async def test_word_for_word(self, desk: Desk) -> None:
        view = await desk.ask(api.GetTexts(APP))
        faces, promotion = view.texts
        assert (faces.purpose, faces.version, faces.text, faces.clause) == ("face_processing", "1", TEXT, "test §2")
        assert (faces.sha256, faces.needed_by, promotion.needed_by) == (digest(TEXT), ("noop",), ())
        assert (view.app, view.policy) == (APP, desk.estate.policy(APP).hash)
        assert view.ages == ("under_14", "14_to_17", "adult")
        assert (await desk.ask(api.GetTexts("genzo"))).ages == ()

    async def test_of_an_app_without_a_policy_there_are_none(self, desk: Desk) -> None:
        with pytest.raises(compiler.UnknownApp):
            await desk.ask(api.GetTexts("nosuchapp"))


class TestAge:
    async def test_only_the_band_is_kept(self, desk: Desk) -> None:
        view = await band(desk, "14_to_17")
        assert (view.band, view.guardian) == ("14_to_17", "advised")
        assert {one.why for one in view.ask} == {"new"}
        assert await band(desk, "14_to_17") == view
        assert ((await told(desk)).age, (await told(desk)).guardian) == ("14_to_17", "advised")
        assert (await band(desk, "adult")).guardian == ""
        assert (await band(desk, "under_14")).guardian == "needed"

    async def test_what_is_not_asked_is_not_taken(self, desk: Desk) -> None:
        with pytest.raises(AgeNotAsked, match="genzo"):
            await band(desk, "adult", app="genzo")
        with pytest.raises(UnknownAgeBand, match="under_14, 14_to_17, adult"):
            await band(desk, "1999-01-01")
        assert desk.book.subjects == {}

    async def test_a_guardian_agrees_for_a_child(self, desk: Desk) -> None:
        await say(desk)
        refused = await kind_of(desk)
        assert refused == "age-unknown"
        view = await band(desk, "under_14")
        assert view.ask[0] == api.AskView("face_processing", "1", "guardian")
        assert await kind_of(desk) == "guardian-consent-missing"
        await say(desk, guardian=True, how=How.PAPER)
        assert await kind_of(desk) == ""
        await say(desk, granted=False)  # the child's own word is enough to end it
        assert await kind_of(desk) == "guardian-consent-missing"

    async def test_advice_is_told_with_the_job(self, desk: Desk) -> None:
        await say(desk)
        await band(desk, "14_to_17")
        job = await desk.submit(app=APP)
        assert (await desk.ask(api.GetJob(TENANT, APP, job.id))).advice == "guardian"
        await band(desk, "adult")
        assert (await desk.ask(api.GetJob(TENANT, APP, job.id))).advice == ""

    async def test_who_turns_out_to_be_a_child_is_stopped(self, desk: Desk) -> None:
        """Nobody's consent counted, so what was begun and brought in goes as if it had been withdrawn."""
        await band(desk, "adult")
        await say(desk)
        job, faceless = await uploaded(desk), await uploaded(desk, "stylization")
        await band(desk, "14_to_17")
        assert desk.job(job.id).head.state is JobState.QUEUED
        await band(desk, "under_14")
        for ended in (job, faceless):  # also that for which there is no text at all
            assert (desk.job(ended.id).head.state, desk.job(ended.id).head.ending) == (
                JobState.ENDING,
                JobState.CANCELLED,
            )
            assert desk.asset(ended.body.inputs[0]).head.state is AssetState.HIDDEN  # type: ignore[union-attr]

    async def test_a_child_whose_guardian_agreed_goes_on(self, desk: Desk) -> None:
        await say(desk, guardian=True)
        await band(desk, "under_14")
        job = await uploaded(desk)
        await say(desk, guardian=True)
        await band(desk, "under_14")
        assert desk.job(job.id).head.state is JobState.QUEUED


async def kind_of(desk: Desk) -> str:
    """Why a job is refused; empty where it is not."""
    try:
        await desk.submit(app=APP)
    except RefusedByVerdict as refused:
        return refused.problem.kind
    return ""


class TestWithdrawal:
    @pytest_asyncio.fixture
    async def desk(self, tmp_path: Path) -> Desk:
        desk = await Desk(tmp_path).open()
        await band(desk, "adult")
        await say(desk)
        await say(desk, "promotion")
        return desk

    async def test_jobs_that_need_it_are_cancelled_and_others_go_on(self, desk: Desk) -> None:
        needs, other = await uploaded(desk), await uploaded(desk, "stylization")
        await say(desk, granted=False)
        ending = desk.job(needs.id).head
        assert (ending.state, ending.ending) == (JobState.ENDING, JobState.CANCELLED)
        assert [needs.id] in desk.closer.told("finish")
        assert desk.job(other.id).head.state is JobState.QUEUED
        assert await kind_of(desk) == "consent-missing"

    async def test_what_it_brought_in_goes_as_the_policy_says_and_the_rest_stays(self, desk: Desk) -> None:
        _, source, result = await finished(desk)
        _, other_source, other_result = await finished(desk, "stylization")
        now = desk.clock.now()
        await say(desk, granted=False)
        assert (desk.asset(source.id).head.state, desk.asset(source.id).head.cause) == (
            AssetState.HIDDEN,
            "consent_withdrawn",
        )
        shortened = desk.asset(result.id).head  # 10 minutes after the withdrawal, says its promise
        assert (shortened.state, shortened.ceiling, shortened.due) == (AssetState.STORED, now + 600, now + 540)
        assert shortened.due < result.head.due
        for kept in (other_source, other_result):
            assert desk.asset(kept.id).head == kept.head
        await desk.heard()
        assert desk.asset(source.id).head.state is AssetState.DEAD

    async def test_a_purpose_that_no_operation_needs_erases_nothing(self, desk: Desk) -> None:
        running, (_, source, result) = await uploaded(desk), await finished(desk)
        await say(desk, "promotion", granted=False)
        assert desk.job(running.id).head.state is JobState.QUEUED
        assert [desk.asset(one.id).head for one in (source, result)] == [source.head, result.head]
        assert [one.purpose for one in (await told(desk)).standing] == ["face_processing"]

    async def test_a_request_withdraws_too_and_is_told_what_goes(self, desk: Desk) -> None:
        _, source, _ = await finished(desk)
        who = desk.book.subject(desk.book.subjects[TENANT, APP, "alice"])
        assert await desk.do(consents.withdraw, who, "promotion") == []
        who = desk.book.subject(who.id)  # type: ignore[union-attr]
        assert [one.id for one in await desk.do(consents.withdraw, who, "face_processing")] == [source.id]
        who = desk.book.subject(who.id)  # type: ignore[union-attr]
        assert await desk.do(consents.withdraw, who, "face_processing") == []
        history = (await told(desk)).history
        assert [(one.purpose, one.granted, one.version, one.how) for one in history[2:]] == [
            ("promotion", False, "1", "rights_request"),
            ("face_processing", False, "1", "rights_request"),
        ]

    async def test_a_record_goes_or_gets_its_shorter_time_like_media(self, desk: Desk) -> None:
        """Of a record that names no purpose every one is presumed."""
        who = desk.book.subjects[TENANT, APP, "alice"]
        made = [
            await desk.do(
                records.create,
                app=APP,
                data_class=data_class,
                tenant=TENANT,
                subject=who,
                value=Note("seen"),
                clocks={Clock.UPLOAD_RECEIVED: desk.clock.now()},
            )
            for data_class in (DataClass.UPLOAD_IMAGE, DataClass.RESULT_IMAGE, DataClass.PROCESSING_RECORD)
        ]
        now = desk.clock.now()
        await say(desk, "promotion", granted=False)
        gone, shortened, kept = (desk.asset(one.id) for one in made)
        assert gone.head.state is AssetState.HIDDEN
        assert (shortened.head.state, shortened.head.ceiling) == (AssetState.STORED, now + 600)
        assert shortened.body is not None
        assert shortened.body.clocks["consent_withdrawn"] == now
        assert kept.head == made[2].head

    async def test_what_was_collected_for_a_purpose_goes_with_it(self, desk: Desk) -> None:
        _, source, _ = await finished(desk)
        assert source.body is not None
        body = msgspec.structs.replace(source.body, consents=("promotion",))
        await desk.do(_rewrite, Asset(source.id, source.head, body))
        await say(desk, "promotion", granted=False)
        assert desk.asset(source.id).head.state is AssetState.HIDDEN

    async def test_media_outlive_their_jobs_row_and_remember(self, desk: Desk) -> None:
        job, source, _ = await finished(desk)
        await desk.do(_bury, job.id)
        await say(desk, granted=False)
        assert desk.asset(source.id).head.state is AssetState.HIDDEN

    async def test_and_what_needed_no_consent_remembers_that(self, desk: Desk) -> None:
        job, source, result = await finished(desk, "stylization")
        await desk.do(_bury, job.id)
        await say(desk, granted=False)
        assert [desk.asset(one.id).head for one in (source, result)] == [source.head, result.head]

    @pytest.mark.parametrize("job_left", [True, False])
    async def test_what_was_made_before_that_was_written_down_counts_as_made_under_any(
        self, desk: Desk, *, job_left: bool
    ) -> None:
        job, source, _ = await finished(desk)
        assert source.body is not None
        assert job.body is not None
        body = msgspec.structs.replace(source.body, consents=None)
        await desk.do(_rewrite, Asset(source.id, source.head, body))
        await desk.do(_rewrite_job, Job(job.id, job.head, msgspec.structs.replace(job.body, consents=None)))
        if not job_left:
            await desk.do(_bury, job.id)
        await say(desk, "promotion", granted=False)
        assert desk.asset(source.id).head.state is AssetState.STORED  # no operation ever needed that one
        await say(desk, granted=False)
        assert desk.asset(source.id).head.state is AssetState.HIDDEN

    async def test_a_saved_picture_that_another_job_uses_takes_that_job_along(self, desk: Desk) -> None:
        _, source, _ = await finished(desk)
        user = await desk.submit(app=APP, operation="stylization", inputs=(api.InputSlot(source.id),))
        await say(desk, granted=False)
        await desk.heard()
        assert desk.job(user.id).head.ending is JobState.EXPIRED

    async def test_another_apps_consent_is_another_consent(self, desk: Desk) -> None:
        await desk.ask(api.PutConsent(TENANT, "genzo", "alice", "face_processing", "2025-1", granted=True))
        await say(desk, granted=False)
        view = await desk.ask(api.GetConsents(TENANT, "genzo", "alice"))
        assert [one.purpose for one in view.standing] == ["face_processing"]

    async def test_a_withdrawal_waits_until_all_that_belongs_to_its_subject_is_found(self, desk: Desk) -> None:
        _, source, _ = await finished(desk)
        desk.estate.book = desk.book = type(desk.book)(desk.ledger, desk.pages, await_inputs_s=1.0)
        await desk.book.rebuild()
        withdrawing = asyncio.create_task(say(desk, granted=False))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not withdrawing.done()
        await desk.book.open_rest()
        await withdrawing
        assert desk.asset(source.id).head.state is AssetState.HIDDEN


def _rewrite(estate: Any, change: Any, asset: Asset) -> None:
    estate.book.put_asset(change, asset)


def _rewrite_job(estate: Any, change: Any, job: Job) -> None:
    estate.book.put_job(change, job)


def _bury(estate: Any, change: Any, job_id: str) -> None:
    estate.book.bury(change, job_id)


class TestGenzo:
    async def test_faces_withdrawn_takes_all_that_faces_were_needed_for(self, desk: Desk) -> None:
        """G8: in Genzo every operation needs that consent, so nothing of the media is left."""
        ask = api.PutConsent(TENANT, "genzo", "alice", "face_processing", "2025-1", granted=True)
        await desk.ask(ask)
        job = await desk.submit(app="genzo", operation="stylization")
        assert job.body is not None
        await desk.do(jobs.received, job, desk.asset(job.body.inputs[0]), FACTS)
        await desk.heard()
        detecting, (feature,) = await desk.leased(desk.job(job.id))
        await desk.ask(msgspec.structs.replace(ask, granted=False))
        assert detecting.body is not None
        for asset_id in (*detecting.body.inputs, feature.id):
            assert desk.asset(asset_id).head.state is AssetState.HIDDEN
        assert desk.job(job.id).head.ending is JobState.CANCELLED


class TestRegion:
    ASKS = (
        ("put_consent", api.PutConsent(TENANT, "island", "alice", "face_processing", "1", granted=True)),
        ("put_age", api.PutAge(TENANT, "island", "alice", "adult")),
        ("grant_write", api.GrantWrite(TENANT, "island", "job", 0, 1, b"")),
    )

    @pytest.mark.parametrize(("verb", "ask"), ASKS)
    async def test_nothing_is_taken_in_elsewhere(self, desk: Desk, verb: str, ask: msgspec.Struct) -> None:
        desk.ledger._acked_at = desk.ledger._boottime() + 3600.0
        with pytest.raises(WrongRegion, match="island"):
            owner.admit(desk.estate, verb, ask)

    @pytest.mark.parametrize(
        ("verb", "ask"),
        [
            ("put_consent", api.PutConsent(TENANT, "island", "alice", "face_processing", "1", granted=False)),
            ("delete_subject", api.DeleteSubject(TENANT, "island", "alice")),
            ("get_consents", api.GetConsents(TENANT, "island", "alice")),
            ("get_texts", api.GetTexts("island")),
        ],
    )
    async def test_whoever_is_here_may_look_and_leave(self, desk: Desk, verb: str, ask: msgspec.Struct) -> None:
        desk.ledger._acked_at = desk.ledger._boottime() + 3600.0
        owner.admit(desk.estate, verb, ask)

    @pytest.mark.parametrize(("verb", "ask"), ASKS)
    async def test_at_home_all_is_taken(self, tmp_path: Path, verb: str, ask: msgspec.Struct) -> None:
        desk = await Desk(tmp_path, region="island").open()
        desk.ledger._acked_at = desk.ledger._boottime() + 3600.0
        owner.admit(desk.estate, verb, ask)

    async def test_the_verdict_says_so_too(self, desk: Desk) -> None:
        with pytest.raises(RefusedByVerdict) as refused:
            await desk.submit(app="island")
        assert refused.value.problem.kind == "wrong-region"

    async def test_and_grants_at_home(self, tmp_path: Path) -> None:
        desk = await Desk(tmp_path, region="island").open()
        await say(desk, app="island")
        assert (await desk.submit(app="island")).head.state is JobState.AWAITING


# Bytes as the first version wrote them: they must decode in every later one.
OLD_ASSET = (
    "85a674656e616e74a574656e5f61a77375626a656374a57375625f62a473616c74c41073737373737373737373737373737373a663686f696365"
    "a473617665a86861735f66616365c3"
)
OLD_JOB = (
    "86a674656e616e74a574656e5f61a77375626a656374a57375625f62a96f7065726174696f6ea46e6f6f70a6706172616d73c4027b7da663686f"
    "696365a473617665a6696e7075747391a56173745f63"
)


def test_old_bodies_say_nothing_of_consents() -> None:
    asset = msgspec.msgpack.decode(bytes.fromhex(OLD_ASSET), type=AssetBody)
    assert asset == AssetBody(tenant="ten_a", subject="sub_b", salt=b"s" * 16, choice="save", has_face=True)
    job = msgspec.msgpack.decode(bytes.fromhex(OLD_JOB), type=JobBody)
    assert (job.operation, job.inputs, job.consents, asset.consents) == ("noop", ("ast_c",), None, None)


steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["face_processing", "promotion"]), st.booleans(), st.booleans()),
        st.sampled_from(["under_14", "14_to_17", "adult"]),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(steps=steps)
async def test_no_job_runs_without_the_consent_it_needs(tmp_path_factory: pytest.TempPathFactory, steps: Any) -> None:
    """After any sequence: what has not ended could begin again this moment, and what was begun under consent was."""
    desk = await Desk(tmp_path_factory.mktemp("desk")).open()
    agreed: set[tuple[str, bool]] = set()
    age = ""
    for step in steps:
        if isinstance(step, str):
            age = step
            await band(desk, age)
        else:
            purpose, granted, guardian = step
            try:
                await say(desk, purpose, granted=granted, guardian=guardian)
            except GuardianNotAsked:
                assert (granted, guardian, age) == (True, True, "adult")
                continue
            agreed = agreed | {(purpose, guardian)} if granted else {one for one in agreed if one[0] != purpose}
        may = bool(age) and ("face_processing", age == "under_14") in agreed
        running = [job_id for job_id in desk.book.active if desk.job(job_id).head.state is not JobState.ENDING]
        assert may or not running
        assert (await kind_of(desk) == "") == may
