"""Consents, ages and regions as a tenant meets them: a real gateway, workers, Kafka, S3 and Ray."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from services.local.system import System
from tests.integration.client import Client, asset_of

pytestmark = pytest.mark.stack


@pytest_asyncio.fixture(scope="module")
async def nursery(system: System) -> AsyncIterator[Client]:
    async with Client(system, *await system.tenant("nursery", "island"), app="nursery") as client:
        yield client


class User:
    """One user of the app, whose tenant speaks for them."""

    def __init__(self, client: Client, app: str = "") -> None:
        self.client, self.app, self.name = client, app or client.app, secrets.token_hex(6)
        self.url = f"/v1/{self.app}/subjects/{self.name}"

    async def say(self, purpose: str, *, granted: bool = True, **more: Any) -> httpx.Response:
        return await self.client.put(f"{self.url}/consents/{purpose}", json={"granted": granted, "version": "1"} | more)

    async def age(self, band: str) -> httpx.Response:
        return await self.client.put(f"{self.url}/age", json={"band": band})

    async def ledger(self) -> dict[str, Any]:
        answer = await self.client.get(f"{self.url}/consents")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refusal(self) -> str:
        """Why a job is refused; empty where it is taken."""
        answer = await self.client.submit(self.name)
        return "" if answer.status_code == 201 else answer.json()["type"].rpartition(":")[2]


async def test_a_child_a_guardian_and_a_withdrawal(nursery: Client) -> None:
    told = (await nursery.get("/v1/nursery/consents")).json()
    faces = next(one for one in told["texts"] if one["purpose"] == "face_processing")
    assert (faces["needed_by"], told["ages"]) == (["noop"], ["under_14", "14_to_17", "adult"])

    ann = User(nursery)
    assert await ann.refusal() == "age-unknown"
    assert (await ann.age("under_14")).json()["guardian"] == "needed"
    assert (await ann.say("face_processing")).status_code == 200
    assert await ann.refusal() == "guardian-consent-missing"
    proof = f"sha256:{secrets.token_hex(32)}"
    assert (await ann.say("face_processing", guardian=True, how="paper", proof=proof)).status_code == 200
    assert (await ann.say("promotion", guardian=True)).status_code == 200

    saved = await nursery.done(ann.name)
    running = await nursery.begin(ann.name, params={"steps": 600, "step_s": 0.1})
    assert (await ann.say("promotion", granted=False)).status_code == 200  # no media was needed for that
    assert (await nursery.job(running["id"]))["state"] not in {"cancelled", "ending"}
    assert await nursery.status_of(asset_of(saved, "input")["id"]) == 200

    assert (await ann.say("face_processing", granted=False)).status_code == 200
    assert (await nursery.ended(running["id"]))["state"] == "cancelled"
    assert await nursery.status_of(asset_of(saved, "input")["id"]) == 410  # "immediately", says its promise
    kept = asset_of(await nursery.job(saved["id"]), "result")
    assert kept["due"] < asset_of(saved, "result")["due"]  # "10 min" after
    assert await nursery.status_of(kept["id"]) == 200
    assert await ann.refusal() == "guardian-consent-missing"

    seen = await ann.ledger()
    assert (seen["standing"], seen["age"], seen["guardian"]) == ([], "under_14", "needed")
    assert {one["purpose"]: one["why"] for one in seen["ask"]} == {
        "face_processing": "withdrawn",
        "promotion": "withdrawn",
    }
    assert [(one["purpose"], one["granted"], one["guardian"], one["how"]) for one in seen["history"]] == [
        ("face_processing", True, False, "tenant_api"),
        ("face_processing", True, True, "paper"),
        ("promotion", True, True, "tenant_api"),
        ("promotion", False, False, "tenant_api"),
        ("face_processing", False, False, "tenant_api"),
    ]
    assert seen["history"][1]["proof"] == proof
    assert seen["history"][1]["text"] == hashlib.sha256(faces["text"].encode()).hexdigest()
    assert seen["history"][1]["policy"] == told["policy"]

    assert (await nursery.delete(ann.url)).status_code == 202
    assert (await ann.ledger())["history"] == []


async def test_data_that_must_stay_elsewhere_are_not_taken(nursery: Client) -> None:
    bob = User(nursery, "island")
    for answer in (
        await bob.say("face_processing"),
        await nursery.post(
            "/v1/island/jobs", json={"subject": bob.name, "operation": "noop", "choice": "save", "inputs": [{}]}
        ),
    ):
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:mayfly:problem:wrong-region")
    assert (await bob.say("face_processing", granted=False)).status_code == 200  # nothing stands in its way
    assert (await nursery.delete(bob.url)).status_code == 202
