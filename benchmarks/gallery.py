"""One HTML contact sheet of every operation in the registry: input, outputs, seconds, models and their licences.

    python -m benchmarks.gallery [--photo FILE] [--out FILE]     (`make gallery`, `make gallery PHOTO=FILE`)

The sheet is one file: pictures and clips are inside it. An operation that refuses a photo says so in its place. A new
operation appears by its row: `takes` says what it is given, `variants` what is shown of it.
"""

from __future__ import annotations

import argparse
import base64
import html
import time
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from benchmarks.engines import LEFT_OUT, clip
from benchmarks.photos import Pixels, encoded, photo
from ray_cluster.engines import registry, samples_path
from ray_cluster.engines.decode import decode, fit
from ray_cluster.engines.interface import Engine
from ray_cluster.engines.rows.row import Row
from stream.errors import BadRequest

OUT = Path("out/gallery.html")
SHOWN_PX = 640
SEED = 7
STYLE = """body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; color: #222 }
h2 { border-top: 1px solid #ddd; padding-top: 1rem; margin: 2rem 0 .2rem } p { margin: .2rem 0 .8rem; color: #555 }
.row { display: flex; flex-wrap: wrap; gap: 12px; margin-bottom: 20px } figure { margin: 0; width: 250px }
img, video { width: 250px; border-radius: 6px; display: block;
 background: repeating-conic-gradient(#e4e4e4 0 25%, #fff 0 50%) 0 0 / 18px 18px }
figcaption { color: #555; font-size: 13px; padding-top: 4px } .no { color: #a33 }"""


class Shown(msgspec.Struct, frozen=True):
    """One picture or clip of the sheet, or why there is none."""

    caption: str
    media: bytes = b""
    media_type: str = ""


def main() -> None:
    """Render them all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery")
    parser.add_argument("--photo", type=Path, help="a photo of your own instead of the bundled ones")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    photos = _photos(args.photo)
    parts = [
        _section(row, photos)
        for row in registry.OPERATIONS.values()
        if row.operation not in LEFT_OUT and row.makes != "data"
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(_page(parts), "utf-8")
    print(f"{args.out}: {len(parts)} operations, {args.out.stat().st_size / 1e6:.1f} MB")


def _photos(own: Path | None) -> dict[str, Pixels]:
    if own is not None:
        return {own.stem: decode(own.read_bytes())}
    portraits = {name: decode(samples_path(f"{name}.jpg").read_bytes()) for name in ("portrait", "hopper")}
    return portraits | {"chelsea": photo("chelsea")}


def _section(row: Row, photos: dict[str, Pixels]) -> str:
    engine = registry.build(row.operation)
    engine.load()
    rows: list[list[Shown]] = []
    for name, pixels in photos.items():
        others = [_other(kind, name) for kind in row.takes[1:]]
        inputs = [encoded(fit(pixels, 1024), ".jpg"), *(one.media for one in others)]
        shown = [Shown(name, encoded(fit(pixels, SHOWN_PX), ".jpg"), "image/jpeg"), *others]
        variants = (row.variants or {"": {}}).items()
        rows.append(shown + _together([_made(engine, inputs, variant, params) for variant, params in variants]))
    if row.takes[0] == "media":
        moving = clip()
        made = _made(engine, [moving], *next(iter(reversed((row.variants or {"": {}}).items()))))
        rows.append([Shown("a clip", moving, "video/mp4"), made])
    terms = sorted({f"{pin.name} ({pin.licence})" for pin in row.pins()})
    facts = f"{row.pool}, about {row.memory_mb} MB; {'; '.join(terms) or 'no model'}"
    figures = "".join(f'<div class="row">{"".join(_figure(one) for one in shown)}</div>' for shown in rows)
    print(row.operation, sum(len(shown) for shown in rows))
    return f"<h2>{html.escape(row.operation)}</h2><p>{html.escape(facts)}</p>{figures}"


def _together(made: list[Shown]) -> list[Shown]:
    """What every variant refuses is said once."""
    whys = {one.caption.split()[-1] for one in made}
    if len(made) == 1 or len(whys) > 1 or any(one.media for one in made):
        return made
    return [Shown(f"every variant: {whys.pop()}")]


def _made(engine: Engine, inputs: list[bytes], variant: str, params: dict[str, Any]) -> Shown:
    start = time.perf_counter()
    try:
        result = engine.run(inputs, params, seed=SEED, report=lambda *_: None, cancelled=lambda: False)
    except BadRequest as error:
        return Shown(f"{variant} {error.kind}".strip())
    caption = f"{variant} {time.perf_counter() - start:.1f} s, {result.width} x {result.height}".strip()
    if result.media_type.startswith("video/"):
        return Shown(f"{caption}, {result.frames} frames", bytes(result.media), result.media_type)
    return Shown(caption, _small(result.media), "image/webp")


def _small(media: bytearray) -> bytes:
    """A still at the size of the sheet, with its alpha."""
    pixels: Any = cv2.imdecode(np.frombuffer(media, np.uint8), cv2.IMREAD_UNCHANGED)
    scale = min(1.0, SHOWN_PX / max(pixels.shape[:2]))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    return bytes(cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, 90])[1].data)


def _other(kind: str, photo_name: str) -> Shown:
    """What an operation is given besides its photo: nobody's face goes onto themselves."""
    if kind == "garment":
        return Shown("and this cloth", encoded(photo("chelsea"), ".jpg"), "image/jpeg")
    name = "portrait" if photo_name == "hopper" else "hopper"
    return Shown(f"onto {name}", samples_path(f"{name}.jpg").read_bytes(), "image/jpeg")


def _figure(one: Shown) -> str:
    caption = f"<figcaption>{html.escape(one.caption)}</figcaption>"
    if not one.media:
        return f'<figure class="no">{caption}</figure>'
    data = f"data:{one.media_type};base64,{base64.b64encode(one.media).decode()}"
    if one.media_type.startswith("video/"):
        return f'<figure><video src="{data}" autoplay loop muted playsinline controls></video>{caption}</figure>'
    return f'<figure><img src="{data}" alt="" loading="lazy">{caption}</figure>'


def _page(sections: list[str]) -> str:
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Mayfly: every operation</title>'
    terms = "portrait: NASA; hopper: US Navy (both public domain); chelsea: CC0, Stefan van der Walt."
    intro = f"<h1>Every operation</h1><p>Seconds on this machine, warm, encoding included. Photos: {terms}</p>"
    return f"{head}<style>{STYLE}</style>{intro}{''.join(sections)}</html>"


if __name__ == "__main__":
    main()
