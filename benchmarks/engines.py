"""What each operation costs: seconds a megapixel, seconds for a second of video, memory.

    python -m benchmarks.engines [--only NAME ...]

The last line is one JSON object: `{"operations": {name: {"s_per_megapixel", "s_per_video_s", "peak_mb"}},
"dance_frames_per_s", "super_resolution"}`. Every operation of the registry is there, looks as `stylization.pencil`; a
figure that an operation has no use for is null. Each is measured in a process of its own, warm, best of ROUNDS, with
encoding, on a photograph of one megapixel and a second of video at 480 x 360 (24 frames). `super_resolution` is
`quality_enhance` beside its network alone, on the same pixels. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from benchmarks import dance
from benchmarks.photos import Pixels, encoded, photo
from ray_cluster.engines import registry, samples_path, weights
from ray_cluster.engines.decode import decode
from ray_cluster.engines.rows.row import Row
from ray_cluster.engines.upscaler import FAITHFUL, Upscaler

ROUNDS = 2
SIDE_PX = 1000
CLIP_PX, RATE = (480, 360), 24
LEFT_OUT = frozenset({"noop"})


def main() -> None:
    """One child after another, so that each has its own peak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="operation, or operation.variant")
    parser.add_argument("--child", metavar="NAME", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.child)))
        return
    operations = {name: _in_child(name) for name in names() if not args.only or name in args.only}
    whole: dict[str, Any] = {"operations": operations}
    if not args.only:
        whole |= {"dance_frames_per_s": dance.measure()["frames_per_s"], "super_resolution": _super_resolution()}
    print(json.dumps(whole))


def names() -> dict[str, tuple[Row, dict[str, Any]]]:
    """Every operation, and every variant that makes something else, with its row and params."""
    found: dict[str, tuple[Row, dict[str, Any]]] = {}
    for operation, row in registry.OPERATIONS.items():
        if operation not in LEFT_OUT:
            variants = row.variants or {"": {}}
            found |= {f"{operation}.{name}".rstrip("."): (row, params) for name, params in variants.items()}
    return found


def measure(name: str) -> dict[str, float | None]:
    """In this process."""
    row, params = names()[name]
    engine = registry.build(row.operation)
    engine.load()

    def run(first: bytes) -> None:
        inputs = [first, *(_input(kind) for kind in row.takes[1:])]
        engine.run(inputs, params, seed=1, report=lambda *_: None, cancelled=lambda: False)

    still = _best(lambda: run(_input(row.takes[0])))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    moving = _best(lambda: run(clip())) if row.takes[0] == "media" else None
    return {
        "s_per_megapixel": round(still, 3),
        "s_per_video_s": None if moving is None else round(moving, 2),
        "peak_mb": round(peak_mb),
    }


def clip() -> bytes:
    """A second of video: the camera pans over a photograph."""
    import av  # noqa: PLC0415

    file, scene = io.BytesIO(), photo("astronaut")
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *CLIP_PX, "yuv420p"
        for index in range(RATE):
            view = np.ascontiguousarray(scene[index : index + CLIP_PX[1], index : index + CLIP_PX[0]])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _best(work: Callable[[], None]) -> float:
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return min(took)


def _input(kind: str) -> bytes:
    """One megapixel with a person; a face, or a cloth, of its own."""
    if kind == "face":
        return samples_path("hopper.jpg").read_bytes()
    shown = photo("chelsea") if kind == "garment" else decode(samples_path("portrait.jpg").read_bytes())
    return encoded(_square(shown), ".jpg")


def _square(pixels: Pixels) -> Pixels:
    side = min(pixels.shape[:2])
    return np.asarray(cv2.resize(pixels[:side, :side], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC), np.uint8)


def _in_child(name: str) -> dict[str, float | None]:
    command = [sys.executable, "-m", "benchmarks.engines", "--child", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"expected figures of {name}, got: {done.stderr.strip().splitlines()[-1:]}")
    figures: dict[str, float | None] = json.loads(done.stdout.splitlines()[-1])
    print(name, figures, file=sys.stderr)
    return figures


def _super_resolution() -> dict[str, float]:
    """Seconds a megapixel: the operation, and its network alone."""
    pixels = decode(_input("photo"))
    network = Upscaler(weights.directory(), FAITHFUL[1])
    bare = _best(lambda: _enlarge(network, pixels))
    whole = measure("quality_enhance")["s_per_megapixel"]
    assert whole is not None
    return {"operation_s": whole, "network_s": round(bare, 3)}


def _enlarge(network: Upscaler, pixels: Pixels) -> None:
    network.enlarge(pixels, lambda _: None)


if __name__ == "__main__":
    main()
