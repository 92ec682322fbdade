"""Big models through the engines' interface, with small ones in their place.

They need torch and diffusers: `make diffusers` installs both (5 GB) and runs this folder. Elsewhere it is skipped.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np
import pytest

from ray_cluster.engines import samples_path
from ray_cluster.engines.diffusion import engine as engines
from ray_cluster.engines.diffusion import models
from ray_cluster.engines.diffusion.engine import ENGINES
from ray_cluster.engines.diffusion.pipeline import Pipeline
from ray_cluster.engines.errors import BadModel, BadParams, Cancelled, EngineFault, WeightsUnavailable
from ray_cluster.guard import Guard
from ray_cluster.labels import verify
from ray_cluster.labels.rules import AppRules, Rules
from ray_cluster.leases import Piece, Task

pytest.importorskip("torch")
pytest.importorskip("diffusers")

import torch
from diffusers import WanImageToVideoPipeline

from tests.diffusion import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # of theirs, which change with each version
PHOTO = samples_path("portrait.jpg").read_bytes()
BUILD: dict[str, Callable[[Path], None]] = {
    "image_to_video": tiny.image_to_video,
    "stable_video": tiny.stable_video,
    "character_animation": tiny.character_animation,
    "instruction_editing": tiny.instruction_editing,
}


class Bench:
    """Folders of tiny models, built once, and engines on them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, name: str) -> Path:
        path = self._folder / name
        if not path.exists():
            BUILD[name](path)
        return path

    def model(self, name: str, **changes: Any) -> models.Model:
        folder = self.folder(name)
        made = models.Model(
            operation=name,
            task="image_to_video" if name == "stable_video" else name,
            folder=str(folder),
            digest=models.digest_of(folder),
            licence="CC0-1.0",
            commercial=True,
            source="random",
            device="cpu",
            dtype="float32",
            steps=3,
            longer_side_px=64,
            frames=5,
            frames_per_second=8,
            call={"guidance_scale": 2.0, "max_sequence_length": 16, "segment_frame_length": 5},
            driving={"wave": (self.driving(), self.driving())} if name == "character_animation" else {},
        )
        return msgspec.structs.replace(made, **changes)

    def driving(self) -> str:
        path = self._folder / "driving.mp4"
        if not path.exists():
            with av.open(str(path), "w") as container:
                stream = container.add_stream("libx264", rate=8)
                stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
                for index in range(5):
                    frame = np.full((64, 64, 3), 40 * index, np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
                container.mux(stream.encode(None))
        return str(path)

    def engine(self, monkeypatch: pytest.MonkeyPatch, model: models.Model) -> engines.Diffusion:
        path = self._folder / f"{model.operation}.toml"
        path.write_text(toml(model))
        monkeypatch.setenv(models.VARIABLE, str(path))
        return ENGINES[model.task](Path())


def toml(model: models.Model) -> str:
    rows = [f"{name} = {value(one)}" for name, one in msgspec.structs.asdict(model).items()]
    return "[[model]]\n" + "\n".join(rows) + "\n"


def value(one: Any) -> str:
    if isinstance(one, dict):
        return "{ " + ", ".join(f"{name} = {value(inner)}" for name, inner in one.items()) + " }"
    if isinstance(one, tuple):
        return "[" + ", ".join(map(value, one)) + "]"
    return str(one).lower() if isinstance(one, bool) else repr(one)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("models"))


def run(engine: Any, *, seed: int = 1, cancel_after: int = 99, **params: Any) -> tuple[Any, list[tuple[str, float]]]:
    told: list[tuple[str, float]] = []
    result = engine.run(
        [PHOTO],
        params,
        seed=seed,
        report=lambda stage, part: told.append((stage, part)),
        cancelled=lambda: len([one for one in told if one[0] == "draw"]) >= cancel_after,
    )
    return result, told


@pytest.mark.parametrize("name", ["image_to_video", "stable_video", "character_animation"])
def test_a_photo_becomes_a_clip_and_every_step_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    engine = bench.engine(monkeypatch, bench.model(name))
    result, told = run(engine, prompt="dance")
    with av.open(io.BytesIO(result.media)) as container:
        assert sum(1 for _ in container.decode(video=0)) == result.frames == 5
        assert (container.streams.video[0].width, container.streams.video[0].height) == (64, 64)
    drawn = [part for stage, part in told if stage == "draw"]
    assert len(drawn) == 3
    assert [part for _, part in told] == sorted(part for _, part in told)
    assert told[-1] == ("done", 1.0)
    assert result.facts == {"steps": 3}


