"""Operation `face_swap`: the face of one photo on the head in another, in that photo's light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import glasses, rig, skin
from ray_cluster.engines import mesh as face
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.errors import NoFace
from ray_cluster.engines.people import MIN_FACE_PX, PeopleEngine, PeopleParams, Sight
from ray_cluster.engines.wipe import wipe
from stream.errors import BadRequest

Field = NDArray[np.float32]

MARGIN = 0.25
"""Of the face's size, around it: what is worked on."""
INSET, FEATHER = 0.035, 0.022
"""Of the face's height: how far inside the mesh's outline the seam lies, and its softness."""
LIGHT_SIGMA = 0.11
"""Of the face's height: coarser than this, tone is the target's; finer, the source's."""
CONTRAST = (0.75, 1.3)
"""Limits of how far the source's contrast is stretched to the target's."""
SAME = 26.0
"""Of L, a and b (0..255): within this, what is over an eye is what is over the skin beside it."""
HAIR = 0.5
"""A pixel of the forehead less likely skin than this is hair."""
FRINGE_SHARE = 0.004
"""Of the face's area: less hair than this is a brow's end."""
WHITE_KEEPS = 0.75
"""Of its own hue, where eyes and teeth are."""
GAPING = 1.6
"""A mouth this much more open than the source's keeps its own inside: the source has no teeth to show."""


class FaceSwapParams(PeopleParams, frozen=True):
    """`faces`: the largest face of the target, or each of them."""

    faces: Literal["largest", "all"] = "largest"


class FaceSwap(PeopleEngine[FaceSwapParams]):
    """Input 0 has the face to use, input 1 is the picture to put it in."""

    params: ClassVar[type[PeopleParams]] = FaceSwapParams
    pictures: ClassVar[int] = 2

    def edit(
        self, sights: Sequence[Sight], wanted: FaceSwapParams, *, seed: int, step: Callable[[float], None]
    ) -> Pixels:
        """Input 1 with the face of input 0."""
        del seed
        if len(sights) < self.pictures:
            raise BadRequest(f"expected a face as input 0 and a target as input 1, got {len(sights)} picture; send two")
        source, target = sights
        mesh = source.face()
        target.face()
        out = target.pixels.copy()
        places = [one for one in target.meshes if np.ptp(one[:, 0]) >= MIN_FACE_PX]
        places = places if wanted.faces == "all" else places[:1]
        hands = [hand for body in target.bodies for hand in hands_of(body)]
        for number, place in enumerate(places):
            step(number / len(places))
            put(out, place, source.pixels, mesh, hands)
        return out


