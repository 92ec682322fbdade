"""What a worker counts. Labels are closed sets: verbs, topics, kinds of our own errors."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from stream.metrics.bounded import Bounded

TAKEOVERS = Counter("mayfly_takeovers_total", "Partitions opened by this worker")
TAKEOVER_S = Histogram("mayfly_takeover_seconds", "From assignment to serving", buckets=(0.1, 0.3, 1, 3, 5, 10, 15))
COMMIT_S = Histogram(
    "mayfly_commit_seconds",
    "A group's transaction, until what it erases is dead or waits for the root store",
    buckets=(0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 3, 10),
)
PARKED = Counter("mayfly_parked_total", "Events parked", ("topic", "kind"))
INPUTS_REFUSED = Counter(
    "mayfly_inputs_refused_total", "Jobs that ended because no engine can take what was sent", ("app", "reason")
)
SIGNING_UNREAD = Counter("mayfly_signing_key_unread_total", "Looks at the folder of the signing key that failed")
POLICIES_UNREAD = Counter(
    "mayfly_policies_unread_total", "Looks at the policies in force that found one not to compile"
)
RAY_GONE = Counter("mayfly_ray_gone_total", "Times that nothing of Ray answered for so long that it is joined anew")
SWEEP_FAILURES = Counter("mayfly_sweep_failures_total", "Rounds of the sweeper that the object store did not answer")
DROPPED_BUCKETS = Counter("mayfly_dropped_buckets_total", "Buckets whose keys died in one commit at their deadline")
DROP_S = Histogram(
    "mayfly_drop_seconds", "From a bucket's deadline being seen to its keys' death", buckets=(0.03, 0.1, 0.3, 1, 3, 10)
)
POST_FAILURES = Counter("mayfly_post_failures_total", "Codes that no mail server or webhook took", ("channel",))
RIGHTS = Counter("mayfly_rights_requests_total", "Requests by which rights are used", ("app", "right", "state"))
RIGHTS_ALARMS = Counter("mayfly_rights_alarms_total", "Requests that came near their due date", ("app", "right"))
RIGHTS_LEFT_S = Gauge(
    "mayfly_rights_left_seconds", "Until the nearest open request is due", ("partition", "app", "right")
)
RIGHTS_LATE = Gauge("mayfly_rights_late", "Open requests whose due date has passed", ("partition", "app", "right"))
DISCLOSURES = Counter("mayfly_disclosures_total", "Cases that handed something out", ("app", "document"))
NOTICE_LEFT_S = Gauge("mayfly_notice_left_seconds", "Until somebody must be told of an incident", ("app", "to"))
NOTICE_ALARMS = Counter("mayfly_notice_alarms_total", "Notices of incidents that came near their time", ("app", "to"))
ANSWERS = Counter("mayfly_owner_answers_total", "Owner API, by its answers", ("verb", "status"))
ANSWER_S = Histogram(
    "mayfly_owner_answer_seconds", "Owner API", ("verb",), buckets=(0.002, 0.005, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
)

UNDECIDED = Counter(
    "mayfly_undecided_total", "Transactions that Kafka left undecided, and a ledger decided", ("decided",)
)

_kind = Bounded()


def parked(topic: str, kind: str) -> None:
    """An event was parked. `kind`: of one of our errors, or the class of one that nobody foresaw."""
    PARKED.labels(topic, _kind(kind)).inc()


def undecided(*, commit: bool) -> None:
    """Kafka called a transaction ended, and its partitions did not know; a ledger decided it."""
    UNDECIDED.labels("committed" if commit else "aborted").inc()
