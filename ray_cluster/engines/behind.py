"""The place behind somebody, continued where they stood: patches of what is seen of it that fit together.

PatchMatch (Barnes et al. 2009) in the pyramid of Wexler, Shechtman and Irani ("Space-time completion of video", 2007),
at a small size; the picture itself is then copied by the offsets found, so that it goes on as sharp as it is.
"""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.wipe import wipe

Field = NDArray[np.float32]
Mask = NDArray[np.uint8]
Indices = NDArray[np.intp]

SEARCH_PX = (64, 112)
"""Longer sides at which patches are compared, one after the other."""
SEEN = 0.13
"""Of the longer side: deeper in the gap than this nothing shows, so smooth colour will do."""
RADIUS = 2
"""Of a patch: 5 x 5."""
ROUNDS = (3, 2)
"""Of matching and voting at each size. More make a smoother whole that fits the border worse, which is what is seen."""
TRIES = 3
"""Random places tried per pixel and round, each in half the distance of the one before."""
FAR_COSTS = 900.0
"""A patch from the other end of the picture must fit this much better (mean square of levels) than one from nearby."""
SEAM_SIGMA_PX = 1.2
TONE_PX = 224
"""Longer side at which tones are brought into line at the border."""
TONE_SIGMA, TONE_DEPTH = 0.012, 0.05
"""Of the longer side: coarser than this is tone, and how far into the gap the border's reaches."""


def continued(photo: Pixels, hole: Mask) -> Pixels:
    """`photo` where `hole` (H x W) is 0; elsewhere what may be there. The same bytes for the same picture."""
    height, width = hole.shape
    longer = max(height, width)
    if not hole.any():
        return photo.copy()
    if hole.mean() > 0.97:  # noqa: PLR2004 - nothing to continue from
        return np.asarray(cv2.GaussianBlur(photo, (0, 0), 0.1 * longer), np.uint8)
    offsets, estimate = _search(photo, hole)
    out = _copied(photo, hole, offsets, estimate)
    wipe(estimate)
    out = np.clip(out + _tone(photo, hole, out), 0, 255)
    gap = (hole > 0).astype(np.float32)
    soft = np.maximum(gap, np.asarray(cv2.GaussianBlur(gap, (0, 0), SEAM_SIGMA_PX)))[..., None]
    return np.where(soft > 0, photo + (out - photo) * soft + 0.5, photo).astype(np.uint8)


class _Level(msgspec.Struct):
    """One size: the estimate so far, the hole, where patches may come from, and where each hole pixel's comes from."""

    estimate: Field
    gap: NDArray[np.bool_]
    sound: NDArray[np.bool_]
    y: Indices
    x: Indices
    from_y: Indices
    from_x: Indices


def _search(photo: Pixels, hole: Mask) -> tuple[Field, Field]:
    """For every pixel at the search's size, how far its source is: h x w x 2 (y, x); and a picture of it."""
    longer = max(hole.shape)
    sizes = [side for side in SEARCH_PX if side <= longer] or [longer]
    rng = np.random.default_rng(0)
    level: _Level | None = None
    for number, side in enumerate(sizes):
        level = _begin(photo, hole, side / longer, level)
        for turn in range(ROUNDS[number]):
            cost = _cost(level, level.from_y, level.from_x)
            _match(level, cost, rng, forward=turn % 2 == 0)
            _vote(level)
    assert level is not None
    offsets = np.zeros((*level.gap.shape, 2), np.float32)
    offsets[level.y, level.x, 0] = level.from_y - level.y
    offsets[level.y, level.x, 1] = level.from_x - level.x
    return offsets, level.estimate


