"""A clip's bytes follow from its frames alone: not from the run, the load, or what lay in the memory before.

And what made it leaves nothing of them behind.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest

from ray_cluster.engines import dead_stack, registry
from ray_cluster.engines.encode import VideoWriter
from tests.clips import read
from tests.strange import hidden
from tests.unit.photos import run


def test_the_same_frames_give_the_same_bytes_whatever_lay_in_the_memory() -> None:
    """Of a picture that lives: its slight motion is what makes x264 use its macroblock tree to the full."""
    living = registry.build("image_to_video")
    living.load()
    frames = read(run(living, [hidden(0)], seed=5, seconds=2).media)[0]
    height, width = frames[0].shape[:2]
    random = np.random.default_rng(3)
    made, kept = set(), []
    for _ in range(60):
        kept = [random.bytes(size) for size in random.integers(1_000, 400_000, 5)] + kept[:2]
        with VideoWriter(width, height, len(frames), 24) as video:
            for frame in frames:
                video.write(frame)
            made.add(bytes(video.close()))
    assert len(made) == 1


def test_the_encoder_s_thread_wipes_its_stack_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    wipe, wiped = dead_stack.wipe, []
    monkeypatch.setattr(dead_stack, "wipe", lambda: (wipe(), wiped.append(threading.current_thread().name)))
    with VideoWriter(64, 48, 1, 24) as video:
        video.write(np.zeros((48, 64, 3), np.uint8))
        assert video.close()
    assert wiped == ["encode"]
