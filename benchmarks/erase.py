"""How soon masses are unreadable, and whether an attacker who kept every record can open any of them.

    python -m benchmarks.erase [--assets 1000000] [--root-store file|openbao]

One owner, opened as a worker opens it (ledger, key tree, audit log, retention, sweeper), holds assets of
`ASSETS_PER_SUBJECT` a subject in a real Kafka. What Faust would deliver is read from the topic `expire` and decided by
its agent's function. An attacker copies every record that is ever written to `keys`. The last line is one JSON object:

- `deadline_unreadable_s`: from the moment when all assets come due until no copy opens any of them;
- `subjects_unreadable_s`: from 1,000 requests to delete a random subject until all of theirs is unreadable;
- `single_unreadable_s`: the same of one asset, median of 20;
- `gone_s`: from the deadline to every row's tombstone, with object deletion stubbed;
- `gone_s3_s`: the same of `S3_ASSETS` assets, with their objects in the real store;
- `sampled_open`: of 1,000 erased assets, how many keys the attacker finds with every record and the root store as it
  is afterwards; `control_open`: the same with the root key of before the erasures (must be all of them);
- `reopen_s`: from nothing to serving all assets; `indexed_s`: to knowing which belong to whom, for which a deletion of
  a subject waits; `bytes_each`: of the worker's memory, for a live asset.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.local.stack import LocalStack
from services.roots import root_stores
from services.settings import RootStoreName, Settings
from services.worker import Wiring, open_estate, rules_of
from stream import topics
from stream.agents import api, assets, jobs, owner, retention
from stream.agents.book import Asset
from stream.agents.dispatch import Dispatcher
from stream.agents.estate import Estate, Tools
from stream.clock import DemoClock
from stream.events.bus import ExpireDue, bus
from stream.events.rows import AssetBody, AssetHead, AssetState, rows
from stream.ids import Mint, entry_of
from stream.ledger import Change
from stream.metrics.tally import Ask, Share
from stream.policies import compiler
from stream.policies.vocabulary import Clock
from stream.vault.courier import Courier
from stream.vault.custody import S3Custody
from stream.vault.keynode import ROOT, DamagedTree, Level, unseal
from stream.vault.keytree import wrapped_root
from stream.vault.rootstore import RootGone, RootStore

APP, TENANT = "genzo", "tenant"
ASSETS_PER_SUBJECT = 10
PER_CHANGE = 500
SUBJECTS = 1000
SINGLES = 20
SAMPLED = 1000
S3_ASSETS = 2000
OBJECT_BYTES = 4096
PARTITIONS = 2
MASS, SMALL = range(PARTITIONS)
POLL_S = 0.005


def say(words: str) -> None:
    """Progress, for whoever waits."""
    print(words, file=sys.stderr, flush=True)


class NoObjects:
    """The stub of object deletion."""

    async def delete(self, names: Iterable[str]) -> None:
        """Nothing was ever stored."""

    async def remaining(self, _names: Iterable[str]) -> list[str]:
        """Nothing is there."""
        return []


@dataclass(slots=True)
class Attacker:
    """Keeps every record of the partition's `keys`, as a segment, a replica or a backup would."""

    partition: int
    records: dict[bytes, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    async def follow(self, kafka: str, until: asyncio.Event) -> None:
        """Copy what is written until told otherwise, aborted transactions too; then to the end."""
        tp = TopicPartition(topics.KEYS, self.partition)
        async with AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False) as reader:
            reader.assign([tp])
            reader.seek(tp, 0)
            while True:
                stopping = until.is_set()
                end = (await reader.end_offsets([tp]))[tp]
                for found in (await reader.getmany(tp, timeout_ms=100, max_records=5000)).values():
                    for record in found:
                        if record.value:
                            self.records[record.key].append(record.value)
                if stopping and await reader.position(tp) >= end:
                    return

    async def opens(self, unwrap: Callable[[bytes], Awaitable[bytes]]) -> set[bytes]:
        """Every entry whose key can be found by any chain of records, from any root that still unwraps."""
        keys: dict[bytes, set[bytes]] = defaultdict(set)
        for record in self.records.get(ROOT, ()):
            with contextlib.suppress(RootGone, DamagedTree):
                keys[ROOT].add(await unwrap(wrapped_root({ROOT: record})))
        place = f"keys/{self.partition}".encode()
        entries: set[bytes] = set()
        todo = [(ROOT, key) for key in keys[ROOT]]
        while todo:
            node_id, key = todo.pop()
            for record in self.records.get(node_id, ()):
                try:
                    node = unseal(node_id, key, record, place)
                except DamagedTree:
                    continue
                for entry, child in node.entries():
                    if node.level == Level.LEAF:
                        entries.add(entry)
                    elif child not in keys[entry]:
                        keys[entry].add(child)
                        todo.append((entry, child))
        return entries


