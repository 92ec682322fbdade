"""Sniffs an upload and drives the walker of what it is, chunk by chunk."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from cryptography.utils import Buffer

from services.gateway.intake import jpeg, mp4, png, webp
from services.gateway.intake.errors import EmptyBody, TrailingData, TruncatedMedia, UnsupportedMedia
from services.gateway.intake.facts import Limits, MediaFacts, MediaType
from services.gateway.intake.tape import Need, Take, Tape
from services.gateway.intake.walker import Frame, Walker
from stream.errors import BadRequest

_SNIFF_BYTES = 12
_WALKERS: dict[MediaType, Walker] = {
    MediaType.JPEG: jpeg.walk,
    MediaType.PNG: png.walk,
    MediaType.WEBP: webp.walk,
    MediaType.MP4: mp4.walk,
    MediaType.MOV: mp4.walk,
}
_BRANDS = frozenset(
    [*b"isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 avc1 MSNV 3gp4 3gp5 3gp6 3g2a".split(), b"M4V "]
)


class Intake:
    """Judges one upload as its bytes pass: `feed` every chunk, then `finish`. Holds a few bytes, never the media.

    The verdict depends on the bytes alone, not on how they were cut into chunks; after a refusal every call repeats it.
    """

    def __init__(self, limits: Limits, accept: frozenset[str], declared_bytes: int | None = None) -> None:
        """`accept`: the `MediaType`s taken here; `declared_bytes`: the Content-Length, if any. Raises `TooLarge`."""
        limits.check_bytes(declared_bytes or 0)
        self._limits = limits
        self._accept = accept
        self._size = 0
        self._head = bytearray()
        self._media_type: MediaType | None = None
        self._walk: Generator[Need, None, Frame] | None = None
        self._need: Need | None = None
        self._frame: Frame | None = None
        self._refusal: BadRequest | None = None

    def feed(self, chunk: Buffer) -> None:
        """Look at the next bytes. Raises a named `BadRequest` at the first certainty."""
        view = memoryview(chunk).cast("B")
        with self._for_good():
            room = max(0, self._limits.max_bytes - self._size)
            self._size += len(view)
            self._read(view[:room])  # what comes before the cap is judged first, wherever chunks are cut
            self._limits.check_bytes(self._size)

    @property
    def media_type(self) -> MediaType | None:
        """What it is, as soon as its first bytes have told."""
        return self._media_type

    def finish(self) -> MediaFacts:
        """The upload ends here: what it was. Raises a named `BadRequest` where it is not whole."""
        with self._for_good():
            if not self._size:
                raise EmptyBody("expected a picture or video, got no bytes: send the file itself as the body")
            if self._media_type is None:
                raise UnsupportedMedia(f"expected a picture or video, got {self._size} bytes: send the file itself")
            if isinstance(self._need, Take) and self._need.may_end:
                self._advance()
            if self._frame is None:
                raise TruncatedMedia(f"expected the media to go on after {self._size} bytes: send all of it")
            width, height, duration_s = self._frame
            return MediaFacts(self._media_type, width, height, duration_s, self._size)

    @contextmanager
    def _for_good(self) -> Generator[None, None, None]:
        if self._refusal:
            raise self._refusal
        try:
            yield
        except BadRequest as refusal:
            self._refusal = refusal
            raise

    def _read(self, view: memoryview) -> None:
        if self._walk is None:
            rest = _SNIFF_BYTES - len(self._head)
            self._head += view[:rest]
            view = view[rest:]
            if len(self._head) < _SNIFF_BYTES:
                return
            self._media_type = self._sniff(bytes(self._head))
            self._walk = _WALKERS[self._media_type](Tape(), self._limits)
            self._advance()
            self._pass(memoryview(self._head))
        self._pass(view)

    def _pass(self, view: memoryview) -> None:
        while view:
            if self._need is None:
                raise TrailingData("expected the end of the media, got more bytes: send the file alone, as exported")
            view = view[self._need.offer(view) :]
            if self._need.met:
                self._advance()

    def _advance(self) -> None:
        assert self._walk is not None
        try:
            self._need = next(self._walk)
        except StopIteration as end:
            self._need, self._frame = None, end.value

    def _sniff(self, head: bytes) -> MediaType:
        media_type = _sniff(head)
        if media_type not in self._accept or media_type is None:
            taken = ", ".join(sorted(self._accept))
            raise UnsupportedMedia(f"expected one of {taken}, got {media_type or 'something else'}: convert it first")
        return media_type


def _sniff(head: bytes) -> MediaType | None:
    if head.startswith(b"\xff\xd8\xff"):
        return MediaType.JPEG
    if head.startswith(png.SIGNATURE):
        return MediaType.PNG
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        return MediaType.WEBP
    if head[4:8] == b"ftyp":
        return MediaType.MOV if head[8:] == b"qt  " else MediaType.MP4 if head[8:] in _BRANDS else None
    return None
