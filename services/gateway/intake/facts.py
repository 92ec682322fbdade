"""What is allowed in, and what is known of what came."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from services.gateway.intake.errors import MalformedMedia, TooLarge, TooLong, TooManyPixels


class MediaType(StrEnum):
    """The media types that are walked here (IANA names)."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"
    MP4 = "video/mp4"
    MOV = "video/quicktime"


class MediaFacts(msgspec.Struct, frozen=True):
    """What an upload turned out to be; `width` and `height` in coded pixels, before any EXIF or matrix rotation."""

    media_type: MediaType
    width: int
    height: int
    duration_s: float | None
    size_bytes: int


class Limits(msgspec.Struct, frozen=True):
    """What an app takes; `max_pixels` of one picture or one video frame."""

    max_bytes: int
    max_pixels: int
    max_duration_s: float

    def check_bytes(self, size: int) -> None:
        """Raises `TooLarge`."""
        if size > self.max_bytes:
            raise TooLarge(f"expected at most {self.max_bytes} bytes, got {size} or more: send a smaller file")

    def check_pixels(self, width: int, height: int) -> None:
        """Raises `TooManyPixels`, or `MalformedMedia` where a side has no length."""
        if not (width and height):
            raise MalformedMedia(f"expected a picture, got {width} x {height} pixels: export it again")
        if width * height > self.max_pixels:
            raise TooManyPixels(f"expected at most {self.max_pixels} pixels, got {width} x {height}: scale it down")

    def check_duration(self, seconds: float) -> None:
        """Raises `TooLong`."""
        if seconds > self.max_duration_s:
            raise TooLong(f"expected at most {self.max_duration_s} s of video, got {seconds:.1f} s: send a shorter one")
