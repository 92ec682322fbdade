"""What operations on a photo of people share: pictures and features in, one edited picture out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import features, stills
from ray_cluster.engines.decode import Pixels, decode, fit
from ray_cluster.engines.errors import NoFace, NoPerson
from ray_cluster.engines.features import Features
from ray_cluster.engines.finder import Finder, shared
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check, first, parse
from ray_cluster.engines.scrub import scrubbed
from ray_cluster.engines.wipe import wipe

LONGER_SIDE_PX = 2048
MIN_FACE_PX = 24
"""A face narrower than this has no features to edit."""
FACE_PRESENCE = 0.5
"""As MediaPipe has it: people's faces have nearly 1, a cat's 0.04."""
MIN_MASK_SHARE = 0.002
"""Of the picture's pixels: a smaller person is a speck."""

Field = NDArray[np.float32]


class PeopleParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`format` of the result."""

    format: stills.Format = "jpeg"


P = TypeVar("P", bound=PeopleParams)


class Sight(msgspec.Struct, frozen=True):
    """A picture and who is in it, in its own pixels: the largest face and the largest person come first.

    `meshes` are 468 x 3 (x, y, z), `bodies` 33 x 4 (x, y, z, visibility), both float32.
    """

    pixels: Pixels
    meshes: tuple[Field, ...]
    bodies: tuple[Field, ...]
    found: Features

    def __repr__(self) -> str:
        """Counts only."""
        return f"Sight({len(self.meshes)} faces, {len(self.bodies)} bodies)"

    def mask(self, body: int = 0) -> Field:
        """H x W, 0..1 on that person."""
        height, width = self.pixels.shape[:2]
        return features.unpack_mask(self.found.poses[body].mask, width, height)

    def everybody(self) -> Field:
        """H x W, 0..1 on any person."""
        height, width = self.pixels.shape[:2]
        whole = np.zeros((height, width), np.float32)
        for body in range(len(self.found.poses)):
            np.maximum(whole, self.mask(body), out=whole)
        return whole

    def face(self) -> Field:
        """The mesh of the largest face.

        Raises:
            NoFace: there is none, or it is too small to edit.

        """
        if not self.meshes:
            raise NoFace("expected a face in the photo, found none; send one where a face is in clear view")
        mesh = self.meshes[0]
        if np.ptp(mesh[:, 0]) < MIN_FACE_PX:
            raise NoFace(f"expected a face at least {MIN_FACE_PX} px wide, found a smaller one; send a larger photo")
        return mesh

    def body(self) -> Field:
        """The points of the largest person.

        Raises:
            NoPerson: there is none, or they are too small to edit.

        """
        if not self.bodies:
            raise NoPerson("expected a person in the photo, found nobody; send one with a body in clear view")
        if self.mask().mean() < MIN_MASK_SHARE:
            raise NoPerson("expected a person in the photo, found a speck; send one where they are larger")
        return self.bodies[0]


class PeopleEngine(Generic[P]):
    """A still in, the still edited out: aspect kept, longer side at most `LONGER_SIDE_PX`.

    Inputs are `pictures` pictures, or fewer where an operation does without; the `Features` of the first may follow
    them. Not thread-safe.
    """

    params: ClassVar[type[PeopleParams]]
    pictures: ClassVar[int] = 1

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._finder: Finder | None = None

    def load(self) -> None:
        """Verify and load the detection networks."""
        self._finder = self._finder or shared(self._folder)

    def edit(self, sights: Sequence[Sight], wanted: P, *, seed: int, step: Callable[[float], None]) -> Pixels:
        """The edited picture, as a new array. `step(fraction)` is a cancel point and reports progress."""
        raise NotImplementedError

    def find(self, pixels: Pixels, kept: Features | None) -> Sight:
        """Who is in `pixels`; `kept` may come from another size of the same picture."""
        self.load()
        assert self._finder is not None
        return see(pixels, kept or self._finder(pixels))

    @scrubbed
    def run(
        self,
        inputs: Sequence[Plaintext],
        params: dict[str, Any],
        *,
        seed: int,
        report: Report,
        cancelled: IsCancelled,
    ) -> Result:
        """The first picture, or for a swap the second, edited.

        Raises:
            NoFace: the operation needs a face and there is none.
            NoPerson: the operation needs a body and there is none.

        """
        wanted: Any = parse(params, self.params)
        check(cancelled)
        report("decode", 0.0)
        kept = features.parse(inputs[-1]) if len(inputs) > 1 and features.is_features(inputs[-1]) else None
        coded = inputs[: len(inputs) - (kept is not None)]
        first(coded)
        pictures = [fit(decode(one), LONGER_SIDE_PX) for one in coded[: self.pictures]]
        made: Pixels | None = None
        try:
            check(cancelled)
            report("detect", 0.1)
            sights = [self.find(pixels, None if at else kept) for at, pixels in enumerate(pictures)]

            def step(fraction: float) -> None:
                check(cancelled)
                report("edit", 0.3 + 0.6 * fraction)

            step(0.0)
            made = self.edit(sights, wanted, seed=seed, step=step)
            check(cancelled)
            report("encode", 0.9)
            media = stills.encode(made, wanted.format)
            height, width = made.shape[:2]
            facts: dict[str, int | float] = {"input_pixels": pictures[0].size // 3}
        finally:
            wipe(*pictures, made)
        report("done", 1.0)
        return Result(media, f"image/{wanted.format}", 1, width, height, facts)


def see(pixels: Pixels, found: Features) -> Sight:
    """`found` scaled to `pixels`."""
    height, width = pixels.shape[:2]
    wide, high = width / found.width, height / found.height
    scale = np.array([wide, high, wide, 1], np.float32)
    meshes = tuple(features.points(one.mesh, 3) * scale[:3] for one in found.faces if one.presence > FACE_PRESENCE)
    bodies = tuple(features.points(one.points, 4) * scale for one in found.poses)
    return Sight(pixels, meshes, bodies, found)
