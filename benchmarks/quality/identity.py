"""Is a person still that person afterwards? The face's distance to the input's, by a judge that no engine uses."""

from __future__ import annotations

import functools
from typing import Any

from benchmarks.photos import Pixels
from benchmarks.quality.check import Bench, Check, below
from benchmarks.quality.reference import SAME_PERSON, Face, Judge

LEAST_PHOTOS = 2


@functools.cache
def judge() -> Judge:
    """One for all checks."""
    return Judge()


def one_face_each(bench: Bench) -> dict[str, tuple[Pixels, Face]]:
    """The photographs in which the judge finds exactly one face."""
    found = {name: (pixels, judge().faces(pixels)) for name, pixels in bench.photos.items()}
    return {name: (pixels, faces[0]) for name, (pixels, faces) in found.items() if len(faces) == 1}


def identity(name: str, bench: Bench, operation: str, *variants: dict[str, Any]) -> Check:
    """The worst photograph of the worst variant; too few photographs with one face fail."""
    photos = one_face_each(bench)
    if len(photos) < LEAST_PHOTOS:
        about = f"at least {LEAST_PHOTOS} photos with exactly one face are needed, got {len(photos)}"
        return Check(name, float("inf"), SAME_PERSON, ok=False, about=about)
    apart = {
        (photo, *params.values()): judge().at(bench.picture(operation, pixels, **params), face).distance(face)
        for photo, (pixels, face) in photos.items()
        for params in variants or ({},)
    }
    (worst, *how), value = max(apart.items(), key=lambda item: item[1])
    mean = sum(apart.values()) / len(apart)
    about = f"{len(photos)} photos with one face, {len(variants) or 1} variants, mean {mean:.2f}"
    return below(name, value, SAME_PERSON, f"{about}; worst: {' '.join(map(str, (worst, *how)))}", or_equal=True)
