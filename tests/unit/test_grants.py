"""Grants: leases to read and write, taken back before a key dies, or named in the receipt."""

from __future__ import annotations

import asyncio

import pytest

from stream.agents.grants import Grants, NoGrant


class Gateway:
    """What a gateway answers when it is told to wipe."""

    def __init__(self, *, answers: bool = True, hangs: bool = False) -> None:
        self.told: list[tuple[str, str]] = []
        self._answers, self._hangs = answers, hangs

    async def __call__(self, url: str, grant: str) -> bool:
        self.told.append((url, grant))
        if self._hangs:
            await asyncio.Event().wait()
        return self._answers


def made(gateway: Gateway, now: list[float]) -> Grants:
    return Grants(gateway, ttl_s=10.0, wait_s=0.01, real_time=lambda: now[0])


def test_a_grant_lives_its_term_unless_renewed() -> None:
    now = [100.0]
    grants = made(Gateway(), now)
    grant = grants.give("a", holder=b"h", revoke_url="u")
    now[0] = 109.0
    assert grants.renew(grant.id) == 119.0
    now[0] = 118.0
    assert grants.held("a")
    now[0] = 120.0
    assert not grants.held("a")
    with pytest.raises(NoGrant):
        grants.renew(grant.id)


def test_the_same_request_may_ask_twice_and_holds_one() -> None:
    grants = made(Gateway(), [0.0])
    first = grants.give("a", holder=b"h", revoke_url="u")
    second = grants.give("a", holder=b"h", revoke_url="u")
    with pytest.raises(NoGrant):
        grants.find(first.id)
    assert grants.find(second.id).asset == "a"
    assert not grants.held("a", but=b"h")
    assert grants.held("a", but=b"another")


def test_an_end_may_be_told_twice() -> None:
    grants = made(Gateway(), [0.0])
    grant = grants.give("a", holder=b"h")
    assert grants.end(grant.id) is grant
    assert grants.end(grant.id) is None
    assert grants.ended(grant.id) == "a"
    with pytest.raises(NoGrant):
        grants.ended("never given")


async def test_a_reader_that_wipes_is_no_residue() -> None:
    gateway = Gateway()
    grants = made(gateway, [0.0])
    grant = grants.give("a", holder=b"h", revoke_url="https://gateway/revoke")
    await grants.revoke(["a", "b"])
    assert gateway.told == [("https://gateway/revoke", grant.id)]
    assert grants.residues(["a"]) == []
    assert not grants.held("a")


@pytest.mark.parametrize("gateway", [Gateway(answers=False), Gateway(hangs=True)])
async def test_a_reader_that_stays_silent_is_named_until_its_term_ends(gateway: Gateway) -> None:
    now = [50.0]
    grants = made(gateway, now)
    grants.give("a", holder=b"h", revoke_url="u")
    await grants.revoke(["a"])
    assert grants.residues(["a", "b"]) == [("grant-unacknowledged", 1, 60.0)]
    assert grants.residues(["b"]) == []
    now[0] = 61.0
    assert grants.residues(["a"]) == []


async def test_an_upload_is_not_called_but_ends() -> None:
    gateway = Gateway()
    grants = made(gateway, [0.0])
    grant = grants.give("a", holder=b"h", ttl_s=900.0)
    await grants.revoke(["a"])
    assert gateway.told == []
    with pytest.raises(NoGrant):
        grants.find(grant.id)


def test_a_new_owner_names_what_the_old_one_may_have_granted() -> None:
    now = [0.0]
    grants = made(Gateway(), now)
    grants.taken_over()
    assert grants.residues(["a", "b"]) == [("grants-of-previous-owner", 2, 10.0)]
    now[0] = 10.5
    assert grants.residues(["a"]) == []
