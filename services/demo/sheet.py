"""The contact sheet: one page without a byte from elsewhere, so that it can be moved and mailed."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from string import Template
from typing import Final, NamedTuple

from services.demo import table
from services.demo.erasure import Erasure, broken

_PAGE: Final = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Mayfly: what became of a photo</title>
<meta name="viewport" content="width=device-width">
<style>
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; }
.media { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.5rem 0; }
figure { margin: 0; flex: 1 1 14rem; min-width: 0; }
figure > * { width: 100%; height: 22rem; object-fit: contain; background: #8881; border-radius: .5rem; display: block; }
figcaption { height: auto; background: none; padding: .4rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .45rem .8rem .45rem 0; border-bottom: 1px solid var(--line); }
.broken, .broken td { color: #c22; }
.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
</style>
<h1>What became of a photo</h1>
<p>$verdict</p>
<div class="media">$media</div>
<div class="scroll"><table><thead><tr>$head</tr></thead><tbody>$rows</tbody></table></div>
<p>$caption, on the demo's clock. <em>Hidden</em>: no API returned it any more.
<em>Unreadable</em>: its key, and every older version of the root above it, was destroyed. <em>Gone</em>: its
ciphertext was deleted and looked for in vain. This page and the files beside it are the user's own copies.</p>
</html>
""")

_FIRST_NUMBER: Final = table.COLUMNS.index("hidden")


class Picture(NamedTuple):
    """Something to look at."""

    caption: str
    media_type: str
    data: bytes


def page(pictures: Iterable[Picture], erasures: list[Erasure], sentences: list[str]) -> str:
    """HTML. `sentences`: what was broken."""
    verdict = (
        f'<span class="broken">{escape("; ".join(sentences))}</span>'
        if sentences
        else f"{len(erasures)} assets came into being, and each vanished when it was promised to."
    )
    return _PAGE.substitute(
        verdict=verdict,
        caption=escape(table.CAPTION.capitalize()),
        media="".join(_figure(each) for each in pictures),
        head="".join(f"<th>{escape(name)}" for name in table.COLUMNS),
        rows="".join(_row(found, cells) for found, cells in zip(erasures, table.rows(erasures), strict=True)),
    )


def _figure(picture: Picture) -> str:
    source = f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode()}"
    caption = escape(picture.caption)
    shown = (
        f'<video src="{source}" controls autoplay loop muted playsinline></video>'
        if picture.media_type.startswith("video/")
        else f'<img src="{source}" alt="{caption}">'
    )
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _row(found: Erasure, cells: tuple[str, ...]) -> str:
    shown = "".join(
        f'<td class="number">{escape(cell)}' if n >= _FIRST_NUMBER else f"<td>{escape(cell)}"
        for n, cell in enumerate(cells)
    )
    return f'<tr class="broken">{shown}</tr>' if broken(found) else f"<tr>{shown}</tr>"
