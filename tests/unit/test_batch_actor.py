"""A batch in an engine actor, sealed for real: item by item, in order, and nothing is stored under another's key."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from ray_cluster.actors import EngineActor
from ray_cluster.engines import dead_stack
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check
from ray_cluster.leases import Inventory, Piece, Progress, Task
from stream.errors import BadRequest
from stream.events.bus import ItemOutcome
from stream.events.lease import SHARED
from stream.ids import Kind, Mint
from stream.vault.envelope import seal_bytes, seal_key
from stream.vault.purposes import lease_info, params_info, stream_name
from stream.vault.secret import Key
from stream.vault.stream_seal import Sealer, open_

APP, JOB, FENCE = "testapp", "job", 3
GARMENT = b"what all of them wear"


class Blind(BadRequest):
    """No face."""

    kind = "no-face"


class Picky:
    """Joins its inputs, but takes none that begins with `bad`; remembers the plaintexts and seeds it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[Plaintext, ...]] = []
        self.seeds: list[int] = []
        self.open_at_once: list[int] = []

    def load(self) -> None:
        pass

    def run(
        self,
        inputs: Sequence[Plaintext],
        params: dict[str, Any],
        *,
        seed: int,
        report: Report,
        cancelled: IsCancelled,
    ) -> Result:
        self.given.append(tuple(inputs))
        self.seeds.append(seed)
        self.open_at_once.append(sum(any(bytes(view)) for views in self.given for view in views))
        assert params == {}
        check(cancelled)
        report("join", 1.0)
        if bytes(inputs[0]).startswith(b"bad"):
            raise Blind("expected a face")
        return Result(bytearray(b"+".join(bytes(one) for one in inputs)), "application/octet-stream", 0, 0, 0, {})


