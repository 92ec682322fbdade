from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from ray_cluster.engines import registry, samples_path, weights
from ray_cluster.engines.decode import decode
from ray_cluster.engines.errors import (
    BadParams,
    Cancelled,
    EngineFault,
    Undecodable,
    UnknownOperation,
    WeightsUnavailable,
)
from ray_cluster.engines.ink import cel
from ray_cluster.engines.interface import Engine
from ray_cluster.engines.upscaler import STILL, Upscaler
from stream.errors import BadRequest, LostLease, StoreUnavailable


def small_portrait(side: int = 96) -> bytes:
    pixels = cv2.imread(str(samples_path("portrait.jpg")))
    return cv2.imencode(".png", cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA))[1].tobytes()


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = registry.build("stylization")
    made.load()
    return made


def test_a_photo_becomes_a_larger_drawing_of_the_same_scene(engine: Engine) -> None:
    photo, seen = small_portrait(), []
    result = engine.run(
        [photo], {}, seed=1, report=lambda stage, fraction: seen.append((stage, fraction)), cancelled=never
    )
    drawn = decode(result.media)
    assert (result.media_type, result.frames, drawn.shape) == ("image/jpeg", 1, (result.height, result.width, 3))
    assert result.width == result.height
    again = cv2.resize(drawn, (96, 96), interpolation=cv2.INTER_AREA)
    assert 5 < np.abs(again.astype(int) - decode(photo)).mean() < 45  # changed, yet the same picture
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert "media" not in repr(result)


def test_the_same_photo_gives_the_same_bytes(engine: Engine) -> None:
    photo = small_portrait(64)
    first, second = (
        engine.run([photo], {"format": "png"}, seed=seed, report=lambda *_: None, cancelled=never) for seed in (1, 1)
    )
    assert first.media == second.media
    assert first.media_type == "image/png"


def test_aspect_is_kept_and_slivers_are_drawn(engine: Engine) -> None:
    for height, width in ((1, 1), (30, 60), (2, 100)):
        photo = cv2.imencode(".png", np.full((height, width, 3), 128, np.uint8))[1].tobytes()
        result = engine.run([photo], {}, seed=0, report=lambda *_: None, cancelled=never)
        assert (result.width >= result.height) == (width >= height)
    assert max(result.width, result.height) <= 1024


def test_what_is_cut_off_at_the_waist_of_a_tile_is_not_missed() -> None:
    sketch = cv2.resize(decode(samples_path("portrait.jpg").read_bytes()), (40, 30), interpolation=cv2.INTER_AREA)
    kinds = msgspec.structs.replace(STILL, tile_px=24), msgspec.structs.replace(STILL, tile_px=24, waist="")
    cut, whole = (Upscaler(weights.directory(), kind).enlarge(sketch, lambda _: None) for kind in kinds)
    assert cut.shape == (120, 160, 3)
    assert np.abs(cut.astype(int) - whole).max() <= 1


def test_cancel_stops_at_the_next_tile(engine: Engine) -> None:
    tiles = 0

    def report(stage: str, fraction: float) -> None:
        nonlocal tiles
        tiles += stage == "draw"

    with pytest.raises(Cancelled) as caught:
        engine.run([small_portrait(112)], {}, seed=0, report=report, cancelled=lambda: tiles >= 1)
    assert tiles == 1
    assert isinstance(caught.value, LostLease)


def test_bad_params_and_inputs_are_named(engine: Engine) -> None:
    for params in ({"format": "gif"}, {"formt": "png"}):
        with pytest.raises(BadParams):
            engine.run([small_portrait(64)], params, seed=0, report=lambda *_: None, cancelled=never)
    with pytest.raises(Undecodable):
        engine.run([b"no picture"], {}, seed=0, report=lambda *_: None, cancelled=never)
    with pytest.raises(BadRequest):
        engine.run([], {}, seed=0, report=lambda *_: None, cancelled=never)


def test_a_cel_has_ink_on_edges_and_none_on_flats() -> None:
    scene = np.full((512, 512, 3), 200, np.uint8)
    cv2.circle(scene, (256, 256), 120, (90, 60, 50), -1, cv2.LINE_AA)
    drawn = cel(scene)
    assert drawn[250:260, 250:260].std((0, 1)).max() < 1
    assert drawn[40:80, 40:80].std((0, 1)).max() < 1
    assert drawn[256, 130:142].min() < 45  # darker than either side


def test_weights_missing_or_altered_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="make setup") as caught:
        registry.build("stylization", tmp_path).load()
    assert isinstance(caught.value, StoreUnavailable)
    name = "realesrgan-x4plus-anime.param"
    (tmp_path / name).write_bytes(weights.read(weights.directory(), name) + b" ")
    with pytest.raises(WeightsUnavailable, match="sha256"):
        registry.build("stylization", tmp_path).load()


def test_the_registry_names_pinned_weights_and_honest_costs() -> None:
    for operation, row in registry.OPERATIONS.items():
        assert row.operation == operation
        assert row.cost_s(12.0) >= row.cost_s(0.1) > 0
        for model in row.models:
            weights.read(weights.directory(), model)
        registry.build(operation)
    with pytest.raises(UnknownOperation):
        registry.build("teleport")


def test_noop_is_fast_slow_and_faulty_on_demand() -> None:
    engine = registry.build("noop")
    engine.load()
    seen: list[float] = []
    result = engine.run([b"abc"], {}, seed=0, report=lambda _, f: seen.append(f), cancelled=never)
    assert (bytes(result.media), seen) == (b"abc", [1.0])
    result = engine.run([], {"out_bytes": 5, "steps": 3}, seed=0, report=lambda _, f: seen.append(f), cancelled=never)
    assert bytes(result.media) == bytes(5)
    with pytest.raises(Cancelled):
        engine.run([b"abc"], {"steps": 9}, seed=0, report=lambda *_: None, cancelled=lambda: True)
    with pytest.raises(EngineFault):
        engine.run([b"abc"], {"fail": True}, seed=0, report=lambda *_: None, cancelled=never)
