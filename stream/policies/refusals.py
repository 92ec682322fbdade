"""Why a request may not begin: one class per kind, each an error that a gateway reports as it is."""

from __future__ import annotations

from typing import ClassVar

from stream.errors import BadRequest


class Refusal(BadRequest):
    """The policy, or the platform, does not allow this. `clause`: what decided, where a clause did."""

    def __init__(self, message: str, clause: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.clause = clause
        self.retry_after_s = retry_after_s


class WrongRegion(Refusal):
    """The policy keeps its data in a region that this deployment is not in, or does not say that it is."""

    kind: ClassVar[str] = "wrong-region"
    status: ClassVar[int] = 403


class OperationNotOffered(Refusal):
    """The app's policy has no such operation."""

    kind: ClassVar[str] = "operation-not-offered"
    status: ClassVar[int] = 403


class OnDeviceOnly(Refusal):
    """The policy keeps this operation on the user's device: no server may see its input."""

    kind: ClassVar[str] = "on-device-only"
    status: ClassVar[int] = 403


class InMemoryOnly(Refusal):
    """The policy keeps this operation's pictures in memory: no job may store them."""

    kind: ClassVar[str] = "in-memory-only"
    status: ClassVar[int] = 403


class JobsOnly(Refusal):
    """The policy lets this operation's pictures be stored for a while: it is asked for as a job."""

    kind: ClassVar[str] = "jobs-only"
    status: ClassVar[int] = 403


class OperationNotAvailable(Refusal):
    """Offered, but no engine here performs it."""

    kind: ClassVar[str] = "operation-not-available"
    status: ClassVar[int] = 501


class WrongInputs(Refusal):
    """Not the inputs that the operation takes."""

    kind: ClassVar[str] = "wrong-inputs"
    status: ClassVar[int] = 422


class TooManyItems(Refusal):
    """More pictures than one job may have."""

    kind: ClassVar[str] = "too-many-items"
    status: ClassVar[int] = 413


class NoReuse(Refusal):
    """The policy has each picture sent again for each use: none that is here serves another job."""

    kind: ClassVar[str] = "no-reuse"
    status: ClassVar[int] = 422


class UnknownParams(Refusal):
    """A parameter that the engine does not know: nothing is collected that is not used."""

    kind: ClassVar[str] = "unknown-params"
    status: ClassVar[int] = 422


class BadChoice(Refusal):
    """A choice that the app does not give."""

    kind: ClassVar[str] = "bad-choice"
    status: ClassVar[int] = 422


class AgeUnknown(Refusal):
    """The policy asks for an age, and no band of this subject is recorded."""

    kind: ClassVar[str] = "age-unknown"
    status: ClassVar[int] = 403


class GuardianConsentMissing(Refusal):
    """So young a subject needs a guardian's consent, and none to the text in force is recorded."""

    kind: ClassVar[str] = "guardian-consent-missing"
    status: ClassVar[int] = 403


class ConsentMissing(Refusal):
    """A consent that must stand before a byte is taken is not recorded."""

    kind: ClassVar[str] = "consent-missing"
    status: ClassVar[int] = 403


class QuotaExceeded(Refusal):
    """This subject has as many jobs as they may."""

    kind: ClassVar[str] = "quota-exceeded"
    status: ClassVar[int] = 429


class UnknownPurpose(Refusal):
    """A consent that the policy does not ask for is not recorded."""

    kind: ClassVar[str] = "unknown-purpose"
    status: ClassVar[int] = 404


class WrongConsentVersion(Refusal):
    """Consent to a text that is not the one in force."""

    kind: ClassVar[str] = "wrong-consent-version"
    status: ClassVar[int] = 409


class ConsentLedgerFull(Refusal):
    """So many consents of one subject are no consents: somebody's program runs in a circle."""

    kind: ClassVar[str] = "consent-ledger-full"
    status: ClassVar[int] = 409


class GuardianNotAsked(Refusal):
    """A guardian's consent that nobody needs is not recorded."""

    kind: ClassVar[str] = "guardian-not-asked"
    status: ClassVar[int] = 422


class AgeNotAsked(Refusal):
    """An age that the policy does not ask for is not recorded."""

    kind: ClassVar[str] = "age-not-asked"
    status: ClassVar[int] = 422


class UnknownAgeBand(Refusal):
    """The policy tells other bands apart."""

    kind: ClassVar[str] = "unknown-age-band"
    status: ClassVar[int] = 422


class PurposeNotAllowed(Refusal):
    """The policy lets data of this class serve no such purpose."""

    kind: ClassVar[str] = "purpose-not-allowed"
    status: ClassVar[int] = 403
