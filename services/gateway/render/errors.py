"""Why a render is refused, or one of its pictures."""

from __future__ import annotations

from typing import ClassVar

from stream.errors import BadRequest, StoreUnavailable


class BadForm(BadRequest):
    """The body is no form as documented: its fields first, then its pictures."""

    kind: ClassVar[str] = "bad-form"


class TooManyPictures(BadRequest):
    """More pictures than one request may hold."""

    kind: ClassVar[str] = "too-many-pictures"
    status: ClassVar[int] = 413


class RenderFull(StoreUnavailable):
    """This gateway works on as many requests as it may."""

    kind: ClassVar[str] = "render-full"


class WorkerLost(StoreUnavailable):
    """The worker that held this request's leases is gone; nothing is kept from which to try again."""

    kind: ClassVar[str] = "worker-lost"
