"""The closed vocabularies of the five policies: a word that is not here does not compile."""

from __future__ import annotations

from enum import StrEnum


class OperationName(StrEnum):
    """What a user can ask for."""

    STYLIZATION = "stylization"
    IMAGE_TO_VIDEO = "image_to_video"
    AI_DANCE = "ai_dance"
    CLOTHING_CHANGE = "clothing_change"
    FACE_SWAP = "face_swap"
    PORTRAIT_EFFECT = "portrait_effect"
    CUTOUT = "cutout"
    LIVE_FILTER = "live_filter"
    LIVE_PROP = "live_prop"
    LIVE_MAKEUP = "live_makeup"
    BACKGROUND_REMOVAL = "background_removal"
    FACE_RETOUCH = "face_retouch"
    FACE_ENHANCE = "face_enhance"
    SEGMENT = "segment"
    ANALYSIS = "analysis"
    FASHION = "fashion"
    ANIME = "anime"
    QUALITY_ENHANCE = "quality_enhance"
    EXPRESSION = "expression"
    BODY = "body"
    NOOP = "noop"


TEST_ONLY_OPERATIONS = frozenset({OperationName.NOOP})
"""No published policy offers these; only files from the extra folder may."""


class DataClass(StrEnum):
    """What kind of thing is kept; every row of the ledger names one."""

    UPLOAD_IMAGE = "upload_image"
    UPLOAD_VIDEO = "upload_video"
    VOICE_AUDIO = "voice_audio"
    CONTENT_FILE = "content_file"
    FACE_IMAGE = "face_image"
    FACE_FEATURE = "face_feature"
    INTERMEDIATE = "intermediate"
    MASK_RESULT = "mask_result"
    RESULT_IMAGE = "result_image"
    RESULT_VIDEO = "result_video"
    EXIF = "exif"
    CONTENT_METADATA = "content_metadata"
    PUBLIC_CONTENT = "public_content"
    THIRD_PARTY_SUPPLIED = "third_party_supplied"

    PROCESSING_RECORD = "processing_record"
    UPLOAD_HISTORY = "upload_history"
    SEARCH_KEYWORD = "search_keyword"
    SEARCH_HISTORY = "search_history"
    BEHAVIOUR_HISTORY = "behaviour_history"
    USAGE_EVENT = "usage_event"
    USAGE_STATISTIC = "usage_statistic"
    USER_CHOICE = "user_choice"

    ACCOUNT_PROFILE = "account_profile"
    LOGIN_SECRET = "login_secret"  # noqa: S105 - a data class, not a secret
    VERIFICATION_CODE = "verification_code"
    USER_PREFERENCE = "user_preference"
    CART_ITEM = "cart_item"
    SUBSCRIPTION_STATUS = "subscription_status"
    PAYMENT_RECORD = "payment_record"
    DEVICE_BASIC = "device_basic"
    DEVICE_IDENTIFIER = "device_identifier"
    INSTALLED_APPS = "installed_apps"
    NETWORK_INFO = "network_info"
    LOCATION = "location"

    OPERATION_LOG = "operation_log"
    SERVICE_LOG = "service_log"
    NETWORK_SECURITY_LOG = "network_security_log"
    CRASH_PERFORMANCE_LOG = "crash_performance_log"
    ACCESS_RECORD = "access_record"
    INCIDENT_RECORD = "incident_record"
    DISCLOSURE_RECORD = "disclosure_record"
    CONSENT_RECORD = "consent_record"
    GUARDIAN_CONSENT = "guardian_consent"
    PERMISSION_STATE = "permission_state"
    DELETION_PROOF = "deletion_proof"

    COOKIE_NECESSARY = "cookie_necessary"
    COOKIE_PERFORMANCE = "cookie_performance"
    COOKIE_MARKETING = "cookie_marketing"
    COOKIE_FUNCTIONALITY = "cookie_functionality"
    TRACKING_IDENTIFIER = "tracking_identifier"

    SUPPORT_TICKET = "support_ticket"
    RIGHTS_REQUEST = "rights_request"
    COMPLAINT = "complaint"
    LEGAL_ARCHIVE = "legal_archive"
    LEGAL_HOLD = "legal_hold"


RESULTS = frozenset({DataClass.RESULT_IMAGE, DataClass.RESULT_VIDEO, DataClass.MASK_RESULT})
MEDIA = RESULTS | {
    DataClass.UPLOAD_IMAGE,
    DataClass.UPLOAD_VIDEO,
    DataClass.VOICE_AUDIO,
    DataClass.CONTENT_FILE,
    DataClass.FACE_IMAGE,
    DataClass.FACE_FEATURE,
    DataClass.INTERMEDIATE,
    DataClass.EXIF,
    DataClass.CONTENT_METADATA,
    DataClass.PUBLIC_CONTENT,
    DataClass.THIRD_PARTY_SUPPLIED,
}
MAY_HAVE_FLOOR = frozenset(
    {DataClass.NETWORK_SECURITY_LOG, DataClass.INCIDENT_RECORD, DataClass.LEGAL_ARCHIVE, DataClass.LEGAL_HOLD}
)
"""R2: "keep at least" exists only for security logs and named legal duties, never for media or faces."""


