"""The public API on a real gateway process, real Kafka and a real S3.

`GatewayApi` is the contract: it must hold whoever owns the partitions (a worker: test_gateway_worker.py). What needs
an owner that does as it is told is in `TestWithDouble`, what needs a process of its own in `TestProcess`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import secrets
import signal
import socket
import struct
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import cv2
import httpx
import msgspec
import numpy as np
import pytest
import pytest_asyncio

from services import tls
from services.gateway import tenant_topic
from services.gateway.bodies import MAX_INPUTS
from services.gateway.tenants import Limits, Tenant
from services.local.ports import free_ports
from services.local.stack import LocalStack
from services.settings import RamOnlyApps, Settings, save
from stream import topics
from stream.agents import api
from stream.agents.grants import NoGrant
from stream.audit.checkpoint import parse_note
from stream.audit.tiles import tiles
from stream.audit.verify import audit
from stream.ids import Kind, Mint
from tests.contract.owner_double import MAX_BYTES, PURPOSE, OwnerDouble, Refused

APP = "genzo"
T = TypeVar("T")
PROBLEM = "application/problem+json"
pytestmark = pytest.mark.stack


class Caller(httpx.AsyncClient):
    """One tenant."""

    def __init__(self, url: str, tenant: Tenant, key: str) -> None:
        super().__init__(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        self.tenant, self.key = tenant, key

    async def consent(self, subject: str) -> None:
        url = f"/v1/{APP}/subjects/{subject}/consents/{PURPOSE}"
        answer = await self.put(url, json={"granted": True, "version": "2025-1"})
        assert answer.status_code == 200, answer.text

    async def submit(self, subject: str, **changes: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if (key := changes.pop("idempotency_key", "")) else {}
        body = {"subject": subject, "operation": "stylization", "choice": "save", "inputs": [{}]} | changes
        return await self.post(f"/v1/{APP}/jobs", json=body, headers=headers)

    async def job(self, subject: str = "") -> dict[str, Any]:
        subject = subject or secrets.token_hex(6)
        await self.consent(subject)
        answer = await self.submit(subject)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def upload(self, job: str, content: bytes, n: int = 0) -> httpx.Response:
        return await self.put(f"/v1/{APP}/jobs/{job}/inputs/{n}", content=content)

    async def stored(self, content: bytes) -> tuple[str, str]:
        """A job and its stored input."""
        job = await self.job()
        answer = await self.upload(job["id"], content)
        assert answer.status_code == 200, answer.text
        return job["id"], job["assets"][0]["id"]


class System:
    """A gateway and the tenants that call it."""

    process: asyncio.subprocess.Process  # these two: where the test itself started it
    log: Path

    def __init__(self, url: str, settings: Settings) -> None:
        self.url, self.settings = url, settings
        self.port = int(url.rpartition(":")[2])
        self.mint = Mint(bytes.fromhex(settings.secret), settings.partitions)
        self.callers: list[Caller] = []
        self.connections: list[asyncio.StreamWriter] = []

    async def tenant(self, *apps: str, limits: Limits | None = None) -> Caller:
        tenant, key = await tenant_topic.add(self.settings.kafka, apps or (APP,), limits or Limits())
        caller = Caller(self.url, tenant, key)
        self.callers.append(caller)
        await poll(lambda: caller.get("/v1/receipts/0/x"), lambda answer: answer.status_code != 401)  # it has followed
        return caller

    async def problems(self) -> dict[tuple[str, str], float]:
        """Every (kind, route) of the counter."""
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"{self.url}/metrics")).text
        found = re.findall(r'mayfly_problems_total\{kind="([^"]+)",route="([^"]+)"\} (\S+)', text)
        return {(kind, route): float(value) for kind, route, value in found}

    async def metric(self, name: str) -> float:
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"{self.url}/metrics")).text
        return next((float(v) for v in re.findall(rf"^{re.escape(name)} (\S+)", text, re.MULTILINE)), 0.0)


async def poll(ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> None:
    """Ask until the answer is good; 20 s at most."""
    async with asyncio.timeout(20):
        while not good(await ask()):
            await asyncio.sleep(0.01)


def a_picture(kind: str = ".jpg", side: int = 256) -> bytes:
    noise = np.random.default_rng(7).integers(0, 255, (side, side, 3), np.uint8)
    return cv2.imencode(kind, noise)[1].tobytes()


def a_bomb() -> bytes:
    """A PNG of few bytes that declares 30,000 x 30,000 pixels."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(bytes(100))) + part(b"IEND", b"")


def a_polyglot() -> bytes:
    """A JPEG whose comment is a web page."""
    picture = a_picture()
    page = b"<!doctype html><script>alert(1)</script>"
    return picture[:2] + b"\xff\xfe" + struct.pack(">H", len(page) + 2) + page + picture[2:]


