"""What of a backup comes back: rows decided by the tree as it is now, never by what the backup believes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from stream.agents import api, assets, restore
from stream.agents.book import Asset, Job
from stream.agents.certify import Certifier
from stream.agents.held import HOLD_GROUP
from stream.agents.restore import RESTORED, Now, Plan, Why
from stream.audit.holds import Held, Released
from stream.audit.receipts import Cause, milliseconds
from stream.events.bus import Outcome, OutputFacts
from stream.events.rows import AssetHead, AssetState, JobHead, JobState, Offsets, Parked, SubjectBody, rows
from stream.ids import entry_of
from stream.policies.deadlines import bucket_of
from stream.vault.record import open_body
from tests.unit.desk import APP, TENANT, Desk

MADE = Outcome("succeeded", outputs=(OutputFacts("result", 9, "image/png", 3, 3),), wiped=True)


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = await Desk(tmp_path).open()
    desk.estate.certifier = Certifier(desk.estate)
    return desk


async def finished(desk: Desk, **changes: Any) -> tuple[Job, list[Asset]]:
    """A job that succeeded, with a saved upload and a result."""
    job, (made,) = await desk.leased(await desk.uploaded(**changes))
    await desk.outcome(job, MADE)
    await desk.heard()
    assert job.body is not None
    return desk.job(job.id), [desk.asset(job.body.inputs[0]), desk.asset(made.id)]


def backup(desk: Desk) -> dict[bytes, bytes]:
    return dict(desk.ledger.items())


def planned(desk: Desk, rows_: dict[bytes, bytes], **changes: Any) -> Plan:
    known: dict[str, Any] = {
        "page_of": desk.pages.census(),
        "announced": frozenset(),
        "objects": frozenset(head.object for value in rows_.values() if isinstance(head := _head(value), AssetHead)),
        "at": desk.clock.now(),
        "content_free_s": 600.0,
    }
    return restore.plan(rows_, desk.pages, desk.estate.audit, Now(**known | changes))


def _head(value: bytes) -> object:
    return rows.decode(value)[0]


def erased(plan: Plan) -> set[bytes]:
    return {entry for _, entry in plan.erase}


def why(plan: Plan, kind: str) -> dict[Why, int]:
    found: dict[Why, int] = {}
    for (what, _, _, reason), count in plan.dropped.items():
        if what == kind:
            found[reason] = found.get(reason, 0) + count
    return found


async def test_what_lives_comes_back_as_it_was(desk: Desk) -> None:
    job, found = await finished(desk)
    before = backup(desk)
    plan = planned(desk, before)
    assert plan.rows == before
    assert (plan.erase, dict(plan.dropped)) == ([], {})
    assert plan.objects == {asset.head.object for asset in found}
    assert plan.kept["job", APP, ""] == 1
    assert job.id.encode() in plan.rows


async def test_what_was_erased_since_stays_away_and_gets_no_second_receipt(desk: Desk) -> None:
    _, (source, result) = await finished(desk)
    before = backup(desk)
    await desk.do(assets.forget, [result], "request")
    receipt = desk.estate.audit.covering(result.head.leaf)
    assert receipt is not None
    plan = planned(desk, before)
    assert why(plan, "asset") == {Why.ERASED: 1}
    (dead,) = [_head(v) for k, v in plan.rows.items() if k == result.id.encode()]
    assert isinstance(dead, AssetHead)  # a header for the sweeper, under the receipt that there is
    assert (dead.state, dead.receipt) == (AssetState.DEAD, receipt)
    assert result.head.object not in plan.objects
    assert source.head.object in plan.objects

    desk.estate.audit.absent(receipt, 1)
    plan = planned(desk, before)
    assert result.id.encode() not in plan.rows  # all that was to say of it is said


async def test_an_erasure_whose_receipt_is_not_found_is_not_certified_anew(desk: Desk) -> None:
    _, (_, result) = await finished(desk)
    before = backup(desk)
    desk.pages.erase(result.head.page, entry_of(result.id))
    plan = planned(desk, before)
    assert result.id.encode() not in plan.rows
    assert plan.erased_without_receipt == 1


async def test_an_announced_erasure_is_carried_out(desk: Desk) -> None:
    _, (_, result) = await finished(desk)
    before = backup(desk)
    plan = planned(desk, before, announced=frozenset({result.id}))
    assert erased(plan) == {entry_of(result.id)}
    assert why(plan, "asset") == {Why.ANNOUNCED: 1}
    head = _head(plan.rows[result.id.encode()])
    assert isinstance(head, AssetHead)
    assert (head.state, head.receipt, head.cause) == (AssetState.DEAD, -1, Cause.RESTORE)


async def test_what_was_hidden_when_the_backup_was_made_dies(desk: Desk) -> None:
    _, (_, result) = await finished(desk)
    await desk.do(assets.hide, [result], "request")
    plan = planned(desk, backup(desk))
    assert erased(plan) == {entry_of(result.id)}
    head = _head(plan.rows[result.id.encode()])
    assert isinstance(head, AssetHead)
    assert head.cause == "request"


async def test_younger_than_the_backup_means_that_no_row_names_the_key(desk: Desk) -> None:
    await finished(desk)
    before = backup(desk)
    _, younger = await finished(desk, subject="bob")
    plan = planned(desk, before)
    assert {entry_of(asset.id) for asset in younger} <= erased(plan)
    assert plan.keys_without_row == len(plan.erase) == 4  # both assets, their job, its subject


async def test_a_job_under_way_ends_failed_and_takes_its_assets_with_it(desk: Desk) -> None:
    job, made = await desk.leased(await desk.uploaded())
    assert job.body is not None
    before = backup(desk)
    plan = planned(desk, before)
    head = _head(plan.rows[job.id.encode()])
    assert isinstance(head, JobHead)
    assert (head.state, head.reason, head.page, head.actor) == (JobState.FAILED, RESTORED, b"", "")
    assert plan.jobs_failed == 1
    gone = {entry_of(row) for row in (job.id, *job.body.inputs, *(asset.id for asset in made))}
    assert gone == erased(plan)
    assert why(plan, "asset") == {Why.IN_FLIGHT: 2}
    assert plan.objects == set()


async def test_a_job_of_which_nothing_lives_is_content_free(desk: Desk) -> None:
    job, found = await finished(desk)
    before = backup(desk)
    for asset in found:
        desk.pages.erase(asset.head.page, entry_of(asset.id))
    plan = planned(desk, before)
    head = _head(plan.rows[job.id.encode()])
    assert isinstance(head, JobHead)
    assert (head.state, head.page) == (JobState.SUCCEEDED, b"")
    assert entry_of(job.id) in erased(plan)
    assert why(plan, "job") == {Why.NOTHING_LEFT: 1}


async def test_what_has_lost_its_bytes_does_not_come_back(desk: Desk) -> None:
    _, (source, result) = await finished(desk)
    plan = planned(desk, backup(desk), objects=frozenset({source.head.object}))
    assert why(plan, "asset") == {Why.NO_OBJECT: 1}
    assert erased(plan) == {entry_of(result.id)}


async def held(desk: Desk, asset: Asset) -> Asset:
    """As a case leaves it: the key in a page of the case, and the log knows of it."""
    group = HOLD_GROUP + b"ab" * 32
    page = desk.pages.copy(asset.head.page, entry_of(asset.id), group, bucket_of(asset.head.due))
    assert page is not None
    desk.pages.erase(asset.head.page, entry_of(asset.id))
    return Asset(asset.id, msgspec.structs.replace(asset.head, page=page), asset.body)


@pytest.mark.parametrize("left_s", [60.0, 0.0, -1.0])
async def test_a_hold_younger_than_the_backup_is_kept_and_hidden_while_it_lasts(desk: Desk, left_s: float) -> None:
    _, (_, result) = await finished(desk)
    before = backup(desk)
    moved = await held(desk, result)
    until_ms = milliseconds(desk.clock.now() + max(left_s, 0.0))
    leaf = Held(partition=0, case="ab" * 32, app=APP, basis="court_order", count=1, until_ms=until_ms, approvers=())
    desk.estate.audit.held(leaf)
    if left_s < 0:
        desk.estate.audit.held(Released(partition=0, case="ab" * 32, count=1, approver="x"))
    plan = planned(desk, before)
    head = _head(plan.rows[result.id.encode()])
    assert isinstance(head, AssetHead)
    if left_s > 0:
        assert (head.state, head.page, head.hold.hex()) == (AssetState.HELD, moved.head.page, "ab" * 32)
        assert head.hold_until == until_ms / 1000
        assert entry_of(result.id) not in erased(plan)
        assert result.head.object in plan.objects
    else:
        assert why(plan, "asset") == {Why.HOLD_OVER: 1}
        assert head.state is AssetState.DEAD
        assert entry_of(result.id) in erased(plan)


async def test_every_consent_counts_as_withdrawn_and_the_ledger_says_so(desk: Desk) -> None:
    grant = api.PutConsent(TENANT, "genzo", "carol", "face_processing", "2025-1", granted=True)
    await desk.ask(grant)
    subject_id = desk.book.subjects[TENANT, "genzo", "carol"]
    before = backup(desk)
    desk.clock.moment += 5
    plan = planned(desk, before)
    body = subject_body(desk, subject_id, plan)
    given, withdrawn = body.history
    assert (given.granted, given.at) == (True, desk.clock.now() - 5)
    assert (withdrawn.granted, withdrawn.at, withdrawn.how) == (False, desk.clock.now(), "restore")
    assert (plan.consents_withdrawn, body.consents, body.name) == (1, {}, "carol")

    await desk.ask(msgspec.structs.replace(grant, granted=False))
    plan = planned(desk, withdrawn_before := backup(desk))
    assert plan.consents_withdrawn == 0  # it was withdrawn already
    assert plan.rows[subject_id.encode()] == withdrawn_before[subject_id.encode()]


async def test_an_age_band_is_asked_for_again(desk: Desk) -> None:
    """A later one, which the backup does not know, may have asked for a guardian."""
    await desk.ask(api.PutAge(TENANT, "nursery", "carol", "adult"))
    subject_id = desk.book.subjects[TENANT, "nursery", "carol"]
    assert subject_body(desk, subject_id, planned(desk, backup(desk))).age == ""


def subject_body(desk: Desk, subject_id: str, plan: Plan) -> SubjectBody:
    head, sealed = rows.decode(plan.rows[subject_id.encode()])
    key = desk.book.key(head.page, subject_id)  # type: ignore[union-attr]
    return msgspec.msgpack.decode(open_body(key, sealed, subject_id.encode()), type=SubjectBody)


async def test_a_deleted_subject_is_forgotten(desk: Desk) -> None:
    await finished(desk)
    before = backup(desk)
    await desk.ask(api.DeleteSubject(TENANT, APP, "alice"))
    await desk.heard()
    plan = planned(desk, before)
    assert why(plan, "subject") == {Why.ERASED: 1}
    assert not any(key.startswith(b"sub_") for key in plan.rows)


@pytest.mark.parametrize(("due_in_s", "kept"), [(1.0, True), (0.0, False)])
async def test_parked_events_come_back_until_their_time(desk: Desk, due_in_s: float, *, kept: bool) -> None:
    now = desk.clock.now()
    row = rows.encode(Parked(topic="upload", offset=3, reason="x", at=now, due=now + due_in_s))
    plan = planned(desk, {b"parked/upload/3": row})
    assert (b"parked/upload/3" in plan.rows) is kept


async def test_offsets_never_come_back(desk: Desk) -> None:
    """Topics may have been made anew: an offset from before would have their first events dropped as duplicates."""
    plan = planned(desk, {b"offsets": rows.encode(Offsets(next={"upload": 70}))})
    assert plan.rows == {}
    assert why(plan, "offsets") == {Why.OFFSETS: 1}
