"""A body to move: control points on the photo, the bones they follow, and where a dance takes them.

Points and rigid motions are complex numbers: a bone's motion is z -> a z + b with |a| = 1, so no limb ever stretches.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.choreography import Stance

Complexes = NDArray[np.complex128]
Floats = NDArray[np.float64]

# BlazePose's numbers.
NOSE, LEFT_EAR, RIGHT_EAR = 0, 7, 8
SHOULDERS, ELBOWS, WRISTS = (11, 12), (13, 14), (15, 16)
HANDS = ((17, 19, 21), (18, 20, 22))
HIPS, KNEES, ANKLES = (23, 24), (25, 26), (27, 28)
FEET = ((29, 31), (30, 32))

SEEN = 0.5
"""Visibility above which a joint is moved on its own."""

# How far a body goes at 1. Lengths are shares of the shoulder width, angles are degrees.
SWAY, BEND = 0.09, 0.075
LEAN_DEG, SHOULDERS_DEG, HEAD_TILT_DEG = 3.6, 4.0, 7.5
HEAD_SLIDE, HEAD_NOD, HEAD_TURN_RAD = 0.04, 0.03, 0.09
ARM_DEG, FOREARM_DEG = 13.0, 20.0
LARGEST_UNIT = 0.38
"""Of the picture's shorter side: a close-up must not dance out of its picture."""
HUGGED_ARM = 0.2
"""What is left of an arm's swing where it lies on the trunk: what it covers is only guessed."""
CLASPED = 0.6
"""Wrists nearer than this share of the shoulder width hold each other."""
FOLDED = 0.4
"""Forearms nearer than this share of the shoulder width are folded."""
HAIR_LAG_FRAMES = 1
HAIR_SHARE = 0.6
HAIR_RAYS = 18
CUT_REACH_BOTTOM, CUT_REACH_SIDE = 0.55, 0.12
"""Shares of the picture's height or width over which a body cut off by the border comes to rest there."""

CUT_SHARE = 0.02
"""Of a border's length: less of the person there is a fingertip, not a cut."""
HALF = 127
"""Of an alpha of 255."""

_GROUND, _PELVIS, _TRUNK, _CHEST, _HEAD, _HAIR = range(6)
_ARM, _FOREARM, _THIGH, _SHIN = (6, 7), (8, 9), (10, 11), (12, 13)
_BONES = 14


