"""What every root store must do. An adapter joins by adding a fixture: a function from a partition to its store."""

import asyncio
import contextlib
import os
import re
import socket
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from stream.vault.openbao import Transit
from stream.vault.rootstore import RootGone, RootStoreUnavailable, Why, number_of, version_of
from stream.vault.rootstore_file import FileRootStore
from stream.vault.rootstore_openbao import OpenBaoRootStore
from tests.contract.rootstore_double import Switch, SwitchedRootStore


@pytest.fixture
def file(tmp_path):
    return lambda partition: FileRootStore(tmp_path / "roots" / str(partition))


@pytest_asyncio.fixture
async def bao(openbao):
    cluster = await openbao.cluster()
    transits = []

    def make(partition):
        transits.append(Transit(cluster.url, mount=cluster.mount, token_path=Path(cluster.token_path)))
        return OpenBaoRootStore(transits[-1], partition)

    yield make
    for transit in transits:
        transit.close()


@pytest.fixture
def double():
    switch = Switch()
    return lambda partition: SwitchedRootStore(switch, partition)


@pytest.fixture(params=["file", "bao", "double"])
def reopen(request):
    """Opens the store of a partition, as another process would."""
    make = request.getfixturevalue(request.param)
    return lambda partition=0: make(partition)


@pytest.fixture
def store(reopen):
    return reopen()


KEY, OTHER = b"k" * 32, b"o" * 32


async def test_unused_until_a_root_was_committed(store, reopen):
    assert not await store.used()
    orphan = await store.wrap(KEY)  # its owner died before the first commit
    assert not await reopen().used()
    wrapped = await store.wrap(KEY)
    assert version_of(wrapped) != version_of(orphan)
    await store.destroy_before(wrapped)
    assert await reopen().used()
    await reopen().destroy_before(wrapped)
    assert await reopen().used()
    assert not await reopen(partition=1).used()


async def test_unwraps_what_it_wrapped_in_any_process(store, reopen):
    wrapped = await store.wrap(KEY)
    assert KEY not in wrapped
    assert await reopen().unwrap(wrapped) == KEY


async def test_each_attempt_gets_a_version_of_its_own(store, reopen):
    wrapped = [await store.wrap(KEY), await store.wrap(KEY), await reopen().wrap(KEY)]
    assert len({version_of(each) for each in wrapped}) == 3


async def test_attempts_at_the_same_moment_get_different_versions(reopen):
    wrapped = await asyncio.gather(*(reopen().wrap(os.urandom(32)) for _ in range(20)))
    assert len({version_of(each) for each in wrapped}) == 20


async def test_destroys_older_versions_only(store, reopen):
    assert await store.versions() == []
    old, present, newer = [await store.wrap(key) for key in (KEY, OTHER, KEY)]
    await store.destroy_before(present)
    numbers = [number_of(version_of(each)) for each in (old, present, newer)]
    assert numbers == sorted({*numbers})
    assert sorted(await reopen().versions()) == numbers[1:]
    with pytest.raises(RootGone, match=version_of(old)):
        await reopen().unwrap(old)
    assert await store.unwrap(present) == OTHER
    assert await store.unwrap(newer) == KEY


async def test_a_late_destroy_of_a_former_owner_harms_nobody(store):
    wrapped = [await store.wrap(KEY) for _ in range(4)]
    await store.destroy_before(wrapped[3])
    await store.destroy_before(wrapped[1])
    await store.destroy_before(wrapped[3])
    assert await store.unwrap(wrapped[3]) == KEY


async def test_owners_may_destroy_at_the_same_moment(store, reopen):
    wrapped = [await store.wrap(KEY) for _ in range(30)]
    await asyncio.gather(*(reopen().destroy_before(each) for each in wrapped))
    assert await store.unwrap(wrapped[-1]) == KEY
    with pytest.raises(RootGone):
        await store.unwrap(wrapped[-2])


async def test_a_version_is_never_used_again(store, reopen):
    names = set()
    for _ in range(5):
        wrapped = await reopen().wrap(KEY)
        assert version_of(wrapped) not in names
        names.add(version_of(wrapped))
        await store.destroy_before(wrapped)


@pytest.mark.parametrize("at", [0, 6, 20, -5])
async def test_an_altered_wrapping_does_not_open(store, at):
    wrapped = bytearray(await store.wrap(KEY))
    wrapped[at] ^= 1
    with pytest.raises(RootGone):
        await store.unwrap(bytes(wrapped))


async def test_another_partitions_wrapping_does_not_open(store, reopen):
    await store.wrap(KEY)
    with pytest.raises(RootGone):
        await store.unwrap(await reopen(partition=1).wrap(KEY))


async def test_it_says_what_it_promises(store):
    assert len(store.claim.split()) > 5


# -- only of files -----------------------------------------------------------------------------------------------


async def test_files_are_private_and_overwritten_before_they_go(tmp_path):
    store = FileRootStore(tmp_path / "0")
    await store.wrap(KEY)
    (path,) = (tmp_path / "0").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    held = tmp_path / "held"
    held.hardlink_to(path)  # what a reader that kept it open would see
    secret = held.read_bytes()
    await store.destroy_before(await store.wrap(KEY))
    assert not path.exists()
    assert any(secret)
    assert held.read_bytes() == bytes(32)


async def test_a_version_cut_short_by_a_crash_is_not_reused(tmp_path):
    (tmp_path / "v7").touch()
    assert version_of(await FileRootStore(tmp_path).wrap(KEY)) == "file:v8"


