"""Operation `body`: somebody slimmer, broader, taller or shorter, before a place that stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ray_cluster.engines import matte, rig
from ray_cluster.engines.ai_dance import lay
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.fabric import width_of
from ray_cluster.engines.people import PeopleParams, Sight
from ray_cluster.engines.people_clip import PeopleClips
from ray_cluster.engines.wipe import wipe

Field = NDArray[np.float32]
Degree = Annotated[float, Meta(ge=-1.0, le=1.0)]

NARROWEST, BROADEST = 0.16, 0.14
"""Of the waist's width at -1 and at 1: further, a body is not one."""
GROWTH = 0.07
"""Of the height in the picture, at 1 and at -1."""
HEADROOM = 0.5
"""Of the room above the head that growing may use."""
HOLD = 0.35
"""Shoulder widths from a border that cuts the body off, over which slimming fades out towards it."""
CUT = 40
"""Of an alpha of 255: more than this at a border, and it cuts the body off."""
STILL_PX = 0.4
"""A pixel that moves less than this stays the photo's."""
_PROFILE = np.array(
    [[-0.35, 0.0], [0.0, 0.25], [0.35, 0.7], [0.75, 1.0], [1.0, 0.9], [1.5, 0.75], [2.2, 0.45], [3.2, 0.0]]
)
"""How much of the change there is, by the way down from the shoulders (0) to the hips (1) and on to the feet."""
_SIDE = 1.25
"""Shoulder widths from the axis at which the trunk's change has faded: an arm held out stays as thick as it is."""


class BodyParams(PeopleParams, frozen=True):
    """-1..1 each: `width` below 0 is slimmer, above broader; `height` above 0 is taller, below shorter."""

    width: Degree = -0.6
    height: Degree = 0.0


class Body(PeopleClips[BodyParams]):
    """A photo or a clip: the largest person in it, reshaped."""

    params: ClassVar[type[PeopleParams]] = BodyParams
    kept: ClassVar[float] = 0.6

    def edit(self, sights: Sequence[Sight], wanted: BodyParams, *, seed: int, step: Callable[[float], None]) -> Pixels:
        """The photo with the person reshaped."""
        del seed
        sight = sights[0]
        body = sight.body()
        layers = matte.separate(sight.pixels, sight.mask())
        step(0.5)
        alpha = layers.person[..., 3]
        field = pull(alpha, body, wanted)
        moved = cv2.remap(layers.person, field, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        # A cubic may overshoot: premultiplied colour is never more than its alpha.
        moved = np.minimum(moved, moved[..., 3:])
        out = np.empty_like(layers.background)
        lay(moved, layers.background, out)
        out = _where_moved(sight.pixels, out, field)
        wipe(layers.person, layers.background, moved)
        return out


def _where_moved(photo: Pixels, made: Pixels, field: Field) -> Pixels:
    """`made` where something moves, the photo itself elsewhere: a head that stays is not cut out and laid back."""
    height, width = photo.shape[:2]
    y, x = (axis.astype(np.float32) for axis in np.mgrid[:height, :width])
    away = np.hypot(field[..., 0] - x, field[..., 1] - y)
    share = np.clip((away - STILL_PX) / (2 * STILL_PX), 0, 1)[..., None]
    return np.asarray(photo + (made.astype(np.float32) - photo) * share + 0.5).astype(np.uint8)


def pull(alpha: NDArray[np.uint8], body: Field, wanted: BodyParams) -> Field:
    """For each pixel, where in the photo it comes from: H x W x 2 (x, y). Smooth, so nothing tears."""
    height, width = alpha.shape
    y, x = (axis.astype(np.float32) for axis in np.mgrid[:height, :width])
    y = _taller(y, alpha, body, wanted.height)
    shoulders, hips = body[list(rig.SHOULDERS), :2].mean(0), body[list(rig.HIPS), :2].mean(0)
    axis = hips - shoulders
    size = max(1.0, float(np.hypot(*axis)))
    ax, ay = (float(v) for v in axis / size)
    down = ((x - shoulders[0]) * ax + (y - shoulders[1]) * ay) / np.float32(size)
    across = (x - shoulders[0]) * ay - (y - shoulders[1]) * ax
    # Below the hips a leg that is set aside has an axis of its own; the body's straight one would bend it.
    profile = np.interp(down, _PROFILE[:, 0], _PROFILE[:, 1]).astype(np.float32)
    shoulder = width_of(body)
    near = np.exp(-((across / np.float32(_SIDE * shoulder)) ** 4))
    degree = wanted.width * (NARROWEST if wanted.width < 0 else BROADEST)
    away = across * profile * near * np.float32(degree / (1 + degree))
    if degree < 0:
        away *= _held(alpha, HOLD * shoulder)
    return np.dstack([x - away * np.float32(ay), y + away * np.float32(ax)]).astype(np.float32)


def _held(alpha: NDArray[np.uint8], reach: float) -> Field:
    """H x W, 0 where the picture's left or right border cuts the body off, 1 from `reach` px away.

    What is beyond the border nobody has seen: pulled in, it would be streaks.
    """
    height, width = alpha.shape
    side = 2 * max(1, round(reach)) + 1
    ramp: Field = np.clip((np.arange(width, dtype=np.float32) + 0.5) / np.float32(max(1.0, reach)), 0, 1)
    free = np.asarray(1 - ramp * ramp * (3 - 2 * ramp), np.float32)
    held = np.zeros((height, width), np.float32)
    for border, fade in ((alpha[:, :2], free), (alpha[:, -2:], np.flip(free))):
        cut = np.asarray((border > CUT).any(1), np.float32)[:, None]
        cut = cv2.GaussianBlur(cv2.dilate(cut, np.ones((side, 1), np.uint8)), (1, side), 0.3 * reach)
        np.maximum(held, np.asarray(cut, np.float32).reshape(height, 1) * fade, out=held)
    return 1 - held


def _taller(y: Field, alpha: NDArray[np.uint8], body: Field, degree: float) -> Field:
    """Rows from which the rows of `y` come. The feet, or where the picture cuts the body off, stay where they are."""
    if not degree:
        return y
    rows = np.nonzero((alpha > rig.HALF).any(1))[0]
    if not len(rows):
        return y
    top, foot = float(rows[0]), float(rows[-1])
    hip = float(np.clip(body[list(rig.HIPS), 1].mean(), top + 0.3 * (foot - top), foot))
    grown = degree * GROWTH * (foot - top)
    # The head keeps its shape: what is between the shoulders and the foot is what grows.
    shoulder = float(np.clip(body[list(rig.SHOULDERS), 1].mean(), top, hip))
    grown = min(grown, HEADROOM * top)
    middle = shoulder + 0.5 * (hip - shoulder)
    places = np.array([-1e5, shoulder - grown, middle - 0.8 * grown, foot, 1e5])
    sources = np.array([-1e5 + grown, shoulder, middle, foot, 1e5])
    return np.asarray(np.interp(y, places, sources), np.float32)
