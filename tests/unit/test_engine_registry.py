from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from ray_cluster.engines import registry, weights
from ray_cluster.engines.errors import NonCommercialWeights, WeightsUnavailable
from ray_cluster.engines.rows.row import Row
from stream.errors import BadRequest

ROW = registry.row("detect")


def test_every_row_states_digest_and_terms_of_its_models() -> None:
    for row in registry.OPERATIONS.values():
        pins = row.pins()
        assert tuple(pin.file for pin in pins) == row.models
        assert all(len(bytes.fromhex(pin.sha256)) == 32 and pin.licence and pin.name for pin in pins)
        assert row.commercial
        assert row.needs_mb(0.1) == row.memory_mb <= row.needs_mb(12.0)


def test_rows_name_only_params_that_they_know() -> None:
    for row in registry.OPERATIONS.values():
        for params in (*row.variants.values(), row.smaller):
            assert set(params) <= set(row.params)


def test_a_model_that_may_not_earn_money_stops_a_commercial_start(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.refuse_non_commercial(registry.OPERATIONS.values())
    real = weights.pin
    monkeypatch.setattr(weights, "pin", lambda name: msgspec.structs.replace(real(name), commercial=False))
    assert not ROW.commercial
    with pytest.raises(NonCommercialWeights, match=r"got .*face_landmark\.tflite.*commercial to false") as caught:
        registry.refuse_non_commercial([ROW])
    assert isinstance(caught.value, BadRequest)


def test_a_model_that_is_not_pinned_has_no_terms() -> None:
    row = Row("x", "m:C", ("new.bin",), licence="none", pool="noop", memory_mb=1, base_s=1.0)
    with pytest.raises(WeightsUnavailable, match=r"new\.bin in weights\.toml"):
        _ = row.commercial


def test_the_list_is_read_without_a_runtime() -> None:
    heavy = ("cv2", "numpy", "ncnn", "ai_edge_litert", "av")
    program = f"import sys, ray_cluster.engines.registry; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
