from __future__ import annotations

import cv2
import numpy as np
import pytest

from ray_cluster.engines import features, registry
from ray_cluster.engines import mesh as face
from ray_cluster.engines.decode import decode
from ray_cluster.engines.errors import BadParams, NoFace
from ray_cluster.engines.eyes import Eyes
from ray_cluster.engines.interface import Engine
from ray_cluster.engines.weights import directory
from tests.unit.photos import FAR, PORTRAIT, blank, moved, odd_ones, pixels, png, portrait, run

EYES = (slice(88, 112), slice(185, 255))
MOUTH = (slice(140, 175), slice(195, 250))


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = registry.build("expression")
    made.load()
    return made


@pytest.fixture(scope="module")
def detector() -> Engine:
    return registry.build("detect")


def mesh_of(detector: Engine, photo: np.ndarray) -> np.ndarray:
    found = features.parse(run(detector, [png(photo)]).media)
    return features.points(found.faces[0].mesh, 3)[:, :2]


def corners_above_the_lips(mesh: np.ndarray) -> float:
    """How far a mouth's corners are above its middle, in widths of the face."""
    width = np.hypot(*(mesh[face.LEFT_CHEEK] - mesh[face.RIGHT_CHEEK]))
    return float((mesh[[0, 17], 1].mean() - mesh[[61, 291], 1].mean()) / width)


def test_a_mouth_smiles_and_sinks(engine: Engine, detector: Engine) -> None:
    photo = portrait()
    before = corners_above_the_lips(mesh_of(detector, photo))
    glad, sad = (pixels(engine, [PORTRAIT], smile=smile) for smile in (1.0, -1.0))
    assert corners_above_the_lips(mesh_of(detector, glad)) > before + 0.008
    assert corners_above_the_lips(mesh_of(detector, sad)) < before - 0.005
    for made in (glad, sad):
        assert moved(made[FAR], photo[FAR]) == 0
        assert moved(made[:60], photo[:60]) < 0.2
        assert moved(made[MOUTH], photo[MOUTH]) > 3


def test_eyes_open(engine: Engine, detector: Engine) -> None:
    photo, made = portrait(), pixels(engine, [PORTRAIT], smile=0.0, eyes=1.0)
    before, after = (
        face.area(mesh_of(detector, one), face.LEFT_EYE) + face.area(mesh_of(detector, one), face.RIGHT_EYE)
        for one in (photo, made)
    )
    assert after > 1.03 * before
    assert moved(made[MOUTH], photo[MOUTH]) < 0.3


def test_the_iris_goes_where_it_is_told(engine: Engine, detector: Engine) -> None:
    network = Eyes(directory())
    large = cv2.resize(portrait(), (1024, 1024), interpolation=cv2.INTER_CUBIC)

    def irises(photo: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        return np.array([eye.iris for eye in network(photo, mesh)])

    mesh = mesh_of(detector, large)
    before = irises(large, mesh)
    radius = network(large, mesh)[0].radius
    for way in (1.0, -1.0):
        made = pixels(engine, [png(large)], smile=0.0, gaze_x=way)
        shift = (irises(made, mesh) - before)[:, 0] * way
        assert shift.min() > 0.25 * radius
        outside = np.ones(large.shape[:2], bool)
        outside[170:230, 360:520] = False
        assert moved(made[outside], large[outside]) == 0


def test_nothing_asked_is_nothing_done(engine: Engine) -> None:
    assert (pixels(engine, [PORTRAIT], smile=0.0) == portrait()).all()


def test_each_face_when_asked(engine: Engine) -> None:
    two = np.hstack([portrait(), portrait()[:, ::-1]])
    changed = [pixels(engine, [png(two)], faces=faces) for faces in ("largest", "all")]
    sides = [MOUTH, (MOUTH[0], slice(1024 - 250, 1024 - 195))]
    assert sorted(moved(changed[0][side], two[side]) > 1 for side in sides) == [False, True]
    assert all(moved(changed[1][side], two[side]) > 1 for side in sides)


def test_bad_input_is_named(engine: Engine) -> None:
    with pytest.raises(NoFace):
        run(engine, [blank()])
    for params in ({"smile": 1.5}, {"smile": "wide"}, {"grin": 1.0}, {"faces": "two"}):
        with pytest.raises(BadParams):
            run(engine, [PORTRAIT], **params)


def test_unusual_pictures_smile(engine: Engine) -> None:
    for name, photo in odd_ones().items():
        made = run(engine, [photo], eyes=0.5, gaze_x=0.5, gaze_y=-0.5)
        assert (made.height, made.width) == decode(photo).shape[:2] or name == "huge"
