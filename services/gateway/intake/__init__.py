"""Looks at an upload while its bytes pass by: what it really is, whether it is whole, whether it is nothing else.

Nothing is decoded and nothing is kept: each format is walked by its structure, from its first byte to its end marker,
in constant memory, and the first certainty that something is wrong is raised before the bytes that follow are read.
Neither Content-Type nor a file's name is believed.

`Intake` (intake.py) sniffs and drives; one walker per format (jpeg, png, webp, mp4) asks a `Tape` for bytes; `facts`
holds the limits that come in and the facts that go out; `errors` names everything that is refused.

What is not judged: coded pixels and samples themselves (entropy-coded JPEG data, IDAT, VP8, mdat). Engines decode them
in their own process, under the same pixel limits, and results are encoded anew. Everything that is neither coded pixels
nor a table of theirs (comments, EXIF, XMP, text, unknown parts) is searched for the signatures of documents, archives
and programs, so that a picture is not also something else.
"""

from services.gateway.intake.errors import (
    EmptyBody,
    MalformedMedia,
    Polyglot,
    TooLarge,
    TooLong,
    TooManyPixels,
    TrailingData,
    TruncatedMedia,
    UnsupportedMedia,
)
from services.gateway.intake.facts import Limits, MediaFacts, MediaType
from services.gateway.intake.intake import Intake
from services.gateway.intake.strip import Strip

__all__ = [
    "EmptyBody",
    "Intake",
    "Limits",
    "MalformedMedia",
    "MediaFacts",
    "MediaType",
    "Polyglot",
    "Strip",
    "TooLarge",
    "TooLong",
    "TooManyPixels",
    "TrailingData",
    "TruncatedMedia",
    "UnsupportedMedia",
]
