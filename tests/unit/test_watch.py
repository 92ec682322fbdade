"""Watching a job: one wakes at a change, and no sooner than needed."""

from __future__ import annotations

import asyncio

from stream.agents.watch import Watch
from stream.events.lease import Progress


async def test_a_watcher_wakes_at_the_next_change() -> None:
    watch = Watch(base=100)
    waiting = asyncio.create_task(watch.wait("j", 100, 30.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    watch.bump("other")
    await asyncio.sleep(0)
    assert not waiting.done()
    watch.bump("j")
    await asyncio.wait_for(waiting, 5)
    assert watch.seq("j") == 101


async def test_who_is_behind_does_not_wait() -> None:
    watch = Watch()
    watch.bump("j")
    await asyncio.wait_for(watch.wait("j", 0, 30.0), 5)


async def test_the_wait_ends_without_a_change() -> None:
    await asyncio.wait_for(Watch().wait("j", 0, 0.01), 5)


def test_progress_is_that_of_the_fence_asked_for() -> None:
    watch = Watch()
    watch.bump("j", Progress(job="j", fence=2, seq=1, step="draw", fraction=0.5))
    found = watch.progress("j", 2)
    assert found is not None
    assert found.step == "draw"
    assert watch.progress("j", 1) is None
    watch.forget("j")
    assert watch.progress("j", 2) is None
