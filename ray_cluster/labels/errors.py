"""What can go wrong with labels."""

from __future__ import annotations

from stream.errors import BadRequest, StoreUnavailable


class BadRules(BadRequest):
    """The file of rules for labels and gates cannot be used."""

    kind = "bad-label-rules"


class BadSigningKey(BadRequest):
    """The operator's key and certificates for labels cannot be used."""

    kind = "bad-label-key"


class Unlabellable(StoreUnavailable):
    """What an engine made cannot be labelled, so it does not leave."""

    kind = "unlabelled"


class Unreadable(BadRequest):
    """A file in which no label can be looked for."""

    kind = "unreadable-media"
