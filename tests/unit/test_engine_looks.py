from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ray_cluster.engines import registry, samples_path
from ray_cluster.engines.decode import decode
from ray_cluster.engines.errors import BadParams, TooManyPixels, Undecodable
from ray_cluster.engines.interface import Engine, Result
from ray_cluster.engines.looks.canvas import PERIOD, Canvas
from ray_cluster.engines.stylization import PAINTED

PORTRAIT = samples_path("portrait.jpg").read_bytes()
VECTORS = Path(__file__).parents[1] / "vectors"


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def run(engine: Engine, media: bytes, **params: object) -> Result:
    return engine.run([media], params, seed=3, report=lambda *_: None, cancelled=lambda: False)


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = registry.build("stylization")
    made.load()
    return made


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    photo = decode(PORTRAIT)
    return {look: paint(photo, Canvas(3)) for look, paint in PAINTED.items()}


@pytest.mark.parametrize("look", PAINTED)
def test_a_look_keeps_the_scene_and_changes_the_surface(look: str, drawn: dict[str, np.ndarray]) -> None:
    photo, made = decode(PORTRAIT), drawn[look]
    assert (made.shape, made.dtype) == (photo.shape, np.uint8)
    assert np.abs(made.astype(int) - photo).mean() > 4
    # Where edges are in the photo, there are edges in the drawing; neon and pencil turn tones, so edges are compared.
    edges = [
        cv2.GaussianBlur(np.abs(cv2.Laplacian(one.mean(2), cv2.CV_64F)), (0, 0), 8).ravel() for one in (photo, made)
    ]
    assert np.corrcoef(*edges)[0, 1] > 0.25


@pytest.mark.parametrize("look", PAINTED)
def test_a_seed_gives_the_same_drawing(look: str, drawn: dict[str, np.ndarray]) -> None:
    assert np.array_equal(PAINTED[look](decode(PORTRAIT), Canvas(3)), drawn[look])


def test_looks_differ_from_each_other(drawn: dict[str, np.ndarray]) -> None:
    looks = list(drawn.values())
    for index, one in enumerate(looks):
        for other in looks[index + 1 :]:
            assert np.abs(one.astype(int) - other).mean() > 8


def test_a_pencil_is_grey_on_paper_and_neon_is_night(drawn: dict[str, np.ndarray]) -> None:
    spread = drawn["pencil"].max(2).astype(int) - drawn["pencil"].min(2)
    assert spread.max() <= 12
    assert drawn["pencil"].mean() > 128
    assert drawn["neon"].mean() < 0.8 * decode(PORTRAIT).mean()
    assert drawn["neon"].max() > 240


@pytest.mark.parametrize("look", PAINTED)
@pytest.mark.parametrize("shape", [(1, 1), (2, 100), (37, 53), (61, 8)])
def test_any_size_is_painted(look: str, shape: tuple[int, int]) -> None:
    made = PAINTED[look](np.full((*shape, 3), 90, np.uint8), Canvas(0))
    assert made.shape == (*shape, 3)


def test_small_photos_are_painted_on_a_larger_canvas_and_large_ones_scaled_down(engine: Engine) -> None:
    small = run(engine, png(np.full((50, 100, 3), 120, np.uint8)), look="pencil")
    assert (small.width, small.height) == (400, 200)
    large = run(engine, png(np.full((900, 1800, 3), 120, np.uint8)), look="pencil")
    assert (large.width, large.height) == (1600, 800)
    asked = run(engine, png(np.full((900, 1800, 3), 120, np.uint8)), look="pencil", longer_side=640, format="webp")
    assert (asked.width, asked.height, asked.media_type) == (640, 320, "image/webp")
    assert decode(asked.media).shape == (320, 640, 3)


@pytest.mark.parametrize(
    "media",
    [
        png(np.full((40, 40), 90, np.uint8)),
        png(np.full((40, 40, 4), 90, np.uint8)),
        png(np.full((40, 40, 3), 30_000, np.uint16)),
        (VECTORS / "cmyk.jpg").read_bytes(),
        (VECTORS / "animated.webp").read_bytes(),
    ],
    ids=["grey", "alpha", "16 bit", "CMYK", "animated WebP"],
)
def test_unusual_photos_are_drawn(engine: Engine, media: bytes) -> None:
    result = run(engine, media, look="watercolour")
    assert decode(result.media).shape == (result.height, result.width, 3)


def test_an_animated_gif_and_a_bomb_are_refused_by_name(engine: Engine) -> None:
    with pytest.raises(Undecodable):
        run(engine, (VECTORS / "animated.gif").read_bytes(), look="oil")
    bomb = bytearray(png(np.zeros((4, 4, 3), np.uint8)))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(TooManyPixels):
        run(engine, bytes(bomb), look="oil")


def test_unknown_looks_are_refused(engine: Engine) -> None:
    for params in ({"look": "cubism"}, {"look": "oil", "longer_side": 9}, {"longer_side": 100_000}):
        with pytest.raises(BadParams):
            run(engine, PORTRAIT, **params)
    with pytest.raises(BadParams):
        run(registry.build("anime"), PORTRAIT, look="oil")


class Shift:
    """Everything moved by some pixels."""

    def __init__(self, x: float, y: float) -> None:
        self.by = np.float32(x), np.float32(y)

    def places(self, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        return x + self.by[0], y + self.by[1]


def test_grain_moves_with_the_picture_and_keeps_its_strength() -> None:
    canvas = Canvas(1)
    canvas.follow(None, 200, 100)
    before = canvas.noise((100, 200), 0, 2.0)
    for count in range(2 * PERIOD):
        canvas.follow(Shift(3, 0), 200, 100)
        now = canvas.noise((100, 200), 0, 2.0)
        assert 0.8 < now.std() < 1.25
        moved, stayed = before[:, 3:], before[:, :-3]
        # 3 px to the left each frame: what was at x + 3 is now at x
        assert np.abs(now[:, :-3] - moved).mean() < 0.15 * np.abs(now[:, :-3] - stayed).mean(), count
        before = now


def test_a_cut_begins_a_new_canvas() -> None:
    canvas = Canvas(1)
    canvas.follow(None, 60, 40)
    first = canvas.noise((40, 60), 0, 2.0)
    canvas.follow(Shift(5, 0), 60, 40)
    assert not np.array_equal(canvas.noise((40, 60), 0, 2.0), first)
    canvas.follow(None, 60, 40)
    assert np.array_equal(canvas.noise((40, 60), 0, 2.0), first)
