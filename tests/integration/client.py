"""A tenant of the running system, as a test drives it."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

import cv2
import httpx
import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from minio import Minio
from prometheus_client.parser import text_string_to_metric_families

from services.local.system import SYSTEM_FILE, System
from services.tls import client_context
from stream import topics
from stream.events.rows import AssetHead, rows
from stream.events.rows import Row as Header
from stream.ids import Mint

APP = "testapp"
ENDED = frozenset({"succeeded", "failed", "cancelled", "expired"})
WAIT_S = 60.0  # far above what anything takes; a machine that does other things takes its time
POLL_S = 0.02


def a_picture(side: int = 64, seed: int = 7) -> bytes:
    """A JPEG that no compression makes smaller."""
    noise = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


class Client(httpx.AsyncClient):
    """One tenant with one API key. `band`: of the age of its users, where the app asks for that."""

    def __init__(self, system: System, tenant: str, key: str, app: str = APP, band: str = "") -> None:
        super().__init__(base_url=system.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        self.system, self.tenant, self.app, self.band = system, tenant, app, band
        self.mint = Mint(bytes.fromhex(system.settings.secret), system.settings.partitions)

    def place(self, partition: int) -> str:
        """A fresh subject whose rows are on that partition."""
        while self.mint.place(self.tenant, name := secrets.token_hex(6)) != partition:
            pass
        return name

    async def submit(self, subject: str = "", *, key: str = "", **changes: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        subject = subject or secrets.token_hex(6)
        if self.band:
            (await self.put(f"/v1/{self.app}/subjects/{subject}/age", json={"band": self.band})).raise_for_status()
        body = {"subject": subject, "operation": "noop", "choice": "save", "inputs": [{}]} | changes
        return await self.post(f"/v1/{self.app}/jobs", json=body, headers=headers)

    async def upload(self, job: str, content: bytes | None = None, n: int = 0) -> httpx.Response:
        return await self.put(f"/v1/{self.app}/jobs/{job}/inputs/{n}", content=content or a_picture())

    async def begin(self, subject: str = "", **changes: Any) -> dict[str, Any]:
        """A job with its input uploaded."""
        answer = await self.submit(subject, **changes)
        assert answer.status_code == 201, answer.text
        job: dict[str, Any] = answer.json()
        answer = await self.upload(job["id"])
        assert answer.status_code == 200, answer.text
        return job

    async def job(self, job: str) -> dict[str, Any]:
        answer = await self.get(f"/v1/{self.app}/jobs/{job}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def job_when(self, job: str, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The job's status once it is `good`."""
        view: dict[str, Any] = {}
        try:
            async with asyncio.timeout(WAIT_S):
                while not good(view := await self.job(job)):
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError(f"not within {WAIT_S} s: {view}") from None
        return view

    async def ended(self, job: str) -> dict[str, Any]:
        return await self.job_when(job, lambda view: view["state"] in ENDED)

    async def done(self, subject: str = "", **changes: Any) -> dict[str, Any]:
        """A job that succeeded."""
        view = await self.ended((await self.begin(subject, **changes))["id"])
        assert view["state"] == "succeeded", view
        return view

    async def asset(self, asset: str) -> httpx.Response:
        return await self.get(f"/v1/{self.app}/assets/{asset}")

    async def status_of(self, asset: str) -> int:
        return (await self.head(f"/v1/{self.app}/assets/{asset}")).status_code

    async def receipt(self, asset: dict[str, Any]) -> bytes:
        """The receipt of an erased asset that says when it was gone, once there is one."""
        url = f"/v1/receipts/{self.mint.partition_of(asset['id'])}/{asset['leaf']}"

        async def whole() -> bytes:
            answer = await self.get(url)
            found = answer.content if answer.status_code == 200 else b""
            return found if found and msgspec.json.decode(found).get("absent") else b""

        return await eventually(whole)


