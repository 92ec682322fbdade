from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_cluster.engines import samples_path
from ray_cluster.engines.decode import decode, fit
from ray_cluster.engines.errors import TooManyPixels, Undecodable
from ray_cluster.engines.wipe import wipe

PORTRAIT = samples_path("portrait.jpg").read_bytes()


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def ramp(height: int = 6, width: int = 10) -> np.ndarray:
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


def clip(frames: int = 3) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), 200 - 50 * index, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_a_colour_picture_is_rgb_and_exact() -> None:
    bgr = ramp()
    assert np.array_equal(decode(png(bgr)), bgr[..., ::-1])


def test_grey_becomes_three_equal_channels() -> None:
    pixels = decode(png(ramp()[..., 0]))
    assert pixels.shape == (6, 10, 3)
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_sixteen_bits_become_eight() -> None:
    bgr = ramp()
    assert np.array_equal(decode(png(bgr.astype(np.uint16) * 257)), bgr[..., ::-1])


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_alpha_is_laid_on_white(depth: type) -> None:
    top = np.iinfo(depth).max
    bgra = np.zeros((2, 2, 4), depth)
    bgra[0] = (0, 0, top, top)
    bgra[1] = (0, 0, top, 0)
    pixels = decode(png(bgra))
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[1, 0].tolist() == [255, 255, 255]


def test_exif_orientation_is_applied() -> None:
    jpeg = cv2.imencode(".jpg", cv2.imdecode(np.frombuffer(PORTRAIT, np.uint8), cv2.IMREAD_COLOR)[:200])[1].tobytes()
    assert decode(jpeg).shape == (200, 512, 3)
    turned = decode(with_orientation(jpeg, 6))
    assert turned.shape == (512, 200, 3)
    assert np.array_equal(turned, np.rot90(decode(jpeg), -1))


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (65, 3), (513, 7)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_any_size_decodes(size: tuple[int, int], suffix: str) -> None:
    coded = cv2.imencode(suffix, np.full((*size, 3), 90, np.uint8))[1].tobytes()
    assert decode(coded).shape == (*size, 3)


def test_a_clip_gives_its_first_frame() -> None:
    pixels = decode(clip())
    assert pixels.shape == (16, 32, 3)
    assert abs(int(pixels.mean()) - 200) < 4


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_no_prefix_of_a_still_is_a_still(suffix: str) -> None:
    coded = cv2.imencode(suffix, ramp(40, 40))[1].tobytes()
    for length in range(0, len(coded) - 2, 7):
        with pytest.raises(Undecodable):
            decode(coded[:length])


def test_a_truncated_clip_is_refused() -> None:
    with pytest.raises(Undecodable):
        decode(clip()[:300])


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    for magic in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"\0\0\0\x18ftypisom"):
        with pytest.raises((Undecodable, TooManyPixels)):
            decode(magic + noise)


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = bytearray(png(ramp()))
    bomb[16:24] = struct.pack(">II", 100_000, 100_000)
    with pytest.raises(TooManyPixels, match="100000x100000"):
        decode(bytes(bomb))


def test_the_pixel_cap_can_be_set() -> None:
    for data in (png(ramp()), PORTRAIT, clip()):
        with pytest.raises(TooManyPixels):
            decode(data, max_pixels=59)


def test_fit_keeps_the_aspect_and_never_enlarges() -> None:
    assert fit(np.zeros((400, 200, 3), np.uint8), 100).shape == (100, 50, 3)
    assert fit(np.zeros((40, 20, 3), np.uint8), 100).shape == (40, 20, 3)
    assert fit(np.zeros((1, 900, 3), np.uint8), 100).shape == (1, 100, 3)


def test_wipe_zeroes_what_it_is_given() -> None:
    array, buffer = np.ones(4, np.uint8), bytearray(b"abc")
    wipe(array, None, buffer)
    assert not array.any()
    assert buffer == bytes(3)


def test_the_sample_states_its_source() -> None:
    assert "public domain" in Path(samples_path("README.md")).read_text("utf-8")
