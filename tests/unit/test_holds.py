"""Legal holds: what a recorded case keeps, how little that is, and how surely it ends."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream.agents import api, cases, retention
from stream.agents.assets import Gone
from stream.agents.book import Asset, Book, Job
from stream.agents.cases import BadCase, Case, NotApproved
from stream.agents.certify import Certifier
from stream.agents.holds import CaseKnown, NoHoldBasis, NothingToHold, UnknownCase
from stream.audit.log import Entry
from stream.audit.receipts import Cause
from stream.audit.signer import key_id
from stream.events.bus import Outcome, OutputFacts
from stream.events.rows import AssetState
from stream.ids import UnknownId, entry_of
from stream.policies.deadlines import bucket_of
from tests.unit.desk import APP, TENANT, Desk

MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)
KEYS = {name: Ed25519PrivateKey.generate() for name in ("alice", "bob", "mallory")}
REGISTERED = {name: KEYS[name].public_key().public_bytes_raw() for name in ("alice", "bob")}
DAY_S = 86_400


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = await Desk(tmp_path).open()
    desk.estate.certifier = Certifier(desk.estate)
    desk.estate.tools = dataclasses.replace(desk.estate.tools, approvers=lambda: REGISTERED)
    desk.book._complete.set()
    return desk


@pytest.fixture
def leaves(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every leaf that the log was given."""
    seen: list[dict[str, Any]] = []
    append = desk.estate.audit._append

    def remember(leaf: Any, entry: Entry) -> Entry:
        seen.append(msgspec.json.decode(entry.leaf))
        return append(leaf, entry)

    monkeypatch.setattr(desk.estate.audit, "_append", remember)
    return seen


async def finished(desk: Desk, **changes: Any) -> tuple[Job, list[Asset]]:
    job, (made,) = await desk.leased(await desk.uploaded(**changes))
    await desk.outcome(job, MADE)
    await desk.heard()
    assert job.body is not None
    return desk.job(job.id), [desk.asset(job.body.inputs[0]), desk.asset(made.id)]


def a_case(desk: Desk, **changes: Any) -> Case:
    now = int(desk.clock.now())
    fields: dict[str, Any] = {
        "id": "4 O 17/26",
        "basis": "court_order",
        "app": APP,
        "tenant": TENANT,
        "until": now + 30 * DAY_S,
        "proposed_at": now,
        "proposed_by": "alice",
        "nonce": "0" * 32,
    }
    return Case(**fields | changes)


def opened(case: Case, *names: str) -> api.OpenHold:
    return api.OpenHold(case, {name: KEYS[name].sign(cases.signed_part(case)) for name in names or ("alice", "bob")})


def released(case: Case, name: str = "bob") -> api.ReleaseHold:
    commitment = cases.commitment(case)
    return api.ReleaseHold(commitment, {name: KEYS[name].sign(cases.release_part(commitment))})


async def told(desk: Desk) -> None:
    """Everything that has come due is announced and carried out, as retention and its agent do it."""
    while keys := await next_keys(desk):
        desk.estate.commit(retention.announce(desk.estate, keys))
        await desk.commit()
        await desk.heard()


async def next_keys(desk: Desk) -> list[bytes]:
    task = asyncio.ensure_future(retention._next(desk.estate))
    while not task.done():
        await asyncio.sleep(0)
        await desk.commit()
    return task.result()


def key_lives(desk: Desk, asset: Asset) -> bool:
    return entry_of(asset.id) in desk.pages.census()


