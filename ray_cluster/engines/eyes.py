"""Where the irises of a face are: MediaPipe's iris network (Apache-2.0)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines import mesh as face
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.litert import Model, crop

Field = NDArray[np.float32]

MODEL = "iris_landmark.tflite"
OPEN = 0.16
"""Height over width below which an eye is closed: there is nothing behind the lid to show."""
_SIDE = 64
_REACH = 2.3
"""Side of the square handed to the network, in widths of the eye."""
_IRIS_VALUES = 5 * 3
_RIGHT_CORNERS, _LEFT_CORNERS = (33, 133), (362, 263)
"""From the picture's left to its right."""
_LIDS = {True: (159, 145), False: (386, 374)}


class Eye(msgspec.Struct, frozen=True):
    """`outline` are 16 mesh points N x 2, `iris` its centre, `radius` the iris', all in pixels."""

    outline: Field
    iris: Field
    radius: float
    width: float
    is_open: bool

    def __repr__(self) -> str:
        """Nothing of the person."""
        return "Eye(…)"


class Eyes:
    """The network. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._model = Model(folder, MODEL)

    def __call__(self, rgb: Pixels, mesh: Field) -> tuple[Eye, Eye]:
        """The right and the left eye of the face with `mesh`."""
        return self._one(rgb, mesh, right=True), self._one(rgb, mesh, right=False)

    def _one(self, rgb: Pixels, mesh: Field, *, right: bool) -> Eye:
        corners = mesh[list(_RIGHT_CORNERS if right else _LEFT_CORNERS), :2].astype(np.float64)
        along = corners[1] - corners[0]
        width = max(1.0, float(np.hypot(*along)))
        patch, matrix = crop(rgb, corners.mean(0), _REACH * width, float(np.arctan2(along[1], along[0])), _SIDE)
        # The network knows left eyes only: a right one is shown to it in a mirror.
        found = self._model(patch[:, ::-1] if right else patch)[_IRIS_VALUES].reshape(-1, 3)[:, :2].astype(np.float64)
        if right:
            found[:, 0] = _SIDE - 1 - found[:, 0]
        iris = found @ matrix[:, :2].T + matrix[:, 2]
        radius = float(np.hypot(*(iris[1:] - iris[0]).T).mean())
        upper, lower = mesh[list(_LIDS[right]), :2]
        outline = mesh[list(face.RIGHT_EYE if right else face.LEFT_EYE), :2]
        return Eye(
            outline.astype(np.float32),
            iris[0].astype(np.float32),
            radius,
            width,
            bool(np.hypot(*(upper - lower)) > OPEN * width),
        )
