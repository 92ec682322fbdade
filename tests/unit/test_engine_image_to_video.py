from __future__ import annotations

import io
import itertools

import av
import cv2
import numpy as np
import pytest

from ray_cluster.engines import features, registry
from ray_cluster.engines.blink import CLOSING, OPENING, SHUT, Lid, degrees
from ray_cluster.engines.errors import BadParams, Cancelled, Undecodable
from ray_cluster.engines.interface import Engine
from ray_cluster.engines.living import calm
from tests.unit.photos import PORTRAIT, blank, moved, never, png, portrait, run


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = registry.build("image_to_video")
    made.load()
    return made


def frames_of(media: bytes | bytearray) -> list[np.ndarray]:
    with av.open(io.BytesIO(media)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def clip(engine: Engine) -> list[np.ndarray]:
    made = run(engine, [PORTRAIT], seed=3, seconds=3)
    assert (made.media_type, made.frames, made.width, made.height) == ("video/mp4", 72, 512, 512)
    assert made.facts == {"somebody": 1}
    return frames_of(made.media)


def test_the_loop_has_no_seam(clip: list[np.ndarray]) -> None:
    steps = [moved(a, b) for a, b in itertools.pairwise(clip)]
    assert len(clip) == 72
    assert moved(clip[-1], clip[0]) <= max(steps)


def test_what_is_near_moves_more_than_what_is_far(clip: list[np.ndarray]) -> None:
    """Alive, not a slideshow: between two frames no one shift fits both the person and the place."""
    grey = [cv2.cvtColor(clip[at], cv2.COLOR_RGB2GRAY).astype(np.float32) for at in (0, 36)]

    def shift(rows: slice, columns: slice) -> np.ndarray:
        window = cv2.createHanningWindow((columns.stop - columns.start, rows.stop - rows.start), cv2.CV_32F)
        (x, y), _ = cv2.phaseCorrelate(grey[0][rows, columns], grey[1][rows, columns], window)
        return np.array([x, y])

    place, chest = shift(slice(30, 220), slice(330, 500)), shift(slice(260, 430), slice(90, 250))
    assert np.hypot(*(chest - place)) > 1.5


def test_eyes_blink(engine: Engine) -> None:
    """A lid's skin is drawn over the eye, and nothing beyond the lids changes."""
    photo = portrait()
    large = cv2.resize(photo, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    found = features.parse(run(registry.build("detect"), [png(large)]).media)
    mesh = features.points(found.faces[0].mesh, 3)
    layer = np.dstack([large, np.full(large.shape[:2], 255, np.uint8)])
    for right in (True, False):
        lid = Lid(mesh, right=right)
        assert lid.closable
        x0, y0, x1, y1 = lid.box(layer.shape)
        shut = layer.copy()
        lid.close(shut, 1.0)
        assert moved(shut[y0:y1, x0:x1], layer[y0:y1, x0:x1]) > 3
        outside = np.ones(layer.shape[:2], bool)
        outside[y0:y1, x0:x1] = False
        assert (shut[outside] == layer[outside]).all()
        # Shut, the eye's middle is even like the lid above it: no white, no iris, no light in it.
        middle = mesh[[159, 145] if right else [386, 374], :2].mean(0).astype(int)
        at = (slice(middle[1] - 2, middle[1] + 1), slice(middle[0] - 2, middle[0] + 3))
        assert np.ptp(shut[at].astype(int)[..., :3].mean(-1)) < 0.5 * np.ptp(layer[at].astype(int)[..., :3].mean(-1))
        still = layer.copy()
        lid.close(still, 0.0)
        assert moved(still, layer) < 0.01


def test_blinks_keep_apart_and_off_the_seam() -> None:
    for seed in range(20):
        shut = degrees(120, 2, np.random.default_rng(seed))
        assert shut[0] == shut[-1] == 0
        assert (shut > 0).sum() == 2 * (CLOSING + SHUT + OPENING)
        assert shut.max() == 1
        assert np.abs(np.diff(shut)).max() < 0.8
    assert not degrees(8, 1, np.random.default_rng(0)).any()


def test_a_calm_stance_loops_and_is_calm() -> None:
    for seed in range(5):
        stance = calm(96, np.random.default_rng(seed))
        for name in stance.__struct_fields__:
            curve = getattr(stance, name)
            assert np.abs(curve).max() < 1.2
            assert abs(curve[0] - curve[-1]) <= 1.02 * np.abs(np.diff(curve)).max() + 1e-9


def test_a_photo_without_anybody_lives_too(engine: Engine) -> None:
    thing = np.full((240, 321, 3), (200, 205, 210), np.uint8)
    thing[::16] = (120, 140, 150)
    cv2.circle(thing, (160, 120), 60, (180, 40, 30), -1)
    made = run(engine, [png(thing)], seconds=2)
    assert (made.width, made.height, made.facts) == (320, 240, {"somebody": 0})
    frames = frames_of(made.media)
    assert moved(frames[0], frames[24]) > 1


def test_odd_ends_are_clips_or_named_errors(engine: Engine) -> None:
    for size in ((1, 1), (5, 700)):
        assert run(engine, [blank(*size)], seconds=2).frames == 48
    small = png(cv2.resize(portrait(), (128, 128), interpolation=cv2.INTER_AREA))
    one, same, other = (run(engine, [small], seed, seconds=2, camera="push").media for seed in (1, 1, 2))
    assert one == same
    assert one != other
    for params in ({"seconds": 1}, {"seconds": 11}, {"seconds": 2.5}, {"camera": "spin"}):
        with pytest.raises(BadParams):
            run(engine, [small], **params)
    with pytest.raises(Undecodable):
        run(engine, [small, b"other"], seconds=2)


def test_cancel_stops_within_a_frame(engine: Engine) -> None:
    drawn = 0

    def report(stage: str, fraction: float) -> None:
        nonlocal drawn
        drawn += stage == "draw"

    with pytest.raises(Cancelled):
        engine.run([PORTRAIT], {"seconds": 2}, seed=0, report=report, cancelled=lambda: drawn >= 3)
    assert drawn == 3
    assert not never()
