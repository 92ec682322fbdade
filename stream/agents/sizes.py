"""How much each item has to do in its job's present stage: pixels, frames and steps, as intake and the request say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from stream.agents import jobs
from stream.agents.book import Job
from stream.agents.estate import Estate
from stream.events.lease import UNKNOWN_SIZE, Size
from stream.events.rows import JobBody, Stage

MAX_STEPS = 10_000
"""More are no number of steps that anybody means."""


def each(estate: Estate, job: Job) -> dict[int, Size]:
    """Item → its size, of those that are still to be made; nothing of a job without a body."""
    if job.body is None:
        return {}
    return {item.n: _of(estate, job, job.body, item.inputs) for item in jobs.open_items(estate, job)}


def _of(estate: Estate, job: Job, body: JobBody, inputs: Sequence[int]) -> Size:
    """Of these inputs together; frames of the longest. `UNKNOWN_SIZE` where intake found no pixels."""
    found = [a.body for n in inputs if (a := estate.book.asset(body.inputs[n])) is not None and a.body is not None]
    megapixels = sum(one.width * one.height for one in found) / 1e6
    return Size(
        megapixels=megapixels or UNKNOWN_SIZE.megapixels,
        frames=max((one.frames for one in found), default=1) or 1,
        steps=1 if job.head.stage is Stage.DETECT else steps(body.params),
    )


def steps(params: bytes) -> int:
    """The number of steps that canonical JSON parameters ask for; 1 without."""
    try:
        asked = msgspec.json.decode(params, type=dict[str, Any]).get("steps") if params else None
    except msgspec.MsgspecError:
        asked = None
    return asked if isinstance(asked, int) and 1 <= asked <= MAX_STEPS else 1
