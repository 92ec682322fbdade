"""Records: with the life that their class is promised, floors included, and never served as pictures are."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from stream.agents import api, assets, leaving, records, retention
from stream.agents.api_rights import (
    AnswerRequest,
    ExportRequest,
    GetRequest,
    ListRequests,
    OpenRequest,
    RequestView,
    VerifyRequest,
)
from stream.agents.assets import Gone
from stream.agents.book import Asset
from stream.agents.rights import NoRecipient, NothingToDelete
from stream.agents.rights import run as watched
from stream.events.bus import Outcome, OutputFacts
from stream.events.records import Note, Request
from stream.events.rows import AssetState
from stream.ids import Kind, UnknownId
from stream.ledger import Change, LedgerLost
from stream.policies import rights
from stream.policies.calendar import DAY_S, add_months
from stream.policies.refusals import UnknownPurpose
from stream.policies.vocabulary import Clock, DataClass
from stream.vault.envelope import Recipient
from stream.vault.purposes import export_info
from tests.unit.desk import Desk

TENANT = "tenant"


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    made = await Desk(tmp_path).open()
    names = {one.name for policy in made.estate.tools.policies.values() for one in policy.operations}
    made.estate.tools = replace(made.estate.tools, available=dict.fromkeys(names, ()))
    return made


async def consented(desk: Desk, app: str) -> str:
    """A subject with every consent; its row's id."""
    for consent in desk.estate.policy(app).consents:
        await desk.ask(api.PutConsent(TENANT, app, "alice", consent.purpose, consent.version, granted=True))
    return desk.book.subjects[TENANT, app, "alice"]


async def noted(desk: Desk, app: str, data_class: DataClass, clock: Clock, subject: str = "") -> Asset:
    return await desk.do(
        records.create,
        app=app,
        data_class=data_class,
        tenant=TENANT,
        subject=subject,
        value=Note("seen"),
        clocks={clock: desk.estate.now()},
    )


class TestLives:
    async def test_a_record_lives_as_long_as_its_class_and_has_no_object(self, desk: Desk) -> None:
        who = await consented(desk, "talentedi")
        made = await noted(desk, "talentedi", DataClass.CRASH_PERFORMANCE_LOG, Clock.COLLECTED, who)
        assert (made.head.object, made.head.role, made.head.state) == ("", "record", AssetState.STORED)
        assert made.head.ceiling == desk.clock.moment + 30 * DAY_S
        assert records.value(desk.asset(made.id)) == Note("seen")
        desk.clock.moment = made.head.due
        due = desk.book.take_due(desk.clock.moment, 10)
        assert made.id.encode() in due
        desk.estate.commit(retention.announce(desk.estate, due))
        await desk.commit()
        await desk.heard()
        assert desk.asset(made.id).head.state is AssetState.DEAD
        assert desk.asset(made.id).body is None

    async def test_a_clock_that_starts_later_only_shortens(self, desk: Desk) -> None:
        who = await consented(desk, "perfect-me")
        made = await noted(desk, "perfect-me", DataClass.SUPPORT_TICKET, Clock.REQUEST_RECEIVED, who)
        before = made.head.ceiling
        closed = await desk.do(records.start, made, Clock.TICKET_CLOSED, desk.clock.moment)
        assert closed.head.ceiling == before  # a year after closing is later
        ended = await desk.do(records.start, closed, Clock.ACCOUNT_CANCELLED, desk.clock.moment)
        assert ended.head.ceiling == desk.clock.moment < before
        again = await desk.do(records.start, ended, Clock.ACCOUNT_CANCELLED, desk.clock.moment + 5)
        assert again.head.ceiling == ended.head.ceiling

    async def test_batchpix_feedback_is_gone_once_answered(self, desk: Desk) -> None:
        view = await desk.ask(OpenRequest(TENANT, "batchpix", "alice", "question", text="why?"))
        desk.clock.moment += 60
        answered = await desk.ask(AnswerRequest(TENANT, "batchpix", view.id, "completed", answer="because"))
        assert answered.answer == "because"
        asset = desk.asset(view.id)
        assert asset.head.due <= asset.head.ceiling == desk.clock.moment
        due = desk.book.take_due(desk.clock.moment, 10)
        assert view.id.encode() in due
        desk.estate.commit(retention.announce(desk.estate, due))
        await desk.commit()
        await desk.heard()
        assert desk.asset(view.id).head.state is AssetState.DEAD

    async def test_what_has_a_floor_outlives_whoever_asks_for_its_end(self, desk: Desk) -> None:
        who = await consented(desk, "talentedi")
        log = await noted(desk, "talentedi", DataClass.NETWORK_SECURITY_LOG, Clock.LOG_EVENT_RECORDED, who)
        crash = await noted(desk, "talentedi", DataClass.CRASH_PERFORMANCE_LOG, Clock.COLLECTED, who)
        began = desk.clock.moment
        await desk.ask(api.DeleteSubject(TENANT, "talentedi", "alice"))
        await desk.heard()
        assert desk.asset(crash.id).head.state is AssetState.DEAD
        kept = desk.asset(log.id)
        assert kept.head.state is AssetState.STORED
        assert records.value(kept) == Note("seen")  # its key is its own, not its subject's
        assert add_months(began, 6) <= kept.head.due < kept.head.ceiling == add_months(began, 6) + DAY_S
        desk.clock.moment = add_months(began, 6)
        change = Change()
        assert leaving.erase_all(desk.estate, change, who, cause="request") == [kept]

    async def test_a_record_is_no_picture(self, desk: Desk) -> None:
        who = await consented(desk, "talentedi")
        made = await noted(desk, "talentedi", DataClass.CRASH_PERFORMANCE_LOG, Clock.COLLECTED, who)
        for ask in (
            api.GetAsset(TENANT, "talentedi", made.id),
            api.GrantRead(TENANT, "talentedi", made.id, Recipient.new().public, ""),
            api.DeleteAsset(TENANT, "talentedi", made.id),
        ):
            with pytest.raises(UnknownId):
                await desk.ask(ask)


