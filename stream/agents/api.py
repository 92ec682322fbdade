"""What a gateway asks the owner of a partition, and what it hears. msgpack over HTTP: `POST /v1/{partition}/{verb}`.

200 → the reply's struct. Anything else → `Problem`. 421: this worker does not own the partition (reread `owners`).
503: it does, but cannot serve now. The verbs are the snake_case names of the request structs.
"""

from __future__ import annotations

import msgspec

from stream.agents import api_accounts, api_cases, api_incidents, api_operator, api_rights
from stream.agents.cases import Case
from stream.events.rows import Lane
from stream.policies.consents import How


class Problem(msgspec.Struct, frozen=True):
    """Why not. `kind` is stable; `detail` is for the caller and holds nothing of anybody else's."""

    kind: str
    status: int
    detail: str
    retry_after_s: float = 0.0  # when there may be room; 0: not said


# -- requests ----------------------------------------------------------------------------------------------------


class PutConsent(msgspec.Struct, frozen=True):
    """Record or withdraw a consent. → ConsentView."""

    tenant: str
    app: str
    subject: str
    purpose: str
    version: str
    granted: bool
    how: How = How.TENANT_API
    proof: str = ""  # a reference of the tenant's, or a digest: it names nobody
    guardian: bool = False


class GetConsents(msgspec.Struct, frozen=True):
    """A subject's consent ledger. → ConsentsView."""

    tenant: str
    app: str
    subject: str


class PutAge(msgspec.Struct, frozen=True):
    """Record a subject's age band. → AgeView."""

    tenant: str
    app: str
    subject: str
    band: str


class GetTexts(msgspec.Struct, frozen=True):
    """The texts that an app asks consent to. → TextsView."""

    app: str


