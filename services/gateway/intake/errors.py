"""What is refused at the door; nothing of it is stored."""

from __future__ import annotations

from stream.errors import BadRequest


class EmptyBody(BadRequest):
    """No byte came."""

    kind = "empty-body"
    status = 400


class UnsupportedMedia(BadRequest):
    """Not media, or not of a kind that is taken here."""

    kind = "unsupported-media"
    status = 415


class TooLarge(BadRequest):
    """More bytes came, or are declared, than this app takes."""

    kind = "too-large"
    status = 413


class TooManyPixels(BadRequest):
    """The declared size in pixels is over the cap: a decompression bomb, or a picture too big to work on."""

    kind = "too-many-pixels"
    status = 422


class TooLong(BadRequest):
    """The video lasts longer than this app takes."""

    kind = "too-long"
    status = 422


class TruncatedMedia(BadRequest):
    """The bytes end before the format's end marker."""

    kind = "truncated-media"
    status = 422


class TrailingData(BadRequest):
    """The bytes go on after the format's end marker."""

    kind = "trailing-data"
    status = 422


class Polyglot(BadRequest):
    """A part that holds no pixels carries the signature of a document, an archive or a program."""

    kind = "polyglot"
    status = 422


class MalformedMedia(BadRequest):
    """The format's own rules are broken."""

    kind = "malformed-media"
    status = 422
