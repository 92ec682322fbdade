"""A root store in OpenBao: each version is a transit key of its own, which never leaves the server, and is deleted.

They are not versions of one transit key: owners may meet for a moment (a former one wakes), and when 30 of them raised
`min_decryption_version` and trimmed one key at once, OpenBao 2.7.2 was left, in 2 of 3 rounds, with a newest version
that opened nothing any more: the loss of a partition. Here owners never write to the same key, except to delete one
that is old for both. Names carry 64 random bits, so that no two attempts ever share a version.
"""

from __future__ import annotations

import re
import secrets
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec

from stream.vault.openbao import Transit, decode64, encode64, size64, wipe
from stream.vault.rootstore import RootGone, RootStoreUnavailable, Why, version_of

T = TypeVar("T")

ROOT_BYTES: Final = 32
MARK_BYTES: Final = 8
ROUNDS: Final = 5
"""Of looking for what is older and deleting it; more than one only while another owner deletes the same."""

_TEXT_BYTES: Final = size64(ROOT_BYTES)
_PLAINTEXT: Final = b'"plaintext":"'
_SERVERS: Final = "vault:v1:"
_WRAPPED: Final = re.compile(rb"openbao:(v[1-9][0-9]{0,17}-[0-9a-f]{16}):([A-Za-z0-9+/]+=*)")


class _Names(msgspec.Struct, frozen=True):
    keys: list[str]


class _NamesAnswer(msgspec.Struct, frozen=True):
    data: _Names


class _Wrapping(msgspec.Struct, frozen=True):
    ciphertext: str


class _WrappingAnswer(msgspec.Struct, frozen=True):
    data: _Wrapping


class OpenBaoRootStore:
    """Transit keys `root-{partition}.v12-{random}`. Wrapped keys read `openbao:v12-{random}:` and what the server made.

    `root-{partition}.used` says that a root was committed. Its material wraps nothing.
    """

    claim = (
        "openbao: root keys are wrapped by transit keys that never leave the server and are deleted; what was deleted"
        " lies in its raft files until these are overwritten, readable for who has the disk and the unseal key: run"
        " raft on a tmpfs without snapshots, or seal it by an HSM"
    )

    def __init__(self, transit: Transit, partition: int) -> None:
        self._transit, self._prefix = transit, f"root-{partition}."

    def __repr__(self) -> str:
        return f"OpenBaoRootStore({self._prefix!r}, {self._transit!r})"

    async def used(self) -> bool:
        """See RootStore."""
        return "used" in await self._names()

    async def versions(self) -> list[int]:
        """See RootStore."""
        return [number for name in await self._names() if (number := _number(name))]

    async def wrap(self, key: bytes) -> bytes:
        """See RootStore."""
        version = f"v{max(await self.versions(), default=0) + 1}-{secrets.token_hex(MARK_BYTES)}"
        await self._make(version)
        body = bytearray(b'{"plaintext":"%s"}' % bytes(_TEXT_BYTES))
        with memoryview(body) as view:
            encode64(key, view[body.index(0) :][:_TEXT_BYTES])
        with await self._transit.ask(f"encrypt/{self._prefix}{version}", body) as answer:
            text = self._decode(answer.body, _WrappingAnswer).data.ciphertext
        if not text.startswith(_SERVERS):
            raise self._wrong("a wrapping under a key's first version")
        return f"openbao:{version}:{text.removeprefix(_SERVERS)}".encode()

    async def unwrap(self, wrapped: bytes) -> bytes:
        """See RootStore."""
        version, text = _parts(wrapped)
        body = bytearray(b'{"ciphertext":"%s%s"}' % (_SERVERS.encode(), text))
        with await self._transit.ask(f"decrypt/{self._prefix}{version}", body) as answer:
            if answer.status != HTTPStatus.OK:
                raise RootGone(
                    f"expected {version_of(wrapped)} to open this root, but it does not live in {self._transit}: the"
                    " `keys` topic is older than its store, or another's; bring the topic back from a replica, never a"
                    " backup"
                )
            at = answer.body.find(_PLAINTEXT) + len(_PLAINTEXT)
            raw = bytearray(ROOT_BYTES)
            try:
                with memoryview(answer.body) as plain, memoryview(raw) as into:
                    decode64(plain[at : answer.body.find(b'"', at)], into)
                return bytes(raw)
            except ValueError:
                raise self._wrong("a root key") from None
            finally:
                wipe(raw)

    async def destroy_before(self, wrapped: bytes) -> None:
        """See RootStore."""
        limit = _number(_parts(wrapped)[0])
        for _ in range(ROUNDS):
            names = await self._names()
            if "used" not in names:
                await self._make("used")
            older = [name for name in names if 0 < _number(name) < limit]
            if all([await self._delete(name) for name in older]):
                return
        raise self._wrong(f"{len(older)} older versions to be deleted")

    async def _names(self) -> list[str]:
        """Versions of this partition, and `used` if it is there."""
        with await self._transit.ask("keys?list=true") as answer:
            if answer.status == HTTPStatus.NOT_FOUND:  # a mount without keys, or no mount: making a key will tell
                return []
            names = self._decode(answer.body, _NamesAnswer).data.keys
        return [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]

    async def _make(self, name: str) -> None:
        with await self._transit.ask(f"keys/{self._prefix}{name}", bytearray(b'{"type":"aes256-gcm96"}')) as answer:
            if answer.status != HTTPStatus.OK:
                raise self._wrong("a key to be made")

    async def _delete(self, name: str) -> bool:
        """Whether it was we who deleted it."""
        path = f"keys/{self._prefix}{name}"
        with await self._transit.ask(f"{path}/config", bytearray(b'{"deletion_allowed":true}')):
            pass
        with await self._transit.ask(path, method="DELETE") as answer:
            return answer.status == HTTPStatus.NO_CONTENT

    def _decode(self, body: bytearray, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError:
            raise self._wrong(kind.__name__) from None

    def _wrong(self, expected: str) -> RootStoreUnavailable:
        return RootStoreUnavailable(
            f"expected {expected} from {self._transit}, got another answer: is it an OpenBao with a transit engine at"
            " this mount?",
            Why.WRONG,
        )


def _parts(wrapped: bytes) -> tuple[str, bytes]:
    """Raises RootGone for what no OpenBaoRootStore wrapped."""
    found = _WRAPPED.fullmatch(wrapped)
    if found is None:
        raise RootGone(f"expected a root wrapped by OpenBao, got {len(wrapped)} bytes of another store's")
    return found[1].decode(), found[2]


def _number(version: str) -> int:
    """12 of `v12-…`: the order of versions. 0 for what is none."""
    digits = version.partition("-")[0].removeprefix("v")
    return int(digits) if digits.isdecimal() else 0
