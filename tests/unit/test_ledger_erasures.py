"""The root store is down, slow or wrong: all else goes on, erasures wait, nothing is told too early. No broker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from stream import topics
from stream.agents.book import Asset, Book, LedgerTopicLost, Subject
from stream.events.rows import AssetBody, AssetHead, AssetState, SubjectBody, SubjectHead
from stream.ids import Kind, Mint, entry_of
from stream.ledger import HEARTBEAT_KEY, SELF_LEASE_S, Change, Commit, Ledger, LedgerLost
from stream.vault.pages import KeyPages
from stream.vault.rootstore import RootStoreUnavailable, Why
from tests.contract.rootstore_double import Switch, SwitchedRootStore
from tests.simulated.clients import plug
from tests.simulated.kafka import Cluster
from tests.simulated.loop import run
from tests.simulated.machine import Machine

GROUP, BUCKET = b"app/class", b"bucket"
MINT = Mint(bytes(32), 1)
GRACE_S = 300.0
OUTAGE_S = 120.0  # thirty times a self-lease


class Place:
    """One partition, its simulated cluster, and a root store with a switch."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.switch = cluster, Switch()
        self.lost: list[BaseException] = []
        self.owners: list[Ledger] = []

    async def open(self) -> Ledger:
        name = f"owner-{len(self.owners)}"
        machine = self.cluster.machines[name] = Machine(name, random.Random(1))
        pages = KeyPages(0, SwitchedRootStore(self.switch), grace_s=GRACE_S)
        ledger = Ledger(
            0,
            pages,
            bootstrap=name,
            boottime=machine.boottime,
            on_lost=lambda _, error: self.lost.append(error),
        )
        pages._keeper._monotonic = machine.boottime
        self.owners.append(ledger)
        await ledger.open()
        return ledger

    def living(self) -> list[int]:
        return sorted(self.switch.versions[0])

    def beats(self) -> int:
        return sum(entry.key == HEARTBEAT_KEY for entry in self.cluster.log(topics.LEDGER, 0).since(0))


Scenario = Callable[[Place], Awaitable[None]]


@pytest.fixture
def play() -> Callable[[Scenario], None]:
    """Runs a scenario in no time."""

    async def played(place: Place, scenario: Scenario) -> None:
        try:
            await scenario(place)
        finally:
            for ledger in place.owners:
                await ledger.close()

    def play(scenario: Scenario) -> None:
        with pytest.MonkeyPatch.context() as patch:
            cluster = Cluster(random.Random(1))
            plug(patch, cluster)
            run(played(Place(cluster), scenario))

    return play


async def kept(ledger: Ledger, *names: str) -> dict[str, bytes]:
    """Committed keys, one row each: name → page."""
    pages = {}
    for name in names:
        pages[name], _ = ledger.pages.new_key(GROUP, BUCKET, entry(name))
        await ledger.apply(Change({name.encode(): b"living"}))
    return pages


def entry(name: str) -> bytes:
    return name.encode().ljust(16, b"-")


def erase(ledger: Ledger, name: str, page: bytes) -> asyncio.Future[Commit]:
    return ledger.apply(Change({name.encode(): b"dead"}, erase=[(page, entry(name))]))


@pytest.mark.parametrize("down", ["fail", "hang"])
def test_erasures_wait_in_order_while_everything_else_goes_on(play: Callable[[Scenario], None], down: str) -> None:
    async def scenario(place: Place) -> None:
        ledger = await place.open()
        pages = await kept(ledger, "a", "b", "c")
        getattr(place.switch, down)()
        await asyncio.sleep(5.0)  # an idle keeper looks once a second, and a hanging call is silent after two
        assert ledger.pages.away
        before = place.living()

        told: list[str] = []
        for name in ("a", "b"):
            erase(ledger, name, pages[name]).add_done_callback(lambda _, name=name: told.append(name))
        await ledger.barrier()
        rows = place.cluster.log(topics.LEDGER, 0).since(0)
        assert [row.value for row in rows if row.key == b"a"][-1] == b"dead"  # committed
        assert told == []
        assert ledger.erasing(b"a")
        assert not ledger.erasing(b"c")
        for n in range(20):
            await ledger.apply(Change({b"other": b"%d" % n}))
        beats = place.beats()
        await asyncio.sleep(OUTAGE_S)
        assert place.beats() - beats >= OUTAGE_S * 3 / 4
        ledger.check()
        ledger.pages.check(promising=False)
        with pytest.raises(RootStoreUnavailable, match="nothing is promised"):
            ledger.pages.check(promising=True)
        assert ledger.pages.key(pages["c"], entry("c")) is not None
        assert (len(ledger.erasures), told, place.living()) == (2, [], before)
        assert ledger.erasures.age_s == pytest.approx(OUTAGE_S, rel=0.1)

        late = erase(ledger, "c", pages["c"])
        place.switch.answer()
        commit = await ledger.erased()
        assert told == ["a", "b"]
        assert late.done()
        assert commit.root == f"double:v{place.living()[0]}"
        assert len(place.living()) == 1
        assert place.living() > before
        assert not ledger.erasing(b"a")
        assert len(ledger.erasures) == 0
        assert all(ledger.pages.key(page, entry(name)) is None for name, page in pages.items())
        ledger.pages.check(promising=True)
        assert place.lost == []

    play(scenario)


