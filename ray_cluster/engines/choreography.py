"""When the body moves how: periodic curves over whole beats, so that the last frame leads into the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

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
Dance = Literal["mix", "groove", "shrug", "wave", "bounce", "disco", "robot"]


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


def choreograph(frames: int, seed: int, dance: Dance = "mix", beats: int = 0, late: float = 0.5) -> Stance:
    """A dance that loops after `frames` frames, which last `beats` beats (whole bars; 0: at 120 a minute).

    `mix` goes through three figures, `seed` picks their order; another dance stays with one figure, `seed` its side and
    size. The first beat is `late` beats after the first frame: half a beat off it most dancers turn, and a loop closes
    best.
    """
    rng = np.random.default_rng(seed)
    beats = beats or frames // FRAMES_PER_BEAT
    bars = max(1, beats // BEATS_PER_BAR)
    order = rng.permutation(3)
    side = rng.choice((-1.0, 1.0))
    size = rng.uniform(0.92, 1.08, len(Stance.__struct_fields__))
    beat = np.arange(frames, dtype=np.float64) * (beats / frames) - late
    if dance == "mix":
        figures = [_groove(beat), _shrug(beat), _wave(beat)]
        shares = [_share(beat, bars, int(order[i]) % bars) for i in range(3)]
    else:
        figures, shares = [_FIGURES[dance](beat)], [np.ones_like(beat)]
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


def _bounce(beat: Curve) -> Stance:
    """Down twice a beat, deep on the beat, the arms pumping."""
    down = np.maximum(_dip(beat), 0.55 * _dip(beat, 0.5))
    side = _held(beat, BEATS_PER_BAR)
    return Stance(
        sway=0.25 * side,
        bend=1.1 * down,
        lean=0.2 * side,
        shoulders=0.25 * side,
        head_tilt=0.35 * _held(beat, BEATS_PER_BAR, 0.15),
        head_slide=0.2 * side,
        head_nod=1.1 * _dip(beat, 0.1),
        head_turn=0.5 * _held(beat, BEATS_PER_BAR, 0.25),
        left_arm=0.6 * _held(beat, 1, 0.1),
        left_forearm=1.0 * _held(beat, 1, 0.18),
        right_arm=-0.6 * _held(beat, 1, 0.1),
        right_forearm=-1.0 * _held(beat, 1, 0.18),
    )


def _disco(beat: Curve) -> Stance:
    """Hips to the side and back, one arm up, then the other."""
    side, turn = _held(beat, 2), _held(beat, BEATS_PER_BAR)
    up = 0.5 - 0.5 * np.cos(2 * np.pi * beat / BEATS_PER_BAR)
    return Stance(
        sway=1.1 * side,
        bend=0.6 * _dip(beat),
        lean=0.9 * turn,
        shoulders=-0.8 * turn,
        head_tilt=-0.6 * _held(beat, BEATS_PER_BAR, 0.15),
        head_slide=0.4 * side,
        head_nod=0.4 * _dip(beat, 0.05),
        head_turn=1.0 * _held(beat, BEATS_PER_BAR, 0.1),
        left_arm=-1.15 * up,
        left_forearm=-1.1 * up + 0.2 * side,
        right_arm=1.15 * (1 - up),
        right_forearm=1.1 * (1 - up) + 0.2 * side,
    )


def _robot(beat: Curve) -> Stance:
    """From one pose to the next at once, then still: each joint on a beat of its own."""

    def step(late: float, period: float = BEATS_PER_BAR) -> Curve:
        return np.asarray(np.tanh(5.5 * np.sin(2 * np.pi * (beat - late) / period)))

    return Stance(
        sway=0.3 * step(0.0),
        bend=0.35 * (0.5 + 0.5 * step(0.5, 2)),
        lean=0.7 * step(1.0),
        shoulders=0.8 * step(0.5),
        head_tilt=0.6 * step(1.5),
        head_slide=0.7 * step(0.25),
        head_nod=0.25 * step(0.75, 2),
        head_turn=1.0 * step(1.25),
        left_arm=0.9 * step(0.0),
        left_forearm=1.0 * step(0.5),
        right_arm=0.9 * step(2.0),
        right_forearm=1.0 * step(2.5),
    )


_FIGURES: dict[Dance, Callable[[Curve], Stance]] = {
    "groove": _groove,
    "shrug": _shrug,
    "wave": _wave,
    "bounce": _bounce,
    "disco": _disco,
    "robot": _robot,
}
