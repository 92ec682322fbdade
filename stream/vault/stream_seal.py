"""Sealed streams: media of any size, encrypted and checked chunk by chunk, never whole in memory.

The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: CRYPTO 2015) over AES-256-GCM, keyed as Tink's
AES-GCM-HKDF streaming is:

    header (32 bytes) = "MAYF" ‖ version (1) ‖ chunk size (4) ‖ nonce prefix (7 random) ‖ salt (16 random)
    stream key        = HKDF-SHA256(data key, salt, "stream" ‖ header ‖ len(asset) ‖ asset ‖ app)
    chunk i           = AES-256-GCM(stream key, nonce = prefix ‖ i (4) ‖ last (1: 0 or 1), plaintext, no AAD)

Header, asset id and app are the stream's associated data and go into its key, as in Tink: a stream of another asset is
simply one under another key, and a chunk costs nothing more. The data class is not bound: detection may change it.
Every chunk holds `CHUNK_BYTES` of plaintext except the last, which holds 0 to `CHUNK_BYTES`; only an empty stream has
an empty last chunk, so sizes map one to one and a Content-Length can be sent ahead.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.utils import Buffer

from stream.vault.blank import Blank, blank
from stream.vault.secret import Key, Plaintext, Tampered, Truncated

# Measured: `seal` of 1 MiB runs at 0.86 of one AESGCM call with chunks of 128 KiB, at 0.92 with 256; of 8 MiB at 0.95
# with either. At 128 Python's share is small, and so is what each upload holds and a range read fetches too much.
CHUNK_BYTES: Final = 128 * 1024
TAG_BYTES: Final = 16
HEADER_BYTES: Final = 32

_MAGIC = b"MAYF\x01"
_PREFIX_BYTES = 7
_SALT_BYTES = 16
_SIZE = slice(len(_MAGIC), len(_MAGIC) + 4)
_PREFIX = slice(_SIZE.stop, _SIZE.stop + _PREFIX_BYTES)
_SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES


def sealed_size(plain: int) -> int:
    """Exact size in bytes of the sealed form of `plain` bytes."""
    return HEADER_BYTES + plain + TAG_BYTES * _chunks(plain)


def plain_size(sealed: int) -> int:
    """Exact size in bytes of what was sealed into `sealed` bytes. Raises `Truncated` where no stream has that size."""
    body = sealed - HEADER_BYTES
    plain = body - TAG_BYTES * max(1, -(-body // _SEALED_CHUNK_BYTES))
    if plain < 0 or sealed_size(plain) != sealed:
        raise Truncated(f"expected the size of a sealed stream, got {sealed} bytes: fetch it again, else it is lost")
    return plain


class Sealer:
    """Seals one stream: `header()`, `update(...)` as often as bytes come, `final()`; `wipe()` if it is abandoned."""

    def __init__(self, key: Key, asset: bytes, app: str) -> None:
        self._header = _new_header()
        self._cipher = _Cipher(key, self._header, asset, app)
        self._pending = bytearray(CHUNK_BYTES)  # the chunk that may turn out to be the last: 0 to CHUNK_BYTES of it
        self._held = 0
        self._next = 0

    def header(self) -> bytes:
        """The first `HEADER_BYTES` of the sealed stream; in clear, and nothing secret."""
        return self._header

    def update(self, data: Buffer) -> bytes:
        """Take the next plaintext bytes; return whichever sealed chunks are now complete (often none)."""
        view = memoryview(data).cast("B")
        full = (self._held + len(view) - 1) // CHUNK_BYTES if len(view) else 0
        if not full:
            self._hold(view)
            return b""
        out = Blank(full * _SEALED_CHUNK_BYTES)
        at = 0
        for i in range(full):
            room = out.view[i * _SEALED_CHUNK_BYTES : (i + 1) * _SEALED_CHUNK_BYTES]
            if self._held:
                at = CHUNK_BYTES - self._held
                self._hold(view[:at])
                self._seal(memoryview(self._pending), room)
                self._held = 0
            else:
                self._seal(view[at : at + CHUNK_BYTES], room)
                at += CHUNK_BYTES
        self._hold(view[at:])
        return out.finish()

    def final(self) -> bytes:
        """The last sealed chunk, marked as last. Wipes the plaintext held; the sealer is used up."""
        out = Blank(self._held + TAG_BYTES)
        self._seal(memoryview(self._pending)[: self._held], out.view, last=True)
        self.wipe()
        return out.finish()

    def wipe(self) -> None:
        """Overwrite the plaintext held back. Idempotent; `final` does it too."""
        self._pending[:] = bytes(CHUNK_BYTES)
        self._held = 0

    def _hold(self, view: memoryview) -> None:
        self._pending[self._held : self._held + len(view)] = view
        self._held += len(view)

    def _seal(self, plain: memoryview, room: memoryview, *, last: bool = False) -> None:
        self._cipher.seal(self._next, plain, room, last=last)
        self._next += 1


class Opener:
    """Opens one stream as its bytes come: `update(...)` as often as they do, then `final()`.

    What `update` returns is authentic and in its place; that nothing is missing is known only when `final` returns.
    """

    def __init__(self, key: Key, asset: bytes, app: str) -> None:
        self._grant = (key, asset, app)
        self._cipher: _Cipher | None = None
        self._pending = bytearray()  # sealed bytes: less than a header, or the chunk that may be the last
        self._next = 0

    def update(self, data: Buffer) -> bytes:
        """Take the next sealed bytes; return the plaintext that is now certain. Raises `Tampered`."""
        self._pending += data
        if self._cipher is None:
            if len(self._pending) < HEADER_BYTES:
                return b""
            self._cipher = _Cipher(self._grant[0], bytes(self._pending[:HEADER_BYTES]), *self._grant[1:])
            del self._pending[:HEADER_BYTES]
        full = (len(self._pending) - 1) // _SEALED_CHUNK_BYTES if self._pending else 0
        if not full:
            return b""
        out = Blank(full * CHUNK_BYTES)
        with memoryview(self._pending) as sealed:
            for i in range(full):
                chunk = sealed[i * _SEALED_CHUNK_BYTES : (i + 1) * _SEALED_CHUNK_BYTES]
                self._cipher.open(self._next + i, chunk, out.view[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES])
                chunk.release()
        self._next += full
        del self._pending[: full * _SEALED_CHUNK_BYTES]
        return out.finish()

    def final(self) -> bytes:
        """The last plaintext. Raises `Tampered`, and `Truncated` where there cannot be a last chunk."""
        size = len(self._pending) - TAG_BYTES
        if self._cipher is None or size < 0 or (size == 0 and self._next):
            raise Truncated(f"expected a chunk after {self._next}, the stream ended: fetch it again, else it is lost")
        out = Blank(size)
        self._cipher.open_last(self._next, memoryview(self._pending), out.view)
        return out.finish()


def seal(key: Key, asset: bytes, app: str, plain: Buffer) -> bytes:
    """The whole sealed stream of `plain`, in one allocation."""
    view = memoryview(plain).cast("B")
    header = _new_header()
    cipher = _Cipher(key, header, asset, app)
    out = Blank(sealed_size(len(view)))
    out.view[:HEADER_BYTES] = header
    for i, last, clear, sealed in _layout(len(view)):
        cipher.seal(i, view[clear], out.view[sealed], last=last)
    return out.finish()


def open_(key: Key, asset: bytes, app: str, sealed: Buffer) -> Plaintext:
    """The plaintext of a whole sealed stream, in memory its holder can wipe. Raises `Tampered` or `Truncated`."""
    view = memoryview(sealed).cast("B")
    plain = blank(plain_size(len(view)))
    cipher = _Cipher(key, bytes(view[:HEADER_BYTES]), asset, app)
    room = memoryview(plain)
    for i, last, clear, chunk in _layout(len(plain)):
        (cipher.open_last if last else cipher.open)(i, view[chunk], room[clear])
    return Plaintext(plain)


class RangePlan(msgspec.Struct, frozen=True):
    """Which sealed bytes a plaintext range needs: fetch [`start`, `stop`) of the object, besides its header."""

    start: int
    stop: int
    first_chunk: int
    plain_size: int
    skip: int
    length: int


def range_plan(start: int, stop: int, plain_size: int) -> RangePlan:
    """The plan for plaintext [`start`, `stop`) of a stream of `plain_size` bytes; 0 <= start < stop <= plain_size."""
    if not 0 <= start < stop <= plain_size:
        raise ValueError(f"expected a range within 0 and {plain_size}, got {start} to {stop}: cut it first")
    first, last = start // CHUNK_BYTES, (stop - 1) // CHUNK_BYTES
    return RangePlan(
        start=HEADER_BYTES + first * _SEALED_CHUNK_BYTES,
        stop=min(HEADER_BYTES + (last + 1) * _SEALED_CHUNK_BYTES, sealed_size(plain_size)),
        first_chunk=first,
        plain_size=plain_size,
        skip=start - first * CHUNK_BYTES,
        length=stop - start,
    )


def open_range(key: Key, asset: bytes, app: str, *, header: bytes, sealed: Buffer, plan: RangePlan) -> bytes:
    """The plaintext range that `plan` was made for, from the object's `header` and the sealed bytes it names.

    Raises `Tampered`, also where the stream is not of the size the plan was made for, `Truncated` where bytes miss.
    """
    view = memoryview(sealed).cast("B")
    if len(view) != plan.stop - plan.start:
        raise Truncated(f"expected {plan.stop - plan.start} sealed bytes, got {len(view)}: fetch the range again")
    cipher = _Cipher(key, header, asset, app)
    out = blank(len(view))
    final_chunk = _chunks(plan.plain_size) - 1
    size = 0
    for i, at in enumerate(range(0, len(view), _SEALED_CHUNK_BYTES), plan.first_chunk):
        chunk = view[at : at + _SEALED_CHUNK_BYTES]
        room = memoryview(out)[size : size + len(chunk) - TAG_BYTES]
        (cipher.open_last if i == final_chunk else cipher.open)(i, chunk, room)
        size += len(room)
    return bytes(memoryview(out)[plan.skip : plan.skip + plan.length])


class _Cipher:
    """The chunk cipher of one stream: its key, and the nonce of each chunk."""

    def __init__(self, key: Key, header: bytes, asset: bytes, app: str) -> None:
        if not (header.startswith(_MAGIC) and int.from_bytes(header[_SIZE], "big") == CHUNK_BYTES):
            raise Tampered("expected the header of a sealed stream, version 1, got something else: not sealed by us")
        context = b"stream" + header + len(asset).to_bytes(4, "big") + asset + app.encode()
        self._aes = AESGCM(key.derive(context, salt=header[-_SALT_BYTES:]).view)
        self._prefix = header[_PREFIX]

    def seal(self, i: int, plain: memoryview, room: memoryview, *, last: bool) -> None:
        self._aes.encrypt_into(self._nonce(i, last=last), plain, None, room)

    def open(self, i: int, sealed: memoryview, room: memoryview) -> None:
        self._open(i, sealed, room, last=False)

    def open_last(self, i: int, sealed: memoryview, room: memoryview) -> None:
        self._open(i, sealed, room, last=True)

    def _open(self, i: int, sealed: memoryview, room: memoryview, *, last: bool) -> None:
        try:
            self._aes.decrypt_into(self._nonce(i, last=last), sealed, None, room)
        except InvalidTag:
            message = f"expected chunk {i} of a stream sealed for this asset and app, got something else: do not use it"
            raise Tampered(message) from None

    def _nonce(self, i: int, *, last: bool) -> bytes:
        return self._prefix + i.to_bytes(4, "big") + (b"\x01" if last else b"\x00")


def _new_header() -> bytes:
    return _MAGIC + CHUNK_BYTES.to_bytes(4, "big") + secrets.token_bytes(_PREFIX_BYTES + _SALT_BYTES)


def _chunks(plain: int) -> int:
    return max(1, -(-plain // CHUNK_BYTES))


def _layout(plain: int) -> Iterator[tuple[int, bool, slice, slice]]:
    """Of every chunk: its number, whether it is the last, where it lies in plaintext, where in the sealed stream."""
    count = _chunks(plain)
    for i in range(count):
        clear = slice(i * CHUNK_BYTES, min((i + 1) * CHUNK_BYTES, plain))
        start = HEADER_BYTES + i * _SEALED_CHUNK_BYTES
        yield i, i == count - 1, clear, slice(start, start + clear.stop - clear.start + TAG_BYTES)
