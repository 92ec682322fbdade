"""Cloth to dress somebody in: colours and patterns laid along a body, in the light and the folds of what they wear."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import rig
from ray_cluster.engines.decode import Pixels

Field = NDArray[np.float32]
Pattern = Literal["plain", "stripes", "hoops", "checks", "dots", "herringbone"]

FOLD, FOLD_LIMIT = 0.035, 0.02
"""How far a fold shifts a pattern, in shoulder widths: per unit of shade and shoulder width, and at most."""
FOLD_SIGMA = 0.07
"""Folds finer than this, in shoulder widths, are weave."""
DARK = 40.0
"""Levels of L that make a fold's slope of a dark cloth as gentle as a light one's."""
PRINT = 1.05
"""Width of the picture of a cloth on the body, in shoulder widths."""
ROOM = 0.1
"""How far beyond the cloth's box a joint may be, in shoulder widths."""
TIE = 0.02
"""Around a joint both limbs are as near: the first one has it, or the pattern would be a mixture of two."""
DEEPEST, LIGHTEST = 22.0, 238.0
"""L (0..255) that cloth in even light may have: below or above, no fold would show."""
_LIMB_WIDTH, _LEG_WIDTH, _TRUNK_WIDTH = 0.3, 0.36, 0.62


class Cloth(msgspec.Struct, frozen=True):
    """`colour` and `second` are RGB 0..255; `pitch` is the pattern's period in shoulder widths; `sheen` 0..1."""

    colour: tuple[int, int, int]
    pattern: Pattern = "plain"
    second: tuple[int, int, int] = (240, 240, 236)
    pitch: float = 0.16
    sheen: float = 0.0
    relief: float = 1.0


