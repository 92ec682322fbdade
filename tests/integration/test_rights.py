"""A user's rights over HTTP, on the real system."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from services.cli_export import app as export
from services.local.system import System
from stream.audit.receipt_file import verify
from tests.integration.client import Client, asset_of
from tests.twins import TWINS

pytestmark = pytest.mark.stack

TWIN = next(twin for twin in TWINS if twin.app == "talentedi").name


@pytest_asyncio.fixture(scope="module")
async def client(system: System) -> AsyncIterator[Client]:
    async with Client(system, *await system.tenant(TWIN), app=TWIN, band="adult") as client:
        yield client


async def test_a_user_asks_what_is_held_and_then_leaves(client: Client, tmp_path: Path) -> None:
    view = await client.done("user-17", choice="")
    result = asset_of(view, "result")
    private, runner = tmp_path / "key", CliRunner()
    public = runner.invoke(export, ["key", str(private)]).output.strip()
    assert runner.invoke(export, ["key", str(private)]).exit_code == 1  # never over another
    base = f"/v1/{TWIN}"

    asked = {"right": "access", "public_key": public}
    access = (await client.post(f"{base}/subjects/user-17/requests", json=asked)).json()
    assert access["state"] == "pending"
    early = await client.get(f"{base}/requests/{access['id']}/export")
    assert (early.status_code, early.json()["type"]) == (409, "urn:mayfly:problem:identity-unproven")
    proof = {"method": "email_code"}
    assert (await client.post(f"{base}/requests/{access['id']}/verify", json=proof)).json()["state"] == "in_progress"
    sealed = tmp_path / "export.bin"
    sealed.write_bytes((await client.get(f"{base}/requests/{access['id']}/export")).raise_for_status().content)
    words = ["open", str(sealed), "--key", str(private), "--request", access["id"], "--app", TWIN]
    found = json.loads(runner.invoke(export, words).output)
    assert found["subject"]["name"] == "user-17"
    assert [one["id"] for one in found["media"]] == [result["id"]]
    assert found["jobs"][0]["operation"] == "noop"
    assert runner.invoke(export, [*words[:-1], "genzo"]).exit_code == 1

    leave = (await client.post(f"{base}/subjects/user-17/requests", json={"right": "cancel_account"})).json()
    assert leave["state"] == "pending"
    assert await client.status_of(result["id"]) == HTTPStatus.OK
    left = (await client.post(f"{base}/requests/{leave['id']}/verify", json=proof)).json()
    assert left["state"] == "completed"
    assert f"/v1/receipts/{client.mint.partition_of(result['id'])}/{result['leaf']}" in left["receipts"]
    assert verify(await client.receipt(result), result["id"], result["salt"]).absent is not None
    assert await client.status_of(result["id"]) == HTTPStatus.GONE
    for request in (access, leave):
        assert (await client.get(f"{base}/requests/{request['id']}")).status_code == HTTPStatus.GONE
    assert (await client.get(f"{base}/subjects/user-17/requests")).json() == {"requests": []}


async def test_what_is_asked_badly_is_refused(client: Client) -> None:
    base = f"/v1/{TWIN}/subjects/user-18/requests"
    for body, status, kind in (
        ({"right": "delet"}, 404, "unknown-right"),
        ({"right": "access"}, 422, "no-recipient"),
        ({"right": "withdraw", "purpose": "marketing"}, 404, "unknown-purpose"),
        ({"right": "delete", "data_class": "result_image"}, 404, "nothing-to-delete"),
        ({"right": "delete", "wrong": 1}, 400, "bad-body"),
    ):
        answer = await client.post(base, json=body)
        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:mayfly:problem:{kind}"), answer.text
    asked = (await client.post(base, json={"right": "complaint", "text": "why?"})).json()
    answer = await client.post(f"/v1/{TWIN}/requests/{asked['id']}/answer", json={"state": "refused"})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:mayfly:problem:no-ground")
    answer = await client.post(
        f"/v1/{TWIN}/requests/{asked['id']}/answer", json={"state": "refused", "ground": "001 §6(2)"}
    )
    assert answer.json()["state"] == "refused"
    assert (await client.get(base)).json()["requests"][0]["ground"] == "001 §6(2)"
