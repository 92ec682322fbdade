"""Pictures whose true alpha is known: tufted heads, drawn strand by strand, before photographs of other things."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.photos import Pixels, photo

OVERSAMPLED = 3
WIDTH_PX, HEIGHT_PX = 720, 600


class Composite(msgspec.Struct, frozen=True):
    """`picture` H x W x 3 RGB uint8, `alpha` H x W float32, 0..1, the truth."""

    name: str
    picture: Pixels
    alpha: NDArray[np.float32]


def composites() -> Iterator[Composite]:
    """Three figures before three places each."""
    figures = {
        "woman": (photo("astronaut")[0:300, 100:350], (0.50, 0.46, 0.20, 0.32), 700),
        "cat": (photo("chelsea")[10:290, 60:380], (0.52, 0.52, 0.24, 0.28), 1800),
        "cup": (photo("coffee")[40:380, 130:470], (0.5, 0.5, 0.27, 0.3), 0),
    }
    for index, (figure, (texture, oval, strands)) in enumerate(figures.items()):
        front = _fill(texture, WIDTH_PX, HEIGHT_PX)
        alpha = _tufted(oval, strands, seed=index)
        for place in ("rocket", "brick", "chelsea" if figure == "cup" else "coffee"):
            back = cv2.GaussianBlur(
                _fill(photo(place), WIDTH_PX, HEIGHT_PX), (0, 0), 1.5
            )  # behind, so not quite in focus
            mixed = front * alpha[..., None] + back * (1 - alpha[..., None])
            yield Composite(f"{figure} before {place}", np.asarray(mixed + 0.5).astype(np.uint8), alpha)


def _tufted(oval: tuple[float, float, float, float], strands: int, *, seed: int) -> NDArray[np.float32]:
    """An oval (centre x, y, radius x, y as shares of the picture) with hair around it, and shoulders below."""
    rng = np.random.default_rng(seed)
    width, height = WIDTH_PX * OVERSAMPLED, HEIGHT_PX * OVERSAMPLED
    canvas = np.zeros((height, width), np.uint8)
    x, y, rx, ry = oval[0] * width, oval[1] * height, oval[2] * width, oval[3] * height
    cv2.ellipse(canvas, ((x, y), (2 * rx, 2 * ry), 0.0), 255, -1, cv2.LINE_AA)
    if strands:
        cv2.ellipse(canvas, ((x, height * 1.12), (2.9 * rx, height * 0.75), 0.0), 255, -1, cv2.LINE_AA)
    for angle in rng.uniform(0.85 * np.pi, 2.15 * np.pi, strands):
        length = rng.gamma(4, 0.035) * rx
        bend = rng.normal(0, 0.5)
        start = np.array([x + 0.97 * rx * np.cos(angle), y + 0.97 * ry * np.sin(angle)])
        steps = np.linspace(0, 1, 7)
        turn = angle + bend * steps
        path = start + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1) * (length / 6), 0)
        for part, (one, two) in enumerate(itertools.pairwise(path)):
            thick = max(1, round(OVERSAMPLED * (1.6 - 0.25 * part)))
            cv2.line(canvas, tuple(map(round, one)), tuple(map(round, two)), 255, thick, cv2.LINE_AA)
    small = cv2.resize(canvas, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


def _fill(picture: Pixels, width: int, height: int) -> Pixels:
    """Scaled and cropped to cover `width` x `height`."""
    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = (max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale)))
    wide = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    top, left = (wide.shape[0] - height) // 2, (wide.shape[1] - width) // 2
    return np.ascontiguousarray(wide[top : top + height, left : left + width], np.uint8)
