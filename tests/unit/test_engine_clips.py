from __future__ import annotations

import io
import itertools
from collections.abc import Iterator

import av
import cv2
import numpy as np
import pytest

from ray_cluster.engines import confine, registry, samples_path
from ray_cluster.engines.clip import Clip
from ray_cluster.engines.decode import decode
from ray_cluster.engines.errors import Cancelled, TooLong, TooManyPixels, Undecodable
from ray_cluster.engines.interface import Engine, Result
from ray_cluster.engines.looks.canvas import Canvas
from ray_cluster.engines.looks.pencil import pencil
from ray_cluster.engines.redraw import redraw
from ray_cluster.engines.steady import Steady
from tests.clips import clip, pan, read

PORTRAIT = decode(samples_path("portrait.jpg").read_bytes())
VIEWS = pan(PORTRAIT, 8, (160, 120))


def never() -> bool:
    return False


def inverted(media: bytes, **options: int) -> Result:
    return redraw(
        media,
        lambda frame, _: 255 - frame,
        longer_side_px=options.pop("longer_side_px", 640),
        report=lambda *_: None,
        cancelled=never,
        blend=False,
        **options,
    )


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = registry.build("stylization")
    made.load()
    return made


def test_a_clip_is_redrawn_frame_by_frame() -> None:
    seen: list[float] = []
    result = redraw(
        clip(VIEWS),
        lambda frame, _: 255 - frame,
        longer_side_px=640,
        report=lambda _, f: seen.append(f),
        cancelled=never,
        blend=False,
    )
    assert (result.media_type, result.frames, result.width, result.height) == ("video/mp4", 8, 160, 120)
    frames, sounds = read(result.media)
    assert len(frames) == 8
    assert sounds == []
    for frame, view in zip(frames, VIEWS, strict=True):
        assert np.abs(frame.astype(int) - (255 - view)).mean() < 6
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize(
    ("kind", "codec"), [("mp4", "aac"), ("matroska", "flac"), ("mov", "pcm_s16le"), ("mp4", "mp3")]
)
def test_sound_goes_along_in_step(kind: str, codec: str) -> None:
    media = inverted(clip(VIEWS * 6, kind=kind, sound=codec)).media
    with av.open(io.BytesIO(media)) as container:
        tone = container.streams.audio[0]
        assert tone.codec_context.name == "aac"
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(tone)])
    assert abs(len(wave) / 48_000 - 2) < 0.06
    peak = np.abs(np.fft.rfft(wave[:48_000]))[1:].argmax() + 1
    assert abs(peak - 440) < 3  # hertz


def test_damaged_sound_ends_and_the_pictures_go_on() -> None:
    source = bytearray(clip(VIEWS * 6, sound="pcm_s16le", kind="mov"))
    with av.open(io.BytesIO(bytes(source))) as container:
        places = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]
    del source[places[-1][0] :]
    try:
        frames, _ = read(inverted(bytes(source)).media)
    except Undecodable:
        return  # the index was behind the sound: a clip without one is none
    assert frames


@pytest.fixture
def child() -> Iterator[None]:
    confine.turn_on()
    yield
    confine.turn_off()


def test_clips_are_read_in_the_decoding_child(child: None) -> None:
    result = inverted(clip(VIEWS * 3, rate=60, sound="aac"), rate=30)
    frames, sounds = read(result.media)
    assert len(frames) == result.frames == 12
    assert sounds
    assert np.abs(frames[0].astype(int) - (255 - VIEWS[0])).mean() < 6
    with pytest.raises(Undecodable, match="without pictures"):
        inverted(clip(VIEWS, sound="aac", video=False))
    frozen = inverted(clip(VIEWS[:2], rate=1), rate=30)
    assert frozen.frames == len(read(frozen.media)[0]) == 2


def test_large_and_odd_clips_are_fitted() -> None:
    result = inverted(clip([np.full((101, 301, 3), 90, np.uint8)] * 2), longer_side_px=150)
    assert (result.width, result.height) == (150, 50)


