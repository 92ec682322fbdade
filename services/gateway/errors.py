"""Why the gateway itself refuses; what an owner refuses is told as the owner said it."""

from __future__ import annotations

from typing import ClassVar

from stream.agents.api import Problem
from stream.errors import BadRequest, LostLease, MayflyError, StoreUnavailable


class Unauthorized(BadRequest):
    """No valid API key came with the request."""

    kind: ClassVar[str] = "unauthorized"
    status: ClassVar[int] = 401


class UnknownApp(BadRequest):
    """No such app, or none that this tenant may use: the two look the same."""

    kind: ClassVar[str] = "unknown-app"
    status: ClassVar[int] = 404


class BadBody(BadRequest):
    """The JSON body is not of the documented form."""

    kind: ClassVar[str] = "bad-body"


class BadName(BadRequest):
    """A name in the path, or a header, is not of the documented form."""

    kind: ClassVar[str] = "bad-name"


class BodyTooLarge(BadRequest):
    """A JSON body, or an upload, is larger than it may be."""

    kind: ClassVar[str] = "too-large"
    status: ClassVar[int] = 413


class LengthRequired(BadRequest):
    """An upload must say how long it is, since its sealed size goes to the store first."""

    kind: ClassVar[str] = "length-required"
    status: ClassVar[int] = 411


class UploadCutOff(BadRequest):
    """The client left, or stalled, before the last byte."""

    kind: ClassVar[str] = "upload-cut-off"


class UploadStalled(UploadCutOff):
    """No byte came for too long."""

    kind: ClassVar[str] = "upload-stalled"
    status: ClassVar[int] = 408


class TooManyTransfers(BadRequest):
    """The tenant has as many uploads and downloads running here as it may have."""

    kind: ClassVar[str] = "too-many-transfers"
    status: ClassVar[int] = 429


class TooManyRequests(BadRequest):
    """The tenant asks for as many jobs at the same time here as it may."""

    kind: ClassVar[str] = "too-many-requests"
    status: ClassVar[int] = 429


class OwnerAway(StoreUnavailable):
    """Nobody serves this partition just now: a takeover takes seconds."""

    kind: ClassVar[str] = "owner-away"


class GatewayStarting(StoreUnavailable):
    """This gateway has not read all tenants yet: a moment later it will know who calls."""

    kind: ClassVar[str] = "gateway-starting"


class GatewayStopping(StoreUnavailable):
    """This gateway is going away; another, or the next, will answer."""

    kind: ClassVar[str] = "gateway-stopping"


class GrantRevoked(LostLease):
    """The owner took the grant back: the asset is being erased."""

    kind: ClassVar[str] = "grant-revoked"
    status: ClassVar[int] = 410


class OwnerRefused(MayflyError):  # noqa: N818 - named for its cause, like its siblings
    """The owner's answer, passed on; its kind and status are those of `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem
