"""What happens to each job, for those who wait to see it: a sequence number, and the engine's last word."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass

from stream.events.lease import Progress


@dataclass(slots=True)
class _Seen:
    seq: int = 0
    progress: Progress | None = None


class Watch:
    """In memory only: after a takeover a watcher sees the row, and the sequence starts from the epoch's base."""

    def __init__(self, base: int = 0) -> None:
        self._base = base
        self._seen: dict[str, _Seen] = {}
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def seq(self, job_id: str) -> int:
        """Grows with each change of the job."""
        seen = self._seen.get(job_id)
        return self._base + (seen.seq if seen else 0)

    def progress(self, job_id: str, fence: int) -> Progress | None:
        """The engine's last word on this attempt."""
        seen = self._seen.get(job_id)
        return seen.progress if seen and seen.progress and seen.progress.fence == fence else None

    def bump(self, job_id: str, progress: Progress | None = None) -> None:
        """The job changed: wake who waits."""
        seen = self._seen.setdefault(job_id, _Seen())
        seen.seq += 1
        if progress is not None:
            seen.progress = progress
        for event in self._waiting.get(job_id, ()):
            event.set()

    def forget(self, job_id: str) -> None:
        """The job is gone, or has ended for good."""
        self._seen.pop(job_id, None)

    async def wait(self, job_id: str, after: int, wait_s: float) -> None:
        """Until the job's sequence passes `after`, or `wait_s` is over."""
        if self.seq(job_id) > after:
            return
        event = asyncio.Event()
        self._waiting[job_id].add(event)
        try:
            async with asyncio.timeout(wait_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]
