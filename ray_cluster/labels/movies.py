"""Metadata of MP4: what there is leaves, ours comes in: key `AIGC` in moov/udta/meta, and an XMP packet.

Boxes as in ISO/IEC 14496-12; the key as QuickTime's `mdta` handler has it, which is where ffmpeg reads and writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ray_cluster.labels.errors import Unlabellable

XMP_UUID: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
KEY: Final = b"AIGC"
_DROPPED: Final = frozenset({b"udta", b"meta"})
_INSIDE: Final = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
_HEAD_BYTES, _LARGE = 8, 1
_TEXT: Final = 1  # of an `ilst` value: UTF-8


class Box(NamedTuple):
    """Where a box is in its file."""

    kind: bytes
    start: int
    body: int
    end: int


def embed(media: bytes | bytearray | memoryview, xmp: bytes, aigc_json: str) -> bytearray:
    """A copy of `media` whose only metadata are these. Raises Unlabellable."""
    view = memoryview(media)
    top = list(boxes(view, 0, len(view)))
    moov = next((box for box in top if box.kind == b"moov"), None)
    if moov is None or not any(box.kind == b"mdat" for box in top):
        raise Unlabellable("expected a whole MP4 to label, got something else; another attempt may work")
    index = _rebuilt(view, moov) + _udta(aigc_json)
    grown = len(index) + _HEAD_BYTES - (moov.end - moov.start)
    out = bytearray()
    for box in top:
        if box.kind == b"moov":
            shifted = any(other.kind == b"mdat" and other.start > moov.start for other in top)
            out += _box(b"moov", _moved(index, grown if shifted else 0))
        elif not (box.kind in _DROPPED or (box.kind == b"uuid" and view[box.body : box.body + 16] == XMP_UUID)):
            out += view[box.start : box.end]
    return out + _box(b"uuid", XMP_UUID + xmp)


def read(media: bytes | bytearray | memoryview) -> tuple[bytes, str, tuple[str, ...]]:
    """The XMP packet, the text of key `AIGC`, and the names of other metadata; empty where there are none."""
    view = memoryview(media)
    xmp, aigc, others = b"", "", []
    for box in boxes(view, 0, len(view)):
        if box.kind == b"uuid" and view[box.body : box.body + 16] == XMP_UUID:
            xmp = bytes(view[box.body + 16 : box.end])
        elif box.kind == b"moov":
            for user in (one for one in boxes(view, box.body, box.end) if one.kind in _DROPPED):
                text, more = _texts(view, user)
                aigc = aigc or text
                others += more
    return xmp, aigc, tuple(dict.fromkeys(others))


def boxes(view: memoryview, at: int, end: int) -> Iterator[Box]:
    """The boxes between two places; a damaged one ends the walk."""
    while at + _HEAD_BYTES <= end:
        size, body = int.from_bytes(view[at : at + 4], "big"), at + _HEAD_BYTES
        if size == _LARGE and at + 16 <= end:
            size, body = int.from_bytes(view[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = end - at
        if at + size > end or size < body - at:
            return
        yield Box(bytes(view[at + 4 : at + 8]), at, body, at + size)
        at += size


def _rebuilt(view: memoryview, parent: Box) -> bytes:
    """The children of `parent` without metadata, as bytes."""
    out = bytearray()
    for box in boxes(view, parent.body, parent.end):
        if box.kind in _DROPPED:
            continue
        out += _box(box.kind, _rebuilt(view, box)) if box.kind == b"trak" else view[box.start : box.end]
    return bytes(out)


def _moved(index: bytes, by: int) -> bytes:
    """The children of moov with every chunk's offset moved."""
    out = bytearray(index)
    view = memoryview(index)
    todo = list(boxes(view, 0, len(index)))
    while todo:
        box = todo.pop()
        width = {b"stco": 4, b"co64": 8}.get(box.kind)
        if box.kind in _INSIDE:
            todo += boxes(view, box.body, box.end)
        elif width:
            for at in range(box.body + 8, box.end - width + 1, width):
                moved = int.from_bytes(index[at : at + width], "big") + by
                out[at : at + width] = moved.to_bytes(width, "big")
    return bytes(out)


def _udta(aigc_json: str) -> bytes:
    handler = _box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    keys = _box(b"keys", bytes(4) + (1).to_bytes(4, "big") + _box(b"mdta", KEY))
    value = _box(b"data", _TEXT.to_bytes(4, "big") + bytes(4) + aigc_json.encode())
    items = _box(b"ilst", _box((1).to_bytes(4, "big"), value))
    return _box(b"udta", _box(b"meta", bytes(4) + handler + keys + items))


def _texts(view: memoryview, user: Box) -> tuple[str, list[str]]:
    """(text of key AIGC, names of what else) below `udta` or `meta`."""
    metas = [user] if user.kind == b"meta" else [one for one in boxes(view, user.body, user.end) if one.kind == b"meta"]
    names = (
        []
        if user.kind == b"meta"
        else [one.kind.decode("latin-1") for one in boxes(view, user.body, user.end) if one.kind != b"meta"]
    )
    found = ""
    for meta in metas:
        inside = {one.kind: one for one in boxes(view, meta.body + 4, meta.end)}
        keys, items = inside.get(b"keys"), inside.get(b"ilst")
        known = [bytes(view[one.body : one.end]) for one in boxes(view, keys.body + 8, keys.end)] if keys else []
        for item in boxes(view, items.body, items.end) if items else ():
            number = int.from_bytes(item.kind, "big")
            name = known[number - 1] if 0 < number <= len(known) else item.kind
            if name == KEY:
                found = bytes(view[item.body + 16 : item.end]).decode("utf-8", "replace")
            else:
                names.append(name.decode("latin-1"))
    return found, names


def _box(kind: bytes, body: bytes | bytearray) -> bytes:
    return (len(body) + _HEAD_BYTES).to_bytes(4, "big") + kind + body