def put(out: Pixels, place: Field, source: Pixels, mesh: Field, hands: Sequence[Field] = ()) -> None:
    """The face with `mesh` in `source` onto the face with mesh `place` in `out`, in place.

    Raises:
        NoFace: what is visible of the face in `out` is none of it: it is covered.

    """
    x0, y0, x1, y1 = face.around(place, MARGIN, out.shape)
    ground = out[y0:y1, x0:x1]
    shape = ground.shape[:2]
    points = place[:, :2] - np.array([x0, y0], np.float32)
    size = float(np.ptp(points[:, 1]))
    scaled, scaled_mesh = _alike(source, mesh[:, :2], size)
    field = face.pull(points, scaled_mesh, shape)
    moved = cv2.remap(scaled, field, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    lab, new = _lab(ground), _lab(np.asarray(moved, np.uint8))
    own, theirs = skin.learn(lab, points).likely(lab), skin.learn(new, points).likely(new)
    seen, behind = glasses.find(_over(own, points), own, points, lab)
    if seen.any():
        # Glasses go with the face: the source's come along, and half a frame would stay of the target's.
        ground[:] = glasses.taken_off(ground, seen)
        lab = _lab(ground)
        own = skin.learn(lab, points).likely(lab)
    bare = np.maximum(own, behind.astype(np.float32) / 255)
    clear = _clear(lab, bare, points, ground, [hand - np.array([x0, y0], np.float32) for hand in hands])
    inside = _soft_inside(points, shape, size)
    alpha = inside * clear * _no_fringe(theirs, inside, points)
    alpha *= 1 - _own_mouth(points, scaled_mesh, shape, size)
    if alpha.max() < 0.5:  # noqa: PLR2004
        raise NoFace("expected a face in clear view in the target, it is covered; send another photo")
    plain = np.minimum(own, theirs) * (alpha > 0.3)  # noqa: PLR2004
    lit = _lit(new, lab, plain, _white(points, shape, size), size)
    lit = _as_sharp(lit, lab, plain)
    mixed = cv2.cvtColor(np.clip(lit, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB).astype(np.float32)
    ground[:] = (ground + (mixed - ground) * alpha[..., None] + 0.5).astype(np.uint8)
    wipe(scaled, moved)


def hands_of(body: Field) -> list[Field]:
    """Outlines of the hands that are seen, N x 2 each: wrist, knuckles, thumb, and as far again for the fingers."""
    hands = []
    for wrist, knuckles in zip(rig.WRISTS, rig.HANDS, strict=True):
        places = body[[wrist, *knuckles]]
        if places[:, 3].min() > rig.SEEN:
            root = places[0, :2]
            hands.append(np.vstack([places[:, :2], root + (places[1:, :2] - root) * 1.8]))
    return hands


def _alike(source: Pixels, mesh: Field, size: float) -> tuple[Pixels, Field]:
    """Source and mesh cut to the face, and scaled down if it is larger than the target's: else it would alias."""
    x0, y0, x1, y1 = face.around(mesh, MARGIN, source.shape)
    part = source[y0:y1, x0:x1]
    points = mesh - np.array([x0, y0], np.float32)
    scale = size / max(1.0, float(np.ptp(mesh[:, 1])))
    if scale >= 0.8:  # noqa: PLR2004 - not worth a second sampling
        return part.copy(), points
    small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ratio = np.array([small.shape[1] / part.shape[1], small.shape[0] / part.shape[0]], np.float32)
    return np.asarray(small, np.uint8), points * ratio


def _own_mouth(points: Field, mesh: Field, shape: tuple[int, int], size: float) -> Field:
    """1 where the target keeps its own mouth.

    One that gapes keeps its inside: a closed source has no teeth to show. A closed one keeps its lips: a source that
    smiles would squeeze its teeth into the line between them.
    """
    least = 0.004 * face.area(points, face.OVAL)
    ratio = (np.ptp(points[:, 1]) / max(1.0, float(np.ptp(mesh[:, 1])))) ** 2
    here, there = face.area(points, face.MOUTH), face.area(mesh, face.MOUTH) * float(ratio)
    if here > GAPING * max(there, least):
        return _soft(face.polygon(points, face.MOUTH, shape), 0.006 * size)
    if there > GAPING * max(here, least):
        lips = cv2.dilate(face.polygon(points, face.LIPS, shape), _ellipse(0.02 * size))
        return _soft(np.asarray(lips, np.uint8), 0.02 * size)
    return np.zeros(shape, np.float32)


def _lab(rgb: Pixels) -> Field:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.float32)


def _soft(mask: NDArray[np.uint8], sigma: float) -> Field:
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(0.6, sigma)), np.float32)


