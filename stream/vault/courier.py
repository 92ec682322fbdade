"""Carries sealed bytes to and from presigned URLs, streaming; all that gateways and engine actors need of custody.

A URL is a credential: it never appears in an error. An object appears only when all of its bytes have arrived; a PUT
that is cut off leaves nothing (S3's contract, checked on the real store in `tests/contract/test_custody.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Self

import aiohttp
from yarl import URL

from stream.errors import LostLease, StoreUnavailable

_CONNECTIONS = 64
_CONNECT_TIMEOUT_S = 5.0
_SILENCE_TIMEOUT_S = 30.0  # between two reads: a slow stream may last, a dead one may not
_READ_BUFFER_BYTES = 256 * 1024
_OK = range(200, 300)
_FORBIDDEN = 403
_NOT_FOUND = 404


class NoSuchObject(StoreUnavailable):
    """No object under this URL: its upload never ended, or its time came."""

    kind = "no-such-object"


class UrlRefused(LostLease):
    """The store refuses this URL: it has expired with its lease, or it is for something else."""

    kind = "url-refused"


class Courier:
    """A pool of kept-alive connections to object stores. Use as `async with Courier() as courier`."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=_SILENCE_TIMEOUT_S),
            read_bufsize=_READ_BUFFER_BYTES,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def put_stream(self, url: str, size: int, chunks: AsyncIterator[bytes]) -> None:
        """PUT exactly `size` bytes (at least one) as they come.

        Whatever `chunks` raises ends the PUT, leaves no object and is raised here as it is. Raises `StoreUnavailable`,
        `UrlRefused`, and `ValueError` where there are fewer or more bytes than `size`.
        """
        body = _Body(chunks, size)
        # The first bytes are awaited before anything is sent: the store takes a body that ends before its first byte
        # for an empty object, whatever length was declared (seen on SeaweedFS 4.48), and refusals mostly come first.
        await body.begin()
        try:
            async with self._open.put(_url(url), data=aiter(body), headers={"Content-Length": str(size)}) as response:
                _accepted(response.status, "PUT")
        except (aiohttp.ClientError, OSError) as error:
            raise body.error or _unanswered("PUT", error) from None

    async def get_stream(self, url: str, byte_range: tuple[int, int] | None = None) -> AsyncGenerator[bytes]:
        """The object's bytes as they come, or those of [start, stop); `contextlib.aclosing` it if you stop early.

        Raises `NoSuchObject`, `UrlRefused`, `StoreUnavailable`, the last also where the object's end does not come.
        """
        headers = {} if byte_range is None else {"Range": f"bytes={byte_range[0]}-{byte_range[1] - 1}"}
        try:
            async with self._open.get(_url(url), headers=headers) as response:
                _accepted(response.status, "GET")
                async for chunk in response.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise _unanswered("GET", error) from None

    async def ask(
        self, method: str, url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of a short request, whatever the status. Raises `StoreUnavailable` where no answer comes."""
        try:
            async with self._open.request(method, _url(url), data=body, headers=headers) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise _unanswered(method, error) from None

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("expected an entered Courier: use `async with`")
        return self._session


class _Body:
    """A request body that counts, and remembers why it ended: aiohttp hides that behind an error of its own."""

    def __init__(self, chunks: AsyncIterator[bytes], size: int) -> None:
        self.error: BaseException | None = None
        self._chunks = chunks
        self._left = size
        self._first = b""

    async def begin(self) -> None:
        self._first = await self._next()

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        chunk = self._first
        while chunk:
            # One chunk is held back: the last bytes, which make the object appear, leave only if `chunks` ends well.
            following = await self._next()
            yield chunk
            chunk = following

    async def _next(self) -> bytes:
        try:
            return await self._take()
        except BaseException as error:
            self.error = error
            raise

    async def _take(self) -> bytes:
        async for chunk in self._chunks:
            self._left -= len(chunk)
            if self._left < 0:
                raise ValueError(f"expected no more bytes than foretold, got {-self._left} more: count before")
            if chunk:
                return chunk
        if self._left:
            raise ValueError(f"expected {self._left} bytes more than came: count before")
        return b""


def _url(url: str) -> URL:
    return URL(url, encoded=True)  # as signed: re-encoding could change what the signature covers


def _accepted(status: int, method: str) -> None:
    if status in _OK:
        return
    if status == _NOT_FOUND:
        raise NoSuchObject(f"expected an object to {method}, got 404: it was never complete, or it is gone")
    if status == _FORBIDDEN:
        raise UrlRefused(f"expected the store to accept this {method}, got 403: ask for a new grant")
    raise StoreUnavailable(f"expected the store to accept this {method}, got {status}: try again later")


def _unanswered(method: str, error: BaseException) -> StoreUnavailable:
    return StoreUnavailable(
        f"expected the object store to answer {method}, got {type(error).__name__}: try again later"
    )
