"""What a policy obliges us to besides deadlines: rights, accounts, sharing, disclosure, notices, duties and the like.

Each struct is one table of a policy file. A table that is absent means that the text gives no such thing, and then the
answer is the strict one: nothing is shared, disclosed, registered or transferred.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from stream.policies.durations import Span
from stream.policies.vocabulary import Clock, DataClass


class RightName(StrEnum):
    """What a user may ask for."""

    ACCESS = "access"
    CORRECT = "correct"
    DELETE = "delete"
    WITHDRAW = "withdraw"
    CANCEL_ACCOUNT = "cancel_account"
    COMPLAINT = "complaint"
    QUESTION = "question"
    OPT_OUT_OF_TRANSFER = "opt_out_of_transfer"


class Stops(StrEnum):
    """What no longer works once a right was used."""

    NOTHING = "nothing"
    FUNCTION = "function"  # only what needs the consent or the data in question
    USE = "use"  # all collection and use
    ACCOUNT = "account"


class Use(StrEnum):
    """Under which condition data may serve a purpose."""

    ALWAYS = "always"
    ANONYMOUS = "anonymous"  # only what identifies nobody any more (R12)
    CONSENT = "consent"  # explicit consent to this very purpose
    NEVER = "never"


class Purpose(StrEnum):
    """What data may be used for."""

    FUNCTION = "function"  # what the user asked for
    ACCOUNT_SECURITY = "account_security"
    SUPPORT = "support"
    IMPROVEMENT = "improvement"
    STATISTICS = "statistics"
    TRAINING = "training"
    PROMOTION = "promotion"
    OTHER = "other"


class Standing(StrEnum):
    """Whether an app has accounts."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"  # for the full range of functions


class Field(StrEnum):
    """What an account may hold."""

    EMAIL = "email"
    PHONE = "phone"
    NAME = "name"
    USERNAME = "username"
    DATE_OF_BIRTH = "date_of_birth"


class Channel(StrEnum):
    """How people are reached, and addresses verified."""

    EMAIL = "email"
    SMS = "sms"
    PHONE = "phone"
    PUSH = "push"
    POP_UP = "pop_up"
    SITE = "site"
    LOGIN_PAGE = "login_page"
    PERSONAL_CENTRE = "personal_centre"


class Transfer(StrEnum):
    """What becomes of personal data when the business changes hands."""

    NEVER = "never"
    BOUND = "bound"  # the new holder stays bound, or asks again
    OPT_OUT = "opt_out"  # announced; who opts out is not transferred


class Crossing(StrEnum):
    """What may take data out of its region."""

    LAW = "law"
    CONSENT = "consent"
    CROSS_BORDER_SERVICE = "cross_border_service"


class Document(StrEnum):
    """What an authority must show."""

    SUBPOENA = "subpoena"
    INVESTIGATION_LETTER = "investigation_letter"
    COURT_ORDER = "court_order"
    LEGAL_DOCUMENT = "legal_document"  # where the policy names no kind


class Occasion(StrEnum):
    """What people must be told about."""

    POLICY_CHANGE = "policy_change"
    PRACTICE_CHANGE = "practice_change"  # what is collected, why, or how long it is kept
    INCIDENT = "incident"
    TERMINATION = "termination"
    TRANSFER = "transfer"
    SAVED_FACE = "saved_face"  # a picture that was saved goes sooner, since it shows a face


class Audience(StrEnum):
    """Who is told."""

    USERS = "users"
    REGULATOR = "regulator"
    PUBLIC = "public"