async def eventually(ask: Callable[[], Any], *, within_s: float = WAIT_S) -> Any:
    """The first answer that is true."""
    async with asyncio.timeout(within_s):
        while not (answer := await ask()):
            await asyncio.sleep(POLL_S)
    return answer


async def go_on_to(system: System, moment: float) -> None:
    """The clock, past all deadlines on the way: who jumped to a ceiling would leave no time to keep the promise."""

    async def next_due() -> float:
        dues = [due for estate in await system.estates() if (due := estate["next_due"]) is not None]
        return min(dues, default=math.inf)

    while (due := await next_due()) < moment:
        await system.advance_to(stop := min(due + system.settings.lead_s / 2, moment))

        async def past() -> bool:
            return await next_due() > stop

        await eventually(past)
    await system.advance_to(moment)


def asset_of(view: dict[str, Any], role: str) -> dict[str, Any]:
    return next(asset for asset in view["assets"] if asset["role"] == role)


async def records(kafka: str, topic: str, partitions: int = 4) -> list[Any]:
    """Every committed record of a topic, in order within each partition."""
    tps = [TopicPartition(topic, n) for n in range(partitions)]
    found: list[Any] = []
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka, isolation_level="read_committed", enable_auto_commit=False
    ) as reader:
        reader.assign(tps)
        begins, ends = await reader.beginning_offsets(tps), await reader.end_offsets(tps)
        for tp in tps:
            reader.seek(tp, begins[tp])
        while waiting := [tp for tp in tps if begins[tp] < ends[tp] and await reader.position(tp) < ends[tp]]:
            for batch in (await reader.getmany(*waiting, timeout_ms=100)).values():
                found += batch
    return found


async def ledger_headers(system: System) -> dict[str, Header]:
    """Row id → its clear header, as the ledger has it now."""
    found: dict[str, Header] = {}
    for record in await records(system.settings.kafka, topics.LEDGER, system.settings.partitions):
        name = record.key.decode()
        if not name.startswith(("job_", "ast_", "sub_", "parked/")):
            continue
        if record.value is None:
            found.pop(name, None)
        else:
            found[name] = rows.decode(record.value)[0]
    return found


def bucket(system: System) -> set[str]:
    """The objects in custody."""
    settings = system.settings
    client = Minio(
        settings.s3_url.removeprefix("http://"),
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        secure=False,
    )
    return {found.object_name for found in client.list_objects(settings.bucket, recursive=True)}


async def objects_of(system: System, *assets: str) -> set[str]:
    """What custody holds under the object names of these assets."""
    headers = await ledger_headers(system)
    names = {head.object for asset in assets if isinstance(head := headers.get(asset), AssetHead)}
    return names & bucket(system)


async def problems(system: System) -> Counter[str]:
    """How often the gateway told each kind of problem."""
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"{system.url}/metrics")).text
    found: Counter[str] = Counter()
    for line in text.splitlines():
        if line.startswith("mayfly_problems_total{"):
            found[line.split('kind="')[1].split('"')[0]] += int(float(line.rpartition(" ")[2]))
    return found


async def worker_metrics(system: System) -> Counter[tuple[str, ...]]:
    """Every counter of all workers, summed: (name, label values by the labels' names…) → value."""
    found: Counter[tuple[str, ...]] = Counter()
    for text in await worker_texts(system):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name, *(sample.labels[name] for name in sorted(sample.labels))] += int(sample.value)
    return found


async def worker_texts(system: System) -> list[str]:
    """What each worker tells a scraper."""
    headers = {"Authorization": f"Bearer {system.settings.internal_token}"}
    context = client_context(system.settings.tls_dir)
    assert context is not None
    ports = json.loads((system.folder / SYSTEM_FILE).read_text())["workers"].values()
    async with httpx.AsyncClient(verify=context, headers=headers) as http:
        return [(await http.get(f"https://127.0.0.1:{port}/metrics")).text for port in ports]
