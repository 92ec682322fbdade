"""`live_prop`: things worn on a face, drawn once and moved with it: sunglasses, a crown, a cat's ears and whiskers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.device import face
from ray_cluster.device.face import Field
from ray_cluster.device.names import PropName
from ray_cluster.engines.decode import Pixels

NAMES: Final = get_args(PropName)
_UNIT_PX: Final = 160  # of the drawing, from eye to eye
_SIDE_PX: Final = 960
_MIDDLE: Final = np.array([_SIDE_PX / 2, _SIDE_PX * 0.55])

Sprite = NDArray[np.uint8]
Point = tuple[float, float]


def live_prop(picture: Pixels, faces: list[Field], name: PropName = "sunglasses") -> Pixels:
    """A copy in which every face wears it; H x W x 3 RGB."""
    out, sprite = picture.copy(), _sprite(name)
    for points in faces:
        to_pixels = face.frame(points)
        matrix = np.column_stack([to_pixels[:, :2] / _UNIT_PX, to_pixels[:, 2] - to_pixels[:, :2] @ _MIDDLE / _UNIT_PX])
        corners = (
            np.array([[0, 0], [_SIDE_PX, 0], [0, _SIDE_PX], [_SIDE_PX, _SIDE_PX]]) @ matrix[:, :2].T + matrix[:, 2]
        )
        low = np.clip(np.floor(corners.min(0)).astype(int), 0, None)
        high = np.minimum(np.ceil(corners.max(0)).astype(int), picture.shape[1::-1])
        if (high <= low).any():
            continue
        matrix[:, 2] -= low
        worn = cv2.warpAffine(sprite, matrix, tuple(int(side) for side in high - low), flags=cv2.INTER_AREA)
        under = out[low[1] : high[1], low[0] : high[0]]
        clear = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(worn, 3)), cv2.COLOR_GRAY2RGB)
        under[:] = cv2.add(cv2.cvtColor(worn, cv2.COLOR_RGBA2RGB), cv2.multiply(under, clear, scale=1 / 255))
    return out


@functools.cache
def _sprite(name: PropName) -> Sprite:
    """RGBA, premultiplied; softened to the scale at which it is worn."""
    layers = np.zeros((_SIDE_PX, _SIDE_PX, 4), np.float32)
    _DRAWN[name](layers)
    return np.asarray(np.rint(np.clip(cv2.GaussianBlur(layers, (0, 0), 0.8), 0, 1) * 255), np.uint8)


def _lay(
    layers: Field, mask: Field, colour: NDArray[np.float32] | tuple[float, float, float], share: float = 1
) -> None:
    """Premultiplied over."""
    alpha = (mask * np.float32(share))[..., None]
    layers *= 1 - alpha
    layers[..., :3] += alpha * np.asarray(colour, np.float32)
    layers[..., 3:] += alpha


def _shape(points: list[Point], soft: float = 1.2) -> Field:
    """A polygon in the face's coordinates, as a mask."""
    mask = np.zeros((_SIDE_PX, _SIDE_PX), np.uint8)
    places = np.rint((np.array(points) * _UNIT_PX + _MIDDLE) * 16).astype(np.int32)
    cv2.fillPoly(mask, [places], 255, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), soft), np.float32) / np.float32(255)


def _round(x: float, y: float, wide: float, high: float, power: float = 2.0) -> list[Point]:
    """A superellipse: 2 is round, more is squarer."""
    turns = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    cos, sin = np.cos(turns), np.sin(turns)
    xs = x + wide * np.sign(cos) * np.abs(cos) ** (2 / power)
    ys = y + high * np.sign(sin) * np.abs(sin) ** (2 / power)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def _fade(top: float, bottom: float) -> Field:
    """0 at `top`, 1 at `bottom` (in the face's coordinates), H x W x 1."""
    y = (np.arange(_SIDE_PX, dtype=np.float32) - np.float32(_MIDDLE[1])) / _UNIT_PX
    share = np.clip((y - top) / (bottom - top), 0, 1)[:, None, None]
    return np.asarray(share * np.ones((1, _SIDE_PX, 1)), np.float32)


