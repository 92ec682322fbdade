"""The implicit label of GB 45438-2025 as an XMP packet: a file's own metadata say that it was made or changed by AI.

The `AIGC` object is a JSON text in the namespace of TC260's practice guide. ContentProducer names the operator, and
ProduceID is a number that the standard wants: random, kept nowhere, so that it leads to nobody. IPTC's
DigitalSourceType says the same for the rest of the world.
"""

from __future__ import annotations

import json
import re
import secrets
from html import escape, unescape
from typing import Final

NAMESPACE: Final = "http://www.tc260.org.cn/ns/AIGC/1.0/"
GENERATED: Final = "1"  # 1: generated or synthesised; 2: possibly; 3: suspected
SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_FIELDS: Final = (
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
)
_AIGC: Final = re.compile(r"<TC260:AIGC>(.{2,4096}?)</TC260:AIGC>", re.DOTALL)


def aigc(producer: str) -> str:
    """A fresh `AIGC` object, as JSON. `producer`: the operator's code or name."""
    known = {"Label": GENERATED, "ContentProducer": producer, "ProduceID": secrets.token_hex(16)}
    return json.dumps({name: known.get(name, "") for name in _FIELDS}, ensure_ascii=False, separators=(",", ":"))


def packet(aigc_json: str) -> bytes:
    """The XMP packet that carries it."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:TC260="{NAMESPACE}" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"<TC260:AIGC>{escape(aigc_json)}</TC260:AIGC>"
        f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def parse(packet_bytes: bytes) -> dict[str, str] | None:
    """The `AIGC` object of a packet, or None. A packet is text of strangers: it is searched, never parsed as XML."""
    found = _AIGC.search(packet_bytes.decode("utf-8", "replace"))
    return parse_json(unescape(found[1])) if found else None


def parse_json(text: str) -> dict[str, str] | None:
    """The known fields of an `AIGC` object, or None where it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("Label"), str):
        return None
    return {name: value[name] for name in _FIELDS if isinstance(value.get(name), str)}
