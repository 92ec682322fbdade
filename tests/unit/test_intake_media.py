import io
import struct
import tempfile
import zlib

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.intake import (
    EmptyBody,
    Intake,
    Limits,
    MalformedMedia,
    MediaType,
    Polyglot,
    TooLarge,
    TooLong,
    TooManyPixels,
    TrailingData,
    TruncatedMedia,
    UnsupportedMedia,
)
from stream.errors import BadRequest

WIDTH, HEIGHT, FRAMES, RATE = 64, 48, 12, 24
LIMITS = Limits(max_bytes=1 << 20, max_pixels=WIDTH * HEIGHT, max_duration_s=1.0)
ALL = frozenset(MediaType)
PIXELS = np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)


def picture(extension, *params, channels=3):
    done, data = cv2.imencode(extension, PIXELS[..., :channels], params)
    assert done
    return data.tobytes()


def video(container, **options):
    with tempfile.NamedTemporaryFile(suffix=f".{container}") as out:  # faststart reads its own output again
        with av.open(out.name, "w", format=container, options=options) as muxer:
            stream = muxer.add_stream("libx264", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for i in range(FRAMES):
                image = np.ascontiguousarray(np.roll(PIXELS[..., :3], i, axis=1))
                muxer.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            muxer.mux(stream.encode())
        return out.read()


def sound():
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as muxer:
        stream = muxer.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        muxer.mux(stream.encode(frame))
        muxer.mux(stream.encode())
    return out.getvalue()


MEDIA = {
    "baseline": (MediaType.JPEG, picture(".jpg")),
    "progressive": (MediaType.JPEG, picture(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
    "restarts": (MediaType.JPEG, picture(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1)),
    "grey": (MediaType.JPEG, picture(".jpg", channels=1)),
    "png": (MediaType.PNG, picture(".png")),
    "png-alpha": (MediaType.PNG, picture(".png", channels=4)),
    "webp": (MediaType.WEBP, picture(".webp", cv2.IMWRITE_WEBP_QUALITY, 80)),
    "webp-alpha": (MediaType.WEBP, picture(".webp", cv2.IMWRITE_WEBP_QUALITY, 80, channels=4)),
    "webp-lossless": (MediaType.WEBP, picture(".webp", cv2.IMWRITE_WEBP_QUALITY, 101)),
    "mp4": (MediaType.MP4, video("mp4")),
    "mp4-faststart": (MediaType.MP4, video("mp4", movflags="faststart")),
    "mov": (MediaType.MOV, video("mov")),
}
JPEG, PNG, WEBP, MP4 = (MEDIA[name][1] for name in ("baseline", "png", "webp", "mp4"))
every = pytest.mark.parametrize("name", MEDIA)


def judge(data, sizes=(1 << 20,), limits=LIMITS, accept=ALL):
    """The facts, or the class of the refusal."""
    intake = Intake(limits, accept)
    at = i = 0
    try:
        while at < len(data):
            size = sizes[i % len(sizes)]
            intake.feed(data[at : at + size])
            at, i = at + size, i + 1
        return intake.finish()
    except BadRequest as refusal:
        with pytest.raises(type(refusal)):  # for good
            intake.finish()
        return type(refusal)


# What is whole


@every
def test_whole_media_are_what_they_are(name):
    media_type, data = MEDIA[name]
    facts = judge(data)
    assert (facts.media_type, facts.width, facts.height, facts.size_bytes) == (media_type, WIDTH, HEIGHT, len(data))
    moves = media_type in {MediaType.MP4, MediaType.MOV}
    assert facts.duration_s == (pytest.approx(FRAMES / RATE, abs=0.01) if moves else None)


@every
def test_every_single_byte_may_come_alone(name):
    assert judge(MEDIA[name][1], (1,)) == judge(MEDIA[name][1])


@given(st.sampled_from(list(MEDIA)), st.data())
def test_every_truncation_is_refused(name, data):
    _, whole = MEDIA[name]
    size = data.draw(st.integers(0, len(whole) - 1))
    verdict = judge(whole[:size])
    assert verdict in ({EmptyBody} if size == 0 else {UnsupportedMedia} if size < 12 else {TruncatedMedia})


@settings(max_examples=100)
@given(st.sampled_from(list(MEDIA)), st.data())
def test_the_verdict_depends_on_no_split_whatever_is_broken(name, data):
    damaged = bytearray(MEDIA[name][1])
    for _ in range(data.draw(st.integers(0, 3))):
        # Headers decide most, so most damage is done there.
        at = data.draw(st.integers(0, 400) | st.integers(0, len(damaged) - 1))
        damaged[min(at, len(damaged) - 1)] = data.draw(st.integers(0, 255))
    damaged += data.draw(st.sampled_from([b"", b"\x00", b"\xff\xd9", b"PK\x03\x04"]))
    limits = Limits(data.draw(st.sampled_from([1 << 20, len(damaged) - 1, 600])), WIDTH * HEIGHT, 1.0)
    sizes = data.draw(st.lists(st.integers(1, 3000), min_size=1, max_size=5))
    assert judge(damaged, sizes, limits) == judge(damaged, limits=limits)


FRONTS = [JPEG[:4], PNG[:8], PNG[:33], WEBP[:12], WEBP[:20], MP4[:8], MP4[:32], MP4[-2000:], b""]


@settings(max_examples=100)
@given(st.sampled_from(FRONTS), st.binary(max_size=300))
def test_noise_is_refused_by_name(front, noise):
    verdict = judge(front + noise)
    assert isinstance(verdict, type)
    assert issubclass(verdict, BadRequest)
    assert verdict.kind != BadRequest.kind


# What is refused


@pytest.mark.parametrize(
    "data",
    [b"x", b"hello, this is text", b"%PDF-1.7 and so on", b"GIF89a" + bytes(20), b"BM" + bytes(30), b"\x00" * 64]
    + [b"\x00\x00\x00\x18ftyp" + brand + bytes(12) for brand in (b"heic", b"avif", b"mif1", b"M4A ")]
    + [b"RIFF\x10\x00\x00\x00WAVEfmt "],
)
def test_what_is_no_media_of_ours(data):
    assert judge(data) is UnsupportedMedia


def test_only_what_the_app_takes():
    assert judge(MP4, accept=frozenset({MediaType.JPEG, MediaType.PNG})) is UnsupportedMedia
    assert judge(sound()) is UnsupportedMedia


def test_nothing():
    assert judge(b"") is EmptyBody


@every
def test_the_byte_cap_holds_at_the_cap(name):
    _, data = MEDIA[name]
    assert judge(data, limits=Limits(len(data), WIDTH * HEIGHT, 1.0)).size_bytes == len(data)
    limits = Limits(len(data) - 1, WIDTH * HEIGHT, 1.0)
    assert judge(data, limits=limits) is TooLarge
    with pytest.raises(TooLarge):
        Intake(limits, ALL, declared_bytes=len(data))
    taken = Intake(limits, ALL)
    for at in range(len(data) - 1):
        try:
            taken.feed(data[at : at + 1])
        except TooLarge:  # declared
            return
    with pytest.raises(TooLarge):
        taken.feed(data[-1:])


def test_a_part_that_declares_too_much_is_refused_before_it_comes():
    for front in (
        b"RIFF" + struct.pack("<I", 1 << 21) + b"WEBP",
        PNG[:33] + struct.pack(">I", 1 << 21) + b"IDAT",
        MP4[:32] + struct.pack(">I4sQ", 1, b"mdat", 1 << 40),
    ):
        assert judge(front) is TooLarge


@every
def test_the_pixel_cap_counts_what_is_declared(name):
    _, data = MEDIA[name]
    assert judge(data, limits=Limits(1 << 20, WIDTH * HEIGHT - 1, 1.0)) is TooManyPixels


def test_a_bomb_is_refused_at_its_header():
    ihdr = struct.pack(">II5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = PNG[:8] + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    intake = Intake(LIMITS, ALL)
    with pytest.raises(TooManyPixels):
        intake.feed(bomb[:29])


def test_a_video_may_not_last_too_long():
    assert judge(MP4, limits=Limits(1 << 20, WIDTH * HEIGHT, 0.4)) is TooLong
    forever = bytearray(MP4)
    at = MP4.index(b"mdhd") + 20
    forever[at : at + 4] = b"\xff" * 4
    assert judge(forever) is TooLong


@every
@pytest.mark.parametrize("more", [b"\x01", b"PK\x03\x04", b"<?php ?>", JPEG, PNG, MP4], ids=range(6))
def test_nothing_may_follow_the_end(name, more):
    media_type, data = MEDIA[name]
    if media_type in {MediaType.MP4, MediaType.MOV}:
        assert judge(data + more) in {MalformedMedia, TruncatedMedia, TooLarge}  # it would have to be a box
    else:
        assert judge(data + more) is TrailingData


def test_a_camera_may_pad_a_jpeg_with_less_than_a_sector_of_zeros():
    for size in (1, 511):
        assert judge(JPEG + bytes(size)).size_bytes == len(JPEG) + size
    assert judge(JPEG + bytes(512)) is TrailingData
    assert judge(JPEG + bytes(100) + b"\x01") is TrailingData
    assert judge(PNG + b"\x00") is TrailingData
    assert judge(WEBP + b"\x00") is TrailingData


def test_nothing_may_stand_in_front():
    for front in (b"\x00", b"%PDF-1.7\n", b"PK\x03\x04", b"<?php ?>"):
        assert judge(front + JPEG) is UnsupportedMedia


FOREIGN = [b"%PDF-1.7", b"PK\x03\x04", b"PK\x05\x06", b"\x7fELF", b"<?PhP ", b"<SCRIPT>", b"<html>", b"Rar!\x1a\x07"]


def segment(code, body):
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def box(kind, body):
    return struct.pack(">I", len(body) + 8) + kind + body


def riff(*chunks):
    body = b"WEBP" + b"".join(k + struct.pack("<I", len(b)) + b + bytes(len(b) % 2) for k, b in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def with_text(text):
    """Each format, with a text where it may have one; and some sizes of chunk that cut it."""
    return {
        "jpeg-com": JPEG[:2] + segment(0xFE, text) + JPEG[2:],
        "jpeg-exif": JPEG[:2] + segment(0xE1, b"Exif\0\0" + text) + JPEG[2:],
        "png-text": PNG[:33] + chunk(b"tEXt", b"Comment\0" + text) + PNG[33:],
        "png-unknown": PNG[:33] + chunk(b"maYf", text) + PNG[33:],
        "webp-exif": riff((b"VP8 ", WEBP[20:]), (b"EXIF", text)),
        "mp4-free": MP4 + box(b"free", text),
        "mp4-ftyp": box(b"ftyp", b"isom\0\0\0\0" + text) + MP4[32:],
        "mp4-udta": MP4.replace(b"moov", b"MOOV") + box(b"uuid", text),
    }


@pytest.mark.parametrize("text", FOREIGN)
def test_another_format_inside_is_a_polyglot(text):
    for place, data in with_text(b"innocent, then " + text + b" and more").items():
        for size in (1, 7, 64, 1 << 20):
            assert judge(data, (size,)) is Polyglot, place


def test_innocent_text_is_welcome():
    for place, data in with_text("a day at the sea, 100 % fun: PK, ELF & html ☀".encode()).items():
        assert place == "mp4-udta" or judge(data).width == WIDTH, place


@pytest.mark.parametrize(
    "data",
    [
        JPEG[:20] + b"\x00" + JPEG[20:],  # a stray byte between segments
        JPEG[:2] + segment(0xD8, b"") + JPEG[2:],
        JPEG[:2] + b"\xff\xe1\x00\x01" + JPEG[2:],  # a length that does not hold itself
        JPEG[:2] + b"\xff\xd9" + bytes(20),  # no picture
        JPEG[:2] + segment(0xC0, b"\x08") + JPEG[2:],
        JPEG[:2] + segment(0xC0, struct.pack(">BHHB", 8, 0, 64, 3)) + JPEG[2:],  # no height
        JPEG[:2] + segment(0xDA, bytes(10)) + JPEG[2:],  # a scan of no frame
        JPEG[: JPEG.index(b"\xff\xda")] + b"\xff\xd9",  # a frame without a scan
        PNG[:8] + PNG[33:],  # no IHDR
        PNG[:33] + PNG[8:],  # two of it
        PNG[:33] + PNG[-12:],  # no IDAT
        PNG[:33] + chunk(b"IDAT", b"") + chunk(b"tIME", bytes(7)) + PNG[33:],  # IDAT in two runs
        PNG[:33] + chunk(b"XXXX", b"") + PNG[33:],  # critical and unknown
        PNG[:33] + chunk(b"ma1f", b"") + PNG[33:],
        PNG[:-12] + chunk(b"IEND", b"x"),
        PNG[:40] + bytes([PNG[40] ^ 1]) + PNG[41:],  # a CRC that is not its own
        PNG[:8] + chunk(b"IHDR", struct.pack(">II5B", 1, 1, 3, 2, 0, 0, 0)) + PNG[33:],
        PNG[:8] + chunk(b"IHDR", struct.pack(">II5B", 1, 0, 8, 2, 0, 0, 0)) + PNG[33:],
        PNG[:8] + chunk(b"IHDR", struct.pack(">II5B", 1, 1, 8, 3, 0, 0, 0)) + PNG[33:],  # a palette that is not there
        riff(),
        riff((b"EXIF", b"only text")),
        riff((b"VP8 ", WEBP[20:]), (b"VP8 ", WEBP[20:])),
        riff((b"VP8X", struct.pack("<I", 0) + b"\x0f\0\0\x0f\0\0"), (b"VP8 ", WEBP[20:])),  # smaller than its picture
        riff((b"VP8 ", b"\x01" + WEBP[21:])),
        riff((b"VP8 ", b"short")),
        riff((b"VP8L", b"\x2e\0\0\0\0")),
        riff((b"ANMF", b"")),
        b"RIFF" + struct.pack("<I", 16) + b"WEBPVP8 " + struct.pack("<I", 100),
        riff((b"VP8 ", WEBP[20:]), (b"EXIF", b"odd"))[:-1] + b"\x01",  # a pad that is no zero
        b"RIFF" + struct.pack("<I", 7) + b"WEBPVP8",
        MP4 + MP4[:32],  # a second ftyp
        MP4 + MP4[MP4.index(b"moov") - 4 :],  # a second moov
        MP4[:32] + struct.pack(">I4s", 0, b"mdat"),  # to the end, wherever that is
        MP4[:32] + struct.pack(">I4s", 7, b"mdat"),
        MP4.replace(b"tkhd\x00", b"tkhd\x02"),
        MP4.replace(b"mvhd" + bytes(12) + b"\x00\x00\x03\xe8", b"mvhd" + bytes(16)),  # no time scale
        MP4[:32] + box(b"mdat", b"") + box(b"moov", box(b"mvhd", b"")),
        MP4[:32] + box(b"mdat", b"") + box(b"moov", b"rest"),
    ],
    ids=range(38),
)
def test_broken_structure(data):
    assert judge(data) is MalformedMedia


@pytest.mark.parametrize(
    "data",
    [
        JPEG.replace(b"\xff\xc0", b"\xff\xc9", 1),  # arithmetic coding
        riff((b"VP8X", b"\x02" + bytes(9)), (b"ANIM", bytes(6))),
        video("mp4", movflags="frag_keyframe+empty_moov"),
    ],
    ids=["arithmetic", "animated", "fragmented"],
)
def test_kinds_of_a_format_that_are_not_taken(data):
    assert judge(data) is UnsupportedMedia


def test_a_video_cut_between_boxes_is_cut():
    before_moov = MP4.index(b"moov") - 4
    assert judge(MP4[:before_moov]) is TruncatedMedia
    assert judge(MP4[:32] + MP4[before_moov:]) is TruncatedMedia


def test_fill_bytes_before_a_marker_are_legal():
    assert judge(JPEG[:2] + b"\xff\xff" + JPEG[2:]).width == WIDTH
    assert judge(JPEG[:-2] + b"\xff\xff\xff\xd9", (1,)).width == WIDTH


def test_endless_empty_parts_are_not_walked():
    limits = Limits(100 << 20, WIDTH * HEIGHT, 1.0)
    for data in (
        PNG[:33] + chunk(b"tEXt", b"") * 60_000,
        MP4[:32] + box(b"free", b"") * 60_000,
        JPEG[:2] + b"\xff" * 60_000,
    ):
        assert judge(data, limits=limits) is MalformedMedia
