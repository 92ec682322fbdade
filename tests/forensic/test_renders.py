"""A small run of `tests.forensic.renders` on the shared stack: what RAM-only apps are sent lies in no file, ever."""

from __future__ import annotations

import pytest

from services.local.stack import LocalStack
from services.local.system import System
from tests.forensic.canaries import Flock, a_text
from tests.forensic.renders import drilled, met, on_disk, plan_of
from tests.forensic.scan import scan
from tests.twins import swaps

pytestmark = [pytest.mark.stack, pytest.mark.skipif(swaps(), reason="this machine swaps: RAM-only apps are refused")]

REQUESTS = 20


async def test_no_file_holds_a_picture_meanwhile_or_after(system: System, stack: LocalStack) -> None:
    flock = Flock()
    asks = plan_of(flock, REQUESTS)
    watched = await drilled(system, flock, asks)
    assert watched.passes > 0
    assert watched.statuses["200"] > REQUESTS
    assert watched.statuses["422"] >= 2  # cut short; a parameter that does not fit
    assert watched.statuses["left"] == 2
    assert not watched.met

    flock.add("control", planted := a_text().encode())
    leak = stack.run_dir / "leak.txt"
    leak.write_bytes(planted)
    found = met(scan(flock, on_disk(stack)), flock)
    leak.unlink()
    assert found == {"logs, records of the run": 1}
