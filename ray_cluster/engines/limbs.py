"""Arms as layers of their own: what they cover is continued behind them, so they swing without tearing it."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import rig
from ray_cluster.engines.behind import continued
from ray_cluster.engines.wipe import wipe

Layer = NDArray[np.uint8]
Field = NDArray[np.float32]

THICK = 0.23
"""Half the thickness of an arm where it lies on the trunk, in shoulder widths."""
LOOSE = 0.36
"""The same away from the trunk, where only the place is beside it: sleeves and hands reach further."""
ROOT, CUT = 0.12, 0.42
"""Shares of the upper arm: the arm's layer begins at the first, the trunk's ends at the second. Both have what is
between, so no gap opens at the shoulder."""
SOFT = 0.035
"""Of the shoulder width, over which a layer fades where it was cut out of the other."""
FINGERS = 1.6
"""Knuckles are so much nearer to the wrist than fingertips."""
SURELY, ON_BODY = 0.8, 0.9
"""Least visibility of an arm's joints, and least share of its bones that lies on the cut-out person."""
HEAD = 0.8
"""Around the nose, in shoulder widths: what is there is no arm's."""
LEAST = 0.002
"""Of the person's pixels: a smaller arm is not worth a layer."""


class Limb(msgspec.Struct, frozen=True):
    """An arm: `layer` is H x W x 4 premultiplied RGBA, `rows` are the rig's points that move it."""

    layer: Layer
    rows: NDArray[np.intp]
    front: bool

    def __repr__(self) -> str:
        """Nothing of the person."""
        return "Limb(…)"


def split(person: Layer, points: Field, body: rig.Rig) -> tuple[Layer, tuple[Limb, ...]]:
    """The person without the arms that may swing, filled where they were in front of the trunk; and those arms.

    `points` are BlazePose's 33 x 4 in pixels. Arms that hold each other or are not seen whole stay with the trunk.
    """
    sides = [side for side in (0, 1) if _swings(points, person[..., 3], body, side)]
    if not sides:
        return person, ()
    trunk_here = _trunk(points, person.shape[:2], body.unit)
    rest, limbs = person, []
    for side in sides:
        whole, cut = _arm(points, person[..., 3], trunk_here, body.unit, side)
        if (person[..., 3] * whole > rig.HALF).sum() < LEAST * (person[..., 3] > rig.HALF).sum():
            continue
        limbs.append(
            Limb(
                _scaled(person, whole),
                np.nonzero(body.arm_rows == side + 1)[0],
                _in_front(points, trunk_here, side),
            )
        )
        rest = _without(rest, cut, trunk_here)
    return rest, tuple(limbs)


def _swings(points: Field, alpha: NDArray[np.uint8], body: rig.Rig, side: int) -> bool:
    """Free, seen for sure, and where the cut-out has it: a guessed arm would take a piece of something else along."""
    chain = points[[rig.SHOULDERS[side], rig.ELBOWS[side], rig.WRISTS[side]]]
    hips = points[list(rig.HIPS)]
    whole = hips[:, 3].min() > rig.SEEN and hips[:, 1].max() < alpha.shape[0]
    # A half-length portrait shows too little of an arm to know where it ends; there the trunk takes it along.
    if not whole or body.arms[side] <= 0 or body.forearms[side] <= 0 or chain[:, 3].min() < SURELY:
        return False
    share = np.linspace(0, 1, 12)[:, None]
    places = np.vstack([chain[at, :2] + (chain[at + 1, :2] - chain[at, :2]) * share for at in (0, 1)])
    column, row = np.rint(places).astype(int).T
    inside = (row >= 0) & (row < alpha.shape[0]) & (column >= 0) & (column < alpha.shape[1])
    return bool(inside.all() and (alpha[row, column] > rig.HALF).mean() > ON_BODY)


def _trunk(points: Field, shape: tuple[int, ...], unit: float) -> Field:
    """1 on the trunk between shoulders and hips, soft at its border."""
    corners = points[[*rig.SHOULDERS, rig.HIPS[1], rig.HIPS[0]], :2]
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(corners).astype(np.int32)), 1)
    side = 2 * max(1, round(0.12 * unit)) + 1
    mask = np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))), np.uint8)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.8, SOFT * unit)), np.float32)