class TestOpening:
    async def test_the_key_moves_to_a_page_of_its_own_and_the_log_says_so(
        self, desk: Desk, leaves: list[dict[str, Any]]
    ) -> None:
        _, (source, result) = await finished(desk)
        case = a_case(desk, asset=result.id)
        view = await desk.ask(opened(case))
        assert (view.held, view.passed_over, view.case) == (1, 0, cases.commitment(case).hex())
        moved = desk.asset(result.id)
        assert moved.head.page != result.head.page
        assert desk.pages.key(result.head.page, entry_of(result.id)) is None  # re-keyed: no old page opens it
        place = desk.pages.place_of(moved.head.page)
        assert place == (f"hold/{view.case}".encode(), bucket_of(case.until))
        assert (moved.head.hold.hex(), moved.head.hold_until) == (view.case, case.until)
        assert moved.body == result.body
        (leaf,) = [leaf for leaf in leaves if leaf["kind"] == "hold"]
        assert leaf["approvers"] == sorted(key_id(public) for public in REGISTERED.values())
        assert (leaf["count"], leaf["until_ms"]) == (1, case.until * 1000)
        assert not any(word in str(leaf) for word in ("alice", "4 O", TENANT, result.id))
        assert desk.asset(source.id) == source
        assert (await desk.ask(api.ListHolds())).holds == (msgspec.structs.replace(view),)

    async def test_until_it_is_due_it_is_an_asset_like_any_other(self, desk: Desk) -> None:
        _, (_, result) = await finished(desk)
        await desk.ask(opened(a_case(desk, asset=result.id)))
        assert (await desk.ask(api.GetAsset(TENANT, APP, result.id))).id == result.id

    async def test_asked_again_it_answers_the_same_and_moves_nothing(self, desk: Desk) -> None:
        _, (_, result) = await finished(desk)
        case = a_case(desk, asset=result.id)
        view, moved = await desk.ask(opened(case)), desk.asset(result.id)
        assert await desk.ask(opened(case)) == view
        assert desk.asset(result.id) == moved

    async def test_a_subject_is_held_whole_and_nobody_else(self, desk: Desk) -> None:
        _, mine = await finished(desk)
        _, others = await finished(desk, subject="bea")
        view = await desk.ask(opened(a_case(desk, subject="alice")))
        assert view.held == len(mine)
        assert all(desk.asset(asset.id).head.hold for asset in mine)
        assert not any(desk.asset(asset.id).head.hold for asset in others)

    @pytest.mark.parametrize(
        "names", [("alice",), ("alice", "mallory"), ("mallory",), ()], ids=["one", "unregistered", "stranger", "none"]
    )
    async def test_two_registered_approvers_or_nothing(self, desk: Desk, names: tuple[str, ...]) -> None:
        _, (_, result) = await finished(desk)
        case = a_case(desk, asset=result.id)
        signatures = {name: KEYS[name].sign(cases.signed_part(case)) for name in names}
        with pytest.raises(NotApproved):
            await desk.ask(api.OpenHold(case, signatures))
        assert desk.asset(result.id) == result

    async def test_one_key_under_two_names_is_one_approver(self, desk: Desk) -> None:
        _, (_, result) = await finished(desk)
        case = a_case(desk, asset=result.id)
        twice = {"alice": REGISTERED["alice"], "bob": REGISTERED["alice"]}
        signature = KEYS["alice"].sign(cases.signed_part(case))
        with pytest.raises(NotApproved):
            cases.approved(case, {"alice": signature, "bob": signature}, twice)

    async def test_a_signature_is_of_one_case_only(self, desk: Desk) -> None:
        _, (source, result) = await finished(desk)
        ask = opened(a_case(desk, asset=source.id))
        with pytest.raises(NotApproved):
            await desk.ask(api.OpenHold(a_case(desk, asset=result.id), ask.signatures))

    async def test_what_is_erased_is_not_held_and_nothing_is_made(self, desk: Desk) -> None:
        _, (_, result) = await finished(desk)
        await desk.ask(api.DeleteAsset(TENANT, APP, result.id))
        for _ in range(2):  # hidden first, then dead
            rows, keys = len(desk.ledger), desk.pages.count()
            with pytest.raises(NothingToHold):
                await desk.ask(opened(a_case(desk, asset=result.id)))
            assert (len(desk.ledger), desk.pages.count()) == (rows, keys)
            await desk.heard()
        with pytest.raises(NothingToHold):
            await desk.ask(opened(a_case(desk, subject="nobody")))

    async def test_scope_end_and_age_of_a_case(self, desk: Desk) -> None:
        _, (_, result) = await finished(desk)
        now = int(desk.clock.now())
        for wrong in (
            {"subject": "alice", "asset": result.id},
            {},
            {"asset": result.id, "until": now},
            {"asset": result.id, "until": now - DAY_S},
            {"asset": result.id, "until": now + cases.MAX_HOLD_S + 1},
            {"asset": result.id, "proposed_at": now - cases.APPROVED_WITHIN_S - 1},
        ):
            with pytest.raises(BadCase):
                await desk.ask(opened(a_case(desk, **wrong)))
        with pytest.raises(UnknownId):
            await desk.ask(opened(a_case(desk, asset=result.id, tenant="another")))
        with pytest.raises(UnknownId):
            await desk.ask(opened(a_case(desk, asset=result.id, app="genzo", basis="legal_requirement")))

    async def test_an_app_without_that_basis_refuses(self, desk: Desk) -> None:
        _, (_, result) = await finished(desk)
        with pytest.raises(NoHoldBasis):
            await desk.ask(opened(a_case(desk, asset=result.id, basis="legal_claim")))
        policies = {APP: msgspec.structs.replace(desk.estate.policy(APP), hold=None)}
        desk.estate.tools = dataclasses.replace(desk.estate.tools, policies=policies)
        with pytest.raises(NoHoldBasis, match="none"):
            await desk.ask(opened(a_case(desk, asset=result.id)))

    async def test_what_another_case_holds_is_passed_over(self, desk: Desk) -> None:
        _, found = await finished(desk)
        await desk.ask(opened(a_case(desk, asset=found[0].id)))
        view = await desk.ask(opened(a_case(desk, subject="alice", nonce="1" * 32)))
        assert (view.held, view.passed_over) == (1, 1)


