"""The ledger on a real broker: groups, fences, leases, refusals, and keys that die only once that is certain."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from stream import topics
from stream.errors import StoreUnavailable
from stream.ledger import (
    HEARTBEAT_KEY,
    OFFSETS_KEY,
    SELF_LEASE_S,
    Change,
    LedgerLost,
    Outgoing,
    ValueTooLarge,
    fenced,
)
from stream.undecided import MARK_HEADER
from stream.vault.pages import KeysTopicLost
from tests.integration.place import Place

pytestmark = pytest.mark.stack

GROUP, BUCKET = b"app/class", b"bucket"
RECORD_LIMIT_BYTES = 4096
WAIT_S = 15.0


async def until(true: object, *, within_s: float = WAIT_S) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def limit_records(kafka: str, topic: str, limit: int) -> None:
    """The topic's broker takes no batch above `limit` bytes from now on."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        configs = {"max.message.bytes": str(limit)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=configs)])
    finally:
        await admin.close()
    async with asyncio.timeout(WAIT_S):
        while (await topics.config_of(kafka, topic))["max.message.bytes"] != str(limit):
            await asyncio.sleep(0.02)


class TestCommits:
    async def test_many_changes_share_a_transaction_and_all_are_there_when_reopened(self, place: Place) -> None:
        async with place.opened() as ledger:
            groups = ledger.groups
            await asyncio.gather(*(ledger.apply(Change(rows={b"row %d" % n: b"%d" % n})) for n in range(500)))
            assert ledger.groups - groups < 20
            assert ledger.changes >= 500
        async with place.opened() as ledger:
            assert dict(ledger.items()) == {b"row %d" % n: b"%d" % n for n in range(500)}

    async def test_of_one_key_the_last_row_counts_and_a_tombstone_removes_it(self, place: Place) -> None:
        async with place.opened() as ledger:
            for value in (b"a", b"b", b"c"):
                ledger.apply(Change(rows={b"kept": value}))
            ledger.apply(Change(rows={b"gone": b"x"}))
            await ledger.apply(Change(rows={b"gone": None}))
            assert (ledger.get(b"kept"), ledger.get(b"gone")) == (b"c", None)
        async with place.opened() as ledger:
            assert dict(ledger.items()) == {b"kept": b"c"}

    async def test_a_change_is_seen_at_once_and_its_future_resolves_in_order(self, place: Place) -> None:
        async with place.opened() as ledger:
            resolved: list[int] = []
            futures = []
            for n in range(20):
                future = ledger.apply(Change(rows={b"n": b"%d" % n}))
                future.add_done_callback(lambda _, n=n: resolved.append(n))
                futures.append(future)
                assert ledger.get(b"n") == b"%d" % n
            await asyncio.gather(*futures)
            assert resolved == list(range(20))

    async def test_rows_events_leaves_and_owner_are_one_transaction(self, place: Place) -> None:
        async with place.opened() as ledger:
            event = Outgoing(topics.UPLOAD, b"job", b"event", (("h", b"v"),))
            change = Change({b"r": b"1"}, [event], leaves=[lambda: b"leaf"], owners=(b"%d" % place.partition, b"me"))
            commit = await ledger.apply(change)
            assert commit.at > 0
        (sent,) = await place.read(topics.UPLOAD)
        (mark, *headers) = sent.headers
        assert (sent.key, sent.value, headers) == (b"job", b"event", [("h", b"v")])
        assert mark[0] == MARK_HEADER  # of the transaction, on each batch's first record
        assert [record.value for record in await place.read(topics.AUDIT)] == [b"leaf"]
        async with place.opened() as ledger:
            assert ledger.get(b"r") == b"1"

    async def test_the_next_input_offsets_are_part_of_the_commit(self, place: Place) -> None:
        async with place.opened() as ledger:
            assert ledger.applied("upload") == 0
            ledger.apply(Change(consumed=("upload", 7)))
            ledger.apply(Change(consumed=("upload", 3)))
            await ledger.apply(Change(consumed=("detect", 0)))
            assert ledger.applied("upload") == 8
        async with place.opened() as ledger:
            assert (ledger.applied("upload"), ledger.applied("detect"), ledger.applied("expire")) == (8, 1, 0)
            assert dict(ledger.items()) == {}  # the ledger's own rows are not shown

    async def test_replay_hands_out_the_audit_leaves_in_order(self, place: Place) -> None:
        async with place.opened() as ledger:
            await asyncio.gather(*(ledger.apply(Change(leaves=[lambda n=n: b"%d" % n])) for n in range(30)))
        ledger = place.ledger()
        replay = await ledger.open()
        await ledger.close()
        assert replay.audit == [b"%d" % n for n in range(30)]

    async def test_a_barrier_waits_for_what_is_in_flight_and_costs_nothing_else(self, place: Place) -> None:
        async with place.opened() as ledger:
            assert ledger.barrier().done()
            future = ledger.apply(Change(rows={b"a": b"1"}))
            await ledger.barrier()
            assert future.done()

    async def test_what_is_too_large_is_refused_and_harms_nobody(self, place: Place) -> None:
        async with place.opened() as ledger:
            good = ledger.apply(Change(rows={b"good": b"1"}))
            large = b"x" * (topics.MAX_VALUE_BYTES + 1)
            for change in (
                Change(rows={b"bad": large}),
                Change(events=[Outgoing(topics.UPLOAD, b"k", large)], rows={b"bad": b"1"}),
            ):
                with pytest.raises(ValueTooLarge, match=str(topics.MAX_VALUE_BYTES)):
                    ledger.apply(change)
            assert ledger.get(b"bad") is None
            await good
            await ledger.apply(Change(rows={b"largest": b"x" * topics.MAX_VALUE_BYTES}))
        assert place.lost == []


