"""What a camera wrote is blanked on the way in; the picture, its length and its orientation are not."""

from __future__ import annotations

import io
import struct
import zlib

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.intake import Intake, Strip
from services.gateway.intake.strip import upright
from tests.unit.test_intake_media import ALL, HEIGHT, LIMITS, MEDIA, PIXELS, WIDTH

SECRET = b"48.8584N 2.2945E of Jane Roe"


def tiff(orientation: int | None, order: str = "<") -> bytes:
    entries = [(0x010E, 2, len(SECRET), 100)]
    if orientation is not None:
        entries.append((0x0112, 3, 1, orientation if order == "<" else orientation << 16))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(entries))
    rows = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    return (head + rows + bytes(4)).ljust(100, b"\0") + SECRET


def segment(code: int, body: bytes) -> bytes:
    return b"\xff" + bytes([code]) + struct.pack(">H", len(body) + 2) + body


def jpeg(orientation: int | None = 6, order: str = "<", name: str = "baseline") -> bytes:
    plain = MEDIA[name][1]
    told = segment(0xE1, b"Exif\0\0" + tiff(orientation, order)) + segment(
        0xE1, b"http://ns.adobe.com/xap/1.0/\0" + SECRET
    )
    told += segment(0xED, b"Photoshop 3.0\0" + SECRET) + b"\xff" + segment(0xFE, SECRET)
    return plain[:2] + told + plain[2:]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*, exif: bytes = b"") -> bytes:
    plain = MEDIA["png"][1]
    told = chunk(b"tEXt", b"Author\0" + SECRET) + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + SECRET)
    told += chunk(b"tIME", struct.pack(">HBBBBB", 2026, 5, 4, 12, 34, 56)) + chunk(b"eXIf", exif or tiff(None))
    return plain[:33] + told + plain[33:]


def webp() -> bytes:
    plain = MEDIA["webp"][1]
    head = (
        b"VP8X"
        + struct.pack("<IB3x", 10, 0x0C)
        + (WIDTH - 1).to_bytes(3, "little")
        + (HEIGHT - 1).to_bytes(3, "little")
    )
    told = b"".join(
        kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
        for kind, body in ((b"EXIF", tiff(None)), (b"XMP ", SECRET + b"!"))
    )
    body = b"WEBP" + head + plain[12:] + told
    return b"RIFF" + struct.pack("<I", len(body)) + body


def clip(container: str, **options: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as muxer:
        muxer.metadata["title"] = muxer.metadata["location"] = SECRET.decode()
        muxer.metadata["creation_time"] = "2026-05-04T12:34:56Z"
        stream = muxer.add_stream("libx264", rate=24)
        stream.metadata["handler_name"] = "camera"
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(4):
            muxer.mux(stream.encode(av.VideoFrame.from_ndarray(PIXELS[..., :3].copy(), format="rgb24")))
        muxer.mux(stream.encode(None))
    return file.getvalue()


TOLD = {
    "jpeg": jpeg(),
    "jpeg, Motorola's order": jpeg(8, ">"),
    "jpeg, progressive": jpeg(name="progressive"),
    "jpeg, restarts": jpeg(name="restarts"),
    "png": png(),
    "webp": webp(),
    "mp4": clip("mp4"),
    "mp4, index in front": clip("mp4", moov_size="8192"),
    "mov": clip("mov"),
}


def stripped(data: bytes, size: int = 1 << 20) -> bytes:
    intake, strip, out = Intake(LIMITS, ALL), Strip(), bytearray()
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        intake.feed(piece)
        out += strip.feed(piece, intake.media_type)
    intake.finish()
    return bytes(out)


def shown(data: bytes) -> list[bytes]:
    if data[4:8] == b"ftyp":
        with av.open(io.BytesIO(data)) as container:
            return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return [bytes(str(pixels.shape), "ascii"), pixels.tobytes()]


@pytest.mark.parametrize("name", TOLD)
def test_nothing_told_is_left_and_everything_shown_is(name: str) -> None:
    data = TOLD[name]
    assert SECRET in data
    out = stripped(data)
    assert len(out) == len(data)
    assert SECRET not in out
    assert b"Jane" not in out
    assert shown(out) == shown(data)
    assert Intake(LIMITS, ALL).feed(out) is None  # it is still what it was
    assert stripped(out) == out


@pytest.mark.parametrize("name", MEDIA)
def test_what_says_nothing_passes_as_it_is(name: str) -> None:
    media_type, data = MEDIA[name]
    out = stripped(data)
    assert shown(out) == shown(data)
    if not media_type.startswith("video/"):
        assert out == data


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(TOLD)), st.integers(1, 300))
def test_it_does_not_matter_where_chunks_are_cut(name: str, size: int) -> None:
    assert stripped(TOLD[name], size) == stripped(TOLD[name])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stays_upright(orientation: int, order: str) -> None:
    data = jpeg(orientation, order)
    out = stripped(data)
    assert shown(out) == shown(data)
    assert upright(tiff(orientation, order)) == upright(tiff(orientation, "<"))
    assert shown(stripped(png(exif=tiff(orientation, order)))) == shown(png(exif=tiff(orientation, order)))


def test_a_clip_does_not_say_when_it_was_made() -> None:
    for container in ("mp4", "mov"):
        data = clip(container)
        with av.open(io.BytesIO(data)) as told, av.open(io.BytesIO(stripped(data))) as silent:
            assert "creation_time" in told.metadata
            assert not {"creation_time", "title", "location"} & set(silent.metadata)


@given(st.binary(max_size=200))
def test_any_tiff_is_read_or_is_none(data: bytes) -> None:
    for start in (b"", b"II*\0", b"MM\0*"):
        assert len(upright(start + data)) in (0, 26)


def test_what_is_held_back_can_be_overwritten() -> None:
    data = TOLD["jpeg"]
    intake, strip = Intake(LIMITS, ALL), Strip()
    cut = data.index(SECRET) + 10
    intake.feed(data[:cut])
    assert SECRET[:10] not in strip.feed(data[:cut], intake.media_type)
    held = strip._need.got
    assert SECRET[:10] in held
    strip.wipe()
    assert held
    assert not any(held)


def test_an_orientation_that_does_not_fit_is_not_invented() -> None:
    assert upright(tiff(None)) == upright(b"") == upright(b"II*\0" + b"\xff" * 40) == b""
    assert upright(tiff(9)) == b""