def make_settings(stack: LocalStack, folder: Path) -> Settings:
    tls.create(folder / "tls", datetime.now(UTC))
    ends = stack.endpoints
    return Settings(
        kafka=ends.kafka,
        s3_url=ends.s3_url,
        s3_access_key=ends.s3_access_key,
        s3_secret_key=ends.s3_secret_key,
        bucket=ends.bucket,
        secret=secrets.token_hex(32),
        internal_token=secrets.token_hex(16),
        tls_dir=str(folder / "tls"),
        state_dir=str(folder),
        grant_ttl_s=1.0,
        ram_only_apps=RamOnlyApps.IF_SAFE,
    )


async def start(settings: Settings, folder: Path) -> System:
    """A gateway process, answering."""
    save(settings, folder / "settings.json")
    (port,) = free_ports(1)
    log = folder / "gateway.log"
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "services.gateway", "--port", str(port)),
            env={**os.environ, "MAYFLY_SETTINGS": str(folder / "settings.json")},
            stderr=stderr,
        )
    system = System(f"http://127.0.0.1:{port}", settings)
    system.process, system.log = process, log
    async with asyncio.timeout(30), httpx.AsyncClient(base_url=system.url) as http:
        while True:
            assert process.returncode is None, log.read_text()
            try:
                if (await http.get("/healthz")).status_code == 200:
                    return system
            except httpx.TransportError:
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def started(settings: Settings, folder: Path) -> AsyncIterator[System]:
    """A gateway process that is gone afterwards, whether it was told to end or not."""
    system = await start(settings, folder)
    yield system
    if system.process.returncode is None:
        system.process.kill()
        await system.process.wait()


async def end(system: System) -> float:
    """SIGTERM; the seconds until it was gone."""
    for caller in system.callers:
        await caller.aclose()
    began = time.monotonic()
    if system.process.returncode is None:
        system.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(system.process.wait(), 10) == 0, system.log.read_text()
    seconds = time.monotonic() - began
    for connection in system.connections:
        connection.transport.abort()
        with contextlib.suppress(ConnectionError):
            await connection.wait_closed()
    return seconds


@pytest_asyncio.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """Not the session's: the double writes `owners`, which a running system's gateway follows."""
    async with LocalStack(tmp_path_factory.mktemp("stack")) as booted:
        yield booted


@pytest_asyncio.fixture(scope="module")
async def double(own_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OwnerDouble]:
    settings = make_settings(own_stack, tmp_path_factory.mktemp("gateway"))
    plan = topics.plan(settings.event_retention_s, settings.parked_retention_s)
    await topics.create(settings.kafka, plan, partitions=settings.partitions)
    owner = OwnerDouble(settings)
    await owner.start()
    await owner.announce(owner.address)
    yield owner
    await owner.stop()


@pytest_asyncio.fixture(scope="module")
async def gateway(double: OwnerDouble) -> AsyncIterator[System]:
    system = await start(double.settings, Path(double.settings.state_dir))
    async with httpx.AsyncClient(base_url=system.url) as http:
        await poll(lambda: http.get("/readyz"), lambda answer: answer.status_code == 200)
    yield system
    await end(system)


@pytest_asyncio.fixture
async def caller(gateway: System) -> Caller:
    """The first tenant of this gateway."""
    return gateway.callers[0] if gateway.callers else await gateway.tenant()


