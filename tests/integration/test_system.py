"""The whole system as a tenant meets it: real gateway, workers, Kafka, S3 and Ray; the engine is the no-op one."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import struct
import zlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from services.local.system import System
from stream.audit.receipt_file import verify
from tests.integration.client import (
    APP,
    WAIT_S,
    Client,
    a_picture,
    asset_of,
    bucket,
    eventually,
    ledger_headers,
    objects_of,
    problems,
)

pytestmark = pytest.mark.stack

CONSENT = "/v1/genzo/subjects/{subject}/consents/face_processing"


@pytest_asyncio.fixture(scope="module")
async def client(system: System) -> AsyncIterator[Client]:
    async with Client(system, *await system.tenant(APP, "genzo")) as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def genzo(system: System) -> AsyncIterator[Client]:
    async with Client(system, *await system.tenant("genzo"), app="genzo") as client:
        yield client


def refused(answer: httpx.Response, status: int, kind: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"urn:mayfly:problem:{kind}"


async def gone(client: Client, *assets: dict[str, Any]) -> None:
    """Unreadable, objects deleted, rows tombstoned, and proven by receipts."""
    for asset in assets:
        refused(await client.asset(asset["id"]), 410, "gone")
        verdict = verify(await client.receipt(asset), asset["id"], asset["salt"])
        assert verdict.absent is not None

    async def absent() -> bool:
        headers = await ledger_headers(client.system)
        return not any(asset["id"] in headers for asset in assets)

    await eventually(absent)


class TestJobs:
    async def test_from_picture_to_result(self, client: Client) -> None:
        picture = a_picture(seed=1)
        job = (await client.submit()).json()
        assert job["state"] == "awaiting"
        assert asset_of(job, "input")["state"] == "pending"
        assert (await client.upload(job["id"], picture)).status_code == 200
        view = await client.ended(job["id"])
        assert (view["state"], view["progress"], view.get("reason", "")) == ("succeeded", 1.0, "")
        result = asset_of(view, "result")
        answer = await client.asset(result["id"])
        assert (answer.status_code, answer.content) == (200, picture)
        assert int(answer.headers["content-length"]) == len(picture)
        assert len(await objects_of(client.system, result["id"], asset_of(view, "input")["id"])) == 2

    async def test_what_is_kept_is_ciphertext(self, client: Client) -> None:
        picture = a_picture(seed=2)
        job = (await client.submit("a subject of note", params={"steps": 1})).json()
        await client.upload(job["id"], picture)
        await client.ended(job["id"])
        kept = b"".join(
            path.read_bytes() for path in (client.system.stack.run_dir / "kafka").rglob("*.log") if path.is_file()
        )
        assert b"a subject of note" not in kept
        assert client.tenant.encode() not in b"".join(
            path.read_bytes()
            for name in ("ledger", "generate", "upload", "keys", "audit")
            for path in (client.system.stack.run_dir / "kafka").glob(f"{name}-*/*.log")
        )
        stored = b"".join(p.read_bytes() for p in (client.system.stack.run_dir / "s3").rglob("*") if p.is_file())
        assert picture[200:264] not in stored + kept

    async def test_a_discarded_input_is_unreadable_before_the_end_is_told(self, client: Client) -> None:
        job = await client.begin(choice="discard", params={"steps": 3, "step_s": 0.05})
        source = asset_of(job, "input")["id"]
        assert await client.status_of(source) == 200
        states: list[tuple[int, str]] = []
        async with asyncio.timeout(WAIT_S):
            while not states or states[-1][1] != "succeeded":
                state = (await client.job(job["id"]))["state"]
                states.append((await client.status_of(source), state))
                if state == "succeeded":  # told after: so a status asked before it must have been 410 already
                    assert states[-1][0] == 410
        assert {status for status, state in states if state == "succeeded"} == {410}
        await gone(client, asset_of(job, "input"))

    async def test_events_tell_the_end_after_the_input_died(self, client: Client) -> None:
        job = await client.begin(choice="discard", params={"steps": 2, "step_s": 0.1})
        told: list[str] = []
        async with client.stream("GET", f"/v1/{APP}/jobs/{job['id']}/events", timeout=WAIT_S) as events:
            async for line in events.aiter_lines():
                if line.startswith("data:"):
                    told.append(line)
                    if '"succeeded"' in line:
                        assert await client.status_of(asset_of(job, "input")["id"]) == 410
        assert '"succeeded"' in told[-1]

    async def test_a_result_that_goes_once_returned(self, client: Client) -> None:
        view = await client.done(choice="discard")
        result = asset_of(view, "result")
        assert result["on_return"] is True
        assert await client.status_of(result["id"]) == 200  # looking is not taking
        assert (await client.asset(result["id"])).status_code == 200

        async def second() -> bool:
            return (await client.asset(result["id"])).status_code == 410

        assert await second()
        await gone(client, result)

    async def test_a_saved_picture_serves_a_second_job(self, client: Client) -> None:
        subject = secrets.token_hex(6)
        first = await client.done(subject)
        source = asset_of(first, "input")["id"]
        answer = await client.submit(subject, inputs=[{"asset": source}])
        assert answer.status_code == 201, answer.text
        second = await client.ended(answer.json()["id"])
        assert second["state"] == "succeeded"
        assert (await client.asset(asset_of(second, "result")["id"])).content == a_picture()
        other = await client.submit(secrets.token_hex(6), inputs=[{"asset": source}])
        refused(other, 422, "not-reusable")

    async def test_one_key_one_job(self, client: Client) -> None:
        subject, key = secrets.token_hex(6), secrets.token_hex(8)
        first, same, *_ = await asyncio.gather(*(client.submit(subject, key=key) for _ in range(4)))
        assert first.json()["id"] == same.json()["id"]
        assert {first.status_code, same.status_code} <= {200, 201}
        refused(await client.submit(subject, key=key, params={"steps": 1}), 409, "idempotency-conflict")

    async def test_another_tenants_ids_are_unknown(self, client: Client) -> None:
        view = await client.done()
        async with Client(client.system, *await client.system.tenant(APP)) as stranger:
            for url in (f"/v1/{APP}/jobs/{view['id']}", f"/v1/{APP}/assets/{asset_of(view, 'result')['id']}"):
                refused(await stranger.get(url), 404, "unknown-id")
                refused(await stranger.delete(url), 404, "unknown-id")
            refused(await stranger.upload(view["id"]), 404, "unknown-id")
            refused(await stranger.get(f"/v1/{APP}/jobs/job_nonsense"), 404, "unknown-id")
        refused(await client.get(f"/v1/genzo/jobs/{view['id']}"), 404, "unknown-id")


class TestFailures:
    async def test_a_failing_engine_is_tried_again_then_told(self, client: Client) -> None:
        job = await client.begin(params={"fail": True}, choice="discard")
        view = await client.ended(job["id"])
        assert (view["state"], view["reason"]) == ("failed", "engine-fault")
        await gone(client, asset_of(job, "input"))

    async def test_an_input_that_was_to_be_saved_outlives_the_failure(self, client: Client) -> None:
        job = await client.begin(params={"fail": True}, choice="save")
        assert (await client.ended(job["id"]))["state"] == "failed"
        assert (await client.asset(asset_of(job, "input")["id"])).status_code == 200

    async def test_an_engine_that_takes_its_process_down(self, client: Client) -> None:
        job = await client.begin(params={"crash": True})
        view = await client.ended(job["id"])
        assert (view["state"], view["reason"]) == ("failed", "input-crashes-actor")
        assert (await client.done())["state"] == "succeeded"  # the pool goes on


class TestErasure:
    async def test_cancelling_a_running_job(self, client: Client) -> None:
        job = await client.begin(params={"steps": 2000, "step_s": 0.02})
        await client.job_when(job["id"], lambda view: view["state"] == "leased")
        assert (await client.delete(f"/v1/{APP}/jobs/{job['id']}")).status_code == 202
        view = await client.ended(job["id"])
        assert view["state"] == "cancelled"
        assert view.get("assets", []) == []
        await gone(client, *job["assets"])

    async def test_cancelling_a_job_that_waits_for_its_input(self, client: Client) -> None:
        job = (await client.submit()).json()
        assert (await client.delete(f"/v1/{APP}/jobs/{job['id']}")).status_code == 202
        assert (await client.ended(job["id"]))["state"] == "cancelled"
        refused(await client.upload(job["id"]), 410, "gone")

    async def test_deleting_one_asset(self, client: Client) -> None:
        view = await client.done()
        result = asset_of(view, "result")
        assert (await client.delete(f"/v1/{APP}/assets/{result['id']}")).status_code == 202
        refused(await client.delete(f"/v1/{APP}/assets/{result['id']}"), 410, "gone")
        await gone(client, result)
        assert await client.status_of(asset_of(view, "input")["id"]) == 200

    async def test_deleting_a_job_that_has_ended(self, client: Client) -> None:
        view = await client.done()
        assert (await client.delete(f"/v1/{APP}/jobs/{view['id']}")).status_code == 202
        await gone(client, *view["assets"])

    async def test_deleting_a_subject(self, client: Client) -> None:
        subject = secrets.token_hex(6)
        done, other = await client.done(subject), await client.done()
        running = await client.begin(subject, params={"steps": 2000, "step_s": 0.02})
        assert (await client.delete(f"/v1/{APP}/subjects/{subject}")).status_code == 202
        await gone(client, *done["assets"], *running["assets"])
        assert (await client.ended(running["id"]))["state"] == "cancelled"
        assert await client.status_of(asset_of(other, "result")["id"]) == 200
        assert (await client.delete(f"/v1/{APP}/subjects/{subject}")).status_code == 202  # tells no difference
        assert (await client.done(subject))["state"] == "succeeded"  # a subject of that name may come again

    async def test_withdrawing_consent_ends_and_erases(self, genzo: Client) -> None:
        subject = secrets.token_hex(6)
        url = CONSENT.format(subject=subject)
        refused(await genzo.submit(subject, operation="stylization"), 403, "consent-missing")
        assert (await genzo.put(url, json={"granted": True, "version": "2025-1"})).status_code == 200
        job = (await genzo.submit(subject, operation="stylization")).json()
        assert (await genzo.put(url, json={"granted": False, "version": "2025-1"})).status_code == 200
        assert (await genzo.ended(job["id"]))["state"] == "cancelled"
        await gone(genzo, *job["assets"])
        refused(await genzo.submit(subject, operation="stylization"), 403, "consent-missing")


class TestDeadlines:
    """The last to run: they advance the clock that all tests share."""

    async def test_readable_until_due_and_not_a_moment_longer(self, client: Client) -> None:
        view = await client.done()
        due = min(asset["due"] for asset in view["assets"])
        assert {asset["due"] for asset in view["assets"]} == {due}
        assert due <= min(asset["ceiling"] for asset in view["assets"]) - client.system.settings.lead_s
        await client.system.advance_to(due - 2)
        statuses = [await client.status_of(asset["id"]) for asset in view["assets"]]
        assert (await client.job(view["id"]))["now"] < due, "this machine was too slow to look in time"
        assert statuses == [200, 200]
        await client.system.advance_to(due)
        assert [await client.status_of(asset["id"]) for asset in view["assets"]] == [410, 410]
        await gone(client, *view["assets"])

    async def test_a_job_whose_input_never_comes(self, client: Client) -> None:
        job = (await client.submit()).json()
        await client.system.advance_to(job["now"] + 3700)
        assert (await client.upload(job["id"])).status_code in {404, 410}
        assert await client.status_of(asset_of(job, "input")["id"]) == 410

        async def expired() -> bool:
            answer = await client.get(f"/v1/{APP}/jobs/{job['id']}")
            return answer.status_code == 410 or answer.json()["state"] == "expired"

        await eventually(expired)

    async def test_a_job_that_runs_past_its_promise(self, client: Client) -> None:
        job = await client.begin(params={"steps": 2000, "step_s": 0.05})
        await client.job_when(job["id"], lambda view: view["state"] == "leased")
        await client.system.advance_to(asset_of(job, "input")["due"])
        refused(await client.asset(asset_of(job, "input")["id"]), 410, "gone")

        async def ended() -> bool:
            answer = await client.get(f"/v1/{APP}/jobs/{job['id']}")
            return answer.status_code == 410 or answer.json()["state"] == "expired"

        await eventually(ended)
        await gone(client, *job["assets"])


def a_bomb() -> bytes:
    """A PNG of few bytes that declares 30,000 × 30,000 pixels."""

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(bytes(100))) + part(b"IEND", b"")


def a_polyglot() -> bytes:
    """A JPEG with a web page in its comment."""
    picture, page = a_picture(), b"<!doctype html><script>alert(1)</script>"
    return picture[:2] + b"\xff\xfe" + struct.pack(">H", len(page) + 2) + page + picture[2:]


class TestRootStoreAway:
    async def test_nothing_is_promised_reads_go_on_and_an_erasure_waits(self, client: Client) -> None:
        kept, erased = await client.done(), await client.done()
        result, going = asset_of(kept, "result"), asset_of(erased, "result")
        roots = Path(client.system.settings.state_dir) / "roots"
        away = roots.rename(roots.with_name("away"))
        try:

            async def refuses() -> httpx.Response | None:
                answer = await client.submit()
                return answer if answer.status_code != 201 else None

            answer = await eventually(refuses)
            refused(answer, 503, "root-store-unavailable")
            assert int(answer.headers["retry-after"]) > 0
            assert (await client.asset(result["id"])).status_code == 200
            assert (await client.job(kept["id"]))["state"] == "succeeded"
            assert (await client.delete(f"/v1/{APP}/assets/{going['id']}")).status_code == 202
            refused(await client.asset(going["id"]), 410, "gone")

            async def waits() -> bool:
                return any(estate["erasures_waiting"] for estate in await client.system.estates())

            await eventually(waits)
            url = f"/v1/receipts/{client.mint.partition_of(going['id'])}/{going['leaf']}"
            assert (await client.get(url)).status_code == 404
        finally:
            away.rename(roots)
        await gone(client, going)
        assert (await client.asset(result["id"])).status_code == 200

        async def promises() -> bool:
            return (await client.submit()).status_code == 201

        await eventually(promises)


class TestBadInput:
    @pytest.mark.parametrize(
        ("content", "status", "kind"),
        [
            (b"GIF89a not a picture we take" * 20, 415, "unsupported-media"),
            (a_picture()[:-700], 422, "truncated-media"),
            (a_bomb(), 422, "too-many-pixels"),
            (a_polyglot(), 422, "polyglot"),
            (bytes((1 << 20) + 1), 413, "too-large"),
        ],
        ids=["not-an-image", "truncated", "bomb", "polyglot", "over-the-cap"],
    )
    async def test_nothing_is_stored_and_one_counter_rises(
        self, client: Client, content: bytes, status: int, kind: str
    ) -> None:
        job = (await client.submit()).json()
        before, objects = await problems(client.system), bucket(client.system)
        refused(await client.upload(job["id"], content), status, kind)
        after = await problems(client.system)
        assert after - before == {kind: 1}
        assert bucket(client.system) <= objects
        assert (await client.upload(job["id"])).status_code == 200  # the slot is free for a good one
        await client.ended(job["id"])  # so that its result is no surprise to the next bucket listing

    async def test_an_upload_cut_off_half_way(self, client: Client) -> None:
        job = (await client.submit()).json()
        before, objects = await problems(client.system), bucket(client.system)
        picture = a_picture(256)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(client.system.url.rpartition(":")[2]))
        head = f"PUT /v1/{APP}/jobs/{job['id']}/inputs/0 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(picture)}\r\n"
        writer.write(f"{head}Authorization: {client.headers['authorization']}\r\n\r\n".encode())
        writer.write(picture[: len(picture) // 2])
        await writer.drain()
        writer.transport.abort()

        async def told() -> bool:
            return (await problems(client.system) - before) == {"upload-cut-off": 1}

        await eventually(told)
        assert bucket(client.system) <= objects
        assert (await client.upload(job["id"], picture)).status_code == 200
        await client.ended(job["id"])
        del reader

    async def test_what_the_verdict_refuses(self, client: Client, genzo: Client) -> None:
        before = await problems(client.system)
        refused(await client.submit(operation="face_swap"), 403, "operation-not-offered")
        refused(await genzo.submit(operation="noop"), 403, "operation-not-offered")
        refused(await client.submit(choice="perhaps"), 422, "bad-choice")
        assert sum((await problems(client.system) - before).values()) == 3


class TestOwnerChange:
    async def test_the_gateway_waits_while_a_partition_changes_hands(self, client: Client) -> None:
        system = client.system
        restarts = system.restarts
        jobs = [await client.begin(client.place(n), params={"steps": 3, "step_s": 0.1}) for n in range(4)]
        child = system.child("worker-1")
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        for job in jobs:
            assert (await client.ended(job["id"]))["state"] == "succeeded"

        async def whole() -> bool:
            return system.restarts > restarts and len(await system.estates()) == system.settings.partitions

        await eventually(whole)

    async def test_nobody_is_there(self, client: Client) -> None:
        """Both stopped, not killed, so that no supervisor brings them back before the gateway's patience ends."""
        job = await client.done()
        children = [child for name in ("worker-1", "worker-2") if (child := client.system.child(name)) is not None]
        for child in children:
            os.kill(child.pid, signal.SIGSTOP)
        try:
            answer = await client.get(f"/v1/{APP}/jobs/{job['id']}")
            refused(answer, HTTPStatus.SERVICE_UNAVAILABLE, "owner-away")
            assert int(answer.headers["retry-after"]) > 0
        finally:
            for child in children:
                os.kill(child.pid, signal.SIGCONT)

        async def back() -> bool:
            return (await client.get(f"/v1/{APP}/jobs/{job['id']}")).status_code == 200

        await eventually(back)  # they were silent for longer than a session: fenced, restarted, and serving
