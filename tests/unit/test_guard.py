"""The content gate around engines: what it looks at, what it refuses, and where an operator sets it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np
import pytest

from ray_cluster import guard as guards
from ray_cluster.attempt import failure
from ray_cluster.engines import confine, gate, samples_path, weights
from ray_cluster.engines.errors import ContentRefused, EngineFault, Undecodable, WeightsUnavailable
from ray_cluster.engines.interface import Result
from ray_cluster.engines.noop import Noop
from ray_cluster.guard import Guard
from ray_cluster.labels import rules
from ray_cluster.labels.errors import BadRules, Unlabellable
from ray_cluster.labels.rules import AppRules, Rules
from ray_cluster.leases import Piece, Task

PORTRAIT = samples_path("portrait.jpg").read_bytes()
APPS = ("genzo", "talentedi", "perfect-me", "background-removal-ai", "batchpix")


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    gate.load(weights.directory())


@pytest.fixture
def child() -> Iterator[None]:
    confine.turn_on(gate=True)
    yield
    confine.turn_off()


def task(*roles: str, app: str = "genzo", operation: str = "stylization") -> Task:
    pieces = tuple(Piece(role, "a", "", b"") for role in roles or ("input",))
    return Task("j", 1, app, operation, 1, pieces, (), b"")


def with_gate(score: float) -> Guard:
    return Guard(Rules({"genzo": AppRules("genzo", {"*": score, "cutout": 1.0})}))


def run(guard: Guard, of: Task, *inputs: bytes) -> bytes:
    engine: Any = guard.around(Noop(Path()), of)
    engine.load()
    told: list[float] = []
    made = engine.run(inputs, {}, seed=1, report=lambda _, part: told.append(part), cancelled=lambda: False)
    assert told == sorted(told)
    return bytes(made.media)


def clip(*frames: np.ndarray) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "1"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def test_a_portrait_scores_low_and_what_it_was_given_is_not_kept() -> None:
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(PORTRAIT, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    first = gate.score(pixels)
    assert 0 < first < 0.2
    gate.score(np.zeros((8, 8, 3), np.uint8))
    assert gate.score(pixels) == first


@pytest.mark.usefixtures("child")
def test_over_the_score_of_its_app_a_picture_is_refused_by_name() -> None:
    assert run(with_gate(0.2), task(), PORTRAIT) == PORTRAIT
    with pytest.raises(ContentRefused, match="content gate") as refused:
        run(with_gate(0.001), task(), PORTRAIT)
    outcome = failure(refused.value, revoked=False)
    assert (outcome.status, outcome.kind, outcome.reason) == ("failed", "permanent", "content-refused")


def test_an_operation_may_be_let_through() -> None:
    assert run(with_gate(0.0), task(operation="cutout"), PORTRAIT) == PORTRAIT
    assert run(with_gate(0.0), task(app="another"), PORTRAIT) == PORTRAIT
    for operation in ("detect", "noop"):
        assert run(with_gate(0.0), task(operation=operation), b"whatever") == b"whatever"


def test_only_what_a_user_sent_is_looked_at() -> None:
    with pytest.raises(Undecodable):
        run(with_gate(0.2), task("input", "feature"), b"no picture", b"features")
    assert run(with_gate(0.2), task("input", "feature"), PORTRAIT, b"features") == PORTRAIT


def test_what_a_model_invents_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "score", lambda _: 0.9)
    assert run(with_gate(0.8), task("feature"), PORTRAIT) == PORTRAIT
    row = msgspec.structs.replace(guards.registry.row("stylization"), pool="diffusion")
    monkeypatch.setitem(guards.registry.OPERATIONS, "stylization", row)
    with pytest.raises(ContentRefused):
        run(with_gate(0.8), task("feature"), PORTRAIT)


def test_a_result_that_may_not_leave_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytearray] = []

    class Keeps(Noop):
        def run(self, *args: Any, **named: Any) -> Result:
            result = super().run(*args, **named)
            kept.append(result.media)
            return msgspec.structs.replace(result, media_type="image/gif")

    engine = with_gate(1.0).around(Keeps(Path()), task())
    with pytest.raises(Unlabellable, match="image/gif"):
        engine.run([PORTRAIT], {}, seed=1, report=lambda *_: None, cancelled=lambda: False)
    assert len(kept[0]) == len(PORTRAIT)
    assert not any(kept[0])


def test_a_gate_without_its_network_keeps_an_actor_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.DIRECTORY_VARIABLE, str(tmp_path))
    with pytest.raises(WeightsUnavailable, match=r"open-nsfw\.onnx"):
        Guard.open(("stylization",))


def test_each_key_frame_of_a_clip_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(gate, "score", lambda pixels: seen.append(int(pixels.mean())) or pixels.mean() / 255)
    frames = [np.full((32, 32, 3), level, np.uint8) for level in (20, 60, 100, 240, 20)]
    run(with_gate(0.999), task(), clip(*frames))
    assert seen == pytest.approx([20, 60, 100, 240, 20], abs=3)
    seen.clear()
    with pytest.raises(ContentRefused):
        run(with_gate(0.9), task(), clip(*frames))
    assert len(seen) == 4


def test_a_clip_is_looked_at_as_far_as_it_can_be_read() -> None:
    whole = clip(*[np.full((32, 32, 3), level, np.uint8) for level in range(0, 250, 10)])
    with pytest.raises(Undecodable):
        list(gate.examine(whole[: len(whole) // 4], at_most=0.9))


def test_without_its_network_nothing_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_net", None)
    with pytest.raises(EngineFault, match="to be loaded"):
        run(with_gate(0.2), task(), PORTRAIT)


@pytest.mark.parametrize("app", APPS)
def test_every_published_app_has_rules(app: str) -> None:
    shipped = rules.read()
    assert app in shipped.apps
    assert shipped.of(app).gate_of("face_swap") == (0.8 if app in APPS[:3] else 1.0)
    assert shipped.of("some other").gate_of("face_swap") == 1.0
    assert shipped.gated


def test_an_operator_has_rules_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rules.DIRECTORY_VARIABLE, str(tmp_path))
    assert rules.read(rules.directory()).of("genzo").gate_of("anime") == 0.8
    (tmp_path / rules.FILE).write_text('producer = "We"\n[[app]]\napp = "genzo"\ngate = { anime = 0.3 }\n')
    guard = Guard.open(("noop",))
    assert (guard.rules.of("genzo").gate_of("anime"), guard.rules.producer) == (0.3, "We")
    for bad in (
        "[[app]]\n",
        "app = 3",
        '[[app]]\napp = "genzo"\ngate = { anime = 7 }\n',
        "][",
        '[[app]]\napp="x"\ny=1',
    ):
        (tmp_path / rules.FILE).write_text(bad)
        with pytest.raises(BadRules, match=r"rules\.toml"):
            Guard.open(("noop",))


def test_only_where_files_are_decoded_there_is_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    monkeypatch.setattr(guards.confine, "turn_on", lambda *, gate: told.append(gate))
    Guard.open(("noop",))
    assert told == []
    Guard.open(("stylization",))
    assert told == [True]
