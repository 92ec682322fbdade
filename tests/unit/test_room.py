"""A budget of bytes: never exceeded, in order of asking, and nothing of it lost whatever becomes of who waits."""

from __future__ import annotations

import asyncio
import random

import pytest

from stream.vault.room import NoRoomLeft, Room


async def turn() -> None:
    """Let whoever can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


class TestRoom:
    async def test_not_one_byte_more(self) -> None:
        room = Room(10)
        await room.take(7)
        await room.take(3)
        with pytest.raises(NoRoomLeft):
            await room.take(1)
        room.give(1)
        await room.take(1)
        assert room.taken_bytes == 10

    async def test_what_could_never_be_is_refused_at_once(self) -> None:
        room = Room(10)
        with pytest.raises(NoRoomLeft):
            await room.take(11, wait_s=1000)

    async def test_first_come_first_served_also_where_a_small_wish_would_fit(self) -> None:
        room, order = Room(10), []

        async def ask(size: int) -> None:
            await room.take(size, wait_s=1000)
            order.append(size)

        await room.take(8)
        asking = [asyncio.create_task(ask(size)) for size in (6, 1, 2)]
        await turn()
        assert order == []
        room.give(8)
        await asyncio.gather(*asking)
        assert order == [6, 1, 2]

    async def test_who_waits_too_long_is_refused_and_lets_the_next_one_in(self) -> None:
        room = Room(10)
        await room.take(8)
        late = asyncio.create_task(room.take(5, wait_s=0.01))
        await turn()
        small = asyncio.create_task(room.take(2, wait_s=1000))
        with pytest.raises(NoRoomLeft):
            await late
        await small
        assert room.taken_bytes == 10

    async def test_who_leaves_while_waiting_or_in_the_moment_of_getting_it_takes_nothing(self) -> None:
        room = Room(10)
        await room.take(10)
        waiting = asyncio.create_task(room.take(5, wait_s=1000))
        await turn()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        room.give(10)
        assert room.taken_bytes == 0
        await room.take(10)
        granted = asyncio.create_task(room.take(5, wait_s=1000))
        await turn()
        room.give(10)
        granted.cancel()
        assert isinstance((await asyncio.gather(granted, return_exceptions=True))[0], asyncio.CancelledError)
        assert room.taken_bytes == 0

    @pytest.mark.parametrize("seed", range(20))
    async def test_whatever_happens_it_adds_up(self, seed: int) -> None:
        chance, room, held = random.Random(seed), Room(100), [0]

        async def one() -> None:
            size = chance.randint(1, 60)
            await room.take(size, wait_s=chance.choice([0.0, 0.001, 1000]))
            held[0] += size
            assert held[0] <= room.taken_bytes <= 100
            try:
                for _ in range(chance.randint(0, 5)):
                    await asyncio.sleep(0)
            finally:
                held[0] -= size
                room.give(size)

        tasks = [asyncio.create_task(one()) for _ in range(100)]
        for task in tasks:
            if chance.random() < 0.3:
                await asyncio.sleep(0)
                task.cancel()
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            assert found is None or isinstance(found, NoRoomLeft | asyncio.CancelledError)
        assert room.taken_bytes == 0
