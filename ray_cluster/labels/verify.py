"""What a file says of itself: every label looked for, each told in a sentence."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import cv2
import msgspec
import numpy as np

from ray_cluster.labels import movies, provenance, stills, watermark, xmp
from ray_cluster.labels.errors import Unreadable

_FRAMES: Final = 12
_SIGNATURES: Final = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
}


class Mark(msgspec.Struct, frozen=True):
    """The imperceptible mark. `bits`: what was read, in hex; `errors`: of 32 bits, how many are not the expected."""

    found: bool
    bits: str = ""
    errors: int = watermark.BITS


class Manifest(msgspec.Struct, frozen=True):
    """The C2PA manifest. `state`: absent, altered, invalid, valid or trusted."""

    state: str
    signer: str = ""
    generator: str = ""
    made_by_ai: bool = False


class Report(msgspec.Struct, frozen=True):
    """All that was found. `aigc`: GB 45438's object; `other`: names of metadata that are no labels."""

    media_type: str
    aigc: dict[str, str] | None
    c2pa: Manifest
    watermark: Mark
    other: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether anything says that it was made by AI, and nothing was altered under a signature."""
        says = bool(self.aigc) or self.watermark.found or self.c2pa.made_by_ai
        return says and self.c2pa.state not in ("altered", "invalid")

    def sentences(self) -> Iterator[str]:
        """The report in plain words."""
        yield _AIGC[bool(self.aigc)].format(**{"ContentProducer": "", **(self.aigc or {})})
        yield _C2PA[self.c2pa.state].format(signer=self.c2pa.signer or "somebody unnamed")
        if self.c2pa.state in ("valid", "trusted"):
            yield "It says: made by AI." if self.c2pa.made_by_ai else "It does not say that this was made by AI."
        if self.watermark.found:
            right = watermark.BITS - self.watermark.errors
            yield f"Watermark: found, {right} of {watermark.BITS} bits right: made by AI."
        else:
            yield "Watermark: not found. The picture was not made here, or was cut or changed a lot."
        yield f"Other metadata: {', '.join(self.other)}." if self.other else "Other metadata: none."


_AIGC = {
    True: "Metadata (GB 45438): made by AI, by {ContentProducer}.",
    False: "Metadata (GB 45438): no label.",
}
_C2PA = {
    "absent": "C2PA manifest: none.",
    "altered": "C2PA manifest: signed by {signer}, but THE FILE WAS CHANGED SINCE.",
    "invalid": "C2PA manifest: there is one, but it is damaged or its signature is wrong.",
    "valid": "C2PA manifest: whole, and unchanged since it was signed by {signer}. Nobody vouches for the signer here.",
    "trusted": "C2PA manifest: whole, and unchanged since it was signed by {signer}, whom you trust.",
}


def verify(media: bytes, anchors: bytes = b"") -> Report:
    """Look at a JPEG, PNG, WebP or MP4. `anchors`: PEM certificates of signers to trust. Raises Unreadable."""
    media_type = sniff(media)
    if media_type == "video/mp4":
        packet, text, other = movies.read(media)
        aigc = xmp.parse_json(text) or xmp.parse(packet)
    else:
        packet, other = stills.read(media, media_type)
        aigc = xmp.parse(packet)
    manifest = provenance.read(media, media_type, anchors)
    return Report(media_type, aigc, Manifest(*manifest), _mark(media, media_type), other)


def sniff(media: bytes) -> str:
    """Its media type. Raises Unreadable."""
    for start, media_type in _SIGNATURES.items():
        if media.startswith(start):
            return media_type
    if media[:4] == b"RIFF" and media[8:12] == b"WEBP":
        return "image/webp"
    if media[4:8] == b"ftyp":
        return "video/mp4"
    raise Unreadable("expected a JPEG, PNG, WebP or MP4, got another file; labels are looked for in these only")


def _mark(media: bytes, media_type: str) -> Mark:
    found = list(_movie_marks(media) if media_type == "video/mp4" else _still_marks(media))
    if not found:
        return Mark(found=False)
    best = min(found, key=lambda one: one.errors)
    return Mark(best.ours, f"{best.bits:08x}", best.errors)


def _still_marks(media: bytes) -> Iterator[watermark.Found]:
    pixels: Any = cv2.imdecode(np.frombuffer(media, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise Unreadable("expected a whole picture, got a damaged one")
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)
    if min(pixels.shape[:2]) < watermark.SMALLEST_SIDE_PX:
        return
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.ndim == 3 and pixels.shape[2] == 4 else None  # noqa: PLR2004
    luma = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels[..., :3].copy(), cv2.COLOR_BGR2GRAY)  # noqa: PLR2004
    yield watermark.read(luma, alpha)


def _movie_marks(media: bytes) -> Iterator[watermark.Found]:
    """Of the first frames: the mark is made anew for every few, and lies best on those."""
    import av  # noqa: PLC0415 - 0.3 s that stills need not pay

    try:
        with av.open(io.BytesIO(media), "r") as container:
            for frame in islice(container.decode(video=0), _FRAMES):
                luma = frame.to_ndarray(format="gray")
                if min(luma.shape) >= watermark.SMALLEST_SIDE_PX:
                    yield watermark.read(luma)
    except (av.FFmpegError, ValueError, IndexError):
        raise Unreadable("expected a whole clip, got a damaged one") from None
