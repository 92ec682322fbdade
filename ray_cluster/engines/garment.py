"""Which pixels of a photo are what somebody wears: by their pose and mask, without skin and hair, then by colour."""

from __future__ import annotations

import itertools
from typing import Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import matte, rig, skin
from ray_cluster.engines import mesh as face
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.errors import NoGarment
from ray_cluster.engines.people import Sight

Field = NDArray[np.float32]
Mask = NDArray[np.uint8]
Part = Literal["main", "all"]

WORK_PX = 352
"""Longer side at which cloth is told from the rest; its edge is then found in the photo itself."""
SKIN_PX = 1024
"""Longer side at which skin is told from cloth."""
CUTS = 3
"""Rounds of GrabCut."""
LIMB = 0.34
"""Half the width of a sleeve, in shoulder widths."""
LEG = 0.42
ROOM, LOOSE = 0.16, 0.4
"""How far cloth stands off the shoulders and hips, in shoulder widths; further where its colour vouches for it."""
SMALLEST = 0.02
"""Of the person's pixels: less cloth than this is none."""
SAME, OTHER = 1.0, 2.4
"""Deviations from the main cloth's colour up to which a pixel is surely of it, and from which it surely is not."""
_SPREAD = np.array([46.0, 11.0, 11.0])
"""One deviation of L, a and b: folds and shade change L far more than hue."""
_HEAD = tuple(range(11))
JAW = -0.3
"""Of the face's height, up from the chin: a collar may stand up so far."""
DEEPEST = 0.3
"""Of the light, and of the hue: less of either is not left in shade."""
STRONG, TELLING = 40.0, 0.4
"""The strength of a hue (a and b) by which a cloth is told, and how much less darkness then counts against it."""
PIECE, ALIKE_PIECE = 0.06, 0.01
"""Of the largest piece's pixels: a smaller piece of cloth is a mistake; one of the main cloth's very colour is not."""


