"""Bring a backup of the ledger, and of S3, back to a deployment whose `keys` topic lives. Owners must be stopped.

Each partition is opened as an owner opens it, which fences any owner there is: the decisions are stream.agents.restore,
one erasing commit takes the keys that no row comes back for, then the rows follow. Objects come last.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from aiokafka.admin import AIOKafkaAdminClient

from services import backup
from services.clock_topic import follow_clock
from services.roots import root_stores
from services.settings import Settings
from services.topic_follow import read_whole
from services.topic_plan import topics_of
from stream import topics
from stream.agents import restore
from stream.agents.book import batched
from stream.audit.log import Entry, Log
from stream.audit.signer import open_signer
from stream.clock import Clock, DemoClock, RealClock
from stream.errors import BadRequest
from stream.events.bus import ExpireDue, bus
from stream.events.rows import AssetHead, AssetState, rows
from stream.ledger import Change, Ledger
from stream.vault.courier import Courier
from stream.vault.custody import S3Custody
from stream.vault.pages import KeyPages, KeysTopicLost

ROWS_PER_COMMIT = 1000
CHUNK_BYTES = 1 << 20
_OURS = re.compile(r"[0-9a-f]{32}")  # the names that owners give; others in the bucket are not ours to delete


class OwnersRunning(BadRequest):
    """A worker owns partitions: it would be fenced, and what it does meanwhile would be lost."""

    kind: ClassVar[str] = "owners-running"


class LedgerNotEmpty(BadRequest):
    """The partition has rows; they are replaced only where that is said."""

    kind: ClassVar[str] = "ledger-not-empty"


class Dropped(msgspec.Struct, frozen=True):
    """So many rows of one kind that do not come back, and why."""

    kind: str
    app: str
    data_class: str
    why: str
    count: int


class Kept(msgspec.Struct, frozen=True):
    """So many rows of one kind that come back."""

    kind: str
    app: str
    data_class: str
    count: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore did, or with `dry_run` would do. Counts only: no id of anybody or anything."""

    dry_run: bool
    backup_taken_at: float
    restored_at: float
    rows_in_backup: int
    rows_replaced: int  # that the ledger held before
    kept: tuple[Kept, ...]
    dropped: tuple[Dropped, ...]
    jobs_failed: int  # under way when the backup was made
    consents_withdrawn: int
    keys_erased: int
    keys_without_row: int  # of them: of what is younger than the backup
    erased_without_receipt: int  # rows dropped as erased, for which the log has no receipt under the backup's promise
    receipts_without_absence: int  # in the log; those whose rows are known are completed by the sweeper
    objects_put_back: int
    objects_deleted: int


async def run(settings: Settings, folder: Path, *, replace: bool, dry_run: bool) -> Report:
    """Restore, or say what a restore would do. Raises what says why not; then nothing was written.

    Except where a store fails half-way (StoreUnavailable, LostLease): run it again with `replace` before any worker.
    """
    manifest = backup.manifest_of(folder, settings)
    backup.check(folder, manifest)
    await _no_owners(settings)
    await _ledger_topic(settings)
    async with backup.custody_of(settings) as custody, Courier() as courier, _clock(settings) as clock:
        await custody.ensure_bucket()
        there, copies = frozenset(await custody.names()), backup.objects_of(folder)

        async def each(*, replace: bool, write: bool) -> list[_Partition]:
            """One after the other: the rows of all would not fit the memory of a machine."""
            done = []
            for n, part in enumerate(manifest.parts):
                found = backup.rows_of(folder, n, part)
                one = _Partition(settings, n, KeyPages(n, roots(n)), clock=clock, objects=there | copies)
                async with one:
                    await one.decide(found, replace=replace)
                    if write:
                        await one.write()
                    one.forget()
                done.append(one)
            return done

        with root_stores(settings) as roots:
            work = await each(replace=replace, write=False)  # all are looked at before any is written
            if not dry_run:
                work = await each(replace=True, write=True)
        kept = {name for one in work for name in one.plan.objects}
        back = sorted((kept - there) & copies)
        gone = sorted(name for name in there - kept if _OURS.fullmatch(name))
        if not dry_run:
            for name in back:
                await _put(custody, courier, name, folder / backup.OBJECTS / name)
            await custody.delete(gone)
            gone = sorted(set(gone) - set(await custody.remaining(gone)))
        return _report(work, manifest, clock.now(), len(back), len(gone), dry_run=dry_run)


