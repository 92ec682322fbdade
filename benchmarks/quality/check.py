"""What a check is given and what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from benchmarks.photos import SUFFIXES, Pixels, encoded, photo
from ray_cluster.engines import registry, samples_path
from ray_cluster.engines.decode import decode
from ray_cluster.engines.interface import Engine, Result
from stream.errors import BadRequest

SEED = 7


class Check(msgspec.Struct, frozen=True):
    """One figure against its bar. `about` says over what it was taken."""

    name: str
    value: float
    bar: float
    ok: bool
    about: str = ""


def below(name: str, value: float, bar: float, about: str, *, or_equal: bool = False) -> Check:
    """A check that is passed below `bar`."""
    return Check(name, round(value, 4), bar, bool(value < bar or (or_equal and value == bar)), about)


def above(name: str, value: float, bar: float, about: str) -> Check:
    """A check that is passed above `bar`."""
    return Check(name, round(value, 4), bar, bool(value > bar), about)


class Bench:
    """Photographs and engines, each opened when it is first asked for."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._engines: dict[str, Engine] = {}
        self._photos: dict[str, Pixels] | None = None
        self.skipped = 0
        """Files in the folder that are no photographs."""

    @property
    def photos(self) -> dict[str, Pixels]:
        """By name: those of the folder, or the two bundled portraits and two of skimage.data without a face."""
        if self._photos is None:
            self._photos = self._found() if self._folder else _bundled()
        return self._photos

    def run(self, operation: str, *inputs: Pixels | bytes, **params: Any) -> Result:
        """`operation` on photographs (or encoded media)."""
        if operation not in self._engines:
            self._engines[operation] = registry.build(operation)
            self._engines[operation].load()
        media = [one if isinstance(one, bytes) else encoded(one) for one in inputs]
        return self._engines[operation].run(media, params, seed=SEED, report=lambda *_: None, cancelled=lambda: False)

    def picture(self, operation: str, *inputs: Pixels | bytes, **params: Any) -> Pixels:
        """The same, decoded."""
        return decode(self.run(operation, *inputs, **params).media)

    def _found(self) -> dict[str, Pixels]:
        assert self._folder is not None
        found = {}
        for path in sorted(self._folder.rglob("*")):
            if not path.is_file():
                continue
            try:
                found[path.name] = decode(path.read_bytes()) if path.suffix.lower() in SUFFIXES else None
            except BadRequest:
                found[path.name] = None
        self.skipped = sum(pixels is None for pixels in found.values())
        return {name: pixels for name, pixels in found.items() if pixels is not None}


Checker = Callable[[Bench], Check]


def _bundled() -> dict[str, Pixels]:
    portraits = {name: decode(samples_path(f"{name}.jpg").read_bytes()) for name in ("portrait", "hopper")}
    return portraits | {name: photo(name) for name in ("chelsea", "coffee")}


def resized(picture: Pixels, like: Pixels) -> Pixels:
    """`picture` at the size of `like`."""
    return np.asarray(cv2.resize(picture, like.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)