async def test_a_folder_that_cannot_be_is_the_stores_failure(tmp_path):
    Path(tmp_path / "file").touch()
    store = FileRootStore(tmp_path / "file" / "0")
    for work in (store.used(), store.wrap(KEY), store.destroy_before(b"file:v2:")):
        with pytest.raises(RootStoreUnavailable):
            await work


# -- only of OpenBao ---------------------------------------------------------------------------------------------


class Lossy:
    """A way to a server that loses the answers to requests whose line contains `losing`: they are done, unheard."""

    def __init__(self, url):
        self._port, self.losing, self.lost = int(url.rpartition(":")[2]), b"", 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_exc):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        beyond_reader, beyond = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while line := await reader.readline():
                head = line + await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                beyond.write(head + await reader.readexactly(int(length[1]) if length else 0))
                answer = await beyond_reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", answer)
                answer += await beyond_reader.readexactly(int(length[1]) if length else 0)
                if self.losing and self.losing in line:
                    self.losing, self.lost = b"", self.lost + 1
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            beyond.close()
            writer.close()


@pytest_asyncio.fixture
async def cluster(openbao):
    return await openbao.cluster()


@pytest.fixture
def at(cluster):
    """A store of partition 0 by way of an address, with a token, for as long as the test runs."""
    with contextlib.ExitStack() as closing:

        def make(url=cluster.url, *, mount=cluster.mount, token=cluster.token_path, answer_s=5.0):
            transit = Transit(url, mount=mount, token_path=Path(token), answer_s=answer_s)
            return OpenBaoRootStore(closing.enter_context(contextlib.closing(transit)), 0)

        yield make


@pytest.mark.parametrize("losing", [b"GET ", b"POST ", b"/encrypt/", b"/config", b"DELETE "])
@pytest.mark.parametrize("first", [True, False])
async def test_an_answer_lost_on_its_way_harms_nothing(cluster, at, losing, first):
    """On a fresh connection the caller hears of it and asks again; on a kept one it was asked again for them."""
    async with Lossy(cluster.url) as way:
        store = at(way.url)
        old = await at().wrap(OTHER)
        if not first:
            await store.used()
        way.losing = losing
        while not way.lost:
            with contextlib.suppress(RootStoreUnavailable):
                await store.destroy_before(await store.wrap(KEY))
        wrapped = await store.wrap(KEY)
        await store.destroy_before(wrapped)
        assert await store.unwrap(wrapped) == KEY
        with pytest.raises(RootGone):
            await at().unwrap(old)


async def test_what_keeps_it_from_answering_is_told_apart(cluster, at, tmp_path):
    wrong = tmp_path / "token"
    wrong.write_text("s.wrong")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        cases = [
            (at("http://127.0.0.1:1"), Why.UNREACHABLE),
            (at(f"http://127.0.0.1:{mute.getsockname()[1]}", answer_s=0.2), Why.SILENT),
            (at(token=wrong), Why.REFUSED),
            (at(token=tmp_path / "none"), Why.REFUSED),
            (at(mount="another"), Why.REFUSED),  # the policy names our own
        ]
        for store, why in cases:
            for work in (store.used, lambda store=store: store.wrap(KEY)):
                with pytest.raises(RootStoreUnavailable) as caught:
                    await work()
                assert caught.value.why is why
                assert "s.wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "why"),
    [(503, Why.SEALED), (403, Why.REFUSED), (500, Why.WRONG), (418, Why.WRONG), (200, Why.WRONG)],
)
async def test_a_server_that_answers_otherwise_is_no_root_store(at, status, why):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Such\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]" % status)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        store = at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", answer_s=2.0)
        with pytest.raises(RootStoreUnavailable) as caught:
            await store.used()
        assert caught.value.why is why


async def test_a_server_that_fails_and_then_falls_silent_is_wrong_not_silent(at):
    asked = 0

    async def serve(reader, writer):
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        if asked == 1:
            writer.write(b"HTTP/1.1 500 Such\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")
        else:
            await reader.read()  # until it gives up
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        store = at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", answer_s=2.0)
        with pytest.raises(RootStoreUnavailable) as caught:
            await store.used()
        assert caught.value.why is Why.WRONG
        assert asked == 2


async def test_an_answer_in_pieces_is_read_whole(at):
    """More names than fit the buffer: the server sends them in chunks."""
    store = at()
    await asyncio.gather(*(OpenBaoRootStore(store._transit, n)._make(f"v1-{'0' * 100}") for n in range(1, 160)))
    wrapped = await store.wrap(KEY)
    assert await store._names() == [version_of(wrapped).removeprefix("openbao:")]


async def test_a_workers_token_cannot_take_a_key_out(cluster):
    """It can neither read a key's settings, nor export it, nor make one that could be exported."""
    headers = {"X-Vault-Token": Path(cluster.token_path).read_text()}
    async with httpx.AsyncClient(base_url=f"{cluster.url}/v1/{cluster.mount}/", headers=headers) as http:
        assert (await http.post("keys/root-0.v1-x", json={"type": "aes256-gcm96"})).status_code == 200
        refused = [
            await http.get("keys/root-0.v1-x"),
            await http.get("export/encryption-key/root-0.v1-x"),
            await http.get("backup/root-0.v1-x"),
            await http.post("keys/root-0.v1-x/config", json={"exportable": True}),
            await http.post("keys/other", json={"type": "aes256-gcm96", "exportable": True}),
            await http.post("keys/root-0.v1-x/rotate"),
        ]
        assert [answer.status_code for answer in refused] == [403] * len(refused)