def find(sight: Sight, part: Part) -> Field:
    """H x W, 0..1 on the clothes of the largest person of `sight`: the `main` cloth of the trunk, or `all` of it.

    Raises:
        NoGarment: no cloth is seen on them.

    """
    body = sight.body()
    height, width = sight.pixels.shape[:2]
    scale = min(1.0, WORK_PX / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = np.asarray(cv2.resize(sight.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    ratio = np.array([size[0] / width, size[1] / height], np.float32)
    person = np.asarray(cv2.resize(sight.mask(), size, interpolation=cv2.INTER_AREA), np.float32)
    points = np.hstack([body[:, :2] * ratio, body[:, 3:]])
    mesh = own_face(sight, body)
    own = None if mesh is None else np.asarray(mesh[:, :2] * ratio, np.float32)
    lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.float32)
    person_here = person > 0.5  # noqa: PLR2004
    bare = uncovered(lab, points, own, person_here)
    trunk, dressed = _dressed(points, (size[1], size[0]), LOOSE if part == "main" else ROOM)
    candidates = person_here & (dressed > 0) & (bare < 0.3)  # noqa: PLR2004
    core = candidates & (trunk > 0)
    if core.sum() < SMALLEST * person_here.sum():
        raise NoGarment("expected clothes in view, found none; send a photo that shows the upper body, dressed")
    cloth = _main_of(lab, core)
    bare = uncovered(lab, points, own, person_here, cloth)
    candidates = person_here & (dressed > 0) & (bare < 0.3)  # noqa: PLR2004
    main = cloth if part == "main" else None
    if main is not None:
        near = main.off(lab)
        sure, never = candidates & (near < SAME), ~candidates | (near > OTHER)
    else:
        sure, never = candidates, ~(person_here & (dressed > 0)) | (bare > 0.7)  # noqa: PLR2004
    marks = np.where(sure, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    marks[~person_here | (bare > 0.7) | (dressed == 0)] = cv2.GC_BGD  # noqa: PLR2004
    marks[never & (marks != cv2.GC_BGD)] = cv2.GC_PR_BGD
    kernel = np.ones((3, 3), np.uint8)
    marks[cv2.erode((sure & (trunk > 0)).astype(np.uint8), kernel) > 0] = cv2.GC_FGD
    chosen = _cut(small, marks, None if main is None else main.off(lab) < SAME)
    if chosen.sum() < SMALLEST * person_here.sum():
        raise NoGarment("expected clothes in view, found none; send a photo that shows the upper body, dressed")
    return _sharpen(sight, chosen, mesh, cloth, main)


def own_face(sight: Sight, body: Field) -> Field | None:
    """The mesh that is this body's: the one whose box holds the nose."""
    nose = body[rig.NOSE, :2]
    for mesh in sight.meshes:
        if (mesh[:, :2].min(0) <= nose).all() and (nose <= mesh[:, :2].max(0)).all():
            return mesh
    return None


def uncovered(
    lab: Field, points: Field, mesh: Field | None, person: NDArray[np.bool_], cloth: _Main | None = None
) -> Field:
    """H x W, 0..1: skin and head of `person`, whose skin has the face's hue and may be at neck, hands, arms and legs.

    `points` are 33 x 3 (x, y, visibility), `mesh` 468 x 2. Beside the jaw a collar of `cloth` is told from hair.
    """
    height, width = lab.shape[:2]
    shoulder = _shoulder(points)
    head = np.zeros((height, width), np.uint8)
    if mesh is not None:
        cv2.fillConvexPoly(head, cv2.convexHull(np.rint(mesh).astype(np.int32)), 255)
        size = float(np.ptp(mesh[:, 1]))
        middle = mesh[list(face.OVAL)].mean(0)
        chin = mesh[face.CHIN]
    else:
        middle = points[list(_HEAD), :2].mean(0)
        size = 0.75 * shoulder
        chin = middle + (points[list(rig.SHOULDERS), :2].mean(0) - middle) * 0.5
        cv2.circle(head, (int(middle[0]), int(middle[1])), int(0.55 * size), 255, -1)
    likely = _skin_hue(lab, mesh, head)
    down = points[list(rig.SHOULDERS), :2].mean(0) - middle
    down = down / max(1e-6, float(np.hypot(*down)))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    below = ((x - chin[0]) * down[0] + (y - chin[1]) * down[1]) / max(size, 1.0)
    aside = np.abs((x - middle[0]) * down[1] - (y - middle[1]) * down[0]) / max(size, 1.0)
    # Hair: whatever is beside the head and not lower than the chin, then what is coloured like it a little further.
    crown = (below < 0.02) & (aside < 1.15)  # noqa: PLR2004
    alike = _like_hair(lab, head, crown & person)
    hair = crown | (alike & (below < 1.1) & (aside < 0.95))  # noqa: PLR2004
    if cloth is not None:
        rows, columns = _box_of(hair & (below >= JAW))
        hair[rows, columns] &= (alike | (below < JAW))[rows, columns] | (cloth.off(lab[rows, columns]) > SAME)
    where = np.zeros((height, width), np.float32)
    where[(below < 0.75) & (aside < 0.62)] = 1  # noqa: PLR2004 - the neck and a neckline
    for wrist, knuckles in zip(rig.WRISTS, rig.HANDS, strict=True):
        if points[wrist, 2] > 0.3:  # noqa: PLR2004 - a hand that is half hidden is still skin
            hand = points[[wrist, *knuckles], :2].mean(0)
            cv2.circle(where, (int(hand[0]), int(hand[1])), max(2, int(0.55 * shoulder)), 1, -1)
    for limb in (
        *zip(rig.SHOULDERS, rig.ELBOWS, rig.WRISTS, strict=True),
        *zip(rig.HIPS, rig.KNEES, rig.ANKLES, strict=True),
    ):
        ends = np.rint(points[list(limb), :2]).astype(np.int32)
        for start, end in itertools.pairwise(ends):
            cv2.line(where, tuple(map(int, start)), tuple(map(int, end)), 1, max(2, int(0.6 * shoulder)))
    out = np.maximum(likely * where, hair.astype(np.float32))
    out[head > 0] = 1
    return np.asarray(cv2.GaussianBlur(out, (0, 0), 0.8), np.float32)


def _box_of(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns where there is anything."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    if not len(rows):
        return slice(0), slice(0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _shoulder(points: Field) -> float:
    """A width to measure a body by: its shoulders', or what its trunk's length says where it is seen from the side."""
    left, right = points[list(rig.SHOULDERS), :2]
    trunk = points[list(rig.HIPS), :2].mean(0) - (left + right) / 2
    return max(4.0, float(np.hypot(*(left - right))), 0.45 * float(np.hypot(*trunk)))


def _skin_hue(lab: Field, mesh: Field | None, head: Mask) -> Field:
    """1 where hue and lightness are those of the face's skin, in any light."""
    if mesh is not None:
        fitted = skin.learn(lab, mesh)
        middle = fitted.terms[0]
    else:
        inside = lab[head > 0]
        middle = np.median(inside, 0) if len(inside) else np.array([150.0, 145.0, 148.0])
    light = np.clip((lab[..., 0] - middle[0]) / np.where(lab[..., 0] > middle[0], 90.0, 0.28 * middle[0]), -3, 3)
    # Shade takes hue away with the light, and so does a shine: compare at the lightness that the pixel has.
    own = max(1.0, float(middle[0]))
    share = np.clip(lab[..., 0] / own, 0.4, 1.0)[..., None]
    share = share * (1 - 0.5 * np.clip((lab[..., :1] - own) / max(1.0, 255 - own), 0, 1))
    off = (lab[..., 1:] - 128) - (middle[1:] - 128) * share
    far = np.sqrt(np.square(off / np.array([7.0, 8.0])).sum(-1) + np.square(light))
    return np.asarray(np.clip((2.4 - far) / 1.0, 0, 1), np.float32)


def _like_hair(lab: Field, head: Mask, crown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    ring = cv2.dilate(head, np.ones((5, 5), np.uint8), iterations=2)
    sample = lab[(ring > 0) & (head == 0) & crown]
    if len(sample) < 20:  # noqa: PLR2004
        return np.zeros(lab.shape[:2], bool)
    middle = np.median(sample, 0)
    spread = np.clip(1.48 * np.median(np.abs(sample - middle), 0), [10, 3, 3], [24, 6, 6])
    return np.asarray(np.sqrt(np.square((lab - middle) / spread).mean(-1)) < 1.4)  # noqa: PLR2004


def _dressed(points: Field, shape: tuple[int, int], room: float) -> tuple[Mask, Mask]:
    """Where the trunk is, and where clothes may be at all: trunk, sleeves and legs with room around them."""
    shoulder = _shoulder(points)
    left, right = points[list(rig.SHOULDERS), :2]
    low_left, low_right = points[list(rig.HIPS), :2]
    trunk, dressed = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    up = (left + right) / 2 - (low_left + low_right) / 2
    up = up / max(1e-6, float(np.hypot(*up)))
    inner = np.array([left, right, low_right, low_left])
    collar = (left + right) / 2 + up * 0.55 * shoulder
    cv2.fillConvexPoly(trunk, cv2.convexHull(np.rint(inner).astype(np.int32)), 255)
    outer = np.vstack([inner, [collar], inner - up * room * shoulder, inner + up * room * shoulder])
    cv2.fillConvexPoly(dressed, cv2.convexHull(np.rint(outer).astype(np.int32)), 255)
    side = 2 * max(1, round(room * shoulder)) + 1
    dressed = np.asarray(cv2.dilate(dressed, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))), np.uint8)
    for joints, width in (
        (zip(rig.SHOULDERS, rig.ELBOWS, rig.WRISTS, strict=True), LIMB),
        (zip(rig.HIPS, rig.KNEES, rig.ANKLES, strict=True), LEG),
    ):
        for limb in joints:
            ends = np.rint(points[list(limb), :2]).astype(np.int32)
            for start, end in itertools.pairwise(ends):
                cv2.line(
                    dressed, tuple(map(int, start)), tuple(map(int, end)), 255, max(2, round(2 * width * shoulder))
                )
    return trunk, dressed


class _Main(msgspec.Struct, frozen=True):
    """The colour that most of the trunk's cloth has: Lab and one deviation of each."""

    middle: NDArray[np.float64]
    spread: NDArray[np.float64]

    def off(self, lab: Field) -> Field:
        """How many deviations each pixel is from it, in any light.

        Shade takes away of the hue's strength at most as much as of the light; where hue tells, it may be deeper.
        """
        middle, spread = self.middle.astype(np.float32), self.spread.astype(np.float32)
        hue = middle[1:] - np.float32(128)
        strength = max(1.0, float(np.hypot(*hue)))
        light = lab[..., 0] - middle[0]
        across, along = lab[..., 1] - np.float32(128), lab[..., 2] - np.float32(128)
        dark = np.clip(lab[..., 0] / np.float32(max(1.0, float(middle[0]))), DEEPEST, 1)
        share = np.clip((across * hue[0] + along * hue[1]) / np.float32(strength**2), dark, 1)
        light *= np.where(light < 0, np.float32(1 - TELLING * min(1.0, strength / STRONG)), np.float32(1))
        across -= hue[0] * share
        along -= hue[1] * share
        far = np.square(light / spread[0]) + np.square(across / spread[1]) + np.square(along / spread[2])
        return np.asarray(np.sqrt(far), np.float32)


def _main_of(lab: Field, core: NDArray[np.bool_]) -> _Main:
    sample = lab[core]
    sample = sample[:: max(1, len(sample) // 3000)].astype(np.float32)
    weighted = (sample / _SPREAD).astype(np.float32)
    count = min(4, len(weighted))
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.05)
    cv2.setRNGSeed(1)
    _, found, centres = cv2.kmeans(weighted, count, np.empty(0), criteria, 2, cv2.KMEANS_PP_CENTERS)
    labels = np.asarray(found).ravel()
    sizes = np.bincount(labels, minlength=count).astype(float)
    # Two clusters of one hue are one cloth, lit and in its folds.
    near = np.sqrt(np.square(centres - centres[sizes.argmax()]).sum(1)) < SAME * 1.2
    chosen = sample[near[labels]].astype(np.float64)
    return _Main(chosen.mean(0), np.maximum(_SPREAD, 1.2 * chosen.std(0)))


def _cut(rgb: Pixels, marks: Mask, alike: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """GrabCut (Rother et al. 2004) from `marks`; small pieces are kept where most of them is `alike`."""
    if not ((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)).any():
        return np.zeros(marks.shape, bool)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(1)
    cv2.grabCut(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), marks, None, *models, CUTS, cv2.GC_INIT_WITH_MASK)
    chosen = ((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    chosen = np.asarray(cv2.morphologyEx(chosen, cv2.MORPH_OPEN, kernel), np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(chosen)
    if count > 1:
        area = stats[:, cv2.CC_STAT_AREA].astype(float)
        area[0] = 0
        dropped = area < PIECE * area.max()
        if alike is not None:
            same = np.bincount(labels.ravel(), alike.ravel(), count) > 0.5 * area
            dropped &= ~same | (area < ALIKE_PIECE * area.max())
        chosen[dropped[labels]] = 0
    return np.asarray(chosen > 0)


def _sharpen(sight: Sight, chosen: NDArray[np.bool_], mesh: Field | None, cloth: _Main, main: _Main | None) -> Field:
    """The coarse choice with its edge on the photo's, inside the person's alpha and off the skin."""
    height, width = sight.pixels.shape[:2]
    longer = max(height, width)
    body = sight.bodies[0]
    coarse = cv2.resize(chosen.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    guide = sight.pixels.astype(np.float32) / np.float32(255)
    radius = max(2, round(0.008 * longer))
    soft = np.asarray(cv2.ximgproc.guidedFilter(guide, coarse, radius, 4e-4), np.float32)
    # A pixel of the rim is part cloth, and keeps the old cloth's colour in proportion: cover it a little more.
    alpha = 1 - np.square(1 - np.clip((soft - 0.08) / 0.7, 0, 1))
    rim = cv2.dilate(matte.refine(sight.pixels, sight.mask(), longer), np.ones((3, 3), np.uint8))
    alpha = np.minimum(alpha, np.asarray(rim, np.float32))
    scale = min(1.0, SKIN_PX / longer)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(cv2.resize(sight.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.float32)
    ratio = np.array([size[0] / width, size[1] / height], np.float32)
    points = np.hstack([body[:, :2] * ratio, body[:, 3:]])
    person = cv2.resize(sight.mask(), size, interpolation=cv2.INTER_AREA) > 0.5  # noqa: PLR2004
    bare = uncovered(lab, points, None if mesh is None else mesh[:, :2] * ratio, person, cloth)
    hugging = cv2.ximgproc.guidedFilter(small.astype(np.float32) / np.float32(255), bare, 5, 3e-4)
    near = np.clip((np.asarray(hugging, np.float32) - 0.25) / 0.4, 0, 1)
    if main is not None:
        near = np.maximum(near, np.clip((main.off(lab) - OTHER) / 0.6, 0, 1))
    wide = cv2.resize(near, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(alpha * (1 - wide), np.float32)
