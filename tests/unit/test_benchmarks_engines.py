"""What the benchmarks of engines say is about every operation, and about photographs only."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from benchmarks import engines, gallery
from benchmarks.quality.__main__ import CHECKS
from benchmarks.quality.check import Bench, above, below
from benchmarks.quality.composites import composites
from ray_cluster.engines import registry
from ray_cluster.engines.errors import NoPerson
from ray_cluster.engines.interface import Result


def test_every_operation_is_measured_and_every_look_by_its_name() -> None:
    names = engines.names()
    assert {name.split(".")[0] for name in names} == set(registry.OPERATIONS) - engines.LEFT_OUT
    looks = ("anime", "cartoon", "pencil", "oil", "watercolour", "neon")
    assert {f"stylization.{look}" for look in looks} < set(names)
    assert all(set(params) <= set(row.params) for row, params in names.values())


def test_checks_have_names_of_their_own() -> None:
    assert len({check.__name__ for check in CHECKS}) == len(CHECKS)


def test_bars_are_strict_unless_said_otherwise() -> None:
    assert below("x", 0.9, 1.0, "").ok
    assert not below("x", 1.0, 1.0, "").ok
    assert below("x", 0.6, 0.6, "", or_equal=True).ok
    assert not above("x", 0.0, 0.0, "").ok


def test_what_is_no_photograph_is_skipped_and_counted(tmp_path: Path) -> None:
    photo = cv2.imencode(".png", np.full((8, 9, 3), 77, np.uint8))[1].tobytes()
    (tmp_path / "a.png").write_bytes(photo)
    (tmp_path / "b.jpg").write_bytes(b"not a photograph")
    (tmp_path / "notes.txt").write_text("nor this")
    bench = Bench(tmp_path)
    assert list(bench.photos) == ["a.png"]
    assert bench.photos["a.png"].shape == (8, 9, 3)
    assert bench.skipped == 2


def test_composites_are_what_their_alpha_says() -> None:
    found = list(composites())
    assert len({one.name for one in found}) == len(found) == 9
    for one in found:
        assert one.alpha.shape == one.picture.shape[:2]
        assert one.alpha.min() == 0.0
        assert one.alpha.max() == 1.0
        assert ((one.alpha > 0) & (one.alpha < 1)).mean() > 0.02 or one.name.startswith("cup")  # hair
    first, second = found[0], found[1]  # one figure before two places
    assert np.array_equal(first.picture[first.alpha == 1], second.picture[second.alpha == 1])
    assert not np.array_equal(first.picture[first.alpha == 0], second.picture[second.alpha == 0])


class Refuses:
    def load(self) -> None: ...

    def run(self, *_: object, **__: object) -> Result:
        raise NoPerson("expected a person")


def test_the_sheet_says_what_was_refused_and_escapes_names() -> None:
    shown = gallery._made(Refuses(), [b""], "velvet", {})
    assert shown.caption == "velvet no-person"
    assert 'class="no"' in gallery._figure(shown)
    assert "&lt;b&gt;" in gallery._figure(gallery.Shown("<b>", b"x", "image/webp"))


def test_a_sheet_swaps_two_people_and_says_a_common_refusal_once() -> None:
    assert gallery._other("target", "hopper").media != gallery._other("target", "portrait").media
    refused = [gallery.Shown("velvet no-person"), gallery.Shown("linen no-person")]
    assert [one.caption for one in gallery._together(refused)] == ["every variant: no-person"]
    mixed = [gallery.Shown("velvet no-person"), gallery.Shown("linen 0.5 s", b"x", "image/webp")]
    assert gallery._together(mixed) == mixed
