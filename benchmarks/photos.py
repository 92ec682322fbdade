"""Photographs to try engines on: the sample that engines bundle, and what the package scikit-image carries.

astronaut: NASA, public domain. chelsea (a cat): CC0, Stefan van der Walt. coffee: CC0, Rachel Michetti. rocket: SpaceX,
public domain. brick: CC0, cc0textures.com. These are scikit-image's own words on them (docstrings of `skimage.data`).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def photo(name: str) -> Pixels:
    """The photograph `name` of `skimage.data` (file name without its end), H x W x 3 RGB uint8."""
    folder = Path(skimage.data.__file__).parent
    path = next(path for path in folder.glob(f"{name}.*") if path.suffix in SUFFIXES)
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)


def encoded(pixels: Pixels, suffix: str = ".png") -> bytes:
    """As a file's bytes."""
    return bytes(cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].data)


def photos_in(folder: Path) -> list[Path]:
    """Files that may be photographs, in order of their names; whether they are is for who opens them."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
