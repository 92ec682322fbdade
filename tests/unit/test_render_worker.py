"""A worker's side of a render: the verdict with what the worker knows, and a socket that believes nobody."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest

from services import memory
from services.gateway.metering import metered
from services.settings import RamOnlyApps
from stream.agents import render
from stream.agents.admission import TooManyJobs
from stream.agents.api_render import Ask, Begin, Declined, FromWorker, Granted, Offered, Stop, Want
from stream.agents.crowd import Crowd
from stream.agents.ending import ServiceEnded
from stream.agents.estate import Rules
from stream.events.lease import Task
from stream.metrics import requests as metrics
from stream.policies import compiler
from stream.policies.refusals import OperationNotOffered, WrongRegion
from stream.vault import resident
from stream.vault.resident import MemoryUnsafe
from tests import twins
from tests.unit.render_bench import Bench, bench


@pytest.fixture
def tools(tmp_path: Any) -> Any:
    """What a worker knows of policies, as far as a verdict asks."""
    policies = compiler.load_all(str(twins.write(tmp_path)))
    return SimpleNamespace(
        policies=policies,
        rules=Rules(max_image_bytes=1000, max_video_bytes=5000),
        available={"noop": ("steps",), "stylization": ()},
        announced=tuple,
        calendar=None,
        crowd=Crowd(),
        clock=SimpleNamespace(now=lambda: 0.0),
    )


APP = twins.RAM_ONLY[0].name


class TestVerdict:
    def test_what_may_come_in_is_what_the_policy_takes(self, tools: Any) -> None:
        found = render.judge(tools, Ask("t", APP, "noop", ("steps",)))
        assert found.accept == ("image/jpeg", "image/png", "image/webp")
        assert (found.max_bytes, found.input_role, found.counted) == (1000, "photo", True)
        moving = render.judge(tools, Ask("t", "batchpix", "stylization"))
        assert "video/mp4" in moving.accept
        assert moving.max_bytes == 5000

    def test_uses_are_counted_only_where_the_text_knows_of_statistics(self, tools: Any) -> None:
        assert not render.judge(tools, Ask("t", twins.RAM_ONLY[1].name, "noop")).counted

    def test_refusals(self, tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(OperationNotOffered):
            render.judge(tools, Ask("t", "nobody", "noop"))
        with pytest.raises(MemoryUnsafe):
            render.judge(tools, Ask("t", APP, "noop"), unsafe="swap is on")
        policy = tools.policies[APP]
        home = SimpleNamespace(region="CN", clause="test §1")
        tools.policies = tools.policies | {APP: msgspec.structs.replace(policy, residency=home)}
        with pytest.raises(WrongRegion):
            render.judge(tools, Ask("t", APP, "noop"))
        monkeypatch.setattr("stream.agents.ending.ended", lambda _: {APP})
        with pytest.raises(ServiceEnded):
            render.judge(tools, Ask("t", APP, "noop"))

    def test_no_room_for_one_picture_more(self, tools: Any) -> None:
        with tools.crowd.holding("t", "noop", render.LANE, max_jobs=1, max_work_s=0.0):
            with pytest.raises(TooManyJobs):
                render.judge(tools, Ask("t", APP, "noop", max_jobs=1))
            assert render.judge(tools, Ask("t", APP, "noop", max_jobs=2))
            assert render.judge(tools, Ask("another", APP, "noop", max_jobs=1))


class TestSocket:
    """Whatever is no message of a gateway ends the connection, and with it all that it held."""

    async def talk(self, desk: Bench, *messages: Any) -> list[FromWorker]:
        (url,) = desk.desk.workers()
        heard: list[FromWorker] = []
        async with asyncio.timeout(10), desk.desk.http.ws_connect(f"{url}/render") as socket:
            for message in messages:
                await socket.send_bytes(message if isinstance(message, bytes) else msgspec.msgpack.encode(message))
            async for said in socket:
                if said.type is not aiohttp.WSMsgType.BINARY:
                    break
                heard.append(msgspec.msgpack.decode(said.data, type=FromWorker))
        return heard

    @pytest.mark.parametrize(
        "messages",
        [
            [b"no message"],
            [Want(0, "job")],  # before the verdict
            [Ask("t", "app", "noop"), Ask("t", "app", "noop")],
            [Ask("t", "app", "noop"), Want(0, "job"), Want(0, "job")],
            [Ask("t", "app", "noop"), *(Want(n, f"job{n}") for n in range(300))],
        ],
    )
    async def test_nonsense(self, messages: list[Any]) -> None:
        async with bench() as desk:
            heard = await self.talk(desk, *messages)
            assert not [one for one in heard if not isinstance(one, Granted | Offered)]
            async with asyncio.timeout(10):
                while not desk.empty:
                    await asyncio.sleep(0.005)

    async def test_a_refusal_is_the_end(self) -> None:
        def refuse(_: Ask) -> Granted:
            raise OperationNotOffered("expected another")

        async with bench() as desk:
            desk.socket._judge = refuse
            (heard,) = await self.talk(desk, Ask("t", "app", "noop"))
            assert isinstance(heard, Declined)
            assert heard.problem.kind == "operation-not-offered"

    async def test_what_was_stopped_or_never_wanted_is_passed_over(self) -> None:
        task = Task("job", 1, "app", "noop", 1, (), (), b"")
        async with bench() as desk:
            heard = await self.talk(desk, Ask("t", "app", "noop"), Stop(7), Begin(7, task), b"end")
            assert len(heard) == 1

    async def test_a_task_that_nobody_asked_for(self) -> None:
        async with bench() as desk:
            (url,) = desk.desk.workers()
            async with asyncio.timeout(10), desk.desk.http.ws_connect(f"{url}/render") as socket:
                for message in (Ask("t", "app", "noop"), Want(0, "job")):
                    await socket.send_bytes(msgspec.msgpack.encode(message))
                await socket.receive_bytes()
                offered = msgspec.msgpack.decode(await socket.receive_bytes(), type=FromWorker)
                assert isinstance(offered, Offered)
                task = Task("another", offered.fence, "app", "noop", offered.offer, (), (), b"")
                await socket.send_bytes(msgspec.msgpack.encode(Begin(0, task)))
                ended: Any = msgspec.msgpack.decode(await socket.receive_bytes(), type=FromWorker)
                assert ended.problem.kind == "not-asked"
            assert desk.cluster.calls == ["decline"]
            assert not desk.cluster.tasks


class TestStart:
    def test_unsafe_memory_refuses_the_start_or_the_apps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resident, "forbid_core_dumps", lambda: None)
        monkeypatch.setattr(resident, "why_unsafe", lambda: "swap is on")
        settings: Any = SimpleNamespace(ram_only_apps=RamOnlyApps.REQUIRED)
        with pytest.raises(MemoryUnsafe):
            memory.checked(settings)
        settings.ram_only_apps = RamOnlyApps.IF_SAFE
        assert "swap is on" in memory.checked(settings)
        monkeypatch.setattr(resident, "why_unsafe", lambda: "")
        assert memory.checked(settings) == ""

    async def test_no_request_of_a_ram_only_app_is_counted_by_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counted: list[str] = []
        monkeypatch.setattr(metrics, "began", lambda: counted.append("began"))
        monkeypatch.setattr(metrics, "ended", lambda *_: counted.append("ended"))

        async def app(*_: Any) -> None:
            counted.append("served")

        for path in ("/v1/batchpix/render", "/v1/genzo/jobs"):
            scope: Any = {"type": "http", "path": path}
            await metered(app)(scope, None, None)  # type: ignore[arg-type]
        assert counted == ["served", "began", "served", "ended"]
