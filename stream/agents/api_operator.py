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
    """A job, and what it holds. `no_retry`: why it cannot be retried, a stable kind and a sentence; empty if it can."""

    job: JobLine
    assets: tuple[HeldLine, ...]
    no_retry: tuple[str, str] = ("", "")


VERBS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    "list_jobs": (ListJobs, JobLines),
    "show_job": (ShowJob, JobDetail),
    "retry_job": (RetryJob, JobLine),
    "cancel_job": (CancelJob, JobLine),
}
