"""Where ciphertext waits, and how it leaves for good. Only sealed bytes come here: custody holds no key and no name.

The owner of an asset holds a `Custody` and gives out URLs; who moves the bytes holds a `Courier` and nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Iterable
from typing import Protocol, Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from stream.errors import StoreUnavailable
from stream.vault.courier import Courier
from stream.vault.presign import Signer

_BATCH = 1000  # S3's limit for DeleteObjects
_CONCURRENCY = 32
_SIGNED_FOR_S = 60  # our own short requests
_OK = 200
_CONFLICT = 409
_NOT_FOUND = 404


class Custody(Protocol):
    """A place for sealed objects under random names."""

    def put_url(self, name: str, expires_s: int) -> str:
        """The URL by which anybody may store the object `name`, for so many seconds."""

    def get_url(self, name: str, expires_s: int) -> str:
        """The URL by which anybody may fetch the object `name`, for so many seconds."""

    async def delete(self, names: Iterable[str]) -> None:
        """Delete these objects, every version of them; what is not there is no error. Raises `StoreUnavailable`."""

    async def remaining(self, names: Iterable[str]) -> list[str]:
        """Which of these are still there, in any version. Raises `StoreUnavailable`: silence proves no absence."""


class S3Custody:
    """Custody in one bucket of any S3. Use as `async with`.

    The bucket should keep no versions and `ensure_bucket` makes it so; one that keeps them by its operator's rule is
    not refused: then `delete` and `remaining` list and cover every version and marker, at one request more per name.
    Only single PUTs are signed, so there are no multipart uploads to abort.
    """

    def __init__(self, endpoint: str, access_key: str, secret_key: str, bucket: str) -> None:
        self._signer = Signer(endpoint, access_key, secret_key)
        self._bucket = bucket
        self._courier = Courier()
        self._limit = asyncio.Semaphore(_CONCURRENCY)
        self._versioned: bool | None = None

    async def __aenter__(self) -> Self:
        await self._courier.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._courier.__aexit__(*exc)

    def put_url(self, name: str, expires_s: int) -> str:
        """The URL by which anybody may store the object `name`; signed here, 0.02 ms."""
        return self._url("PUT", name, expires_s=expires_s)

    def get_url(self, name: str, expires_s: int) -> str:
        """The URL by which anybody may fetch the object `name`; signed here, 0.02 ms."""
        return self._url("GET", name, expires_s=expires_s)

    async def ensure_bucket(self) -> None:
        """Make the bucket unless it is there, and learn whether it keeps versions. Raises `StoreUnavailable`."""
        status, _ = await self._ask("HEAD")
        if status == _NOT_FOUND:
            status, answer = await self._ask("PUT")
            if status == _CONFLICT and b"BucketAlreadyOwnedByYou" in answer:  # another of us was faster
                status = _OK
        if status != _OK:
            raise StoreUnavailable(f"expected a bucket of ours, got {status}: choose another name, or check the key")
        await self._keeps_versions()

    async def delete(self, names: Iterable[str]) -> None:
        """Delete these objects, every version of them; what is not there is no error. Raises `StoreUnavailable`."""
        wanted = list(dict.fromkeys(names))
        if await self._keeps_versions():
            while found := [pair for pairs in await asyncio.gather(*map(self._versions, wanted)) for pair in pairs]:
                await self._delete(found)
        else:
            await self._delete([(name, "") for name in wanted])

    async def remaining(self, names: Iterable[str]) -> list[str]:
        """Which of these are still there, in any version. Raises `StoreUnavailable`: silence proves no absence."""
        wanted = list(dict.fromkeys(names))
        look = self._versions if await self._keeps_versions() else self._exists
        there = await asyncio.gather(*map(look, wanted))
        return [name for name, found in zip(wanted, there, strict=True) if found]

    async def names(self) -> list[str]:
        """Every object in the bucket, those included of which only old versions are left. For a restore."""
        versioned = await self._keeps_versions()
        query = {"versions": ""} if versioned else {"list-type": "2"}
        found: dict[str, None] = {}
        while True:
            status, answer = await self._ask("GET", query=query)
            if status != _OK:
                raise StoreUnavailable(f"expected a list of the bucket, got {status}: nothing is known, ask again")
            listed = ET.fromstring(answer)  # noqa: S314 - our own store's answer, and expat resolves nothing external
            tags = ("Version", "DeleteMarker") if versioned else ("Contents",)
            found |= {e.findtext("{*}Key", ""): None for tag in tags for e in listed.iterfind(f"{{*}}{tag}")}
            if listed.findtext("{*}IsTruncated") != "true":
                return list(found)
            if versioned:
                query = {"versions": "", "key-marker": listed.findtext("{*}NextKeyMarker", "")}
                if marker := listed.findtext("{*}NextVersionIdMarker", ""):
                    query["version-id-marker"] = marker
            else:
                query = {"list-type": "2", "continuation-token": listed.findtext("{*}NextContinuationToken", "")}

    async def _delete(self, objects: list[tuple[str, str]]) -> None:
        for at in range(0, len(objects), _BATCH):
            batch = objects[at : at + _BATCH]
            body = f"<Delete><Quiet>true</Quiet>{''.join(_entry(*pair) for pair in batch)}</Delete>".encode()
            digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()  # S3 asks for MD5
            status, answer = await self._ask("POST", query={"delete": ""}, body=body, headers={"Content-MD5": digest})
            if status != _OK or b"<Error>" in answer:
                message = f"expected {len(batch)} objects deleted, got {status} and {answer.count(b'<Error>')} refusals"
                raise StoreUnavailable(f"{message}: try again, and look for object locks")

    async def _exists(self, name: str) -> bool:
        status, _ = await self._ask("HEAD", name)
        if status not in {_OK, _NOT_FOUND}:
            raise StoreUnavailable(f"expected 200 or 404 to a HEAD, got {status}: nothing is known, ask again")
        return status == _OK

    async def _versions(self, name: str) -> list[tuple[str, str]]:
        """(name, version id) of up to 1,000 versions and delete markers."""
        status, answer = await self._ask("GET", query={"versions": "", "prefix": name})
        if status != _OK:
            raise StoreUnavailable(f"expected a list of versions, got {status}: nothing is known, ask again")
        listed = ET.fromstring(answer)  # noqa: S314 - our own store's answer, and expat resolves nothing external
        versions = (e for tag in ("Version", "DeleteMarker") for e in listed.iterfind(f"{{*}}{tag}"))
        return [(name, e.findtext("{*}VersionId", "")) for e in versions if e.findtext("{*}Key") == name]

    async def _keeps_versions(self) -> bool:
        if self._versioned is None:
            status, answer = await self._ask("GET", query={"versioning": ""})
            if status != _OK:
                raise StoreUnavailable(f"expected to learn whether the bucket keeps versions, got {status}: try again")
            self._versioned = b"<Status>" in answer  # Suspended, too, keeps the versions from before
        return self._versioned

    async def _ask(
        self,
        method: str,
        name: str = "",
        *,
        query: dict[str, str] | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        url = self._url(method, name, expires_s=_SIGNED_FOR_S, query=query)
        async with self._limit:
            return await self._courier.ask(method, url, body=body, headers=headers)

    def _url(self, method: str, name: str, *, expires_s: int, query: dict[str, str] | None = None) -> str:
        path = f"/{self._bucket}/{name}" if name else f"/{self._bucket}"
        return self._signer.url(method, path, expires_s=expires_s, now=time.time(), query=query)


def _entry(name: str, version: str) -> str:
    version_id = f"<VersionId>{escape(version)}</VersionId>" if version else ""
    return f"<Object><Key>{escape(name)}</Key>{version_id}</Object>"