class Rig(msgspec.Struct, frozen=True):
    """Built by `build`. `source` are N places in the photo; `skin` is N x bones, rows sum to 1.

    `legs`: both feet are seen and stay planted. `headless`: the top border cuts the head off, so the dance goes up from
    the photo and never down, where there would be nothing to show above the head.
    """

    source: Complexes
    skin: Floats
    depth: Floats
    hold: Floats
    joints: Complexes
    unit: float
    arms: tuple[float, float]
    forearms: tuple[float, float]
    legs: bool
    headless: bool
    arm_rows: NDArray[np.intp]
    """Which points belong to an arm alone: 1 to the left one, 2 to the right one, 0 to neither."""

    def __repr__(self) -> str:
        """Counts only."""
        return f"Rig({len(self.source)} points)"

    def dance(self, stance: Stance) -> Complexes:
        """Frames x N: where every control point goes."""
        turn, shift = self._bones(stance)
        moved = np.einsum("nb,fb->fn", self.skin, turn) * self.source + np.einsum("nb,fb->fn", self.skin, shift)
        facing = turn[:, _HEAD, None] * self.depth * HEAD_TURN_RAD
        moved += facing * (stance.head_turn[:, None] + 0.35j * stance.head_nod[:, None])
        way = (moved - self.source) * self.hold
        if self.headless:
            way -= 1j * self.hold * way.imag.max()
        return np.asarray(self.source + way)

    def _bones(self, stance: Stance) -> tuple[Complexes, Complexes]:
        """Frames x bones: a and b of every bone's motion."""
        joints, unit = self.joints, self.unit
        turn = np.ones((len(stance.sway), _BONES), np.complex128)
        shift = np.zeros_like(turn)

        def attach(bone: int, parent: int, pivot: complex, angle: Floats, slide: Complexes | float = 0.0) -> None:
            own = np.exp(1j * np.deg2rad(angle))
            turn[:, bone] = turn[:, parent] * own
            shift[:, bone] = turn[:, parent] * (pivot * (1 - own) + slide) + shift[:, parent]

        still = np.zeros(len(turn))
        hips, shoulders = (joints[list(pair)].mean() for pair in (HIPS, SHOULDERS))
        neck = shoulders + 0.18 * unit * (joints[NOSE] - shoulders) / abs(joints[NOSE] - shoulders)
        attach(
            _PELVIS,
            _GROUND,
            hips,
            still,
            np.asarray(unit * (SWAY * stance.sway + 1j * BEND * stance.bend), np.complex128),
        )
        attach(_TRUNK, _PELVIS, hips, LEAN_DEG * stance.lean)
        attach(_CHEST, _TRUNK, shoulders, SHOULDERS_DEG * stance.shoulders)
        slide = np.asarray(unit * (HEAD_SLIDE * stance.head_slide + 1j * HEAD_NOD * stance.head_nod), np.complex128)
        attach(_HEAD, _CHEST, neck, HEAD_TILT_DEG * stance.head_tilt - SHOULDERS_DEG * stance.shoulders, slide)
        turn[:, _HAIR] = np.roll(turn[:, _HEAD], HAIR_LAG_FRAMES)
        shift[:, _HAIR] = np.roll(shift[:, _HEAD], HAIR_LAG_FRAMES)
        swings = ((stance.left_arm, stance.left_forearm), (stance.right_arm, stance.right_forearm))
        for side, (arm, forearm) in enumerate(swings):
            attach(_ARM[side], _CHEST, joints[SHOULDERS[side]], ARM_DEG * self.arms[side] * arm)
            attach(_FOREARM[side], _ARM[side], joints[ELBOWS[side]], FOREARM_DEG * self.forearms[side] * forearm)
            if self.legs:
                self._stand(side, turn, shift)
            else:
                for bone in (_THIGH[side], _SHIN[side]):
                    turn[:, bone], shift[:, bone] = turn[:, _PELVIS], shift[:, _PELVIS]
        return turn, shift

    def _stand(self, side: int, turn: Complexes, shift: Complexes) -> None:
        """Thigh and shin between the moving hip and the planted foot: two circles meet in the knee."""
        hip, knee, foot = (self.joints[row[side]] for row in (HIPS, KNEES, ANKLES))
        moved = turn[:, _PELVIS] * hip + shift[:, _PELVIS]
        thigh, shin = abs(knee - hip), abs(foot - knee)
        line = foot - moved
        span = np.clip(np.abs(line), abs(thigh - shin) + 1e-6, thigh + shin)
        along = (thigh**2 - shin**2 + span**2) / (2 * span)
        bulge = np.sqrt(np.maximum(thigh**2 - along**2, 0))
        bent = ((knee - hip) * np.conj(foot - hip)).imag  # which side of the line the knee is on in the photo
        outward = 1.0 if foot.real >= self.joints[list(ANKLES)].mean().real else -1.0
        straight = abs(bent) < 0.02 * abs(foot - hip) ** 2
        towards = -outward if straight else np.sign(bent)
        joint = moved + line / np.abs(line) * (along + 1j * towards * bulge)
        for bone, start, end, start_moved, end_moved in (
            (_THIGH[side], hip, knee, moved, joint),
            (_SHIN[side], foot, knee, np.full_like(moved, foot), joint),
        ):
            ratio = (end_moved - start_moved) / (end - start)
            turn[:, bone] = ratio / np.abs(ratio)
            shift[:, bone] = start_moved - turn[:, bone] * start


def build(points: NDArray[np.float32], mesh: NDArray[np.float32] | None, alpha: NDArray[np.uint8]) -> Rig:
    """A rig for the person whose BlazePose `points` are 33 x 4 (x, y, z in pixels, visibility).

    `mesh` is the face mesh 468 x 3 in pixels if a face was found; `alpha` is H x W, 255 on the person.
    """
    height, width = alpha.shape
    joints = points[:, 0].astype(np.float64) + 1j * points[:, 1].astype(np.float64)
    inside = (joints.real >= 0) & (joints.real < width) & (joints.imag >= 0) & (joints.imag < height)
    seen = (points[:, 3] > SEEN) & inside
    unit = max(float(abs(joints[11] - joints[12])), 0.6 * float(abs(joints[list(SHOULDERS)].mean() - joints[NOSE])))
    unit = min(unit, LARGEST_UNIT * min(width, height))
    legs = all(bool(seen[i]) for i in (*HIPS, *KNEES, *ANKLES))
    clasped = bool(seen[list(WRISTS)].any()) and abs(joints[WRISTS[0]] - joints[WRISTS[1]]) < CLASPED * unit
    clasped = clasped or _folded(joints, seen, unit)
    # Hands that hold each other, or one thing together, move with the trunk: they cannot part in the photo.
    free = [(0.0, 0.0) if clasped else _freedom(joints, seen, side) for side in (0, 1)]
    rows = _Rows()
    _add_head(rows, joints, mesh, alpha, unit)
    _add_trunk(rows, joints)
    for side in (0, 1):
        _add_arm(rows, joints, seen, side)
        _add_leg(rows, joints, seen, side)
    _add_anchors(rows, alpha)
    source = np.array([row[0] for row in rows.rows])
    kept = (source.real > -unit) & (source.real < width + unit) & (source.imag > -unit) & (source.imag < height + unit)
    skin = np.zeros((len(source), _BONES))
    for i, (_, bones, _) in enumerate(rows.rows):
        for bone, share in bones.items():
            skin[i, bone] = share
    return Rig(
        source=source[kept],
        skin=skin[kept],
        depth=np.array([row[2] for row in rows.rows])[kept],
        hold=_hold(source[kept], alpha),
        joints=joints,
        unit=unit,
        arms=(free[0][0], free[1][0]),
        forearms=(free[0][1], free[1][1]),
        legs=legs,
        headless=_is_cut(alpha[0]),
        arm_rows=_arm_rows(skin[kept]),
    )


