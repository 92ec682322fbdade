"""Which big models an operator has: their file, their digest, and what is never loaded. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from ray_cluster.engines import registry
from ray_cluster.engines.diffusion import models
from ray_cluster.engines.diffusion.engine import DiffusionParams, ImageToVideo, sized
from ray_cluster.engines.errors import BadModel, EngineFault, NonCommercialWeights, WeightsUnavailable
from ray_cluster.engines.rows import diffusion
from ray_cluster.pools import default_pools

ROW = """
[[model]]
operation = "image_to_video"
task = "image_to_video"
folder = "{folder}"
digest = "{digest}"
licence = "Apache-2.0"
commercial = {commercial}
source = "somewhere"
steps = 40
base_s = 2.0
step_s = 1.5
"""


def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "unet").mkdir(parents=True)
    (made / "model_index.json").write_text("{}")
    (made / "unet" / "weights.safetensors").write_bytes(b"numbers")
    return made


def written(tmp_path: Path, *, digest: str = "0" * 64, commercial: str = "true", more: str = "") -> Path:
    path = tmp_path / "models.toml"
    path.write_text(ROW.format(folder=tmp_path / "model", digest=digest, commercial=commercial) + more)
    return path


def test_a_digest_covers_names_sizes_and_bytes(tmp_path: Path) -> None:
    made = folder(tmp_path)
    digest = models.digest_of(made)
    assert digest == models.digest_of(made)
    seen = {digest}
    (made / "unet" / "weights.safetensors").write_bytes(b"Numbers")
    seen.add(models.digest_of(made))
    (made / "unet" / "weights.safetensors").rename(made / "unet" / "other.safetensors")
    seen.add(models.digest_of(made))
    (made / "README.md").write_text("")
    seen.add(models.digest_of(made))
    assert len(seen) == 4


@pytest.mark.parametrize("name", ["model.bin", "weights.pt", "code.py", "old.ckpt", "lib.so"])
def test_what_would_be_run_when_it_is_read_is_never_loaded(tmp_path: Path, name: str) -> None:
    made = folder(tmp_path)
    (made / "unet" / name).write_bytes(b"?")
    with pytest.raises(BadModel, match="would be run"):
        models.digest_of(made)


def test_links_lead_elsewhere_and_are_refused(tmp_path: Path) -> None:
    made = folder(tmp_path)
    (made / "link.safetensors").symlink_to("/etc/hostname")
    with pytest.raises(BadModel, match="plain files"):
        models.digest_of(made)


def test_a_folder_is_the_pinned_one_or_is_not_loaded(tmp_path: Path) -> None:
    made = folder(tmp_path)
    (model,) = models.read(written(tmp_path, digest=models.digest_of(made)))
    assert models.verify(model) == made
    (other,) = models.read(written(tmp_path))
    with pytest.raises(WeightsUnavailable, match="fetch it again"):
        models.verify(other)
    (made / "model_index.json").unlink()
    with pytest.raises(WeightsUnavailable, match=r"model_index\.json"):
        models.verify(model)


def test_a_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="got more"):
        models.read(written(tmp_path, more=ROW.format(folder="x", digest="1" * 64, commercial="true")))
    with pytest.raises(BadModel, match="digest"):
        models.read(written(tmp_path, digest="short"))
    with pytest.raises(BadModel, match="No such file"):
        models.read(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("[[")
    with pytest.raises(BadModel):
        models.read(tmp_path / "broken.toml")


def test_without_a_file_there_is_no_big_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(models.VARIABLE, raising=False)
    assert models.configured() == ()
    with pytest.raises(WeightsUnavailable, match="MAYFLY_DIFFUSION"):
        ImageToVideo(tmp_path).load()


def test_an_operation_with_a_big_model_has_a_pool_of_its_own_with_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "OPERATIONS", dict(registry.OPERATIONS))
    monkeypatch.setattr("ray_cluster.pools.OPERATIONS", registry.OPERATIONS)
    assert "diffusion" not in {pool.name for pool in default_pools()}
    monkeypatch.setenv(models.VARIABLE, str(written(tmp_path)))
    registry.take_big_models()
    row = registry.row("image_to_video")
    assert (row.pool, row.device, row.makes) == ("diffusion", "gpu", "video")
    assert row.params == tuple(sorted(DiffusionParams.__struct_fields__))
    assert row.profiles
    msgspec.convert(row.smaller, DiffusionParams)
    assert row.cost_s(1.0) == 2.0 + 40 * 1.5
    assert isinstance(registry.build("image_to_video"), ImageToVideo)
    (pool,) = (pool for pool in default_pools() if pool.name == "diffusion")
    assert (pool.operations, pool.gpus) == (("image_to_video",), 1.0)
    assert all(pool.gpus == 0 for pool in default_pools() if pool.name != "diffusion")


def test_a_model_that_may_not_earn_money_stops_a_commercial_start(tmp_path: Path) -> None:
    (free,), (barred,) = (models.read(written(tmp_path, commercial=word)) for word in ("true", "false"))
    registry.refuse_non_commercial([diffusion.row_of(free)])
    with pytest.raises(NonCommercialWeights, match="model"):
        registry.refuse_non_commercial([diffusion.row_of(barred)])


def test_where_torch_is_missing_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder(tmp_path)
    monkeypatch.setenv(models.VARIABLE, str(written(tmp_path, digest=models.digest_of(made))))
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(EngineFault, match="make diffusers"):
        ImageToVideo(tmp_path).load()


def test_a_photo_is_made_to_measure() -> None:
    for height, width in ((512, 512), (300, 900), (33, 2000), (4000, 3000)):
        made = sized(np.zeros((height, width, 3), np.uint8), 832, 16)
        assert made.shape[0] % 16 == made.shape[1] % 16 == 0
        assert 816 <= max(made.shape[:2]) <= 832
        assert min(made.shape[:2]) >= 16
