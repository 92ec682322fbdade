"""What workers, the scheduler and engine actors say to each other. Ids, URLs and sealed keys only: never plaintext."""

from __future__ import annotations

import msgspec

from stream.events.bus import NO_ITEM, Outcome

ACTOR_GONE = "actor-gone"
"""The reason of an attempt whose actor died under it: of all causes, the one that may be its input's fault."""

OUT_OF_MEMORY = "actor-out-of-memory"
"""Likewise, where the machine ran out of memory and this process was chosen to go."""

FORGOTTEN = "lease-forgotten"
"""The actor lives, and never heard of this lease."""


class Size(msgspec.Struct, frozen=True):
    """How much there is to do, as far as it is known before: what an operation's seconds depend on."""

    megapixels: float = 1.0  # of all inputs together, a frame
    frames: int = 1
    steps: int = 1

    @property
    def units(self) -> float:
        """Megapixels × frames × steps, at least a pixel."""
        return max(self.megapixels * max(self.frames, 1) * max(self.steps, 1), 1e-6)


UNKNOWN_SIZE = Size()

SHARED = -1
"""The item of a piece that all items of a batch use."""


class Work(msgspec.Struct, frozen=True):
    """A job that wants an actor. Soft state: the ledger is the truth, and a worker submits it again at need."""

    job: str
    worker: str  # who long-polls for the proposal
    pool: str  # which engine
    lane: str  # interactive | standard | batch
    tenant: str  # opaque
    cost_s: float  # predicted, in seconds of one actor
    deadline: float  # promise clock
    alone: bool = False  # its actor takes nothing else meanwhile: it has lost one already, and may be why


class Proposal(msgspec.Struct, frozen=True):
    """This actor will take that job, if the owner commits a lease for it. `public`: a key pair for this lease alone."""

    job: str
    actor: str  # its name in Ray
    public: bytes
    offer: int  # which of the actor's key pairs


class Piece(msgspec.Struct, frozen=True):
    """One ciphertext to fetch or to make: `sealed_key` is the data key, HPKE-sealed to the lease's public key."""

    role: str
    asset: str
    url: str
    sealed_key: bytes
    size_bytes: int = 0
    item: int = 0  # of a batch: whose it is


class Task(msgspec.Struct, frozen=True):
    """All that an actor is told. Parameters are sealed too: they may be personal."""

    job: str
    fence: int
    app: str
    operation: str
    offer: int
    inputs: tuple[Piece, ...]
    outputs: tuple[Piece, ...]
    sealed_params: bytes
    seed: int = 0
    profile: str = ""  # a smaller one than usual, after an out-of-memory
    in_memory: bool = False  # of an app that keeps nothing: who asked for it must go on asking


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an attempt is. `outcome` is set once, and kept until the owner acknowledges it."""

    job: str
    fence: int
    seq: int
    step: str = ""
    fraction: float = 0.0
    outcome: Outcome | None = None
    known: bool = True  # False: this actor never heard of that fence
    item: int = NO_ITEM  # of a batch: the one at work


class Claim(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one tenant has unfinished in one lane of one pool: jobs, and predicted seconds of one actor."""

    pool: str
    lane: str
    tenant: str  # opaque, as in Work
    waiting: int = 0  # for inputs, or for an actor
    waiting_s: float = 0.0
    leased: int = 0
    leased_s: float = 0.0

    def plus(self, other: Claim) -> Claim:
        """What both say of the same place."""
        return Claim(
            self.pool,
            self.lane,
            self.tenant,
            waiting=self.waiting + other.waiting,
            waiting_s=self.waiting_s + other.waiting_s,
            leased=self.leased + other.leased,
            leased_s=self.leased_s + other.leased_s,
        )


class Standing(msgspec.Struct, frozen=True):
    """What all workers have claimed, and what serves it. Soft state: workers tell the scheduler again and again."""

    claims: tuple[Claim, ...] = ()
    actors: dict[str, int] = {}  # pool → how many it may have
    weights: dict[str, float] = {}  # lane → its share of a pool's seconds while the others have work too
    quantum_s: float = 0.0  # what a tenant may spend in one turn


class Place(msgspec.Struct, frozen=True):
    """A queued job's position (0 is next) and the seconds until its start, as predicted."""

    position: int
    eta_s: float
