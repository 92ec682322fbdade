from __future__ import annotations

import io
import itertools
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from ray_cluster.engines import features, registry, rig, samples_path
from ray_cluster.engines.choreography import FRAMES, Stance, choreograph
from ray_cluster.engines.decode import decode
from ray_cluster.engines.errors import Cancelled, NoPerson, Undecodable
from ray_cluster.engines.interface import Engine, Result
from ray_cluster.engines.warp import Warp
from stream.errors import BadRequest

PORTRAIT = samples_path("portrait.jpg").read_bytes()


def never() -> bool:
    return False


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


@pytest.fixture(scope="module")
def dancer() -> Engine:
    engine = registry.build("ai_dance")
    engine.load()
    return engine


@pytest.fixture(scope="module")
def detector() -> Engine:
    engine = registry.build("detect")
    engine.load()
    return engine


@pytest.fixture(scope="module")
def danced(dancer: Engine) -> tuple[Result, list[float]]:
    fractions: list[float] = []
    result = dancer.run([PORTRAIT], {}, seed=7, report=lambda _, f: fractions.append(f), cancelled=never)
    return result, fractions


@pytest.fixture(scope="module")
def frames(danced: tuple[Result, list[float]]) -> list[np.ndarray]:
    with av.open(io.BytesIO(danced[0].media)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_clip_is_what_browsers_play(danced: tuple[Result, list[float]]) -> None:
    result, _ = danced
    assert result.media_type == "video/mp4"
    assert bytes(result.media).find(b"moov") < bytes(result.media).find(b"mdat")
    with av.open(io.BytesIO(result.media)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == Fraction(24)
        assert stream.frames == result.frames == FRAMES >= 96
        assert (stream.width, stream.height) == (result.width, result.height) == (512, 512)
        assert float(stream.duration * stream.time_base) >= 4


def test_progress_rises_to_one(danced: tuple[Result, list[float]]) -> None:
    assert danced[1] == sorted(danced[1])
    assert danced[1][-1] == 1.0


def test_the_person_moves_and_the_place_does_not(frames: list[np.ndarray]) -> None:
    photo = decode(PORTRAIT).astype(int)
    stack = np.stack(frames[::6]).astype(int)
    away = np.abs(stack - photo).mean((0, 3))
    assert away[20:200, 430:].mean() < 3  # the shuttle
    assert away[:100, :60].mean() < 3  # the flag
    assert away[60:200, 170:270].mean() > 12  # the head
    travel = np.abs(np.diff(stack, axis=0)).mean((1, 2, 3))
    assert travel.min() > 0.5  # never stands still for a quarter of a second


def test_the_bottom_border_stays_covered(frames: list[np.ndarray]) -> None:
    photo = decode(PORTRAIT).astype(int)
    for frame in frames[::12]:
        assert np.abs(frame[-4:, 60:260].astype(int) - photo[-4:, 60:260]).mean() < 12


def test_the_loop_has_no_seam(frames: list[np.ndarray]) -> None:
    def step(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.abs(a.astype(int) - b).mean())

    steps = [step(a, b) for a, b in itertools.pairwise(frames)]
    assert step(frames[-1], frames[0]) <= max(steps)


def test_the_seed_decides(dancer: Engine) -> None:
    small = png(cv2.resize(cv2.cvtColor(decode(PORTRAIT), cv2.COLOR_RGB2BGR), (128, 128)))
    first, again, other = (
        dancer.run([small], {}, seed=seed, report=lambda *_: None, cancelled=never).media for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_cancel_stops_within_a_frame(dancer: Engine) -> None:
    drawn = 0

    def report(stage: str, fraction: float) -> None:
        nonlocal drawn
        drawn += stage == "dance"

    with pytest.raises(Cancelled):
        dancer.run([PORTRAIT], {}, seed=0, report=report, cancelled=lambda: drawn >= 5)
    assert drawn == 5


def test_features_kept_from_detect_do_as_well(dancer: Engine, detector: Engine) -> None:
    kept = detector.run([PORTRAIT], {}, seed=0, report=lambda *_: None, cancelled=never)
    assert kept.facts == {"faces": 1, "poses": 1}
    found = features.parse(kept.media)
    assert "mesh" not in repr(found)
    x0, y0, x1, y1 = found.faces[0].box
    assert 150 < x0 < x1 < 290
    assert 40 < y0 < y1 < 220
    mesh = features.points(found.faces[0].mesh, 3)
    assert mesh.shape == (468, 3)
    result = dancer.run([PORTRAIT, kept.media], {}, seed=7, report=lambda *_: None, cancelled=never)
    assert result.frames == FRAMES
    with pytest.raises(Undecodable):
        dancer.run([PORTRAIT, b"other"], {}, seed=7, report=lambda *_: None, cancelled=never)


@pytest.mark.parametrize("size", [(1, 1), (300, 201), (5, 700)])
def test_nobody_is_a_named_error(dancer: Engine, detector: Engine, size: tuple[int, int]) -> None:
    empty = png(np.full((*size, 3), 120, np.uint8))
    with pytest.raises(NoPerson) as caught:
        dancer.run([empty], {}, seed=0, report=lambda *_: None, cancelled=never)
    assert isinstance(caught.value, BadRequest)
    assert caught.value.kind == "no-person"
    nobody = detector.run([empty], {}, seed=0, report=lambda *_: None, cancelled=never)
    assert nobody.facts == {"faces": 0, "poses": 0}


def test_odd_sizes_and_close_ups_dance(dancer: Engine) -> None:
    close_up = cv2.cvtColor(decode(PORTRAIT), cv2.COLOR_RGB2BGR)[31:330, 91:390]
    result = dancer.run([png(close_up)], {}, seed=2, report=lambda *_: None, cancelled=never)
    assert (result.width, result.height) == (298, 298)


def test_a_dance_is_a_loop_and_bounded() -> None:
    for seed in range(5):
        stance = choreograph(FRAMES, seed)
        for name in Stance.__struct_fields__:
            curve = getattr(stance, name)
            assert np.abs(curve).max() < 1.2
            assert abs(curve[0] - curve[-1]) <= np.abs(np.diff(curve)).max() + 1e-9


def standing_person() -> tuple[np.ndarray, np.ndarray]:
    """BlazePose points of somebody who stands with the arms out, and their alpha."""
    places = {
        0: (200, 80), 7: (215, 80), 8: (185, 80), 9: (206, 92), 10: (194, 92),
        11: (240, 130), 12: (160, 130), 13: (290, 160), 14: (110, 160), 15: (330, 200), 16: (70, 200),
        17: (336, 208), 18: (64, 208), 19: (340, 210), 20: (60, 210), 21: (334, 204), 22: (66, 204),
        23: (225, 280), 24: (175, 280), 25: (228, 380), 26: (172, 380), 27: (230, 480), 28: (170, 480),
        29: (230, 490), 30: (170, 490), 31: (236, 494), 32: (164, 494),
    }  # fmt: skip
    points = np.zeros((33, 4), np.float32)
    points[:, :2] = (200, 84)
    points[:, 3] = 1
    for index, place in places.items():
        points[index, :2] = place
    alpha = np.zeros((560, 400), np.uint8)
    for a, b in ((11, 15), (12, 16), (11, 12), (23, 27), (24, 28), (11, 23), (12, 24), (0, 23)):
        cv2.line(alpha, places[a], places[b], 255, 36)
    return points, alpha


def test_feet_stay_and_limbs_keep_their_length() -> None:
    points, alpha = standing_person()
    body = rig.build(points, None, alpha)
    assert body.legs
    places = body.dance(choreograph(FRAMES, 3))
    way = np.abs(places - body.source)
    feet = body.source.imag > 470
    assert way[:, feet].max() < 1e-6
    assert way[:, body.source.imag < 100].max() > 8
    for start, end in ((13, 15), (14, 16), (25, 27), (26, 28)):
        a, b = (int(np.argmin(np.abs(body.source - complex(*points[i, :2])))) for i in (start, end))
        length = np.abs(places[:, a] - places[:, b]) / abs(body.source[a] - body.source[b])
        assert length.min() > 0.9
        assert length.max() < 1.1


def test_a_warp_without_motion_is_the_identity_and_a_turn_is_exact() -> None:
    source = np.array([10 + 10j, 60 + 12j, 30 + 70j, 80 + 80j])
    warp = Warp((0, 0, 97, 95))
    y, x = np.mgrid[:95, :97].astype(np.float32)
    inner = (slice(8, -8), slice(8, -8))
    field = warp.field(source, source)
    assert field.shape == (95, 97, 2)
    assert np.abs(field[inner] - np.dstack([x, y])[inner]).max() < 1e-3
    turned = source * np.exp(0.2j) + (3 - 2j)
    back = (x + 1j * y - (3 - 2j)) * np.exp(-0.2j)
    field = warp.field(turned, source)
    assert np.abs(field[inner] - np.dstack([back.real, back.imag])[inner]).max() < 1e-2