class InputSlot(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input of a job: to be uploaded (`asset` empty), or a saved asset. `role`: empty for what most inputs are."""

    asset: str = ""
    role: str = ""


class Submit(msgspec.Struct, frozen=True):
    """Ask for a job: the verdict comes before any byte. → JobView."""

    tenant: str
    app: str
    subject: str
    operation: str
    params: bytes  # canonical JSON object
    choice: str  # save | discard | ""
    inputs: tuple[InputSlot, ...]
    idempotency_key: str = ""
    fingerprint: bytes = b""
    lane: Lane = Lane.INTERACTIVE
    max_jobs: int = 0  # unfinished ones that the tenant may have; 0: no limit
    max_work_s: float = 0.0  # and predicted seconds of actors that they may take


class GetJob(msgspec.Struct, frozen=True):
    """→ JobView; with `wait_s`, as soon as its `seq` passes `after` or the wait is over (for SSE)."""

    tenant: str
    app: str
    job: str
    after: int = -1
    wait_s: float = 0.0


class GrantWrite(msgspec.Struct, frozen=True):
    """May this upload begin? → WriteTicket."""

    tenant: str
    app: str
    job: str
    n: int
    size_bytes: int  # of the plaintext, as declared by Content-Length
    public: bytes  # HPKE public key of this request


class EndWrite(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the upload ended; `reason` empty means that all of it is in custody. → JobView."""

    tenant: str
    app: str
    job: str
    grant: str
    reason: str = ""
    media_type: str = ""
    width: int = 0
    height: int = 0
    size_bytes: int = 0


class GetAsset(msgspec.Struct, frozen=True):
    """→ AssetView (for HEAD)."""

    tenant: str
    app: str
    asset: str


class GrantRead(msgspec.Struct, frozen=True):
    """May these bytes be returned? The audit leaf is committed before the key is released. → ReadTicket."""

    tenant: str
    app: str
    asset: str
    public: bytes
    revoke_url: str  # the owner POSTs {grant} here when it erases; the gateway wipes and answers 200 within 500 ms


class RenewRead(msgspec.Struct, frozen=True):
    """Bytes still flow. → Renewed."""

    partition: int
    grant: str


class EndRead(msgspec.Struct, frozen=True):
    """The gateway wiped the key. `complete`: the last byte of a whole GET was sent. → Done."""

    partition: int
    grant: str
    complete: bool


class DeleteAsset(msgspec.Struct, frozen=True):
    """→ Done, once it is hidden; erasure goes on."""

    tenant: str
    app: str
    asset: str


class DeleteJob(msgspec.Struct, frozen=True):
    """Cancel it if it runs, erase all that it holds. → Done."""

    tenant: str
    app: str
    job: str


class DeleteSubject(msgspec.Struct, frozen=True):
    """Erase everything of this subject in this app. → Done."""

    tenant: str
    app: str
    subject: str


class GetReceipt(msgspec.Struct, frozen=True):
    """→ ReceiptReply."""

    leaf: str  # hex of the asset's commitment


class GetCheckpoint(msgspec.Struct, frozen=True):
    """The head of the partition's log. → LogFile."""


class GetTile(msgspec.Struct, frozen=True):
    """A file of the partition's log. → LogFile."""

    path: str  # as in tlog-tiles: tile/…


class OpenHold(msgspec.Struct, frozen=True):
    """A case and its approvers' signatures, by name. → HoldView. For operators: no gateway asks it."""

    case: Case
    signatures: dict[str, bytes]


class ReleaseHold(msgspec.Struct, frozen=True):
    """The commitment of a case, and one approver's signature. → HoldView. For operators."""

    case: bytes
    signatures: dict[str, bytes]


class ListHolds(msgspec.Struct, frozen=True):
    """What is held in this partition. → HoldsView. For operators."""


# -- replies -----------------------------------------------------------------------------------------------------


class ConsentView(msgspec.Struct, frozen=True):
    """A consent as recorded."""

    purpose: str
    version: str
    granted: bool
    at: float
    how: str = ""
    proof: str = ""
    guardian: bool = False
    text: str = ""  # hex SHA-256 of the text agreed to
    policy: str = ""  # hash of the policy in force then


class AskView(msgspec.Struct, frozen=True):
    """A consent that does not stand. `why`: new, withdrawn, changed, guardian or own."""

    purpose: str
    version: str  # of the text in force
    why: str


class AgeView(msgspec.Struct, frozen=True):
    """What is known of a subject's age. `guardian`: needed (theirs counts, not the subject's), advised, or empty."""

    band: str
    guardian: str
    ask: tuple[AskView, ...] = ()  # what this band has asked for


class ConsentsView(msgspec.Struct, frozen=True):
    """What stands, what does not and why, and everything that was ever said, in order."""

    standing: tuple[ConsentView, ...]
    ask: tuple[AskView, ...]
    history: tuple[ConsentView, ...]
    age: str = ""
    guardian: str = ""


class TextView(msgspec.Struct, frozen=True):
    """One text, word for word. `needed_by`: operations that are refused without it."""

    purpose: str
    version: str
    text: str
    sha256: str
    clause: str
    needed_by: tuple[str, ...]


class TextsView(msgspec.Struct, frozen=True):
    """All texts of an app, and the age bands that it tells apart."""

    app: str
    policy: str  # hash
    texts: tuple[TextView, ...]
    ages: tuple[str, ...] = ()


class AssetView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a tenant may know of an asset; `salt` opens its receipt."""

    id: str
    role: str
    n: int
    state: str
    data_class: str
    clause: str
    promised: str  # the promise in words
    ceiling: float
    due: float
    leaf: str
    salt: str
    receipt: str = ""  # where the receipt is once it is erased
    media_type: str = ""
    size_bytes: int = 0
    on_return: bool = False


class ItemView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a job makes. `n`: of the input that it is made from; `result`: the asset, once there is one."""

    n: int
    state: str  # of a job's
    reason: str = ""  # stable kind, where it failed
    result: str = ""


class JobView(msgspec.Struct, frozen=True, omit_defaults=True):
    """Job status. `assets` is empty once the job is content-free; `items` are then those that failed."""

    id: str
    state: str
    stage: str
    seq: int
    created_at: float
    ended_at: float = 0.0  # when its end was announced
    progress: float = 0.0
    step: str = ""  # what the engine is doing
    eta_s: float | None = None
    queue_position: int | None = None
    reason: str = ""
    assets: tuple[AssetView, ...] = ()
    now: float = 0.0  # the promise clock, so that a client can tell how long is left
    replayed: bool = False  # this Idempotency-Key came before: nothing new was begun
    advice: str = ""  # "guardian": the text recommends that a guardian guides so young a user
    profile: str = ""  # smaller than usual, because memory ran out
    items: tuple[ItemView, ...] = ()


class WriteTicket(msgspec.Struct, frozen=True):
    """Where and under which key the upload is sealed."""

    grant: str
    asset: str
    put_url: str
    sealed_key: bytes
    max_bytes: int
    max_pixels: int
    max_duration_s: float
    accept: tuple[str, ...]  # media types


class ReadTicket(msgspec.Struct, frozen=True):
    """Where the ciphertext is, and its key, for one response."""

    grant: str
    get_url: str
    sealed_key: bytes
    media_type: str
    size_bytes: int
    until: float  # real time: the grant's end unless renewed


class Renewed(msgspec.Struct, frozen=True):
    """The grant lives until then (real time)."""

    until: float


class Done(msgspec.Struct, frozen=True):
    """It is so."""

    at: float


class ReceiptReply(msgspec.Struct, frozen=True):
    """The receipt file, as `mayfly receipt verify` reads it."""

    file: bytes


class LogFile(msgspec.Struct, frozen=True):
    """A file of the log's published layout."""

    file: bytes


class HoldView(msgspec.Struct, frozen=True):
    """A case over `held` assets. `passed_over`: that the policy does not let be held, or another case holds."""

    case: str  # hex of its commitment
    app: str
    until: float
    held: int
    passed_over: int = 0


class HoldsView(msgspec.Struct, frozen=True):
    """The cases that hold something in one partition."""

    holds: tuple[HoldView, ...]


VERBS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    **api_rights.VERBS,
    **api_accounts.verbs(Done, api_rights.RequestView),
    **api_cases.VERBS,
    **api_incidents.VERBS,
    **api_operator.VERBS,
    "put_consent": (PutConsent, ConsentView),
    "get_consents": (GetConsents, ConsentsView),
    "put_age": (PutAge, AgeView),
    "get_texts": (GetTexts, TextsView),
    "submit": (Submit, JobView),
    "get_job": (GetJob, JobView),
    "grant_write": (GrantWrite, WriteTicket),
    "end_write": (EndWrite, JobView),
    "get_asset": (GetAsset, AssetView),
    "grant_read": (GrantRead, ReadTicket),
    "renew_read": (RenewRead, Renewed),
    "end_read": (EndRead, Done),
    "delete_asset": (DeleteAsset, Done),
    "delete_job": (DeleteJob, Done),
    "delete_subject": (DeleteSubject, Done),
    "get_receipt": (GetReceipt, ReceiptReply),
    "get_checkpoint": (GetCheckpoint, LogFile),
    "get_tile": (GetTile, LogFile),
    "open_hold": (OpenHold, HoldView),
    "release_hold": (ReleaseHold, HoldView),
    "list_holds": (ListHolds, HoldsView),
}