class TestRefusals:
    async def test_an_event_that_the_broker_refuses_is_parked_and_the_rest_goes_on(self, place: Place) -> None:
        await limit_records(place.kafka, topics.DETECT, RECORD_LIMIT_BYTES)
        big = secrets.token_bytes(2 * RECORD_LIMIT_BYTES)
        async with place.opened() as ledger:
            async with asyncio.TaskGroup() as group:
                for n in range(40):
                    refused = n in {11, 29}
                    event = Outgoing(topics.DETECT, b"%d" % n, big if refused else b"small")
                    other = Outgoing(topics.UPLOAD, b"%d" % n, b"fine")
                    change = Change({b"row %d" % n: b"1"}, [event, other], consumed=("upload", n))
                    group.create_task(asyncio.wait_for(ledger.apply(change), WAIT_S))
            assert ledger.refused == 2
            ledger.check()
            await ledger.apply(Change({b"after": b"1"}, [Outgoing(topics.DETECT, b"after", b"small")]))
        parked = await place.read(topics.PARKED)
        assert [(record.key, record.value) for record in parked] == [(b"11", big), (b"29", big)]
        assert all(
            {("origin", topics.DETECT.encode()), ("reason", b"refused-by-broker")} <= set(record.headers)
            for record in parked
        )
        went = [record.key for record in await place.read(topics.DETECT)]
        assert went == [b"%d" % n for n in range(40) if n not in {11, 29}] + [b"after"]
        assert [record.key for record in await place.read(topics.UPLOAD)] == [b"%d" % n for n in range(40)]
        async with place.opened() as ledger:
            assert len(dict(ledger.items())) == 41
            assert ledger.applied("upload") == 40
        assert place.lost == []

    async def test_where_even_the_parked_topic_refuses_it_a_note_remains(self, place: Place) -> None:
        await limit_records(place.kafka, topics.DETECT, RECORD_LIMIT_BYTES)
        await limit_records(place.kafka, topics.PARKED, RECORD_LIMIT_BYTES)
        try:
            async with place.opened() as ledger:
                big = Outgoing(topics.DETECT, b"k", secrets.token_bytes(2 * RECORD_LIMIT_BYTES))
                await asyncio.wait_for(ledger.apply(Change({b"row": b"1"}, [big])), WAIT_S)
                assert ledger.get(b"row") == b"1"
        finally:
            await limit_records(place.kafka, topics.PARKED, topics.MAX_MESSAGE_BYTES)
        (note,) = await place.read(topics.PARKED)
        assert (note.value, dict(note.headers)["origin"]) == (b"", topics.DETECT.encode())

    async def test_after_a_refusal_a_successor_that_wrote_meanwhile_is_not_overrun(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await limit_records(place.kafka, topics.DETECT, RECORD_LIMIT_BYTES)
        async with AsyncExitStack() as stack:
            old = await stack.enter_async_context(place.opened())
            start = old._start_producer

            async def successor_first() -> None:
                monkeypatch.undo()
                async with place.opened() as new:
                    await new.apply(Change(rows={b"theirs": b"1"}))
                await start()

            monkeypatch.setattr(old, "_start_producer", successor_first)
            big = Outgoing(topics.DETECT, b"k", secrets.token_bytes(2 * RECORD_LIMIT_BYTES))
            with pytest.raises(LedgerLost):
                await asyncio.wait_for(old.apply(Change({b"ours": b"1"}, [big])), WAIT_S)
            with pytest.raises(LedgerLost):
                old.check()
        rows = await place.rows()
        assert b"theirs" in rows
        assert b"ours" not in rows


class TestFence:
    async def test_a_former_owner_can_neither_write_nor_read(self, place: Place) -> None:
        async with AsyncExitStack() as stack:
            old = await stack.enter_async_context(place.opened())
            page, key = old.pages.new_key(GROUP, BUCKET, b"e" * 16)
            await old.apply(Change(rows={b"before": b"1"}))
            new = await stack.enter_async_context(place.opened())
            assert new.get(b"before") == b"1"
            with pytest.raises(LedgerLost):
                await old.apply(Change(rows={b"zombie": b"1"}, events=[Outgoing(topics.UPLOAD, b"z", b"z")]))
            assert fenced(place.lost[0])
            with pytest.raises(LedgerLost):
                old.check()
            with pytest.raises(LedgerLost):
                old.apply(Change())
            with pytest.raises(LedgerLost):
                old.barrier()
            with pytest.raises(LedgerLost):
                old.get(b"before")
            assert old.pages.key(page, b"e" * 16) is None
            key.wipe()
            await new.apply(Change(rows={b"after": b"1"}))
        rows = await place.rows()
        assert b"zombie" not in rows
        assert rows[b"after"] == b"1"
        assert await place.read(topics.UPLOAD) == []

    async def test_changes_not_yet_committed_fail_when_it_closes(self, place: Place) -> None:
        ledger = place.ledger(window_s=30.0)
        opening = asyncio.create_task(ledger.open())
        await opening
        ledger._window_s = 30.0
        first = ledger.apply(Change(rows={b"a": b"1"}))
        await ledger.close()
        with pytest.raises(LedgerLost):
            await first
        assert place.lost == []  # closing is nobody's loss
        assert b"a" not in await place.rows()

    async def test_a_takeover_replays_rows_keys_and_offsets(self, place: Place) -> None:
        entries = [secrets.token_bytes(16) for _ in range(300)]
        async with AsyncExitStack() as stack:
            old = await stack.enter_async_context(place.opened())
            kept: dict[bytes, tuple[bytes, bytes]] = {}
            for n, entry in enumerate(entries):
                page, key = old.pages.new_key(GROUP, BUCKET, entry)
                kept[entry] = page, bytes(key.view)
                await_last = old.apply(Change({b"row" + entry: page}, consumed=("upload", n)))
            await await_last
            new = await stack.enter_async_context(place.opened())
            assert {key for key, _ in new.items()} == {b"row" + entry for entry in entries}
            assert new.applied("upload") == 300
            for entry, (page, raw) in kept.items():
                found = new.pages.key(page, entry)
                assert found is not None
                assert bytes(found.view) == raw

    async def test_a_broker_that_is_not_there_is_said_so(self, place: Place) -> None:
        place.kafka = "127.0.0.1:1"
        with pytest.raises(StoreUnavailable, match="Kafka"):
            await place.ledger().open()


class TestSelfLease:
    async def test_a_silence_of_four_seconds_ends_all_reads_at_once(self, place: Place) -> None:
        jump = 0.0

        def boottime() -> float:
            return asyncio.get_running_loop().time() + jump

        async with place.opened(boottime=boottime) as ledger:
            ledger.check()
            jump = SELF_LEASE_S  # as a machine that was suspended wakes up
            with pytest.raises(LedgerLost, match="no commit acknowledged"):
                ledger.check()
            await until(lambda: place.lost)
            assert isinstance(place.lost[0], LedgerLost)
            assert ledger.pages.count() == 0

    async def test_heartbeats_keep_it_and_roll_both_compacted_topics(self, place: Place) -> None:
        began = asyncio.get_running_loop().time()
        async with place.opened() as ledger:
            groups = ledger.groups
            await until(lambda: ledger.groups >= groups + 3)
            took_s = asyncio.get_running_loop().time() - began
            ledger.check()
        assert 2.0 <= took_s <= 5.0
        for topic in (topics.LEDGER, topics.KEYS):
            beats = [record for record in await place.read(topic) if record.key == HEARTBEAT_KEY]
            assert len(beats) >= 3, topic

    async def test_a_broker_that_hangs_loses_it(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        async with place.opened() as ledger:

            async def hang() -> None:
                await asyncio.Event().wait()

            assert ledger._producer is not None
            monkeypatch.setattr(ledger._producer, "commit_transaction", hang)
            waiting = ledger.apply(Change(rows={b"a": b"1"}))
            await until(lambda: place.lost)
            with pytest.raises(LedgerLost):
                ledger.check()
            with pytest.raises(LedgerLost):
                ledger.apply(Change())
        with pytest.raises(LedgerLost):
            await waiting


class TestForgetting:
    async def test_older_roots_are_destroyed_only_after_the_marker(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entry = secrets.token_bytes(16)
        async with place.opened() as ledger:
            page, _ = ledger.pages.new_key(GROUP, BUCKET, entry)
            await ledger.apply(Change(rows={b"row": page}))
            before = place.versions()
            seen: list[tuple[int, list[str]]] = []
            end = ledger._end

            async def looked(topic: str) -> int:
                found = await end(topic)
                seen.append((found, place.versions()))
                return found

            monkeypatch.setattr(ledger, "_end", looked)
            commit = await ledger.apply(Change(rows={b"row": None}, erase=[(page, entry)]))
            assert all(set(before) < set(versions) for _, versions in seen)  # both, as long as it was not certain
            assert seen[-1][0] > commit.keys_offset
            assert place.versions() == [commit.root.removeprefix("file:")]
            assert place.versions() != before
            assert ledger.pages.key(page, entry) is None
        async with place.opened() as ledger:
            assert ledger.pages.key(page, entry) is None

    async def test_a_bucket_is_dropped_whole(self, place: Place) -> None:
        entries = [secrets.token_bytes(16) for _ in range(600)]
        async with place.opened() as ledger:
            pages = {entry: ledger.pages.new_key(GROUP, BUCKET, entry)[0] for entry in entries}
            other, _ = ledger.pages.new_key(GROUP, b"later", b"o" * 16)
            await ledger.apply(Change())
            await ledger.apply(Change(drop=[(GROUP, BUCKET)]))
            assert all(ledger.pages.key(page, entry) is None for entry, page in pages.items())
            assert ledger.pages.key(other, b"o" * 16) is not None
        async with place.opened() as ledger:
            assert ledger.pages.count() == 1

    async def test_an_unknown_outcome_destroys_nothing(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        entry = secrets.token_bytes(16)
        async with place.opened() as ledger:
            page, _ = ledger.pages.new_key(GROUP, BUCKET, entry)
            await ledger.apply(Change(rows={b"row": page}))
            before = place.versions()
            producer = ledger._producer
            assert producer is not None

            async def cut() -> None:
                await producer.client.close()  # every connection, in the middle of a commit
                raise ConnectionError("cut")

            monkeypatch.setattr(producer, "commit_transaction", cut)
            with pytest.raises(LedgerLost):
                await ledger.apply(Change(rows={b"row": None}, erase=[(page, entry)]))
            assert not fenced(place.lost[0])
            assert set(before) < set(place.versions())
        async with place.opened() as ledger:  # it was not committed: everything is as before
            assert ledger.get(b"row") == page
            assert ledger.pages.key(page, entry) is not None

    async def test_an_opening_destroys_what_an_owner_that_died_had_not(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entry = secrets.token_bytes(16)
        async with place.opened() as ledger:
            page, _ = ledger.pages.new_key(GROUP, BUCKET, entry)
            await ledger.apply(Change())

            async def die(_: int) -> str:
                raise ConnectionError("died")

            monkeypatch.setattr(ledger, "_forget_older", die)
            with pytest.raises(LedgerLost):
                await ledger.apply(Change(erase=[(page, entry)]))
            assert len(place.versions()) == 2
        async with place.opened() as ledger:
            assert len(place.versions()) == 1
            assert ledger.pages.key(page, entry) is None

    async def test_a_lost_keys_topic_is_not_taken_for_a_new_partition(
        self, place: Place, numbers: Iterator[int]
    ) -> None:
        async with place.opened():
            pass
        stranger = Place(place.kafka, next(numbers), place.roots)  # its topic is empty, its root store is used
        with pytest.raises(KeysTopicLost):
            await stranger.ledger().open()


async def test_the_offsets_row_is_only_written_when_something_was_consumed(place: Place) -> None:
    async with place.opened() as ledger:
        await ledger.apply(Change(rows={b"a": b"1"}))
    assert OFFSETS_KEY not in await place.rows()


async def test_repr_shows_no_row(place: Place) -> None:
    async with place.opened() as ledger:
        await ledger.apply(Change(rows={b"secret": b"value"}))
        assert "secret" not in repr(ledger)
