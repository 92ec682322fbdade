"""Custody in memory: what a ticket is good for, what remains, and what is overwritten."""

from __future__ import annotations

import pytest

from stream.vault.courier import NoSuchObject
from stream.vault.shelf import NoTicket, Shelf, Way

BASE = "http://127.0.0.1:1/tickets"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ticket(url: str) -> str:
    assert url.startswith(BASE + "/")
    return url.removeprefix(BASE + "/")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelf(clock: Clock) -> Shelf:
    return Shelf(BASE, monotonic=clock)


class TestTickets:
    def test_once(self, shelf: Shelf) -> None:
        found = ticket(shelf.get_url("a", 10))
        assert shelf.redeem(found, Way.GET) == "a"
        with pytest.raises(NoTicket):
            shelf.redeem(found, Way.GET)

    def test_for_one_way_and_another_try_does_not_use_it_up(self, shelf: Shelf) -> None:
        found = ticket(shelf.put_url("a", 10))
        with pytest.raises(NoTicket):
            shelf.redeem(found, Way.GET)
        assert shelf.redeem(found, Way.PUT) == "a"

    def test_until_it_expires_and_not_at_that_moment(self, shelf: Shelf, clock: Clock) -> None:
        early, late = ticket(shelf.get_url("a", 10)), ticket(shelf.get_url("a", 10))
        clock.now = 9.999
        assert shelf.redeem(early, Way.GET) == "a"
        clock.now = 10.0
        with pytest.raises(NoTicket):
            shelf.redeem(late, Way.GET)
        assert repr(shelf) == "Shelf(0 objects, 0 tickets)"

    def test_two_are_never_alike_and_each_has_256_bits(self, shelf: Shelf) -> None:
        made = {ticket(shelf.get_url("a", 10)) for _ in range(1000)}
        assert len(made) == 1000
        assert {len(one) for one in made} == {43}

    def test_void_ones_are_good_for_nothing_and_the_object_stays(self, shelf: Shelf) -> None:
        shelf.put("a", bytearray(b"sealed"), lambda: None)
        gone, other = ticket(shelf.get_url("a", 10)), ticket(shelf.get_url("b", 10))
        shelf.void("a")
        with pytest.raises(NoTicket):
            shelf.redeem(gone, Way.GET)
        assert shelf.redeem(other, Way.GET) == "b"
        assert bytes(shelf.get("a")) == b"sealed"

    def test_neither_a_ticket_nor_a_name_is_shown(self, shelf: Shelf) -> None:
        url = shelf.get_url("a-name", 10)
        with pytest.raises(NoTicket) as refused:
            shelf.redeem(ticket(url), Way.PUT)
        assert ticket(url) not in repr(shelf) + str(refused.value)
        assert "a-name" not in repr(shelf) + str(refused.value)


class TestObjects:
    def test_what_is_dropped_is_overwritten_told_once_and_its_tickets_are_void(self, shelf: Shelf) -> None:
        dropped: list[int] = []
        shelf.put("a", sealed := bytearray(b"sealed"), lambda: dropped.append(1))
        seen, url = shelf.get("a"), shelf.get_url("a", 10)
        shelf.drop("a")
        shelf.drop("a")
        assert bytes(sealed) == bytes(seen) == bytes(6)
        assert dropped == [1]
        with pytest.raises(NoSuchObject):
            shelf.get("a")
        with pytest.raises(NoTicket):
            shelf.redeem(ticket(url), Way.GET)

    def test_another_under_its_name_takes_its_place(self, shelf: Shelf) -> None:
        dropped: list[int] = []
        shelf.put("a", bytearray(b"one"), lambda: dropped.append(1))
        shelf.put("a", bytearray(b"four"), lambda: dropped.append(2))
        assert dropped == [1]
        assert (len(shelf), shelf.held_bytes, bytes(shelf.get("a"))) == (1, 4, b"four")

    def test_only_what_is_awaited_still_may_come_to_lie(self, shelf: Shelf) -> None:
        assert not shelf.awaits("a")
        shelf.put_url("a", 10)
        assert shelf.awaits("a")
        shelf.drop("a")
        assert not shelf.awaits("a")

    async def test_as_any_custody(self, shelf: Shelf) -> None:
        shelf.put("a", bytearray(b"sealed"), lambda: None)
        assert await shelf.remaining(["a", "b"]) == ["a"]
        await shelf.delete(iter(["a", "b"]))
        assert await shelf.remaining(["a", "b"]) == []
