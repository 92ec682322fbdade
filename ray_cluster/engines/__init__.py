"""Pure engines: encoded pixels in, encoded pixels out. No network, no disk but the weights, no clock, no log.

Read `interface.py` for what an engine is, `registry.py` for which there are, then one file per noun. A process runs
engines of one pool only: LiteRT and ncnn each bring a thread pool, and together in one process they slow each other
two to three times.
"""

from __future__ import annotations

from pathlib import Path


def samples_path(name: str) -> Path:
    """A bundled sample picture; samples/README.md states sources and terms."""
    return Path(__file__).with_name("samples") / name
