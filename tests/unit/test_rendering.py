"""One request of a RAM-only app, whatever becomes of it: at its end nothing is left of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from ray_cluster import actors
from services.gateway.render import picture as pictures
from services.gateway.render.picture import Picture
from services.gateway.tenants import Limits, Tenant
from stream.events.rows import Lane
from stream.vault.envelope import Recipient
from stream.vault.resident import MemoryUnsafe
from stream.vault.secret import Key
from tests.integration.client import a_picture
from tests.unit import render_bench
from tests.unit.render_bench import Bench, bench

PICTURE = a_picture()
LARGE = a_picture(side=512)
FORM = "multipart/form-data; boundary=b"


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Bench]:
    async with bench() as found:
        yield found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Picture]:
    """Every picture that a request has made."""
    found: list[Picture] = []
    begin = Picture.__init__

    def remembered(self: Picture, *args: Any) -> None:
        begin(self, *args)
        found.append(self)

    monkeypatch.setattr(Picture, "__init__", remembered)
    return found


def form(*files: bytes, params: Any = None, end: bytes = b"--b--\r\n") -> bytes:
    fields = [] if params is None else [f'name="params"\r\n\r\n{json.dumps(params)}'.encode()]
    parts = [*fields, *(b'name="i"; filename="x"\r\n\r\n' + file for file in files)]
    return b"".join(b"--b\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + end


async def until(good: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not good():
            await asyncio.sleep(0.005)


def wiped(picture: Picture) -> bool:
    """Its keys are zeros, and so is what it sealed."""
    keys: list[Key] = list(picture._keys.values())
    return all(key._wiped for key in keys) and not any(picture._sealed) and not any(picture._sealer._pending)


class TestEnds:
    async def test_one(self, desk: Bench, made: list[Picture]) -> None:
        reply = await desk.render(PICTURE[:100], PICTURE[100:])
        assert (reply.status, reply.body, reply.whole) == (200, PICTURE, True)
        assert desk.empty
        assert [wiped(one) for one in made] == [True]
        assert desk.cluster.tasks[0].in_memory

    async def test_many_in_tiny_chunks(self, desk: Bench, made: list[Picture]) -> None:
        body = form(PICTURE, b"none at all, but long enough", LARGE)
        chunks = [body[at : at + 777] for at in range(0, len(body), 777)]
        reply = await desk.render(*chunks, content_type=FORM)
        assert reply.whole
        assert reply.body.count(b"Mayfly-Status: 200") == 2
        assert reply.body.count(b"Mayfly-Status: 415") == 1
        assert PICTURE in reply.body
        assert LARGE in reply.body
        assert desk.empty
        assert all(wiped(one) for one in made)

    async def test_an_actor_that_takes_nothing_is_not_the_end(self, desk: Bench) -> None:
        desk.cluster.refuse = 1
        reply = await desk.render(PICTURE)
        assert (reply.status, reply.body) == (200, PICTURE)
        first, second = desk.cluster.tasks
        assert second.fence == first.fence + 1
        assert {first.inputs[0].url, first.outputs[0].url}.isdisjoint({second.inputs[0].url, second.outputs[0].url})
        desk.cluster.refuse = 99
        reply = await desk.render(PICTURE)
        assert (reply.status, reply.kind, reply.headers["retry-after"]) == (503, "no-actor", "2")
        assert desk.empty

    async def test_a_scheduler_that_restarts_is_told_again(self, desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("stream.agents.render.EPOCH_S", 0.02)
        desk.cluster.forget = 2
        reply = await desk.render(PICTURE)
        assert (reply.status, reply.body) == (200, PICTURE)
        assert desk.empty

    async def test_nobody_waits_for_ever(self, desk: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("stream.agents.render.QUEUED_S", 0.05)
        desk.cluster.forget = 10**6
        reply = await desk.render(PICTURE)
        assert (reply.status, reply.kind) == (503, "no-actor")
        assert desk.cluster.calls == ["withdraw"]
        assert desk.empty

    async def test_an_actor_whose_memory_a_disk_can_see_takes_nothing(self, desk: Bench) -> None:
        desk.cluster.actor._unsafe = True
        desk.cluster.refuse, desk.cluster.refusal = 1, MemoryUnsafe.kind
        assert (await desk.render(PICTURE)).kind == "memory-unsafe"
        assert (await desk.cluster.actor.start(a_task(desk))) == "memory-unsafe"
        assert desk.empty

    async def test_an_actor_that_dies(self, desk: Bench) -> None:
        reply = asyncio.create_task(desk.render(form(PICTURE, params=SLOW), content_type=FORM))
        await until(lambda: desk.cluster.actor._leases)
        desk.cluster.dead = True
        assert (await reply).kind == "actor-lost"
        await desk.cluster.actor.cancel(desk.cluster.tasks[0].job, 1)
        await until(lambda: all(lease.outcome for lease in desk.cluster.actor._leases.values()))

    async def test_an_actor_that_dies_before_its_answer_may_have_begun(self, desk: Bench) -> None:
        """No other actor is asked: the picture may have been taken, and is given once."""
        desk.cluster.dies = True
        assert (await desk.render(form(PICTURE, params=SLOW), content_type=FORM)).kind == "actor-lost"
        (task,) = desk.cluster.tasks
        await desk.cluster.actor.cancel(task.job, task.fence)
        await until(lambda: all(lease.outcome for lease in desk.cluster.actor._leases.values()))

    async def test_an_actor_of_which_nothing_is_heard_is_killed(
        self, desk: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("stream.agents.render.SILENT_S", 0.05)
        monkeypatch.setattr("stream.agents.render.AGAIN_S", 0.01)
        desk.cluster.silent = True
        assert (await desk.render(form(PICTURE, params=SLOW), content_type=FORM)).kind == "actor-lost"
        assert desk.cluster.calls[-2:] == ["cancel", "kill"]

    async def test_a_deployment_that_cannot_promise_it(self) -> None:
        async with bench(unsafe="swap is on") as desk:
            reply = await desk.render(PICTURE)
            assert (reply.status, reply.kind) == (501, "memory-unsafe")

    async def test_no_worker_and_one_that_goes_away(self, desk: Bench) -> None:
        reply = asyncio.create_task(desk.render(form(PICTURE, params=SLOW), content_type=FORM))
        await until(lambda: desk.cluster.actor._leases)
        await desk.socket.close()
        assert (await reply).kind == "worker-lost"
        await until(lambda: desk.empty)
        desk.desk._owners.addresses.clear()  # type: ignore[attr-defined]
        assert (await desk.render(PICTURE)).kind == "owner-away"

    async def test_a_gateway_that_stops(self, desk: Bench, made: list[Picture]) -> None:
        reply = asyncio.create_task(desk.render(form(PICTURE, params=SLOW), content_type=FORM))
        await until(lambda: desk.cluster.actor._leases)
        await desk.flights.land(0.01)
        assert (await reply).kind == "gateway-stopping"
        await until(lambda: desk.empty)
        assert all(wiped(one) for one in made)


SLOW = {"steps": 10_000, "step_s": 0.005}


def a_task(desk: Bench) -> bytes:
    """The last one again, on a fresh offer."""
    actor = desk.cluster.actor
    actor._offers[99] = Recipient.new()
    return msgspec.msgpack.encode(msgspec.structs.replace(desk.cluster.tasks[-1], offer=99, fence=99))


class TestLeaving:
    @pytest.mark.parametrize("files", [1, 3])
    async def test_mid_way_the_actor_is_cancelled_and_all_is_wiped(
        self, desk: Bench, made: list[Picture], files: int
    ) -> None:
        leave = asyncio.Event()
        body = form(*[PICTURE] * files, params=SLOW)
        reply = asyncio.create_task(desk.render(body, content_type=FORM, leave=leave))
        await until(lambda: desk.cluster.actor._leases)
        assert not desk.empty
        leave.set()
        async with asyncio.timeout(5):
            await reply
        assert not (await reply).whole
        await until(lambda: desk.empty)  # the lease was cancelled, wiped, acknowledged
        assert "cancel" in desk.cluster.calls
        assert "kill" not in desk.cluster.calls
        assert len(made) == files
        assert all(wiped(one) for one in made)

    async def test_before_the_body_was_whole(self, desk: Bench, made: list[Picture]) -> None:
        reply = await desk.render(form(PICTURE, LARGE)[:6000], content_type=FORM, cut=True)
        assert not reply.whole
        await until(lambda: desk.empty)
        assert all(wiped(one) for one in made)

    async def test_an_actor_whose_worker_asks_no_more_stops_by_itself(
        self, desk: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(actors, "ORPHAN_S", 0.05)
        monkeypatch.setattr("stream.agents.render.PROGRESS_S", 0.05)
        reply = asyncio.create_task(desk.render(form(PICTURE, params=SLOW), content_type=FORM))
        await until(lambda: desk.cluster.actor._leases)
        (lease,) = desk.cluster.actor._leases.values()
        await until(lambda: lease.step == "wait")
        assert not lease.cancelled.is_set()
        monkeypatch.setattr(desk.cluster, "progress", lambda *_, **__: asyncio.Event().wait())  # asks into the void
        await until(lambda: lease.outcome)
        assert lease.outcome is not None
        assert (lease.outcome.status, lease.outcome.wiped) == ("cancelled", True)
        reply.cancel()
        await asyncio.gather(reply, return_exceptions=True)


class TestFull:
    async def test_inputs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pictures, "ROOM_S", 0.05)
        async with bench(render_bytes=2 * len(LARGE) // 2) as desk:
            reply = await desk.render(LARGE)
            assert (reply.status, reply.kind, reply.headers["retry-after"]) == (503, "render-full", "2")
            assert desk.empty
            assert (await desk.render(PICTURE)).body == PICTURE
            both = await desk.render(form(LARGE, PICTURE), content_type=FORM)
            assert both.body.count(b"Mayfly-Status: 503\r\nRetry-After: 2\r\n") == 1
            assert PICTURE in both.body

    async def test_results(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("services.gateway.render.tickets.ROOM_S", 0.05)
        async with bench(render_bytes=100_000) as desk:
            reply = await desk.render(form(PICTURE, params={"out_bytes": 60_000}), content_type=FORM)
            assert (reply.status, reply.kind) == (503, "store-unavailable")
            assert desk.empty

    async def test_requests_and_a_tenants_own_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with bench(render_requests=1) as desk:
            with desk.desk.request():
                reply = await desk.render(PICTURE)
            assert (reply.status, reply.kind, reply.headers["retry-after"]) == (503, "render-full", "2")
            monkeypatch.setattr(render_bench, "TENANT", Tenant("ten_1", ("app",), (), Limits(transfers=0)))
            reply = await desk.render(PICTURE)
            assert (reply.status, reply.kind, reply.headers["retry-after"]) == (429, "too-many-transfers", "2")


class TestAdmission:
    async def test_a_tenant_who_has_as_much_as_it_may_is_told_when_to_come_again_before_a_byte_is_kept(
        self, desk: Bench, made: list[Picture], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(render_bench, "TENANT", Tenant("ten_1", ("app",), (), Limits(jobs=2, work_s=100.0)))
        no_limit = {"max_jobs": 0, "max_work_s": 0.0}
        with ExitStack() as held:
            for _ in range(2):
                held.enter_context(desk.crowd.holding("ten_1", "noop", Lane.INTERACTIVE, **no_limit))
            reply = await desk.render(PICTURE)
            assert (reply.status, reply.kind, reply.headers["retry-after"]) == (429, "too-many-jobs", "3")
        with ExitStack() as held:
            for _ in range(33):
                held.enter_context(desk.crowd.holding("another", "noop", Lane.INTERACTIVE, **no_limit))
            assert (await desk.render(PICTURE)).status == 200  # it is not theirs
        monkeypatch.setattr(render_bench, "TENANT", Tenant("ten_1", ("app",), (), Limits(work_s=2.0)))
        reply = await desk.render(PICTURE)  # 3 s each
        assert (reply.status, reply.kind, reply.headers["retry-after"]) == (429, "too-much-work", "1")
        assert desk.empty
        assert all(wiped(one) for one in made)

    async def test_a_flood_in_one_request_meets_the_limit_picture_by_picture(
        self, desk: Bench, made: list[Picture], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(render_bench, "TENANT", Tenant("ten_1", ("app",), (), Limits(jobs=1)))
        body = form(PICTURE, PICTURE, PICTURE, params={"steps": 30, "step_s": 0.01})
        reply = await desk.render(body, content_type=FORM)
        assert reply.whole
        assert reply.body.count(b"Mayfly-Status: 200") == 1
        assert reply.body.count(b"Mayfly-Status: 429") == 2
        assert reply.body.count(b"Retry-After: 3\r\n") == 2  # what the one that is there is predicted to take
        assert reply.body.count(b"problem:too-many-jobs") == 2
        assert desk.empty
        assert all(wiped(one) for one in made)


class TestSlowReaders:
    async def test_a_client_that_sends_all_before_it_reads_anything(self, desk: Bench) -> None:
        """Reading does not wait for the answer to be taken."""
        body = form(*[LARGE] * 8)
        taken, blocked = 0, asyncio.Event()
        chunks = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
        reply = render_bench.Reply()

        async def receive() -> Any:
            nonlocal taken
            if taken < len(chunks):
                taken += 1
                return {"type": "http.request", "body": chunks[taken - 1], "more_body": taken < len(chunks)}
            blocked.set()
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            await blocked.wait()
            reply.take(message)

        core: Any = SimpleNamespace(desk=desk.desk, flights=desk.flights)
        scope: Any = {"type": "http", "headers": [(b"content-type", FORM.encode())]}
        async with asyncio.timeout(20):
            await render_bench.Rendering(core, render_bench.TENANT, "app", "noop")(scope, receive, send)
        assert reply.body.count(b"Mayfly-Status: 200") == 8
        assert desk.empty
