"""Checks of what is done to pictures and clips as a whole."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.photos import Pixels, encoded, photo
from benchmarks.quality.check import Bench, Check, above, below, resized
from benchmarks.quality.composites import composites
from benchmarks.quality.identity import identity
from ray_cluster.engines import registry, weights
from ray_cluster.engines.looks.canvas import Canvas
from ray_cluster.engines.salience import WEIGHTS, plain
from ray_cluster.engines.steady import Steady
from ray_cluster.engines.stylization import PAINTED

KEPT_ASIDE = ("chelsea", "coffee", "rocket")
"""No constant of the engine was chosen by these."""
NOISE, QUALITY = 8, 75
VIEW_PX, VIEWS, SENSOR_NOISE = (480, 360), 8, 5
ZOOM, PAN_PX = 1.006, (1.7, 0.9)


def identity_stylization(bench: Bench) -> Check:
    """Every look."""
    return identity("identity_stylization", bench, "stylization", *registry.row("stylization").variants.values())


def identity_quality_enhance(bench: Bench) -> Check:
    """As it is, and with all the calming that there is."""
    return identity("identity_quality_enhance", bench, "quality_enhance", {}, {"denoise": "strong"})


def cutout_sad_vs_u2netp(bench: Bench) -> Check:
    """Sum of absolute differences to the known alpha, over that of the plain network on the whole picture."""
    network = np.frombuffer(weights.read(weights.directory(), WEIGHTS), np.uint8)
    shares = []
    for one in composites():
        ours = bench.picture("cutout", one.picture, background="mask")[..., 0] / np.float32(255)
        theirs = np.abs(plain(network, one.picture) - one.alpha).sum()
        shares.append(float(np.abs(ours - one.alpha).sum() / theirs))
    about = f"{len(shares)} composites, worst {max(shares):.2f}"
    return below("cutout_sad_vs_u2netp", statistics.fmean(shares), 1.0, about)


def enhance_psnr_gain_db(bench: Bench) -> Check:
    """Decibels over bicubic, photographs at half their size: as they are, as JPEG, with noise."""
    gains = {}
    for name in KEPT_ASIDE:
        truth = _even(photo(name))
        for kind, small in _spoiled(truth):
            made = resized(bench.picture("quality_enhance", small, format="png"), truth)
            source = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_COLOR_RGB)
            bicubic = cv2.resize(source, truth.shape[1::-1], interpolation=cv2.INTER_CUBIC)
            gains[f"{name} {kind}"] = cv2.PSNR(made, truth) - cv2.PSNR(bicubic, truth)
    worst = min(gains, key=lambda key: gains[key])
    about = f"{len(gains)} pictures, worst {gains[worst]:.2f} ({worst})"
    return above("enhance_psnr_gain_db", statistics.fmean(gains.values()), 0.0, about)


def video_flicker_vs_per_frame(bench: Bench) -> Check:
    """Change between drawings of a moving, noisy view once its motion is undone, over that of each drawn for itself."""
    del bench
    frames, motion = _views()
    shares = {}
    for look, paint in PAINTED.items():
        alone = [paint(frame, Canvas(1)) for frame in frames]
        canvas, steady, together = Canvas(1), Steady(), []
        for frame in frames:
            canvas.follow(steady.watch(frame), *VIEW_PX)
            together.append(steady.calm(paint(frame, canvas)))
        shares[look] = _flicker(together, motion) / _flicker(alone, motion)
    about = ", ".join(f"{look} {share:.2f}" for look, share in shares.items())
    return below("video_flicker_vs_per_frame", max(shares.values()), 1.0, about)


def _even(picture: Pixels) -> Pixels:
    height, width = (side - side % 2 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])


def _spoiled(truth: Pixels) -> Iterator[tuple[str, bytes]]:
    small = np.asarray(
        cv2.resize(truth, (truth.shape[1] // 2, truth.shape[0] // 2), interpolation=cv2.INTER_AREA), np.uint8
    )
    grain = np.random.default_rng(0).normal(0, NOISE, small.shape)
    yield "clean", encoded(small)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    yield "JPEG", bytes(jpeg.data)
    yield "noisy", encoded(np.clip(small + grain, 0, 255).astype(np.uint8))


def _views() -> tuple[list[Pixels], NDArray[np.float32]]:
    """A camera that zooms and pans over a photograph, with noise; and what takes a view's pixels to the last one's."""
    scene, rng = photo("astronaut"), np.random.default_rng(0)
    step = np.array([[ZOOM, 0, -PAN_PX[0]], [0, ZOOM, -PAN_PX[1]], [0, 0, 1]], np.float64)
    place = np.array([[1, 0, -16], [0, 1, -10], [0, 0, 1]], np.float64)
    frames = []
    for _ in range(VIEWS):
        view = cv2.warpAffine(scene, place[:2], VIEW_PX, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        noisy = view + rng.normal(0, SENSOR_NOISE, view.shape)
        frames.append(np.clip(noisy, 0, 255).astype(np.uint8))
        place = step @ place
    return frames, np.asarray(step[:2], np.float32)


def _flicker(drawings: list[Pixels], motion: NDArray[np.float32]) -> float:
    inside = cv2.warpAffine(np.ones(drawings[0].shape[:2], np.uint8), motion, VIEW_PX) > 0
    changes = []
    for before, now in itertools.pairwise(drawings):
        moved = cv2.warpAffine(before, motion, VIEW_PX, flags=cv2.INTER_LINEAR)
        changes.append(float(cv2.absdiff(now, moved)[inside].mean()))
    return statistics.fmean(changes)
