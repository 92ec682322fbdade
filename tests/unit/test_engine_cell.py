"""The decoding child: what it gives back, and what a hostile file can do: end it, and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ray_cluster.engines import cell as cells
from ray_cluster.engines import cell_limits, confine, samples_path
from ray_cluster.engines.cell import Cell, Limits, Setup
from ray_cluster.engines.decode import decode
from ray_cluster.engines.errors import DecodeLimit, EngineFault, HostileMedia, TooManyPixels, Undecodable

PORTRAIT = samples_path("portrait.jpg").read_bytes()
HOSTILE = "tests.unit.hostile"
LIMITS = Limits(memory_bytes=256 << 20, cpu_s=1, out_bytes=1 << 20, frames=10)


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with Cell(Setup(LIMITS, modules=("ray_cluster.engines.decode", HOSTILE))) as made:
        yield made


def test_a_picture_comes_back_as_it_was_and_its_memory_is_blank(cell: Cell) -> None:
    sent = os.urandom(100_000)
    assert cell.picture(f"{HOSTILE}:echo", sent, {}).tobytes() == sent
    for memory in (cell._given, cell._made):
        assert memory.holds(100_000)
        assert not memory.view(100_000).any()


def test_decoding_there_is_decoding_here() -> None:
    here = decode(PORTRAIT)
    confine.turn_on()
    try:
        assert np.array_equal(decode(PORTRAIT), here)
        assert np.array_equal(decode(bytearray(PORTRAIT)), here)
        with pytest.raises(Undecodable, match="0 bytes"):
            decode(b"")
        with pytest.raises(TooManyPixels, match="expected at most 1000 pixels"):
            decode(PORTRAIT, max_pixels=1000)
    finally:
        confine.turn_off()
    assert np.array_equal(decode(PORTRAIT), here)


def test_frames_come_one_by_one_and_a_reading_may_be_left(cell: Cell) -> None:
    frames = [frame[0, 0, 0] for frame in cell.pictures(f"{HOSTILE}:count", b"", {"frames": 10})]
    assert frames == list(range(10))
    reading = cell.pictures(f"{HOSTILE}:count", b"", {"frames": 10})
    next(reading)
    reading.close()
    assert cell.picture(f"{HOSTILE}:echo", b"next", {}).tobytes() == b"next"


def test_more_frames_than_a_clip_may_have_end_the_reading_not_the_child(cell: Cell) -> None:
    deaths = cell.deaths
    with pytest.raises(DecodeLimit, match="at most 10 frames"):
        list(cell.pictures(f"{HOSTILE}:count", b"", {"frames": 11}))
    assert cell.picture(f"{HOSTILE}:echo", b"next", {}).tobytes() == b"next"
    assert cell.deaths == deaths


@pytest.mark.parametrize(
    ("function", "options", "error", "dies"),
    [
        ("crash", {}, HostileMedia, True),
        ("spin", {}, DecodeLimit, True),
        ("overflow", {"size": 2 << 20}, DecodeLimit, False),
        ("swell", {}, DecodeLimit, False),
        ("killed", {}, EngineFault, False),
    ],
)
def test_a_hostile_file_ends_the_child_and_the_next_finds_a_fresh_one(
    cell: Cell, function: str, options: dict[str, int], error: type[Exception], dies: bool
) -> None:
    deaths = cell.deaths
    with pytest.raises(error):
        cell.picture(f"{HOSTILE}:{function}", b"hostile", options)
    assert cell.deaths - deaths == dies
    assert cell.picture(f"{HOSTILE}:echo", b"good", {}).tobytes() == b"good"


@pytest.mark.parametrize("said", [b"\0\0\0\x09", b"\xff\xff\xff\xff", b"\0\0\0\x02\xc1\xc1", b"\0"])
def test_a_child_that_speaks_nonsense_is_ended(said: bytes) -> None:
    idle = msgspec.structs.replace(LIMITS, cpu_s=60)  # it spins on: the limit of CPU time must not be what ends it
    with Cell(Setup(idle, modules=(HOSTILE,))) as cell:
        with pytest.raises(HostileMedia):
            cell.picture(f"{HOSTILE}:babble", said, {})
        assert cell.deaths == 1


def test_a_picture_larger_than_what_was_laid_out_is_not_believed(cell: Cell) -> None:
    lie = cells.msgspec.msgpack.encode(cells.Said("picture", shape=(1 << 20, 1000, 3)))
    with pytest.raises(HostileMedia, match="lay out"):
        cell.picture(f"{HOSTILE}:babble", len(lie).to_bytes(4, "big") + lie, {})


def test_a_child_that_answers_too_late_is_ended() -> None:
    with Cell(Setup(Limits(wait_s=0.2), modules=(HOSTILE,))) as impatient:
        with pytest.raises(DecodeLimit, match=r"within 0\.2 s"):
            impatient.picture(f"{HOSTILE}:spin", b"", {})
        assert impatient.deaths == 1


def test_who_kills_the_child_is_not_the_file(cell: Cell) -> None:
    reading = cell.pictures(f"{HOSTILE}:count", b"", {"frames": 10})
    next(reading)
    cell._child.send_signal(signal.SIGKILL)
    with pytest.raises(EngineFault, match="ended from outside"):
        list(reading)
    cell._child.kill()
    cell._child.wait()
    assert cell.picture(f"{HOSTILE}:echo", b"idle", {}).tobytes() == b"idle"


@pytest.mark.parametrize("way", ["file", "write", "unlink", "socket", "local socket", "program", "fork", "kill"])
def test_every_door_is_shut(cell: Cell, way: str) -> None:
    with pytest.raises(EngineFault, match="PermissionError"):
        cell.picture(f"{HOSTILE}:reach", b"", {"way": way})
    assert not Path("/tmp/mayfly-hostile").exists()


def test_it_knows_no_secret_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/somewhere")
    with Cell(Setup(modules=(HOSTILE,))) as fresh:
        fresh.picture(f"{HOSTILE}:echo", b"up", {})
        environment = Path(f"/proc/{fresh._child.pid}/environ")
        assert b"RAY_" not in environment.read_bytes()


def test_it_ends_with_its_parent(cell: Cell) -> None:
    with Cell(Setup(modules=(HOSTILE,))) as fresh:
        fresh.picture(f"{HOSTILE}:echo", b"up", {})
        child = fresh._child
        os.close(fresh._requests)
        assert child.wait(10) == 0
        fresh._requests = os.dup(fresh._answers)


def test_another_machine_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_limits.platform, "machine", lambda: "riscv64")
    with pytest.raises(EngineFault, match="riscv64"):
        cell_limits.close_doors(1)


def test_a_child_that_cannot_start_is_a_passing_failure() -> None:
    with Cell(Setup(modules=("no.such.module",))) as broken, pytest.raises(EngineFault, match="ended from outside"):
        broken.picture(f"{HOSTILE}:echo", b"", {})


def test_every_error_keeps_its_kind_on_the_way() -> None:
    for kind, cls in cells._KINDS.items():
        assert type(cells._error(cells.Said("error", kind=kind, text="x"))).kind == cls.kind
