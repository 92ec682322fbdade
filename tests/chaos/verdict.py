"""What a storm left, judged from the outside: by what clients were told and by what Kafka holds."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from stream.events.rows import AssetState, JobState
from tests.chaos.load import Load
from tests.chaos.outside import Outside
from tests.chaos.probes import Probes

JOB_END = "job_end"


class Verdict(NamedTuple):
    """Ids, so that a fault can be looked up in the run's folder."""

    jobs: int
    lost: list[str]  # accepted, and never ended; or told as succeeded without a result
    repeated: list[str]  # a second result, or a second success
    late: list[str]  # assets readable, by receipt or by probe, past their ceiling
    ended: Counter[str]  # by state, failures with their reason
    receipts: int  # erasures that were compared with their ceiling
    probes: int  # assets that were asked for at their ceiling

    @property
    def kept(self) -> bool:
        """Nothing lost, repeated or late."""
        return not (self.lost or self.repeated or self.late)


def judge(outside: Outside, load: Load, probes: Probes, *, until: float) -> Verdict:
    """`until`: ceilings up to then (epoch seconds) must have been kept."""
    lost = [job for job in load.accepted if not _finished(outside, load, job)]
    results: Counter[str] = Counter()
    late, receipts = list(probes.readable), 0
    for asset, heads in outside.assets.items():
        known = [head for head in heads if head is not None]
        if not known:
            continue
        last = known[-1]
        if last.role == "result":
            results[last.job] += any(head.state is AssetState.STORED for head in known)
        ceiling = min(head.ceiling for head in known)
        unreadable = outside.unreadable.get(last.leaf.hex())
        if last.cause == JOB_END and unreadable is not None:
            ends = [head.ended_at for head in outside.jobs[last.job] if head.state.ended]
            ceiling = min(ends, default=until)
        if ceiling <= until:
            receipts += 1
            if unreadable is None or unreadable > ceiling:
                late.append(asset)
    twice = [job for job, count in results.items() if count > 1]
    again = [job for job in load.accepted if _succeeded_twice(outside, job)]
    ended = Counter(
        view["state"] + (f": {view['reason']}" if view.get("reason") else "") for view in load.ended.values()
    )
    return Verdict(len(load.accepted), lost, twice + again, late, ended, receipts, probes.asked)


def _finished(outside: Outside, load: Load, job: str) -> bool:
    ended = job in load.ended and any(head.state.ended for head in outside.jobs[job])
    return ended and job not in load.without


def _succeeded_twice(outside: Outside, job: str) -> bool:
    states = [head.state for head in outside.jobs[job]]
    if JobState.SUCCEEDED not in states:
        return False
    return set(states[states.index(JobState.SUCCEEDED) :]) != {JobState.SUCCEEDED}
