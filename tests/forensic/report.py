"""What a scan says to people. Never what was found, only how much of what kind, and where."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.forensic.canaries import Flock
from tests.forensic.control import KIND
from tests.forensic.scan import Place

FEWEST = 1000


@dataclass(slots=True)
class Finding:
    """One whole run."""

    flock: Flock
    places: list[Place]
    missed: list[str]
    classes: Counter[str]
    states: Counter[str]
    restarts: int
    unclean: list[str]
    drilled_s: float
    scanned_s: float

    @property
    def sent(self) -> int:
        """Canaries, without the control."""
        return sum(kind != KIND for kind in self.flock.kinds)

    @property
    def found(self) -> set[int]:
        """Canaries found anywhere, without the control."""
        met = {number for place in self.places for number in place.canaries(self.flock)}
        return {number for number in met if self.flock.kinds[number] != KIND}

    @property
    def clean(self) -> bool:
        """Nothing was found that was not planted, and all that was."""
        return not self.found and not self.missed and not self.unclean and self.sent >= FEWEST


def dump(finding: Finding, path: Path) -> None:
    """Each finding with what lies around it: the file holds what was sought, which is nobody's data."""
    with path.open("w") as file:
        for place in finding.places:
            for where, i, around in place.samples:
                needle = finding.flock.needles[i]
                if (kind := finding.flock.kinds[needle.canary]) != KIND:
                    file.write(f"{place.name}\t{kind} ({needle.form})\t{where}\t{around!r}\n")


def print_report(finding: Finding) -> None:
    """Tables, and the last line."""
    say, flock = sys.stdout.write, finding.flock
    classes = ", ".join(f"{count} {name}" for name, count in sorted(finding.classes.items()))
    states = ", ".join(f"{count} {name}" for name, count in sorted(finding.states.items()))
    say(f"jobs: {states}; assets erased and proven absent: {classes}; {finding.restarts} workers restarted\n")
    say(f"drill {finding.drilled_s:.1f} s, scan {finding.scanned_s:.1f} s\n\n")
    say(f"{'canary':<24}{'sent':>8}{'needles':>9}{'found':>8}\n")
    sent, found = Counter(flock.kinds), Counter(flock.kinds[number] for number in finding.found)
    needles = Counter(flock.kinds[needle.canary] for needle in flock.needles)
    for kind, count in sent.items():
        if kind != KIND:
            say(f"{kind:<24}{count:>8}{needles[kind]:>9}{found[kind]:>8}\n")
    say(f"\n{'place':<36}{'parts':>6}{'MB':>9}{'found':>8}  of what\n")
    for place in sorted(finding.places, key=lambda place: place.name):
        met = [number for number in place.canaries(flock) if flock.kinds[number] != KIND]
        kinds = Counter(
            f"{flock.kinds[flock.needles[hit].canary]} ({flock.needles[hit].form})"
            for hit in place.hits
            if flock.kinds[flock.needles[hit].canary] != KIND
        )
        words = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        say(f"{place.name:<36}{place.parts:>6}{place.size / 1e6:>9.1f}{len(met):>8}  {words}\n")
    say("\n")
    if finding.unclean:
        say(f"started without overwriting of freed memory: {', '.join(finding.unclean)}\n")
    if finding.missed:
        say(f"control missed in: {', '.join(finding.missed)}\n")
    control = "found" if not finding.missed else "missed"
    say(f"{finding.sent} canaries, {len(finding.found)} found, control {control}\n")
