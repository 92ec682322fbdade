"""Faces, clothes and dances: who is who afterwards, what stays untouched, whether a loop closes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.photos import Pixels
from benchmarks.quality.check import Bench, Check, below
from benchmarks.quality.identity import identity, judge, one_face_each
from benchmarks.quality.reference import SAME_PERSON
from ray_cluster.engines import weights
from ray_cluster.engines.ai_dance import LONGER_SIDE_PX
from ray_cluster.engines.decode import even, fit
from ray_cluster.engines.finder import Finder
from ray_cluster.engines.people import MIN_MASK_SHARE, see
from stream.errors import BadRequest

CLOTHES = ({"colour": "#2a5f8f"}, {"colour": "#e8e4da"}, {"colour": "#b02030", "pattern": "stripes"}, {"part": "all"})
MOODS = ({"smile": 1.0}, {"smile": -1.0}, {"smile": 0.0, "eyes": 1.0}, {"smile": 0.0, "gaze_x": 1.0})
DANCES = ("mix", "disco")
SKIN_LEVELS = 2.0
MOVED_SHARE = 0.02
MOVED_LEVELS = 16
"""A pixel that differs less is the codec's doing."""
SHADE = 0.025
"""Of the longer side, around the dancer: their own soft edge."""
EVERY = 6
"""Of a dance's frames one in so many is looked at."""
_SKIN_LOW, _SKIN_HIGH = (0, 135, 80), (255, 180, 130)
"""Y, Cr, Cb of skin of any colour (Chai and Ngan, 1999, a little wider)."""


def identity_clothing_change(bench: Bench) -> Check:
    """Somebody in other clothes is who they were."""
    return identity("identity_clothing_change", bench, "clothing_change", *CLOTHES)


def identity_expression(bench: Bench) -> Check:
    """Somebody who smiles, looks sad, opens their eyes or looks aside is who they were."""
    return identity("identity_expression", bench, "expression", *MOODS)


def face_swap_to_source(bench: Bench) -> Check:
    """After a swap the face is nearer to the source's than to the target's: the worst pair's difference."""
    photos = one_face_each(bench)
    apart = {}
    for (source, (theirs, face)), (target, (place, own)) in itertools.permutations(photos.items(), 2):
        if face.distance(own) <= SAME_PERSON:  # somebody's face on themselves is nearer to neither
            continue
        made = judge().at(bench.picture("face_swap", theirs, place), own)
        apart[source, target] = made.distance(face) - made.distance(own)
    if not apart:
        return Check("face_swap_to_source", float("inf"), 0.0, ok=False, about="photos of two people are needed")
    worst = max(apart, key=lambda pair: apart[pair])
    mean = sum(apart.values()) / len(apart)
    about = f"{len(apart)} pairs of different people in {len(photos)} photos; mean {mean:.2f}; worst: {worst}"
    return below("face_swap_to_source", apart[worst], 0.0, about)


def skin_untouched_by_clothing(bench: Bench) -> Check:
    """Mean change of the skin in the faces that the judge finds, in levels, of the worst photo and clothes."""
    changes = {}
    for name, (pixels, face) in one_face_each(bench).items():
        for clothes in CLOTHES:
            made = bench.picture("clothing_change", pixels, format="png", **clothes)
            before = fit(pixels, max(made.shape[:2]))
            skin = _skin(before, face.box)
            changes[name, *clothes.values()] = float(np.abs(made[skin].astype(int) - before[skin]).mean())
    if not changes:
        return Check("skin_untouched_by_clothing", float("inf"), SKIN_LEVELS, ok=False, about="no photo with one face")
    worst = max(changes, key=lambda key: changes[key])
    about = f"{len(changes)} pictures; worst: {' '.join(worst)}"
    return below("skin_untouched_by_clothing", changes[worst], SKIN_LEVELS, about, or_equal=True)


def dance_loop_seam(bench: Bench) -> Check:
    """The step from the last frame to the first, in units of the largest step within the dance."""
    seams = {}
    for name, dance, _, frames in _dances(bench):
        steps = [float(np.abs(a.astype(int) - b).mean()) for a, b in itertools.pairwise(frames)]
        seams[name, dance] = float(np.abs(frames[-1].astype(int) - frames[0]).mean()) / max(1e-6, *steps)
    if not seams:
        return Check("dance_loop_seam", float("inf"), 1.0, ok=False, about="no photo of anybody who could dance")
    worst = max(seams, key=lambda key: seams[key])
    return below("dance_loop_seam", seams[worst], 1.0, f"{len(seams)} dances; worst: {' '.join(worst)}", or_equal=True)


def dance_background_change(bench: Bench) -> Check:
    """The share of the pixels outside the dancer that differ from the photo's, in the worst dance, mean over frames.

    Outside is where neither the photo nor the frame shows them; what they uncover nobody has seen before.
    """
    shares = {}
    finder = Finder(weights.directory())
    for name, dance, photo, frames in _dances(bench):
        stood = _dancer(finder, photo)
        moved = []
        for frame in frames[::EVERY]:
            outside = ~(stood | _dancer(finder, frame))
            off = np.abs(frame.astype(int) - photo).max(-1) > MOVED_LEVELS
            moved.append(float((off & outside).sum() / max(1, outside.sum())))
        shares[name, dance] = sum(moved) / len(moved)
    if not shares:
        return Check("dance_background_change", float("inf"), MOVED_SHARE, ok=False, about="no photo of anybody")
    worst = max(shares, key=lambda key: shares[key])
    about = f"{len(shares)} dances; worst: {' '.join(worst)}"
    return below("dance_background_change", shares[worst], MOVED_SHARE, about, or_equal=True)


def _dances(bench: Bench) -> Iterator[tuple[str, str, Pixels, list[Pixels]]]:
    """Name, dance, photo as it was danced, frames; photos in which nobody can dance are left out."""
    for name, pixels in bench.photos.items():
        for dance in DANCES:
            try:
                made = bench.run("ai_dance", pixels, dance=dance)
            except BadRequest:
                break
            with av.open(io.BytesIO(made.media)) as container:
                frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            yield name, dance, even(fit(pixels, LONGER_SIDE_PX)), frames


def _dancer(finder: Finder, picture: Pixels) -> NDArray[np.bool_]:
    """Where the largest person is, their soft edge with them; everywhere if nobody is found."""
    sight = see(picture, finder(picture))
    if not sight.bodies or sight.mask().mean() < MIN_MASK_SHARE:
        return np.ones(picture.shape[:2], bool)
    side = 2 * round(SHADE * max(picture.shape[:2])) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate((sight.mask() > 0.2).astype(np.uint8), kernel) > 0)


def _skin(picture: Pixels, box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Skin in the judge's box of a face."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (int(v * side) for v, side in zip(box, (width, height) * 2, strict=True))
    inside = np.zeros((height, width), bool)
    inside[max(0, y0) : y1, max(0, x0) : x1] = True
    return np.asarray(inside & (cv2.inRange(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb), _SKIN_LOW, _SKIN_HIGH) > 0))
