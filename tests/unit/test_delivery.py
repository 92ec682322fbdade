"""An event is delivered at once where its stream has room; one that must wait can still be interrupted."""

from __future__ import annotations

import asyncio

import pytest
from mode.services import Service

from stream.agents.delivery import StraightDelivery


class Waits(StraightDelivery, Service):
    """Faust's consumer, without its broker."""


async def put(queue: asyncio.Queue[int], number: int) -> str:
    await queue.put(number)
    return "delivered"


async def test_a_delivery_that_need_not_wait_makes_no_task() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
    end = asyncio.Event()
    before = asyncio.all_tasks()
    waiting = Waits().wait_first(put(queue, 1), end.wait())
    with pytest.raises(StopIteration) as done:
        waiting.send(None)  # it ends in its first step: nothing ran beside it
    assert asyncio.all_tasks() == before
    assert done.value.value.results == ["delivered"]
    assert queue.get_nowait() == 1


async def test_a_full_stream_makes_it_wait_and_nothing_is_delivered_twice() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
    queue.put_nowait(0)
    waiting = asyncio.create_task(Waits().wait_first(put(queue, 1), asyncio.Event().wait()))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await queue.get() == 0
    assert (await waiting).results == ["delivered"]
    assert (queue.get_nowait(), queue.empty()) == (1, True)


async def test_a_delivery_that_waits_is_interrupted() -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
    queue.put_nowait(0)
    end = asyncio.Event()
    waiting = asyncio.create_task(Waits().wait_first(put(queue, 1), end.wait()))
    await asyncio.sleep(0)
    end.set()
    assert (await waiting).results == [True]
    assert queue.qsize() == 1
    await asyncio.sleep(0)  # its cancellation reaches the delivery
    queue.get_nowait()
    await asyncio.sleep(0)
    assert queue.empty()


@pytest.mark.parametrize("full", [False, True])
async def test_what_a_delivery_raises_is_heard(full: bool) -> None:
    async def fails() -> None:
        if full:
            await asyncio.sleep(0)
        raise KeyError("no such stream")

    with pytest.raises(KeyError):
        await Waits().wait_first(fails(), asyncio.Event().wait())
