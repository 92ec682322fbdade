"""Frames per second of `ai_dance` at 512 x 768: warp plus encode, as an actor does it.

    python -m benchmarks.dance

The last line is one JSON object: `frames_per_s` (drawing and encoding together), `draw_frames_per_s` (drawing alone),
`prepare_s` (detection, cutting out and rigging, once per photo).
"""

from __future__ import annotations

import json
import time

import cv2
import numpy as np

from ray_cluster.engines import samples_path, weights
from ray_cluster.engines.ai_dance import draw, set_stage
from ray_cluster.engines.choreography import FRAMES, FRAMES_PER_SECOND
from ray_cluster.engines.decode import decode
from ray_cluster.engines.encode import VideoWriter
from ray_cluster.engines.finder import Finder

WIDTH_PX, HEIGHT_PX = 512, 768
ROUNDS = 3
_PORTRAIT = samples_path("portrait.jpg")


def main() -> None:
    """Print the figures."""
    print(json.dumps(measure()))


def measure() -> dict[str, float]:
    """Best of three, because the other core may be busy."""
    square = decode(_PORTRAIT.read_bytes())
    side = square.shape[0]
    wide = side * WIDTH_PX // HEIGHT_PX
    left = 50
    photo = cv2.resize(square[:, left : left + wide], (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    finder = Finder(weights.directory())
    finder(np.asarray(photo, np.uint8))
    start = time.perf_counter()
    stage = set_stage(np.asarray(photo, np.uint8), finder(np.asarray(photo, np.uint8)))
    prepare_s = time.perf_counter() - start
    both, alone = [], []
    for seed in range(ROUNDS):
        start = time.perf_counter()
        with VideoWriter(WIDTH_PX, HEIGHT_PX, FRAMES, FRAMES_PER_SECOND) as video:
            for frame in draw(stage, seed):
                video.write(frame)
            video.close()
        both.append(time.perf_counter() - start)
        start = time.perf_counter()
        for _ in draw(stage, seed):
            pass
        alone.append(time.perf_counter() - start)
    return {
        "frames_per_s": round(FRAMES / min(both), 1),
        "draw_frames_per_s": round(FRAMES / min(alone), 1),
        "prepare_s": round(prepare_s, 3),
    }


if __name__ == "__main__":
    main()