def refused(answer: httpx.Response, status: int, kind: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    body = answer.json()
    assert body["type"] == f"urn:mayfly:problem:{kind}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]


class GatewayApi:
    """What any owner's gateway does."""

    async def test_a_job_from_consent_to_bytes(self, caller: Caller) -> None:
        picture = a_picture()
        await caller.consent("ann@example.org")
        made = await caller.submit("ann@example.org")
        assert made.status_code == 201
        job = made.json()
        assert made.headers["location"] == f"/v1/{APP}/jobs/{job['id']}"
        assert job["state"] == "awaiting"
        assert (await caller.upload(job["id"], picture)).status_code == 200
        seen = (await caller.get(made.headers["location"])).json()
        (asset,) = [one for one in seen["assets"] if one["role"] == "input"]
        assert (asset["media_type"], asset["size_bytes"]) == ("image/jpeg", len(picture))
        url = f"/v1/{APP}/assets/{asset['id']}"
        for answer in (await caller.head(url), await caller.get(url)):
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "image/jpeg"
            assert answer.headers["content-length"] == str(len(picture))
            assert answer.headers["accept-ranges"] == "none"
            assert answer.headers["cache-control"] == "no-store"
        assert answer.content == picture
        assert (await caller.delete(url)).status_code == 202
        refused(await caller.get(url), 410, "gone")
        assert (await caller.head(url)).status_code == 410
        assert (await caller.delete(f"/v1/{APP}/jobs/{job['id']}")).status_code == 202
        assert (await caller.delete(f"/v1/{APP}/subjects/ann@example.org")).status_code == 202

    async def test_a_consent_from_its_text_to_its_withdrawal(self, caller: Caller) -> None:
        told = (await caller.get(f"/v1/{APP}/consents")).json()
        (text,) = told["texts"]
        assert (told["app"], text["purpose"], text["needed_by"][0]) == (APP, PURPOSE, "stylization")
        assert text["sha256"] == hashlib.sha256(text["text"].encode()).hexdigest()
        user = f"/v1/{APP}/subjects/{secrets.token_hex(6)}/consents"
        seen = (await caller.get(user)).json()
        assert (seen["standing"], seen["history"]) == ([], [])
        assert seen["ask"] == [{"purpose": PURPOSE, "version": text["version"], "why": "new"}]
        body = {"granted": True, "version": text["version"], "how": "app", "proof": "order-4711"}
        given = (await caller.put(f"{user}/{PURPOSE}", json=body)).json()
        assert {name: given[name] for name in body} == body
        assert given["guardian"] is False
        assert (await caller.put(f"{user}/{PURPOSE}", json=body)).json() == given  # once is enough
        answer = await caller.get(user)
        assert answer.headers["cache-control"] == "no-store"
        assert (answer.json()["standing"], answer.json()["ask"]) == ([given], [])
        body = {"granted": False, "version": text["version"]}
        gone = (await caller.put(f"{user}/{PURPOSE}", json=body)).json()
        assert gone["how"] == "tenant_api"
        seen = (await caller.get(user)).json()
        assert (seen["standing"], seen["history"], seen["ask"][0]["why"]) == ([], [given, gone], "withdrawn")

    async def test_consents_that_are_none(self, caller: Caller) -> None:
        url = f"/v1/{APP}/subjects/{secrets.token_hex(6)}"
        good = {"granted": True, "version": "2025-1"}
        for wrong in ({"how": "restore"}, {"how": "app\n"}, {"proof": "ann@example.org"}, {"proof": "she said so"}):
            answer = await caller.put(f"{url}/consents/{PURPOSE}", json=good | wrong)
            refused(answer, 400, "bad-body")
            assert next(iter(wrong.values())) not in answer.json()["detail"]
        refused(await caller.put(f"{url}/consents/selling", json=good), 404, "unknown-purpose")
        refused(
            await caller.put(f"{url}/consents/{PURPOSE}", json=good | {"guardian": True}), 422, "guardian-not-asked"
        )
        refused(await caller.put(f"{url}/age", json={"band": "adult"}), 422, "age-not-asked")
        refused(await caller.put(f"{url}/age", json={"band": "adult", "born": "1999-01-01"}), 400, "bad-body")
        assert (await caller.get(f"{url}/consents")).json()["history"] == []

    @pytest.mark.parametrize(
        "content",
        [a_picture(".png", 64), a_picture(".jpg", 300)],
        ids=["png", "jpeg-over-a-chunk"],
    )
    async def test_bytes_come_back_as_they_went(self, caller: Caller, content: bytes) -> None:
        _, asset = await caller.stored(content)
        assert (await caller.get(f"/v1/{APP}/assets/{asset}")).content == content

    async def test_a_key_is_needed(self, gateway: System) -> None:
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            for key in ("", "Bearer mf_" + "A" * 43, "Basic YTpi", "Bearer mf_short"):
                answer = await http.get(f"/v1/{APP}/jobs/job_x", headers={"Authorization": key} if key else {})
                refused(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"] == "Bearer"

    async def test_another_tenants_ids_look_like_no_ids(self, gateway: System, caller: Caller) -> None:
        job, asset = await caller.stored(a_picture())
        other = await gateway.tenant()
        stranger = gateway.mint.mint(Kind.JOB, "nobody", 0)
        answers = [
            await other.get(f"/v1/{APP}/jobs/{job}"),
            await other.get(f"/v1/{APP}/jobs/{stranger}"),
            await other.get(f"/v1/{APP}/jobs/job_"),
            await other.get(f"/v1/{APP}/jobs/{job}/events"),
            await other.get(f"/v1/{APP}/jobs/{asset}"),
            await other.get(f"/v1/{APP}/assets/{asset}"),
            await other.delete(f"/v1/{APP}/assets/{asset}"),
            await other.delete(f"/v1/{APP}/jobs/{job}"),
            await other.upload(job, a_picture()),
        ]
        for answer in answers:
            refused(answer, 404, "unknown-id")
        assert len({re.sub("kind \\w+", "", answer.text) for answer in answers}) == 1
        assert (await caller.head(f"/v1/{APP}/assets/{asset}")).status_code == 200

    async def test_an_app_not_allowed_looks_like_none(self, caller: Caller) -> None:
        job = gateway_job = (await caller.job())["id"]
        answers = [await caller.get(f"/v1/{app}/jobs/{gateway_job}") for app in ("batchpix", "nosuchapp", "%00", "A_b")]
        for answer in answers:
            refused(answer, 404, "unknown-app")
        assert len({answer.text for answer in answers}) == 1
        assert (await caller.get(f"/v1/{APP}/jobs/{job}")).status_code == 200

    async def test_one_idempotency_key_one_job(self, caller: Caller) -> None:
        await caller.consent("idem")
        first = await caller.submit("idem", idempotency_key="k1")
        again = await caller.submit("idem", idempotency_key="k1")
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["id"] == again.json()["id"]
        refused(await caller.submit("idem", idempotency_key="k1", choice="discard"), 409, "idempotency-conflict")
        other = await caller.submit("idem")
        assert other.json()["id"] != first.json()["id"]

    async def test_verdict_before_any_byte(self, caller: Caller) -> None:
        await caller.consent("verdict")
        refused(await caller.submit("verdict", operation="retouch"), 403, "operation-not-offered")
        refused(await caller.submit("no-consent-yet"), 403, "consent-missing")

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b"", "no JSON object"),
            (b"{", "no JSON object"),
            (b"\xff\xfe", "no JSON object"),
            (b"[" * 60_000, "array"),
            (b'{"params":' + b'{"a":' * 10_000, "nested too deeply"),
            (b'{"subject":1}', "$.subject"),
            (b'{"subject":"s","operation":"stylization","inputs":[]}', "$.inputs"),
            (b'{"subject":"s","operation":"stylization","inputs":[{"url":"x"}]}', "unknown field"),
            (b'{"subject":"s","operation":"stylization","inputs":[{}],"sekret":"x"}', "unknown field"),
            (b'{"subject":"s\\u0000","operation":"stylization","inputs":[{}]}', "$.subject"),
            (b'{"subject":"s","operation":"stylization","inputs":[{}],"params":{"n":1e400}}', "JSON"),
            (b'{"subject":"s","operation":"stylization","inputs":[{}],"params":{"n":9007199254740993}}', "$.params"),
            (b'{"subject":"' + b"s" * 201 + b'","operation":"stylization","inputs":[{}]}', "$.subject"),
        ],
    )
    async def test_a_bad_body_is_told_by_field(self, caller: Caller, body: bytes, told: str) -> None:
        answer = await caller.post(f"/v1/{APP}/jobs", content=body)
        refused(answer, 400, "bad-body")
        assert told in answer.json()["detail"]
        assert "sekret" not in answer.text

    async def test_bodies_have_a_cap(self, caller: Caller) -> None:
        refused(await caller.post(f"/v1/{APP}/jobs", content=b" " * (64 * 1024 + 1)), 413, "too-large")

    async def test_names_have_a_form(self, caller: Caller) -> None:
        body = {"granted": True, "version": "1"}
        for subject, purpose in (("s" * 201, PURPOSE), ("a%0ab", PURPOSE), ("ann", "Face!")):
            answer = await caller.put(f"/v1/{APP}/subjects/{subject}/consents/{purpose}", json=body)
            refused(answer, 400, "bad-name")

    async def test_unknown_routes_and_methods(self, caller: Caller) -> None:
        refused(await caller.get("/v1/genzo/nothing/here"), 404, "unknown-route")
        answer = await caller.post(f"/v1/{APP}/jobs/x")
        refused(answer, 405, "method-not-allowed")
        assert set(answer.headers["allow"].split(", ")) >= {"GET", "DELETE"}

    @pytest.mark.parametrize(
        ("content", "status", "kind"),
        [
            (b"", 400, "empty-body"),
            (b"GIF89a not a picture we take" * 20, 415, "unsupported-media"),
            (a_picture()[:-700], 422, "truncated-media"),
            (a_picture(".png", 64)[:-20], 422, "truncated-media"),
            (a_bomb(), 422, "too-many-pixels"),
            (a_polyglot(), 422, "polyglot"),
            (a_picture() + b"PK\x03\x04", 422, "trailing-data"),
        ],
        ids=["empty", "not-an-image", "truncated-jpeg", "truncated-png", "bomb", "polyglot", "trailing"],
    )
    async def test_bad_media_is_refused_and_nothing_stays(
        self, gateway: System, caller: Caller, content: bytes, status: int, kind: str
    ) -> None:
        job = await caller.job()
        before = (await gateway.problems()).get((kind, "upload"), 0)
        refused(await caller.upload(job["id"], content), status, kind)
        assert (await gateway.problems())[kind, "upload"] == before + 1
        refused(await caller.get(f"/v1/{APP}/assets/{job['assets'][0]['id']}"), 410, "gone")
        assert (await caller.head(f"/v1/{APP}/assets/{job['assets'][0]['id']}")).status_code == 410
        assert (await caller.upload(job["id"], a_picture())).status_code == 200  # the same slot, with a good one

    async def test_uploads_need_a_length(self, caller: Caller) -> None:
        job = await caller.job()

        async def chunks() -> AsyncIterator[bytes]:
            yield a_picture()

        answer = await caller.put(f"/v1/{APP}/jobs/{job['id']}/inputs/0", content=chunks())
        refused(answer, 411, "length-required")

    async def test_no_such_input(self, caller: Caller) -> None:
        job = await caller.job()
        refused(await caller.upload(job["id"], a_picture(), n=1), 404, "no-such-input")
        refused(await caller.upload(job["id"], a_picture(), n=MAX_INPUTS), 400, "bad-name")

    async def test_receipts_are_found_by_leaf(self, caller: Caller) -> None:
        _, asset = await caller.stored(a_picture())
        refused(await caller.get("/v1/receipts/0/nonsense"), 404, "unknown-id")
        refused(await caller.get(f"/v1/receipts/9999/{'0' * 64}"), 404, "unknown-id")
        refused(await caller.get(f"/v1/receipts/0/{'0' * 64}"), 404, "unknown-id")
        assert asset

    async def test_the_log_is_served_as_files(self, gateway: System, caller: Caller) -> None:
        while gateway.mint.place(caller.tenant.id, subject := secrets.token_hex(6)) != 0:
            pass
        assert (await caller.upload((await caller.job(subject))["id"], a_picture())).status_code == 200
        logs = (await caller.get("/v1/log")).json()
        note = await caller.get("/v1/log/0/checkpoint")
        assert (note.status_code, note.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert note.headers["cache-control"] == "no-store"
        head = parse_note(note.text)
        assert head.origin == "mayfly/0"
        files = {}
        for tile in tiles(head.size):
            answer = await caller.get(f"/v1/log/0/{tile.path}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
            assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
            files[tile.path] = answer.content
        assert audit({**files, "checkpoint": note.content}.get).head == head
        for path in ("0/tile/0/999", "0/tile/0/0", "0/tile/nonsense", "0/tile/entries/x999/999"):
            refused(await caller.get(f"/v1/log/{path}"), 404, "unknown-tile")
        for path in ("checkpoint", "tile/0/000"):
            refused(await caller.get(f"/v1/log/{logs['partitions']}/{path}"), 404, "unknown-id")

    async def test_the_log_is_for_tenants_only(self, gateway: System) -> None:
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            for path in ("log", "log/0/checkpoint", "log/0/tile/0/000"):
                refused(await http.get(f"/v1/{path}"), 401, "unauthorized")

    async def test_documentation_needs_no_internet(self, gateway: System) -> None:
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            page = (await http.get("/docs")).text
            document = (await http.get("/docs/openapi.json")).json()
        assert "/v1/{app}/jobs" in page
        assert not re.search(r"(src|href)=.?(https?:)?//", page)
        assert "<script" not in page
        assert document["openapi"].startswith("3.1")
        operations = {(m, p) for p, item in document["paths"].items() for m in item if m != "parameters"}
        assert operations >= {
            ("put", "/v1/{app}/subjects/{subject}/consents/{purpose}"),
            ("post", "/v1/{app}/jobs"),
            ("put", "/v1/{app}/jobs/{job}/inputs/{n}"),
            ("get", "/v1/{app}/jobs/{job}"),
            ("get", "/v1/{app}/jobs/{job}/events"),
            ("delete", "/v1/{app}/jobs/{job}"),
            ("get", "/v1/{app}/assets/{asset}"),
            ("delete", "/v1/{app}/assets/{asset}"),
            ("delete", "/v1/{app}/subjects/{subject}"),
            ("get", "/v1/receipts/{partition}/{leaf}"),
            ("get", "/v1/log"),
            ("get", "/v1/log/{partition}/checkpoint"),
            ("get", "/v1/log/{partition}/tile/{rest}"),
        }
        body = document["paths"]["/v1/{app}/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert set(body["required"]) == {"subject", "operation", "inputs"}

    async def test_health_and_readiness(self, gateway: System) -> None:
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get("/readyz")).status_code == 200
            assert "mayfly_request_seconds" in (await http.get("/metrics")).text


class TestDouble(GatewayApi):
    """The double keeps the contract too."""


class TestWithDouble:
    """What needs an owner that obeys."""

    async def test_over_the_cap_is_stopped_before_the_first_byte(
        self, gateway: System, caller: Caller, double: OwnerDouble
    ) -> None:
        job = await caller.job()
        reader, writer = await _connect(gateway)
        writer.write(_upload_head(caller, job["id"], MAX_BYTES + 1))  # and not one byte of the body
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
        assert b" 413 " in answer
        writer.close()
        assert double.ended[-1].reason == "too-large"

    async def test_an_upload_cut_off_half_way(self, gateway: System, caller: Caller, double: OwnerDouble) -> None:
        job = await caller.job()
        picture = a_picture()
        _, writer = await _connect(gateway)
        writer.write(_upload_head(caller, job["id"], len(picture)) + picture[: len(picture) // 2])
        await double.until(lambda: "grant_write" in double.calls)
        told = len(double.ended)
        writer.transport.abort()
        await double.until(lambda: len(double.ended) > told)
        assert (double.ended[-1].job, double.ended[-1].reason) == (job["id"], "upload-cut-off")
        assert (await gateway.problems())["upload-cut-off", "upload"] >= 1
        assert (await caller.upload(job["id"], picture)).status_code == 200

    async def test_an_upload_that_outlived_its_owner_is_to_be_sent_again(
        self, caller: Caller, double: OwnerDouble, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not 409: whoever takes that for "it is there" would wait for ever."""

        async def another(_: api.EndWrite) -> api.JobView:
            raise Refused(NoGrant.kind, NoGrant.status)

        job = await caller.job()
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(double, "_end_write", another)
            answer = await caller.upload(job["id"], a_picture())
        refused(answer, 503, "owner-away")
        assert int(answer.headers["retry-after"]) > 0
        assert (await caller.upload(job["id"], a_picture())).status_code == 200

    async def test_events_follow_a_job_to_its_end(self, caller: Caller, double: OwnerDouble) -> None:
        job = (await caller.job())["id"]
        seen: list[dict[str, Any]] = []
        async with caller.stream("GET", f"/v1/{APP}/jobs/{job}/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    seen.append(json.loads(line[6:]))
                    if len(seen) == 1:
                        await double.bump(job, state="leased", progress=0.5, step="draw")
                    if len(seen) == 2:
                        await double.bump(job, state="succeeded")
        assert [one["state"] for one in seen] == ["awaiting", "leased", "succeeded"]
        assert seen[1]["progress"] == 0.5
        late = await caller.get(f"/v1/{APP}/jobs/{job}/events", headers={"Last-Event-ID": str(seen[-1]["seq"])})
        assert "event: status" in late.text  # ended: told once more, and the stream ends

    async def test_events_end_when_the_job_goes(self, caller: Caller, double: OwnerDouble) -> None:
        job = (await caller.job())["id"]
        lines = []
        async with caller.stream("GET", f"/v1/{APP}/jobs/{job}/events") as answer:
            async for line in answer.aiter_lines():
                lines.append(line)
                if line.startswith("data: ") and len(lines) < 5:
                    held = double.jobs.pop(job)
                    async with double.changed:
                        held.view = msgspec.structs.replace(held.view, seq=99)
                        double.changed.notify_all()
        assert "event: problem" in lines
        assert "urn:mayfly:problem:gone" in "".join(lines)

    async def test_a_client_that_leaves_its_events_leaves_nothing(self, gateway: System, caller: Caller) -> None:
        job = (await caller.job())["id"]
        async with caller.stream("GET", f"/v1/{APP}/jobs/{job}/events") as answer:
            await anext(answer.aiter_lines())
            assert await gateway.metric("mayfly_requests_in_flight") == 2  # the stream, and this question
        await poll(lambda: gateway.metric("mayfly_requests_in_flight"), lambda flying: flying == 1)

    async def test_only_a_complete_read_counts(self, caller: Caller, double: OwnerDouble) -> None:
        content = a_picture()
        _, asset = await caller.stored(content)
        double._keep(asset, on_return=True)
        before = len(double.reads_ended)
        assert (await caller.get(f"/v1/{APP}/assets/{asset}")).content == content
        await double.until(lambda: len(double.reads_ended) > before)
        assert double.reads_ended[-1].complete
        refused(await caller.get(f"/v1/{APP}/assets/{asset}"), 410, "gone")

    async def test_a_revoked_read_is_cut_at_once(self, gateway: System, caller: Caller, double: OwnerDouble) -> None:
        asset = await _large(caller, double)
        reader, writer = await _slow_get(gateway, caller, asset)
        await double.until(lambda: double.assets[asset].grants)
        answers, seconds = await double.revoke(asset)
        assert answers == [200]
        assert seconds < 0.5
        got = await asyncio.wait_for(reader.read(), 10)
        assert len(got) < double.assets[asset].view.size_bytes
        writer.close()
        assert not double.reads_ended[-1].complete
        assert (await gateway.problems())["grant-revoked", "get_asset"] >= 1

    async def test_a_grant_is_renewed_while_bytes_flow(
        self, gateway: System, caller: Caller, double: OwnerDouble
    ) -> None:
        asset = await _large(caller, double)
        renewals = double.renewals
        _, writer = await _slow_get(gateway, caller, asset)
        await double.until(lambda: double.renewals >= renewals + 2)
        ended = len(double.reads_ended)
        writer.transport.abort()
        await double.until(lambda: len(double.reads_ended) > ended)
        assert not double.reads_ended[-1].complete

    async def test_a_grant_not_renewed_ends(self, gateway: System, caller: Caller, double: OwnerDouble) -> None:
        asset = await _large(caller, double)
        reader, writer = await _slow_get(gateway, caller, asset)
        await double.until(lambda: double.assets[asset].grants)
        ended = len(double.reads_ended)
        double.assets[asset].grants.clear()  # the owner has forgotten it
        await double.until(lambda: len(double.reads_ended) > ended)
        assert not double.reads_ended[-1].complete
        assert len(await asyncio.wait_for(reader.read(), 10)) < double.assets[asset].view.size_bytes
        writer.close()

    async def test_revocation_is_for_owners_only(self, gateway: System, caller: Caller, double: OwnerDouble) -> None:
        url = await _revoke_url(gateway, caller, double)
        context = tls.client_context(double.settings.tls_dir)
        assert context is not None
        async with httpx.AsyncClient(verify=context) as http:
            assert (await http.post(url, content=msgspec.msgpack.encode({"grant": "x"}))).status_code == 401
            headers = {"Authorization": f"Bearer {double.settings.internal_token}"}
            assert (await http.post(url, content=b"\x00", headers=headers)).status_code == 400
            unknown = await http.post(url, content=msgspec.msgpack.encode({"grant": "x"}), headers=headers)
            assert unknown.status_code == 200
        async with httpx.AsyncClient(verify=False) as http:  # the token, but no certificate
            with pytest.raises(httpx.TransportError):
                await http.post(url, content=b"", headers=headers)

    async def test_receipt_file(self, gateway: System, caller: Caller) -> None:
        job, _ = await caller.stored(a_picture())
        (asset,) = (await caller.get(f"/v1/{APP}/jobs/{job}")).json()["assets"]
        partition = gateway.mint.check(Kind.JOB, caller.tenant.id, job)
        answer = await caller.get(f"/v1/receipts/{partition}/{asset['leaf']}")
        assert (answer.status_code, answer.json()) == (200, {"commitment": asset["leaf"]})

    async def test_without_a_root_store_nothing_is_promised_and_nobody_waits(
        self, gateway: System, double: OwnerDouble
    ) -> None:
        caller = await gateway.tenant()
        job = (await caller.job())["id"]
        uploads = double.calls.count("grant_write")
        double.rootless.add(gateway.mint.check(Kind.JOB, caller.tenant.id, job))
        try:
            answer = await caller.put(f"/v1/{APP}/jobs/{job}/inputs/0", content=a_picture())
        finally:
            double.rootless.clear()
        refused(answer, 503, "root-store-unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert double.calls.count("grant_write") == uploads + 1

    async def test_another_owner_is_found_after_421(self, gateway: System, double: OwnerDouble) -> None:
        caller = await gateway.tenant()
        job = (await caller.job())["id"]
        partition = gateway.mint.check(Kind.JOB, caller.tenant.id, job)
        heir = OwnerDouble(double.settings)
        await heir.start()
        heir.jobs = double.jobs
        double.disowned.add(partition)
        calls = len(double.calls)
        asking = asyncio.create_task(caller.get(f"/v1/{APP}/jobs/{job}"))
        await double.until(lambda: len(double.calls) > calls)
        await heir.announce(heir.address, partition)
        assert (await asking).status_code == 200
        assert heir.calls == ["get_job"]
        await heir.stop()
        double.disowned.clear()
        await double.announce(double.address)

    async def test_an_owner_that_is_opening_is_waited_for(self, gateway: System, double: OwnerDouble) -> None:
        caller = await gateway.tenant()
        await caller.consent("patient")
        partition = gateway.mint.place(caller.tenant.id, "patient")
        double.dumb.add(partition)
        calls = len(double.calls)
        asking = asyncio.create_task(caller.submit("patient"))
        await double.until(lambda: double.calls[calls:].count("submit") >= 2)
        double.dumb.clear()
        assert (await asking).status_code == 201

    async def test_nobody_serves(self, gateway: System, double: OwnerDouble) -> None:
        caller = await gateway.tenant()
        job = (await caller.job())["id"]
        partition = gateway.mint.check(Kind.JOB, caller.tenant.id, job)
        double.disowned.add(partition)  # until the gateway has read that its owner is at an address nobody listens on
        await double.announce(f"127.0.0.1:{free_ports(1)[0]}", partition)
        began = time.monotonic()
        answer = await caller.get(f"/v1/{APP}/jobs/{job}")
        refused(answer, 503, "owner-away")
        assert answer.headers["retry-after"] == "2"
        assert 8 < time.monotonic() - began < 13
        double.disowned.clear()
        await double.announce(double.address)

    async def test_transfers_are_bounded_per_tenant(self, gateway: System, double: OwnerDouble) -> None:
        caller = await gateway.tenant(limits=Limits(transfers=1))
        asset = await _large(caller, double)
        _, writer = await _slow_get(gateway, caller, asset)
        await double.until(lambda: double.assets[asset].grants)
        answer = await caller.get(f"/v1/{APP}/assets/{asset}")
        refused(answer, 429, "too-many-transfers")
        assert answer.headers["retry-after"]
        writer.transport.abort()

    async def test_keys_rotate_and_tenants_are_revoked(self, gateway: System) -> None:
        caller = await gateway.tenant()
        kafka = gateway.settings.kafka
        url = f"/v1/{APP}/jobs/job_x"
        _, key = await tenant_topic.rotate(kafka, caller.tenant.id, grace_s=3600)
        new = {"Authorization": f"Bearer {key}"}
        await poll(lambda: caller.get(url, headers=new), lambda answer: answer.status_code == 404)
        assert (await caller.get(url)).status_code == 404  # the old key, in its grace
        await tenant_topic.rotate(kafka, caller.tenant.id, grace_s=0)
        await poll(lambda: caller.get(url), lambda answer: answer.status_code == 401)
        await tenant_topic.revoke(kafka, caller.tenant.id)
        assert all(one.id != caller.tenant.id for one in await tenant_topic.load(kafka))


class TestProcess:
    """The process itself; each starts one of its own."""

    @pytest_asyncio.fixture
    async def system(self, double: OwnerDouble, tmp_path: Path) -> AsyncIterator[System]:
        async with started(double.settings, tmp_path) as system:
            yield system

    @pytest_asyncio.fixture
    async def idle(self, double: OwnerDouble, tmp_path: Path) -> AsyncIterator[System]:
        (folder := tmp_path / "idle").mkdir()
        async with started(double.settings, folder) as system:
            yield system

    async def test_sigterm_ends_all_that_flies(self, double: OwnerDouble, system: System, idle: System) -> None:
        caller = await system.tenant()
        job = (await caller.job())["id"]
        picture = a_picture()
        asset = await _large(caller, double)
        await _slow_get(system, caller, asset)
        events, listening = await _connect(system)
        listening.write(_head(caller, "GET", f"/v1/{APP}/jobs/{job}/events"))
        assert b"event: status" in await asyncio.wait_for(events.readuntil(b"event: status"), 10)
        grants = double.calls.count("grant_write")
        _, writing = await _connect(system)
        writing.write(_upload_head(caller, job, len(picture)) + picture[:1000])
        await double.until(lambda: double.calls.count("grant_write") > grants)
        took_s, idle_s = await asyncio.gather(end(system), end(idle))  # at once, since this machine may be busy
        assert took_s < idle_s + 3
        assert double.ended[-1].reason == "gateway-stopping"
        assert not double.reads_ended[-1].complete
        logged = system.log.read_text()
        assert [json.loads(line)["event"] for line in logged.splitlines()] == ["gateway.started", "gateway.stopped"]

    async def test_the_tenant_commands(self, gateway: System) -> None:
        made = await _tenant_command(gateway, "add", APP, "batchpix", "--transfers", "3")
        tenant, key = re.search(r"tenant (ten_\w+)\nkey    (mf_\S{43})\n", made).groups()  # type: ignore[union-attr]
        assert f"{tenant}  {APP} batchpix  1     3" in await _tenant_command(gateway, "ls")
        rotated = await _tenant_command(gateway, "rotate", tenant, "--grace-hours", "1")
        assert tenant in rotated
        assert key not in rotated
        assert f"{tenant}  {APP} batchpix  2     3" in await _tenant_command(gateway, "ls")
        assert await _tenant_command(gateway, "revoke", tenant) == f"revoked {tenant}\n"
        assert "none has this one" in await _tenant_command(gateway, "revoke", tenant, status=1)

    async def test_bad_settings_are_one_sentence(self, tmp_path: Path) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.gateway"),
            env={**os.environ, "MAYFLY_SETTINGS": str(tmp_path / "nothing.json")},
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await process.communicate()
        assert process.returncode == 2
        assert told.count(b"\n") == 1

    async def test_logs_name_nobody(self, gateway: System, caller: Caller) -> None:
        await caller.consent("ann-who-must-not-be-logged")
        await caller.submit("ann-who-must-not-be-logged", operation="nope")
        assert caller.tenant.id not in gateway.log.read_text()
        assert "ann-who" not in gateway.log.read_text()


async def _tenant_command(system: System, *words: str, status: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from services.cli_tenant import app; app()", *words),
        env={**os.environ, "MAYFLY_SETTINGS": str(Path(system.settings.state_dir) / "settings.json"), "COLUMNS": "120"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    assert process.returncode == status, told
    return told.decode()


def _head(caller: Caller, method: str, path: str, *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {caller.key}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def _upload_head(caller: Caller, job: str, size: int) -> bytes:
    return _head(caller, "PUT", f"/v1/{APP}/jobs/{job}/inputs/0", f"Content-Length: {size}")


async def _connect(system: System, *, hasty: bool = True) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare connection, closed when the system ends; not `hasty`: with the smallest receive buffer."""
    sock = socket.socket()
    if not hasty:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.connect(("127.0.0.1", system.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    system.connections.append(writer)
    return reader, writer


async def _slow_get(system: System, caller: Caller, asset: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A GET whose client reads the head and then nothing: the gateway's buffers fill, and it waits."""
    reader, writer = await _connect(system, hasty=False)
    writer.write(_head(caller, "GET", f"/v1/{APP}/assets/{asset}"))
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    return reader, writer


async def _large(caller: Caller, double: OwnerDouble) -> str:
    """A stored asset larger than all the buffers on its way: put beside the double's own upload cap."""
    return await double.make_large(caller.tenant.id, APP)


async def _revoke_url(system: System, caller: Caller, double: OwnerDouble) -> str:
    asset = await _large(caller, double)
    _, writer = await _slow_get(system, caller, asset)
    url = next(iter(double.assets[asset].grants.values())).revoke_url
    writer.transport.abort()
    return url
