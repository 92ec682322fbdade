"""What stays on the user's device: it does what its name says, leaves the rest alone, and opens no socket."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from ray_cluster.device import clips, face, filters, makeup, props
from ray_cluster.device.operations import OPERATIONS, Options, Tools, alone, apply, find
from ray_cluster.device.person import Facts
from ray_cluster.engines import registry, samples_path, weights
from ray_cluster.engines.errors import BadParams, NoPerson, Undecodable, UnknownOperation
from ray_cluster.labels import verify
from services import cli
from stream.policies import compiler
from stream.policies.refusals import OnDeviceOnly
from stream.policies.verdict import JobRequest, Refused, decide
from stream.policies.vocabulary import Place

PORTRAIT = cv2.cvtColor(cv2.imread(str(samples_path("portrait.jpg"))), cv2.COLOR_BGR2RGB)
NOBODY = np.full((200, 300, 3), 90, np.uint8)
NAMES = ("face_retouch", "face_enhance", "segment", "analysis", "live_filter", "live_prop", "live_makeup")


@pytest.fixture(scope="module")
def tools() -> Tools:
    return Tools()


@pytest.fixture(scope="module")
def points(tools: Tools) -> np.ndarray:
    tools.forget()
    (found,) = tools.faces(PORTRAIT)
    return found


def made(name: str, tools: Tools, picture: np.ndarray = PORTRAIT, **options: object) -> np.ndarray:
    result = alone(find(name), picture, tools, Options(**options))
    assert isinstance(result, np.ndarray)
    return result


def changed(name: str, tools: Tools, **options: object) -> np.ndarray:
    before = PORTRAIT.copy()
    result = made(name, tools, **options)
    assert np.array_equal(PORTRAIT, before)  # a copy was made
    return np.abs(result.astype(int) - PORTRAIT).max(2)


def clip(frames: int = 12, *, sound: bool = False) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=12)
        video.width, video.height, video.pix_fmt = 256, 256, "yuv420p"
        heard = container.add_stream("aac", rate=48000, layout="mono") if sound else None
        for index in range(frames):
            rgb = np.roll(PORTRAIT[:400, 80:480], 3 * index, axis=1)
            frame = av.VideoFrame.from_ndarray(cv2.resize(rgb, (256, 256)), format="rgb24")
            container.mux(video.encode(frame))
        if heard is not None:
            tone = av.AudioFrame.from_ndarray(
                np.sin(np.arange(48000) / 17)[None].astype(np.float32), format="fltp", layout="mono"
            )
            tone.sample_rate, tone.time_base, tone.pts = 48000, Fraction(1, 48000), 0
            container.mux(heard.encode(tone))
            container.mux(heard.encode(None))
        container.mux(video.encode(None))
    return file.getvalue()


def test_they_are_those_that_policies_keep_on_the_device_and_the_server_refuses_each_by_name() -> None:
    kept = {
        (app, operation.name)
        for app, policy in compiler.load_all().items()
        for operation in policy.operations
        if operation.runs is Place.DEVICE
    }
    assert {name for _, name in kept} == set(OPERATIONS) == set(NAMES)
    assert not set(NAMES) & set(registry.OPERATIONS)  # no engine of a server makes them
    for app, name in kept:
        policy = compiler.load_all()[app]
        standing = {(one.purpose, one.version) for one in policy.consents}
        request = JobRequest(name, "none", 1)
        got = decide(policy, request, consents=standing, available={name: ()}, age="adult", region="CN")
        assert isinstance(got, Refused)
        assert (got.kind, got.status) == (OnDeviceOnly.kind, 403)
        assert name in got.message
        assert got.clause


def test_retouching_evens_skin_and_nothing_else(tools: Tools, points: np.ndarray) -> None:
    before, after = PORTRAIT, made("face_retouch", tools, strength=1.0)
    moved = np.abs(after.astype(int) - before).max(2)
    skin, away = face.skin(points, PORTRAIT.shape), face.polygon(points, face.OVAL, PORTRAIT.shape)
    assert moved[skin > 0.9].mean() > 1
    assert moved[cv2.dilate(away, np.ones((25, 25))) == 0].max() == 0
    assert moved[face.polygon(points, face.LEFT_EYE, PORTRAIT.shape) > 0].mean() < 1
    assert not np.array_equal(after, made("face_retouch", tools, strength=0.3))
    assert np.array_equal(made("face_retouch", tools, strength=0.0), before)


def test_blotches_go_and_texture_stays(tools: Tools) -> None:
    large = cv2.resize(PORTRAIT[30:230, 130:330], (800, 800), interpolation=cv2.INTER_CUBIC)
    random = np.random.default_rng(1)
    blotches = cv2.GaussianBlur(random.normal(0, 110, (800, 800)), (0, 0), 6)[..., None]
    texture = random.normal(0, 3, (800, 800, 1))
    tools.forget()
    (points,) = tools.faces(large)
    skin = face.skin(points, large.shape) > 0.9

    def left(of: np.ndarray) -> tuple[float, float]:
        """How uneven the skin is before and after, beyond what it is without."""
        with_it = np.clip(large + of, 0, 255).astype(np.uint8)
        after = made("face_retouch", tools, with_it, strength=1.0).astype(int)
        plain = made("face_retouch", tools, large, strength=1.0).astype(int)
        return (with_it.astype(int) - large)[skin].std(), (after - plain)[skin].std()

    before, after = left(blotches)
    assert after < 0.6 * before
    before, after = left(texture)
    assert after > 0.25 * before


def test_enhancing_makes_a_face_clearer_and_leaves_the_rest(tools: Tools, points: np.ndarray) -> None:
    after = made("face_enhance", tools)
    inside = face.polygon(points, face.OVAL, PORTRAIT.shape)
    sharp = [cv2.Laplacian(one, cv2.CV_32F)[inside > 0].std() for one in (PORTRAIT, after)]
    assert sharp[1] > 1.1 * sharp[0]
    assert np.abs(after.astype(int) - PORTRAIT)[cv2.dilate(inside, np.ones((41, 41))) == 0].max() == 0


@pytest.mark.parametrize("style", makeup.NAMES)
def test_makeup_colours_lips_and_spares_teeth_and_eyes(tools: Tools, points: np.ndarray, style: str) -> None:
    moved = changed("live_makeup", tools, style=style)
    lips = face.polygon(points, face.LIPS, PORTRAIT.shape)
    inner = cv2.erode(face.polygon(points, face.MOUTH, PORTRAIT.shape), np.ones((5, 5)))
    lips[cv2.dilate(inner, np.ones((9, 9))) > 0] = 0
    assert moved[lips > 0].mean() > 5
    if inner.any():
        assert moved[inner > 0].mean() < 4
    eye = cv2.erode(face.polygon(points, face.RIGHT_EYE, PORTRAIT.shape), np.ones((5, 5)))
    assert not eye.any() or moved[eye > 0].mean() < 12
    assert (moved > 0).mean() < 0.1


@pytest.mark.parametrize("style", props.NAMES)
def test_a_prop_sits_on_the_face_and_turns_with_it(tools: Tools, style: str) -> None:
    moved = changed("live_prop", tools, style=style)
    assert 0.001 < (moved > 20).mean() < 0.12
    turned = np.ascontiguousarray(np.rot90(PORTRAIT[:300, 60:420]))
    level = made("live_prop", tools, np.ascontiguousarray(PORTRAIT[:300, 60:420]), style=style)
    worn = np.abs(level.astype(int) - PORTRAIT[:300, 60:420]).max(2) > 20
    tilted = cv2.warpAffine(PORTRAIT, cv2.getRotationMatrix2D((256, 150), 20, 1), (512, 512))
    after = np.abs(made("live_prop", tools, tilted, style=style).astype(int) - tilted).max(2) > 20
    assert turned.shape == (360, 300, 3)
    assert 0.6 < after.sum() / worn.sum() < 1.6


def test_a_face_at_the_border_wears_what_fits(tools: Tools, points: np.ndarray) -> None:
    low = int(points[:, 1].min())
    made("live_prop", tools, np.ascontiguousarray(PORTRAIT[low + 4 : low + 200, 150:300]), style="crown")
    away = points + np.array([5000, 5000, 0], np.float32)
    assert np.array_equal(props.live_prop(PORTRAIT, [away], "cat"), PORTRAIT)


@pytest.mark.parametrize("style", filters.NAMES)
def test_a_filter_changes_the_mood_the_same_way_each_time(tools: Tools, style: str) -> None:
    first = made("live_filter", tools, style=style)
    assert np.array_equal(first, made("live_filter", tools, style=style))
    assert np.abs(first.astype(int) - PORTRAIT).mean() > 3
    grey = np.ptp(first.astype(int), axis=2).max()
    assert (grey == 0) == (style == "mono")


def test_a_mask_covers_the_person(tools: Tools) -> None:
    mask = made("segment", tools)
    assert mask.shape == PORTRAIT.shape[:2]
    assert mask[150, 230] > 250
    assert mask[350, 200] > 250
    assert mask[10, 350] < 5
    assert made("segment", tools, NOBODY).mean() < 20


def test_an_analysis_says_how_a_face_is_held_not_whose_it_is(tools: Tools) -> None:
    facts = alone(find("analysis"), PORTRAIT, tools, Options())
    assert isinstance(facts, Facts)
    (one,) = facts.faces
    assert one.box[0] < 225 < one.box[2]
    assert abs(one.turned) < 20
    assert abs(one.tilted) < 10
    assert 0.3 < facts.person_share < 0.8
    assert one.mouth_open > 0.05
    tilted = cv2.warpAffine(PORTRAIT, cv2.getRotationMatrix2D((256, 150), -20, 1), (512, 512))
    turned = alone(find("analysis"), tilted, tools, Options())
    assert isinstance(turned, Facts)
    assert turned.faces[0].tilted - one.tilted == pytest.approx(20, abs=5)
    empty = alone(find("analysis"), NOBODY, tools, Options())
    assert isinstance(empty, Facts)
    assert empty.faces == ()


@pytest.mark.parametrize("name", ["face_retouch", "face_enhance", "live_prop", "live_makeup"])
def test_without_a_face_a_picture_is_refused(tools: Tools, name: str) -> None:
    with pytest.raises(NoPerson, match="found none"):
        alone(find(name), NOBODY, tools, Options())
    assert np.array_equal(apply(find(name), NOBODY, tools, Options()), NOBODY)  # a frame of a clip goes on


def test_what_is_unknown_is_refused_by_name(tools: Tools) -> None:
    with pytest.raises(UnknownOperation, match="face_retouch, face_enhance"):
        find("stylization")
    with pytest.raises(BadParams, match="warm, cool"):
        apply(find("live_filter"), PORTRAIT, tools, Options(style="crown"))
    with pytest.raises(BadParams, match="from 0 to 1"):
        apply(find("face_retouch"), PORTRAIT, tools, Options(strength=7))


def test_a_face_is_followed_from_frame_to_frame(tools: Tools) -> None:
    tools.forget()
    for shift in range(0, 40, 4):
        frame = np.roll(PORTRAIT, shift, axis=1)
        (found,) = tools.faces(frame)
        tools_alone = Tools()
        (fresh,) = tools_alone.faces(frame)
        assert np.abs(found[:, :2] - fresh[:, :2]).mean() < 5
    tools.faces(NOBODY)
    assert tools.faces(NOBODY) == []


@pytest.mark.parametrize("name", ["live_filter", "live_prop", "live_makeup", "segment", "face_retouch"])
def test_a_clip_comes_out_frame_by_frame_with_its_sound(name: str, tmp_path: Path) -> None:
    source = tmp_path / "me.mp4"
    source.write_bytes(clip(sound=True))
    answer = CliRunner().invoke(cli.app, ["local", name, str(source), "--out", str(tmp_path)])
    assert answer.exit_code == 0, answer.output
    assert "frames/s drawn" in answer.output
    path = tmp_path / f"me.{name}.mp4"
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12
        assert container.streams.video[0].average_rate == 12
    with av.open(str(path)) as container:
        heard = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    assert np.abs(heard).max() > 0.5
    report = verify.verify(path.read_bytes())
    assert report.aigc is not None
    assert report.watermark.found or name == "segment"  # black and white leave no room for one


def test_sound_that_no_mp4_takes_is_left_and_the_pictures_go_on() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        video = container.add_stream("libx264", rate=12)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), format="s16", layout="mono")
        tone.sample_rate, tone.time_base, tone.pts = 48000, Fraction(1, 48000), 0
        container.mux(sound.encode(tone))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    result = clips.redraw(file.getvalue(), lambda frame: frame).result
    assert result.frames == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_file_beside_it_is_written_and_labelled(name: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(cli.app, ["local", name, str(samples_path("portrait.jpg")), "--out", str(tmp_path)])
    assert answer.exit_code == 0, answer.output
    (path,) = tmp_path.iterdir()
    assert str(path) in answer.output
    if name == "analysis":
        assert json.loads(path.read_bytes())["faces"]
    elif name == "segment":
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 2
    else:
        report = verify.verify(path.read_bytes())
        assert report.labelled
        assert report.watermark.found
        assert report.aigc is not None
        assert "device" in report.aigc["ContentProducer"]


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    (bad := tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (moving := tmp_path / "moving.mp4").write_bytes(clip(2))
    good, out = samples_path("portrait.jpg"), tmp_path / "out"
    words = ["local", "analysis", str(bad), str(moving), str(tmp_path / "absent"), str(good), "--out", str(out)]
    answer = CliRunner().invoke(cli.app, words)
    assert answer.exit_code == 1
    assert answer.output.count("not done") == 3
    assert [path.name for path in out.iterdir()] == ["portrait.analysis.json"]


def test_a_damaged_clip_is_refused() -> None:
    whole = clip(6)
    with pytest.raises(Undecodable):
        clips.redraw(whole[: len(whole) // 3], lambda frame: frame)


def test_what_cannot_be_asked_is_said(tmp_path: Path) -> None:
    for words in (["local", "stylization", "x.jpg"], ["local", "segment"], ["local", "live_filter", "--camera", "99"]):
        answer = CliRunner().invoke(cli.app, [*words, "--out", str(tmp_path)])
        assert answer.exit_code == 1
        assert "Not done" in answer.output


def test_a_camera_is_filmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Camera:
        def __init__(self, number: int) -> None:
            assert number == 2

        def read(self) -> tuple[bool, np.ndarray]:
            return True, PORTRAIT[..., ::-1]

        def release(self) -> None:
            pass

    monkeypatch.setattr(clips.cv2, "VideoCapture", Camera)
    words = ["local", "live_prop", "--camera", "2", "--seconds", "0.2", "--out", str(tmp_path), "--style", "cat"]
    answer = CliRunner().invoke(cli.app, words)
    assert answer.exit_code == 0, answer.output
    with av.open(str(tmp_path / "camera.live_prop.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6


ALONE = """
import sys
from ray_cluster.engines import cell_limits

