"""RAM-only apps on the real stack: pictures in, results back, and nothing anywhere else."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from services.local.system import System
from tests import twins
from tests.integration.client import Client, a_picture, bucket, eventually, ledger_headers, records
from tests.twins import swaps

pytestmark = [pytest.mark.stack, pytest.mark.skipif(swaps(), reason="this machine swaps: RAM-only apps are refused")]

BATCHPIX, REMOVAL = (twin.name for twin in twins.RAM_ONLY)
SLOW = {"steps": 2000, "step_s": 0.01}


@pytest_asyncio.fixture(scope="module")
async def client(system: System) -> AsyncIterator[Client]:
    async with Client(system, *await system.tenant(BATCHPIX, REMOVAL, "testapp"), BATCHPIX) as client:
        yield client


async def one(client: Client, content: bytes, app: str = BATCHPIX, **headers: str) -> httpx.Response:
    return await client.post(f"/v1/{app}/render?operation=noop", content=content, headers=headers)


async def form(client: Client, *pictures: bytes, **params: Any) -> httpx.Response:
    files = [("image", (f"{n}.jpg", picture)) for n, picture in enumerate(pictures)]
    data = {"operation": "noop", "params": json.dumps(params)}
    return await client.post(f"/v1/{BATCHPIX}/render", data=data, files=files)


async def connected(client: Client) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the gateway, for what an HTTP client would not do."""
    url = httpx.URL(client.system.url)
    return await asyncio.open_connection(url.host, url.port)


def parts(answer: httpx.Response) -> dict[int, EmailMessage]:
    """What came for each picture, as any MIME library reads it."""
    assert answer.status_code == 200, answer.text
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    whole = email.message_from_bytes(head + answer.content, policy=email.policy.HTTP)
    assert whole.get_content_type() == "multipart/mixed"
    assert not whole.defects
    return {int(part["Mayfly-Item"]): part for part in whole.iter_parts()}  # type: ignore[union-attr]


def media(part: EmailMessage) -> bytes:
    assert part["Mayfly-Status"] == "200"
    found = part.get_payload(decode=True)
    assert isinstance(found, bytes)
    assert int(part["Content-Length"]) == len(found)
    return found


def problem(part: EmailMessage) -> tuple[str, int]:
    assert part.get_content_type() == "application/problem+json"
    found = json.loads(part.get_payload(decode=True))  # type: ignore[arg-type]
    assert int(part["Mayfly-Status"]) == found["status"]
    return found["type"].removeprefix("urn:mayfly:problem:"), found["status"]


def kind(answer: httpx.Response) -> tuple[str, int]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["type"].removeprefix("urn:mayfly:problem:"), answer.status_code


class TestOne:
    @pytest.mark.parametrize("app", [BATCHPIX, REMOVAL])
    async def test_a_picture_in_its_result_out(self, client: Client, app: str) -> None:
        picture = a_picture()
        answer = await one(client, picture, app)
        assert (answer.status_code, answer.content) == (200, picture)
        assert answer.headers["cache-control"] == "no-store"

    async def test_a_form_of_one_is_answered_as_plainly(self, client: Client) -> None:
        answer = await form(client, a_picture(), out_bytes=700_000)
        assert (answer.status_code, answer.content) == (200, bytes(700_000))

    async def test_who_wants_parts_gets_them_for_one_too(self, client: Client) -> None:
        found = parts(await one(client, picture := a_picture(), Accept="multipart/mixed"))
        assert [media(part) for part in found.values()] == [picture]

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", ("empty-body", 400)),
            (b"no picture at all, but long enough to be looked at", ("unsupported-media", 415)),
            (a_picture()[:-100], ("truncated-media", 422)),
            (a_picture() + b"tail", ("trailing-data", 422)),
        ],
    )
    async def test_what_is_no_picture(self, client: Client, content: bytes, expected: tuple[str, int]) -> None:
        assert kind(await one(client, content)) == expected

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            (f"{BATCHPIX}/render?operation=stylization", ("operation-not-offered", 403)),
            (f"{BATCHPIX}/render", ("operation-not-offered", 403)),
            ("testapp/render?operation=noop", ("jobs-only", 403)),
            ("genzo/render?operation=stylization", ("unknown-app", 404)),
        ],
    )
    async def test_the_verdict_comes_before_any_byte(
        self, client: Client, path: str, expected: tuple[str, int]
    ) -> None:
        """A hundred bytes of a thousand are sent, and an answer is there."""
        reader, writer = await connected(client)
        head = f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['authorization']}\r\n"
        writer.write(f"{head}Content-Length: 1000\r\n\r\n".encode() + bytes(100))
        async with asyncio.timeout(20):
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            told = await reader.readuntil(b"}")
        writer.close()
        assert answer.startswith(f"http/1.1 {expected[1]}")
        assert "content-type: application/problem+json" in answer
        assert json.loads(told)["type"] == f"urn:mayfly:problem:{expected[0]}"

    async def test_a_parameter_that_nobody_knows_and_one_that_does_not_fit(self, client: Client) -> None:
        assert kind(await form(client, a_picture(), colour="red")) == ("unknown-params", 422)
        assert kind(await form(client, a_picture(), steps="many")) == ("bad-params", 422)

    async def test_an_engine_that_fails_or_takes_its_process_down(self, client: Client) -> None:
        assert kind(await form(client, a_picture(), fail=True)) == ("engine-fault", 503)
        answer = await form(client, a_picture(), crash=True)
        assert kind(answer) == ("actor-lost", 503)
        assert answer.headers["retry-after"]
        assert (await one(client, a_picture())).status_code == 200