class DutyName(StrEnum):
    """What the operator, or the system, does all the time."""

    ENCRYPT_AT_REST = "encrypt_at_rest"
    ENCRYPT_IN_TRANSIT = "encrypt_in_transit"
    RECORD_EVERY_ACCESS = "record_every_access"
    LEAST_ACCESS = "least_access"
    MULTI_FACTOR = "multi_factor"
    CLASSIFY_DATA = "classify_data"
    ISOLATE_PROCESSING = "isolate_processing"
    DEIDENTIFY = "deidentify"
    COLLECT_ONLY_NEEDED = "collect_only_needed"
    REGULAR_AUDIT = "regular_audit"
    STAFF_TRAINING = "staff_training"
    CONFIDENTIALITY = "confidentiality"
    SECURITY_TEAM = "security_team"
    INCIDENT_PLAN = "incident_plan"
    UNRECOVERABLE_DELETION = "unrecoverable_deletion"
    NO_FURTHER_COPY = "no_further_copy"
    NO_TRAINING = "no_training"
    NO_REUSE = "no_reuse"  # the client sends the picture again for each use
    SELECTED_FACE_ONLY = "selected_face_only"
    STOP_ON_TERMINATION = "stop_on_termination"
    LICENSED_MODELS = "licensed_models"


class Window(msgspec.Struct, frozen=True):
    """Within what an answer, an erasure or a notice must come. `working_days`: 0 where none are counted."""

    length: Span
    working_days: int = 0


class Right(msgspec.Struct, frozen=True):
    """One right. `within` None: whoever asks is served in the request itself, or by themselves at any time."""

    name: RightName
    clause: str
    within: Window | None = None
    counts_from: Clock = Clock.REQUEST_RECEIVED
    identity: bool = False  # verified before anything irreversible
    reversible: bool = False
    stops: Stops = Stops.NOTHING
    reading: str = ""


class Age(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Below which age somebody else must agree (years), or should."""

    guardian_below: int
    clause: str
    advice_below: int = 0
    unknown: bool = False  # whether a subject whose age band is not recorded may go on
    reading: str = ""


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a registration asks for. Nothing else may be sent: nothing is collected that the text does not name."""

    standing: Standing
    clause: str
    fields: tuple[Field, ...] = ()
    required: tuple[Field, ...] = ()
    verify: tuple[Channel, ...] = ()  # any one of these proves an address
    reading: str = ""


class Residency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where data lie. `never`: classes that no exception lets out."""

    region: str
    clause: str
    crossing: tuple[Crossing, ...] = ()
    never: tuple[DataClass, ...] = ()
    reading: str = ""


class Sharing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """To whom data may go: the recipients listed, with consent, and never these classes. Absent: to nobody."""

    use: Use
    clause: str
    recipients: tuple[str, ...] = ()
    never: tuple[DataClass, ...] = ()
    transfer: Transfer = Transfer.NEVER
    reading: str = ""


class Disclosure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What law can demand through a recorded case (R15), and what must be shown for it. Absent: nothing."""

    documents: tuple[Document, ...]
    of: tuple[DataClass, ...]
    clause: str
    tell_subject: bool = True  # as far as law allows
    reading: str = ""


class Notice(msgspec.Struct, frozen=True):
    """Who must be told of what, how, and how long before (or, of an incident, after)."""

    of: Occasion
    to: tuple[Audience, ...]
    via: tuple[Channel, ...]
    clause: str
    before: Window | None = None
    within: Window | None = None
    reading: str = ""


class PurposeRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether data of these classes may serve a purpose. No rule: never."""

    name: Purpose
    use: Use
    clause: str
    of: tuple[DataClass, ...] = ()  # empty: all
    reading: str = ""


class Duty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something done all the time. `artefact`: a document of ours, where people and not the system must do it."""

    name: DutyName
    clause: str
    artefact: str = ""
    every: str = ""  # how often, in words
    reading: str = ""


class Side(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of two passages that do not agree."""

    clause: str
    says: str


class Contradiction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two passages that do not agree, and how they are read. Rules that follow the reading name its `id`."""

    id: str
    a: Side
    b: Side
    reading: str


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person must decide. Rules use the value as `"@name"`; until somebody decides it is the strict one."""

    name: str
    question: str
    clause: str
    strict: str | int | bool | list[str]
    reading: str = ""
