"""Operation `expression`: a face smiles, opens its eyes or looks elsewhere, and stays who it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ray_cluster.engines import mesh as face
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.eyes import Eye, Eyes
from ray_cluster.engines.people import MIN_FACE_PX, PeopleEngine, PeopleParams, Sight
from ray_cluster.engines.wipe import wipe

Field = NDArray[np.float32]
Degree = Annotated[float, Meta(ge=-1.0, le=1.0)]

MARGIN = 0.3
"""Of the face's size, around it: what may move."""

# Shares of the face's width at 1.
CORNER_OUT, CORNER_UP, CORNER_REACH = 0.034, 0.046, 0.115
CHEEK_UP, CHEEK_REACH = 0.016, 0.13
LID_UP, LID_REACH = 0.007, 0.06
MIDDLE_DOWN, MIDDLE_REACH = 0.008, 0.07
FROWN = 0.7
"""A mouth's corners sink less far than they rise."""
WIDEN, LENGTHEN, EYE_REACH = 0.24, 0.07, 0.85
"""How much taller and longer an eye opens, and how far around it the face gives way, in widths of the eye."""
LOOK_ASIDE, LOOK_UP, IRIS_REACH = 0.75, 0.3, 2.0
"""How far an iris goes, and how far from it the eye follows, in its radii."""
_CORNERS, _CHEEKS, _LOWER_LIDS, _MIDDLES = (61, 291), (205, 425), (145, 374), (0, 17)


class ExpressionParams(PeopleParams, frozen=True):
    """-1..1 each, 0 leaves it as it is: `smile` up, `eyes` open, `gaze_x` to the picture's right, `gaze_y` down.

    `faces`: the largest, or each of them.
    """

    smile: Degree = 0.7
    eyes: Degree = 0.0
    gaze_x: Degree = 0.0
    gaze_y: Degree = 0.0
    faces: Literal["largest", "all"] = "largest"


class Expression(PeopleEngine[ExpressionParams]):
    """One photo, its faces changed in place."""

    params: ClassVar[type[PeopleParams]] = ExpressionParams

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._eyes: Eyes | None = None

    def load(self) -> None:
        """Verify and load the detection networks and the iris'."""
        super().load()
        self._eyes = self._eyes or Eyes(self._folder)

    def edit(
        self, sights: Sequence[Sight], wanted: ExpressionParams, *, seed: int, step: Callable[[float], None]
    ) -> Pixels:
        """The photo with another expression."""
        del seed
        assert self._eyes is not None
        sight = sights[0]
        sight.face()
        out = sight.pixels.copy()
        meshes = [one for one in sight.meshes if np.ptp(one[:, 0]) >= MIN_FACE_PX]
        meshes = meshes if wanted.faces == "all" else meshes[:1]
        for number, mesh in enumerate(meshes):
            step(number / len(meshes))
            change(out, mesh, self._eyes(sight.pixels, mesh), wanted)
        return out


