"""Many pictures in one job, on the real system: some of them are no good, and the others come back."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from ray_cluster.engines.decode import decode
from services.local.system import System
from tests.integration.client import APP, Client, a_picture, eventually
from tests.unit.photos import PORTRAIT, blank, png

pytestmark = pytest.mark.stack

GENZO = "genzo"


def corrupt() -> bytes:
    """A PNG whose chunks are whole, so that it is taken in, and whose pixels are not there."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"none")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest_asyncio.fixture(scope="module")
async def client(system: System) -> AsyncIterator[Client]:
    async with Client(system, *await system.tenant(APP, GENZO)) as client:
        yield client


@pytest_asyncio.fixture
async def genzo(client: Client) -> AsyncIterator[Client]:
    client.app = GENZO
    yield client
    client.app = APP


async def sent(client: Client, pictures: list[bytes], **asked: Any) -> dict[str, Any]:
    """A batch with these pictures, and its end."""
    answer = await client.submit(**{"inputs": [{}] * len(pictures)} | asked)
    assert answer.status_code == HTTPStatus.CREATED, answer.text
    job = answer.json()["id"]
    for n, picture in enumerate(pictures):

        async def taken(n: int = n, picture: bytes = picture) -> httpx.Response | None:
            answer = await client.upload(job, picture, n)
            return (
                None if answer.status_code == HTTPStatus.CONFLICT else answer
            )  # its partition changed hands meanwhile

        answer = await eventually(taken)
        assert answer.status_code == HTTPStatus.OK, answer.text
    return await client.ended(job)


async def test_every_good_picture_comes_back_and_each_bad_one_says_why(genzo: Client) -> None:
    consent = {"granted": True, "version": "2025-1"}
    url = f"/v1/{GENZO}/subjects/ada/consents/face_processing"
    assert (await genzo.put(url, json=consent)).status_code == HTTPStatus.OK
    pictures = [PORTRAIT, blank(), corrupt(), PORTRAIT]
    view = await sent(genzo, pictures, subject="ada", operation="clothing_change")
    assert view["state"] == "succeeded", view
    items = {item["n"]: item for item in view["items"]}
    assert list(items) == [0, 1, 2, 3]
    assert [items[n].get("reason", "") for n in items] == ["", "no-person", "undecodable-media", ""]
    assert [items[n]["state"] for n in items] == ["succeeded", "failed", "failed", "succeeded"]
    results = [asset for asset in view["assets"] if asset["role"] == "result"]
    assert [asset["id"] for asset in results] == [items[0]["result"], items[3]["result"]]
    assert [asset["n"] for asset in results] == [0, 3]
    for n in (0, 3):
        made = await genzo.asset(items[n]["result"])
        assert made.status_code == HTTPStatus.OK
        assert decode(made.content).shape == decode(PORTRAIT).shape

    assert (await genzo.delete(f"/v1/{GENZO}/jobs/{view['id']}")).status_code == HTTPStatus.ACCEPTED
    assert [await genzo.status_of(asset["id"]) for asset in view["assets"]] == [410] * len(view["assets"])
    assert len({asset["n"] for asset in view["assets"] if asset["role"] == "input"}) == len(pictures)
    await asyncio.gather(*(genzo.receipt(asset) for asset in view["assets"]))


async def test_a_garment_is_worn_by_everybody_in_the_batch(genzo: Client) -> None:
    consent = {"granted": True, "version": "2025-1"}
    await genzo.put(f"/v1/{GENZO}/subjects/eve/consents/face_processing", json=consent)
    asked = {"subject": "eve", "operation": "clothing_change", "params": {"format": "png"}}
    checks = np.kron(np.indices((16, 16)).sum(0) % 2, np.ones((16, 16)))[..., None] * (0, 200, 40)
    inputs = [{}, {"role": "garment"}, {}]
    worn = await sent(genzo, [PORTRAIT, png(checks.astype(np.uint8)), PORTRAIT], inputs=inputs, **asked)
    plain = await sent(genzo, [PORTRAIT], **asked)
    assert [(item["n"], item["state"]) for item in worn["items"]] == [(0, "succeeded"), (2, "succeeded")]
    first, second, without = [
        decode((await genzo.asset(item["result"])).content).astype(int) for item in (*worn["items"], *plain["items"])
    ]
    changed = np.abs(without - decode(PORTRAIT)).sum(-1) > 60  # what is worn
    assert changed.mean() > 0.05

    def green(pixels: np.ndarray) -> float:
        return float((pixels[..., 1] - pixels[..., 2])[changed].mean())

    assert green(first) > green(without) + 20
    assert np.abs(first - second).mean() < 1  # both wear the same


async def test_a_batch_of_nothing_good_fails_and_says_so_of_each_when_all_is_gone(client: Client) -> None:
    view = await sent(client, [a_picture(), a_picture()], params={"steps": -1}, choice="discard")
    assert (view["state"], view["reason"]) == ("failed", "bad-params")
    assert view.get("assets", []) == []
    assert [(item["state"], item["reason"]) for item in view["items"]] == [("failed", "bad-params")] * 2


async def test_an_upload_that_is_refused_can_be_given_up(client: Client) -> None:
    job = (await client.submit(inputs=[{}, {}])).json()
    assert (await client.upload(job["id"], n=0)).status_code == HTTPStatus.OK
    refused = await client.upload(job["id"], b"no picture at all", 1)
    assert refused.status_code == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    given_up = job["assets"][1]
    assert (await client.delete(f"/v1/{APP}/assets/{given_up['id']}")).status_code == HTTPStatus.ACCEPTED
    view = await client.ended(job["id"])
    assert (view["state"], [item["state"] for item in view["items"]]) == ("succeeded", ["succeeded", "failed"])
    assert (await client.upload(job["id"], n=1)).status_code == HTTPStatus.GONE


async def test_a_picture_erased_while_an_engine_works_takes_its_item_and_nothing_else(client: Client) -> None:
    job = (await client.submit(inputs=[{}, {}], params={"steps": 40, "step_s": 0.05})).json()
    for n in (0, 1):
        assert (await client.upload(job["id"], n=n)).status_code == HTTPStatus.OK
    await client.job_when(job["id"], lambda view: view["state"] == "leased" and view.get("progress", 0) > 0)
    erased = job["assets"][1]
    assert (await client.delete(f"/v1/{APP}/assets/{erased['id']}")).status_code == HTTPStatus.ACCEPTED
    view = await client.ended(job["id"])
    assert [(item["state"], item.get("reason", "")) for item in view["items"]] == [
        ("succeeded", ""),
        ("failed", "gone"),
    ]
    await client.receipt(erased)
    made = [asset for asset in view["assets"] if asset["role"] == "result"]
    assert [await client.status_of(asset["id"]) for asset in made] == [HTTPStatus.OK]


async def test_more_than_one_job_may_have_are_refused_before_any_byte(client: Client) -> None:
    most = client.system.settings.max_items_per_job
    answer = await client.submit(inputs=[{}] * (most + 1))
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:mayfly:problem:too-many-items")
