"""An account's life over HTTP on the real system, with codes read from a real mail server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest
import pytest_asyncio

from services.local.system import System
from stream.audit.receipt_file import verify
from tests.integration.client import Client, asset_of
from tests.mailbox import Mailbox
from tests.twins import TWINS

pytestmark = pytest.mark.stack

APP = next(twin for twin in TWINS if twin.app == "perfect-me").name
ANN, NEW, PASSWORD = "ann@example.org", "ann@new.example", "a long password"


@pytest_asyncio.fixture(scope="module")
async def client(system: System) -> AsyncIterator[Client]:
    async with Client(system, *await system.tenant(APP, "batchpix"), app=APP) as client:
        yield client


async def call(client: Client, verb: str, path: str, session: str = "", **body: Any) -> httpx.Response:
    headers = {"Mayfly-Session": session} if session else {}
    return await client.request(verb, f"/v1/{APP}/{path}", json=body or None, headers=headers)


async def good(client: Client, verb: str, path: str, session: str = "", **body: Any) -> Any:
    answer = await call(client, verb, path, session, **body)
    assert answer.is_success, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int, kind: str) -> None:
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:mayfly:problem:{kind}"), answer.text


async def registered(client: Client, mailbox: Mailbox, address: str) -> str:
    await good(client, "POST", "accounts", fields={"email": address}, password=PASSWORD)
    code = await mailbox.code_for(address)
    session = await good(client, "POST", "accounts/confirm", address=address, code=code, password=PASSWORD)
    return str(session["session"])


async def test_an_account_from_its_first_code_to_its_end(client: Client, mailbox: Mailbox) -> None:
    fields = {"email": "Ann@Example.org", "name": "Ann", "date_of_birth": "1990-12-31"}
    await good(client, "POST", "accounts", fields=fields, password=PASSWORD)
    refused(
        await call(client, "POST", "accounts/confirm", address=ANN, code="000000", password=PASSWORD), 403, "wrong-code"
    )
    code = await mailbox.code_for(ANN)
    session = await good(client, "POST", "accounts/confirm", address=ANN, code=code, password=PASSWORD)
    subject = session["subject"]

    view = await client.done(subject, choice="")
    result = asset_of(view, "result")
    centre = await good(client, "GET", "account", session["session"])
    assert centre["fields"] == fields | {"email": ANN}
    assert [one["id"] for one in centre["held"]["media"]] == [result["id"]]
    assert "$argon2id$" not in str(centre)

    amended = await good(client, "PATCH", "account", session["session"], fields={"name": "Anna"})
    assert amended["fields"]["name"] == "Anna"
    refused(
        await call(client, "PATCH", "account", session["session"], fields={"email": NEW}), 409, "address-needs-proof"
    )

    await good(client, "POST", "account/address", session["session"], address=NEW)
    moved = await good(
        client,
        "POST",
        "account/address/confirm",
        session["session"],
        address=NEW,
        code=await mailbox.code_for(NEW),
    )
    assert moved["fields"]["email"] == NEW
    refused(await call(client, "POST", "sessions", address=ANN, password=PASSWORD), 403, "not-signed-in")
    again = await good(client, "POST", "sessions", address=NEW, password=PASSWORD)
    assert again["subject"] == subject

    bob, theirs = await registered(client, mailbox, "bob@example.org"), {"address": NEW, "code": "000000"}
    refused(await call(client, "POST", "account/address/confirm", bob, **theirs), 403, "wrong-code")
    assert (await good(client, "POST", "sessions", address=NEW, password=PASSWORD))["subject"] == subject

    await good(client, "POST", "sessions/end?everywhere=true", again["session"])
    refused(await call(client, "GET", "account", session["session"]), 403, "not-signed-in")

    last = await good(client, "POST", "sessions", address=NEW, password=PASSWORD)
    refused(await call(client, "POST", "account/cancel", last["session"], password="not mine"), 403, "not-signed-in")
    left = await good(client, "POST", "account/cancel", last["session"], password=PASSWORD)
    assert left["state"] == "completed"
    assert verify(await client.receipt(result), result["id"], result["salt"]).absent is not None
    assert await client.status_of(result["id"]) == HTTPStatus.GONE
    refused(await call(client, "POST", "sessions", address=NEW, password=PASSWORD), 403, "not-signed-in")

    await good(client, "POST", "accounts", fields={"email": ANN}, password=PASSWORD)  # and may come back
    code = await mailbox.code_for(ANN)
    assert (await good(client, "POST", "accounts/confirm", address=ANN, code=code, password=PASSWORD))[
        "subject"
    ] == subject


async def test_what_is_asked_badly_is_refused(client: Client) -> None:
    refused(await call(client, "GET", "account"), 403, "not-signed-in")
    refused(await call(client, "POST", "accounts", fields={"email": "nobody"}, password=PASSWORD), 422, "bad-field")
    refused(await call(client, "POST", "accounts", fields={"email": "b@c.org"}, password="short"), 422, "weak-password")
    body = {"fields": {"email": "b@c.org"}, "password": PASSWORD}
    refused(await client.post("/v1/batchpix/accounts", json=body), 404, "no-accounts")
    refused(
        await call(client, "POST", "accounts", fields={"phone": "+8613800138000"}, password=PASSWORD),
        422,
        "field-missing",
    )
    answer = await call(
        client,
        "POST",
        "accounts",
        fields={"email": "b@c.org", "phone": "+8613800138000"},
        password=PASSWORD,
        channel="sms",
    )
    refused(answer, 502, "no-post")
