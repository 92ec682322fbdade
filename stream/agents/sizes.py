"""How much a job's present stage has to do: pixels, frames and steps, as intake and the request say. Numbers only."""

from __future__ import annotations

from typing import Any

import msgspec

from stream.agents.book import Job
from stream.agents.estate import Estate
from stream.events.lease import UNKNOWN_SIZE, Size
from stream.events.rows import Stage

MAX_STEPS = 10_000
"""More are no number of steps that anybody means."""


def of(estate: Estate, job: Job) -> Size:
    """Of its inputs together; frames of the longest. `UNKNOWN_SIZE` where intake found no pixels."""
    if job.body is None:
        return UNKNOWN_SIZE
    found = [a.body for a in map(estate.book.asset, job.body.inputs) if a is not None and a.body is not None]
    megapixels = sum(body.width * body.height for body in found) / 1e6
    return Size(
        megapixels=megapixels or UNKNOWN_SIZE.megapixels,
        frames=max((body.frames for body in found), default=1) or 1,
        steps=1 if job.head.stage is Stage.DETECT else steps(job.body.params),
    )


def steps(params: bytes) -> int:
    """The number of steps that canonical JSON parameters ask for; 1 without."""
    try:
        asked = msgspec.json.decode(params, type=dict[str, Any]).get("steps") if params else None
    except msgspec.MsgspecError:
        asked = None
    return asked if isinstance(asked, int) and 1 <= asked <= MAX_STEPS else 1
