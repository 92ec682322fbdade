"""Every result is labelled in one place; every label is found again, and says nothing of anybody."""

from __future__ import annotations

import io
import json
import struct
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from ray_cluster.engines import features, samples_path
from ray_cluster.engines.encode import VideoWriter
from ray_cluster.engines.interface import Result
from ray_cluster.guard import Guard
from ray_cluster.labels import movies, provenance, rules, stills, verify, visible, xmp
from ray_cluster.labels.errors import BadSigningKey, Unlabellable, Unreadable
from ray_cluster.labels.rules import AppRules, Rules
from ray_cluster.leases import Piece, Task
from services import cli, label_key

PORTRAIT = samples_path("portrait.jpg").read_bytes()
BGR = cv2.imdecode(np.frombuffer(PORTRAIT, np.uint8), cv2.IMREAD_COLOR)
ALPHA = np.zeros(BGR.shape[:2], np.uint8)
cv2.circle(ALPHA, (256, 256), 200, 255, -1)
NOON = datetime(2026, 5, 4, 12, 34, 56, tzinfo=UTC)
SECRET = b"Jane Roe, 48.8584N 2.2945E"


class Draws:
    """An engine that makes `made`, through this package's encoder where it is a clip."""

    def __init__(self, made: bytes | list[np.ndarray], media_type: str) -> None:
        self._made, self._type = made, media_type

    def load(self) -> None:
        pass

    def run(self, *_: Any, report: Any, **__: Any) -> Result:
        report("done", 1.0)
        if isinstance(self._made, bytes):
            return Result(bytearray(self._made), self._type, 1, 512, 512, {})
        height, width = self._made[0].shape[:2]
        with VideoWriter(width, height, len(self._made), 24) as video:
            for frame in self._made:
                video.write(frame)
            return Result(video.close(), self._type, len(self._made), width, height, {})


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    label_key.create(folder, datetime.now(UTC))
    return folder


@pytest.fixture(scope="module")
def signer(keys: Path) -> provenance.Signer:
    return provenance.Signer(keys)


def run(made: bytes | list[np.ndarray], media_type: str, *, words: str = "", signer: Any = None) -> Result:
    guard = Guard(Rules({"a": AppRules("a", visible={"*": words})}, "Operator 1"), signer)
    task = Task("j", 1, "a", "op", 1, (Piece("input", "x", "", b""),), (), b"")
    engine = guard.around(Draws(made, media_type), task)
    engine.load()
    told: list[float] = []
    result = engine.run([b""], {}, seed=1, report=lambda _, part: told.append(part), cancelled=lambda: False)
    assert told == sorted(told)
    assert told[-1] == 1.0
    return result


def encoded(extension: str, *, alpha: bool = False, grey: bool = False) -> bytes:
    pixels = np.dstack([BGR, ALPHA]) if alpha else cv2.cvtColor(BGR, cv2.COLOR_BGR2GRAY) if grey else BGR
    quality = [cv2.IMWRITE_WEBP_QUALITY, 90] if extension == ".webp" else []
    return cv2.imencode(extension, pixels, quality)[1].tobytes()


def frames(count: int = 30) -> list[np.ndarray]:
    rgb = cv2.resize(BGR[..., ::-1], (256, 320))
    return [np.roll(rgb, index, axis=1) for index in range(count)]


