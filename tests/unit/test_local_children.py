"""Real processes, really killed."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from services.local.children import ChildFailed, Children, StackBusy, last_line, read_records
from services.local.processes import Child, boot_id, kill, look_up, members

SLEEP = ["sleep", "600"]
FAMILY = ["/bin/sh", "-c", "sleep 600 & sleep 600; true"]  # a leader with two children of its own

PARENT = """
import sys
from pathlib import Path
from services.local.children import Children
children = Children(Path(sys.argv[1]))
children.start("one", ["sleep", "600"])
children.start("two", ["/bin/sh", "-c", "sleep 600 & sleep 600; true"])
print("started", flush=True)
sys.stdin.read()
"""


def orphans(run_dir: Path) -> list[Child]:
    """Children whose parent was killed with no chance to say goodbye."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(run_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        parent.kill()
    return read_records(run_dir)


async def test_a_killed_parents_children_are_ended_by_the_next(tmp_path: Path) -> None:
    left = orphans(tmp_path)
    assert [child.name for child in left] == ["one", "two"]
    assert all(members(child) for child in left)

    children = Children(tmp_path)
    children.release()

    assert children.swept == ["one", "two"]
    assert not any(members(child) for child in left)
    assert read_records(tmp_path) == []


async def test_grandchildren_are_found_when_their_leader_is_already_gone(tmp_path: Path) -> None:
    _, two = orphans(tmp_path)
    while len(members(two)) < 3:
        await asyncio.sleep(0)
    leader = look_up(two.pid)
    assert leader is not None
    kill(leader)
    while look_up(two.pid):
        await asyncio.sleep(0)
    assert members(two)  # they carry the run's mark

    Children(tmp_path).release()
    assert not members(two)


@pytest.mark.parametrize(
    "change", [{"started_ticks": 1, "mark": "of another run"}, {"boot_id": "of another boot"}], ids=["start", "boot"]
)
async def test_a_number_that_went_to_a_stranger_is_left_alone(tmp_path: Path, change: dict[str, object]) -> None:
    stranger = subprocess.Popen(SLEEP, start_new_session=True)
    try:
        process = look_up(stranger.pid)
        assert process is not None
        record = Child(
            name="stale", pid=process.pid, started_ticks=process.started_ticks, boot_id=boot_id(), mark="m", log=""
        )
        record = msgspec.structs.replace(record, **change)
        (tmp_path / "children").mkdir()
        (tmp_path / "children" / "stale.json").write_bytes(msgspec.json.encode(record))

        children = Children(tmp_path)
        children.release()

        assert children.swept == []
        assert read_records(tmp_path) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_record_cut_off_in_the_writing_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "children").mkdir()
    (tmp_path / "children" / "half.json").write_bytes(b'{"name":"ha')
    children = Children(tmp_path)
    children.release()
    assert list((tmp_path / "children").iterdir()) == []


async def test_stop_ends_the_whole_family_and_the_stubborn(tmp_path: Path) -> None:
    children = Children(tmp_path)
    family = children.start("family", FAMILY)
    stubborn = children.start("stubborn", ["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 600; done"])
    await children.until(stubborn, lambda: last_line(Path(stubborn.log)).index("deaf"), timeout_s=5)
    await children.stop(grace_s=0.2)
    children.release()
    assert not members(family)
    assert not members(stubborn)
    assert read_records(tmp_path) == []


async def test_ctrl_c_does_not_reach_a_child(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start("sleeper", SLEEP)
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    await children.stop()
    children.release()


async def test_a_child_that_dies_is_named_with_its_last_words(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start("kafka", ["/bin/sh", "-c", "echo starting; echo 'No space left on device'; echo; exit 3"])

    def never() -> None:
        raise ConnectionRefusedError

    with pytest.raises(ChildFailed, match=r"kafka .* exit code 3; its last words: No space left on device \(log: "):
        await children.until(child, never, timeout_s=5)
    with pytest.raises(ChildFailed, match="kafka"):
        await children.watch()
    await children.stop()
    children.release()


async def test_a_child_that_never_serves_is_named_with_the_reason(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start("s3", SLEEP)

    async def refused() -> None:
        raise ConnectionRefusedError("port closed")

    with pytest.raises(ChildFailed, match=r"s3 to serve within 0.1 s, got ConnectionRefusedError \(port closed\)"):
        await children.until(child, refused, timeout_s=0.1)
    await children.stop()
    children.release()


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start("ray", ["/nowhere/ray"])
    with pytest.raises(ChildFailed, match=r"ray .* exit code 127; .*not found"):
        await children.watch()
    assert not members(child)
    await children.stop()
    children.release()


async def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first = Children(tmp_path)
    with pytest.raises(StackBusy):
        Children(tmp_path)
    first.release()
    Children(tmp_path).release()


SIGNALLED = """
import asyncio, sys
from pathlib import Path
from services.local.children import Children
from services.local.interrupts import run

async def main():
    children = Children(Path(sys.argv[1]))
    try:
        children.start("one", ["sleep", "600"])
        print("started", flush=True)
        await asyncio.Event().wait()
    finally:
        await children.stop()
        children.release()

run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_everything_first(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SIGNALLED, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.readline()
        (child,) = read_records(tmp_path)
        program.send_signal(number)
        program.send_signal(number)
        assert program.wait(10) == 128 + number
        assert program.stderr.read() == ""
    assert not members(child)