class Leaked:
    """The control: a root store that would have kept the root key of this moment."""

    def __init__(self, estate: Estate) -> None:
        tree = estate.pages._tree  # noqa: SLF001 - nothing gives out what must not leave
        self._wrapped, self._key = tree.wrapped, bytes(tree._root.key)  # noqa: SLF001

    async def unwrap(self, wrapped: bytes) -> bytes:
        """That key, and no other."""
        if wrapped != self._wrapped:
            raise RootGone("expected the root of before the erasures")
        return self._key


class Bench:
    """The owner under test, and its clock."""

    def __init__(self, settings: Settings, roots: Callable[[int], RootStore]) -> None:
        self.settings, self.roots, self.clock = settings, roots, DemoClock()
        self.made_at = self.clock.now()  # of all assets, so that they share a bucket
        self.mint = Mint(bytes.fromhex(settings.secret), settings.partitions)

    @contextlib.asynccontextmanager
    async def estate(self, partition: int, custody: object) -> AsyncIterator[Estate]:
        """An open estate, with the expire agent's work done."""
        tools = Tools(
            clock=self.clock,
            mint=self.mint,
            policies=compiler.load_all(""),
            available={},
            custody=custody,  # type: ignore[arg-type]
            rules=rules_of(self.settings),
            real_time=time.time,
            end=lambda: None,
        )

        async def gateway(_url: str, _grant: str) -> bool:
            return True  # nobody reads

        async def counts(_ask: Ask) -> list[Share]:
            return []  # nobody publishes

        dispatcher = Dispatcher(None, "bench", owner=lambda _: None, pool=str, cost_s=lambda *_: 1.0)  # type: ignore[arg-type]
        wiring = Wiring(self.settings, "127.0.0.1:0", tools, self.roots, gateway, counts, dispatcher)
        lost: list[BaseException] = []
        estate = await open_estate(wiring, partition, lambda _, error: lost.append(error))
        agent = asyncio.create_task(self._expire(estate))
        try:
            yield estate
        finally:
            agent.cancel()
            await asyncio.gather(agent, return_exceptions=True)
            await estate.close()
            if lost:
                raise lost[0]

    async def _expire(self, estate: Estate) -> None:
        tp = TopicPartition(topics.EXPIRE, estate.partition)
        async with AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka, isolation_level="read_committed", enable_auto_commit=False
        ) as reader:
            reader.assign([tp])
            reader.seek(tp, estate.ledger.applied(topics.EXPIRE))
            async for record in reader:
                event, sealed = bus.decode(record.value)
                change = retention.expire_due(estate, event, sealed) if isinstance(event, ExpireDue) else Change()
                change.consumed = (topics.EXPIRE, record.offset)
                estate.commit(change)

    async def fill(self, estate: Estate, count: int) -> list[tuple[str, list[str]]]:
        """`count` stored assets, ten a subject: (name of the subject, ids)."""
        made: list[tuple[str, list[str]]] = []
        pending: list[asyncio.Future[object]] = []
        subjects = count // ASSETS_PER_SUBJECT
        for first in range(0, subjects, PER_CHANGE // ASSETS_PER_SUBJECT):
            change, last = Change(), min(first + PER_CHANGE // ASSETS_PER_SUBJECT, subjects)
            made += [self._subject(estate, change, f"user-{n}") for n in range(first, last)]
            pending.append(estate.commit(change))  # type: ignore[arg-type]
            if len(pending) >= 8:
                await pending.pop(0)
            await asyncio.sleep(0)
        await asyncio.gather(*pending)
        return made

    def _subject(self, estate: Estate, change: Change, name: str) -> tuple[str, list[str]]:
        subject = jobs.subject(estate, change, tenant=TENANT, app=APP, name=name)
        ids = []
        for n in range(ASSETS_PER_SUBJECT):
            body = AssetBody(tenant=TENANT, subject=subject.id, salt=assets.salt(), choice="save", has_face=True)
            asset, key = assets.make(
                estate,
                change,
                app=APP,
                data_class="face_image",
                job=_JOB,
                role="input",
                n=n,
                body=body,
                clocks={Clock.UPLOAD_RECEIVED: self.made_at},
            )
            key.wipe()
            head = msgspec.structs.replace(asset.head, state=AssetState.STORED)
            estate.book.put_asset(change, Asset(asset.id, head, body))
            ids.append(asset.id)
        return name, ids


_JOB = "job_" + "a" * 42


async def until(true: Callable[[], bool]) -> float:
    """Wait; the moment."""
    while not true():
        await asyncio.sleep(POLL_S)
    return time.perf_counter()


def certified(estate: Estate, ids: Iterable[str]) -> Callable[[], bool]:
    """Whether a receipt says of each of these that it is unreadable."""
    left = list(ids)

    def look() -> bool:
        while left:
            value = estate.ledger.get(left[-1].encode())
            if value is not None and rows.decode(value)[0].receipt < 0:  # type: ignore[union-attr]
                return False
            left.pop()
        return True

    return look


def rss() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def single(estate: Estate, asset_id: str) -> float:
    """Seconds from a request to delete one asset until it is unreadable."""
    began = time.perf_counter()
    await owner.delete_asset(estate, api.DeleteAsset(TENANT, APP, asset_id))
    return await until(certified(estate, [asset_id])) - began


async def several(estate: Estate, made: list[tuple[str, list[str]]]) -> float:
    """Seconds from as many requests to delete a subject until all of theirs is unreadable."""
    began = time.perf_counter()
    await asyncio.gather(*(owner.delete_subject(estate, api.DeleteSubject(TENANT, APP, name)) for name, _ in made))
    return await until(certified(estate, [asset_id for _, ids in made for asset_id in ids])) - began


async def deadline(bench: Bench, estate: Estate, asset_id: str) -> float:
    """Seconds from the moment when all that is left comes due until it is unreadable."""
    head = rows.decode(estate.ledger.get(asset_id.encode()))[0]
    assert isinstance(head, AssetHead)
    bench.clock.shift_to(head.due - time.time() + 0.001)
    began = time.perf_counter()
    return await until(lambda: estate.drops.of(head.page) is not None) - began


async def mass(bench: Bench, count: int) -> dict[str, object]:
    """All but the real store."""
    attacker, stop, empty_bytes = Attacker(MASS), asyncio.Event(), rss()
    copying = asyncio.create_task(attacker.follow(bench.settings.kafka, stop))
    say(f"filling a partition with {count:,} assets")
    async with bench.estate(MASS, NoObjects()) as estate:
        began = time.perf_counter()
        made = await bench.fill(estate, count)
        say(f"{count / (time.perf_counter() - began):,.0f} assets/s")
    del estate
    random.shuffle(made)
    alone, chosen, rest = made[:SINGLES], made[SINGLES : SINGLES + SUBJECTS], made[SINGLES + SUBJECTS :]
    began = time.perf_counter()
    async with bench.estate(MASS, NoObjects()) as estate:
        reopen_s, bytes_each = time.perf_counter() - began, (rss() - empty_bytes) / count
        await estate.book.complete()
        indexed_s = time.perf_counter() - began
        say(f"reopened in {reopen_s:.1f} s, indexed in {indexed_s:.1f} s; {bytes_each:,.0f} B an asset")
        before = Leaked(estate)
        single_s = statistics.median([await single(estate, ids[0]) for _, ids in alone])
        subjects_s = await several(estate, chosen)
        say(f"one: {single_s:.3f} s; {len(chosen):,} subjects: {subjects_s:.2f} s")
        await until(lambda: not estate.book.dead)
        deadline_s = await deadline(bench, estate, rest[0][1][0])
        began = time.perf_counter() - deadline_s
        say(f"the deadline: {deadline_s:.3f} s")
        stop.set()
        await copying
        erased = [ids[0] for _, ids in alone] + [ids[0] for _, ids in random.sample(chosen, SAMPLED // 2)]
        erased += [random.choice(ids) for _, ids in random.sample(rest, SAMPLED - len(erased))]
        entries = {entry_of(asset_id) for asset_id in erased}
        opened = entries & await attacker.opens(bench.roots(MASS).unwrap)
        control = entries & await attacker.opens(before.unwrap)
        say(f"of {len(entries):,} erased, {len(opened)} open; {len(control)} by the control")
        gone_s = await until(lambda: not estate.book.dead and retention.next_due(estate) is None) - began
    return {
        "deadline_unreadable_s": round(deadline_s, 3),
        "subjects_unreadable_s": round(subjects_s, 3),
        "single_unreadable_s": round(single_s, 3),
        "gone_s": round(gone_s, 1),
        "sampled_open": len(opened),
        "control_open": len(control),
        "reopen_s": round(reopen_s, 2),
        "indexed_s": round(indexed_s, 2),
        "bytes_each": round(bytes_each),
    }


async def small(bench: Bench) -> dict[str, object]:
    """A deadline's objects in the real store: from the deadline until every one was looked for and is not there."""
    settings = bench.settings
    async with (
        S3Custody(settings.s3_url, settings.s3_access_key, settings.s3_secret_key, settings.bucket) as custody,
        bench.estate(SMALL, custody) as estate,
    ):
        bench.made_at = bench.clock.now()
        made = [asset_id for _, ids in await bench.fill(estate, S3_ASSETS) for asset_id in ids]
        heads = [estate.book.asset(asset_id).head for asset_id in made]  # type: ignore[union-attr]
        urls = [custody.put_url(head.object, 600) for head in heads]
        async with Courier() as courier, asyncio.TaskGroup() as group:
            limit = asyncio.Semaphore(16)
            for url in urls:
                group.create_task(_put(courier, limit, url))
        assert len(await custody.remaining(head.object for head in heads)) == S3_ASSETS
        bench.clock.shift_to(heads[0].due - time.time() + 0.001)
        began = time.perf_counter()
        gone_s = await until(lambda: not estate.book.dead and retention.next_due(estate) is None) - began
        assert not await custody.remaining(head.object for head in heads)
    return {"gone_s3_s": round(gone_s, 2)}


async def _put(courier: Courier, limit: asyncio.Semaphore, url: str) -> None:
    async def once() -> AsyncIterator[bytes]:
        yield _OBJECT

    async with limit:
        await courier.put_stream(url, len(_OBJECT), once())


_OBJECT = os.urandom(OBJECT_BYTES)


async def main() -> None:
    """Boot the stack, bench, close it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.erase")
    parser.add_argument("--assets", type=int, default=1_000_000)
    parser.add_argument("--root-store", default="file", choices=list(RootStoreName))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mayfly-bench-") as folder:
        say("booting the stack")
        async with LocalStack(Path(folder) / "run") as stack:
            await topics.create(stack.endpoints.kafka, topics.plan(3600, 3600), partitions=PARTITIONS)
            settings = Settings(
                kafka=stack.endpoints.kafka,
                s3_url=stack.endpoints.s3_url,
                s3_access_key=stack.endpoints.s3_access_key,
                s3_secret_key=stack.endpoints.s3_secret_key,
                bucket=stack.endpoints.bucket,
                secret=secrets.token_hex(32),
                internal_token="",
                state_dir=str(Path(folder) / "state"),
                partitions=PARTITIONS,
                root_store=RootStoreName(asked.root_store),
            )
            if settings.root_store is RootStoreName.OPENBAO:
                cluster = await (await stack.openbao()).cluster()
                settings = msgspec.structs.replace(
                    settings,
                    openbao_url=cluster.url,
                    openbao_mount=cluster.mount,
                    openbao_token_path=cluster.token_path,
                )
            with root_stores(settings) as roots:
                bench = Bench(settings, roots)
                found = await mass(bench, asked.assets) | await small(bench)
    print(json.dumps({"root_store": asked.root_store, "kafka": True, "assets": asked.assets} | found))


if __name__ == "__main__":
    uvloop.run(main())