def _folded(joints: Complexes, seen: NDArray[np.bool_], unit: float) -> bool:
    """Whether the forearms lie on each other: neither can move without the other."""
    ends = [(ELBOWS[side], WRISTS[side]) for side in (0, 1)]
    if not all(seen[joint] for pair in ends for joint in pair):
        return False
    share = np.linspace(0, 1, 9)
    left, right = (joints[elbow] + (joints[wrist] - joints[elbow]) * share for elbow, wrist in ends)
    return bool(np.abs(left[:, None] - right[None, :]).min() < FOLDED * unit)


def _arm_rows(skin: Floats) -> NDArray[np.intp]:
    owned = np.stack([skin[:, [_ARM[side], _FOREARM[side]]].sum(1) > 0.99 for side in (0, 1)], 1)  # noqa: PLR2004
    return np.asarray(owned @ np.array([1, 2]), np.intp)


class _Rows:
    """Control points as they are gathered: place, shares of bones, depth towards the viewer."""

    def __init__(self) -> None:
        self.rows: list[tuple[complex, dict[int, float], float]] = []

    def add(self, place: complex, bones: dict[int, float], depth: float = 0.0) -> None:
        self.rows.append((complex(place), bones, depth))

    def line(self, start: complex, end: complex, bones: dict[int, float], shares: tuple[float, ...]) -> None:
        for share in shares:
            self.add(start + (end - start) * share, bones)


def _freedom(joints: Complexes, seen: NDArray[np.bool_], side: int) -> tuple[float, float]:
    """0..1 for the upper arm and the forearm: how freely each may swing."""
    shoulder, elbow, wrist = SHOULDERS[side], ELBOWS[side], WRISTS[side]
    if not (seen[shoulder] and seen[elbow]):
        return 0.0, 0.0
    axis = joints[list(SHOULDERS)].mean() - joints[list(HIPS)].mean()
    half = 0.5 * abs(joints[11] - joints[12])

    def off_trunk(place: complex) -> bool:
        return bool(abs(((place - joints[list(HIPS)].mean()) * np.conj(axis)).imag) / abs(axis) > 1.15 * half)

    arm = 1.0 if off_trunk(joints[elbow]) else HUGGED_ARM
    if not seen[wrist]:
        return arm * 0.5, 0.0
    return (arm, 1.0 if off_trunk(joints[wrist]) else HUGGED_ARM) if arm else (0.0, 0.0)


def _add_head(
    rows: _Rows, joints: Complexes, mesh: NDArray[np.float32] | None, alpha: NDArray[np.uint8], unit: float
) -> None:
    ears = joints[[LEFT_EAR, RIGHT_EAR]]
    centre = ears.mean()
    size = max(float(abs(ears[0] - ears[1])), 0.35 * unit)
    if mesh is None:
        for i in range(11):
            rows.add(joints[i], {_HEAD: 1.0})
    else:
        flat = mesh[::12, 0] + 1j * mesh[::12, 1]
        centre = complex(flat.mean())
        size = max(size, float(np.ptp(mesh[:, 1])))
        for place, z in zip(flat, mesh[::12, 2] - np.median(mesh[:, 2]), strict=True):
            rows.add(place, {_HEAD: 1.0}, -float(z))
    down = joints[list(SHOULDERS)].mean() - centre
    up = -down / abs(down)
    height, width = alpha.shape
    steps = np.arange(0.2, 1.8, 0.02) * size
    for angle in np.linspace(-1.7, 1.7, HAIR_RAYS):
        ray = centre + up * np.exp(1j * angle) * steps
        x, y = np.rint(ray.real).astype(int), np.rint(ray.imag).astype(int)
        ok = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        solid = np.zeros(len(ray), bool)
        solid[ok] = alpha[y[ok], x[ok]] > HALF
        edge = int(np.argmin(solid)) if not solid.all() else len(ray) - 1
        if edge > 0:
            loose = HAIR_SHARE * max(0.0, float(np.cos(1.2 * angle)))  # the crown follows late, the jaw at once
            rows.add(ray[edge - 1], {_HAIR: loose, _HEAD: 1.0 - loose})


