"""How a walker reads bytes that have not come yet: it yields what it needs, and is resumed when that has been met.

A walker is a generator over a `Tape`; `yield from tape.take(8)` reads like a file and waits like a parser. A need is
met piece by piece as chunks arrive, and holds no more than it must answer with.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from services.gateway.intake.errors import MalformedMedia, Polyglot

_MAX_READS = 50_000  # a walk costs microseconds a read; nobody's photo has as many parts, a hostile file has millions

# A marker that is neither stuffing (FF 00), a fill byte (FF FF) nor a restart (FF D0-D7): ITU-T T.81, B.1.1.
_FF = 0xFF
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

_FOREIGN = re.compile(rb"%PDF-|PK\x03\x04|PK\x05\x06|\x7fELF|Rar!\x1a\x07|7z\xbc\xaf\x27\x1c|(?i:<\?php|<script|<html)")
_FOREIGN_MAX_BYTES = 7

Watcher = Callable[[memoryview], None]


class Need(Protocol):
    """Something a walker waits for; unmet when it is yielded."""

    def offer(self, view: memoryview) -> int:
        """Use bytes from the front of `view`, which is not empty; return how many."""

    @property
    def met(self) -> bool:
        """Whether the walker can go on."""


Walk = Generator[Need, None, None]


class Take:
    """Exactly so many bytes, kept; where `or_end`, the upload may also end instead of the first of them."""

    def __init__(self, size: int, *, or_end: bool) -> None:
        self.got = bytearray()
        self._size = size
        self._or_end = or_end

    def offer(self, view: memoryview) -> int:
        """See `Need`."""
        part = view[: self._size - len(self.got)]
        self.got += part
        return len(part)

    @property
    def met(self) -> bool:
        """See `Need`."""
        return len(self.got) == self._size

    @property
    def may_end(self) -> bool:
        """Whether the upload may end here."""
        return self._or_end and not self.got


class _Skip:
    def __init__(self, size: int, watchers: Sequence[Watcher]) -> None:
        self._left = size
        self._watchers = watchers

    def offer(self, view: memoryview) -> int:
        part = view[: self._left]
        self._left -= len(part)
        for watch in self._watchers:
            watch(part)
        return len(part)

    @property
    def met(self) -> bool:
        return not self._left


class _Marker:
    """Ends behind the next JPEG marker; `code` is its second byte."""

    code = -1
    _after_ff = False

    def offer(self, view: memoryview) -> int:
        if self._after_ff and _JPEG_MARKER.match(b"\xff" + view[:1]):
            self.code = view[0]
            return 1
        if found := _JPEG_MARKER.search(view):
            self.code = view[found.end() - 1]
            return found.end()
        self._after_ff = view[-1] == _FF
        return len(view)

    @property
    def met(self) -> bool:
        return self.code >= 0


class Crc32:
    """Watches what is skipped: the CRC-32 of it."""

    def __init__(self, start: bytes) -> None:
        self.value = zlib.crc32(start)

    def __call__(self, part: memoryview) -> None:
        """Count it in."""
        self.value = zlib.crc32(part, self.value)


class NothingForeign:
    """Watches what is skipped: raises `Polyglot` at another format's signature, wherever chunks cut it."""

    def __init__(self) -> None:
        self._tail = b""

    def __call__(self, part: memoryview) -> None:
        """Search it, and what it continues."""
        window = self._tail + part
        if _FOREIGN.search(window):
            raise Polyglot("expected a picture or video and nothing else, got another format inside: export it again")
        self._tail = window[1 - _FOREIGN_MAX_BYTES :]


class Tape:
    """The bytes of one upload, read forwards only; `at` is the position behind the last one a walker asked for."""

    def __init__(self) -> None:
        self.at = 0
        self._reads = 0

    def take(self, size: int) -> Generator[Need, None, bytes]:
        """Exactly `size` bytes, held in memory: for headers."""
        return (yield from self._take(size, or_end=False))

    def take_or_end(self, size: int) -> Generator[Need, None, bytes]:
        """`size` bytes, or none where the upload ends here."""
        return (yield from self._take(size, or_end=True))

    def skip(self, size: int, *watchers: Watcher) -> Walk:
        """Let `size` bytes pass, under the eyes of `watchers`."""
        self._count()
        if size:
            yield _Skip(size, watchers)
        self.at += size

    def jpeg_marker(self) -> Generator[Need, None, int]:
        """Let entropy-coded data pass; the code of the marker that ends it. `at` no longer counts."""
        self._count()
        need = _Marker()
        yield need
        return need.code

    def _take(self, size: int, *, or_end: bool) -> Generator[Need, None, bytes]:
        self._count()
        need = Take(size, or_end=or_end)
        yield need
        self.at += len(need.got)
        return bytes(need.got)

    def _count(self) -> None:
        self._reads += 1
        if self._reads > _MAX_READS:
            raise MalformedMedia(f"expected at most {_MAX_READS} parts, got more: export it again")