def test_a_photo_is_edited_as_told_in_as_many_steps_as_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = bench.engine(monkeypatch, bench.model("instruction_editing"))
    result, told = run(engine, prompt="blue hair", steps=2)
    assert cv2.imdecode(np.frombuffer(result.media, np.uint8), cv2.IMREAD_COLOR).shape == (64, 64, 3)
    assert [stage for stage, _ in told].count("draw") == 2
    assert run(engine, prompt="blue hair", steps=200)[0].facts == {"steps": 3}
    small, _ = run(engine, prompt="blue hair", steps=1, size="small")
    assert (small.width, small.height) == (32, 32)
    with pytest.raises(BadParams, match="what to change"):
        run(engine, prompt="  ")
    with pytest.raises(BadParams):
        run(engine, prompt="x" * 601)


@pytest.mark.parametrize("name", ["image_to_video", "instruction_editing"])
def test_the_seed_decides(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    engine = bench.engine(monkeypatch, bench.model(name))
    first, again, other = (run(engine, seed=seed, prompt="dance")[0].media for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("name", ["image_to_video", "stable_video", "character_animation", "instruction_editing"])
def test_it_is_cancelled_within_one_step(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    engine = bench.engine(monkeypatch, bench.model(name, steps=50))
    steps: list[int] = []
    monkeypatch.setattr(Pipeline, "run", counting(Pipeline.run, steps))
    with pytest.raises(Cancelled):
        run(engine, prompt="dance", cancel_after=2)
    assert steps == [1, 2, 3]  # the third finds that the lease is gone, and 47 are never made
    result, _ = run(engine, prompt="dance", steps=2)  # and the engine goes on
    assert result.media


def counting(original: Callable[..., Any], steps: list[int]) -> Callable[..., Any]:
    def run_counted(self: Pipeline, arguments: Any, *, step: Callable[[int], None], **named: Any) -> Any:
        def told(done: int) -> None:
            steps.append(done)
            step(done)

        return original(self, arguments, step=told, **named)

    return run_counted


def test_it_runs_in_bfloat16(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    model = bench.model("instruction_editing", dtype="bfloat16")
    pipeline = Pipeline(model, models.verify(model))
    assert pipeline._pipe.unet.dtype is torch.bfloat16
    result, _ = run(bench.engine(monkeypatch, model), prompt="smile")
    assert result.media


def test_offloading_is_asked_for_as_the_row_says(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: asked.append("empty_cache"))
    for name in ("enable_model_cpu_offload", "enable_sequential_cpu_offload"):
        monkeypatch.setattr(WanImageToVideoPipeline, name, lambda _, name=name: asked.append(name))
    monkeypatch.setattr(WanImageToVideoPipeline, "to", lambda _, where: asked.append(where))
    for offload in ("none", "model", "sequential"):
        model = bench.model("image_to_video", device="cuda", offload=offload)
        pipeline = Pipeline(model, models.verify(model))
        assert pipeline._pipe.vae.use_tiling == (offload != "none")
    assert asked == ["cuda", "enable_model_cpu_offload", "enable_sequential_cpu_offload"]
    with pytest.raises(BadModel, match="offload none"):
        Pipeline(bench.model("image_to_video", offload="model"), bench.folder("image_to_video"))


def test_without_a_gpu_a_model_for_one_does_not_load(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineFault, match="expected a GPU"):
        Pipeline(bench.model("image_to_video", device="cuda"), bench.folder("image_to_video"))


def test_one_other_byte_and_it_does_not_load(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiny.instruction_editing(tmp_path / "model")
    model = bench.model("instruction_editing", folder=str(tmp_path / "model"))
    weights = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(WeightsUnavailable, match="fetch it again"):
        bench.engine(monkeypatch, model).load()


def test_what_is_no_pipeline_of_this_library_is_refused(bench: Bench, tmp_path: Path) -> None:
    tiny.instruction_editing(tmp_path / "model")
    index = tmp_path / "model" / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionInstructPix2PixPipeline", "NoSuchPipeline"))
    with pytest.raises(BadModel, match="to load"):
        Pipeline(bench.model("instruction_editing"), tmp_path / "model")


def test_a_style_that_the_model_has_no_clip_for_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = bench.engine(monkeypatch, bench.model("character_animation"))
    with pytest.raises(BadParams, match="among wave"):
        run(engine, style="tango")
    gone = bench.model("character_animation", driving={"wave": ("/no/such.mp4", "/no/such.mp4")})
    with pytest.raises(WeightsUnavailable, match="driving clip"):
        run(bench.engine(monkeypatch, gone), style="wave")


def test_what_they_make_is_labelled_and_looked_at(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = bench.engine(monkeypatch, bench.model("image_to_video", longer_side_px=128))
    guard = Guard(Rules({"a": AppRules("a")}, "o"))
    task = Task("j", 1, "a", "image_to_video", 1, (Piece("input", "x", "", b""),), (), b"")
    result, _ = run(guard.around(engine, task), prompt="dance")
    report = verify.verify(bytes(result.media))
    assert report.aigc is not None
    assert report.labelled