def _add_trunk(rows: _Rows, joints: Complexes) -> None:
    left, right = joints[list(SHOULDERS)]
    low_left, low_right = joints[list(HIPS)]
    middle = (left + right) / 2
    mouth = joints[[9, 10]].mean()
    rows.add(middle + (mouth - middle) * 0.35, {_HEAD: 0.5, _CHEST: 0.5})
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        top, low = left + (right - left) * share, low_left + (low_right - low_left) * share
        for fall, bones in (
            (0.0, {_CHEST: 1.0}),
            (0.3, {_CHEST: 0.6, _TRUNK: 0.4}),
            (0.6, {_TRUNK: 1.0}),
            (0.9, {_TRUNK: 0.4, _PELVIS: 0.6}),
        ):
            rows.add(top + (low - top) * fall, bones)
    rows.line(low_left, low_right, {_PELVIS: 1.0}, (0.0, 0.5, 1.0))


def _add_arm(rows: _Rows, joints: Complexes, seen: NDArray[np.bool_], side: int) -> None:
    shoulder, elbow, wrist = (joints[row[side]] for row in (SHOULDERS, ELBOWS, WRISTS))
    if not seen[ELBOWS[side]]:
        return
    rows.line(shoulder, elbow, {_ARM[side]: 1.0}, (0.35, 0.6, 0.85))
    rows.add(elbow, {_ARM[side]: 0.5, _FOREARM[side]: 0.5})
    if not seen[WRISTS[side]]:
        return
    rows.line(elbow, wrist, {_FOREARM[side]: 1.0}, (0.2, 0.45, 0.7, 1.0))
    for i in HANDS[side]:
        rows.add(joints[i], {_FOREARM[side]: 1.0})


def _add_leg(rows: _Rows, joints: Complexes, seen: NDArray[np.bool_], side: int) -> None:
    hip, knee, ankle = (joints[row[side]] for row in (HIPS, KNEES, ANKLES))
    if not seen[KNEES[side]]:
        return
    rows.line(hip, knee, {_THIGH[side]: 1.0}, (0.3, 0.55, 0.8))
    rows.add(knee, {_THIGH[side]: 0.5, _SHIN[side]: 0.5})
    if not seen[ANKLES[side]]:
        return
    rows.line(knee, ankle, {_SHIN[side]: 1.0}, (0.2, 0.45, 0.7))
    for i in (ANKLES[side], *FEET[side]):
        rows.add(joints[i], {_GROUND: 1.0})


def _cuts(alpha: NDArray[np.uint8]) -> dict[str, bool]:
    """Through which borders the person leaves the picture."""
    edges = {"bottom": alpha[-1], "left": alpha[:, 0], "right": alpha[:, -1], "top": alpha[0]}
    return {name: bool((edge > 127).mean() > 0.02) for name, edge in edges.items()}  # noqa: PLR2004


def _add_anchors(rows: _Rows, alpha: NDArray[np.uint8]) -> None:
    """Points that never move where the person is cut off: what leaves the picture must go on leaving it there.

    Not at the top: a head whose hair is cut off still has to dance (`Rig.headless`).
    """
    height, width = alpha.shape
    step = max(1, max(height, width) // 24)
    bottom = [(x, height - 1) for x in range(0, width, step)]
    sides = [(x, y) for x in (0, width - 1) for y in range(0, height, step)]
    for x, y in bottom + sides:
        if alpha[y, x] > HALF:
            rows.add(x + 1j * y, {_GROUND: 1.0})


def _is_cut(edge: NDArray[np.uint8]) -> bool:
    """Whether the person leaves the picture through this border."""
    return bool((edge > HALF).mean() > CUT_SHARE)


def _hold(source: Complexes, alpha: NDArray[np.uint8]) -> Floats:
    """0 at a border (not the top) that cuts the person off, 1 away from it."""
    height, width = alpha.shape
    hold = np.ones(len(source))
    for edge, distance, reach in (
        (alpha[-1], height - 1 - source.imag, CUT_REACH_BOTTOM * height),
        (alpha[:, 0], source.real, CUT_REACH_SIDE * width),
        (alpha[:, -1], width - 1 - source.real, CUT_REACH_SIDE * width),
    ):
        if _is_cut(edge):
            ramp = np.clip(distance / reach, 0, 1)
            hold *= ramp * ramp * (3 - 2 * ramp)
    return hold
