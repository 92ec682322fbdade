"""A photo that lives: a camera drifts, what is near moves more than what is far, somebody breathes and blinks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import rig
from ray_cluster.engines.ai_dance import beyond, lay, region_of
from ray_cluster.engines.blink import Lid, degrees
from ray_cluster.engines.choreography import FRAMES_PER_SECOND, Stance
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.matte import Layers
from ray_cluster.engines.warp import Warp
from ray_cluster.engines.wipe import wipe

Camera = Literal["orbit", "push", "drift"]
Layer = NDArray[np.uint8]
Field = NDArray[np.float32]

NEAR, FAR, GROUND = 0.019, 0.006, 0.006
"""How far the person, the place, and what of the place is lowest shift aside, as shares of the longer side."""
NEAR_ZOOM, FAR_ZOOM = 0.05, 0.022
MARGIN = 1.035
"""How much larger everything is drawn: the drift must not uncover the border."""
FRAMES_PER_BLINK = 62
BREATH_FRAMES = 84
"""About a breath in 3.5 s."""


class Scene(msgspec.Struct, frozen=True):
    """What is moved: layers, the body's rig if somebody is there, and the mesh of their face if it is seen."""

    layers: Layers
    rig: rig.Rig | None
    mesh: Field | None

    def __repr__(self) -> str:
        """Nothing of the picture."""
        return "Scene(…)"


def draw(scene: Scene, camera: Camera, frames: int, seed: int) -> Iterator[Pixels]:
    """`frames` frames H x W x 3 RGB that loop. The array is reused: take what you need before the next."""
    rng = np.random.default_rng(seed)
    person, background = scene.layers.person, scene.layers.background
    height, width = background.shape[:2]
    longer = max(height, width)
    lids = [] if scene.mesh is None else [Lid(scene.mesh, right=right) for right in (True, False)]
    lids = [lid for lid in lids if lid.closable]
    shut = degrees(frames, max(1, round(frames / FRAMES_PER_BLINK)), rng)
    side = float(rng.choice((-1.0, 1.0)))
    body = _Body(person, scene.rig, calm(frames, rng)) if scene.rig is not None else None
    moved, out = np.empty_like(person), np.empty_like(background)
    blinking = person.copy()
    try:
        for frame in range(frames):
            turn = 2 * np.pi * frame / frames
            aside, zoom = _path(camera, turn, side)
            blinks = bool(lids) and shut[frame] > 0
            if blinks:
                blinking[:] = person
                for lid in lids:
                    lid.close(blinking, float(shut[frame]))
            shown = person if body is None else body.at(frame, blinking if blinks else None)
            behind = _place(background, aside * longer, zoom)
            near = _affine(width, height, NEAR * aside * longer, 1 + NEAR_ZOOM * zoom)
            cv2.warpAffine(shown, near, (width, height), moved, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
            lay(moved, behind, out)
            yield out
    finally:
        wipe(moved, out, blinking)
        if body is not None:
            body.wipe()


def calm(frames: int, rng: np.random.Generator) -> Stance:
    """Somebody who stands still, alive: breath, and a head that looks about a little. It loops."""
    turn = 2 * np.pi * np.arange(frames) / frames
    breaths = max(1, round(frames / BREATH_FRAMES))
    breath = 0.5 - 0.5 * np.cos(breaths * turn)
    late = rng.uniform(0, 2 * np.pi, 4)
    side = float(rng.choice((-1.0, 1.0)))
    look = side * (0.8 * np.sin(turn + late[0]) + 0.35 * np.sin(2 * turn + late[1]))
    tilt = 0.28 * np.sin(turn + late[0] + 0.6) + 0.1 * np.sin(2 * turn + late[2])
    still = np.zeros(frames)
    return Stance(
        sway=0.16 * np.sin(turn + late[3]),
        bend=-0.16 * breath,
        lean=0.16 * np.sin(turn + late[3]),
        shoulders=0.1 * np.sin(turn + late[2]),
        head_tilt=tilt,
        head_slide=0.22 * look,
        head_nod=0.3 * np.sin(turn + late[1]) + 0.15 * breath,
        head_turn=look,
        left_arm=still,
        left_forearm=still,
        right_arm=still,
        right_forearm=still,
    )


class _Body:
    """Moves the person's layer by their rig."""

    def __init__(self, person: Layer, body: rig.Rig, stance: Stance) -> None:
        self._places = body.dance(stance)
        self._reach = int(np.abs(self._places - body.source).max() * 1.25) + 4
        self._source = body.source + self._reach * (1 + 1j)
        self._region = region_of(person[..., 3], self._reach)
        self._warp = Warp(self._region)
        self._wide = beyond(person, self._reach)
        self._out = np.zeros_like(person)

    def at(self, frame: int, blinking: Layer | None) -> Layer:
        """The layer at that frame, or the `blinking` one in its stead; the array is reused."""
        x0, y0, x1, y1 = self._region
        field = self._warp.field(self._places[frame], self._source)
        wide = self._wide if blinking is None else beyond(blinking, self._reach)
        self._out[y0:y1, x0:x1] = cv2.remap(wide, field, None, cv2.INTER_LINEAR)
        if blinking is not None:
            wipe(wide)
        return self._out

    def wipe(self) -> None:
        """Overwrite what was drawn."""
        wipe(self._wide, self._out)


def _path(camera: Camera, turn: float, side: float) -> tuple[float, float]:
    """How far aside (-1..1) and how near (0..1) the camera is. It rests where the loop closes."""
    aside, near = side * float(np.cos(turn)), 0.5 - 0.5 * float(np.cos(turn))
    if camera == "push":
        return 0.25 * aside, near
    if camera == "drift":
        return aside, 0.15
    return aside, 0.7 * near


def _affine(width: int, height: int, aside: float, scale: float) -> NDArray[np.float64]:
    """Zoom about the middle of the bottom, where a person stands or is cut off, and a shift aside."""
    scale *= MARGIN
    return np.array([[scale, 0, (1 - scale) * width / 2 + aside], [0, scale, (1 - scale) * height]])


def _place(background: Pixels, aside: float, zoom: float) -> Pixels:
    """The place: the ground in front shifts more than what is far."""
    height, width = background.shape[:2]
    matrix = _affine(width, height, FAR * aside, 1 + FAR_ZOOM * zoom)
    # A shear about the top: `GROUND` more at the bottom.
    matrix[0, 1] = GROUND * aside / height
    return np.asarray(
        cv2.warpAffine(background, matrix, (width, height), None, cv2.INTER_LINEAR, cv2.BORDER_REFLECT), np.uint8
    )


def frames_of(seconds: int) -> int:
    """At 24 a second."""
    return seconds * FRAMES_PER_SECOND
