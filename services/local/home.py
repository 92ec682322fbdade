"""Where the local stack keeps what `make setup` fetched and what a run leaves behind."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """`$MAYFLY_HOME`, else `.mayfly` under the current directory; absolute."""
    return Path(os.environ.get("MAYFLY_HOME") or ".mayfly").resolve()


def run_dir() -> Path:
    """The running stack's own folder: logs, pids, endpoints, data."""
    return home() / "run"


def jars_dir() -> Path:
    """Kafka's jars."""
    return home() / "jars"


def weights_dir() -> Path:
    """Model files."""
    return home() / "weights"