def rgb(code: str) -> tuple[int, int, int]:
    """`#rrggbb` as numbers."""
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def dress(pixels: Pixels, alpha: Field, body: Field, cloth: Cloth, image: Pixels | None = None) -> Pixels:
    """`pixels` with what `alpha` (H x W, 0..1) covers made of `cloth`, or of the cloth that `image` shows.

    `body` are the wearer's 33 points. Light is kept: what was in shade stays in shade, what shone shines.
    """
    y0, y1, x0, x1 = _box(alpha)
    part, cover = pixels[y0:y1, x0:x1], alpha[y0:y1, x0:x1]
    lab = np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2LAB), np.float32)
    points = body - np.array([x0, y0, 0, 0], np.float32)
    shoulder = width_of(points)
    shade, level = _shade(lab[..., 0], cover)
    if image is None and cloth.pattern == "plain":
        paint = _flat(cloth.colour)[None, None]
    else:
        u, v = _along(points, cover.shape, shoulder)
        u, v = _folded(u, v, _relief(lab[..., 0], level), cover, shoulder)
        paint = _printed(u, v, image) if image is not None else _woven(u, v, cloth)
    made = _lit(paint, shade, level, (lab[..., 0], cover), cloth)
    coloured = cv2.cvtColor(np.clip(made, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB).astype(np.float32)
    out = pixels.copy()
    out[y0:y1, x0:x1] = (part + (coloured - part) * cover[..., None] + 0.5).astype(np.uint8)
    return out


def width_of(body: Field) -> float:
    """The shoulders' width in pixels, by the trunk's length where they are seen from the side."""
    left, right = body[list(rig.SHOULDERS), :2]
    trunk = body[list(rig.HIPS), :2].mean(0) - (left + right) / 2
    return max(8.0, float(np.hypot(*(left - right))), 0.45 * float(np.hypot(*trunk)))


def _box(alpha: Field) -> tuple[int, int, int, int]:
    y, x = np.nonzero(alpha > 0)
    return int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1


def _flat(colour: tuple[int, int, int]) -> Field:
    one = cv2.cvtColor(np.array([[colour]], np.uint8), cv2.COLOR_RGB2LAB)
    return np.asarray(one[0, 0], np.float32)


def _shade(light: Field, cover: Field) -> tuple[Field, float]:
    """How much lighter (>1) or darker each pixel is than the cloth in even light, and how light that is."""
    inside = light[cover > 0.6]  # noqa: PLR2004
    level = float(np.median(inside)) if len(inside) else float(light.mean())
    return np.asarray((light + 8) / (level + 8), np.float32), level


def _lit(paint: Field, shade: Field, level: float, worn: tuple[Field, Field], cloth: Cloth) -> Field:
    """`paint` (Lab) in `shade`.

    Dark cloth has its folds in few levels and its noise in as many: made lighter it must not show ten times the noise,
    so shades are drawn together; made darker they are drawn apart.
    """
    base = np.clip(paint[..., 0], DEEPEST, LIGHTEST)
    ratio = float(np.clip((level + 30) / (float(base.mean()) + 30), 0.42, 1.5))
    old, cover = worn
    smooth = _smoothed(shade, old) if ratio < 0.8 else shade  # noqa: PLR2004
    depth = np.power(np.clip(smooth, 0.05, 4.0), ratio * cloth.relief)
    depth /= max(0.2, float((depth * cover).sum()) / max(1.0, float(cover.sum())))
    light = base * depth
    # What shines on the old cloth shines on the new: it is light, not colour.
    shine = np.clip(depth - 1.12, 0, 1.5) * (30 + 110 * cloth.sheen)
    rolled = np.where(light > 205, 205 + 50 * np.tanh((light - 205) / 60), light)  # noqa: PLR2004
    light = (rolled + shine * cloth.sheen).astype(np.float32)
    hue = np.clip(light / np.maximum(base, 1), 0.25, 1.12)
    hue = hue * np.clip(1 - (light - 215) / 70, 0.25, 1)
    chroma = (paint[..., 1:] - 128) * hue[..., None] + 128
    return np.dstack([light, np.broadcast_to(chroma, (*light.shape, 2))]).astype(np.float32)


def _smoothed(shade: Field, light: Field) -> Field:
    """Folds without dust and sensor noise: a median, then an edge-keeping filter, guided by the light itself."""
    radius = max(2, round(0.004 * max(shade.shape)))
    guide = cv2.medianBlur(np.ascontiguousarray(light), 5) / np.float32(255)
    return np.asarray(cv2.ximgproc.guidedFilter(guide, cv2.medianBlur(shade, 5), radius, 6e-4), np.float32)


def _relief(light: Field, level: float) -> Field:
    """Shade for folds: on dark cloth a level more or less is noise, no slope."""
    return np.asarray((light + DARK) / (level + DARK), np.float32)


def _folded(u: Field, v: Field, shade: Field, cover: Field, shoulder: float) -> tuple[Field, Field]:
    """A pattern climbs over folds: it shifts with the slope that the shade betrays. What lies on the cloth has none."""
    sigma = max(1.0, FOLD_SIGMA * shoulder)
    scale = min(1.0, 5.0 / sigma)
    layers = np.dstack([(np.clip(shade, 0.2, 2.5) - 1) * cover, cover]).astype(np.float32)
    small = cv2.resize(layers, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    soft = np.asarray(cv2.GaussianBlur(small, (0, 0), max(0.8, sigma * scale)), np.float32)
    # Where little cloth is near, its shade fades out: no edge of the cloth is a fold.
    even = soft[..., 0] / np.maximum(soft[..., 1], 0.2) + 1
    wide = np.asarray(cv2.resize(even, shade.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.float32)
    gain = FOLD * shoulder
    across = cv2.Sobel(wide, cv2.CV_32F, 1, 0, scale=1 / 8) * gain
    down = cv2.Sobel(wide, cv2.CV_32F, 0, 1, scale=1 / 8) * gain
    # Drawn together, not cut off: a limit met at once would crease the pattern.
    return tuple(
        (axis + FOLD_LIMIT * np.tanh(slope / FOLD_LIMIT)).astype(np.float32) for axis, slope in ((u, across), (v, down))
    )


def _along(points: Field, shape: tuple[int, int], shoulder: float) -> tuple[Field, Field]:
    """Across and along each limb in shoulder widths, H x W each; around a limb, cloth turns away at its sides."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    shoulders, hips = points[list(rig.SHOULDERS), :2].mean(0), points[list(rig.HIPS), :2].mean(0)
    limbs = [(shoulders, hips, _TRUNK_WIDTH, 0.0)]
    for side in (0, 1):
        arm = [rig.SHOULDERS[side], rig.ELBOWS[side], rig.WRISTS[side]]
        leg = [rig.HIPS[side], rig.KNEES[side], rig.ANKLES[side]]
        for chain, width in ((arm, _LIMB_WIDTH), (leg, _LEG_WIDTH)):
            length = 0.0
            for start, end in itertools.pairwise(chain):
                # A forearm whose elbow is beyond the cloth, or the picture, is a guess, laid over the trunk.
                guess = length > 0 and not _within(points[start, :2], shape, ROOM * shoulder)
                if points[[start, end], 3].min() > rig.SEEN and not guess:
                    limbs.append((points[start, :2], points[end, :2], width, length))
                    length += float(np.hypot(*(points[end, :2] - points[start, :2]))) / shoulder
    nearest = np.full(shape, np.inf, np.float32)
    u, v = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for start, end, width, offset in limbs:
        axis = end - start
        size = max(1.0, float(np.hypot(*axis)))
        ax, ay = axis / size
        along = (x - start[0]) * ax + (y - start[1]) * ay
        across = ((x - start[0]) * ay - (y - start[1]) * ax) * np.float32(-1 / shoulder)
        beyond = np.maximum(np.maximum(-along, along - size), 0) / shoulder
        far = np.hypot(across / width, beyond / width)
        turned = np.arcsin(np.clip(across / (1.7 * width), -0.98, 0.98)) * np.float32(1.7 * width)
        mine = far < nearest - TIE
        np.copyto(u, turned.astype(np.float32), where=mine)
        np.copyto(v, (along / shoulder + offset).astype(np.float32), where=mine)
        np.minimum(nearest, far, out=nearest)
    return u, v


def _within(point: Field, shape: tuple[int, int], room: float) -> bool:
    return bool((point >= -room).all() and point[0] < shape[1] + room and point[1] < shape[0] + room)


def _woven(u: Field, v: Field, cloth: Cloth) -> Field:
    """Lab of the pattern: `colour` where it is 0, `second` where it is 1."""
    one, two = _flat(cloth.colour), _flat(cloth.second)
    share = _PATTERNS[cloth.pattern](u / cloth.pitch, v / cloth.pitch)
    return np.asarray(one + (two - one) * share[..., None], np.float32)


def _step(value: Field, soft: Field | float) -> Field:
    return np.asarray(np.clip(value / np.maximum(soft, 1e-4) + 0.5, 0, 1), np.float32)


def _sharpness(value: Field) -> Field:
    """How fast a coordinate changes from pixel to pixel: an edge is as soft as a pixel is wide."""
    across = np.abs(cv2.Sobel(value, cv2.CV_32F, 1, 0, scale=1 / 8))
    return np.asarray(np.clip(across + np.abs(cv2.Sobel(value, cv2.CV_32F, 0, 1, scale=1 / 8)), 1e-3, 0.5), np.float32)


def _band(value: Field, share: float) -> Field:
    """1 over `share` of each unit."""
    away = np.abs(value - np.floor(value) - 0.5)
    return _step(np.float32(share / 2) - away, _sharpness(value))


def _checks(u: Field, v: Field) -> Field:
    return np.asarray(0.5 * _band(u, 0.5) + 0.5 * _band(v, 0.5), np.float32)


def _dots(u: Field, v: Field) -> Field:
    row = np.floor(v)
    x = u + 0.5 * (row % 2)
    far = np.hypot(x - np.floor(x) - 0.5, v - row - 0.5).astype(np.float32)
    return _step(np.float32(0.24) - far, _sharpness(v))


def _herringbone(u: Field, v: Field) -> Field:
    column = np.floor(u)
    slope = np.where(column % 2 > 0, u - column, column + 1 - u)
    return np.asarray(0.8 * _band((v * 3 + slope * 3).astype(np.float32), 0.5), np.float32)


_PATTERNS: dict[Pattern, Callable[[Field, Field], Field]] = {
    "plain": lambda u, _: np.zeros_like(u),
    "stripes": lambda u, _: _band(u, 0.32),
    "hoops": lambda _, v: _band(v, 0.42),
    "checks": _checks,
    "dots": _dots,
    "herringbone": _herringbone,
}


def _printed(u: Field, v: Field, image: Pixels) -> Field:
    """Lab of the picture of a cloth, as wide as the shoulders, mirrored beyond its borders."""
    width = np.float32(image.shape[1] / PRINT)
    x, y = u * width + np.float32(image.shape[1] / 2), v * width
    printed = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(cv2.cvtColor(printed, cv2.COLOR_RGB2LAB), np.float32)


def swatch(image: Pixels, longer_side_px: int = 768) -> Pixels:
    """The cloth in the picture of a garment: what stands out from a plain backdrop, or else the whole picture."""
    scale = min(1.0, longer_side_px / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    small = np.asarray(small, np.uint8)
    lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.float32)
    border = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
    backdrop, spread = np.median(border, 0), np.abs(border - np.median(border, 0)).mean()
    if spread > 9:  # noqa: PLR2004 - no plain backdrop: it is a picture of cloth
        return small
    stands_out = (np.abs(lab - backdrop).max(-1) > 18).astype(np.uint8)  # noqa: PLR2004
    if stands_out.mean() < 0.05:  # noqa: PLR2004 - all of one colour: that is the cloth
        return small
    # The largest square that fits inside the garment shows neither backdrop nor outline.
    far = cv2.distanceTransform(np.pad(stands_out, 1), cv2.DIST_C, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(far.argmax()), far.shape)
    reach = max(2, int(0.9 * far[y, x]))
    return np.ascontiguousarray(small[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach])
