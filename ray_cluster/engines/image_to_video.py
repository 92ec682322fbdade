"""Operation `image_to_video`: a photo becomes a short clip that loops and lives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from ray_cluster.engines import encode, features, living, matte, rig
from ray_cluster.engines.choreography import FRAMES_PER_SECOND
from ray_cluster.engines.decode import Pixels, decode, even, fit
from ray_cluster.engines.features import Features
from ray_cluster.engines.finder import Finder, shared
from ray_cluster.engines.garment import own_face
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check, first, parse
from ray_cluster.engines.people import MIN_MASK_SHARE, see
from ray_cluster.engines.salience import Salience
from ray_cluster.engines.scrub import scrubbed
from ray_cluster.engines.wipe import wipe

LONGER_SIDE_PX = 768
STANDS_OUT = 0.5


class VideoParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`camera`: past the subject and nearer, straight nearer, or only past; `seconds` of the loop."""

    camera: living.Camera = "orbit"
    seconds: Annotated[int, Meta(ge=2, le=10)] = 5


class ImageToVideo:
    """One photo in, one looping MP4 out at 24 frames a second, even sides, the longer one at most 768 px."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._finder: Finder | None = None
        self._salience: Salience | None = None

    def load(self) -> None:
        """Verify and load the detection networks, and the one that knows what stands out."""
        self._finder = self._finder or shared(self._folder)
        self._salience = self._salience or Salience(self._folder)

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
        """Input 0 is the photo, input 1 its `Features` if they were kept. Without anybody in it, its thing moves.

        `seed` picks the side, the looks and the blinks.
        """
        wanted = parse(params, VideoParams)
        self.load()
        check(cancelled)
        report("decode", 0.0)
        photo = even(fit(decode(first(inputs)), LONGER_SIDE_PX))
        scene: living.Scene | None = None
        try:
            check(cancelled)
            report("detect", 0.05)
            found = features.parse(inputs[1]) if len(inputs) > 1 else None
            scene = self._scene(photo, found)
            height, width = photo.shape[:2]
            frames = living.frames_of(wanted.seconds)
            with encode.VideoWriter(width, height, frames, FRAMES_PER_SECOND) as video:
                for index, frame in enumerate(living.draw(scene, wanted.camera, frames, seed)):
                    check(cancelled)
                    report("draw", 0.2 + 0.78 * index / frames)
                    video.write(frame)
                media = video.close()
        finally:
            wipe(photo)
            if scene is not None:
                wipe(scene.layers.person, scene.layers.background)
        report("done", 1.0)
        return Result(media, encode.MEDIA_TYPE, frames, width, height, {"somebody": int(scene.rig is not None)})

    def _scene(self, photo: Pixels, found: Features | None) -> living.Scene:
        assert self._finder is not None
        assert self._salience is not None
        sight = see(photo, found or self._finder(photo))
        mask = sight.mask() if sight.bodies else np.zeros(photo.shape[:2], np.float32)
        if mask.mean() >= MIN_MASK_SHARE:
            body = sight.bodies[0]
            mesh = own_face(sight, body)
            layers = matte.separate(photo, mask)
            return living.Scene(layers, rig.build(body, mesh, layers.person[..., 3]), mesh)
        seen, _ = self._salience(photo)
        thing = np.where(seen > STANDS_OUT, seen, 0).astype(np.float32)
        return living.Scene(matte.separate(photo, thing), None, None)
