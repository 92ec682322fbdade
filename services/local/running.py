"""The system that runs here, as another process finds it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import msgspec

from services.local.home import run_dir
from services.local.system import SETTINGS_FILE, SYSTEM_FILE
from stream.errors import StoreUnavailable


class NotRunning(StoreUnavailable):
    """No system runs in this folder."""

    kind: ClassVar[str] = "not-running"


class Running(msgspec.Struct, frozen=True):
    """Where a running system answers. `workers`: name → port of its owner API."""

    url: str
    workers: dict[str, int]


def running() -> Running:
    """The system under `$MAYFLY_HOME`. Raises NotRunning."""
    try:
        return msgspec.json.decode((_folder() / SYSTEM_FILE).read_bytes(), type=Running)
    except FileNotFoundError:
        raise _not_running() from None


def settings_file() -> Path:
    """Settings of the system to talk to: what MAYFLY_SETTINGS names, else those of `running`. Raises NotRunning."""
    if named := os.environ.get("MAYFLY_SETTINGS"):
        return Path(named)
    if not (_folder() / SYSTEM_FILE).exists():
        raise _not_running()
    return _folder() / SETTINGS_FILE


def _folder() -> Path:
    return run_dir() / "system"


def _not_running() -> NotRunning:
    return NotRunning(f"expected a system that runs in {run_dir()}, found none: start one with `mayfly up`")
