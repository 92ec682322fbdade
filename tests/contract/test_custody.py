"""Custody, on a real S3 (SeaweedFS) and in a gateway's memory: what it keeps, what it refuses, and that a cut-off
upload leaves nothing.
"""

import asyncio
import os
import secrets
import socket
import struct
import time
from contextlib import aclosing
from urllib.parse import urlsplit

import pytest

from services.gateway.render import tickets
from services.gateway.render.tickets import TicketServer
from stream.errors import StoreUnavailable
from stream.vault.courier import Courier, NoSuchObject, UrlRefused
from stream.vault.custody import S3Custody
from stream.vault.room import Room

EXPIRES_S = 60
pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def opened(stack):
    """Custody in a bucket, by default of its own, with the right key."""

    def custody(bucket="custody", secret_key=stack.endpoints.s3_secret_key):
        return S3Custody(stack.endpoints.s3_url, stack.endpoints.s3_access_key, secret_key, bucket)

    return custody


@pytest.fixture(scope="module")
async def s3(opened):
    async with opened() as custody:
        await custody.ensure_bucket()
        yield custody


@pytest.fixture(scope="module")
async def room():
    return Room(64 << 20)


@pytest.fixture(scope="module")
async def shelf(room):
    server = TicketServer(room, fetched=str)
    yield await server.start("127.0.0.1")
    await server.stop()