class Custody:
    """Ciphertexts by name, over HTTP; every call in order."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.url = ""

    async def get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.calls.append(f"GET {name}")
        return web.Response(body=self.objects[name])

    async def put(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.calls.append(f"PUT {name}")
        self.objects[name] = await request.read()
        return web.Response()


class Bench:
    """An actor, its custody, and the keys of what it is given and makes."""

    def __init__(self, actor: EngineActor, engine: Picky, custody: Custody) -> None:
        self.actor, self.engine, self.custody = actor, engine, custody
        self.keys: dict[str, Key] = {}
        self._mint, self._ids = Mint(bytes(32), 1), dict[str, str]()

    async def task(self, pictures: Sequence[bytes]) -> Task:
        """A batch of these pictures, with a garment for all."""
        inventory = msgspec.msgpack.decode(await self.actor.watch("w", -1, 1, 0), type=Inventory)
        ((offer, public),) = inventory.fresh
        for n, picture in enumerate(pictures):
            self._store(f"in-{n}", picture)
        self._store("garment", GARMENT)

        def piece(item: int, name: str, role: str) -> Piece:
            key = self.keys.setdefault(name, Key.new())
            sealed = seal_key(key, public, lease_info(self._id(name), APP, fence=FENCE, role=role))
            return Piece(role, self._id(name), f"{self.custody.url}/{name}", sealed, item=item)

        numbers = range(len(pictures))
        return Task(
            job=JOB,
            fence=FENCE,
            app=APP,
            operation="noop",
            offer=offer,
            inputs=(*(piece(n, f"in-{n}", "input") for n in numbers), piece(SHARED, "garment", "input")),
            outputs=tuple(piece(n, f"out-{n}", "result") for n in numbers),
            sealed_params=seal_bytes(b"{}", public, params_info(APP, fence=FENCE)),
            seed=7,
        )

    async def ended(self, task: Task) -> Progress:
        assert (await self.actor.start(msgspec.msgpack.encode(task))) == ""
        seq = -1
        while True:
            raw = await self.actor.progress(task.job, task.fence, seq, 5.0)
            progress = msgspec.msgpack.decode(raw, type=Progress)
            if progress.outcome is not None:
                return progress
            seq = progress.seq

    def _id(self, name: str) -> str:
        return self._ids.setdefault(name, self._mint.mint(Kind.ASSET, "tenant", 0))

    def made(self, name: str) -> bytes:
        return bytes(
            open_(self.keys[name], stream_name(self._id(name)), APP, bytearray(self.custody.objects[name])).view
        )

    def _store(self, name: str, plaintext: bytes) -> None:
        key = self.keys.setdefault(name, Key.new())
        sealer = Sealer(key, stream_name(self._id(name)), APP)
        self.custody.objects[name] = sealer.header() + sealer.update(plaintext) + sealer.final()


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    custody, engine, actor = Custody(), Picky(), EngineActor("noop", ("noop",))
    app = web.Application()
    app.router.add_get("/{name}", custody.get)
    app.router.add_put("/{name}", custody.put)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    custody.url = f"http://{host}:{port}"
    assert (await actor.ready()) == ""
    actor._engines["noop"] = engine
    yield Bench(actor, engine, custody)
    await actor._open.aclose()
    await runner.cleanup()


async def test_one_after_the_other_and_what_fails_stores_nothing(bench: Bench) -> None:
    progress = await bench.ended(await bench.task([b"good 0", b"bad 1", b"good 2"]))
    outcome = progress.outcome
    assert outcome is not None
    assert (outcome.status, outcome.wiped, [item.n for item in outcome.items]) == ("succeeded", True, [0, 1, 2])
    assert outcome.items[1] == ItemOutcome(1, kind="permanent", reason="no-face")
    assert bench.made("out-0") == b"good 0+" + GARMENT
    assert bench.made("out-2") == b"good 2+" + GARMENT
    assert "out-1" not in bench.custody.objects
    assert bench.custody.calls == [
        *("GET in-0", "GET garment", "PUT out-0"),
        *("GET in-1", "GET garment"),
        *("GET in-2", "GET garment", "PUT out-2"),
    ]
    assert bench.engine.open_at_once == [2, 2, 2]  # a picture and the garment: those before are overwritten
    assert not any(any(bytes(view)) for views in bench.engine.given for view in views)
    assert len(set(bench.engine.seeds)) == 3
    assert progress.item == 2
    assert 0.9 < progress.fraction <= 1


async def test_a_cancelled_batch_goes_no_further(bench: Bench) -> None:
    task = await bench.task([b"good 0", b"good 1", b"good 2"])
    run = bench.engine.run
    loop = asyncio.get_running_loop()

    def cancelled_at_the_second(*args: Any, **more: Any) -> Result:
        if len(bench.engine.given) == 1:
            asyncio.run_coroutine_threadsafe(bench.actor.cancel(JOB, FENCE), loop).result()
        return run(*args, **more)

    bench.engine.run = cancelled_at_the_second  # type: ignore[method-assign]
    outcome = (await bench.ended(task)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.wiped, outcome.items) == ("cancelled", True, ())
    assert "GET in-2" not in bench.custody.calls
    assert "PUT out-1" not in bench.custody.calls


@pytest.mark.parametrize("below", [dead_stack.MARGIN_BYTES + 8192, dead_stack.NEAR_BYTES - 4096, 1 << 20])
@pytest.mark.parametrize("how", ["wiped", "wiped while its pages are locked", "control"])
async def test_an_engine_leaves_nothing_on_its_stack(
    bench: Bench, below: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a codec's local buffers held, wherever they were; also where the engine failed."""
    left, run = b"somebody's face " * 16, bench.engine.run
    places: list[int] = []

    def leaving(*args: Any, **more: Any) -> Result:
        places.append(dead_stack.pointer() - below)
        ctypes.memmove(places[-1], left, len(left))
        return run(*args, **more)

    def found() -> list[bool]:
        memory = os.open("/proc/self/mem", os.O_RDONLY)
        try:
            return [left[:16] in os.pread(memory, len(left), place) for place in places]
        finally:
            os.close(memory)

    bench.engine.run = leaving  # type: ignore[method-assign]
    if how == "control":
        monkeypatch.setattr(dead_stack, "wipe", lambda: None)
    elif how != "wiped":
        monkeypatch.setattr(dead_stack._libc, "madvise", lambda *_: -1)
    await bench.ended(await bench.task([b"good", b"bad"]))
    assert await asyncio.get_running_loop().run_in_executor(bench.actor._thread, found) == [how == "control"] * 2
