"""The rows of one partition as they are meant: typed, opened, and indexed in memory.

Bodies are sealed under the vault's keys, so a row whose key is dead is only its header. Record keys are random ids;
who belongs to whom is rebuilt here from the bodies at every opening, and stored nowhere.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import msgspec

from stream.agents.opened import Opened
from stream.agents.slices import Slices
from stream.errors import BrokenPromise, StoreUnavailable
from stream.events.rows import (
    AssetBody,
    AssetHead,
    AssetState,
    Glance,
    JobBody,
    JobHead,
    JobState,
    SubjectBody,
    SubjectHead,
    glance,
    rows,
)
from stream.ids import entry_of
from stream.ledger import OFFSETS_KEY, Change, Ledger, LedgerLost
from stream.vault.pages import KeyPages
from stream.vault.record import open_body, seal_body
from stream.vault.secret import Key

PARKED = b"parked/"
HIDDEN_AGAIN_S = 20.0  # what is hidden this long is announced again: an engine's release takes 10 s at most

_AT_REST = frozenset({AssetState.PENDING, AssetState.STORED, *(state for state in JobState if state.ended)})

B = TypeVar("B", bound=msgspec.Struct)
T = TypeVar("T")


class KeyMissing(BrokenPromise):
    """A row that should be readable has no key: it was erased by another path, or the tree is damaged."""

    kind: ClassVar[str] = "key-missing"


class LedgerTopicLost(StoreUnavailable):
    """Keys live, and the ledger is empty: whoever opened it would take all of them for what was to be erased."""

    kind: ClassVar[str] = "ledger-topic-lost"


@dataclass(slots=True, frozen=True)
class Job:
    """A job's row. `body` is None once it is content-free."""

    id: str
    head: JobHead
    body: JobBody | None


@dataclass(slots=True, frozen=True)
class Asset:
    """An asset's row. `body` is None once its key is dead."""

    id: str
    head: AssetHead
    body: AssetBody | None


@dataclass(slots=True, frozen=True)
class Subject:
    """A subject's row."""

    id: str
    head: SubjectHead
    body: SubjectBody