def test_one_frame_is_a_clip() -> None:
    result = inverted(clip(VIEWS[:1]))
    assert result.frames == len(read(result.media)[0]) == 1


def test_a_faster_clip_is_thinned_and_keeps_its_length() -> None:
    result = inverted(clip(VIEWS * 3, rate=60), rate=30)
    assert result.frames == 12
    with av.open(io.BytesIO(result.media)) as container:
        assert container.streams.video[0].average_rate == 30


def test_damaged_frames_are_bridged_and_too_many_are_refused() -> None:
    noisy = pan(PORTRAIT, 24, (160, 120), noise=12)
    whole = bytearray(clip(noisy))
    with av.open(io.BytesIO(bytes(whole))) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    one = bytearray(whole)
    at, size = places[12]
    one[at + 4 : at + size] = bytes(size - 4)
    frames = read(inverted(bytes(one)).media)[0]
    assert len(frames) == 24
    for at, size in places[1:]:
        whole[at : at + size] = b"\xff" * size
    with pytest.raises(Undecodable):
        inverted(bytes(whole))


def test_what_is_no_clip_is_refused_by_name() -> None:
    with pytest.raises(Undecodable, match="without pictures"):
        inverted(clip(VIEWS, sound="aac", video=False))
    with pytest.raises(Undecodable):
        inverted(clip(VIEWS)[:200])
    with pytest.raises(TooManyPixels):
        Clip(clip(VIEWS), max_pixels=100)


def test_a_long_clip_is_refused_before_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_cluster.engines.clip.MAX_FRAMES", 7)
    with pytest.raises(TooLong, match="at most 7 frames, the clip has 8"):
        inverted(clip(VIEWS))


def test_cancel_stops_at_the_next_frame() -> None:
    drawn = 0

    def draw(frame: np.ndarray, _: object) -> np.ndarray:
        nonlocal drawn
        drawn += 1
        return frame

    with pytest.raises(Cancelled):
        redraw(clip(VIEWS), draw, longer_side_px=640, report=lambda *_: None, cancelled=lambda: drawn >= 2)
    assert drawn == 2


def test_the_engine_draws_clips_and_keeps_their_sound(engine: Engine) -> None:
    source = clip(VIEWS[:4], sound="aac")
    for look in ("pencil", "anime"):
        result = engine.run([source], {"look": look}, seed=1, report=lambda *_: None, cancelled=never)
        frames, sounds = read(result.media)
        assert len(frames) == result.frames == (4 if look == "pencil" else 2)  # anime is drawn on twos
        assert frames[0].shape == (result.height, result.width, 3)
        assert sounds


def flicker(drawings: list[np.ndarray], step: int) -> float:
    """Mean change between drawings of views that pan by `step` px, after the pan is undone."""
    pairs = itertools.pairwise(drawings)
    return float(np.mean([np.abs(b[:, :-step].astype(int) - a[:, step:]).mean() for a, b in pairs]))


def test_a_steadied_drawing_flickers_less_and_keeps_its_lines() -> None:
    views = pan(PORTRAIT, 6, (200, 160), step=3, noise=8)
    alone = [pencil(view, Canvas(1)) for view in views]
    canvas, steady, together = Canvas(1), Steady(), []
    for view in views:
        canvas.follow(steady.watch(view), 200, 160)
        together.append(steady.calm(pencil(view, canvas)))
    assert flicker(together, 3) < 0.5 * flicker(alone, 3)
    sharp = [cv2.Laplacian(one[-1], cv2.CV_64F).std() for one in (alone, together)]
    assert sharp[1] > 0.5 * sharp[0]


def test_a_cut_begins_anew() -> None:
    steady = Steady()
    dark, light = np.full((60, 80, 3), 20, np.uint8), np.full((60, 80, 3), 230, np.uint8)
    assert steady.watch(dark) is None
    steady.calm(dark.copy())
    assert steady.watch(light) is None
    assert np.array_equal(steady.calm(light.copy()), light)