def _begin(photo: Pixels, hole: Mask, scale: float, before: _Level | None) -> _Level:
    height, width = (max(2 * RADIUS + 2, round(side * scale)) for side in hole.shape)
    small = np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    covered = cv2.resize((hole > 0).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    gap = np.asarray(covered > 0.02)  # noqa: PLR2004 - a pixel of which a fiftieth is a person's shows them
    if gap.all():
        gap = np.asarray(covered >= covered.max())
        gap[0, 0] = False
    window = 2 * RADIUS + 1
    sound = cv2.erode((~gap).astype(np.uint8), np.ones((window, window), np.uint8), borderValue=1) > 0
    if not sound.any():
        sound = ~gap
    depth = cv2.distanceTransform(gap.astype(np.uint8), cv2.DIST_L2, 3)
    y, x = np.nonzero(gap & (depth < SEEN * max(height, width) + RADIUS))
    filled = cv2.inpaint(small.astype(np.uint8), gap.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    if before is None:
        from_y, from_x = _mirrored(sound, y, x)
        wipe(small)
        return _Level(np.asarray(filled, np.float32), gap, np.asarray(sound), y, x, from_y, from_x)
    old_height, old_width = before.gap.shape
    grid_y, grid_x = np.zeros(before.gap.shape, np.intp), np.zeros(before.gap.shape, np.intp)
    old_y, old_x = np.mgrid[:old_height, :old_width]
    grid_y[:], grid_x[:] = old_y, old_x
    grid_y[before.y, before.x], grid_x[before.y, before.x] = before.from_y, before.from_x
    at_y = np.minimum((y * old_height) // height, old_height - 1)
    at_x = np.minimum((x * old_width) // width, old_width - 1)
    from_y = y + ((grid_y[at_y, at_x] - at_y) * height) // old_height
    from_x = x + ((grid_x[at_y, at_x] - at_x) * width) // old_width
    from_y, from_x = _sound_ones(np.asarray(sound), from_y, from_x, y, x)
    level = _Level(np.asarray(filled, np.float32), gap, np.asarray(sound), y, x, from_y, from_x)
    wipe(before.estimate, small)
    _vote(level)
    return level


def _mirrored(sound: NDArray[np.bool_], y: Indices, x: Indices) -> tuple[Indices, Indices]:
    """As far beyond the gap's border as a pixel is inside it."""
    nearest_y, nearest_x = _nearest(sound, y, x)
    return _sound_ones(sound, 2 * nearest_y - y, 2 * nearest_x - x, y, x)


def _nearest(sound: NDArray[np.bool_], y: Indices, x: Indices) -> tuple[Indices, Indices]:
    """The sound pixel nearest to each place."""
    _, labels = cv2.distanceTransformWithLabels(
        (~sound).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    sound_y, sound_x = np.nonzero(sound)
    where = np.zeros((int(labels.max()) + 1, 2), np.intp)
    where[labels[sound_y, sound_x]] = np.stack([sound_y, sound_x], 1)
    found = where[labels[y, x]]
    return found[:, 0], found[:, 1]


def _sound_ones(
    sound: NDArray[np.bool_], from_y: Indices, from_x: Indices, y: Indices, x: Indices
) -> tuple[Indices, Indices]:
    """The sources, and instead of those outside the picture or in the gap the nearest sound pixel."""
    height, width = sound.shape
    from_y, from_x = np.clip(from_y, 0, height - 1), np.clip(from_x, 0, width - 1)
    bad = ~sound[from_y, from_x]
    if bad.any():
        from_y, from_x = from_y.copy(), from_x.copy()
        from_y[bad], from_x[bad] = _nearest(sound, y[bad], x[bad])
    return from_y, from_x


def _cost(level: _Level, from_y: Indices, from_x: Indices) -> Field:
    """How badly the patch there fits the estimate here: mean square of levels, and a little for the way."""
    padded = np.pad(level.estimate, ((RADIUS, RADIUS), (RADIUS, RADIUS), (0, 0)), "edge")
    side = 2 * RADIUS + 1
    patches = sliding_window_view(padded, (side, side), axis=(0, 1))
    off = patches[level.y, level.x] - patches[from_y, from_x]
    way = np.hypot(from_y - level.y, from_x - level.x) / max(level.gap.shape)
    return np.asarray(np.einsum("nabc,nabc->n", off, off) / (3 * side * side) + FAR_COSTS * way, np.float32)


def _match(level: _Level, cost: Field, rng: np.random.Generator, *, forward: bool) -> None:
    """Better sources: those of the neighbours, shifted, and random ones ever nearer to the best."""
    height, width = level.gap.shape
    index = np.full(level.gap.shape, -1, np.intp)
    index[level.y, level.x] = np.arange(len(level.y))

    def tried(from_y: Indices, from_x: Indices) -> None:
        ok = (from_y >= 0) & (from_y < height) & (from_x >= 0) & (from_x < width)
        from_y, from_x = np.clip(from_y, 0, height - 1), np.clip(from_x, 0, width - 1)
        ok &= level.sound[from_y, from_x]
        new = _cost(level, from_y, from_x)
        better = ok & (new < cost)
        level.from_y = np.where(better, from_y, level.from_y)
        level.from_x = np.where(better, from_x, level.from_x)
        np.copyto(cost, new, where=better)

    for step in (1, 3):
        for dy, dx in ((0, step), (step, 0)) if forward else ((0, -step), (-step, 0)):
            at_y, at_x = np.clip(level.y - dy, 0, height - 1), np.clip(level.x - dx, 0, width - 1)
            neighbour = index[at_y, at_x]
            known = neighbour >= 0
            tried(
                np.where(known, level.from_y[neighbour] + level.y - at_y, level.from_y),
                np.where(known, level.from_x[neighbour] + level.x - at_x, level.from_x),
            )
    reach = max(height, width) / 3
    for _ in range(TRIES):
        way = rng.uniform(-reach, reach, (2, len(level.y)))
        tried(level.from_y + np.rint(way[0]).astype(np.intp), level.from_x + np.rint(way[1]).astype(np.intp))
        reach /= 2.5


def _vote(level: _Level) -> None:
    """The estimate anew: each pixel is the mean of what the patches around it would put there."""
    height, width = level.gap.shape
    source_y, source_x = np.mgrid[:height, :width]
    source_y[level.y, level.x], source_x[level.y, level.x] = level.from_y, level.from_x
    total = np.zeros((len(level.y), 3), np.float32)
    weights = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            at_y, at_x = np.clip(level.y + dy, 0, height - 1), np.clip(level.x + dx, 0, width - 1)
            from_y = np.clip(source_y[at_y, at_x] + level.y - at_y, 0, height - 1)
            from_x = np.clip(source_x[at_y, at_x] + level.x - at_x, 0, width - 1)
            weight = 1.0 if dy or dx else 2.0
            total += level.estimate[from_y, from_x] * np.float32(weight)
            weights += weight
    level.estimate[level.y, level.x] = total / np.float32(weights)


def _copied(photo: Pixels, hole: Mask, offsets: Field, estimate: Field) -> Field:
    """The gap copied from the photo itself, between the offsets of the four cells around each pixel."""
    height, width = hole.shape
    high, wide = offsets.shape[:2]
    covered = hole > 0
    depth = cv2.distanceTransform(covered.astype(np.uint8), cv2.DIST_L2, 3)
    limit = SEEN * max(height, width)
    out = photo.astype(np.float32)
    smooth = np.asarray(cv2.resize(estimate, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    np.copyto(out, smooth, where=(depth >= limit)[..., None])
    y, x = np.nonzero(cv2.dilate((covered & (depth < limit)).astype(np.uint8), np.ones((9, 9), np.uint8)))
    grid_y, grid_x = (y + 0.5) * high / height - 0.5, (x + 0.5) * wide / width - 0.5
    low_y, low_x = np.floor(grid_y).astype(np.intp), np.floor(grid_x).astype(np.intp)
    total = np.zeros((len(y), 3), np.float32)
    sums = np.zeros((len(y), 1), np.float32)
    for dy in (0, 1):
        for dx in (0, 1):
            share = (1 - np.abs(grid_y - low_y - dy)) * (1 - np.abs(grid_x - low_x - dx))
            cell_y, cell_x = np.clip(low_y + dy, 0, high - 1), np.clip(low_x + dx, 0, wide - 1)
            away = offsets[cell_y, cell_x]
            from_y = np.clip(np.rint(y + away[:, 0] * (height / high)).astype(np.intp), 0, height - 1)
            from_x = np.clip(np.rint(x + away[:, 1] * (width / wide)).astype(np.intp), 0, width - 1)
            # A cell that has no way to go, or goes into the gap, says nothing about a pixel inside.
            weight = (share * np.where(covered[from_y, from_x], 1e-5, 1.0)).astype(np.float32)[:, None]
            total += photo[from_y, from_x] * weight
            sums += weight
    lost = sums[:, 0] < 1e-4  # noqa: PLR2004 - all four say nothing
    copied = total / np.maximum(sums, 1e-9)
    copied[lost] = smooth[y[lost], x[lost]]
    out[y, x] = copied
    return out


def _tone(photo: Pixels, hole: Mask, made: Field) -> Field:
    """What makes the tone of `made` go on from the photo's at the border of the gap."""
    height, width = hole.shape
    scale = min(1.0, TONE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    gap = (cv2.resize((hole > 0).astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    small = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
    smooth = np.asarray(cv2.inpaint(small, gap, 3, cv2.INPAINT_TELEA), np.float32)
    coarse = np.asarray(cv2.resize(made, size, interpolation=cv2.INTER_AREA), np.float32)
    sigma = max(1.0, TONE_SIGMA * max(size))
    weight = gap.astype(np.float32)[..., None]
    layers = np.dstack([(smooth - coarse) * weight, weight]).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(layers, (0, 0), sigma), np.float32)
    depth = cv2.distanceTransform(gap, cv2.DIST_L2, 3)[..., None] / (TONE_DEPTH * max(size))
    off = soft[..., :3] / np.maximum(soft[..., 3:], 1e-3) * np.exp(-depth)
    wipe(small, smooth, coarse)
    return np.asarray(cv2.resize(off.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
