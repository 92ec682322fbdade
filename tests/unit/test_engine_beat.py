from __future__ import annotations

import io
import wave
from typing import get_args

import av
import cv2
import numpy as np
import pytest

from ray_cluster.engines import choreography, features, registry
from ray_cluster.engines.beat import is_wave, listen
from ray_cluster.engines.choreography import Stance, choreograph
from ray_cluster.engines.clip import CHANNELS, SOUND_RATE
from ray_cluster.engines.errors import BadParams, Undecodable
from ray_cluster.engines.interface import Engine
from tests.unit.photos import PORTRAIT, png, portrait, run


def recorded(samples: np.ndarray, rate: int = 22_050, width: int = 2) -> bytes:
    """A WAV of `samples`, N x channels, -1..1."""
    scaled = np.clip(samples, -1, 1) * ((1 << (8 * width - 1)) - 1)
    whole = scaled.astype(np.int64) + (128 if width == 1 else 0)
    octets = np.stack([(whole >> (8 * at)) & 0xFF for at in range(width)], -1).astype(np.uint8)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(samples.shape[1])
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(octets.tobytes())
    return file.getvalue()


def drums(per_minute: float, first_s: float, seconds: float = 12.0, rate: int = 22_050) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    sound = 0.05 * np.sin(2 * np.pi * 330 * time) + 0.01 * np.random.default_rng(0).standard_normal(len(time))
    for beat in range(int((seconds - first_s) * per_minute / 60)):
        at = int((first_s + beat * 60 / per_minute) * rate)
        hit = np.arange(min(3000, len(time) - at))
        sound[at : at + len(hit)] += np.exp(-hit / 400) * np.sin(2 * np.pi * (80, 200)[beat % 2] * hit / rate)
    return sound[:, None]


@pytest.mark.parametrize(("per_minute", "first_s"), [(75, 0.1), (100, 0.33), (128, 0.2), (165, 0.05)])
def test_tempo_and_first_beat_are_heard(per_minute: float, first_s: float) -> None:
    song = listen(recorded(drums(per_minute, first_s)))
    assert song.per_minute == pytest.approx(per_minute, abs=0.5)
    period = 60 / per_minute
    off = (song.late * period - first_s + period / 2) % period - period / 2
    assert abs(off) < 0.03
    assert song.beats % 4 == 0
    assert song.frames == round(song.beats * 60 / song.per_minute * 24)
    assert "sound" not in repr(song)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_and_stereo_are_read(width: int) -> None:
    both = np.repeat(drums(120, 0.1, 8.0), 2, axis=1)
    assert listen(recorded(both, width=width)).per_minute == pytest.approx(120, abs=0.5)


def test_silence_and_scraps_have_a_tempo_too() -> None:
    for samples in (np.zeros((22_050 * 5, 1)), np.zeros((900, 1)), drums(120, 0.0, 0.4)):
        song = listen(recorded(samples))
        assert song.per_minute == 120
        assert song.beats >= 4


def test_long_music_is_cut_at_a_bar() -> None:
    song = listen(recorded(drums(100, 0.1, 40.0, 8_000), rate=8_000))
    assert song.frames <= 30 * 24
    assert song.sound.size == song.frames * SOUND_RATE // 24 * CHANNELS * 2


@pytest.mark.parametrize(
    "data", [b"RIFF\x00\x00\x00\x00WAVE", b"RIFF", recorded(np.zeros((0, 1))), recorded(np.zeros((100, 1)))[:30]]
)
def test_what_is_no_sound_is_named(data: bytes) -> None:
    with pytest.raises(Undecodable):
        listen(data)


@pytest.fixture(scope="module")
def dancer() -> Engine:
    return registry.build("ai_dance")


def small() -> bytes:
    return png(cv2.resize(portrait(), (128, 128), interpolation=cv2.INTER_AREA))


def test_a_dance_to_music_has_its_length_and_its_sound(dancer: Engine) -> None:
    music = recorded(drums(128, 0.2, 8.2))
    made = run(dancer, [small(), music], dance="groove")
    song = listen(music)
    with av.open(io.BytesIO(made.media)) as container:
        assert container.streams.video[0].frames == made.frames == song.frames
        sound = container.streams.audio[0]
        assert sound.codec_context.name == "aac"
        assert float(sound.duration * sound.time_base) == pytest.approx(song.frames / 24, abs=0.15)
    kept = run(registry.build("detect"), [small()]).media
    assert is_wave(music)
    assert not is_wave(kept)
    assert features.is_features(kept)
    assert run(dancer, [small(), kept, music], dance="groove").frames == song.frames
    with pytest.raises(Undecodable):
        run(dancer, [small(), music[:20]])


def test_the_lowest_point_is_on_the_beat() -> None:
    """At 100 a minute, the first beat 0.3 s after the start."""
    frames, beats = 230, 16
    stance = choreograph(frames, 0, "groove", beats, late=0.5)
    for beat in range(1, beats):
        at = round((beat + 0.5) * frames / beats) % frames
        assert stance.bend[at] > 0.9 * stance.bend.max()


def test_dances_differ_loop_and_are_bounded() -> None:
    made = {dance: choreograph(144, 5, dance) for dance in get_args(choreography.Dance)}
    assert len(made) >= 5
    for name, stance in made.items():
        for part in Stance.__struct_fields__:
            curve = getattr(stance, part)
            assert np.abs(curve).max() < 1.35, (name, part)
            assert abs(curve[0] - curve[-1]) <= 1.05 * np.abs(np.diff(curve)).max() + 1e-9, (name, part)
    names = list(made)
    for at, name in enumerate(names):
        for other in names[at + 1 :]:
            apart = [
                np.abs(getattr(made[name], part) - getattr(made[other], part)).mean()
                for part in ("sway", "lean", "left_arm")
            ]
            assert max(apart) > 0.1, (name, other)


def test_an_unknown_dance_is_named(dancer: Engine) -> None:
    with pytest.raises(BadParams):
        run(dancer, [PORTRAIT], dance="tango")
