"""What a policy is, once compiled. Frozen; every part names the clause that it keeps."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from stream.policies.durations import Span
from stream.policies.obligations import (
    Account,
    Age,
    Contradiction,
    Decision,
    Disclosure,
    Duty,
    DutyName,
    Notice,
    Occasion,
    Purpose,
    PurposeRule,
    Residency,
    Right,
    Sharing,
    Use,
)
from stream.policies.vocabulary import (
    NEVER_STORED,
    Bound,
    Choice,
    Clock,
    DataClass,
    Features,
    HoldBasis,
    MediaKind,
    OperationName,
    Place,
)


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a promise applies; an absent part always holds."""

    choice: tuple[Choice, ...] = ()
    face: bool | None = None

    def holds(self, choice: Choice, *, face: bool) -> bool:
        """Whether it applies to a thing with this choice that holds, or must be presumed to hold, a face (R11)."""
        return (not self.choice or choice in self.choice) and self.face in (None, face)


class Promise(msgspec.Struct, frozen=True):
    """One row of a policy. Of all that apply to a thing the earliest wins (R1)."""

    data_class: DataClass
    at_most: Span | Bound  # after the clock, or a word
    clause: str
    clocks: tuple[Clock, ...] = ()  # the earliest that has started counts (R3)
    at_least: Span | None = None  # a floor, from the latest of them
    when: Condition = Condition()
    reading: str = ""  # which reading rule or contradiction decided, such as "G1, R11"


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that an operation takes. `optional`: it does without; in a batch all items share the one that came."""

    role: str
    accepts: tuple[MediaKind, ...]
    data_class: DataClass = msgspec.field(name="class")
    video_class: DataClass | None = None  # of what turns out to be a video; results are then videos too
    optional: bool = False

    def class_of(self, media_type: str) -> DataClass:
        """What an upload of this media type is."""
        video = self.video_class is not None and media_type.startswith("video/")
        return self.video_class if video and self.video_class is not None else self.data_class


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that the app offers. `consents`: purposes that must stand before a byte is taken."""

    name: OperationName
    clause: str
    inputs: tuple[Input, ...]
    outputs: tuple[DataClass, ...]
    consents: tuple[str, ...] = ()
    features: Features = Features.NONE
    runs: Place = Place.SERVER
    reading: str = ""

    @property
    def required(self) -> tuple[Input, ...]:
        """What it does not do without. Where that is one thing, many of it are a batch."""
        return tuple(one for one in self.inputs if not one.optional)

    def input(self, role: str) -> Input:
        """The input of this role, which the operation has."""
        return next(one for one in self.inputs if one.role == role)

    @property
    def classes(self) -> tuple[DataClass, ...]:
        """Everything that a job of it may bring into being, besides its record."""
        features = () if self.features is Features.NONE else (DataClass.FACE_FEATURE,)
        videos = tuple(one.video_class for one in self.inputs if one.video_class is not None)
        moving = (DataClass.RESULT_VIDEO,) if videos and DataClass.RESULT_IMAGE in self.outputs else ()
        return (*(one.data_class for one in self.inputs), *videos, *features, *self.outputs, *moving)

    def makes(self, classes: Collection[str]) -> tuple[DataClass, ...]:
        """The classes of its results, made of inputs of these classes: of a video a video."""
        moving = any(one.video_class in classes for one in self.inputs if one.video_class is not None)
        swap = {DataClass.RESULT_IMAGE: DataClass.RESULT_VIDEO} if moving else {}
        return tuple(swap.get(one, one) for one in self.outputs)


class Consent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An agreement to this version of this text, recorded before a byte is taken (R14: use is not consent)."""

    purpose: str
    version: str
    text: str
    clause: str
    reading: str = ""


class Hold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a recorded case may keep beyond its promise, and on which basis (R15). Without one nothing may be held."""

    basis: tuple[HoldBasis, ...]
    of: tuple[DataClass, ...]
    clause: str
    reading: str = ""


class Policy(msgspec.Struct, frozen=True):
    """One app's policy. `hash`: hex SHA-256 of its file, carried by every receipt (R16)."""

    app: str
    title: str
    source: str  # what clauses begin with
    clause: str  # where the text says what the app offers
    dated: str  # ISO 8601, or empty for a policy that bears no date
    hash: str
    choices: tuple[Choice, ...]
    operations: tuple[Operation, ...]
    promises: tuple[Promise, ...]
    consents: tuple[Consent, ...]
    hold: Hold | None = None
    rights: tuple[Right, ...] = ()
    notices: tuple[Notice, ...] = ()
    purposes: tuple[PurposeRule, ...] = ()
    duties: tuple[Duty, ...] = ()
    age: Age | None = None
    account: Account | None = None
    residency: Residency | None = None
    sharing: Sharing | None = None
    disclosure: Disclosure | None = None
    contradictions: tuple[Contradiction, ...] = ()
    decisions: tuple[Decision, ...] = ()
    decided: dict[str, str | int | bool | list[str]] = {}  # by name: what is in force, the strict value or another
    used: frozenset[str] = frozenset()  # decisions that a rule names
    since: float = 0.0  # epoch seconds: from when a successor is in force
    follows: Policy | None = None  # the policy that was in force until then

    def binding(self, collected_at: float) -> Iterator[Policy]:
        """What binds us for a thing collected then: this policy, and each that was in force since (R16)."""
        one: Policy | None = self
        while one is not None:
            yield one
            one = one.follows if collected_at < one.since else None

    def operation(self, name: str) -> Operation | None:
        """The operation, if the app offers it."""
        return next((one for one in self.operations if one.name == name), None)

    def consent(self, purpose: str) -> Consent | None:
        """The consent for this purpose, if the policy knows one."""
        return next((one for one in self.consents if one.purpose == purpose), None)

    def promises_of(self, data_class: str) -> tuple[Promise, ...]:
        """All rows of one class."""
        return tuple(one for one in self.promises if one.data_class == data_class)

    def never_stored(self, data_class: str) -> Promise | None:
        """The row that forbids storing things of this class, if one does."""
        return next((one for one in self.promises_of(data_class) if one.at_most in NEVER_STORED), None)

    def right(self, name: str) -> Right | None:
        """The right, if the text gives it."""
        return next((one for one in self.rights if one.name == name), None)

    def notices_of(self, occasion: Occasion) -> tuple[Notice, ...]:
        """All that must be said on this occasion."""
        return tuple(one for one in self.notices if one.of is occasion)

    def use_of(self, data_class: str, purpose: Purpose) -> Use:
        """Under which condition this class may serve the purpose: of several rules the strictest."""
        rules = [one.use for one in self.purposes if one.name is purpose and (not one.of or data_class in one.of)]
        return max(rules, key=list(Use).index, default=Use.NEVER)

    def duty(self, name: DutyName) -> Duty | None:
        """The duty, if the text gives it."""
        return next((one for one in self.duties if one.name is name), None)
