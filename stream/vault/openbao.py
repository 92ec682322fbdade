"""OpenBao's transit engine over HTTP/1.1, spoken so that no key text outlives a call in a process that lives for weeks.

A request's body and an answer's are bytearrays, which whoever made them overwrites; between them and the socket lies
one buffer, which is overwritten too. `http.client` parses: nothing secret is in a header that it copies, our token
aside. Calls run in threads, since a blocking `recv_into` is what reads straight into memory of ours, TLS included.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from cryptography.utils import Buffer

from stream.vault.rootstore import RootStoreUnavailable, Why

ANSWER_S: Final = 1.5
"""Of one call. Below half a self-lease, though nothing that renews a lease waits for one."""

THREADS: Final = 8
AGAIN_S: Final = 0.01
BUFFER_BYTES: Final = 16 << 10
ANSWER_BYTES: Final = 256 << 10  # a key that lists ten thousand versions

_WHY: Final = {
    HTTPStatus.UNAUTHORIZED: Why.REFUSED,
    HTTPStatus.FORBIDDEN: Why.REFUSED,
    HTTPStatus.SERVICE_UNAVAILABLE: Why.SEALED,
}


class Answer:
    """Status and body of one answer. Leaving its `with` overwrites the body."""

    def __init__(self, status: int, body: bytearray) -> None:
        self.status, self.body = status, body

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        wipe(self.body)


class Transit:
    """A mount of one OpenBao's transit engine, for all partitions of a process.

    `token_path`: a file with the token, read for each call, so that an agent may replace it. `ca_path`: of a CA in PEM;
    empty: the system's. Every call here may be repeated, so what a closed connection or another's transaction lost is
    sent again.
    """

    def __init__(
        self, url: str, *, mount: str, token_path: Path, ca_path: str = "", answer_s: float = ANSWER_S
    ) -> None:
        self.url, self._mount, self._token_path, self._answer_s = url, mount, token_path, answer_s
        where = urlsplit(url)
        host, port = where.hostname or "", where.port
        self._connect: Callable[[], http.client.HTTPConnection] = partial(
            http.client.HTTPConnection, host, port, timeout=answer_s
        )
        if where.scheme == "https":
            context = ssl.create_default_context(cafile=ca_path or None)
            self._connect = partial(http.client.HTTPSConnection, host, port, timeout=answer_s, context=context)
        self._idle: list[http.client.HTTPConnection] = []
        # Not the loop's own pool: a server that hangs would keep its few threads from everybody else.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="openbao")

    def __repr__(self) -> str:
        return f"Transit({self.url!r}, mount={self._mount!r})"

    async def ask(self, path: str, body: bytearray | None = None, *, method: str = "") -> Answer:
        """GET, or POST of a JSON body, which is overwritten. 200, 204, 400 or 404; else RootStoreUnavailable."""
        method = method or ("GET" if body is None else "POST")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, method, path, body)
        finally:
            if body is not None:
                wipe(body)

    def close(self) -> None:
        """Close idle connections; calls under way end by their own time."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()

    def _ask(self, method: str, path: str, body: bytearray | None) -> Answer:
        until = time.monotonic() + self._answer_s
        try:
            headers = {"X-Vault-Token": self._token_path.read_text().strip(), "Content-Type": "application/json"}
        except OSError as error:
            raise RootStoreUnavailable(f"expected a readable token file for {self}: {error}", Why.REFUSED) from None
        said: Answer | None = None
        while True:
            kept = bool(self._idle)
            try:
                connection = self._idle.pop() if kept else self._connect()
                connection.response_class = partial(_Response, until=until)  # type: ignore[assignment]
                try:
                    answer = self._exchange(connection, headers, method, path, body)
                except BaseException:
                    connection.close()
                    raise
                self._idle.append(connection)
                if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR and time.monotonic() + AGAIN_S < until:
                    said = answer
                    time.sleep(AGAIN_S)  # another's transaction on this key was committed first
                    continue
                return self._judged(answer)
            except TimeoutError:
                if said is not None:
                    return self._judged(said)  # it did answer, only not the last time
                raise RootStoreUnavailable(
                    f"expected {self} to answer within {self._answer_s:g} s, it did not", Why.SILENT
                ) from None
            except (OSError, http.client.HTTPException) as error:
                if kept:
                    continue  # an idle connection that the server has closed tells nothing of the server
                raise RootStoreUnavailable(
                    f"expected {self} to answer, got {type(error).__name__}", Why.UNREACHABLE
                ) from None

    def _exchange(
        self, connection: http.client.HTTPConnection, headers: dict[str, str], method: str, path: str, body: Any
    ) -> Answer:
        connection.request(method, f"/v1/{self._mount}/{path}", body=body, headers=headers)
        with connection.getresponse() as response:
            return Answer(response.status, _whole(response))

    def _judged(self, answer: Answer) -> Answer:
        if answer.status in {HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
            return answer
        wipe(answer.body)
        raise RootStoreUnavailable(
            f"expected {self} to do as it was asked, got status {answer.status}: is it sealed, or the token's policy"
            " too narrow?",
            _WHY.get(HTTPStatus(answer.status), Why.WRONG),
        )


class _Response(http.client.HTTPResponse):
    """Reads through a `_Reader` instead of a buffer that nobody overwrites."""

    def __init__(self, sock: socket.socket, *args: Any, until: float, **kwargs: Any) -> None:
        super().__init__(_Readable(sock, until), *args, **kwargs)  # type: ignore[arg-type]


class _Readable:
    """As much of a socket as a response looks at."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock, self._until = sock, until

    def makefile(self, _mode: str) -> _Reader:
        return _Reader(self._sock, self._until)


class _Reader(io.RawIOBase):
    """A socket's bytes until a moment (monotonic), by way of one buffer that is overwritten when it is closed."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock, self._until = sock, until
        self._buffer = bytearray(BUFFER_BYTES)
        self._at = self._end = 0

    def readable(self) -> bool:
        """As the protocol wants it."""
        return True

    def readinto(self, into: Any) -> int:
        """All that there is room for, unless the server closes before: as http.client wants it for a chunk."""
        room = memoryview(into).cast("B")
        size = 0
        while size < len(room) and (self._at < self._end or self._fill()):
            count = min(len(room) - size, self._end - self._at)
            room[size : size + count] = memoryview(self._buffer)[self._at : self._at + count]
            size, self._at = size + count, self._at + count
        return size

    def readline(self, size: int | None = -1, /) -> bytes:
        """A line of a header. One that is longer than the buffer comes in parts, which http.client refuses."""
        while (found := self._buffer.find(b"\n", self._at, self._end)) < 0 and self._fill():
            pass
        end = min(found + 1 or self._end, self._at + size if size is not None and size >= 0 else self._end)
        line = bytes(memoryview(self._buffer)[self._at : end])
        self._at = end
        return line

    def close(self) -> None:
        """Overwrite what passed through."""
        wipe(self._buffer)
        super().close()

    def _fill(self) -> int:
        """More bytes behind those that are not read yet: how many."""
        left = self._end - self._at
        self._buffer[:left] = memoryview(self._buffer)[self._at : self._end]
        self._at, self._end = 0, left
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._sock.settimeout(left_s)
        count = self._sock.recv_into(memoryview(self._buffer)[left:]) if left < BUFFER_BYTES else 0
        self._end += count
        return count


def _whole(response: http.client.HTTPResponse) -> bytearray:
    """The body, in an array that never grew: growing would leave a copy of what it held."""
    room = bytearray(ANSWER_BYTES if response.length is None else min(response.length, ANSWER_BYTES))
    size = 0
    with memoryview(room) as view:
        while size < len(room) and (count := response.readinto(view[size:])):
            size += count
    if response.length is None and response.read(1):
        wipe(room)
        raise http.client.HTTPException
    del room[size:]
    return room


def wipe(held: bytearray) -> None:
    """Overwrite with zeros, in place."""
    held[:] = bytes(len(held))


# -- base64 without a copy -----------------------------------------------------------------------------------------

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUE: Final = {letter: value for value, letter in enumerate(_ALPHABET)}
_PAD: Final = ord("=")


def encode64(raw: Buffer, into: memoryview) -> None:
    """Base64 (RFC 4648) of `raw` into a place of ours: `binascii` would return it in an object that stays behind."""
    view = memoryview(raw)
    for at in range(0, len(view), 3):
        some = min(3, len(view) - at)
        bits = sum(view[at + n] << (16 - 8 * n) for n in range(some))
        for n in range(4):
            into[at // 3 * 4 + n] = _ALPHABET[bits >> (18 - 6 * n) & 63] if n <= some else _PAD


def decode64(text: memoryview, into: memoryview) -> None:
    """What `text` says, which must be exactly as long as `into` is. Raises ValueError, which repeats nothing of it."""
    if len(text) != size64(len(into)):
        raise ValueError(f"expected base64 of {len(into)} bytes, got {len(text)} characters")
    for at in range(0, len(text), 4):
        some = min(3, len(into) - at // 4 * 3)
        try:
            bits = sum(_VALUE[text[at + n]] << (18 - 6 * n) for n in range(some + 1))
        except KeyError:
            raise ValueError("expected base64, got another letter") from None
        for n in range(some):
            into[at // 4 * 3 + n] = bits >> (16 - 8 * n) & 255


def size64(size_bytes: int) -> int:
    """Characters of base64, with its padding."""
    return (size_bytes + 2) // 3 * 4
