"""Operation `ai_dance`: the person in a photo dances for six seconds; the place behind them stays still."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import choreography, encode, features, rig
from ray_cluster.engines.beat import is_wave, listen
from ray_cluster.engines.choreography import FRAMES, FRAMES_PER_SECOND
from ray_cluster.engines.clip import Sound
from ray_cluster.engines.decode import Pixels, decode, even, fit
from ray_cluster.engines.errors import NoPerson
from ray_cluster.engines.features import Features
from ray_cluster.engines.finder import Finder, shared
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check, first, parse
from ray_cluster.engines.limbs import Limb, split
from ray_cluster.engines.matte import Layers, separate
from ray_cluster.engines.scrub import scrubbed
from ray_cluster.engines.warp import Warp
from ray_cluster.engines.wipe import wipe

LONGER_SIDE_PX = 768
MIN_MASK_SHARE = 0.002
"""Of the picture's pixels: a smaller person is a speck that no dance would show."""
REACH_PX = 4


class DanceParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dance`: three figures in the order that the seed picks, or one of them, or another."""

    dance: choreography.Dance = "mix"


class Dance:
    """One photo in, one looping MP4 out: 144 frames at 24 per second, even sides, the longer one at most 768 px."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._finder: Finder | None = None

    def load(self) -> None:
        """Verify and load the detection networks."""
        self._finder = self._finder or shared(self._folder)

    @scrubbed
    def run(
        self,
        inputs: Sequence[Plaintext],
        params: dict[str, Any],
        *,
        seed: int,
        report: Report,
        cancelled: IsCancelled,
    ) -> Result:
        """Input 0 is the photo; its `Features` may follow if they were kept, and a WAV to dance to.

        To a sound it dances on the beat, and the clip has that sound: as many whole bars of it as fit into 30 s.

        Raises:
            NoPerson: nobody is found in the photo.
            Undecodable: an input is none of these.

        """
        wanted = parse(params, DanceParams)
        check(cancelled)
        report("decode", 0.0)
        photo = even(fit(decode(first(inputs)), LONGER_SIDE_PX))
        check(cancelled)
        report("detect", 0.05)
        heard = [one for one in inputs[1:] if is_wave(one)]
        song = listen(heard[0]) if heard else None
        found = self._features([one for one in inputs[1:] if not is_wave(one)], photo)
        check(cancelled)
        report("cut out", 0.1)
        stage = set_stage(photo, found)
        wipe(photo)
        height, width = stage.layers.background.shape[:2]
        try:
            stance = choreography.choreograph(FRAMES, seed, wanted.dance)
            frames, sound = FRAMES, None
            if song is not None:
                frames, sound = song.frames, Sound([song.sound])
                stance = choreography.choreograph(frames, seed, wanted.dance, song.beats, song.late)
            sounds = 0 if sound is None else sound.packets
            with encode.VideoWriter(width, height, frames, FRAMES_PER_SECOND, sound=sound, sounds=sounds) as video:
                for index, frame in enumerate(move(stage, stance)):
                    check(cancelled)
                    report("dance", 0.2 + 0.78 * index / frames)
                    video.write(frame)
                media = video.close()
        finally:
            stage.wipe()
            wipe(None if song is None else song.sound)
        report("done", 1.0)
        return Result(media, encode.MEDIA_TYPE, frames, width, height, {"whole_body": int(stage.rig.legs)})

    def _features(self, kept: Sequence[Plaintext], photo: Pixels) -> Features:
        if kept:
            return features.parse(kept[0])
        self.load()
        assert self._finder is not None
        return self._finder(photo)


class Stage(msgspec.Struct, frozen=True):
    """What a dance is drawn from: `layers.person` without the arms that are layers of their own, in `limbs`."""

    layers: Layers
    rig: rig.Rig
    limbs: tuple[Limb, ...] = ()

    def wipe(self) -> None:
        """Overwrite every layer."""
        wipe(self.layers.person, self.layers.background, *(limb.layer for limb in self.limbs))


def set_stage(photo: Pixels, found: Features) -> Stage:
    """Cut out the largest person of `found` and rig them; features may come from another size of the same photo."""
    height, width = photo.shape[:2]
    if not found.poses:
        raise NoPerson("expected a person in the photo, found nobody; send a photo with a face or a body in clear view")
    pose = found.poses[0]
    mask = features.unpack_mask(pose.mask, width, height)
    if mask.mean() < MIN_MASK_SHARE:
        raise NoPerson("expected a person in the photo, found a speck; send one where they are larger")
    scale = np.array([width / found.width, height / found.height, width / found.width, 1], np.float32)
    points = features.points(pose.points, 4) * scale
    mesh = _mesh_of(points, [features.points(face.mesh, 3) * scale[:3] for face in found.faces])
    layers = separate(photo, mask)
    wipe(mask)
    body = rig.build(points, mesh, layers.person[..., 3])
    rest, limbs = split(layers.person, points, body)
    if limbs:
        wipe(layers.person)
    return Stage(Layers(rest, layers.background), body, limbs)


def _mesh_of(points: NDArray[np.float32], meshes: list[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """The mesh whose box holds the pose's nose."""
    for mesh in meshes:
        low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
        if (low <= points[rig.NOSE, :2]).all() and (points[rig.NOSE, :2] <= high).all():
            return mesh
    return None


def draw(stage: Stage, seed: int, frames: int = FRAMES) -> Iterator[Pixels]:
    """The dance of that seed."""
    return move(stage, choreography.choreograph(frames, seed))


def move(stage: Stage, stance: choreography.Stance) -> Iterator[Pixels]:
    """Frames H x W x 3 RGB, one per value of `stance`. The array is reused: take what you need before the next."""
    background = stage.layers.background
    places = stage.rig.dance(stance)
    reach = int(np.abs(places - stage.rig.source).max() * 1.25) + REACH_PX
    loose = np.concatenate([limb.rows for limb in stage.limbs]) if stage.limbs else np.zeros(0, np.intp)
    trunk = _Part(stage.layers.person, np.setdiff1d(np.arange(len(stage.rig.source)), loose), stage.rig, reach)
    behind = [_Part(limb.layer, limb.rows, stage.rig, reach) for limb in stage.limbs if not limb.front]
    before = [_Part(limb.layer, limb.rows, stage.rig, reach) for limb in stage.limbs if limb.front]
    parts = [*behind, trunk, *before]
    out = background.copy()
    try:
        for target in places:
            for part in parts:
                part.clear(out, background)
            for part in parts:
                part.draw(out, target)
            yield out
    finally:  # also when the drawing is given up half-way
        for part in parts:
            part.wipe()
        wipe(out)


class _Part:
    """One layer and the points that move it."""

    def __init__(self, layer: NDArray[np.uint8], rows: NDArray[np.intp], body: rig.Rig, reach: int) -> None:
        self._rows = rows
        self._region = region_of(layer[..., 3], reach)
        self._warp = Warp(self._region)
        self._source = body.source[rows] + reach * (1 + 1j)
        self._wide = beyond(layer, reach)
        x0, y0, x1, y1 = self._region
        self._moved = np.empty((y1 - y0, x1 - x0, 4), np.uint8)

    def clear(self, out: Pixels, background: Pixels) -> None:
        """The place again where the frame before had this part."""
        x0, y0, x1, y1 = self._region
        out[y0:y1, x0:x1] = background[y0:y1, x0:x1]

    def draw(self, out: Pixels, places: NDArray[np.complex128]) -> None:
        """Over what is there, its points at their places of all of the rig's."""
        x0, y0, x1, y1 = self._region
        field = self._warp.field(places[self._rows], self._source)
        cv2.remap(self._wide, field, None, cv2.INTER_LINEAR, dst=self._moved)
        lay(self._moved, out[y0:y1, x0:x1], out[y0:y1, x0:x1])

    def wipe(self) -> None:
        """Overwrite what it holds."""
        wipe(self._wide, self._moved)


def lay(over: NDArray[Any], under: NDArray[Any], out: NDArray[Any]) -> None:
    """Premultiplied RGBA `over` on RGB `under`, into `out`."""
    clear = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(over, 3)), cv2.COLOR_GRAY2RGB)
    rest = cv2.multiply(under, clear, scale=1 / 255)
    cv2.add(cv2.cvtColor(over, cv2.COLOR_RGBA2RGB), rest, dst=out)


def region_of(alpha: NDArray[np.uint8], reach: int) -> tuple[int, int, int, int]:
    """The box that the person never leaves: theirs and `reach` px more, inside the picture."""
    height, width = alpha.shape
    y, x = np.nonzero(alpha)
    return (
        max(0, int(x.min()) - reach),
        max(0, int(y.min()) - reach),
        min(width, int(x.max()) + 1 + reach),
        min(height, int(y.max()) + 1 + reach),
    )


def beyond(person: NDArray[np.uint8], reach: int) -> NDArray[np.uint8]:
    """`person` with `reach` px around it: mirrored where the border cuts them off, clear elsewhere."""
    wide = cv2.copyMakeBorder(person, reach, reach, reach, reach, cv2.BORDER_REFLECT)
    edge = cv2.copyMakeBorder(person[..., 3], reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    edge[reach:-reach, reach:-reach] = 255
    wide[edge <= rig.HALF] = 0
    return np.asarray(wide, np.uint8)