def _ellipse(radius: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _soft_inside(points: Field, shape: tuple[int, int], size: float) -> Field:
    """1 on the face, 0 at the mesh's outline and beyond."""
    inside = cv2.erode(
        face.polygon(points, face.OVAL, shape),
        _ellipse(INSET * size),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=255,
    )
    return _soft(np.asarray(inside, np.uint8), FEATHER * size)


def _clear(lab: Field, own: Field, points: Field, ground: Pixels, hands: Sequence[Field]) -> Field:
    """0 where hair or a hand are in front of the face, 1 elsewhere.

    Eyes, brows and mouth are no skin and yet the face's own: clear, unless what covers the skin goes on over them.
    """
    height, width = own.shape
    shape = (height, width)
    size = float(np.ptp(points[:, 1]))
    covered, parts = _covered(own, size), _parts(points, shape, size)
    over = _over(own, points)
    inside = face.polygon(points, face.OVAL, shape)
    covered = _from_outside(over | (covered & parts & _alike_to(over, lab, size)), inside)
    for hand in hands:
        cv2.fillConvexPoly(covered, cv2.convexHull(np.rint(hand).astype(np.int32)), 255)
    covered = np.asarray(cv2.dilate(covered, _ellipse(0.006 * size)), np.uint8)
    guide = ground.astype(np.float32) / np.float32(255)
    radius = max(2, round(0.012 * size))
    open_ = 1 - np.asarray(cv2.ximgproc.guidedFilter(guide, covered.astype(np.float32) / 255, radius, 1e-3))
    return np.asarray(np.clip((open_ - 0.2) / 0.6, 0, 1), np.float32)


def _over(own: Field, points: Field) -> NDArray[np.uint8]:
    """255 where something that comes from beyond the face lies over its skin: hair, the arms of glasses, a hand."""
    height, width = own.shape
    shape = (height, width)
    size = float(np.ptp(points[:, 1]))
    bare = np.where(_parts(points, shape, size) > 0, 0, _covered(own, size)).astype(np.uint8)
    bare = np.asarray(cv2.morphologyEx(bare, cv2.MORPH_OPEN, _ellipse(0.006 * size)), np.uint8)
    return _from_outside(bare, face.polygon(points, face.OVAL, shape))


def _covered(own: Field, size: float) -> NDArray[np.uint8]:
    likely = cv2.GaussianBlur(own, (0, 0), max(0.6, 0.004 * size))
    return (np.asarray(likely) < 0.5).astype(np.uint8) * np.uint8(255)  # noqa: PLR2004


def _parts(points: Field, shape: tuple[int, int], size: float) -> NDArray[np.uint8]:
    """255 on eyes, brows, lips and nostrils: no skin, and yet the face's own."""
    parts = _nostrils(points, shape, size)
    for part, reach in (
        (face.LEFT_EYE, 0.022),
        (face.RIGHT_EYE, 0.022),
        (face.LEFT_BROW, 0.018),
        (face.RIGHT_BROW, 0.018),
        (face.LIPS, 0.035),
    ):
        parts |= np.asarray(cv2.dilate(face.polygon(points, part, shape), _ellipse(reach * size)), np.uint8)
    return parts


def _alike_to(over: NDArray[np.uint8], lab: Field, size: float) -> NDArray[np.uint8]:
    """255 where `lab` has the colour that it has nearby where `over` is set."""
    weight = (over > 0).astype(np.float32)[..., None]
    near = _blurred(np.dstack([lab * weight, weight]).astype(np.float32), 0.06 * size)
    share = near[..., 3:]
    off = np.abs(lab - near[..., :3] / np.maximum(share, 1e-3)).max(-1)
    return np.asarray(((share[..., 0] > 0.02) & (off < SAME)) * 255, np.uint8)  # noqa: PLR2004


def _from_outside(covered: NDArray[np.uint8], inside: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Only what reaches in from beyond the face: folds, moles and beards are the face's own."""
    count, labels = cv2.connectedComponents(covered)
    kept = np.zeros(count, np.uint8)
    kept[np.unique(labels[(inside == 0) & (covered > 0)])] = 255
    kept[0] = 0
    return np.asarray(kept[labels], np.uint8)


def _nostrils(points: Field, shape: tuple[int, int], size: float) -> NDArray[np.uint8]:
    outline = (98, 97, 2, 326, 327, 294, 279, 4, 49, 64)
    return np.asarray(cv2.dilate(face.polygon(points, outline, shape), _ellipse(0.015 * size)), np.uint8)


def _no_fringe(likely: Field, inside: Field, points: Field) -> Field:
    """0 from where the source's own hair hangs over its forehead and up: that stays with the source."""
    size = float(np.ptp(points[:, 1]))
    brows = points[[*face.LEFT_BROW, *face.RIGHT_BROW]]
    up = points[face.FOREHEAD] - points[face.CHIN]
    up = up / max(1e-6, float(np.hypot(*up)))
    y, x = np.mgrid[: likely.shape[0], : likely.shape[1]].astype(np.float32)
    height = (x * up[0] + y * up[1] - float((brows @ up).mean())) / size
    hair = (likely < HAIR) & (height > 0.03) & (inside > HAIR)  # noqa: PLR2004
    for brow in (face.LEFT_BROW, face.RIGHT_BROW):
        outline = face.polygon(points, brow, (likely.shape[0], likely.shape[1]))
        hair &= cv2.dilate(outline, _ellipse(0.025 * size)) == 0
    if hair.sum() < FRINGE_SHARE * face.area(points, face.OVAL):
        return np.ones_like(likely)
    lowest = float(np.quantile(height[hair], 0.03))
    strands = _soft(np.asarray(cv2.dilate(hair.astype(np.uint8) * 255, _ellipse(0.03 * size))), 0.02 * size)
    return np.asarray(np.clip((lowest - 0.02 - height) / 0.08 + 1, 0, 1) * (1 - strands), np.float32)


def _white(points: Field, shape: tuple[int, int], size: float) -> Field:
    """1 on eyes and between the lips: what is white there must not take the skin's hue."""
    mask = np.zeros(shape, np.uint8)
    for part in (face.LEFT_EYE, face.RIGHT_EYE, face.MOUTH):
        mask |= face.polygon(points, part, shape)
    return _soft(mask, 0.006 * size)


def _lit(new: Field, lab: Field, plain: Field, white: Field, size: float) -> Field:
    """`new` with the tone of `lab`: contrast overall, then whatever is coarser than LIGHT_SIGMA, both by plain skin."""
    total = float(plain.sum())
    if total < 1:
        return new
    weight = plain[..., None]
    means = [(one * weight).sum((0, 1)) / total for one in (new, lab)]
    spreads = [
        np.sqrt((np.square(one - mean) * weight).sum((0, 1)) / total) + 1
        for one, mean in zip((new, lab), means, strict=True)
    ]
    gain = np.clip(spreads[1] / spreads[0], *CONTRAST)
    out = (new - means[0]) * gain + means[1]
    # Beyond the plain skin (eyes, beard) the correction is continued from it, never measured there.
    sigma = LIGHT_SIGMA * size
    rest = _blurred(np.dstack([(lab - out) * weight, plain]).astype(np.float32), sigma)
    far = _blurred(rest, 2 * sigma)
    share, wide = rest[..., 3:], far[..., 3:]
    coarse = far[..., :3] / np.maximum(wide, 1e-4)
    trust = np.clip(share / 0.25, 0, 1)
    fine = rest[..., :3] / np.maximum(share, 1e-4)
    out = out + fine * trust + coarse * (1 - trust)
    out[..., 1:] += (new - out)[..., 1:] * (WHITE_KEEPS * white[..., None])
    return np.asarray(out, np.float32)


def _blurred(field: Field, sigma: float) -> Field:
    """A wide Gaussian blur, at a size where it is cheap."""
    scale = min(1.0, 6.0 / sigma)
    small = cv2.resize(field, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else field
    soft = cv2.GaussianBlur(small, (0, 0), max(0.6, sigma * scale), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(soft, field.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _as_sharp(new: Field, lab: Field, plain: Field) -> Field:
    """`new` no sharper than `lab`: a crisp face on a soft photo shows."""

    def grain(field: Field) -> float:
        fine = cv2.Laplacian(field[..., 0], cv2.CV_32F)
        chosen = fine[plain > 0.7]  # noqa: PLR2004
        return float(np.median(np.abs(chosen))) if len(chosen) else 0.0

    wanted = grain(lab)
    for sigma in (0.0, 0.5, 0.7, 0.9, 1.2):
        soft = cv2.GaussianBlur(new, (0, 0), sigma) if sigma else new
        if grain(np.asarray(soft)) <= 1.15 * wanted:
            break
    return np.asarray(soft, np.float32)
