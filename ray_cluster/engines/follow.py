"""The same person from frame to frame, calmly: points smoothed, their mask and what was drawn of them carried along.

Detection starts anew with each frame. Its points tremble by a pixel or two, its mask breathes, and which of two people
is the larger may change: on a still nobody sees that, in a clip cloth would swim and a waist would pulse.
"""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import features, rig
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.people import Sight
from ray_cluster.engines.steady import Motion
from ray_cluster.engines.wipe import wipe

Field = NDArray[np.float32]

CALM = 0.08
"""The share of a new place that is believed where the picture merely moved, of a point in clear view."""
KEPT_MASK = 0.6
"""Share of the last frame's mask and outline where the picture merely moved."""
ANOTHER = 1.0
"""Who is further than this from where the person was, in lengths of the trunk, is somebody else."""
PATIENCE = 12
"""Frames for which somebody who is not found is taken to be where they were."""
CHANGED = 2
"""Levels from which a pixel counts as drawn over."""
_MIDDLE = (*rig.SHOULDERS, *rig.HIPS)


class Follow:
    """One clip's memory. For each frame `sight`, then edit what it gives (with `outline`), then `calm` that."""

    def __init__(self) -> None:
        self._motion: Motion | None = None
        self._outline: Field | None = None
        self._points: Field | None = None
        self._mask: Field | None = None
        self._drawn: Pixels | None = None
        self._where: Field | None = None
        self._missed = self._bare = 0

    def sight(self, sight: Sight, motion: Motion | None) -> Sight:
        """`sight` with the person that is followed first, and nobody else; as it was if nobody is.

        `motion` is how this frame came from the last, None where a scene begins.
        """
        self._motion = motion
        if motion is None:
            self._forget()
        chosen = self._choose(sight)
        if chosen is None and (self._points is None or self._missed >= PATIENCE):
            self._forget()
            return sight
        height, width = sight.pixels.shape[:2]
        fresh = None if chosen is None else sight.bodies[chosen]
        self._missed = 0 if fresh is not None else self._missed + 1
        if motion is None or self._points is None:
            assert fresh is not None
            points = fresh.copy()
        else:
            points = _calmed(self._points, fresh, motion, (width, height))
        mask = None if chosen is None else sight.mask(chosen)
        if self._mask is not None and motion is not None:
            last = _carried(self._mask, motion)
            share = _known(motion, last, KEPT_MASK if mask is not None else 1.0)
            mask = last if mask is None else np.asarray(mask + (last - mask) * share, np.float32)
        assert mask is not None
        wipe(self._points, self._mask)
        self._points, self._mask = points, mask
        return _alone(sight, chosen, points, mask)

    def outline(self, alpha: Field | None) -> Field | None:
        """`alpha`, H x W, mostly as it was in the last frame where the picture merely moved.

        None, for what was not found in this frame, gives what it was, for PATIENCE frames.
        """
        before = None
        if self._motion is not None and self._outline is not None:
            before = _carried(self._outline, self._motion)
        self._bare = 0 if alpha is not None else self._bare + 1
        if alpha is None:
            alpha = before if self._bare <= PATIENCE else None
        elif before is not None and self._motion is not None:
            alpha = np.asarray(alpha + (before - alpha) * _known(self._motion, alpha, KEPT_MASK), np.float32)
        wipe(self._outline)
        self._outline = None if alpha is None else alpha.copy()
        return alpha

    def calm(self, frame: Pixels, made: Pixels, kept: float) -> Pixels:
        """`made` of `frame`, steadied where it was drawn over, now or in the last frame; elsewhere `frame` itself.

        `kept` is the share of the last drawing where the picture merely moved.
        """
        motion = self._motion
        where = cv2.dilate((cv2.absdiff(made, frame).max(2) > CHANGED).astype(np.float32), np.ones((3, 3), np.uint8))
        out = made
        if motion is not None and self._drawn is not None and self._where is not None:
            before = _carried(self._drawn, motion)
            known = _known(motion, made, 1.0)
            where = np.maximum(where, _carried(self._where, motion) * known * np.float32(kept))
            share = (where * known * np.float32(kept))[..., None]
            mixed = made + (before.astype(np.float32) - made) * share + np.float32(0.5)
            out = np.asarray(mixed).astype(np.uint8)
            wipe(before, mixed)
        wipe(self._drawn, self._where)
        self._drawn, self._where = out.copy(), np.asarray(where, np.float32)
        return out

    def close(self) -> None:
        """Overwrite the memory."""
        self._forget()

    def _forget(self) -> None:
        wipe(self._points, self._mask, self._drawn, self._where, self._outline)
        self._points = self._mask = self._drawn = self._where = self._outline = None
        self._missed = self._bare = 0

    def _choose(self, sight: Sight) -> int | None:
        """Which of the bodies: the nearest to where they were, the first where nobody was."""
        if not sight.bodies:
            return None
        if self._points is None:
            return 0
        before = self._points[list(_MIDDLE), :2]
        away = [float(np.hypot(*(body[list(_MIDDLE), :2] - before).T).mean()) for body in sight.bodies]
        nearest = int(np.argmin(away))
        return nearest if away[nearest] < ANOTHER * _trunk(self._points) else None


