"""After the erasure everybody is compelled: old copies, every key still held, the unseal key and the code.

What opens must be what lives; what can be read in clear must be what docs/erasure.md lists.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.local.children import Children
from services.local.openbao import BOOT_TIMEOUT_S, CONFIG, OpenBao, run_server
from services.local.ports import LOOPBACK, free_ports
from services.local.stack import RAM_LINK, LocalStack, clear_ram, make_ram
from services.local.system import System
from services.roots import root_stores
from services.settings import RootStoreName
from stream.audit.receipt_file import verify
from stream.events.rows import AssetHead
from stream.ids import Kind, Mint, entry_of
from stream.vault.openbao import Transit
from stream.vault.rootstore import RootStore
from stream.vault.rootstore_file import FileRootStore
from stream.vault.rootstore_openbao import OpenBaoRootStore
from stream.vault.stream_seal import CHUNK_BYTES
from tests.forensic.attacker import Attacker, Loot, held_keys
from tests.integration.client import APP, Client, a_picture, asset_of, eventually, ledger_headers

pytestmark = pytest.mark.stack

SLOW = pytest.mark.skipif(
    "MAYFLY_FORENSIC" not in os.environ, reason="another boot: set MAYFLY_FORENSIC=1 to run it too"
)
APPS = (APP, "genzo")
CONSENT = "/v1/genzo/subjects/{}/consents/face_processing"
PIECE = slice(70_000, 70_064)
SIDE = 384  # of a picture that is sealed in two chunks
BUSY_S = 0.1


def a_name() -> str:
    return f"canary-{secrets.token_hex(12)}"


@dataclass
class Canary:
    """A user's job and all that must never be read again."""

    name: str = field(default_factory=a_name)
    picture: bytes = field(default_factory=lambda: a_picture(SIDE, secrets.randbits(32)))
    pause_s: float = field(default_factory=lambda: 1e-4 * (1 + secrets.randbits(48) / 2**48))
    job: dict[str, Any] = field(default_factory=dict)

    def texts(self) -> Iterator[bytes]:
        """Name, parameter and a piece of the picture, as they are and as others might write them."""
        for text in (self.name.encode(), repr(self.pause_s).encode(), self.picture[PIECE]):
            yield from (text, base64.b64encode(text)[:-4], text.hex().encode())

    def in_loot(self, loot: Loot) -> list[bool]:
        """Which of name, parameter and picture an attacker has."""
        return [loot.has(self.name.encode()), loot.has(repr(self.pause_s).encode()), loot.has(self.picture[PIECE])]


class Story:
    """Users come, and go by every path there is."""

    def __init__(self, system: System, client: Client, genzo: Client) -> None:
        self.system, self.client, self.genzo = system, client, genzo
        names = ("asset", "job", "subject", "deadline", "returned", "cancelled")
        self.users = {name: Canary() for name in names}
        self.withdrawn, self.survivor = a_name(), a_name()

    async def arrive(self) -> None:
        kept = ("asset", "job", "subject", "deadline")
        await asyncio.gather(*(self._arrive(self.users[name]) for name in kept))
        for name in kept:
            self.users[name].job = await self.client.ended(self.users[name].job["id"])
        await self._arrive(self.users["returned"], choice="discard", steps=60, pause_s=BUSY_S)
        await self._arrive(self.users["cancelled"], steps=1500, pause_s=BUSY_S)
        for name in ("returned", "cancelled"):
            await self.client.job_when(self.users[name].job["id"], lambda view: view["state"] == "leased")
        for name in (self.withdrawn, self.survivor):
            await self._consent(name, granted=True)
        asked = await self.genzo.submit(self.withdrawn, operation="stylization")
        assert asked.status_code == 201, asked.text

    async def leave(self) -> None:
        """Erased by request, by job, by user, by deadline, with the job's end, once returned, cancelled, by consent."""
        client, users = self.client, self.users
        for name in ("returned", "cancelled"):
            assert (await client.job(users[name].job["id"]))["state"] == "leased", "this machine was too slow to copy"
        for asset in users["asset"].job["assets"]:
            await self._delete(f"assets/{asset['id']}")
        await self._delete(f"jobs/{users['job'].job['id']}")
        await self._delete(f"jobs/{users['cancelled'].job['id']}")
        await self._delete(f"subjects/{users['subject'].name}")
        await self._consent(self.withdrawn, granted=False)
        users["returned"].job = await client.ended(users["returned"].job["id"])
        assert (await client.asset(asset_of(users["returned"].job, "result")["id"])).status_code == 200
        await self.system.advance_to(max(asset["due"] for asset in users["deadline"].job["assets"]))
        for user in users.values():
            for asset in user.job["assets"]:
                proven = verify(await client.receipt(asset), asset["id"], asset["salt"])
                assert proven.absent is not None
                assert (await client.asset(asset["id"])).status_code == 410
        for user in users.values():  # a user's own row lives until the user is deleted
            await self._delete(f"subjects/{user.name}")
        assert (await self.genzo.delete(f"/v1/genzo/subjects/{self.withdrawn}")).status_code == 202

    async def living(self) -> set[bytes]:
        """The entries of all rows that still have a key, once nothing is on its way out."""

        async def settled() -> dict[str, Any]:
            headers = await ledger_headers(self.system)
            return {} if any(isinstance(head, AssetHead) for head in headers.values()) else headers

        headers = await eventually(settled)
        return {entry_of(each) for each, head in headers.items() if getattr(head, "page", b"")}

    async def _arrive(self, user: Canary, *, choice: str = "save", steps: int = 1, pause_s: float = 0.0) -> None:
        user.pause_s += pause_s
        asked = {"choice": choice, "params": {"steps": steps, "step_s": user.pause_s}}
        user.job = (await self.client.submit(user.name, **asked)).json()
        answer = await self.client.upload(user.job["id"], user.picture)
        assert answer.status_code == 200, answer.text

    async def _consent(self, name: str, *, granted: bool) -> None:
        answer = await self.genzo.put(CONSENT.format(name), json={"granted": granted, "version": "2025-1"})
        assert answer.status_code == 200, answer.text

    async def _delete(self, what: str) -> None:
        answer = await self.client.delete(f"/v1/{APP}/{what}")
        assert answer.status_code == 202, answer.text