STILLS = [
    ("image/jpeg", encoded(".jpg")),
    ("image/jpeg", encoded(".jpg", grey=True)),
    ("image/png", encoded(".png")),
    ("image/png", encoded(".png", alpha=True)),
    ("image/webp", encoded(".webp")),
    ("image/webp", encoded(".webp", alpha=True)),
    ("image/webp", cv2.imencode(".webp", np.dstack([BGR, ALPHA]), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()),
]


@pytest.mark.parametrize(("media_type", "made"), STILLS)
def test_a_still_bears_every_label_and_they_are_found(
    media_type: str, made: bytes, signer: provenance.Signer, keys: Path
) -> None:
    media = bytes(run(made, media_type, words="AI生成", signer=signer).media)
    report = verify.verify(media, (keys / label_key.CA_FILE).read_bytes())
    assert report.aigc is not None
    assert (report.aigc["Label"], report.aigc["ContentProducer"]) == ("1", "Operator 1")
    assert (report.c2pa.state, report.c2pa.made_by_ai, report.c2pa.generator) == ("trusted", True, "Mayfly")
    assert report.watermark == verify.Mark(found=True, bits="a16c4d59", errors=0)
    assert (report.media_type, report.other, report.labelled) == (media_type, (), True)
    assert verify.verify(media).c2pa.state == "valid"


@pytest.mark.parametrize("number", [3, 5, 6])
def test_a_cutout_keeps_its_alpha(number: int, signer: provenance.Signer) -> None:
    media_type, made = STILLS[number]
    media = run(made, media_type, signer=signer).media
    pixels = cv2.imdecode(np.frombuffer(media, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(pixels[..., 3], ALPHA)
    assert verify.verify(bytes(media)).watermark.found


def test_a_clip_bears_every_label_on_every_frame_and_plays(signer: provenance.Signer, keys: Path) -> None:
    media = bytes(run(frames(), "video/mp4", words="AI生成", signer=signer).media)
    report = verify.verify(media, (keys / label_key.CA_FILE).read_bytes())
    assert report.aigc is not None
    assert report.aigc["Label"] == "1"
    assert (report.c2pa.state, report.watermark.found, report.other) == ("trusted", True, ())
    with av.open(io.BytesIO(media)) as container:
        assert json.loads(container.metadata["AIGC"])["Label"] == "1"
        played = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(played) == 30
    bare = run(frames(), "video/mp4").media
    with av.open(io.BytesIO(bare)) as container:
        unwritten = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for one, other in zip(played, unwritten, strict=True):
        different = np.abs(one.astype(int) - other)
        assert different[-30:, -80:].max() > 100  # the words
        assert different[:200].mean() < 4  # and nothing elsewhere


@pytest.mark.parametrize("room", [{"moov_size": "8192"}, {}])
def test_sound_beside_pictures_stays_where_the_index_finds_it(room: dict[str, str]) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options=room) as container:
        container.metadata["title"] = SECRET.decode()
        video = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="mono")
        for index in range(24):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), index * 9, np.uint8))))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        tone.sample_rate, tone.time_base, tone.pts = 48000, Fraction(1, 48000), 0
        container.mux(sound.encode(tone))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    made = file.getvalue()
    assert SECRET in made
    labelled = bytes(movies.embed(made, xmp.packet(xmp.aigc("o")), xmp.aigc("o")))
    assert SECRET not in labelled
    for kind in ("video", "audio"):
        before, after = (
            [frame.to_ndarray().tobytes() for frame in av.open(io.BytesIO(one)).decode(**{kind: 0})]
            for one in (made, labelled)
        )
        assert before == after
    again = movies.embed(labelled, xmp.packet(xmp.aigc("o")), xmp.aigc("o"))
    assert len(again) == len(labelled)


def with_metadata(media_type: str) -> bytes:
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x010E, 2, len(SECRET), 26, 0) + SECRET
    if media_type == "image/jpeg":
        parts = [(0xE1, b"Exif\0\0" + tiff), (0xED, b"Photoshop 3.0\0" + SECRET), (0xFE, SECRET)]
        jpeg = encoded(".jpg")
        return (
            jpeg[:2]
            + b"".join(b"\xff" + bytes([code]) + struct.pack(">H", len(body) + 2) + body for code, body in parts)
            + jpeg[2:]
        )
    if media_type == "image/png":
        chunks = b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", stills.zlib.crc32(kind + body))
            for kind, body in [(b"eXIf", tiff), (b"tEXt", b"Author\0" + SECRET), (b"tIME", b"\x07\xea\1\1\1\1\1")]
        )
        png = encoded(".png")
        return png[:33] + chunks + png[33:]
    base = bytes(stills.embed(encoded(".webp"), "image/webp", SECRET + b" "))
    riff = base + b"EXIF" + struct.pack("<I", len(tiff)) + tiff + bytes(len(tiff) % 2)
    return riff[:4] + struct.pack("<I", len(riff) - 8) + riff[8:]


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png", "image/webp"])
def test_nothing_of_what_a_file_said_before_reaches_an_output(media_type: str) -> None:
    told = with_metadata(media_type)
    assert SECRET in told
    assert verify.verify(told).other
    assert SECRET not in run(told, media_type).media
    bare = stills.embed(told, media_type, xmp.packet(xmp.aigc("o")))
    assert SECRET not in bare
    assert verify.verify(bytes(bare)).other == ()
    before, after = (cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_UNCHANGED) for one in (told, bare))
    assert np.array_equal(before, after)


