"""What a policy is, once compiled. Frozen; every part names the clause that it keeps."""

from __future__ import annotations

import msgspec

from stream.policies.vocabulary import (
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
    at_most: int | Bound  # seconds after the clock, or a word
    clause: str
    clocks: tuple[Clock, ...] = ()  # the earliest that has started counts (R3)
    at_least_s: int = 0
    when: Condition = Condition()
    reading: str = ""  # which reading rule or contradiction decided, such as "G1, R11"


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that an operation takes."""

    role: str
    accepts: tuple[MediaKind, ...]
    data_class: DataClass = msgspec.field(name="class")


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
    def classes(self) -> tuple[DataClass, ...]:
        """Everything that a job of it may bring into being, besides its record."""
        features = () if self.features is Features.NONE else (DataClass.FACE_FEATURE,)
        return (*(one.data_class for one in self.inputs), *features, *self.outputs)


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

    def operation(self, name: str) -> Operation | None:
        """The operation, if the app offers it."""
        return next((one for one in self.operations if one.name == name), None)

    def consent(self, purpose: str) -> Consent | None:
        """The consent for this purpose, if the policy knows one."""
        return next((one for one in self.consents if one.purpose == purpose), None)

    def promises_of(self, data_class: str) -> tuple[Promise, ...]:
        """All rows of one class."""
        return tuple(one for one in self.promises if one.data_class == data_class)

    def ram_only(self, data_class: str) -> bool:
        """Whether things of this class may never be stored."""
        return any(one.at_most is Bound.RAM_ONLY for one in self.promises_of(data_class))