class Clock(StrEnum):
    """The events that promises count from."""

    UPLOAD_RECEIVED = "upload_received"
    COLLECTED = "collected"
    GENERATION_COMPLETED = "generation_completed"
    JOB_ENDED = "job_ended"
    PROCESSING_FAILED = "processing_failed"
    ANALYSIS_RETURNED = "analysis_returned"
    RESULT_RETURNED = "result_returned"
    USER_CHOICE_RECORDED = "user_choice_recorded"
    DELETION_REQUESTED = "deletion_requested"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    PERMISSION_REVOKED = "permission_revoked"
    ACCOUNT_CANCELLED = "account_cancelled"
    REQUEST_RECEIVED = "request_received"
    IDENTITY_VERIFIED = "identity_verified"
    COMPLAINT_VERIFIED = "complaint_verified"
    TICKET_CLOSED = "ticket_closed"
    LOG_EVENT_RECORDED = "log_event_recorded"
    ACCESS_MADE = "access_made"
    DISCLOSURE_MADE = "disclosure_made"
    PURPOSE_FULFILLED = "purpose_fulfilled"
    OBLIGATION_ENDED = "obligation_ended"
    LEGAL_HOLD_OPENED = "legal_hold_opened"
    LEGAL_HOLD_RELEASED = "legal_hold_released"
    INCIDENT_CONFIRMED = "incident_confirmed"
    TRANSFER_ANNOUNCED = "transfer_announced"
    TERMINATION_ANNOUNCED = "termination_announced"
    SERVICE_TERMINATED = "service_terminated"
    POLICY_PUBLISHED = "policy_published"
    POLICY_EFFECTIVE = "policy_effective"


_BIRTH: dict[DataClass, Clock] = {
    **dict.fromkeys(MEDIA - {DataClass.PUBLIC_CONTENT, DataClass.THIRD_PARTY_SUPPLIED}, Clock.UPLOAD_RECEIVED),
    DataClass.PROCESSING_RECORD: Clock.UPLOAD_RECEIVED,
    DataClass.USER_CHOICE: Clock.USER_CHOICE_RECORDED,
    DataClass.SUPPORT_TICKET: Clock.REQUEST_RECEIVED,
    DataClass.RIGHTS_REQUEST: Clock.REQUEST_RECEIVED,
    DataClass.COMPLAINT: Clock.REQUEST_RECEIVED,
    DataClass.OPERATION_LOG: Clock.LOG_EVENT_RECORDED,
    DataClass.NETWORK_SECURITY_LOG: Clock.LOG_EVENT_RECORDED,
    DataClass.INCIDENT_RECORD: Clock.LOG_EVENT_RECORDED,
    DataClass.ACCESS_RECORD: Clock.ACCESS_MADE,
    DataClass.DISCLOSURE_RECORD: Clock.DISCLOSURE_MADE,
    DataClass.LEGAL_HOLD: Clock.LEGAL_HOLD_OPENED,
}


def birth(data_class: str) -> Clock:
    """The clock that has started when such a thing is there (R3); of all others, each may never come.

    What is made of uploads counts from theirs.
    """
    return _BIRTH.get(DataClass(data_class), Clock.COLLECTED)


class Choice(StrEnum):
    """What the user chose for what goes in and comes out; it travels with the request (G12)."""

    SAVE = "save"
    DISCARD = "discard"
    NONE = "none"

    @classmethod
    def of(cls, text: str) -> Choice:
        """The choice on the wire, where none is the empty string. Raises ValueError for other words."""
        return cls(text or cls.NONE)


class Bound(StrEnum):
    """Ceilings that are not a number of seconds."""

    IMMEDIATELY = "immediately"  # R7: in the step that ends the job, before its end is announced
    ON_RETURN = "on_return"  # with the last byte of the first complete GET, or a setting after the job's end
    USER_CHOICE = "user_choice"  # until the user acts: the clocks named
    WITH_ACCOUNT = "with_account"  # until the account goes: the clocks named
    PURPOSE = "purpose"  # until what it is for is over: the clocks named
    RAM_ONLY = "ram_only"  # never stored at all
    ON_DEVICE = "on_device"  # on the user's device; it never reaches us
    NOT_COLLECTED = "not_collected"  # refused wherever it is sent
    NO_LIMIT = "no_limit"  # only what identifies nobody; never for media


NEVER_STORED = frozenset({Bound.RAM_ONLY, Bound.ON_DEVICE, Bound.NOT_COLLECTED})
OPEN_ENDED = frozenset({Bound.USER_CHOICE, Bound.WITH_ACCOUNT, Bound.PURPOSE, Bound.NO_LIMIT})
WITHOUT_CLOCK = frozenset({*NEVER_STORED, Bound.NO_LIMIT})


class MediaKind(StrEnum):
    """What may be uploaded; the gateway knows the formats of each."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


class HoldBasis(StrEnum):
    """On what a legal hold may rest."""

    LEGAL_REQUIREMENT = "legal_requirement"
    COURT_ORDER = "court_order"
    AUTHORITY_DEMAND = "authority_demand"
    LEGAL_CLAIM = "legal_claim"


class Features(StrEnum):
    """Where faces and poses may be looked for."""

    NONE = "none"
    STEP = "step"  # as a step of its own, whose outcome is stored sealed
    HEAP = "heap"  # only inside the engine's memory


class Place(StrEnum):
    """Where an operation may run."""

    SERVER = "server"
    MEMORY = "memory"  # on a server, inside one request: nothing of it is stored
    DEVICE = "device"