class _Partition:
    """One partition, open for as long as it is being restored."""

    def __init__(
        self,
        settings: Settings,
        number: int,
        pages: KeyPages,
        *,
        clock: Clock,
        objects: frozenset[str],
    ) -> None:
        self.number, self.plan = number, restore.Plan()
        self.replaced = self.incomplete = self.keys_erased = 0
        self._settings, self._clock, self._objects = settings, clock, objects
        self._pages = pages
        self._ledger = Ledger(number, pages, bootstrap=settings.kafka, observe=clock.observe)
        self._log = Log(number, open_signer(Path(settings.state_dir) / "signing"))

    async def __aenter__(self) -> None:
        for leaf in (await self._ledger.open()).audit:
            self._log.replay(msgspec.msgpack.decode(leaf, type=Entry))

    async def __aexit__(self, *_exc: object) -> None:
        await self._ledger.close()

    async def decide(self, found: dict[bytes, bytes], *, replace: bool) -> None:
        present = dict(self._ledger.items())
        if present and not replace:
            raise LedgerNotEmpty(
                f"expected partition {self.number} of the ledger to be empty, found {len(present)} rows:"
                " say --replace to put the backup in their place"
            )
        self.replaced, self.incomplete = len(present), len(self._log.incomplete())
        now = restore.Now(
            page_of=self._pages.census(),
            announced=await self._announced() | _going(present),
            objects=self._objects,
            at=self._clock.now(),
            content_free_s=self._settings.content_free_s,
        )
        # In a thread: the ledger's heartbeats must go on, and nothing changes the tree meanwhile.
        self.plan = await asyncio.to_thread(restore.plan, found, self._pages, self._log, now)

    def forget(self) -> None:
        """Keep what is reported, and the names of objects."""
        self.keys_erased = len(self.plan.erase)
        self.plan.rows, self.plan.erase = {}, []
        del self._log, self._pages

    async def write(self) -> None:
        await self._ledger.apply(Change(erase=self.plan.erase))
        stale: dict[bytes, bytes | None] = {key: None for key, _ in self._ledger.items() if key not in self.plan.rows}
        for some in batched([*stale.items(), *self.plan.rows.items()], ROWS_PER_COMMIT):
            await self._ledger.apply(Change(rows=dict(some)))

    async def _announced(self) -> frozenset[str]:
        """What `expire.due` named within the topic's retention: to erase it twice is no mistake."""
        named: set[str] = set()

        def apply(_key: bytes, value: bytes | None) -> None:
            with contextlib.suppress(msgspec.MsgspecError, ValueError):  # what cannot be decoded is parked by its agent
                event, _ = bus.decode(value or b"")
                if isinstance(event, ExpireDue):
                    named.update(event.assets)

        await read_whole(self._settings.kafka, topics.EXPIRE, apply, partition=self.number)
        return frozenset(named)


def _going(present: dict[bytes, bytes]) -> frozenset[str]:
    """What the ledger that is replaced knows to be hidden or dead."""
    gone = {AssetState.HIDDEN, AssetState.DEAD}
    heads = ((key, rows.decode(value)[0]) for key, value in present.items())
    return frozenset(key.decode() for key, head in heads if isinstance(head, AssetHead) and head.state in gone)


async def _no_owners(settings: Settings) -> None:
    """Raises OwnersRunning while the workers' group has a member."""
    async with _admin(settings) as admin:
        for answer in await admin.describe_consumer_groups([topics.GROUP]):
            for group in answer.groups:
                if members := len(group[5]):
                    raise OwnersRunning(
                        f"expected no worker to run, found {members}: stop them all and wait for 6 s, after which"
                        " their group has forgotten those that were killed"
                    )


async def _ledger_topic(settings: Settings) -> None:
    """Make what is missing, as safe as `keys` is; `keys` itself is never made here. Raises KeysTopicLost."""
    async with _admin(settings) as admin:
        if topics.KEYS not in await admin.list_topics():
            raise KeysTopicLost("expected the topic `keys`, found none: without it no row can be opened, by design")
        (keys,) = await admin.describe_topics([topics.KEYS])
    replication = len(keys["partitions"][0]["replicas"])
    await topics.create(settings.kafka, topics_of(settings), partitions=settings.partitions, replication=replication)


@contextlib.asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def _clock(settings: Settings) -> AsyncIterator[Clock]:
    if not settings.demo_clock:
        yield RealClock()
        return
    demo = DemoClock()
    async with follow_clock(settings.kafka, demo):
        yield demo


async def _put(custody: S3Custody, courier: Courier, name: str, path: Path) -> None:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        size = os.fstat(file.fileno()).st_size

        async def chunks() -> AsyncIterator[bytes]:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

        await courier.put_stream(custody.put_url(name, backup.URL_S), size, chunks())
    finally:
        file.close()


def _report(work: list[_Partition], manifest: backup.Manifest, at: float, back: int, gone: int, **more: Any) -> Report:
    plans = [one.plan for one in work]
    kept = sum((plan.kept for plan in plans), Counter())
    dropped = sum((plan.dropped for plan in plans), Counter())
    return Report(
        backup_taken_at=manifest.taken_at,
        restored_at=at,
        rows_in_backup=sum(part.rows for part in manifest.parts),
        rows_replaced=sum(one.replaced for one in work),
        kept=tuple(Kept(*what, count) for what, count in sorted(kept.items())),
        dropped=tuple(Dropped(*what, count) for what, count in sorted(dropped.items())),
        jobs_failed=sum(plan.jobs_failed for plan in plans),
        consents_withdrawn=sum(plan.consents_withdrawn for plan in plans),
        keys_erased=sum(one.keys_erased for one in work),
        keys_without_row=sum(plan.keys_without_row for plan in plans),
        erased_without_receipt=sum(plan.erased_without_receipt for plan in plans),
        receipts_without_absence=sum(one.incomplete for one in work),
        objects_put_back=back,
        objects_deleted=gone,
        **more,
    )
