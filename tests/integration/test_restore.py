"""An old backup on the real system: what was erased since stays erased, whatever the backup believes."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient

from services import backup, restoring
from services.local.stack import LocalStack
from services.local.system import System
from services.settings import Settings
from stream import topics
from stream.audit.receipt_file import verify
from stream.ids import entry_of
from stream.ledger import HEARTBEAT_KEY
from stream.vault.pages import KeyPages
from stream.vault.rootstore_file import FileRootStore
from tests.integration.client import APP, Client, a_picture, asset_of, bucket, eventually, ledger_headers, records

pytestmark = pytest.mark.stack

CONSENT = "/v1/genzo/subjects/{subject}/consents/face_processing"
HALF_AN_HOUR_S = 1800


@pytest_asyncio.fixture(scope="module")
async def system(runs: Path) -> AsyncIterator[System]:
    """A system of its own: what is done to its ledger here is nobody else's business."""
    run_dir = Path(tempfile.mkdtemp(dir=runs))
    policies = str(Path(__file__).parent.parent / "policies")
    async with (
        LocalStack(run_dir) as stack,
        System(stack, workers=1, demo_clock=True, policies_extra=policies, partitions=2) as running,
    ):
        yield running
    shutil.rmtree(run_dir)


async def lose_ledger(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        await admin.delete_topics([topics.LEDGER])

        async def away() -> bool:
            return topics.LEDGER not in await admin.list_topics()

        await eventually(away)
    finally:
        await admin.close()


async def living(settings: Settings) -> set[bytes]:
    """Every entry that anybody with the topic and the root store can open now."""
    found: set[bytes] = set()
    for partition in range(settings.partitions):
        nodes: dict[bytes, bytes] = {}
        for record in await records(settings.kafka, topics.KEYS, settings.partitions):
            if record.partition == partition and record.key != HEARTBEAT_KEY:
                nodes.pop(record.key, None)
                if record.value is not None:
                    nodes[record.key] = record.value
        pages = KeyPages(partition, FileRootStore(Path(settings.state_dir) / "roots" / str(partition)))
        await pages.open(nodes)
        found |= set(pages.census())
        pages.wipe()
    return found


async def restored(settings: Settings, folder: Path, **how: Any) -> restoring.Report:
    """The restore, once the group has forgotten the workers that were stopped."""

    async def attempt() -> restoring.Report | None:
        try:
            return await restoring.run(settings, folder, **{"replace": False, "dry_run": False} | how)
        except restoring.OwnersRunning:
            return None

    report: restoring.Report = await eventually(attempt)
    return report


async def test_nothing_erased_comes_back(system: System, tmp_path: Path) -> None:  # noqa: PLR0915 - one story, one boot
    settings, folder = system.settings, tmp_path / "backup"
    async with Client(system, *await system.tenant(APP, "genzo")) as client:
        # What there is when the backup is made.
        early = await client.done()
        await system.advance_to((await system.estates())[0]["now"] + HALF_AN_HOUR_S)
        kept, cut, carol = await client.done(), await client.done(), secrets.token_hex(6)
        of_carol = await client.done(carol)
        consent = CONSENT.format(subject="dave")
        assert (await client.put(consent, json={"granted": True, "version": "2025-1"})).status_code == 200
        running = await client.begin(params={"steps": 400, "step_s": 0.02})
        await client.job_when(running["id"], lambda view: view["state"] == "leased")

        with pytest.raises(backup.BadBackup):
            backup.manifest_of(folder, settings)
        made = await backup.take(settings, folder)
        assert made.objects >= 8
        with pytest.raises(backup.BadBackup):
            await backup.take(settings, folder)  # never over another

        # What happens after it.
        await system.advance_to(early["assets"][0]["due"])
        assert (await client.delete(f"/v1/{APP}/assets/{asset_of(cut, 'result')['id']}")).status_code == 202
        assert (await client.delete(f"/v1/{APP}/subjects/{carol}")).status_code == 202
        assert (await client.put(consent, json={"granted": False, "version": "2025-1"})).status_code == 200
        younger = await client.done()
        gone = [*early["assets"], asset_of(cut, "result"), *of_carol["assets"]]
        receipts = [await client.receipt(asset) for asset in gone]

        # The ledger is lost, and comes back.
        with pytest.raises(restoring.OwnersRunning):
            await restoring.run(settings, folder, replace=False, dry_run=False)
        await system.stop_workers()
        await lose_ledger(settings)
        foretold = await restored(settings, folder, dry_run=True)
        before = await living(settings)
        report = await restoring.run(settings, folder, replace=False, dry_run=False)
        assert msgspec.structs.replace(report, dry_run=True, restored_at=0) == msgspec.structs.replace(
            foretold, restored_at=0
        )
        after = await living(settings)

        # By hand: no key of what went can be found in the tree; of what stays, each is there.
        lost = [*gone, *younger["assets"], *running["assets"]]
        stays = [*kept["assets"], asset_of(cut, "input")]
        assert not {entry_of(asset["id"]) for asset in lost} & after
        assert {entry_of(asset["id"]) for asset in stays} <= after < before
        headers = await ledger_headers(system)
        named = {headers[asset["id"]].object for asset in stays}  # type: ignore[union-attr]
        assert bucket(system) == named
        why = {(one.kind, one.why): 0 for one in report.dropped}
        for one in report.dropped:
            why[one.kind, one.why] += one.count
        assert why["asset", "erased"] == len(gone)
        assert why["asset", "job-in-flight"] >= 1
        assert why["subject", "erased"] == 1
        assert report.jobs_failed == 1
        assert report.consents_withdrawn == 1
        assert report.keys_without_row >= 4  # both assets of the younger job, the job, its subject
        text = msgspec.json.encode(report).decode()
        assert not any(asset["id"] in text or asset["leaf"] in text for asset in [*lost, *stays])

        # With workers: the API agrees, and proofs say what they said.
        await system.start_workers()
        for asset in stays:
            assert (await client.asset(asset["id"])).content == a_picture()
        for asset in lost:
            assert (await client.asset(asset["id"])).status_code == 410
        for asset, proof in zip(gone, receipts, strict=True):
            told = await client.receipt(asset)
            assert verify(told, asset["id"], asset["salt"]).receipt == verify(proof, asset["id"], asset["salt"]).receipt
        view = await client.job(running["id"])
        assert (view["state"], view["reason"]) == ("failed", "restored")
        genzo = {"subject": "dave", "operation": "stylization", "choice": "save", "inputs": [{}]}
        assert (await client.post("/v1/genzo/jobs", json=genzo)).status_code == 403  # consent is to be given again
        assert (await client.done())["state"] == "succeeded"  # life goes on
        interrupted = asset_of(running, "input")  # erased by the restore: its receipt is made when its partition opens
        url = f"/v1/receipts/{client.mint.partition_of(interrupted['id'])}/{interrupted['leaf']}"

        async def proven() -> bytes:
            answer = await client.get(url)
            return answer.content if answer.status_code == 200 else b""

        assert verify(await eventually(proven), interrupted["id"], interrupted["salt"]).receipt.cause == "restore"

        # Again, over a ledger with rows: only where that is said.
        await system.stop_workers()
        with pytest.raises(restoring.LedgerNotEmpty):
            await restored(settings, folder)
        again = await restored(settings, folder, replace=True)
        assert again.rows_replaced > 0
        await system.start_workers()
        for asset in stays:
            assert (await client.asset(asset["id"])).status_code == 200

        for name in ("ledger-0", "ledger-1"):
            (folder / name).write_bytes((folder / name).read_bytes()[:-1])
        with pytest.raises(backup.BadBackup):
            await restoring.run(settings, folder, replace=True, dry_run=False)
        other = msgspec.structs.replace(settings, secret=secrets.token_hex(32))
        with pytest.raises(backup.BadBackup):
            await restoring.run(other, folder, replace=True, dry_run=False)
