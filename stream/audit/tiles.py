"""The layout of C2SP tlog-tiles: a log as files that never change, so that caches and auditors need no server of ours.

    checkpoint                     the signed head
    tile/<L>/<N>[.p/<W>]           hashes of complete subtrees of 256^L leaves, 256 of them; the last tile may hold W
    tile/entries/<N>[.p/<W>]       the leaves, 256 to a bundle, each after its length (2 bytes, big-endian)
    tile/signatures/<N>[.p/<W>]    ours: the leaves' signatures in bundles of the same form; empty for a leaf without

<N> in groups of three digits, all but the last after an x: 1234067 is x001/x234/067.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import ClassVar, Final

import msgspec

from stream.audit.merkle import HASH_BYTES
from stream.errors import BadRequest

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
TOP_LEVEL: Final = 5  # 256^6 leaves are more than a log's index may count to
CHECKPOINT: Final = "checkpoint"
ENTRIES: Final = "entries"
SIGNATURES: Final = "signatures"
MAX_ENTRY_BYTES: Final = (1 << 16) - 1

_LENGTH = struct.Struct(">H")
_PATH = re.compile(
    rf"tile/(?P<kind>[0-{TOP_LEVEL}]|{ENTRIES}|{SIGNATURES})/(?P<high>(?:x[0-9]{{3}}/)*)(?P<low>[0-9]{{3}})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class UnknownTile(BadRequest):
    """No such tile: the path is none, or the log has not grown that far."""

    kind: ClassVar[str] = "unknown-tile"
    status: ClassVar[int] = 404


class TruncatedBundle(BadRequest):
    """A bundle ends within an entry, or holds fewer or more of them than its name says."""

    kind: ClassVar[str] = "log-truncated-bundle"
    status: ClassVar[int] = 422


class Tile(msgspec.Struct, frozen=True):
    """One file of the layout. `kind`: a level, `entries` or `signatures`; `width`: 1 to 256, less only for the last."""

    kind: str
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it lies."""
        digits = f"{self.index:03d}"
        digits = digits.rjust(-(-len(digits) // 3) * 3, "0")
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{self.kind}/{'/'.join([*('x' + group for group in groups[:-1]), groups[-1]])}{partial}"

    @property
    def level(self) -> int:
        """Of its hashes; bundles lie beside level 0."""
        return int(self.kind) if self.kind.isdecimal() else 0


def parse_path(path: str) -> Tile:
    """The tile of this path. Raises UnknownTile for every other spelling."""
    found = _PATH.fullmatch(path)
    if found is not None:
        width = int(found["width"] or WIDTH)
        tile = Tile(found["kind"], int(found["high"].replace("x", "").replace("/", "") + found["low"]), width)
        if tile.path == path:
            return tile
    raise UnknownTile("expected the path of a tile: tile/<level, entries or signatures>/<number>[.p/<width>]")


def tiles(size: int, old: int = 0) -> Iterator[Tile]:
    """Every tile of a log of `size` leaves that one of `old` leaves does not have, bundles first."""
    for kind in (ENTRIES, SIGNATURES):
        yield from _row(kind, size, old)
    level = 0
    while size >> HEIGHT * level:
        yield from _row(str(level), size >> HEIGHT * level, old >> HEIGHT * level)
        level += 1


def bundle(entries: Iterable[bytes]) -> bytes:
    """Entries, each after its length. Raises ValueError for one that is too long."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"expected at most {MAX_ENTRY_BYTES} bytes in a log's entry, got {len(entry)}")
        parts += [_LENGTH.pack(len(entry)), entry]
    return b"".join(parts)


def unbundle(raw: bytes, width: int) -> list[bytes]:
    """The `width` entries of a bundle. Raises TruncatedBundle."""
    entries: list[bytes] = []
    at = 0
    while at < len(raw):
        if at + _LENGTH.size > len(raw):
            raise TruncatedBundle("expected a whole bundle, it ends within a length: fetch it again")
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size + length
        if at > len(raw):
            raise TruncatedBundle(f"expected {length} bytes of entry {len(entries)}, the bundle ends: fetch it again")
        entries.append(raw[at - length : at])
    if len(entries) != width:
        raise TruncatedBundle(f"expected a bundle of {width} entries, got {len(entries)}: fetch it again")
    return entries


def hashes(raw: bytes, width: int) -> list[bytes]:
    """The `width` hashes of a tile. Raises TruncatedBundle."""
    if len(raw) != width * HASH_BYTES:
        raise TruncatedBundle(f"expected a tile of {width * HASH_BYTES} bytes, got {len(raw)}: fetch it again")
    return [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]


def _row(kind: str, size: int, old: int) -> Iterator[Tile]:
    full, partial = divmod(size, WIDTH)
    for index in range(old // WIDTH, full):
        yield Tile(kind, index)
    if partial and size > old:
        yield Tile(kind, full, partial)
