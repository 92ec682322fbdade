"""What an owner answers, and announces, while the root store does not: by the verbs and the closer, without a stack."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from stream.agents import api, retention
from stream.agents.cases import Case
from stream.agents.certify import Certifier
from stream.agents.closing import Closer
from stream.agents.owner import admit
from stream.agents.views import job_view
from stream.events.bus import ExpireDue
from stream.events.rows import AssetState, JobHead, JobState, rows
from stream.ids import entry_of
from stream.ledger import Change, Commit
from stream.vault.rootstore import RootStoreUnavailable, Why
from tests.unit.desk import APP, TENANT, Desk

CASE = Case(
    id="1", basis="court_order", app=APP, tenant=TENANT, until=1, proposed_at=0, proposed_by="alice", nonce="0" * 32
)
PROMISING: list[tuple[str, msgspec.Struct]] = [
    ("submit", api.Submit(TENANT, APP, "alice", "noop", b"{}", "save", ())),
    ("grant_write", api.GrantWrite(TENANT, APP, "job", 0, 1, b"")),
    ("put_consent", api.PutConsent(TENANT, APP, "alice", "face", "1", granted=True)),
    ("open_hold", api.OpenHold(CASE, {})),
]
READING: list[tuple[str, msgspec.Struct]] = [
    ("get_job", api.GetJob(TENANT, APP, "job")),
    ("get_asset", api.GetAsset(TENANT, APP, "asset")),
    ("renew_read", api.RenewRead(0, "grant")),
    ("get_receipt", api.GetReceipt("00")),
]
LETTING_GO: list[tuple[str, msgspec.Struct]] = [
    ("put_consent", api.PutConsent(TENANT, APP, "alice", "face", "1", granted=False)),
    ("delete_job", api.DeleteJob(TENANT, APP, "job")),
    ("delete_subject", api.DeleteSubject(TENANT, APP, "alice")),
    ("end_write", api.EndWrite(TENANT, APP, "job", "grant")),
    ("release_hold", api.ReleaseHold(bytes(32), {})),
]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = await Desk(tmp_path).open()
    desk.ledger._acked_at = desk.ledger._boottime() + 3600.0  # the self-lease is another test's matter
    desk.estate.closer = Closer(desk.estate, desk.dispatcher, desk.estate.grants)  # type: ignore[arg-type]
    return desk


def silent(desk: Desk, for_s: float) -> None:
    keeper = desk.pages._keeper
    keeper.why, keeper._answered_at = Why.SILENT, keeper._monotonic() - for_s


@pytest.mark.parametrize(("verb", "ask"), PROMISING)
async def test_nothing_new_is_promised(desk: Desk, verb: str, ask: msgspec.Struct) -> None:
    admit(desk.estate, verb, ask)
    silent(desk, 3.0)
    with pytest.raises(RootStoreUnavailable, match="nothing is promised") as caught:
        admit(desk.estate, verb, ask)
    assert (caught.value.kind, caught.value.status) == ("root-store-unavailable", 503)


@pytest.mark.parametrize(("verb", "ask"), READING)
async def test_reads_go_on_until_the_grace_is_over(desk: Desk, verb: str, ask: msgspec.Struct) -> None:
    silent(desk, 299.0)
    admit(desk.estate, verb, ask)
    silent(desk, 301.0)
    with pytest.raises(RootStoreUnavailable, match="nothing is read"):
        admit(desk.estate, verb, ask)


@pytest.mark.parametrize(("verb", "ask"), LETTING_GO)
async def test_whoever_lets_go_is_always_heard(desk: Desk, verb: str, ask: msgspec.Struct) -> None:
    silent(desk, 9999.0)
    admit(desk.estate, verb, ask)


async def settled(desk: Desk) -> None:
    for _ in range(10):
        await desk.commit()
        await asyncio.sleep(0)


def told(desk: Desk, job_id: str) -> str:
    return job_view(desk.estate, desk.job(job_id)).state


async def test_a_jobs_end_is_told_once_its_keys_are_dead(desk: Desk) -> None:
    job = await desk.uploaded()
    assert job.body is not None
    (asset_id,) = job.body.inputs
    page = desk.asset(asset_id).head.page
    desk.away = True
    await desk.ask(api.DeleteJob(TENANT, APP, job.id))
    await settled(desk)
    assert desk.asset(asset_id).head.state is AssetState.DEAD
    assert desk.job(job.id).head.state is JobState.ENDING
    assert desk.pages.count() > 0
    desk.come_back()
    assert desk.pages.key(page, _entry(asset_id)) is None
    desk.away = True  # again, before the job's own record is content-free
    await settled(desk)
    assert desk.job(job.id).head.state is JobState.CANCELLED
    assert told(desk, job.id) == "ending"
    desk.come_back()
    assert told(desk, job.id) == "cancelled"
    assert desk.job(job.id).body is None


async def test_the_receipt_goes_before_the_end_that_follows_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the end alone committed and the owner lost, the next one would certify after the end had been told."""
    desk.estate.certifier = Certifier(desk.estate)
    job = await desk.uploaded()
    order: list[str] = []
    apply = desk.ledger.apply

    def heard(change: Change) -> asyncio.Future[Commit]:
        row = change.rows.get(job.id.encode())
        head = rows.decode(row)[0] if row is not None else None
        order.extend(["receipt"] if change.leaves else [])
        order.extend(["end"] if isinstance(head, JobHead) and head.state.ended else [])
        return apply(change)

    monkeypatch.setattr(desk.ledger, "apply", heard)
    await desk.ask(api.DeleteJob(TENANT, APP, job.id))
    await settled(desk)
    assert order[:2] == ["receipt", "end"]


async def test_a_job_does_not_end_while_a_key_of_it_dies_for_another_reason(desk: Desk) -> None:
    job = await desk.submit()
    assert job.body is not None
    (asset_id,) = job.body.inputs
    desk.away = True
    await desk.decide(retention.expire_due, ExpireDue(assets=(asset_id,), cause="request", at=0.0))
    await settled(desk)
    await desk.ask(api.DeleteJob(TENANT, APP, job.id))
    await settled(desk)
    assert desk.job(job.id).head.state is JobState.ENDING
    desk.come_back()
    await settled(desk)
    assert desk.job(job.id).head.state.ended
    assert told(desk, job.id) == desk.job(job.id).head.state.value


async def test_a_subject_is_forgotten_at_once_and_its_key_when_it_can_be(desk: Desk) -> None:
    await desk.submit()
    keys = desk.pages.count()
    desk.away = True
    await desk.ask(api.DeleteSubject(TENANT, APP, "alice"))
    assert (TENANT, APP, "alice") not in desk.book.subjects
    assert desk.pages.count() == keys
    await settled(desk)
    desk.come_back()
    assert desk.pages.count() < keys


async def test_masses_wait_in_their_buckets(desk: Desk) -> None:
    job = await desk.uploaded()
    assert job.body is not None
    due = desk.asset(job.body.inputs[0]).head.due
    desk.clock.moment = due + 1e6
    silent(desk, 3.0)
    taking = asyncio.ensure_future(desk.estate.drops.take())
    await settled(desk)
    assert taking.done()  # it did not wait for a commit that cannot be
    assert desk.pages.count() > 0


def _entry(row_id: str) -> bytes:

    return entry_of(row_id)
