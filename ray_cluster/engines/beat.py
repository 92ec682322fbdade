"""When the beat falls in a piece of music: its tempo, and the first beat."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.choreography import BEATS_PER_BAR, FRAMES_PER_BEAT, FRAMES_PER_SECOND
from ray_cluster.engines.clip import CHANNELS, SOUND_RATE, sounds
from ray_cluster.engines.errors import Undecodable
from ray_cluster.engines.interface import Plaintext
from ray_cluster.engines.wipe import wipe

Curve = NDArray[np.float64]

LONGEST_S = 30.0
SLOWEST, FASTEST = 70.0, 170.0
"""Beats a minute; a faster or slower count of the same music is danced at half or twice the time."""
LIKELY = 120.0
"""Where one tempo is as good as its double, people tap the one nearer to this (van Noorden and Moelants, 1999)."""
QUIET = 1e-4
"""Mean square below which there is nothing to hear: 120 a minute will do."""
_WINDOW, _HOP = 1024, 256
_ANALYSED_RATE = 11_025


class Song(msgspec.Struct, frozen=True):
    """`frames` of a dance last `beats` beats, whole bars of it; the first beat is `late` beats after the start.

    `sound` is that much of the music as `clip.Sound` takes it; silence fills what is missing of a first bar.
    """

    frames: int
    beats: int
    late: float
    per_minute: float
    sound: NDArray[np.uint8]

    def __repr__(self) -> str:
        """Lengths only."""
        return f"Song({self.beats} beats)"


def is_wave(data: Plaintext) -> bool:
    """Whether `data` begins as a WAV does."""
    head = bytes(data[:12])
    return head[:4] == b"RIFF" and head[8:] == b"WAVE"


def listen(data: Plaintext) -> Song:
    """The beat of a WAV, at most its first 30 s.

    Raises:
        Undecodable: there is no sound in it that can be read.

    """
    samples = _read(data)
    per_minute, first_s = _beat(samples.mean(1) / 32768, SOUND_RATE)
    seconds = min(LONGEST_S, len(samples) / SOUND_RATE)
    bars = max(1, int(seconds * per_minute / 60 / BEATS_PER_BAR))
    beats = bars * BEATS_PER_BAR
    frames = max(FRAMES_PER_BEAT, round(beats * 60 / per_minute * FRAMES_PER_SECOND))
    length = frames * SOUND_RATE // FRAMES_PER_SECOND
    sound = np.zeros((length, CHANNELS), np.int16)
    sound[: min(length, len(samples))] = samples[:length]
    wipe(samples)
    return Song(frames, beats, first_s * per_minute / 60, per_minute, sound.view(np.uint8).reshape(1, -1))


def _read(data: Plaintext) -> NDArray[np.int16]:
    """N x CHANNELS at SOUND_RATE. A child reads it: a stranger's file may be made to harm."""
    taken = list(itertools.islice(sounds(data), int(LONGEST_S)))
    if not taken:
        raise Undecodable("expected a WAV with sound in it, got none that can be read; send another")
    whole = np.concatenate(taken, axis=1)
    wipe(*taken)
    return np.asarray(whole.reshape(-1).view(np.int16).reshape(-1, CHANNELS), np.int16)


def _beat(mono: Curve, rate: int) -> tuple[float, float]:
    """Beats a minute and the first beat in seconds."""
    flux, per_second = _flux(mono, rate)
    if len(flux) < 4 * per_second * 60 / FASTEST or float(np.square(mono).mean()) < QUIET:
        return LIKELY, 0.0
    even = flux - flux.mean()
    size = 1 << (2 * len(even) - 1).bit_length()
    spectrum = np.fft.rfft(even, size)
    alike = np.fft.irfft(spectrum * np.conj(spectrum), size)[: len(even)]
    tempi = np.arange(SLOWEST, FASTEST, 0.25)
    lags = 60 / tempi * per_second
    # A beat is alike after one, two and four of it, so the count of a bar helps to tell the tempo.
    score = sum(np.interp(lags * times, np.arange(len(alike)), alike, right=0.0) / times for times in (1, 2, 4))
    score = score * np.exp(-0.5 * np.square(np.log2(tempi / LIKELY) / 0.9))
    per_minute = float(tempi[int(np.argmax(score))])
    return _placed(flux, per_second, per_minute)


def _placed(flux: Curve, per_second: float, per_minute: float) -> tuple[float, float]:
    """The tempo made finer, and where its beats fall: a comb of pulses laid over the onsets."""
    best, at = -np.inf, (per_minute, 0.0)
    for tempo in per_minute + np.arange(-1.0, 1.01, 0.05):
        period = 60 / tempo * per_second
        count = int((len(flux) - 1) / period)
        if count < 2:  # noqa: PLR2004 - no comb
            continue
        offsets = np.arange(0, period, 1.0)
        places = offsets[:, None] + np.arange(count)[None, :] * period
        sums = np.interp(places, np.arange(len(flux)), flux).mean(1)
        if sums.max() > best:
            best, at = float(sums.max()), (float(tempo), float(offsets[int(sums.argmax())]) / per_second)
    return at


def _flux(mono: Curve, rate: int) -> tuple[Curve, float]:
    """How much louder the spectrum grows at each step, and steps a second."""
    step = max(1, round(rate / _ANALYSED_RATE))
    low = mono[: len(mono) // step * step].reshape(-1, step).mean(1)
    if len(low) < _WINDOW:
        return np.zeros(0), rate / step / _HOP
    windows = np.lib.stride_tricks.sliding_window_view(low, _WINDOW)[::_HOP] * np.hanning(_WINDOW)
    loud = np.log1p(100 * np.abs(np.fft.rfft(windows, axis=1)))
    rise = np.maximum(np.diff(loud, axis=0), 0).sum(1)
    # An onset shows as soon as the end of a window reaches it.
    return np.concatenate([np.zeros(_WINDOW // _HOP), rise]), rate / step / _HOP
