"""What can go wrong with labels."""

from __future__ import annotations

from stream.errors import BadRequest


class BadRules(BadRequest):
    """The file of rules for labels and gates cannot be used."""

    kind = "bad-label-rules"