class TestKeeping:
    async def test_due_and_held_is_hidden_and_counted_once(self, desk: Desk, leaves: list[dict[str, Any]]) -> None:
        job, (source, result) = await finished(desk)
        case = a_case(desk, asset=result.id)
        await desk.ask(opened(case))
        desk.clock.moment = result.head.due
        await told(desk)
        kept = desk.asset(result.id)
        assert (kept.head.state, kept.head.cause) == (AssetState.HELD, Cause.DEADLINE)
        assert key_lives(desk, result)
        assert not key_lives(desk, source)  # its bucket was dropped, and passed the other by
        for ask in (api.GetAsset(TENANT, APP, result.id), api.DeleteAsset(TENANT, APP, result.id)):
            with pytest.raises(Gone):
                await desk.ask(ask)
        held = desk.book.job(job.id)
        assert held is None or held.body is None  # the record of its job goes as promised

        _, (_, second) = await finished(desk, subject="bea")
        desk.clock.moment = second.head.due
        await told(desk)
        counts = [leaf.get("holds", 0) for leaf in leaves if leaf["kind"] == "erased"]
        assert sum(counts) == 1

    async def test_when_it_ends_what_is_overdue_is_erased_at_once(self, desk: Desk) -> None:
        _, (_, result) = await finished(desk)
        case = a_case(desk, asset=result.id)
        await desk.ask(opened(case))
        desk.clock.moment = case.until - 1.0
        await told(desk)
        assert key_lives(desk, result)
        desk.clock.moment = float(case.until)
        await told(desk)
        assert not key_lives(desk, result)
        assert desk.asset(result.id).head.state is AssetState.DEAD
        assert desk.estate.audit.covering(result.head.leaf) is not None
        assert (await desk.ask(api.ListHolds())).holds == ()

    async def test_a_release_by_one_approver_erases_what_is_overdue(
        self, desk: Desk, leaves: list[dict[str, Any]]
    ) -> None:
        _, (source, result) = await finished(desk)
        case = a_case(desk, subject="alice")
        await desk.ask(opened(case))
        await desk.ask(api.DeleteAsset(TENANT, APP, result.id))
        await desk.heard()
        assert desk.asset(result.id).head.state is AssetState.HELD
        for wrong in (api.ReleaseHold(cases.commitment(case), {}), released(case, "mallory")):
            with pytest.raises(NotApproved):
                await desk.ask(wrong)
        await desk.ask(released(case))
        await desk.heard()
        assert not key_lives(desk, result)
        assert desk.asset(result.id).head.cause == Cause.REQUEST
        kept = desk.asset(source.id)
        assert (kept.head.state, kept.head.hold, key_lives(desk, source)) == (AssetState.STORED, b"", True)
        assert [leaf["count"] for leaf in leaves if leaf["kind"] == "hold_released"] == [2]
        with pytest.raises(UnknownCase):
            await desk.ask(released(case))
        with pytest.raises(CaseKnown):  # two old signatures open nothing again
            await desk.ask(opened(case))

    async def test_what_is_not_overdue_when_its_hold_ends_lives_on_until_its_own_deadline(self, desk: Desk) -> None:
        _, (_, result) = await finished(desk)
        await desk.ask(opened(a_case(desk, asset=result.id, until=int(desk.clock.now()) + 60)))
        desk.clock.moment += 61
        await told(desk)
        assert (await desk.ask(api.GetAsset(TENANT, APP, result.id))).id == result.id
        desk.clock.moment = result.head.due
        await told(desk)
        assert not key_lives(desk, result)

    async def test_a_deleted_subject_leaves_only_what_is_held_and_that_is_hidden(self, desk: Desk) -> None:
        _, (source, result) = await finished(desk)
        await desk.ask(opened(a_case(desk, asset=result.id)))
        await desk.ask(api.DeleteSubject(TENANT, APP, "alice"))
        await desk.heard()
        assert set(desk.pages.census()) == {entry_of(result.id)}
        assert desk.asset(result.id).head.state is AssetState.HELD
        assert desk.book.subjects == {}
        with pytest.raises(Gone):
            await desk.ask(api.GetAsset(TENANT, APP, source.id))

    async def test_a_job_that_uses_it_ends_when_it_comes_due(self, desk: Desk) -> None:
        _, (source, _) = await finished(desk)
        job = await desk.submit(inputs=(api.InputSlot(asset=source.id),))
        await desk.heard()
        await desk.ask(opened(a_case(desk, asset=source.id)))
        leased, _ = await desk.leased(desk.job(job.id))  # the key is the same, wherever it lies
        assert leased.body is not None
        desk.clock.moment = source.head.due
        await told(desk)
        assert desk.job(job.id).head.ending == "expired"
        assert desk.asset(source.id).head.state is AssetState.HELD
        assert key_lives(desk, source)

    async def test_a_discarded_input_of_a_running_job_is_kept(self, desk: Desk) -> None:
        job, (made,) = await desk.leased(await desk.uploaded(choice="discard"))
        assert job.body is not None
        source = desk.asset(job.body.inputs[0])
        await desk.ask(opened(a_case(desk, asset=source.id)))
        await desk.outcome(job, MADE)
        await desk.heard()
        assert desk.asset(source.id).head.state is AssetState.HELD
        assert desk.asset(source.id).head.cause == Cause.JOB_END
        assert desk.asset(made.id).head.state is AssetState.STORED

    async def test_the_next_owner_keeps_holding(self, desk: Desk) -> None:
        _, (source, result) = await finished(desk)
        case = a_case(desk, subject="alice")
        await desk.ask(opened(case))
        await desk.ask(api.DeleteAsset(TENANT, APP, result.id))
        await desk.heard()
        desk.estate.book = desk.book = Book(desk.ledger, desk.pages, await_inputs_s=60.0)
        await desk.book.rebuild()
        await desk.book.open_rest()
        assert desk.book.held == {source.id, result.id}
        desk.clock.moment = case.until - 1.0
        await told(desk)
        assert key_lives(desk, result)
        desk.clock.moment = float(case.until)
        await told(desk)
        assert not key_lives(desk, result)
        assert not key_lives(desk, source)
