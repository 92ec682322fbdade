"""What NumPy keeps of freed arrays is blanked when an engine has run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ray_cluster.engines.scrub import scrubbed

CACHED = """
import sys
import numpy as np
from ray_cluster.engines.scrub import scrub
kept = np.full(528, 0x5A, np.uint8)
at = kept.ctypes.data
del kept
if sys.argv[1] == "scrub":
    scrub()
taken = [np.empty(528, np.uint8) for _ in range(7)]
(found,) = [each for each in taken if each.ctypes.data == at]  # NumPy hands out the buffer that was freed
print(int((found == 0x5A).sum()))
"""


@pytest.mark.parametrize(("how", "left"), [("scrub", 0), ("not", 528)])
def test_a_freed_array_lies_in_numpys_cache_until_it_is_scrubbed(how: str, left: int) -> None:
    run = subprocess.run([sys.executable, "-c", CACHED, how], capture_output=True, text=True, check=True)
    assert int(run.stdout) == left


def test_an_engine_that_raises_is_scrubbed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    scrubs: list[int] = []
    monkeypatch.setattr("ray_cluster.engines.scrub.scrub", lambda: scrubs.append(1))

    @scrubbed
    def run(value: int) -> int:
        return 1 // value

    assert run(1) == 1
    with pytest.raises(ZeroDivisionError):
        run(0)
    assert len(scrubs) == 2
