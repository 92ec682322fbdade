"""Owners, grants, flights, problems, metrics: the gateway's parts without its process."""

import asyncio

import pytest
from litestar.exceptions import HTTPException, NotFoundException, ValidationException

from services.gateway import problems
from services.gateway.errors import GatewayStarting, GatewayStopping, OwnerRefused, TooManyTransfers
from services.gateway.flights import Flights
from services.gateway.grants import Grants
from services.gateway.owners import OwnerTable
from services.gateway.tenants import Limits, Tenant
from stream.agents.api import Problem
from stream.events.rows import Offsets, Owner, rows
from stream.metrics.bounded import OTHER, Bounded
from stream.vault.secret import Key, Wiped

TENANT = Tenant("ten_1", ("genzo",), (), Limits(transfers=1))


def owner(address):
    return rows.encode(Owner(address, 1))


class TestOwnerTable:
    def test_the_last_word_counts(self):
        table = OwnerTable(2)
        assert table.missing == [0, 1]
        table.apply(b"0", owner("a"))
        table.apply(b"0", owner("b"))
        assert table.get(0) == Owner("b", 1)
        assert table.missing == [1]
        table.apply(b"0", None)
        assert table.get(0) is None

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (b"2", owner("a")),
            (b"-1", owner("a")),
            (b"x", owner("a")),
            (b"0", b"junk"),
            (b"0", rows.encode(Offsets({}))),
        ],
    )
    def test_what_is_no_owner_is_left_out(self, key, value):
        table = OwnerTable(2)
        table.apply(key, value)
        assert table.missing == [0, 1]

    async def test_a_change_wakes_who_waits(self):
        table = OwnerTable(1)
        waiting = asyncio.ensure_future(table.wait(60))
        await asyncio.sleep(0)
        table.apply(b"0", owner("a"))
        await asyncio.wait_for(waiting, 1)
        await table.wait(0.001)  # nothing changed: it ends all the same


class TestGrants:
    async def test_revoking_wipes_at_once_and_waits_for_the_response(self):
        grants, key = Grants(), Key.new()
        holding = grants.hold("g", key)
        revoking = asyncio.ensure_future(grants.revoke("g"))
        await asyncio.wait_for(holding.revoked.wait(), 1)
        with pytest.raises(Wiped):
            _ = key.view
        assert not revoking.done()
        grants.drop("g")
        await asyncio.wait_for(revoking, 1)
        assert len(grants) == 0
        grants.drop("g")

    async def test_what_is_not_held_is_wiped_already(self):
        await asyncio.wait_for(Grants().revoke("g"), 1)

    def test_nothing_shows_a_key(self):
        assert "Holding" in repr(Grants().hold("g", Key.new()))


class TestFlights:
    async def test_transfers_are_bounded(self):
        flights = Flights()
        with flights.transfer(TENANT), pytest.raises(TooManyTransfers), flights.transfer(TENANT):
            pass
        with flights.transfer(TENANT):
            pass

    async def test_landing_waits_then_cancels(self):
        flights, began = Flights(), asyncio.Event()

        async def fly():
            with flights.transfer(TENANT):
                began.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(fly())
        await began.wait()
        await flights.land(0.001)
        assert task.cancelled()
        with pytest.raises(GatewayStopping), flights.stream():
            pass


class TestProblems:
    @pytest.mark.parametrize(
        ("error", "kind", "status"),
        [
            (OwnerRefused(Problem("gone", 410, "it is")), "gone", 410),
            (GatewayStarting("soon"), "gateway-starting", 503),
            (GatewayStopping("soon"), "gateway-stopping", 503),
            (NotFoundException(), "unknown-route", 404),
            (HTTPException(status_code=413), "too-large", 413),
            (HTTPException(status_code=400), "bad-request", 400),
            (HTTPException(status_code=500), "internal", 500),
            (ValueError("personal"), "internal", 500),
        ],
    )
    def test_every_error_is_a_problem(self, error, kind, status):
        problem = problems.problem_of(error)
        assert (problem.kind, problem.status) == (kind, status)
        assert "personal" not in problem.detail
        assert problems.document(problem).type == f"urn:mayfly:problem:{kind}"

    def test_a_bad_parameter_is_named(self):
        error = ValidationException(extra=[{"key": "subject", "message": "Expected `str` of length <= 200"}])
        assert problems.problem_of(error).detail == "subject: Expected `str` of length <= 200"
        assert problems.problem_of(ValidationException()).detail


def test_labels_cannot_grow():
    bounded = Bounded(2)
    assert [bounded(value) for value in ("a", "b", "a", "c", "d", "b")] == ["a", "b", "a", OTHER, OTHER, "b"]