class TestMany:
    async def test_each_has_its_own_result_and_a_bad_one_its_own_problem(self, client: Client) -> None:
        pictures = [a_picture(seed=seed) for seed in range(8)]
        sent = [*pictures[:3], b"no picture at all, but long enough to be looked at", *pictures[3:]]
        found = parts(await form(client, *sent))
        assert sorted(found) == list(range(9))
        assert problem(found.pop(3)) == ("unsupported-media", 415)
        assert [media(found[n]) for n in sorted(found)] == pictures

    async def test_results_come_while_others_are_still_sent(self, client: Client) -> None:
        boundary, picture = "frontier", a_picture()

        def part(n: int) -> bytes:
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{n}.jpg"\r\n\r\n'
            return head.encode() + picture + b"\r\n"

        reader, writer = await connected(client)
        head = (
            f"POST /v1/{BATCHPIX}/render?operation=noop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            "Connection: close\r\n"
            f"Authorization: {client.headers['authorization']}\r\n"
            f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n"
        )

        def chunk(data: bytes) -> bytes:
            return b"%x\r\n%b\r\n" % (len(data), data)

        writer.write(head.encode() + chunk(part(0)) + chunk(part(1)))
        async with asyncio.timeout(20):
            await reader.readuntil(b"Mayfly-Item")
            writer.write(chunk(part(2)) + chunk(f"--{boundary}--\r\n".encode()) + b"0\r\n\r\n")
            rest = await reader.read(1 << 20)
            while data := await reader.read(1 << 20):
                rest += data
        assert rest.count(b"Mayfly-Status: 200") == 3
        writer.close()

    async def test_a_form_that_breaks_off_says_where(self, client: Client) -> None:
        async def body() -> AsyncIterator[bytes]:
            for n in range(2):
                yield f'--b\r\nContent-Disposition: form-data; name="i"; filename="{n}"\r\n\r\n'.encode()
                yield a_picture() + b"\r\n"
            yield b"--b\r\nno header\r\n\r\n"

        kinds = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = await client.post(f"/v1/{BATCHPIX}/render?operation=noop", content=body(), headers=kinds)
        found = parts(answer)
        assert problem(found.pop(2)) == ("bad-form", 400)
        assert [media(part) for part in found.values()] == [a_picture()] * 2

    async def test_more_than_one_request_may_hold(self, client: Client) -> None:
        most = client.system.settings.render_items
        found = parts(await form(client, *[a_picture(side=8)] * (most + 1)))
        assert problem(found.pop(most)) == ("too-many-pictures", 413)
        assert len(found) == most

    @pytest.mark.parametrize(
        "data", [{"operation": "noop", "colour": "red"}, {"params": "{", "operation": "noop"}, {"params": "[1]"}]
    )
    async def test_a_form_that_is_none(self, client: Client, data: dict[str, str]) -> None:
        answer = await client.post(f"/v1/{BATCHPIX}/render", data=data, files=[("image", ("a.jpg", a_picture()))])
        assert kind(answer)[0] in {"bad-form", "bad-body"}


