"""A picture without a face, saved: nothing that is made of it is without a deadline (R11, ADR 8)."""

from __future__ import annotations

from pathlib import Path

from stream.agents import api, jobs
from stream.events.bus import Outcome, OutputFacts
from tests.unit.desk import FACTS, TENANT, Desk

NO_FACE = Outcome(
    "succeeded", outputs=(OutputFacts("feature", 9, "application/octet-stream"),), facts={"faces": 0.0}, wiped=True
)


async def test_results_keep_the_deadline_of_their_picture(tmp_path: Path) -> None:
    desk = await Desk(tmp_path).open()
    await desk.ask(api.PutConsent(TENANT, "genzo", "alice", "face_processing", "2025-1", granted=True))
    view = await desk.ask(
        api.Submit(
            tenant=TENANT,
            app="genzo",
            subject="alice",
            operation="stylization",
            params=b"{}",
            choice="save",
            inputs=(api.InputSlot(),),
        )
    )
    (photo,) = view.assets
    await desk.do(jobs.received, desk.job(view.id), desk.asset(photo.id), FACTS)
    await desk.heard()
    detecting, _ = await desk.leased(desk.job(view.id))
    await desk.outcome(detecting, NO_FACE)
    await desk.heard()
    _, (result,) = await desk.leased(desk.job(view.id))
    seen = desk.asset(photo.id)
    assert seen.body is not None
    assert seen.body.has_face is False
    assert result.head.ceiling == seen.head.ceiling == photo.ceiling