@pytest.mark.parametrize(("media_type", "made"), STILLS[:6:2])
def test_what_is_altered_is_told(media_type: str, made: bytes, signer: provenance.Signer) -> None:
    media = run(made, media_type, signer=signer).media
    media[len(media) // 2] ^= 0xFF
    found = provenance.read(bytes(media), media_type)
    assert found.state in ("altered", "invalid")


def test_labels_carry_no_identity_and_no_time(signer: provenance.Signer, keys: Path) -> None:
    first, second = (verify.verify(bytes(run(*reversed(STILLS[0]), signer=signer).media)) for _ in range(2))
    assert first.aigc is not None
    assert second.aigc is not None
    assert first.aigc.pop("ProduceID") != second.aigc.pop("ProduceID")  # random, and kept nowhere
    assert set(first.aigc.values()) == {"1", "Operator 1", ""}
    assert msgspec.structs.replace(first, aigc=None) == msgspec.structs.replace(second, aigc=None)
    media = bytes(run(*reversed(STILLS[0]), signer=signer).media)
    day = datetime.now(UTC).strftime("%y%m%d").encode()
    assert media.count(day) == media.count(day + b"000000Z") > 0  # only when the key's certificates began
    assert b"/tmp" not in media


def test_the_picture_that_was_wiped_is_the_one_without_labels(signer: provenance.Signer) -> None:
    kept: list[bytearray] = []

    class Keeps(Draws):
        def run(self, *args: Any, **named: Any) -> Result:
            result = super().run(*args, **named)
            kept.append(result.media)
            return result

    guard = Guard(Rules({}, "o"), signer)
    task = Task("j", 1, "a", "op", 1, (), (), b"")
    guard.around(Keeps(*reversed(STILLS[0])), task).run([], {}, seed=1, report=lambda *_: None, cancelled=lambda: False)
    assert not any(kept[0])


def test_what_nobody_is_shown_stays_as_it_is() -> None:
    for media_type in (features.MEDIA_TYPE, "application/octet-stream"):
        assert run(b"anything", media_type).media == b"anything"


def test_what_cannot_be_labelled_does_not_leave(signer: provenance.Signer) -> None:
    for made, media_type in ((b"?", "image/gif"), (b"?", "image/jpeg"), (b"?", "video/mp4")):
        with pytest.raises(Unlabellable):
            run(made, media_type)
    deep = cv2.imencode(".png", np.zeros((99, 99, 3), np.uint16))[1].tobytes()
    with pytest.raises(Unlabellable, match="8-bit"):
        run(deep, "image/png")
    with pytest.raises(Unlabellable):
        signer.sign(bytearray(b"?"), "image/jpeg")


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png", "image/webp", "video/mp4"])
def test_damaged_files_are_refused_or_read_but_never_crash(media_type: str) -> None:
    whole = {
        "image/jpeg": STILLS[0][1],
        "image/png": STILLS[2][1],
        "image/webp": STILLS[5][1],
        "video/mp4": bytes(run(frames(2), "video/mp4").media),
    }[media_type]
    random = np.random.default_rng(3)
    for _ in range(60):
        hurt = bytearray(whole[: int(random.integers(12, len(whole)))])
        for at in random.integers(12, max(13, min(len(hurt), 400)), 6):
            hurt[min(at, len(hurt) - 1)] = int(random.integers(0, 256))
        try:
            if media_type == "video/mp4":
                movies.embed(hurt, b"x", "y")
                movies.read(hurt)
            else:
                stills.embed(hurt, media_type, b"x")
                stills.read(hurt, media_type)
        except Unlabellable:
            pass


@pytest.mark.parametrize("size", [(512, 768), (64, 64), (30, 900), (901, 41)])
@pytest.mark.parametrize("words", ["AI生成", "AI-generated", "A" * 24])
def test_the_visible_mark_is_large_enough_and_stays_inside(size: tuple[int, int], words: str) -> None:
    grey = np.full((*size, 3), 120, np.uint8)
    visible.draw(grey, words)
    rows = np.nonzero((grey > 150).any((1, 2)))[0]
    assert len(rows)
    if min(size) > 100:
        assert rows[-1] - rows[0] + 1 >= 0.05 * min(size)
        assert (grey != 120).any(2).mean() < 0.06
    even = tuple(side - side % 2 for side in size)
    planes = np.full((even[0] * 3 // 2, even[1]), 128, np.uint8)
    visible.draw_planes(planes, words)
    assert planes.max() > 180
    assert planes[even[0] :].min() >= 127


def test_a_mark_is_seen_on_a_transparent_picture() -> None:
    clear = np.zeros((400, 400, 4), np.uint8)
    visible.draw(clear, "AI生成")
    assert clear[..., 3].max() > 200
    assert clear[:300].max() == 0


def test_a_key_that_cannot_sign_is_refused_by_name(tmp_path: Path, keys: Path) -> None:
    with pytest.raises(BadSigningKey, match="No such file"):
        provenance.Signer(tmp_path)
    (tmp_path / provenance.KEY_FILE).write_bytes(b"no key")
    (tmp_path / provenance.CHAIN_FILE).write_bytes((keys / provenance.CHAIN_FILE).read_bytes())
    with pytest.raises(BadSigningKey, match="ES256"):
        Guard.open(("noop",), tmp_path)


def test_an_actor_signs_with_the_key_in_its_folder(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rules.DIRECTORY_VARIABLE, str(keys))
    assert Guard.open(("noop",)).signer is not None
    monkeypatch.setenv(rules.DIRECTORY_VARIABLE, "")
    assert Guard.open(("noop",)).signer is None
    assert (keys / provenance.KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_only_what_may_mislead_bears_words() -> None:
    shipped = rules.read()
    assert shipped.producer
    assert shipped.of("genzo").words_of("face_swap") == "AI生成"
    assert shipped.of("talentedi").words_of("cutout") == ""
    assert shipped.of("perfect-me").words_of("body") == ""


@pytest.fixture
def file(tmp_path: Path, signer: provenance.Signer) -> Path:
    path = tmp_path / "made.jpg"
    path.write_bytes(run(*reversed(STILLS[0]), signer=signer).media)
    return path


def told(*words: object) -> tuple[int, str]:
    answer = CliRunner().invoke(cli.app, ["label", "verify", *map(str, words)])
    return answer.exit_code, answer.output


def test_the_command_says_it_in_plain_words(file: Path, keys: Path) -> None:
    code, text = told(file, "--trust", keys / label_key.CA_FILE)
    assert code == 0
    assert "made by AI, by Operator 1" in text
    assert "unchanged since it was signed by Mayfly operator / labels, whom you trust" in text
    assert "Watermark: found, 32 of 32 bits right" in text
    assert "Other metadata: none." in text


def test_the_command_says_it_in_json(file: Path) -> None:
    code, text = told(file, "--json")
    found = json.loads(text)
    assert (code, found["labelled"], found["c2pa"]["state"], found["watermark"]["errors"]) == (0, True, "valid", 0)


def test_the_command_says_what_is_missing(file: Path, tmp_path: Path) -> None:
    (plain := tmp_path / "plain.jpg").write_bytes(PORTRAIT)
    code, text = told(plain)
    assert code == 1
    assert "no label" in text
    assert "C2PA manifest: none." in text
    assert "Watermark: not found" in text
    media = bytearray(file.read_bytes())
    media[-2000] ^= 0xFF
    file.write_bytes(media)
    code, text = told(file)
    assert code == 1
    assert "CHANGED SINCE" in text
    (other := tmp_path / "other.txt").write_bytes(b"text")
    assert told(other)[0] == told(tmp_path / "absent")[0] == 1
    for broken in (b"\xff\xd8\xff\xe0", b"\0\0\0\x18ftypisom" + bytes(40)):
        with pytest.raises(Unreadable):
            verify.verify(broken)