def _sunglasses(layers: Field) -> None:
    frame = (0.05, 0.05, 0.06)
    for side in (-1, 1):
        _lay(
            layers,
            _shape([(side * 0.95, -0.12), (side * 1.18, -0.15), (side * 1.18, -0.06), (side * 0.95, 0.0)]),
            frame,
        )
        _lay(layers, _shape(_round(side * 0.53, 0.06, 0.49, 0.40, 2.8)), frame)
        glass = np.array([0.03, 0.035, 0.05], np.float32) + _fade(-0.35, 0.45) * np.array([0.16, 0.13, 0.1], np.float32)
        _lay(layers, _shape(_round(side * 0.53, 0.06, 0.42, 0.33, 2.8)), glass)
        shine = [
            (side * 0.53 - 0.28, -0.16),
            (side * 0.53 - 0.10, -0.22),
            (side * 0.53 - 0.26, 0.22),
            (side * 0.53 - 0.36, 0.12),
        ]
        _lay(layers, _shape(shine, 3.0), (1, 1, 1), 0.22)
    _lay(layers, _shape([(-0.12, -0.12), (0.12, -0.12), (0.10, -0.02), (-0.10, -0.02)]), frame)


def _crown(layers: Field) -> None:
    base, rim = -1.25, -1.0
    outline: list[Point] = [(-1.05, rim)]
    for index in range(5):
        x = -1.0 + index * 0.5
        outline += [(x, base - (0.62 if index == 2 else 0.5)), (x + 0.25, base - 0.05)]  # noqa: PLR2004 - the middle one
    outline[-1] = (1.05, rim)
    gold = np.array([0.98, 0.83, 0.34], np.float32) - _fade(base - 0.5, rim) * np.array([0.18, 0.30, 0.22], np.float32)
    _lay(layers, _shape(outline, 2.0), gold)
    _lay(layers, _shape([(-1.05, rim), (1.05, rim), (1.05, rim - 0.17), (-1.05, rim - 0.17)]), (0.72, 0.47, 0.1))
    for index in range(5):
        x = -1.0 + index * 0.5
        tip = base - (0.66 if index == 2 else 0.54)  # noqa: PLR2004
        _lay(layers, _shape(_round(x, tip, 0.075, 0.075)), (0.99, 0.93, 0.72))
    for index, colour in enumerate(((0.78, 0.1, 0.18), (0.1, 0.35, 0.75), (0.78, 0.1, 0.18))):
        x = -0.55 + index * 0.55
        _lay(layers, _shape(_round(x, rim - 0.085, 0.085, 0.06)), colour)
        _lay(layers, _shape(_round(x - 0.03, rim - 0.105, 0.03, 0.018)), (1, 1, 1), 0.7)


def _cat(layers: Field) -> None:
    for side in (-1, 1):
        ear = [(side * 0.35, -1.12), (side * 0.98, -1.78), (side * 1.16, -0.78), (side * 0.8, -0.92)]
        _lay(layers, _shape(ear, 4.0), (0.17, 0.14, 0.14))
        inner = [(side * 0.56, -1.15), (side * 0.93, -1.55), (side * 1.02, -0.93), (side * 0.82, -1.02)]
        _lay(layers, _shape(inner, 4.0), (0.93, 0.66, 0.68), 0.9)
        for index, bend in enumerate((-0.16, 0.0, 0.16)):
            start, y = side * 0.42, 0.86 + index * 0.08
            outline = [(start, y - 0.012), (side * 1.25, y + bend), (start, y + 0.012)]
            _lay(layers, _shape(outline, 1.0), (1, 1, 1), 0.9)
    nose = [(-0.17, 0.66), (0.0, 0.62), (0.17, 0.66), (0.06, 0.80), (0.0, 0.83), (-0.06, 0.80)]
    _lay(layers, _shape(nose, 3.0), (0.86, 0.42, 0.5), 0.92)
    _lay(layers, _shape(_round(-0.05, 0.68, 0.05, 0.02)), (1, 1, 1), 0.6)


_DRAWN: Final[dict[PropName, Callable[[Field], None]]] = {"sunglasses": _sunglasses, "crown": _crown, "cat": _cat}
