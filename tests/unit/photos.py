"""Pictures that engine tests make from the bundled portrait, and one way to run an engine."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ray_cluster.engines import samples_path
from ray_cluster.engines.decode import decode
from ray_cluster.engines.interface import Engine, Result

PORTRAIT = samples_path("portrait.jpg").read_bytes()
FACE = (slice(60, 190), slice(175, 265))
"""Rows and columns of the face in the portrait."""
FAR = (slice(20, 200), slice(430, 512))
"""The shuttle: nobody is there."""


def portrait() -> np.ndarray:
    return decode(PORTRAIT).copy()


def png(rgb: np.ndarray) -> bytes:
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    return cv2.imencode(".png", cv2.cvtColor(rgb, order[rgb.shape[2]]) if rgb.ndim == 3 else rgb)[1].tobytes()


def blank(height: int = 200, width: int = 301) -> bytes:
    return png(np.full((height, width, 3), 120, np.uint8))


def never() -> bool:
    return False


def run(engine: Engine, inputs: list[bytes], seed: int = 0, **params: Any) -> Result:
    return engine.run(inputs, params, seed=seed, report=lambda *_: None, cancelled=never)


def pixels(engine: Engine, inputs: list[bytes], seed: int = 0, **params: Any) -> np.ndarray:
    """The result without the losses of JPEG."""
    return decode(run(engine, inputs, seed, format="png", **params).media)


def moved(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference in levels."""
    return float(np.abs(a.astype(int) - b).mean())


def odd_ones() -> dict[str, bytes]:
    """The portrait as pictures that are seldom thought of; the person is in each."""
    photo = portrait()
    alpha = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    alpha[:40, :40, 3] = 0
    return {
        "odd": png(photo[:451, :333]),
        "grey": png(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)),
        "alpha": png(alpha),
        "huge": png(cv2.resize(photo, (2600, 2600), interpolation=cv2.INTER_LINEAR)),
        "small": png(cv2.resize(photo, (161, 161), interpolation=cv2.INTER_AREA)),
        "two": png(np.hstack([photo, photo[:, ::-1]])),
    }