@pytest.fixture(params=["s3", "shelf"])
def custody(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
async def courier():
    async with Courier() as courier:
        yield courier


@pytest.fixture
def name():
    return secrets.token_hex(16)


async def once(*chunks):
    for chunk in chunks:
        yield chunk


async def put(custody, courier, name, data):
    await courier.put_stream(custody.put_url(name, EXPIRES_S), len(data), once(data))


async def get(custody, courier, name, byte_range=None):
    async with aclosing(courier.get_stream(custody.get_url(name, EXPIRES_S), byte_range)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_what_is_put_in_chunks_is_got_whole(custody, courier, name):
    data = os.urandom(9 << 20)
    chunks = [data[i : i + 100_000] for i in range(0, len(data), 100_000)]
    await courier.put_stream(custody.put_url(name, EXPIRES_S), len(data), once(b"", *chunks, b""))
    assert await get(custody, courier, name) == data
    assert await custody.remaining([name]) == [name]
    await custody.delete([name])


async def test_what_is_put_is_got_in_ranges(s3, courier, name):
    await put(s3, courier, name, data := os.urandom(2 << 20))
    assert await get(s3, courier, name, (1_000_000, 1_000_007)) == data[1_000_000:1_000_007]


async def test_deleting_is_idempotent_and_absence_is_seen(custody, courier, name):
    names = [f"{name}-{i}" for i in range(5)]
    for each in names[:3]:
        await put(custody, courier, each, b"sealed")
    assert await custody.remaining(names) == names[:3]
    for _ in range(2):
        await custody.delete(iter(names))
        assert await custody.remaining(names) == []
    await custody.delete([])
    with pytest.raises(NoSuchObject):
        await get(custody, courier, names[0])


async def test_more_names_than_one_request_takes(custody, courier, name):
    names = [f"{name}-{i}" for i in range(1001)]
    for each in (names[0], names[-1]):
        await put(custody, courier, each, b"sealed")
    await custody.delete(names)
    assert await custody.remaining([names[0], names[-1]]) == []


async def test_a_bucket_is_listed_whole_page_after_page(opened, courier, name):
    async with opened("listed") as custody:
        await custody.ensure_bucket()
        assert await custody.names() == []
        names = [f"{name}-{i}" for i in range(1001)]  # a page is 1,000
        for at in range(0, len(names), 64):
            await asyncio.gather(*(put(custody, courier, each, b"sealed") for each in names[at : at + 64]))
        assert sorted(await custody.names()) == sorted(names)


class Refused(Exception):  # noqa: N818
    """Stands for what a gateway raises while it reads an upload."""


@pytest.mark.parametrize("sent", [0, 1, 32, 1 << 20, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 12 << 20])
async def test_an_upload_refused_half_way_leaves_nothing_and_says_why(custody, courier, name, sent):
    async def chunks():
        for at in range(0, sent, 1 << 20):
            yield bytes(min(1 << 20, sent - at))
        raise Refused

    with pytest.raises(Refused):
        await courier.put_stream(custody.put_url(name, EXPIRES_S), 20 << 20, chunks())
    assert await settled(custody, name) == []


async def test_the_last_bytes_do_not_leave_before_the_source_has_ended_well(custody, courier, name):
    async def chunks():
        yield b"all of it"
        raise Refused

    with pytest.raises(Refused):
        await courier.put_stream(custody.put_url(name, EXPIRES_S), len(b"all of it"), chunks())
    assert await settled(custody, name) == []


@pytest.mark.parametrize("size", [3, 7])
async def test_more_or_less_than_foretold_is_no_object(custody, courier, name, size):
    with pytest.raises(ValueError, match="count before"):
        await courier.put_stream(custody.put_url(name, EXPIRES_S), size, once(b"12", b"345"))
    assert await settled(custody, name) == []


@pytest.mark.parametrize("linger", [None, struct.pack("ii", 1, 0)], ids=["closed", "reset"])
@pytest.mark.parametrize("sent", [1, 1 << 20, 8 << 20])
async def test_a_sender_that_dies_leaves_nothing(custody, name, sent, linger):
    url = urlsplit(custody.put_url(name, EXPIRES_S))
    _, writer = await asyncio.open_connection(url.hostname, url.port)
    head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {20 << 20}\r\n\r\n"
    writer.write(head.encode() + bytes(sent))
    await writer.drain()
    if linger:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    else:
        writer.close()
        await writer.wait_closed()
    assert await settled(custody, name) == []


async def settled(custody, name):
    """What remains of `name` once the store has had time to make a mistake of it: as many asks as take it that long."""
    for _ in range(20):
        if found := await custody.remaining([name]):
            return found
    return []


async def test_urls_are_for_one_verb(custody, courier, name):
    await put(custody, courier, name, b"sealed")
    get_url, put_url = custody.get_url(name, EXPIRES_S), custody.put_url(name, EXPIRES_S)
    with pytest.raises(UrlRefused):
        await courier.put_stream(get_url, 1, once(b"x"))
    with pytest.raises(UrlRefused):
        await anext(courier.get_stream(put_url))
    assert await get(custody, courier, name) == b"sealed"
    await custody.delete([name])


async def test_urls_are_for_one_object_and_their_time(s3, courier, name, opened):
    custody = s3
    await put(custody, courier, name, b"sealed")
    get_url = custody.get_url(name, EXPIRES_S)
    with pytest.raises(UrlRefused):
        await anext(courier.get_stream(get_url.replace(name, "other")))
    long_ago = custody._signer.url("GET", f"/custody/{name}", expires_s=1, now=time.time() - 60)
    with pytest.raises(UrlRefused) as refusal:
        await anext(courier.get_stream(long_ago))
    assert "Signature" not in str(refusal.value)
    async with opened(secret_key="wrong") as stranger:
        with pytest.raises(UrlRefused):
            await put(stranger, courier, name, b"x")
        for ask in (stranger.remaining([name]), stranger.delete([name]), stranger.ensure_bucket()):
            with pytest.raises(StoreUnavailable):
                await ask
    assert await get(custody, courier, name) == b"sealed"


async def test_a_url_lasts_as_long_as_signatures_may(s3):
    for expires_s in (0, 7 * 24 * 3600 + 1):
        with pytest.raises(ValueError, match="sign for the lease's length"):
            s3.put_url("x", expires_s)


async def test_a_ticket_is_good_once_and_in_its_time(shelf, courier, name):
    await put(shelf, courier, name, b"sealed")
    once_only, late = shelf.get_url(name, EXPIRES_S), shelf.get_url(name, 0)
    assert [chunk async for chunk in courier.get_stream(once_only)] == [b"sealed"]
    for refused in (once_only, late, once_only[:-1], shelf.get_url(name, EXPIRES_S)[:-43] + "A" * 43):
        with pytest.raises(UrlRefused):
            await anext(courier.get_stream(refused))
    put_url = shelf.put_url(name + "-2", EXPIRES_S)
    await courier.put_stream(put_url, 1, once(b"x"))
    with pytest.raises(UrlRefused):
        await courier.put_stream(put_url, 1, once(b"y"))
    assert await get(shelf, courier, name + "-2") == b"x"
    await shelf.delete([name, name + "-2"])


async def test_what_is_deleted_on_its_way_does_not_come_to_lie(shelf, room, courier, name):
    async def chunks():
        yield b"first"
        await shelf.delete([name])
        yield b"second"

    url, before = shelf.put_url(name, EXPIRES_S), room.taken_bytes
    with pytest.raises(UrlRefused):
        await courier.put_stream(url, len(b"firstsecond"), chunks())
    assert await shelf.remaining([name]) == []
    assert room.taken_bytes == before


async def test_no_more_than_there_is_room_for(shelf, room, courier, name, monkeypatch):
    monkeypatch.setattr(tickets, "ROOM_S", 0.05)
    names = [f"{name}-{i}" for i in range(4)]
    for each in names[:3]:
        await put(shelf, courier, each, bytes(20 << 20))
    with pytest.raises(StoreUnavailable):
        await put(shelf, courier, names[3], bytes(20 << 20))
    await shelf.delete(names[:1])
    await put(shelf, courier, names[3], bytes(20 << 20))
    await shelf.delete(names)
    with pytest.raises(StoreUnavailable):
        await put(shelf, courier, name, bytes(room.limit_bytes + 1))
    assert (len(shelf), shelf.held_bytes, room.taken_bytes) == (0, 0, 0)


async def test_what_is_cut_off_gives_its_room_back(shelf, room, courier, name):
    async def chunks():
        yield bytes(1 << 20)
        raise Refused

    for _ in range(5):
        with pytest.raises(Refused):
            await courier.put_stream(shelf.put_url(name, EXPIRES_S), 60 << 20, chunks())
        while room.taken_bytes:
            await asyncio.sleep(0)
    assert len(shelf) == 0


async def test_silence_is_no_answer(courier):
    with socket.socket() as nobody:  # bound, not listening: connections are refused
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with S3Custody(endpoint, "a", "b", "custody") as silent:
            for ask in (
                silent.remaining(["x"]),
                silent.delete(["x"]),
                silent.ensure_bucket(),
                silent.names(),
                put(silent, courier, "x", b"x"),
                get(silent, courier, "x"),
            ):
                with pytest.raises(StoreUnavailable):
                    await ask


async def test_an_object_cut_off_on_its_way_here_is_no_object(courier):
    async def half(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(half, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(StoreUnavailable):
            async for _ in courier.get_stream(f"http://127.0.0.1:{port}/x"):
                pass


async def test_a_bucket_that_keeps_versions_is_emptied_of_all_of_them(opened, courier, name):
    async with opened("versioned") as custody:
        await custody.ensure_bucket()
        await custody.ensure_bucket()
        body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        assert (await custody._ask("PUT", query={"versioning": ""}, body=body))[0] == 200
    async with opened("versioned") as custody:
        await custody.ensure_bucket()
        for data in (b"one", b"two"):
            await put(custody, courier, name, data)
        await put(custody, courier, name + "-not", b"another")
        status, _ = await custody._ask("DELETE", name)  # somebody else's plain delete: only a marker
        assert status == 204
        assert await custody.remaining([name]) == [name]
        assert {name, name + "-not"} <= set(await custody.names())
        await custody.delete([name, "never"])
        assert await custody.remaining([name, "never", name + "-not"]) == [name + "-not"]
        assert name not in await custody.names()