def change(out: Pixels, mesh: Field, eyes: tuple[Eye, Eye], wanted: ExpressionParams) -> None:
    """The face with `mesh` in `out`, in place. An eye that is closed stays as it is."""
    x0, y0, x1, y1 = face.around(mesh, MARGIN, out.shape)
    part = out[y0:y1, x0:x1]
    corner = np.array([x0, y0], np.float32)
    points = mesh[:, :2] - corner
    if wanted.gaze_x or wanted.gaze_y:
        for eye in eyes:
            if eye.is_open:
                _look(part, eye, corner, points, wanted)
    moves = _smile(points, wanted.smile) if wanted.smile else []
    across, down, _ = _axes(points)
    height, width = part.shape[:2]
    y, x = (axis.astype(np.float32) for axis in np.mgrid[:height, :width])
    # Where each pixel comes from: one step back, then once more from there, since a move is stated where it begins.
    away_x, away_y = np.zeros_like(x), np.zeros_like(y)
    for _ in range(2):
        from_x, from_y = x - away_x, y - away_y
        away_x, away_y = np.zeros_like(x), np.zeros_like(y)
        for place, way, reach in moves:
            near = _bell(from_x - place[0], from_y - place[1], reach)
            away_x += near * way[0]
            away_y += near * way[1]
        if wanted.eyes:
            for eye in eyes:
                if eye.is_open:
                    middle = eye.outline.mean(0) - corner
                    long, tall = _open(from_x - middle[0], from_y - middle[1], eye, (across, down), wanted.eyes)
                    away_x += long
                    away_y += tall
    rest = _hold(points, (height, width))
    field_x, field_y = x - away_x * rest, y - away_y * rest
    moved = cv2.remap(part, field_x, field_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    still = (np.abs(field_x - x) + np.abs(field_y - y) < 1e-2)[..., None]  # noqa: PLR2004 - a hundredth of a pixel
    part[:] = np.where(still, part, moved)
    wipe(moved)


def _axes(points: Field) -> tuple[Field, Field, float]:
    """Unit vectors to the face's left (the picture's right) and down, and the face's width."""
    across = points[face.LEFT_CHEEK] - points[face.RIGHT_CHEEK]
    width = max(1.0, float(np.hypot(*across)))
    across = across / width
    return across, np.array([-across[1], across[0]], np.float32), width


def _bell(x: Field, y: Field, reach: float) -> Field:
    return np.asarray(np.exp((x * x + y * y) * np.float32(-0.5 / reach**2)), np.float32)


def _smile(points: Field, degree: float) -> list[tuple[Field, Field, float]]:
    """Moves: place, way and reach in pixels."""
    across, down, width = _axes(points)
    size = degree * width * (1.0 if degree > 0 else FROWN)
    moves = [
        (corner, across * (side * CORNER_OUT) - down * CORNER_UP, CORNER_REACH)
        for corner, side in zip(_CORNERS, (-1, 1), strict=True)
    ]
    if degree > 0:  # a smile is in the cheeks and the lower lids too; sadness is not
        moves += [(at, -down * CHEEK_UP, CHEEK_REACH) for at in _CHEEKS]
        moves += [(at, -down * LID_UP, LID_REACH) for at in _LOWER_LIDS]
        moves += [(at, down * MIDDLE_DOWN, MIDDLE_REACH) for at in _MIDDLES]
    return [(points[at], np.asarray(way * size, np.float32), reach * width) for at, way, reach in moves]


def _open(x: Field, y: Field, eye: Eye, axes: tuple[Field, Field], degree: float) -> tuple[Field, Field]:
    """How far `x`, `y` (from the middle of `eye`) move when it opens: it grows, more in height than in length."""
    across, down = axes
    along, upright = x * across[0] + y * across[1], x * down[0] + y * down[1]
    near = np.exp(-np.square((along**2 + (1.25 * upright) ** 2) / (EYE_REACH * eye.width) ** 2 * 2))
    long, tall = near * along * (degree * LENGTHEN), near * upright * (degree * WIDEN)
    return long * across[0] + tall * down[0], long * across[1] + tall * down[1]


def _look(part: Pixels, eye: Eye, corner: Field, points: Field, wanted: ExpressionParams) -> None:
    """The iris slides behind the lids: only what is inside the eye's outline changes."""
    across, down, _ = _axes(points)
    way = across * (wanted.gaze_x * LOOK_ASIDE * eye.radius) + down * (wanted.gaze_y * LOOK_UP * eye.radius)
    iris, outline = eye.iris - corner, eye.outline - corner
    x0, y0, x1, y1 = face.around(outline, 0.2, part.shape)
    y, x = (axis.astype(np.float32) for axis in np.mgrid[y0:y1, x0:x1])
    away = np.hypot(x - iris[0] - way[0], y - iris[1] - way[1]) / (IRIS_REACH * eye.radius)
    near = np.exp(-(away**4)).astype(np.float32)
    moved = cv2.remap(part, x - near * way[0], y - near * way[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    inside = face.polygon(outline - np.array([x0, y0], np.float32), tuple(range(len(outline))), (y1 - y0, x1 - x0))
    soft = cv2.GaussianBlur(inside.astype(np.float32) / 255, (0, 0), max(0.6, 0.09 * eye.radius))[..., None]
    target = part[y0:y1, x0:x1]
    target[:] = (target + (moved.astype(np.float32) - target) * soft + 0.5).astype(np.uint8)


def _hold(points: Field, shape: tuple[int, int]) -> Field:
    """1 on the face, 0 well outside it and at the border of what may move: what is behind stays straight."""
    inside = cv2.dilate(face.polygon(points, face.OVAL, shape), np.ones((3, 3), np.uint8))
    size = float(np.ptp(points[:, 1]))
    return np.asarray(cv2.GaussianBlur(inside.astype(np.float32) / 255, (0, 0), 0.03 * size), np.float32)
