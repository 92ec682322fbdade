"""Do labels survive? `labels.py` on the photographs of this run."""

from __future__ import annotations

from benchmarks.quality import labels
from benchmarks.quality.check import Bench, Check


def label_survives_jpeg60(bench: Bench) -> Check:
    """See `labels.label_survives_jpeg60`."""
    return _named(labels.label_survives_jpeg60(list(bench.photos.values())), bench)


def label_survives_resize(bench: Bench) -> Check:
    """See `labels.label_survives_resize`."""
    return _named(labels.label_survives_resize(list(bench.photos.values())), bench)


def label_found_unmarked(bench: Bench) -> Check:
    """See `labels.label_found_unmarked`."""
    return _named(labels.label_found_unmarked(list(bench.photos.values())), bench)


def _named(found: labels.Check, bench: Bench) -> Check:
    name, value, bar, ok = found
    return Check(name, round(value, 4), bar, bool(ok), f"{len(bench.photos)} photos")
