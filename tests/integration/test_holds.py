"""A legal hold on the real system: kept past its promise, shown to nobody, carried over a takeover, gone at its end."""

from __future__ import annotations

import os
import secrets
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services import owner_call
from services.gateway.errors import OwnerAway, OwnerRefused
from services.local.system import SYSTEM_FILE, System
from stream.agents import api, cases
from stream.agents.cases import Case
from stream.audit.receipt_file import verify
from stream.events.rows import AssetHead, AssetState
from tests.integration.client import APP, Client, asset_of, eventually, go_on_to, ledger_headers, objects_of

pytestmark = pytest.mark.stack

KEYS = {name: Ed25519PrivateKey.generate() for name in ("alice", "bob")}
SECOND_S = 1.0


def register(system: System) -> None:
    named = {name: key.public_key().public_bytes_raw().hex() for name, key in KEYS.items()}
    Path(system.settings.approvers_path).write_bytes(msgspec.json.encode(named))


def signed(case: Case, *names: str) -> api.OpenHold:
    return api.OpenHold(case, {name: KEYS[name].sign(cases.signed_part(case)) for name in names})


async def ask(system: System, partition: int, request: msgspec.Struct, reply: Any) -> Any:
    ports = msgspec.json.decode((system.folder / SYSTEM_FILE).read_bytes())["workers"].values()

    async def answer() -> Any:
        with suppress(OwnerAway):  # a partition may change hands twice: when a worker dies, and when it is back
            return await owner_call.ask(system.settings, list(ports), partition, request, reply)

    return await eventually(answer)


async def test_a_hold_outlives_a_takeover_and_no_more_than_its_end(system: System) -> None:
    register(system)
    async with Client(system, *await system.tenant(APP)) as client:
        view = await client.done()
        source, result = asset_of(view, "input"), asset_of(view, "result")
        partition = client.mint.partition_of(result["id"])
        now = int((await system.estates())[0]["now"])
        case = Case(
            id="4 O 17/26",
            basis="court_order",
            app=APP,
            tenant=client.tenant,
            asset=result["id"],
            until=int(result["due"]) + 600,
            proposed_at=now,
            proposed_by="alice",
            nonce=secrets.token_hex(16),
        )
        with pytest.raises(OwnerRefused) as refused:
            await ask(system, partition, signed(case, "alice"), api.HoldView)
        assert refused.value.problem.kind == "hold-not-approved"
        assert (await ask(system, partition, signed(case, "alice", "bob"), api.HoldView)).held == 1
        assert await client.status_of(result["id"]) == 200

        child = system.child("worker-1")
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)  # whoever owned it, or the next: both must know of the hold

        async def served() -> bool:
            estates = await system.estates()
            return len(estates) == system.settings.partitions

        await eventually(served, within_s=40.0)
        await go_on_to(system, result["due"] + SECOND_S)

        async def hidden() -> bool:
            return (await client.asset(result["id"])).status_code == 410

        await eventually(hidden)
        await client.receipt(source)  # what shared its promise is gone, and proven
        head = (await ledger_headers(system))[result["id"]]
        assert isinstance(head, AssetHead)
        assert head.state is AssetState.HELD
        assert await objects_of(system, result["id"])
        (held,) = (await ask(system, partition, api.ListHolds(), api.HoldsView)).holds
        assert (held.case, held.held) == (cases.commitment(case).hex(), 1)

        await go_on_to(system, case.until + SECOND_S)
        proof = verify(await client.receipt(result), result["id"], result["salt"])
        assert proof.absent is not None
        assert proof.receipt.t_unreadable_ms >= case.until * 1000
        assert (await ask(system, partition, api.ListHolds(), api.HoldsView)).holds == ()