class Book:
    """Typed reads of a ledger's rows, typed writes into a Change, and the indexes of both."""

    def __init__(self, ledger: Ledger, pages: KeyPages, *, await_inputs_s: float) -> None:
        self.subjects: dict[tuple[str, str, str], str] = {}  # (tenant, app, name) → id
        self.of_subject: defaultdict[str, set[str]] = defaultdict(set)  # subject → ids of jobs and assets
        self.idempotent: dict[bytes, str] = {}
        self.active: dict[str, None] = {}  # jobs that have not ended, oldest first
        self.users: defaultdict[str, set[str]] = defaultdict(set)  # asset → jobs that have not ended and hold it
        self.hidden: dict[str, None] = {}  # assets whose holders must let go before their keys die
        self.dead: dict[str, None] = {}  # assets that await the sweeper, oldest first
        self.records: set[str] = set()  # assets without media: what is kept of a person besides
        self.held: set[str] = set()  # living assets over which a case was opened
        self.moved: dict[str, Job] = {}  # jobs written by the decision under way
        self.parked: dict[bytes, None] = {}  # rows of parked events, and of some that are gone meanwhile
        self._named: Counter[bytes] = Counter()  # page → living rows that name it, when the book was rebuilt
        self._ledger, self._pages, self._await_inputs_s = ledger, pages, await_inputs_s
        self._fresh: dict[bytes, bytes | None] = {}  # written by the decision under way, not yet applied
        self._opened = Opened[Job | Asset](pages)  # of what unfinished jobs hold
        self._held: dict[str, set[str]] = {}  # job → the assets by which `users` finds it
        self._due: list[tuple[float, bytes]] = []
        self._indexed: dict[bytes, float] = {}  # the deadline of each row in `_due` that still counts
        self._aside: deque[bytes] = deque()  # rows of dropped buckets, not told yet
        self._unopened: list[bytes] = []  # rows whose subject is not known yet
        self._complete = asyncio.Event()
        # What points to a row, to be undone once its key dies: plain values, since a million rows have them.
        self._subject_of: dict[str, str] = {}
        self._idempotency_of: dict[str, bytes] = {}
        self._name_of: dict[str, tuple[str, str, str]] = {}

    async def rebuild(self) -> None:
        """Index what must be known before anything is served, after a replay; `open_rest` does the rest beside it.

        Nothing else may change the rows meanwhile, but heartbeats must go on. Of assets at rest and ended jobs, nearly
        all of a large partition, only the header is glanced at here: 3 µs a row, where opening it takes six times that.
        """
        slices = Slices()
        for key, value in self._ledger.items():
            if slices.over():
                await self._others()
            row = glance(value)
            if row.page and row.state != AssetState.DEAD:
                self._named[row.page] += 1
            if row.state in _AT_REST and row.page:
                self._later(key, row)
            elif row.type == "asset":
                self._index_asset(self._read_asset(key.decode(), value))
            elif row.type == "job":
                self._index_job(self._read_job(key.decode(), value))
            elif row.type == "subject":
                self._index_subject(self._read_subject(key.decode(), value))
            elif row.type == "parked":
                self.index_due(row.due, key)

    async def open_rest(self) -> None:
        """Find out to whom assets at rest and ended jobs belong, beside all other work: who needs it waits for it."""
        slices = Slices()
        while self._unopened:
            if slices.over():
                await self._others()
            key = self._unopened.pop()
            if (value := self._ledger.get(key)) is None:
                continue
            header, _ = rows.decode(value)
            if isinstance(header, AssetHead):
                self._link_asset(self._read_asset(key.decode(), value))
            elif isinstance(header, JobHead):
                self._link_job(self._read_job(key.decode(), value))
        self._complete.set()

    async def complete(self) -> None:
        """Wait until everything that belongs to a subject is found by it."""
        await self._complete.wait()

    def unnamed(self) -> list[tuple[bytes, bytes]]:
        """(page, entry) of every key that no living row names, right after `rebuild`.

        A former owner committed their rows and did not live to erase them: it waited for the root store. Raises
        LedgerTopicLost where nothing is left that could name a key: then it is the rows that are missing.
        """
        odd = {page for page, size in self._pages.sizes() if size != self._named[page]}
        self._named.clear()
        if not odd:
            return []
        if self._ledger.get(OFFSETS_KEY) is None and next(iter(self._ledger.items()), None) is None:
            raise LedgerTopicLost(
                f"expected rows that name {self._pages.count()} keys, the ledger holds none: it was lost; bring it back"
                " (`mayfly restore`) before a worker opens it"
            )
        named = {
            entry_of(key.decode()) for key, value in self._ledger.items() if _page_named(rows.decode(value)[0]) in odd
        }
        return [(page, entry) for page in odd for entry in self._pages.entries_of(page) if entry not in named]

    # -- reading -------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job | None:
        """The job, or None: gone."""
        value = self._get(job_id)
        return None if value is None else self._read_job(job_id, value)

    def asset(self, asset_id: str) -> Asset | None:
        """The asset, or None: gone."""
        value = self._get(asset_id)
        return None if value is None else self._read_asset(asset_id, value)

    def subject(self, subject_id: str) -> Subject | None:
        """The subject, or None: gone."""
        value = self._get(subject_id)
        return None if value is None else self._read_subject(subject_id, value)

    def name_of(self, subject_id: str) -> tuple[str, str, str] | None:
        """(tenant, app, name) of a subject whose key lives."""
        return self._name_of.get(subject_id)

    def key(self, page: bytes, row_id: str) -> Key:
        """The key of a row. Raises KeyMissing."""
        key = self._pages.key(page, entry_of(row_id))
        if key is None:
            raise KeyMissing(f"expected a key for a live {row_id[:3]} row, found none")
        return key

    def assets_of(self, job: Job) -> Iterator[Asset]:
        """Inputs, features and results, as far as they exist."""
        if job.body is not None:
            for asset_id in (*job.body.inputs, *job.body.features, *job.body.results):
                if (asset := self.asset(asset_id)) is not None:
                    yield asset

    # -- writing -------------------------------------------------------------------------------------------------

    def new_key(self, group: str, bucket: bytes, row_id: str) -> tuple[bytes, Key]:
        """(page, key) for a new row; usable once its commit is acknowledged."""
        return self._pages.new_key(group.encode(), bucket, entry_of(row_id))

    def put_job(self, change: Change, job: Job) -> Job:
        """Write a job's row; without a body it becomes content-free."""
        value = rows.encode(job.head, self._seal(job.id, job.head.page, job.body))
        self._write(change, job.id, value)
        self._index_job(job)
        self._keep_job(job, value)
        self.moved[job.id] = job
        return job

    def put_asset(self, change: Change, asset: Asset) -> Asset:
        """Write an asset's row."""
        value = rows.encode(asset.head, self._seal(asset.id, asset.head.page, asset.body))
        self._write(change, asset.id, value)
        self._index_asset(asset)
        self._keep_asset(asset, value)
        return asset

    def put_subject(self, change: Change, subject: Subject) -> Subject:
        """Write a subject's row."""
        sealed = self._seal(subject.id, subject.head.page, subject.body)
        self._write(change, subject.id, rows.encode(subject.head, sealed))
        self._index_subject(subject)
        return subject

    def bury(self, change: Change, row_id: str) -> None:
        """Tombstone a row, and forget all that points to it."""
        self._write(change, row_id, None)
        self._ended(row_id)
        self.dead.pop(row_id, None)
        self._indexed.pop(row_id.encode(), None)
        self.detach(row_id)

    def detach(self, row_id: str) -> None:
        """This row no longer belongs to anybody: its key is dying."""
        self._opened.forget(row_id)
        self.records.discard(row_id)
        if (subject_id := self._subject_of.pop(row_id, None)) is not None:
            self.of_subject[subject_id].discard(row_id)
        if (digest := self._idempotency_of.pop(row_id, None)) is not None:
            self.idempotent.pop(digest, None)
        if (name := self._name_of.pop(row_id, None)) is not None:
            self.subjects.pop(name, None)

    def close(self) -> None:
        """Nothing is read here any more: let go of what was opened."""
        self._opened.clear()

    def discard(self) -> None:
        """The decision under way is applied, or failed: its writes are in the ledger now, or nowhere."""
        self._fresh.clear()
        self.moved.clear()

    # -- what comes due ------------------------------------------------------------------------------------------

    def index_due(self, due: float, key: bytes) -> None:
        """This row has something to do at `due`."""
        if key.startswith(PARKED):
            self.parked[key] = None
        if self._indexed.get(key) != due:
            self._indexed[key] = due
            heapq.heappush(self._due, (due, key))

    def next_due(self) -> float | None:
        """When the next row comes due."""
        while self._due and self._indexed.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)  # rewritten with another deadline, or gone
        return self._due[0][0] if self._due else None

    def take_due(self, now: float, limit: int) -> list[bytes]:
        """Row keys whose moment has come, at most `limit`; each is returned once, until it is indexed again."""
        taken: list[bytes] = []
        while len(taken) < limit and (due := self.next_due()) is not None and due <= now:
            taken.append(heapq.heappop(self._due)[1])
            del self._indexed[taken[-1]]
        return taken

    def take(self, row_ids: Iterable[str], now: float) -> list[bytes]:
        """Of these rows, the keys of those whose moment has come, as `take_due` returns them."""
        keys = [key for row_id in row_ids if self._indexed.get(key := row_id.encode(), math.inf) <= now]
        for key in keys:
            del self._indexed[key]
        return keys

    def put_aside(self, key: bytes) -> None:
        """Of this row nothing can be read any more, or will be in a moment: it waits until all else is done."""
        self._aside.append(key)

    def take_aside(self, limit: int) -> list[bytes]:
        """At most `limit` of the rows put aside."""
        return [self._aside.popleft() for _ in range(min(limit, len(self._aside)))]

    @property
    def aside(self) -> int:
        """How many rows are put aside."""
        return len(self._aside)

    def page_of(self, key: bytes) -> bytes:
        """The page that a row's header names; empty where it names none."""
        value = self._ledger.get(key)
        return b"" if value is None else glance(value).page

    # -- inside --------------------------------------------------------------------------------------------------

    async def _others(self) -> None:
        """Let others have a turn. Raises LedgerLost: rows whose keys were wiped would look like rows without one."""
        await asyncio.sleep(0)
        if self._ledger.lost is not None:
            raise LedgerLost("expected to own the partition until its rows are indexed; another may own it now")

    def _get(self, row_id: str) -> bytes | None:
        key = row_id.encode()
        return self._fresh[key] if key in self._fresh else self._ledger.get(key)

    def _write(self, change: Change, row_id: str, value: bytes | None) -> None:
        key = row_id.encode()
        change.rows[key] = self._fresh[key] = value

    def _seal(self, row_id: str, page: bytes, body: msgspec.Struct | None) -> bytes:
        if body is None:
            return b""
        key = self.key(page, row_id)
        try:
            return seal_body(key, msgspec.msgpack.encode(body), row_id.encode())
        finally:
            key.wipe()

    def _open(self, row_id: str, page: bytes, sealed: bytes, body: type[B]) -> B | None:
        key = self._pages.key(page, entry_of(row_id)) if sealed else None
        if key is None:
            return None
        try:
            return msgspec.msgpack.decode(open_body(key, sealed, row_id.encode()), type=body)
        finally:
            key.wipe()

    def _read_job(self, job_id: str, value: bytes) -> Job:
        if isinstance(known := self._opened.get(job_id, value), Job):
            return known
        head, sealed = rows.decode(value)
        assert isinstance(head, JobHead)
        job = Job(job_id, head, self._open(job_id, head.page, sealed, JobBody))
        self._keep_job(job, value)
        return job

    def _read_asset(self, asset_id: str, value: bytes) -> Asset:
        if isinstance(known := self._opened.get(asset_id, value), Asset):
            return known
        head, sealed = rows.decode(value)
        assert isinstance(head, AssetHead)
        asset = Asset(asset_id, head, self._open(asset_id, head.page, sealed, AssetBody))
        self._keep_asset(asset, value)
        return asset

    def _keep_job(self, job: Job, value: bytes) -> None:
        if job.body is not None and job.id in self.active:
            self._opened.keep(job.id, value, job.head.page, job)

    def _keep_asset(self, asset: Asset, value: bytes) -> None:
        if asset.body is not None and asset.id in self.users:
            self._opened.keep(asset.id, value, asset.head.page, asset)

    def _read_subject(self, subject_id: str, value: bytes) -> Subject:
        head, sealed = rows.decode(value)
        assert isinstance(head, SubjectHead)
        body = self._open(subject_id, head.page, sealed, SubjectBody)
        if body is None:
            raise KeyMissing("expected a key for a subject's row, found none")
        return Subject(subject_id, head, body)

    def _later(self, key: bytes, row: Glance) -> None:
        if self._pages.place_of(row.page) is None:  # it was dropped, and its rows are not told yet
            self.put_aside(key)
        else:
            self.index_due(row.due, key)
            self._unopened.append(key)
            if row.hold:
                self.held.add(key.decode())

    def _index_job(self, job: Job) -> None:
        if job.head.state.ended:
            self._ended(job.id)
        else:
            self.active[job.id] = None
            self._holds(job)
        waits = job.head.state is JobState.AWAITING
        due = min(job.head.due, job.head.created_at + self._await_inputs_s) if waits else job.head.due
        self.index_due(due, job.id.encode())
        self._link_job(job)

    def _link_job(self, job: Job) -> None:
        if job.body is not None and job.id not in self._subject_of:
            self._belongs(job.body.subject, job.id)
            if (digest := job.body.idempotency) and digest not in self.idempotent:
                self.idempotent[digest] = job.id
                self._idempotency_of[job.id] = digest

    def _holds(self, job: Job) -> None:
        held = {*job.body.inputs, *job.body.features, *job.body.results} if job.body is not None else set()
        self._holds_no_more(job.id, self._held.get(job.id, set()) - held)
        for asset_id in held:
            self.users[asset_id].add(job.id)
        self._held[job.id] = held

    def _holds_no_more(self, job_id: str, asset_ids: set[str]) -> None:
        for asset_id in asset_ids:
            self.users[asset_id].discard(job_id)
            if not self.users[asset_id]:
                del self.users[asset_id]
                self._opened.forget(asset_id)

    def _ended(self, job_id: str) -> None:
        self.active.pop(job_id, None)
        self._opened.forget(job_id)
        self._holds_no_more(job_id, self._held.pop(job_id, set()))

    def _index_asset(self, asset: Asset) -> None:
        key, state = asset.id.encode(), asset.head.state
        self._index_hold(asset.id, asset.head)
        if state is AssetState.DEAD:
            self.hidden.pop(asset.id, None)
            self.dead[asset.id] = None
            self._indexed.pop(key, None)
        elif state is AssetState.HIDDEN:
            self.hidden[asset.id] = None
            self.index_due(asset.head.hidden_at + HIDDEN_AGAIN_S, key)
        elif state is AssetState.HELD:
            self.index_due(asset.head.hold_until, key)
        else:
            self.index_due(asset.head.due, key)
        self._link_asset(asset)

    def _index_hold(self, asset_id: str, head: AssetHead) -> None:
        (self.held.add if head.hold and head.state is not AssetState.DEAD else self.held.discard)(asset_id)

    def _link_asset(self, asset: Asset) -> None:
        if asset.body is not None and asset.body.record:
            self.records.add(asset.id)
        if asset.body is not None and asset.id not in self._subject_of:
            self._belongs(asset.body.subject, asset.id)

    def _index_subject(self, subject: Subject) -> None:
        if subject.id not in self._name_of:
            name = subject.body.tenant, subject.head.app, subject.body.name
            self.subjects[name] = subject.id
            self._name_of[subject.id] = name

    def _belongs(self, subject_id: str, row_id: str) -> None:
        self.of_subject[subject_id].add(row_id)
        self._subject_of[row_id] = subject_id


def _page_named(header: object) -> bytes:
    """The page in which this row has a living key, if it has one."""
    dead = getattr(header, "state", None) is AssetState.DEAD
    return b"" if dead else getattr(header, "page", b"")


def batched(items: list[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`, in order."""
    return (items[at : at + size] for at in range(0, len(items), size))
