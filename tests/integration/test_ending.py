"""A service ends on the real system: owners hear of it, take nothing in any more, and erase what it stored."""

from __future__ import annotations

import pytest

from services import register
from services.local.system import System
from stream.audit.receipt_file import verify
from stream.policies.announcements import Announcement
from stream.policies.calendar import DAY_S
from stream.policies.obligations import Occasion
from tests.integration.client import Client, asset_of, eventually
from tests.twins import TWINS

pytestmark = pytest.mark.stack

TWIN = next(twin for twin in TWINS if twin.app == "talentedi" and twin.makes == "result_video").name


async def test_the_last_day_of_a_service(system: System) -> None:
    kafka = system.settings.kafka
    async with Client(system, *await system.tenant(TWIN), app=TWIN, band="adult") as client:
        result = asset_of(await client.done("user-20", choice=""), "result")
        now = (await system.estates())[0]["now"]
        told = {"users": now - 40 * DAY_S}
        line = await register.write(kafka, Announcement(TWIN, Occasion.TERMINATION, now - 41 * DAY_S, now - 1, told))

        async def taken_in() -> bool:
            answer = await client.put(f"/v1/{TWIN}/subjects/user-21/age", json={"band": "adult"})
            assert answer.status_code == 200 or answer.json()["type"] == "urn:mayfly:problem:service-ended"
            return answer.status_code == 200

        async def refused() -> bool:
            return not await taken_in()

        try:
            await eventually(refused)
            proof = verify(await client.receipt(result), result["id"], result["salt"])
            assert (proof.receipt.app, proof.receipt.cause) == (TWIN, "termination")
            assert (await client.asset(result["id"])).status_code == 410
        finally:
            await register.write(kafka, None, line)
            await eventually(taken_in)  # others use this app, too