async def opened(desk: Desk, app: str, right: str, **more: object) -> RequestView:
    return await desk.ask(OpenRequest(TENANT, app, "alice", right, **more))  # type: ignore[arg-type]


class TestRequests:
    async def test_one_picture_is_deleted_and_the_request_says_where_its_receipt_is(self, desk: Desk) -> None:
        job = await desk.uploaded()
        leased, _ = await desk.leased(job)
        await desk.outcome(leased, Outcome("succeeded", outputs=(OutputFacts("result", 5),), wiped=True))
        (picture,) = job.body.inputs
        desk.estate.tools = replace(
            desk.estate.tools, policies={**desk.estate.tools.policies, "testapp": with_rights(desk)}
        )
        asking = opened_soon(desk, "testapp", "delete", asset=picture)
        view = await asking
        assert view.state == "completed"
        (receipt,) = view.receipts
        assert receipt == f"/v1/receipts/0/{desk.asset(picture).head.leaf.hex()}"
        assert desk.asset(picture).head.state is AssetState.DEAD
        again = await desk.ask(GetRequest(TENANT, "testapp", view.id))
        assert again.state == "completed"

    async def test_what_is_not_there_cannot_be_deleted(self, desk: Desk) -> None:
        await consented(desk, "genzo")
        with pytest.raises(NothingToDelete):
            await opened(desk, "genzo", "delete", asset=desk.id(Kind.ASSET))
        with pytest.raises(NothingToDelete):
            await opened(desk, "genzo", "delete", data_class="face_image")

    async def test_who_must_be_known_waits_and_loses_nothing(self, desk: Desk) -> None:
        who = await consented(desk, "talentedi")
        log = await noted(desk, "talentedi", DataClass.CRASH_PERFORMANCE_LOG, Clock.COLLECTED, who)
        view = await opened(desk, "talentedi", "cancel_account")
        assert view.state == "pending"
        assert desk.asset(log.id).head.state is AssetState.STORED
        view = await verified_soon(desk, VerifyRequest(TENANT, "talentedi", view.id, "email_code"))
        assert view.state == "completed"
        assert desk.asset(log.id).head.state is AssetState.DEAD
        assert (TENANT, "talentedi", "alice") not in desk.book.subjects
        with pytest.raises(Gone):  # it went with what it was about
            await desk.ask(GetRequest(TENANT, "talentedi", view.id))

    async def test_people_answer_complaints_or_refuse_them_on_a_ground(self, desk: Desk) -> None:
        await consented(desk, "genzo")
        view = await opened(desk, "genzo", "complaint", text="too slow")
        assert view.state == "in_progress"
        assert view.left_s == 10 * DAY_S
        assert records.value(desk.asset(view.id)).text == "too slow"
        with pytest.raises(rights.NoGround):
            await desk.ask(AnswerRequest(TENANT, "genzo", view.id, "refused"))
        view = await desk.ask(AnswerRequest(TENANT, "genzo", view.id, "completed", answer="faster now"))
        assert (view.state, view.answer) == ("completed", "faster now")
        assert not records.value(desk.asset(view.id)).text  # what it was answered with stays, what it said goes
        with pytest.raises(rights.AlreadyAnswered):
            await desk.ask(AnswerRequest(TENANT, "genzo", view.id, "completed"))
        listed = await desk.ask(ListRequests(TENANT, "genzo", "alice"))
        assert [one.id for one in listed.requests] == [view.id]

    async def test_an_export_is_for_whoever_asked_alone(self, desk: Desk) -> None:
        import json

        await consented(desk, "genzo")
        with pytest.raises(NoRecipient):
            await opened(desk, "genzo", "access")
        mine = Recipient.new()
        view = await opened(desk, "genzo", "access", public_key=mine.public)
        export = await desk.ask(ExportRequest(TENANT, "genzo", view.id))
        found = json.loads(mine.open_bytes(export.sealed, export_info(view.id, "genzo")))
        assert found["subject"]["name"] == "alice"
        assert [one["purpose"] for one in found["subject"]["history"]] == ["face_processing"]
        assert [one["class"] for one in found["records"]] == ["rights_request"]
        with pytest.raises(Exception, match="recipient"):
            Recipient.new().open_bytes(export.sealed, export_info(view.id, "genzo"))
        assert (await desk.ask(GetRequest(TENANT, "genzo", view.id))).state == "completed"

    async def test_a_consent_is_withdrawn_by_its_purpose(self, desk: Desk) -> None:
        who = await consented(desk, "genzo")
        with pytest.raises(UnknownPurpose):
            await opened(desk, "genzo", "withdraw", purpose="marketing")
        view = await opened(desk, "genzo", "withdraw", purpose="face_processing")
        assert view.state == "completed"
        assert [(one.granted, one.how) for one in desk.book.subject(who).body.history] == [
            (True, "tenant_api"),
            (False, "rights_request"),
        ]

    async def test_a_refused_request_leaves_no_subject_that_only_memory_has(self, desk: Desk) -> None:
        for right, more in (("withdraw", {"purpose": "marketing"}), ("access", {}), ("delete", {"data_class": "log"})):
            with pytest.raises((UnknownPurpose, NoRecipient, NothingToDelete)):
                await opened(desk, "genzo", right, **more)
        await opened(desk, "genzo", "complaint", text="slow")
        await desk.commit()
        who = desk.book.subjects[TENANT, "genzo", "alice"]
        assert who.encode() in dict(desk.ledger.items())  # or a crash would leave what is hers unfound

    async def test_what_went_while_its_request_waited_completes_it(self, desk: Desk) -> None:
        who = await consented(desk, "talentedi")
        log = await noted(desk, "talentedi", DataClass.CRASH_PERFORMANCE_LOG, Clock.COLLECTED, who)
        view = await opened(desk, "talentedi", "delete", asset=log.id)
        await desk.do(lambda estate, change: assets.retire(estate, change, [log], "request"))
        await desk.heard()
        view = await verified_soon(desk, VerifyRequest(TENANT, "talentedi", view.id, "email_code"))
        assert (view.state, view.receipts) == ("completed", ())

    async def test_whoever_answers_cannot_say_what_is_not_so(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("stream.agents.rights.WAIT_S", 0.0)
        who = await consented(desk, "talentedi")
        await noted(desk, "talentedi", DataClass.CRASH_PERFORMANCE_LOG, Clock.COLLECTED, who)
        erasing = await opened(desk, "talentedi", "delete", data_class="crash_performance_log")
        await desk.ask(VerifyRequest(TENANT, "talentedi", erasing.id, "email_code"))
        export = await opened(desk, "genzo", "access", public_key=Recipient.new().public)
        for app, one, state in (
            ("talentedi", erasing, "refused"),
            ("talentedi", erasing, "completed"),
            ("genzo", export, "completed"),
        ):
            with pytest.raises(rights.AnsweredByDoing):
                await desk.ask(AnswerRequest(TENANT, app, one.id, state, ground="none"))
        refused = await desk.ask(AnswerRequest(TENANT, "genzo", export.id, "refused", ground="not who they say"))
        assert refused.state == "refused"

    async def test_a_request_to_delete_requests_outlives_what_it_deletes(self, desk: Desk) -> None:
        await consented(desk, "talentedi")
        older = await opened(desk, "talentedi", "correct", correction={"name": "b"})
        view = await opened(desk, "talentedi", "delete", data_class="rights_request")
        view = await verified_soon(desk, VerifyRequest(TENANT, "talentedi", view.id, "email_code"))
        assert (view.state, len(view.receipts)) == ("completed", 1)
        assert desk.asset(older.id).head.state is AssetState.DEAD
        assert (await desk.ask(GetRequest(TENANT, "talentedi", view.id))).state == "completed"

    async def test_the_next_owner_completes_a_withdrawal_that_erased_nothing(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await consented(desk, "genzo")

        async def lost(*_: object) -> bool:
            raise LedgerLost("expected to own the partition")

        with monkeypatch.context() as patched:
            patched.setattr("stream.agents.rights._gone", lost)
            with pytest.raises(LedgerLost):
                await opened(desk, "genzo", "withdraw", purpose="face_processing")
        (row_id,) = (one for one in desk.book.records if isinstance(records.value(desk.asset(one)), Request))
        watching = asyncio.create_task(watched(desk.estate))
        try:
            async with asyncio.timeout(5):
                while not records.value(desk.asset(row_id)).state.ended:
                    await asyncio.sleep(0)
                    await desk.commit()
        finally:
            watching.cancel()

    async def test_requests_of_another_kind_or_tenant_are_unknown(self, desk: Desk) -> None:
        who = await consented(desk, "talentedi")
        log = await noted(desk, "talentedi", DataClass.CRASH_PERFORMANCE_LOG, Clock.COLLECTED, who)
        for ask in (GetRequest(TENANT, "talentedi", log.id), GetRequest("other", "talentedi", log.id)):
            with pytest.raises(UnknownId):
                await desk.ask(ask)

    async def test_a_right_that_the_text_does_not_give(self, desk: Desk) -> None:
        with pytest.raises(rights.UnknownRight):
            await opened(desk, "batchpix", "delete")
        assert not dict(desk.ledger.items())


def with_rights(desk: Desk) -> object:
    """The test app's policy with Genzo's rights."""
    import msgspec

    genzo = desk.estate.policy("genzo")
    test = desk.estate.policy("testapp")
    rows = tuple(one for one in genzo.promises if one.data_class == DataClass.RIGHTS_REQUEST)
    return msgspec.structs.replace(test, rights=genzo.rights, promises=(*test.promises, *rows))


async def opened_soon(desk: Desk, app: str, right: str, **more: object) -> RequestView:
    return await verified_soon(desk, OpenRequest(TENANT, app, "alice", right, **more))  # type: ignore[arg-type]


async def verified_soon(desk: Desk, ask: object) -> RequestView:
    """The answer to what erases, while the agents do their part."""
    import asyncio

    from stream.agents import owner

    verb = next(verb for verb, (kind, _) in api.VERBS.items() if isinstance(ask, kind))
    asking = asyncio.create_task(owner.VERBS[verb](desk.estate, ask))  # type: ignore[arg-type]
    while not asking.done():
        await asyncio.sleep(0)
        await desk.commit()
        await desk.heard()
    return asking.result()  # type: ignore[return-value]


def test_old_bodies_still_decode() -> None:
    import msgspec

    from stream.events.rows import AssetBody

    old = msgspec.msgpack.encode({"tenant": "t", "subject": "s", "salt": b"x"})
    assert msgspec.msgpack.decode(old, type=AssetBody).record == b""
    assert isinstance(Request("delete", "pending", 1.0, 2.0, 3.0, "c"), Request)
