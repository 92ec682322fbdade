"""Rows of the ledger: the header in clear, the body sealed (a job's under the job's key, a subject's under theirs)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from stream.events.codec import VERSION, Codec


class JobState(StrEnum):
    """Where a job is. `ENDING`: promised keys are dying; its end is not yet announced (R7)."""

    AWAITING = "awaiting"  # inputs
    QUEUED = "queued"
    LEASED = "leased"
    ENDING = "ending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        """No further work and no further announcement."""
        return self in _ENDED


_ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


class Stage(StrEnum):
    """Which work a queued or leased job waits for."""

    DETECT = "detect"
    GENERATE = "generate"


class Lane(StrEnum):
    """How urgent a job is: the lane in which it waits for an actor."""

    INTERACTIVE = "interactive"
    STANDARD = "standard"
    BATCH = "batch"


class AssetState(StrEnum):
    """Where an asset is. `HIDDEN`: no API returns it. `DEAD`: its key is gone, its ciphertext awaits the sweeper."""

    PENDING = "pending"  # row and key committed, bytes not yet there
    STORED = "stored"
    HIDDEN = "hidden"
    HELD = "held"  # due, and kept by a legal hold: no API returns it
    DEAD = "dead"


class JobHead(msgspec.Struct, frozen=True, tag="job", omit_defaults=True):
    """What outlives a job's key. Times are epoch seconds on the promise clock."""

    app: str
    state: JobState
    created_at: float
    due: float  # the row itself ends here
    page: bytes = b""  # of the job's key; empty once it is content-free
    stage: Stage = Stage.DETECT
    fence: int = 0
    actor: str = ""  # which engine actor holds the lease `fence`
    ending: JobState | None = None  # what ENDING turns into
    ended_at: float = 0.0
    reason: str = ""  # stable kind of a failure; never text from a user
    not_before: float = 0.0  # a failed attempt is tried again from then on
    lane: Lane = Lane.INTERACTIVE
    refused: dict[int, str] = {}  # item, by its input's number → stable kind of why it gave nothing; like `reason`


class JobBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job is about: sealed under the job's own key."""

    tenant: str
    subject: str  # id of the subject's row
    operation: str
    params: bytes  # canonical JSON
    choice: str
    inputs: tuple[str, ...]
    features: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    attempts: int = 0
    idempotency: bytes = b""  # digest of (tenant, subject, key)
    fingerprint: bytes = b""  # digest of the request's body: same key, other body is a conflict
    facts: dict[str, float] = {}
    consents: tuple[str, ...] | None = None  # purposes that it needed; None: begun before that was written down
    crashes: int = 0  # attempts that took their actor down
    profile: str = ""  # of the present stage's attempts: a smaller one than usual, after an out-of-memory
    roles: tuple[str, ...] = ()  # of the inputs; empty: those of the operation, in its order
    items: int = 1  # things to make, each of an input of its own: more than one is a batch


class AssetHead(msgspec.Struct, frozen=True, tag="asset", omit_defaults=True):
    """What a sweeper needs after the asset's key is dead."""

    app: str
    data_class: str
    state: AssetState
    job: str
    role: str  # input | feature | result | record
    n: int  # which of its role
    object: str  # random name in custody; empty for a record, whose bytes are in its row
    page: bytes
    created_at: float
    ceiling: float  # the promise: never readable at this moment
    due: float  # when we act
    clause: str
    leaf: bytes  # commitment H(salt ‖ id ‖ class ‖ due) that a receipt will cover
    on_return: bool = False  # gone once its first complete GET ended
    urls_until: float = 0.0  # real time: a holder that did not acknowledge its wipe may still write until then
    hidden_at: float = 0.0
    unreadable_at: float = 0.0
    cause: str = ""
    receipt: int = -1  # index of the receipt's leaf in the partition's log; of what is held, of that which counts it
    hold: bytes = b""  # commitment of the case that moved its key
    hold_until: float = 0.0
    disclosed: bool = False  # a case handed out its key and a copy: its receipt says so
    released: bool = False  # a hold that may have kept it beyond its promise was released


class AssetBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an asset is: sealed under a key derived from its own data key."""

    tenant: str
    subject: str
    salt: bytes
    choice: str = ""
    media_type: str = ""
    size_bytes: int = 0  # of the plaintext
    width: int = 0
    height: int = 0
    frames: int = 0
    has_face: bool | None = None  # None: not examined, presumed to hold one (R11)
    record: bytes = b""  # of a record: what it says (events/records.py)
    clocks: dict[str, float] = {}  # of a record: what it counts from
    consents: tuple[str, ...] | None = None  # purposes it was collected or made under; None: not written down


class SubjectHead(msgspec.Struct, frozen=True, tag="subject", omit_defaults=True):
    """A subject of one app and tenant."""

    app: str
    page: bytes
    created_at: float


class Consent(msgspec.Struct, frozen=True):
    """That one version of one text was agreed to, or that a consent was withdrawn: when, how, by whom, with what proof.

    What an earlier version of ours did not write down is empty, and so is the text of a withdrawal.
    """

    purpose: str
    version: str
    granted: bool
    at: float
    how: str = ""
    proof: str = ""  # the tenant's reference, or a digest: it names nobody
    guardian: bool = False  # a guardian said so, for the subject
    text: str = ""  # hex SHA-256 of the text agreed to
    policy: str = ""  # hash of the policy in force (R16)


class SubjectBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who a subject is, to their tenant: sealed under the subject's key."""

    tenant: str
    name: str
    consents: dict[str, Consent] = {}  # the latest of each purpose, from before there was a history: it came first
    history: tuple[Consent, ...] = ()  # every grant and withdrawal, in the order of their commits
    age: str = ""  # the band; empty: not known


class Parked(msgspec.Struct, frozen=True, tag="parked", omit_defaults=True):
    """An event that could not be handled, beside its original on the `parked` topic."""

    topic: str
    offset: int
    reason: str  # stable kind
    at: float
    due: float
    handled: str = ""  # `replayed`, by an operator, at `handled_at`
    handled_at: float = 0.0


class Offsets(msgspec.Struct, frozen=True, tag="offsets"):
    """The next offset of each input topic of this partition: what is below it was applied."""

    next: dict[str, int]


class Owner(msgspec.Struct, frozen=True, tag="owner"):
    """Who serves a partition: on the `owners` topic, written inside the ledger's transaction."""

    address: str
    epoch: int


class Promised(msgspec.Struct, frozen=True, tag="promised"):
    """Which policies this partition's things were last reckoned by: app → the policy's hash (R16)."""

    hashes: dict[str, str]


class Budget(msgspec.Struct, frozen=True, tag="budget", omit_defaults=True):
    """The privacy budget of anonymised statistics: one row, of partition 0. Hours and days are counted from the epoch.

    `owners`: partition → random marks of those whose counts of `day` were paid for.
    """

    next_hour: int  # every hour below is released, or never will be
    day: int = 0
    owners: dict[int, tuple[str, ...]] = {}


class Glance(msgspec.Struct, frozen=True):
    """What a takeover must know of every row before it serves, at a third of the cost of the whole header."""

    type: str
    state: str = ""
    due: float = 0.0
    page: bytes = b""
    hold: bytes = b""


Row = JobHead | AssetHead | SubjectHead | Parked | Offsets | Owner | Promised | Budget

rows: Codec[Row] = Codec(Row)

_glances: msgspec.msgpack.Decoder[tuple[Glance, msgspec.Raw]] = msgspec.msgpack.Decoder(tuple[Glance, msgspec.Raw])


def glance(value: bytes) -> Glance:
    """Of a row that `rows` wrote."""
    return _glances.decode(memoryview(value)[len(VERSION) :])[0]
