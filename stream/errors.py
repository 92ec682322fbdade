"""Every error the system raises on purpose, one root per cause.

A message says what was expected, what came, and what to do. `kind` is stable: it is the last part of a problem's
`type` URI (RFC 9457) and the label of the counter that rises, so it is never built from input.
"""

from __future__ import annotations

from typing import ClassVar


class MayflyError(Exception):
    """Root of all. `status` is the HTTP status by which a gateway reports it."""

    kind: ClassVar[str] = "internal"
    status: ClassVar[int] = 500


class BadRequest(MayflyError):  # noqa: N818 - named for its cause, like the HTTP status
    """The caller sent something that can never be right; nothing was stored."""

    kind = "bad-request"
    status = 400


class BrokenPromise(MayflyError):  # noqa: N818
    """Going on would keep a byte longer than promised, or release one that is hidden."""

    kind = "broken-promise"
    status = 500


class LostLease(MayflyError):  # noqa: N818
    """Somebody else owns this now (a fence, a partition, a grant): stop, and look again."""

    kind = "lost-lease"
    status = 503


class StoreUnavailable(MayflyError):  # noqa: N818
    """Kafka, the object store, a root store or Ray did not answer; nothing was promised."""

    kind = "store-unavailable"
    status = 503
