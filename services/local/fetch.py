"""`python -m services.local.fetch UV LOCK`: the parts that no Python package index installs. Called by `make setup`."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.local.home import jars_dir, weights_dir
from services.local.jars import fetch_jars
from services.local.weights import fetch_weights
from stream.errors import StoreUnavailable


def main(uv: str, lock: str) -> int:
    """Fetch both kinds at once; 0, or 1 after one sentence on standard error."""
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        weights = pool.submit(fetch_weights, weights_dir(), uv=uv, lock=Path(lock))
        jars = pool.submit(fetch_jars, jars_dir())
    try:
        new = weights.result(), jars.result()
    except (StoreUnavailable, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    seconds = time.monotonic() - began
    print(f"{new[0]} model files and {new[1]} jars fetched and verified in {seconds:.1f} s")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