def hear(event, _):
    if event.startswith("socket."):
        sys.stderr.write(event)
        sys.exit(9)

sys.addaudithook(hear)
cell_limits.refuse(cell_limits.SOCKETS, kill=True)
if sys.argv[1] == "control":
    import socket
    socket.socket()
from services.command import main
sys.exit(main())
"""


@pytest.mark.parametrize("source", ["portrait.jpg", "clip.mp4"])
def test_no_socket_is_opened(source: str, tmp_path: Path) -> None:
    """By Python or by any library: the kernel ends the process at the first such call."""
    (tmp_path / "clip.mp4").write_bytes(clip(4))
    (tmp_path / "portrait.jpg").write_bytes(samples_path("portrait.jpg").read_bytes())
    environment = os.environ | {"MAYFLY_WEIGHTS": str(weights.directory().resolve())}
    for name in ("live_prop", "segment") if source == "clip.mp4" else NAMES:
        words = [sys.executable, "-c", ALONE, "local", name, str(tmp_path / source), "--out", str(tmp_path / "out")]
        run = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
        assert run.returncode == 0, run.stderr
    assert (tmp_path / "out").iterdir()


def test_the_proof_hears_a_socket() -> None:
    run = subprocess.run([sys.executable, "-c", ALONE, "control"], capture_output=True, check=False)
    assert run.returncode == 9
    silent = ALONE.replace("sys.addaudithook(hear)", "")
    run = subprocess.run([sys.executable, "-c", silent, "control"], capture_output=True, check=False)
    assert run.returncode < 0
