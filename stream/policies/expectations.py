"""What a promise means for a compiled policy, so plainly that it can be asked: each kind is one question.

A catalogue row (`matrix`) holds one or more of them. They are written beside the policies and not derived from them, so
that a rule which is lost, or changed, is noticed. `failures` answers in sentences; none means that the row is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
from typing_extensions import override

from stream.events.rows import Consent
from stream.policies import ages, consents, deadlines, durations, verdict
from stream.policies.deadlines import NoPromise
from stream.policies.model import Policy
from stream.policies.obligations import (
    Audience,
    Channel,
    Document,
    DutyName,
    Field,
    Occasion,
    Purpose,
    RightName,
    Standing,
    Stops,
    Transfer,
    Use,
)
from stream.policies.vocabulary import Choice, Clock, DataClass, HoldBasis, OperationName, Place

START = 1_764_201_600.0
"""27 November 2025, 00:00 UTC: where the clocks of an expectation begin."""

NEVER = "never"


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="check"):
    """One question."""

    def wrong(self, policy: Policy) -> Iterator[str]:
        """What is not as expected, a sentence each."""
        raise NotImplementedError


class Ceiling(_Asked, frozen=True, tag="ceiling"):
    """Things of these classes are gone `at` so long after the start; `clocks` began so many seconds after it."""

    of: tuple[DataClass, ...]
    at: str  # a span, "at once" (when the latest clock began) or "never" (while no other clock starts)
    choice: Choice = Choice.NONE
    face: bool | None = None
    clocks: dict[Clock, int] = msgspec.field(default_factory=lambda: {Clock.UPLOAD_RECEIVED: 0})

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        clocks = {clock: START + offset for clock, offset in self.clocks.items()}
        if self.at == NEVER:
            wanted = math.inf
        elif self.at == "at once":
            wanted = max(clocks.values())
        else:
            wanted = durations.after(START, durations.span(self.at))
        for data_class in self.of:
            try:
                found = deadlines.ceiling(policy, data_class, choice=self.choice, has_face=self.face, clocks=clocks).at
            except NoPromise as error:
                yield str(error)
                continue
            if found != wanted:
                yield f"expected {data_class} to be gone {self.at}, got {found - START:.0f} s after the start"


class Unstored(_Asked, frozen=True, tag="unstored"):
    """Things of these classes are never stored at all."""

    of: tuple[DataClass, ...]

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        for data_class in self.of:
            if policy.never_stored(data_class) is None:
                yield f"expected a row by which {data_class} is never stored"


class Floor(_Asked, frozen=True, tag="floor"):
    """Things of this class stay at least so long, whoever asks for their erasure; empty: nothing says so."""

    of: DataClass
    at: str
    clocks: dict[Clock, int]

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        clocks = {clock: START + offset for clock, offset in self.clocks.items()}
        found = deadlines.floor(policy, self.of, clocks)
        if found != (durations.after(START, durations.span(self.at)) if self.at else 0.0):
            yield f"expected {self.of} to stay {self.at}, got {found - START:.0f} s"


class Verdict(_Asked, frozen=True, tag="verdict"):
    """What a request for this operation hears: "granted", or the kind of the refusal.

    The subject is grown up, and the deployment in the policy's region, unless `age` or `region` say otherwise.
    """

    operation: OperationName
    hears: str
    choice: Choice = Choice.NONE
    consents: bool = True  # whether all that it needs stand
    inputs: int = 0  # 0: as many as it needs
    roles: tuple[str, ...] = ()  # of the inputs; empty: none is named
    reuse: bool = False  # whether one of them is a picture that is already here
    age: str | None = None  # the subject's band; empty: not known
    guardian: bool = False  # whether those that stand were given by a guardian
    region: str | None = None  # of the deployment

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        operation = policy.operation(self.operation)
        needed = operation.consents if operation is not None and self.consents else ()
        given = [
            Consent(one.purpose, one.version, granted=True, at=START, guardian=self.guardian)
            for one in policy.consents
            if one.purpose in needed
        ]
        bands = ages.bands(policy.age)
        age = self.age if self.age is not None else bands[-1].name if bands else ""
        home = policy.residency.region if policy.residency is not None else ""
        asked = verdict.JobRequest(
            operation=self.operation,
            choice=self.choice,
            n_inputs=self.inputs or (len(operation.required) if operation is not None else 1),
            roles=self.roles,
            reuse=self.reuse,
        )
        said = verdict.decide(
            policy,
            asked,
            consents=consents.versions(consents.standing(policy, given, band=age)),
            available={self.operation: ()},
            age=age,
            region=home if self.region is None else self.region,
        )
        heard = said.kind if isinstance(said, verdict.Refused) else "granted"
        if heard != self.hears:
            yield f"expected {self.operation} to hear {self.hears}, it hears {heard}"


class Offers(_Asked, frozen=True, tag="offers"):
    """These operations are offered, and run there; or none of them is."""

    operations: tuple[OperationName, ...]
    runs: Place = Place.SERVER
    none: bool = False

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        for name in self.operations:
            yield from self._wrong(policy, name)

    def _wrong(self, policy: Policy, name: OperationName) -> Iterator[str]:
        operation = policy.operation(name)
        if self.none:
            if operation is not None:
                yield f"expected {name} not to be offered"
        elif operation is None or operation.runs is not self.runs:
            yield f"expected {name} to be offered, and to run: {self.runs}"


class Right(_Asked, frozen=True, tag="right"):
    """The right is given, so: `within` empty where whoever asks is served at once."""

    name: RightName
    within: str = ""
    counts_from: Clock = Clock.REQUEST_RECEIVED
    identity: bool = False
    reversible: bool = False
    stops: Stops = Stops.NOTHING
    given: bool = True

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        right = policy.right(self.name)
        if not self.given or right is None:
            if self.given or right is not None:
                yield f"expected the right {self.name} to be {'given' if self.given else 'nobody’s'}"
            return
        length = right.within.length if right.within is not None else None
        found = (length, right.counts_from, right.identity, right.reversible, right.stops)
        wanted = durations.span(self.within) if self.within else None
        if found != (wanted, self.counts_from, self.identity, self.reversible, self.stops):
            yield f"expected {self.name} within {self.within or 'the request'}, {self.stops} stops; got {right}"


class Serves(_Asked, frozen=True, tag="serves"):
    """Under which condition these classes may serve the purpose."""

    purpose: Purpose
    of: tuple[DataClass, ...]
    use: Use

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        for data_class in self.of:
            found = policy.use_of(data_class, self.purpose)
            if found is not self.use:
                yield f"expected {data_class} to serve {self.purpose}: {self.use}, got {found}"


class Shared(_Asked, frozen=True, tag="shared"):
    """Whether anything may leave for somebody else, and to whom. These classes never do."""

    use: Use
    never: tuple[DataClass, ...] = ()
    recipients: tuple[str, ...] = ()
    transfer: Transfer = Transfer.NEVER

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        sharing = policy.sharing
        if sharing is None:
            if self.use is not Use.NEVER:
                yield f"expected sharing: {self.use}, the policy knows none"
            return
        if (sharing.use, sharing.recipients, sharing.transfer) != (self.use, self.recipients, self.transfer):
            yield f"expected sharing {self.use} with {self.recipients or 'nobody'}, transfer {self.transfer}"
        for data_class in self.never:
            if sharing.use is not Use.NEVER and data_class not in sharing.never:
                yield f"expected {data_class} never to be shared"


class Said(_Asked, frozen=True, tag="said"):
    """The policy says so itself in a table of its own: sharing, disclosure, age, residency, hold or account."""

    table: str

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        if getattr(policy, self.table, None) is None:
            yield f"expected a table [{self.table}]"


class Disclosed(_Asked, frozen=True, tag="disclosed"):
    """What law may demand, on which documents; empty: nothing, by nobody."""

    documents: tuple[Document, ...] = ()
    of: tuple[DataClass, ...] = ()
    never: tuple[DataClass, ...] = ()

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        found = policy.disclosure
        documents = found.documents if found is not None else ()
        classes = found.of if found is not None else ()
        if set(documents) != set(self.documents):
            yield f"expected disclosure on {', '.join(self.documents) or 'no document'}"
        for data_class in self.of:
            if data_class not in classes:
                yield f"expected {data_class} to be what law may demand"
        for data_class in self.never:
            if data_class in classes:
                yield f"expected {data_class} never to be disclosed"


class Held(_Asked, frozen=True, tag="held"):
    """What a recorded case may keep, and on which basis; nothing where `of` is empty."""

    basis: tuple[HoldBasis, ...] = ()
    of: tuple[DataClass, ...] = ()
    never: tuple[DataClass, ...] = ()

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        hold = policy.hold
        if set(hold.basis if hold else ()) != set(self.basis):
            yield f"expected holds on {', '.join(self.basis) or 'no basis'}"
        classes = hold.of if hold else ()
        for data_class in self.of:
            if data_class not in classes:
                yield f"expected that a case may hold {data_class}"
        for data_class in self.never:
            if data_class in classes:
                yield f"expected that no case may hold {data_class}"


class Accounts(_Asked, frozen=True, tag="accounts"):
    """Whether the app has accounts, and exactly what one holds."""

    standing: Standing
    fields: tuple[Field, ...] = ()
    verify: tuple[Channel, ...] = ()

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        account = policy.account
        standing = account.standing if account is not None else Standing.NONE
        fields = account.fields if account is not None else ()
        verify = account.verify if account is not None else ()
        if (standing, set(fields), set(verify)) != (self.standing, set(self.fields), set(self.verify)):
            yield f"expected accounts {self.standing} of {', '.join(self.fields) or 'nothing'}"


class Unsaid(_Asked, frozen=True, tag="unsaid"):
    """The text says nothing of it, and so does the policy: no such table, and no notice on these occasions."""

    tables: tuple[str, ...] = ()
    occasions: tuple[Occasion, ...] = ()
    purposes: tuple[str, ...] = ()  # of consents
    inputs: tuple[DataClass, ...] = ()  # no operation takes these

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        for table in self.tables:
            if getattr(policy, table, None) is not None:
                yield f"expected no table [{table}]"
        for occasion in self.occasions:
            if policy.notices_of(occasion):
                yield f"expected no notice of {occasion}"
        for purpose in self.purposes:
            if policy.consent(purpose) is not None:
                yield f"expected no consent for {purpose}"
        for data_class in self.inputs:
            if any(data_class is slot.data_class for one in policy.operations for slot in one.inputs):
                yield f"expected no operation to take {data_class}"


class Noticed(_Asked, frozen=True, tag="noticed"):
    """Who is told on this occasion, by which channels, and how long before or after."""

    occasion: Occasion
    to: tuple[Audience, ...]
    via: tuple[Channel, ...] = ()
    before: str = ""
    within: str = ""

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        for notice in policy.notices_of(self.occasion):
            before = notice.before.length if notice.before is not None else None
            within = notice.within.length if notice.within is not None else None
            spans = tuple(durations.span(text) if text else None for text in (self.before, self.within))
            if set(self.to) <= set(notice.to) and set(self.via) <= set(notice.via) and (before, within) == spans:
                return
        yield f"expected a notice of {self.occasion} to {', '.join(self.to)}"


class Duty(_Asked, frozen=True, tag="duty"):
    """The duty is taken up; `artefact` where people and not the system keep it."""

    name: DutyName
    artefact: str = ""
    taken: bool = True

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        duty = policy.duty(self.name)
        if not self.taken:
            if duty is not None:
                yield f"expected no duty {self.name}: the text does not take it up"
        elif duty is None or duty.artefact != self.artefact:
            yield f"expected the duty {self.name}, by {self.artefact or 'the system'}"


class Aged(_Asked, frozen=True, tag="aged"):
    """Below which ages a guardian must agree, or should; and whether an unknown age may go on."""

    guardian_below: int
    advice_below: int = 0
    unknown: bool = False

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        age = policy.age
        found = (age.guardian_below, age.advice_below, age.unknown) if age is not None else None
        if found != (self.guardian_below, self.advice_below, self.unknown):
            yield f"expected a guardian below {self.guardian_below}, advice below {self.advice_below}"


class Resides(_Asked, frozen=True, tag="resides"):
    """Where data lie, and what never leaves."""

    region: str
    never: tuple[DataClass, ...] = ()

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        residency = policy.residency
        if residency is None or residency.region != self.region or not set(self.never) <= set(residency.never):
            yield f"expected data to stay in {self.region}"


class Consented(_Asked, frozen=True, tag="consented"):
    """A text of its own is agreed to for this purpose, and these operations wait for it."""

    purpose: str
    operations: tuple[OperationName, ...] = ()

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        if policy.consent(self.purpose) is None:
            yield f"expected a consent of its own for {self.purpose}"
        for name in self.operations:
            operation = policy.operation(name)
            if operation is None or self.purpose not in operation.consents:
                yield f"expected {name} to wait for the consent {self.purpose}"


class Decided(_Asked, frozen=True, tag="decided"):
    """A person must decide it, and until then it is this."""

    name: str
    strict: str | int | bool | list[str]

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        found = next((one.strict for one in policy.decisions if one.name == self.name), None)
        if found != self.strict:
            yield f"expected the decision {self.name} to be {self.strict!r} until somebody decides, got {found!r}"


class Read(_Asked, frozen=True, tag="read"):
    """The contradiction is stated with both clauses, and a rule follows its reading."""

    id: str

    @override
    def wrong(self, policy: Policy) -> Iterator[str]:
        if all(one.id != self.id for one in policy.contradictions):
            yield f"expected the contradiction {self.id} to be stated"


Expectation = (
    Ceiling
    | Unstored
    | Floor
    | Verdict
    | Offers
    | Right
    | Serves
    | Shared
    | Said
    | Unsaid
    | Disclosed
    | Held
    | Accounts
    | Noticed
    | Duty
    | Aged
    | Resides
    | Consented
    | Decided
    | Read
)


def failures(policy: Policy, expected: tuple[Expectation, ...]) -> list[str]:
    """What is not as expected, a sentence each."""
    return [said for one in expected for said in one.wrong(policy)]