class TestLeaving:
    async def test_who_leaves_takes_their_work_along(self, client: Client) -> None:
        """The pool's only lease ends within a step: not in the 20 s that the picture would have taken."""
        await one(client, a_picture())
        with pytest.raises(httpx.ReadTimeout):
            await client.post(
                f"/v1/{BATCHPIX}/render",
                data={"operation": "noop", "params": json.dumps(SLOW)},
                files=[("image", ("a.jpg", a_picture()))],
                timeout=httpx.Timeout(30, read=1.0),
            )

        async def idle() -> bool:
            return not any(pool["leased"] or pool["queued"] for pool in await pools(client.system))

        await eventually(idle, within_s=8)
        await eventually(lambda: held_is(client.system, 0))

    async def test_a_worker_that_dies_is_told_of_and_nothing_is_tried_again(self, client: Client) -> None:
        system = client.system
        rendering = [asyncio.create_task(form(client, a_picture(), **SLOW)) for _ in range(2)]

        async def leased() -> bool:
            return any(pool["leased"] for pool in await pools(system))

        await eventually(leased)
        for name in ("worker-1", "worker-2"):
            child = system.child(name)
            assert child is not None
            os.kill(child.pid, signal.SIGKILL)
        for answer in await asyncio.gather(*rendering):
            assert kind(answer) == ("worker-lost", 503)

        async def again() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return (await one(client, a_picture())).status_code == 200
            return False

        await eventually(
            again, within_s=60
        )  # the orphans have stopped by themselves, or the pool's actor would be busy


class TestAsWritten:
    """What docs/render.md shows, with an operation that costs nothing."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("photo.jpg", "one.jpg", "two.jpg"):
            (tmp_path / name).write_bytes(a_picture(seed=len(name)))
        return tmp_path

    @pytest.fixture
    def environment(self, client: Client) -> dict[str, str]:
        key = client.headers["authorization"].removeprefix("Bearer ")
        return os.environ | {"API": client.system.url, "KEY": key}

    @pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
    async def test_curl(self, folder: Path, environment: dict[str, str]) -> None:
        await ran(folder, environment, "sh", "-euc", shown("sh"))
        assert (folder / "anime.jpg").read_bytes() == (folder / "photo.jpg").read_bytes()
        both = (folder / "results.multipart").read_bytes()
        assert both.count(b"Mayfly-Status: 200") == 2
        assert (folder / "two.jpg").read_bytes() in both

    async def test_python(self, folder: Path, environment: dict[str, str]) -> None:
        await ran(folder, environment, sys.executable, "-c", shown("python"))
        assert (folder / "0.bin").read_bytes() == (folder / "one.jpg").read_bytes()
        assert (folder / "1.bin").read_bytes() == (folder / "two.jpg").read_bytes()


def shown(language: str) -> str:
    """The page's example in this language."""
    page = (Path(__file__).parents[2] / "docs/render.md").read_text()
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found
    text = found[1].replace("/v1/batchpix", f"/v1/{BATCHPIX}").replace("stylization", "noop")
    return text.replace('"format": "png"', '"steps": 1')


async def ran(folder: Path, environment: dict[str, str], *argv: str) -> None:
    process = await asyncio.create_subprocess_exec(*argv, cwd=folder, env=environment)
    assert await process.wait() == 0


class TestNothingIsKept:
    async def test_no_row_no_event_no_object_no_count_of_one_request(self, client: Client) -> None:
        system = client.system
        rows, objects, events = set(await ledger_headers(system)), bucket(system), await told(system)
        answers = [await one(client, a_picture(seed=seed)) for seed in range(5)]
        answers += [await form(client, a_picture(), b"none at all, but long enough to be looked at")]
        assert all(answer.status_code == 200 for answer in answers)
        assert set(await ledger_headers(system)) <= rows
        assert bucket(system) <= objects
        assert all(now <= then for now, then in zip(await told(system), events, strict=True))
        metrics = (await client.get("/metrics")).text
        of_renders = [line for line in metrics.splitlines() if 'route="render"' in line and "_created" not in line]
        assert all("unknown-app" in line or "unauthorized" in line for line in of_renders), of_renders


async def told(system: System) -> list[int]:
    """How many events each topic got, beyond what a running system writes by itself."""
    names = ("upload", "detect", "generate", "parked")
    return [len(await records(system.settings.kafka, name, system.settings.partitions)) for name in names]


async def pools(system: System) -> list[dict[str, Any]]:
    """How the pools stand, as the first worker that answers says."""
    from services.local.system import ask_worker

    for port in system._ports.values():
        if found := await ask_worker(system.settings, port, "pools"):
            return found
    return []


async def held_is(system: System, count: int) -> bool:
    return len([pool for pool in await pools(system) if pool["leased"]]) == count
