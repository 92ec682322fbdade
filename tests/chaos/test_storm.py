"""A short storm over the whole system, in which whatever a supervisor brings back may be struck; see `make chaos`."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.chaos.storm import storm

pytestmark = pytest.mark.stack

SEED, SECONDS, FAULTS, CLIENTS, PARTITIONS, CALM_S = 2026, 60.0, 4, 6, 8, (8.0, 12.0)


async def test_nothing_is_lost_repeated_or_late(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # the supervisor says each time what died
    run_dir = Path(tempfile.mkdtemp(dir=runs))
    verdict, struck, _ = await storm(
        run_dir,
        seed=SEED,
        seconds=SECONDS,
        most=FAULTS,
        clients=CLIENTS,
        partitions=PARTITIONS,
        calm_s=CALM_S,
        say=lambda _: None,
    )
    assert struck >= 2
    assert verdict.jobs > CLIENTS
    assert (verdict.lost, verdict.repeated, verdict.late) == ([], [], [])
    shutil.rmtree(run_dir)
