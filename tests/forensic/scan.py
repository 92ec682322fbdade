"""One pass over all places: which needle lies where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.forensic.canaries import Flock
from tests.forensic.needles import Needles
from tests.forensic.places import Piece

THREADS = 2
SAMPLES = 400
AROUND_BYTES = 160


@dataclass(slots=True)
class Place:
    """What was read of one place, and which needles were met how often."""

    name: str
    size: int = 0
    parts: int = 0
    hits: Counter[int] = field(default_factory=Counter)
    samples: list[tuple[str, int, bytes]] = field(default_factory=list)
    """Where, number of the needle, and what lies around: for whoever looks for the cause of a leak."""

    def canaries(self, flock: Flock) -> set[int]:
        """Numbers of the canaries of which any form was met."""
        return {flock.needles[hit].canary for hit in self.hits}


Sources = Iterable[tuple[str, Iterable[Piece]]]


def scan(flock: Flock, sources: Sources) -> list[Place]:
    """Read every source to its end; those of one name are one place."""
    needles = Needles([needle.pattern for needle in flock.needles])
    places: dict[str, Place] = {}

    def one(name: str, pieces: Iterable[Piece]) -> Place:
        place, tail = Place(name, parts=1), b""
        for piece in pieces:
            before = tail if piece.joined else b""
            data = before + piece.data
            for at, i in needles.find(data):
                if at + len(flock.needles[i].pattern) > len(before):
                    place.hits[i] += 1
                    if len(place.samples) < SAMPLES:
                        around = data[max(0, at - AROUND_BYTES) : at + AROUND_BYTES]
                        place.samples.append((f"{piece.where} + {at - len(before):#x}", i, around))
            place.size += len(piece.data)
            tail = data[-needles.overlap :]
        return place

    with ThreadPoolExecutor(THREADS) as threads:
        for result in [threads.submit(one, name, pieces) for name, pieces in sources]:
            part = result.result()
            place = places.setdefault(part.name, Place(part.name))
            place.size += part.size
            place.parts += 1
            place.hits += part.hits
            place.samples += part.samples
    return list(places.values())