def _arm(points: Field, alpha: NDArray[np.uint8], trunk: Field, unit: float, side: int) -> tuple[Field, Field]:
    """0..1 each: the arm with its root, and the part of it that the trunk's layer loses."""
    height, width = alpha.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    shoulder, elbow, wrist = (points[row[side], :2] for row in (rig.SHOULDERS, rig.ELBOWS, rig.WRISTS))
    knuckles = points[list(rig.HANDS[side]), :2].mean(0)
    tip = wrist + (knuckles - wrist) * FINGERS
    far = np.full((height, width), np.inf, np.float32)
    along = np.zeros((height, width), np.float32)
    for number, (start, end) in enumerate(((shoulder, elbow), (elbow, wrist), (wrist, tip))):
        axis = end - start
        length = max(1.0, float(axis @ axis))
        share = np.clip(((x - start[0]) * axis[0] + (y - start[1]) * axis[1]) / length, 0, 1)
        away = np.hypot(x - start[0] - share * axis[0], y - start[1] - share * axis[1])
        nearer = away < far
        np.copyto(along, share + number, where=nearer)
        np.minimum(far, away, out=far)
    loose = THICK + (LOOSE - THICK) * np.clip(along - 0.3, 0, 1)  # a shoulder is no looser than it is thick
    reach = (THICK * trunk + loose * (1 - trunk)) * unit
    inside = np.clip((reach - far) / (SOFT * unit) + 0.5, 0, 1)
    away = np.hypot(x - points[rig.NOSE, 0], y - points[rig.NOSE, 1])
    inside = _joined(inside * np.clip((away - HEAD * unit) / (SOFT * unit), 0, 1), alpha)
    whole = inside * np.clip((along - ROOT) / 0.12 + 0.5, 0, 1)
    cut = inside * np.clip((along - CUT) / 0.12 + 0.5, 0, 1)
    return whole.astype(np.float32), cut.astype(np.float32)


def _joined(inside: Field, alpha: NDArray[np.uint8]) -> Field:
    """The largest piece of what is on the person: a leg that the arm's reach just touches is not the arm."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(((inside > 0.1) & (alpha > rig.HALF)).astype(np.uint8))  # noqa: PLR2004
    if count < 2:  # noqa: PLR2004 - no piece at all
        return inside
    largest = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    return np.asarray(inside * cv2.dilate(largest, np.ones((5, 5), np.uint8)), np.float32)


def _scaled(layer: Layer, share: Field) -> Layer:
    return np.asarray(layer * share[..., None] + 0.5, np.float32).astype(np.uint8)


def _without(person: Layer, cut: Field, trunk: Field) -> Layer:
    """`person` without an arm: clear beside the trunk, and on it the trunk's own cloth, continued."""
    beside = _scaled(person, 1 - cut * (1 - trunk))
    gap = ((cut > 0.02) & (trunk > 0.02)).astype(np.uint8)  # noqa: PLR2004
    if not gap.any():
        return beside
    alpha = person[..., 3]
    around = cv2.boundingRect(np.asarray(cv2.dilate(gap, np.ones((3, 3), np.uint8))))
    pad = max(around[2], around[3]) // 2
    x0, y0 = max(0, around[0] - pad), max(0, around[1] - pad)
    x1, y1 = around[0] + around[2] + pad, around[1] + around[3] + pad
    part = np.s_[y0:y1, x0:x1]
    # Nothing but the trunk itself may continue it: neither the place nor the head.
    unknown = ((gap[part] > 0) | (alpha[part] < 250) | (trunk[part] < 0.5)).astype(np.uint8)  # noqa: PLR2004
    if unknown.mean() > 0.97:  # noqa: PLR2004 - hardly any trunk is seen: leave the arm where it is
        return person
    filled = continued(np.ascontiguousarray(person[part][..., :3]), unknown).astype(np.float32)
    share = (cut[part] * trunk[part])[..., None] * (alpha[part][..., None] / np.float32(255))
    own = beside[part].astype(np.float32)
    out = beside.copy()
    out[part][..., :3] = (own[..., :3] * (1 - share) + filled * share + 0.5).astype(np.uint8)
    wipe(beside)
    return out


def _in_front(points: Field, trunk: Field, side: int) -> bool:
    """Before the trunk: it is seen there, or the elbow is nearer to the viewer than the shoulder."""
    wrist, elbow = points[rig.WRISTS[side]], points[rig.ELBOWS[side]]
    height, width = trunk.shape
    for joint in (wrist, elbow):
        row, column = int(np.clip(joint[1], 0, height - 1)), int(np.clip(joint[0], 0, width - 1))
        if trunk[row, column] > 0.5:  # noqa: PLR2004
            return True
    return bool(elbow[2] <= points[rig.SHOULDERS[side], 2])
