"""`mayfly pool` without a scheduler: what is asked of it, how its answer is told, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from typer.testing import CliRunner

from ray_cluster.operating import UnknownPool
from ray_cluster.orders import Drain, Draining, Order, Pause, Reasons, Resume, Scale, Seats, SeatStatus, Waiting, Why
from ray_cluster.pools import PoolStatus
from services import cli_pool, pool_api, pool_call
from services.gateway.errors import OwnerAway, OwnerRefused
from services.local.ports import free_ports
from services.local.running import Running
from services.settings import Settings
from stream.errors import StoreUnavailable
from tests.unit.settled import settled

TOKEN = "token"
STATUS = PoolStatus("noop", 4, 2, 1, 1, 0, 3, "4 jobs need 3", spares=2, max_actors=5, by_hand=True)
BROKEN = msgspec.structs.replace(
    STATUS, pool="ncnn", unplaced=1, spares=0, error="weights-unavailable", retry_in_s=4.0, paused=True
)
WAITING = (Waiting("job_1", "batch", "turn", 0, 3.0), Waiting("job_2", "standard", "machine", 1, 9.0))


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    known = settled(tmp_path, monkeypatch, internal_token=TOKEN)
    monkeypatch.setattr(cli_pool, "running", lambda: Running(url="", workers={"worker-1": 1}))
    return known


@pytest.fixture
def asked(known: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    seen: list[Order] = []

    async def ask(_known: Settings, _ports: list[int], order: Order, _reply: Any) -> Any:
        seen.append(order)
        match order:
            case Seats():
                return [SeatStatus("engine-noop-1", "noop", "busy", 2, 31, 3 << 20, 1.5)]
            case Drain():
                return Draining(("engine-noop-1",) if order.pool != "ncnn" else (), 2)
            case Why():
                held = Reasons(BROKEN, "blocked", 1e9, WAITING, 7, held=True)
                fine = Reasons(STATUS, "jobs", 0.0, (), 0, held=False)
                return [fine] if order.pool == "noop" else [fine, held]
            case _:
                return STATUS

    monkeypatch.setattr(pool_call, "ask", ask)
    return seen


def run(*words: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(cli_pool.app, words, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


def test_pools_and_actors_are_listed(asked: list[Order]) -> None:
    told = run("ls")
    for word in (
        "noop",
        "4 jobs need 3",
        "0 to 5, by hand",
        "1 without a machine",
        "2 spare",
        "weights-unavailable",
    ):
        assert word in told
    assert [pool["pool"] for pool in json.loads(run("ls", "--json"))] == ["noop", "ncnn"]
    told = run("ls", "noop")
    for word in ("engine-noop-1", "busy", "31", "3 MiB", "1.5 s"):
        assert word in told
    assert json.loads(run("ls", "noop", "--json"))[0]["leases"] == 2
    assert asked[-1] == Seats("noop")


def test_why_tells_reasons_and_exits_3_where_somebody_must_act(asked: list[Order]) -> None:
    told = run("why", exit_code=3)
    for word in ("4 jobs need 3", "weights-unavailable", "no machine has room", "its turn", "and 7 more"):
        assert word in told
    assert json.loads(run("why", "--json", exit_code=3))[1]["waiting"][1]["waits_for"] == "machine"
    run("why", "noop", "--jobs", "5")
    assert asked[-1] == Why("noop", 5)


def test_every_cause_has_words() -> None:
    wanted = msgspec.inspect.type_info(Waiting).fields[2].type.values  # type: ignore[attr-defined]
    assert set(cli_pool.WORDS) == set(wanted)


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (("pause", "noop"), Pause("noop")),
        (("resume", "noop"), Resume("noop")),
        (("scale", "noop", "--min", "1", "--max", "4"), Scale("noop", 1, 4)),
        (("scale", "noop", "--max", "0"), Scale("noop", None, 0)),
        (("scale", "noop", "--reset"), Scale("noop")),
        (("drain", "noop"), Drain("noop")),
        (("drain", "engine-noop-1"), Drain(actor="engine-noop-1")),
    ],
)
def test_what_is_ordered(asked: list[Order], words: tuple[str, ...], order: Order) -> None:
    assert "noop" in run(*words)
    assert json.loads(run(*words, "--json"))
    assert asked == [order, order]


def test_a_scale_without_numbers_is_no_order(asked: list[Order]) -> None:
    for words in (("scale", "noop"), ("scale", "noop", "--reset", "--min", "1")):
        assert "--reset" in CliRunner().invoke(cli_pool.app, words).output
    assert asked == []


def test_an_empty_pool_says_so(asked: list[Order]) -> None:
    assert "no actor" in run("drain", "ncnn")


async def test_orders_travel_with_the_token_and_refusals_come_back(known: Settings) -> None:
    async def operate(raw: bytes) -> bytes:
        match msgspec.msgpack.decode(raw, type=Order):
            case Pause("unknown"):
                raise UnknownPool("expected a pool")
            case Pause("away"):
                raise StoreUnavailable("expected an answer")
        return msgspec.msgpack.encode(STATUS)

    app = web.Application()
    pool_api.add_routes(app, lambda request: request.headers.get("Authorization") == f"Bearer {TOKEN}", operate)
    runner, (port, nobody) = web.AppRunner(app), free_ports(2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        assert await pool_call.ask(known, [nobody, port], Resume("noop"), PoolStatus) == STATUS
        with pytest.raises(OwnerRefused) as refused:
            await pool_call.ask(known, [port], Pause("unknown"), PoolStatus)
        assert refused.value.problem.kind == "unknown-pool"
        for ports in ([port], [nobody], []):
            with pytest.raises(OwnerAway):
                await pool_call.ask(known, ports, Pause("away"), PoolStatus)
        stranger = msgspec.structs.replace(known, internal_token="another")
        with pytest.raises(OwnerRefused):
            await pool_call.ask(stranger, [port], Resume("noop"), PoolStatus)
        with pytest.raises(OwnerRefused):
            await pool_call.ask(known, [port], Draining((), 0), PoolStatus)  # type: ignore[arg-type]
    finally:
        await runner.cleanup()