def copy(system: System, to: Path) -> Path:
    """Files as they are, while all run: an attacker with the disks, or a backup."""
    run_dir, state = system.stack.run_dir, Path(system.settings.state_dir)
    places = {"kafka": run_dir / "kafka", "s3": run_dir / "s3", "state": state, "raft": system.stack.ram / "openbao"}
    for name, source in places.items():
        if source.exists():
            shutil.copytree(source, to / name, ignore=_no_index, copy_function=_copy_if_there)
    return to


def _no_index(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith("index")]  # of Kafka: 10 MB of zeros each, and no record


def _copy_if_there(source: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # compacted meanwhile
        shutil.copy(source, target)


@contextlib.asynccontextmanager
async def a_second_server(raft: Path, held: Path, mount: str, runs: Path) -> AsyncIterator[Callable[[int], RootStore]]:
    """Another OpenBao on a copy of a raft directory, unsealed with the key and asked with the root token."""
    run_dir = Path(tempfile.mkdtemp(dir=runs))
    children = Children(run_dir)
    shutil.copytree(raft, make_ram(run_dir) / "raft")
    port, cluster = free_ports(2)
    folder = run_dir / "openbao"
    folder.mkdir()
    config = CONFIG.format(data=run_dir / RAM_LINK / "raft", host=LOOPBACK, port=port, cluster=cluster)
    (folder / "openbao.hcl").write_text(config)
    served = OpenBao(f"http://{LOOPBACK}:{port}", str(held))
    try:
        child = run_server(children)
        await children.until(child, served.listening, timeout_s=BOOT_TIMEOUT_S)
        await served.unseal()
        await children.until(child, served.active, timeout_s=BOOT_TIMEOUT_S)
        with contextlib.closing(Transit(served.url, mount=mount, token_path=held / "root-token")) as transit:
            yield lambda partition: OpenBaoRootStore(transit, partition)
    finally:
        await children.stop()
        clear_ram(run_dir)
        children.release()
        shutil.rmtree(run_dir)


def of_copy(system: System, taken: Path, runs: Path) -> contextlib.AbstractAsyncContextManager[Any]:
    """The root stores of a copy."""
    if system.settings.root_store is RootStoreName.OPENBAO:
        held = system.stack.run_dir / "openbao"
        return a_second_server(taken / "raft", held, system.settings.openbao_mount, runs)
    return contextlib.nullcontext(lambda partition: FileRootStore(taken / "state" / "roots" / str(partition)))


@pytest.mark.parametrize("store", [RootStoreName.FILE, pytest.param(RootStoreName.OPENBAO, marks=SLOW)])
async def test_what_opens_is_what_lives(store: RootStoreName, runs: Path) -> None:
    """With the root store as it is, and as it lies on its disk; the control has it as it was before."""
    run_dir = Path(tempfile.mkdtemp(dir=runs))
    options: dict[str, Any] = {
        "workers": 1,  # a second one that joins late would take partitions over, and grants with them
        "demo_clock": True,
        "root_store": store,
        "policies_extra": str(Path(__file__).parent.parent / "policies"),
    }
    async with LocalStack(run_dir) as stack, System(stack, **options) as system:
        tenant, key = await system.tenant(*APPS)
        async with Client(system, tenant, key) as client, Client(system, tenant, key, app="genzo") as genzo:
            story = Story(system, client, genzo)
            await story.arrive()
            before = copy(system, run_dir / "before")
            await story.leave()
            living = await story.living()
            after = copy(system, run_dir / "after")
            assert all(len(user.picture) > CHUNK_BYTES for user in story.users.values())
            held = held_keys(system.folder, run_dir / "openbao", run_dir / "s3.json")
            attacker = Attacker((before, after), APPS)

            with root_stores(system.settings) as roots:
                now = await attacker.open(roots, held)
            async with of_copy(system, after, runs) as roots:
                later = await attacker.open(roots, held)
            async with of_copy(system, before, runs) as roots:
                control = await attacker.open(roots)

    assert len(living) == 1
    for loot in (now, later):
        assert loot.entries == living
        assert {entry for entry, _ in loot.rows} == living
        assert loot.has(story.survivor.encode())
        assert not loot.media
        assert not loot.events
        assert not any(any(user.in_loot(loot)) for user in story.users.values())
        assert not loot.has(story.withdrawn.encode())
    for name, user in story.users.items():
        assert user.in_loot(control) == [True, True, True], name
    assert control.has(story.withdrawn.encode())
    assert control.events

    canaries = {text for user in story.users.values() for text in user.texts()}
    assert len(canaries) == 9 * len(story.users)
    assert attacker.in_clear(canaries) == set()
    assert attacker.in_clear({tenant.encode()}) == {tenant.encode()}  # it is in `tenants`: so this looks
    mint = Mint(bytes.fromhex(system.settings.secret), system.settings.partitions)
    assert all(mint.check(Kind(each[:3]), tenant, each) >= 0 for each in attacker.ids())  # the residue "whose tenant"
    shutil.rmtree(run_dir)
