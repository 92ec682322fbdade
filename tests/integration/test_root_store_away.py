"""A real OpenBao stands still, and dies, while a real ledger goes on: reads, commits, and an erasure that waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from services.local.children import Children
from services.local.openbao import Cluster, OpenBao, run_server, start_openbao
from services.local.processes import Child
from services.local.stack import LocalStack, clear_ram, make_ram
from stream import topics
from stream.ledger import SELF_LEASE_S, Change, Ledger
from stream.vault.openbao import Transit
from stream.vault.pages import KeyPages
from stream.vault.rootstore import RootStoreUnavailable, number_of
from stream.vault.rootstore_openbao import OpenBaoRootStore

pytestmark = pytest.mark.stack

GROUP, BUCKET = b"app/class", b"bucket"
WAIT_S = 30.0
GRACE_S = 8.0


class Server:
    """An OpenBao of our own, whose process may be stopped, ended and started again."""

    def __init__(self, children: Children, served: OpenBao) -> None:
        self._children, self._served = children, served

    def signal(self, number: int) -> None:
        os.kill(self._child().pid, number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self._children.stop(["openbao"])

    async def start(self) -> None:
        child = run_server(self._children)
        await self._children.until(child, self._served.listening, timeout_s=WAIT_S)
        await self._served.unseal()
        await self._children.until(child, self._served.active, timeout_s=WAIT_S)

    def _child(self) -> Child:
        (child,) = self._children.running()
        return child


@pytest_asyncio.fixture(scope="module")
async def server(runs: Path) -> AsyncIterator[tuple[Server, Cluster]]:
    run_dir = Path(tempfile.mkdtemp(dir=runs))
    children, ram = Children(run_dir), make_ram(run_dir)
    try:
        served = await start_openbao(children, data=ram / "openbao")
        yield Server(children, served), await served.cluster()
    finally:
        await children.stop()
        clear_ram(run_dir)
        children.release()
        shutil.rmtree(run_dir)


@pytest_asyncio.fixture(scope="module")
async def kafka(stack: LocalStack) -> AsyncIterator[str]:
    """The ledger's topics under names of their own."""
    mark = secrets.token_hex(4)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LEDGER", "KEYS", "AUDIT", "OWNERS", "PARKED", "UPLOAD", "DETECT"):
            patch.setattr(topics, name, f"{name.lower()}-{mark}")
        patch.setattr(topics, "EVENTS", (topics.UPLOAD, topics.DETECT))
        plan = tuple(topic for topic in topics.plan(3600, 3600) if topic.name.endswith(mark))
        await topics.create(stack.endpoints.kafka, plan, partitions=4)
        yield stack.endpoints.kafka


class Owner:
    """A ledger on one partition, and the root store as seen beside it."""

    def __init__(self, partition: int, kafka: str, cluster: Cluster) -> None:
        self.lost: list[BaseException] = []
        self.transit = Transit(cluster.url, mount=cluster.mount, token_path=Path(cluster.token_path))
        self.store = OpenBaoRootStore(self.transit, partition)
        self.ledger = Ledger(
            partition,
            KeyPages(partition, self.store, grace_s=GRACE_S),
            bootstrap=kafka,
            on_lost=lambda _, error: self.lost.append(error),
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Owner]:
        with contextlib.closing(self.transit):
            await self.ledger.open()
            try:
                yield self
            finally:
                await self.ledger.close()

    async def keep(self, name: bytes) -> tuple[bytes, bytes]:
        page, _ = self.ledger.pages.new_key(GROUP, BUCKET, name.ljust(16))
        await self.ledger.apply(Change({name: b"living"}))
        return page, name.ljust(16)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.02)


def refuses(ledger: Ledger, *, promising: bool) -> bool:
    try:
        ledger.pages.check(promising=promising)
    except RootStoreUnavailable:
        return True
    return False


async def test_it_stands_still_beyond_the_grace_and_goes_on(kafka: str, server: tuple[Server, Cluster]) -> None:
    bao, cluster = server
    async with Owner(0, kafka, cluster).opened() as owner:
        ledger, key = owner.ledger, await owner.keep(b"a")
        bao.signal(signal.SIGSTOP)
        try:
            await until(lambda: refuses(ledger, promising=True))
            erased = ledger.apply(Change({b"a": b"dead"}, erase=[key]))
            began, groups = asyncio.get_running_loop().time(), ledger.groups
            await ledger.barrier()
            assert not refuses(ledger, promising=False)
            for n in range(10):
                await ledger.apply(Change({b"other": b"%d" % n}))
                ledger.check()
            await until(lambda: refuses(ledger, promising=False))
            assert asyncio.get_running_loop().time() - began > SELF_LEASE_S
            assert ledger.groups - groups > 10
            ledger.check()
            assert not erased.done()
            assert ledger.erasing(b"a")
        finally:
            bao.signal(signal.SIGCONT)
        commit = await asyncio.wait_for(erased, WAIT_S)
        assert ledger.pages.key(*key) is None
        assert await owner.store.versions() == [number_of(commit.root)]
        assert not refuses(ledger, promising=True)
        assert owner.lost == []


async def test_it_is_killed_and_its_successor_owner_erases_what_waited(
    kafka: str, server: tuple[Server, Cluster]
) -> None:
    bao, cluster = server
    async with Owner(1, kafka, cluster).opened() as owner:
        ledger = owner.ledger
        first, second = await owner.keep(b"a"), await owner.keep(b"b")
        await bao.kill()
        await until(lambda: refuses(ledger, promising=True))
        waiting = ledger.apply(Change({b"a": b"dead"}, erase=[first]))
        await ledger.barrier()
        opening = asyncio.create_task(_reopened(kafka, cluster))  # fences it, and waits for the store
        await until(lambda: owner.lost)
        assert waiting.exception() is not None
        assert not opening.done()
        await bao.start()
        rows, keys = await asyncio.wait_for(opening, WAIT_S)
    assert rows == {b"a": b"dead", b"b": b"living"}
    assert keys == [first, second]  # whose rows say what must die: see Book.unnamed


async def _reopened(kafka: str, cluster: Cluster) -> tuple[dict[bytes, bytes], list[tuple[bytes, bytes]]]:
    async with Owner(1, kafka, cluster).opened() as owner:
        pages = owner.ledger.pages
        return dict(owner.ledger.items()), [(page, e) for page, _ in pages.sizes() for e in pages.entries_of(page)]
