"""An auditor's work on a running system: export, a rotation meanwhile, export again, verify from the first key."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from services import audit_rotate
from services.audit_export import export, reader
from services.local.system import System
from stream.audit.receipt_in_log import verify_in_log
from stream.audit.signer import former_of, open_signer
from stream.audit.verify import audit
from tests.integration.client import APP, Client, asset_of, eventually

pytestmark = pytest.mark.stack


async def test_an_auditors_year(system: System, tmp_path: Path) -> None:
    tenant, key = await system.tenant(APP)
    folder = Path(system.settings.state_dir) / "signing"
    first = open_signer(folder)
    async with Client(system, tenant, key) as client:

        async def erased() -> dict[str, str]:
            asset = asset_of(await client.done(client.place(1)), "result")
            assert (await client.asset(asset["id"])).status_code == 200
            assert (await client.delete(f"/v1/{APP}/assets/{asset['id']}")).status_code == 202
            return asset

        before = await erased()
        early = await client.receipt(before)
        logs = await export(system.url, key, tmp_path)
        assert len(logs) == system.settings.partitions
        kept = (tmp_path / "1" / "checkpoint").read_text()
        counts = audit(reader(tmp_path / "1"), trusted_key=first.public).history.counts
        assert counts["key"] == 1
        assert min(counts["erased"], counts["absent"]) >= 1
        assert counts["grant"] >= 4  # upload, the engine's input and output, and the download

        second = await audit_rotate.rotate(system.settings, list(system._ports.values()))
        assert second.key_id != first.key_id
        assert former_of(folder) == []
        after = await erased()
        late = await client.receipt(after)
        worker = next(each for each in await system.estates() if each["partition"] == 1)
        assert worker["signed_by"] == second.key_id

        child = system.child("worker-1")
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)  # a new owner goes on under the key that the log names
        await eventually(lambda: _all_serve(system, second.key_id), within_s=40)

        logs = await export(system.url, key, tmp_path)
        assert any(each.before for each in logs)
        found = audit(reader(tmp_path / "1"), trusted_key=first.public, since=kept)
        assert [public for _, public in found.history.keys] == [first.public, second.public]
        for asset, file in ((before, early), (after, late)):
            assert verify_in_log(file, asset["id"], asset["salt"], found).trusted


async def _all_serve(system: System, name: str) -> bool:
    signed_by = [each["signed_by"] for each in await system.estates()]
    return len(signed_by) == system.settings.partitions and set(signed_by) == {name}
