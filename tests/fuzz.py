"""Mutated files through the decoding child, without end: whatever comes is a picture or a named refusal, in bounds.

    python -m tests.fuzz --seconds N [--seed S]

Each round takes a good file of `tests/strange.py` (JPEG, PNG, WebP, MP4, MOV, Matroska, or a WAV), breaks it (bytes,
bits, runs, cuts, pieces of another, sizes), and asks for all that an engine would ask for. The last line is one JSON
object. What is found is named by its seed and round: `--seed S --round R` does it again alone. A child that dies is no
failure, that is what it is for; an error without a name is, and so are an answer out of bounds and an endless wait.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import cv2
import numpy as np

from ray_cluster.engines import beat, confine, errors
from ray_cluster.engines.clip import Clip, Sound
from ray_cluster.engines.decode import MAX_PIXELS, decode, is_clip
from stream.errors import BadRequest, MayflyError
from tests import strange

NAMED = frozenset(
    error.kind for error in vars(errors).values() if isinstance(error, type) and issubclass(error, BadRequest)
)
"""What a file may be refused for. `engine-fault` is not among them: it would be tried again."""
SLOWEST_S = 60.0
"""Twice what the child waits for a picture, for a busy machine."""


class WildError(AssertionError):
    """A file did something that it must not."""


def seeds() -> dict[str, bytes]:
    """Good files, small ones: a mutation of few bytes should hit something."""
    whole = {name: one.media for name, one in strange.table().items() if one.size and len(one.media) < 200_000}
    photo = strange.person()[:64, :64, ::-1]
    for suffix, option in ((".jpg", 80), (".png", 3), (".webp", 70), (".webp", 101)):
        whole[f"small{suffix} {option}"] = cv2.imencode(suffix, photo, _options(suffix, option))[1].tobytes()
    whole["WAV"] = wave()
    return whole


def _options(suffix: str, value: int) -> list[int]:
    names = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".png": cv2.IMWRITE_PNG_COMPRESSION, ".webp": cv2.IMWRITE_WEBP_QUALITY}
    return [names[suffix], value]


def wave() -> bytes:
    """Two seconds of a beat."""
    rate = 8000
    at = np.arange(2 * rate)
    samples = (8000 * np.sin(at / 9) * np.exp(-(at % 4000) / 500)).astype("<i2").tobytes()
    head = b"fmt " + (16).to_bytes(4, "little") + b"\1\0\1\0" + rate.to_bytes(4, "little")
    head += (2 * rate).to_bytes(4, "little") + b"\2\0\x10\0data" + len(samples).to_bytes(4, "little")
    return b"RIFF" + (4 + len(head) + len(samples)).to_bytes(4, "little") + b"WAVE" + head + samples


def broken(rng: np.random.Generator, good: list[bytes]) -> bytes:
    """One of `good`, mutated a few times. Heads are hit more often than what is behind them."""
    data = bytearray(good[rng.integers(len(good))])
    for _ in range(rng.integers(1, 6)):
        if len(data) < 2:
            break
        reach = len(data) if rng.random() < 0.5 else min(len(data), 512)
        at = int(rng.integers(reach))
        kind = rng.integers(7)
        if kind == 0:
            data[at] = rng.integers(256)
        elif kind == 1:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            size = int(rng.integers(1, 65))
            data[at : at + size] = rng.bytes(size)
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 1 + len(data) // 4))]
        elif kind == 4:
            other = good[rng.integers(len(good))]
            start = int(rng.integers(len(other)))
            data[at:at] = other[start : start + int(rng.integers(1, 2000))]
        elif kind == 5:
            data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\x80\0"])
        else:
            data[at:at] = data[at : at + int(rng.integers(1, 200))] * int(rng.integers(1, 20))
    return bytes(data)


def look(data: bytes) -> Counter[str]:
    """All that engines ask of a file, counted by how it ended.

    Raises:
        WildError: it ended in a way that it must not.

    """
    ends: Counter[str] = Counter()
    asks: list[Callable[[bytes], None]] = [_still]
    if is_clip(data):
        asks += [_clip, _sound]
    if beat.is_wave(data):
        asks = [_listen]
    for ask in asks:
        began = time.monotonic()
        try:
            ask(data)
            ends[f"{ask.__name__}: done"] += 1
        except MayflyError as error:
            if error.kind not in NAMED:
                raise WildError(f"{ask.__name__} ended with {error.kind}") from error
            ends[f"{ask.__name__}: {error.kind}"] += 1
        except Exception as error:
            raise WildError(f"{ask.__name__} ended with {type(error).__name__}") from error
        if time.monotonic() - began > SLOWEST_S:
            raise WildError(f"{ask.__name__} took {time.monotonic() - began:.0f} s")
    return ends


def _still(data: bytes) -> None:
    _fits(decode(data))


def _clip(data: bytes) -> None:
    with Clip(data) as clip:
        size, frames = (clip.shape.height, clip.shape.width, 3), 0
        for frame in clip.frames():
            frames += 1
            if frame.shape != size:
                raise WildError(f"a frame of {frame.shape} in a clip of {size}")
        if frames != clip.shape.frames:
            raise WildError(f"{frames} frames in a clip of {clip.shape.frames}")


def _sound(data: bytes) -> None:
    sound = Sound.of(data)
    if sound is not None:
        sound.close()


def _listen(data: bytes) -> None:
    beat.listen(data)


def _fits(pixels: np.ndarray) -> None:
    height, width, channels = pixels.shape
    if not (0 < height * width <= MAX_PIXELS and channels == 3 and pixels.dtype == np.uint8):
        raise WildError(f"a picture of {pixels.shape}, {pixels.dtype}")


def rounds(seed: int, more: Callable[[int], bool], only: int | None = None) -> Counter[str]:
    """Round after round, while `more(round)`. Raises WildError."""
    good, ends = [*seeds().values()], Counter[str]()
    number = 0 if only is None else only
    while more(number):
        data = broken(np.random.default_rng([seed, number]), good)
        try:
            ends += look(data)
        except WildError as found:
            found.add_note(f"--seed {seed} --round {number}")
            raise
        number += 1
    return ends


def main() -> None:
    """By hand, as long as one likes."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--round", type=int, default=None, help="this round alone")
    args = parser.parse_args()
    until = time.monotonic() + args.seconds
    done = 0

    def more(number: int) -> bool:
        nonlocal done
        done += 1
        return number == args.round if args.round is not None else time.monotonic() < until

    confine.turn_on()
    try:
        ends = rounds(args.seed, more, args.round)
        deaths = 0 if confine._cell is None else confine._cell.deaths
    except WildError as found:
        sys.exit(f"found: {found}, {', '.join(found.__notes__)}")
    finally:
        with suppress(MayflyError):
            confine.turn_off()
    sys.stdout.write(json.dumps({"rounds": done - 1, "deaths": deaths, "ends": dict(sorted(ends.items()))}) + "\n")


if __name__ == "__main__":
    main()
