"""What an operator asks the owner of a partition about its jobs and parked events, and hears: nothing of any content.

`signatures`: where they name themselves, their registered name → Ed25519 over `operators.signed_part`.
"""

from __future__ import annotations

import msgspec

from stream.events.rows import JobState, Lane


class ListJobs(msgspec.Struct, frozen=True, omit_defaults=True):
    """Jobs of this partition that match all that is said, oldest first. → JobLines."""

    app: str = ""
    states: tuple[JobState, ...] = ()  # none: all
    lane: Lane | None = None
    tenant: str = ""
    older_than_s: float = 0.0  # since it was submitted
    limit: int = 200


class ShowJob(msgspec.Struct, frozen=True):
    """→ JobDetail."""

    job: str


class RetryJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """Begin a failed or cancelled job anew, or one that waits for its next try at once. → JobLine."""

    job: str
    signatures: dict[str, bytes] = {}


class CancelJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """End it, and have a running engine stop; what its user chose to keep stays. → JobLine, after `wait_s` at most."""

    job: str
    signatures: dict[str, bytes] = {}
    wait_s: float = 0.0


class JobLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job without its content. Times are epoch seconds on the promise clock."""

    id: str
    app: str
    state: JobState
    stage: str
    lane: Lane
    created_at: float
    age_s: float
    due: float  # its row ends here
    tenant: str = ""  # empty, as `attempts` is 0, once it is content-free
    attempts: int = 0  # that failed
    fence: int = 0
    actor: str = ""
    reason: str = ""
    not_before: float = 0.0
    ended_at: float = 0.0
    queue_position: int | None = None
    eta_s: float | None = None


class JobLines(msgspec.Struct, frozen=True):
    """`matched` may be more than were asked for."""

    jobs: tuple[JobLine, ...]
    matched: int


class HeldLine(msgspec.Struct, frozen=True):
    """An asset that a job holds: its deadlines, and nothing else of it."""

    id: str
    role: str
    n: int
    state: str
    data_class: str
    clause: str
    due: float
    ceiling: float


class JobDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job, and what it holds. `no_retry`: why it cannot be retried, a stable kind and a sentence; empty if it can.

    `refused`: items of a batch that gave nothing, by their input's number, and the kind of why.
    """

    job: JobLine
    assets: tuple[HeldLine, ...]
    no_retry: tuple[str, str] = ("", "")
    refused: dict[int, str] = {}


class ListParked(msgspec.Struct, frozen=True):
    """→ ParkedLines."""


class ShowParked(msgspec.Struct, frozen=True):
    """`name`: topic/offset, where it was first read. → ParkedDetail."""

    name: str


class ReplayParked(msgspec.Struct, frozen=True, omit_defaults=True):
    """Put it back on its topic, once. → ParkedLine."""

    name: str
    signatures: dict[str, bytes] = {}


class DropParked(msgspec.Struct, frozen=True, omit_defaults=True):
    """Forget it. → ParkedLine."""

    name: str
    signatures: dict[str, bytes] = {}


class ParkedLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A parked event. Times as in JobLine; `again`: it had been replayed before this was asked."""

    partition: int
    name: str
    topic: str
    reason: str
    at: float
    age_s: float
    due: float  # it expires
    handled: str = ""
    handled_at: float = 0.0
    again: bool = False


class ParkedLines(msgspec.Struct, frozen=True):
    """Oldest first."""

    parked: tuple[ParkedLine, ...]


class ParkedDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """What may be read of it. `header`: JSON of the event's clear part; empty for what is no event of ours.

    `digest`: hex, over all of it; empty, as `size_bytes` is 0, once its original is gone.
    """

    parked: ParkedLine
    size_bytes: int = 0
    digest: str = ""
    event: str = ""
    header: str = ""
    sealed_bytes: int = 0


class Original(msgspec.Struct, frozen=True):
    """A parked event as it came."""

    key: bytes
    value: bytes

    def __repr__(self) -> str:
        return f"<Original of {len(self.value)} bytes>"


VERBS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    "list_jobs": (ListJobs, JobLines),
    "show_job": (ShowJob, JobDetail),
    "retry_job": (RetryJob, JobLine),
    "cancel_job": (CancelJob, JobLine),
    "list_parked": (ListParked, ParkedLines),
    "show_parked": (ShowParked, ParkedDetail),
    "replay_parked": (ReplayParked, ParkedLine),
    "drop_parked": (DropParked, ParkedLine),
}
