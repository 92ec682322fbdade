"""Events between agents. Headers carry ids only; a body, where there is one, is sealed under the job's key."""

from __future__ import annotations

import msgspec

from stream.events.codec import Codec


class UploadReceived(msgspec.Struct, frozen=True, tag="upload.received"):
    """An input's ciphertext is in custody."""

    job: str
    asset: str
    at: float


class DetectRequested(msgspec.Struct, frozen=True, tag="detect.requested"):
    """All inputs are there: look for faces and poses."""

    job: str
    at: float


class DetectCompleted(msgspec.Struct, frozen=True, tag="detect.completed"):
    """An attempt of the detect stage ended; the body is an Outcome."""

    job: str
    fence: int
    at: float


class GenerateRequested(msgspec.Struct, frozen=True, tag="generate.requested"):
    """Make the result."""

    job: str
    at: float


class GenerateCompleted(msgspec.Struct, frozen=True, tag="generate.completed"):
    """An attempt of the generate stage ended; the body is an Outcome."""

    job: str
    fence: int
    at: float


class ExpireDue(msgspec.Struct, frozen=True, tag="expire.due"):
    """These assets' moment has come, by deadline or by request."""

    assets: tuple[str, ...]
    cause: str
    at: float


class ExpireCompleted(msgspec.Struct, frozen=True, tag="expire.completed"):
    """Objects and rows are gone, absence was verified."""

    receipt: int
    at: float


NO_ITEM = -1


class OutputFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an engine made, as it tells the owner. No media."""

    role: str
    size_bytes: int
    media_type: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0


class ItemOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one item of a batch: an output, or the kind and reason of its failure, as of an Outcome's."""

    n: int  # of the input that makes it an item
    output: OutputFacts | None = None
    kind: str = ""
    reason: str = ""
    facts: dict[str, float] = {}
    engine_s: float = 0.0


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an attempt ended. `status`: succeeded | failed | cancelled. `kind`: transient | resource | permanent."""

    status: str
    kind: str = ""
    reason: str = ""  # stable kind of the error
    outputs: tuple[OutputFacts, ...] = ()
    facts: dict[str, float] = {}  # faces, poses, ...: numbers only
    seconds: float = 0.0
    wiped: bool = False
    engine_s: float = 0.0  # of `seconds`, those in which the engine ran: what the attempt took from its actor
    items: tuple[ItemOutcome, ...] = ()  # of a batch, whose `outputs` are here
    suspect: int = NO_ITEM  # the item of a batch that its actor was at when it died


Event = (
    UploadReceived
    | DetectRequested
    | DetectCompleted
    | GenerateRequested
    | GenerateCompleted
    | ExpireDue
    | ExpireCompleted
)

bus: Codec[Event] = Codec(Event)
