"""Settings of a system that does not run, where the command line looks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.settings import Settings, save

SECRET = "00" * 32

_EMPTY = ("kafka", "s3_url", "s3_access_key", "s3_secret_key", "bucket", "internal_token", "state_dir")


def settled(folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Settings:
    """All empty but what is said; in `folder`."""
    known = Settings(**(dict.fromkeys(_EMPTY, "") | {"secret": SECRET} | more))
    save(known, folder / "settings.json")
    monkeypatch.setenv("MAYFLY_SETTINGS", str(folder / "settings.json"))
    return known