def test_older_roots_that_were_not_destroyed_are_tried_again_before_anybody_is_told(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(place: Place) -> None:
        ledger = await place.open()
        pages = await kept(ledger, "a", "b")
        place.switch.fail(Why.SEALED, only="destroy_before")
        first, second = erase(ledger, "a", pages["a"]), None
        await ledger.barrier()
        assert ledger.pages.key(pages["a"], entry("a")) is None  # no commit of ours names it any more
        await asyncio.sleep(OUTAGE_S)
        ledger.check()
        second = erase(ledger, "b", pages["b"])
        await ledger.apply(Change({b"other": b"1"}))
        assert not first.done()
        assert not second.done()
        assert len(place.living()) >= 2
        place.switch.answer()
        await asyncio.gather(first, second)
        assert first.result().root != second.result().root
        assert place.living() == [int(second.result().root.removeprefix("double:v"))]
        assert place.lost == []

    play(scenario)


def test_what_is_erased_twice_is_told_only_when_older_roots_are_destroyed(play: Callable[[Scenario], None]) -> None:
    async def scenario(place: Place) -> None:
        ledger = await place.open()
        pages = await kept(ledger, "a")
        place.switch.fail(only="destroy_before")
        first = erase(ledger, "a", pages["a"])
        await asyncio.sleep(1.0)
        place.switch.fail(only="destroy_before")
        again = erase(ledger, "a", pages["a"])
        await asyncio.sleep(10.0)
        assert not first.done()
        assert not again.done()
        place.switch.answer()
        await asyncio.gather(first, again)

    play(scenario)


def test_after_the_grace_nothing_is_read_and_the_lease_is_kept(play: Callable[[Scenario], None]) -> None:
    async def scenario(place: Place) -> None:
        ledger = await place.open()
        await kept(ledger, "a")
        place.switch.fail()
        await asyncio.sleep(GRACE_S - 10.0)
        ledger.pages.check(promising=False)
        await asyncio.sleep(20.0)
        with pytest.raises(RootStoreUnavailable, match="nothing is read"):
            ledger.pages.check(promising=False)
        ledger.check()
        place.switch.answer()
        await asyncio.sleep(2.0)
        ledger.pages.check(promising=True)

    play(scenario)


def test_another_store_in_its_place_is_silence_and_destroys_nothing(play: Callable[[Scenario], None]) -> None:
    async def scenario(place: Place) -> None:
        ledger = await place.open()
        pages = await kept(ledger, "a")
        place.switch.empty()
        place.switch.made[0] = 1000  # and its versions are newer than ours
        waiting = erase(ledger, "a", pages["a"])
        await asyncio.sleep(OUTAGE_S)
        assert not waiting.done()
        with pytest.raises(RootStoreUnavailable):
            ledger.pages.check(promising=True)
        assert "destroy_before" not in place.switch.calls[-int(OUTAGE_S) :]

    play(scenario)


def test_a_key_is_not_moved_while_no_root_could_follow(play: Callable[[Scenario], None]) -> None:
    async def scenario(place: Place) -> None:
        ledger = await place.open()
        pages = await kept(ledger, "a")
        place.switch.fail()
        await asyncio.sleep(3.0)
        with pytest.raises(RootStoreUnavailable):
            ledger.pages.copy(pages["a"], entry("a"), GROUP, b"later")
        await ledger.apply(Change())
        place.switch.answer()
        await asyncio.sleep(2.0)
        page = ledger.pages.copy(pages["a"], entry("a"), GROUP, b"later")
        assert page is not None
        await ledger.apply(Change({b"a": page}, erase=[(pages["a"], entry("a"))]))
        assert ledger.pages.key(page, entry("a")) is not None

    play(scenario)


def test_closing_fails_what_waits(play: Callable[[Scenario], None]) -> None:
    async def scenario(place: Place) -> None:
        ledger = await place.open()
        pages = await kept(ledger, "a", "b")
        place.switch.fail(only="destroy_before")
        undestroyed = erase(ledger, "a", pages["a"])
        await asyncio.sleep(SELF_LEASE_S)
        place.switch.fail()
        uncommitted = erase(ledger, "b", pages["b"])
        await asyncio.sleep(SELF_LEASE_S)
        await ledger.close()
        for future in (undestroyed, uncommitted):
            with pytest.raises(LedgerLost):
                await future
        assert len(ledger.erasures) == 0

    play(scenario)


def test_a_new_owner_erases_what_the_one_before_did_not_live_to(play: Callable[[Scenario], None]) -> None:
    async def scenario(place: Place) -> None:
        ledger = await place.open()
        book = Book(ledger, ledger.pages, await_inputs_s=60.0)
        subjects = [await _subject(book, ledger, n) for n in range(3)]
        assets = [await _asset(book, ledger, n) for n in range(3)]
        place.switch.hang()
        await asyncio.sleep(5.0)
        buried, hidden = Change(erase=[_key(subjects[0])]), Change(erase=[_key(assets[0])])
        book.bury(buried, subjects[0].id)
        book.put_asset(hidden, _dead(assets[0]))
        for change in (buried, hidden):
            ledger.apply(change)
        await ledger.barrier()
        await ledger.close()  # it dies before the store answers
        place.switch.answer()

        successor = await place.open()
        book = Book(successor, successor.pages, await_inputs_s=60.0)
        await book.rebuild()
        unnamed = book.unnamed()
        assert sorted(unnamed) == sorted([_key(subjects[0]), _key(assets[0])])
        await successor.apply(Change(erase=unnamed))
        living = [*subjects[1:], *assets[1:]]
        assert successor.pages.count() == len(living)
        assert all(successor.pages.key(*_key(each)) is not None for each in living)
        again = Book(successor, successor.pages, await_inputs_s=60.0)
        await again.rebuild()
        assert again.unnamed() == []
        assert len(place.living()) == 1

    play(scenario)


def test_keys_of_a_ledger_that_was_lost_are_not_taken_for_erased(play: Callable[[Scenario], None]) -> None:
    async def scenario(place: Place) -> None:
        ledger = await place.open()
        asset = await _asset(Book(ledger, ledger.pages, await_inputs_s=60.0), ledger, 0)
        await ledger.close()
        log = place.cluster.log(topics.LEDGER, 0)
        log.entries[:] = [entry for entry in log.entries if entry.key is None or not entry.key.startswith(b"ast_")]
        successor = await place.open()
        book = Book(successor, successor.pages, await_inputs_s=60.0)
        await book.rebuild()
        with pytest.raises(LedgerTopicLost):
            book.unnamed()
        assert successor.pages.key(*_key(asset)) is not None

    play(scenario)


async def _subject(book: Book, ledger: Ledger, n: int) -> Subject:
    subject_id, change = MINT.mint(Kind.SUBJECT, "t", 0), Change()
    page, _ = book.new_key("app/subject", b"never", subject_id)
    head = SubjectHead(app="app", page=page, created_at=1.0)
    subject = book.put_subject(change, Subject(subject_id, head, SubjectBody(tenant="t", name=f"user {n}")))
    await ledger.apply(change)
    return subject


async def _asset(book: Book, ledger: Ledger, n: int) -> Asset:
    asset_id, change = MINT.mint(Kind.ASSET, "t", 0), Change()
    page, _ = book.new_key("app/class", BUCKET, asset_id)
    fields: dict[str, Any] = {"app": "app", "data_class": "class", "job": "", "role": "input", "n": 0, "object": "o"}
    times: dict[str, Any] = {"created_at": 1.0, "ceiling": 9e9, "due": 9e9, "clause": "", "leaf": b""}
    head = AssetHead(state=AssetState.STORED, page=page, **fields, **times)
    asset = Asset(asset_id, head, AssetBody(tenant="t", subject="s", salt=b"salt", choice="save"))
    book.put_asset(change, asset)
    await ledger.apply(change)
    return asset


def _dead(asset: Asset) -> Asset:

    return Asset(asset.id, msgspec.structs.replace(asset.head, state=AssetState.DEAD), None)


def _key(row: Subject | Asset) -> tuple[bytes, bytes]:
    return row.head.page, entry_of(row.id)