def _trunk(points: Field) -> float:
    axis = points[list(rig.HIPS), :2].mean(0) - points[list(rig.SHOULDERS), :2].mean(0)
    return max(8.0, float(np.hypot(*axis)))


def _calmed(points: Field, fresh: Field | None, motion: Motion, size: tuple[int, int]) -> Field:
    """`points` moved as the picture under them did, and towards where they were found.

    Where the picture merely moved, a point that leaps is a mistake; where something else came into view, or the point
    is not in the picture, nothing but detection knows of it, and of what it does not see it knows little.
    """
    high, wide = motion.known.shape
    scale = np.array([wide, high], np.float32) / np.array(size, np.float32)
    at = np.rint(points[:, :2] * scale).astype(int)
    inside = ((at >= 0) & (at < (wide, high))).all(1)
    x, y = np.clip(at[:, 0], 0, wide - 1), np.clip(at[:, 1], 0, high - 1)
    out = points.copy()
    out[:, :2] -= motion.flow[y, x] / scale  # the flow is the way back
    if fresh is not None:
        doubt = np.where(inside, motion.known[y, x], np.float32(1))
        share = (CALM + (1 - CALM) * (1 - doubt)) * np.clip(fresh[:, 3], 0, 1)
        out += (fresh - out) * share[:, None]
    return np.asarray(out, np.float32)


def _carried(picture: NDArray[np.generic], motion: Motion) -> NDArray[np.float32]:
    height, width = picture.shape[:2]
    x, y = motion.places(width, height)
    flags = cv2.INTER_CUBIC if picture.dtype == np.uint8 else cv2.INTER_LINEAR
    return np.asarray(cv2.remap(picture, x, y, flags, None, cv2.BORDER_REPLICATE))


def _known(motion: Motion, like: NDArray[np.generic], share: float) -> Field:
    height, width = like.shape[:2]
    return np.asarray(cv2.resize(motion.known, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(share))


def _alone(sight: Sight, chosen: int | None, points: Field, mask: Field) -> Sight:
    """`sight` of that person alone, with those points and that mask."""
    height, width = sight.pixels.shape[:2]
    small = cv2.resize(mask, features.mask_size(width, height), interpolation=cv2.INTER_AREA)
    score = 1.0 if chosen is None else sight.found.poses[chosen].score
    pose = features.Pose(points.tobytes(), score, features.pack_mask(np.asarray(small, np.float32)))
    found = msgspec.structs.replace(sight.found, poses=(pose,))
    return Sight(sight.pixels, sight.meshes, (points,), found)
