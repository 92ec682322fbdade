"""When the body moves how: periodic curves over whole beats, so that the last frame leads into the first."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

FRAMES_PER_SECOND = 24
FRAMES_PER_BEAT = 12
"""120 beats per minute."""
BEATS_PER_BAR = 4
BARS = 3
FRAMES = FRAMES_PER_BEAT * BEATS_PER_BAR * BARS

Curve = NDArray[np.float64]


class Stance(msgspec.Struct, frozen=True):
    """One value per frame and degree of freedom, each about -1..1; `rig` knows how far a body goes at 1.

    Positive is to the picture's right, down, or clockwise as the viewer sees it; `bend` is 0..1, down only.
    """

    sway: Curve
    bend: Curve
    lean: Curve
    shoulders: Curve
    head_tilt: Curve
    head_slide: Curve
    head_nod: Curve
    head_turn: Curve
    left_arm: Curve
    left_forearm: Curve
    right_arm: Curve
    right_forearm: Curve


def choreograph(frames: int, seed: int) -> Stance:
    """A dance of `frames` frames (a multiple of one bar) in three figures; `seed` picks order, side and size."""
    rng = np.random.default_rng(seed)
    bars = frames // (FRAMES_PER_BEAT * BEATS_PER_BAR)
    order = rng.permutation(3)
    side = rng.choice((-1.0, 1.0))
    size = rng.uniform(0.92, 1.08, len(Stance.__struct_fields__))
    beat = np.arange(frames) / FRAMES_PER_BEAT
    figures = [_groove(beat), _shrug(beat), _wave(beat)]
    shares = [_share(beat, bars, int(order[i]) % bars) for i in range(3)]
    total = np.sum(shares, axis=0)
    mixed = {
        name: np.sum([share * getattr(figure, name) for share, figure in zip(shares, figures, strict=True)], axis=0)
        / total
        * (1.0 if name == "bend" else side)
        * size[i]
        for i, name in enumerate(Stance.__struct_fields__)
    }
    return Stance(**mixed)


def _share(beat: Curve, bars: int, bar: int) -> Curve:
    """How much a figure counts: 1 in its bar, crossing over within a beat, around the loop."""
    if bars == 1:
        return np.ones_like(beat)
    whole = bars * BEATS_PER_BAR
    away = np.abs((beat - (bar + 0.5) * BEATS_PER_BAR + whole / 2) % whole - whole / 2)
    ramp = np.clip((BEATS_PER_BAR / 2 + 0.5 - away) / 1.0, 0, 1)
    return ramp * ramp * (3 - 2 * ramp) + 1e-6


def _held(beat: Curve, period: float, late: float = 0.0) -> Curve:
    """A sine that lingers at its ends, as a dancer does on the beat."""
    return np.asarray(np.tanh(1.6 * np.sin(2 * np.pi * (beat - late) / period)) / np.tanh(1.6))


def _dip(beat: Curve, late: float = 0.0) -> Curve:
    """Down on every beat, 0..1."""
    return np.asarray((0.5 + 0.5 * np.cos(2 * np.pi * (beat - late))) ** 1.4)


def _groove(beat: Curve) -> Stance:
    """From side to side on every beat, the head a little later than the hips."""
    side = _held(beat, 2)
    return Stance(
        sway=side,
        bend=_dip(beat),
        lean=0.7 * side,
        shoulders=-0.6 * side,
        head_tilt=-0.8 * _held(beat, 2, 0.1),
        head_slide=0.6 * _held(beat, 2, 0.12),
        head_nod=0.6 * _dip(beat, 0.06),
        head_turn=0.7 * _held(beat, 2, 0.2),
        left_arm=0.5 * side,
        left_forearm=0.6 * _held(beat, 2, 0.15),
        right_arm=0.5 * side,
        right_forearm=0.6 * _held(beat, 2, 0.15),
    )


def _shrug(beat: Curve) -> Stance:
    """Shoulders in alternation, twice as fast as the hips; the head draws a circle over the bar."""
    fast, circle = _held(beat, 1), 2 * np.pi * beat / BEATS_PER_BAR
    return Stance(
        sway=0.35 * np.sin(circle),
        bend=0.8 * _dip(beat, 0.5),
        lean=0.4 * np.sin(circle),
        shoulders=fast,
        head_tilt=0.9 * np.sin(circle),
        head_slide=-0.8 * np.sin(circle),
        head_nod=0.7 * np.cos(circle),
        head_turn=-0.9 * np.cos(circle - 0.6),
        left_arm=0.5 * fast,
        left_forearm=-0.4 * fast,
        right_arm=0.5 * fast,
        right_forearm=-0.4 * fast,
    )


def _wave(beat: Curve) -> Stance:
    """A slow wide lean with the arms swinging out in turn."""
    slow = _held(beat, BEATS_PER_BAR)
    return Stance(
        sway=0.8 * slow,
        bend=_dip(beat),
        lean=1.0 * slow,
        shoulders=0.7 * _held(beat, 2, 0.25),
        head_tilt=1.0 * _held(beat, BEATS_PER_BAR, 0.2),
        head_slide=0.4 * _held(beat, 2),
        head_nod=0.9 * _dip(beat, 0.08),
        head_turn=0.8 * _held(beat, BEATS_PER_BAR, 0.3),
        left_arm=_held(beat, BEATS_PER_BAR, 0.2),
        left_forearm=_held(beat, 2, 0.3),
        right_arm=_held(beat, BEATS_PER_BAR, 0.2),
        right_forearm=_held(beat, 2, 0.3),
    )
