"""Memory that no disk can see: what is taken for safe, and what a process does that finds it is not."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream.vault import resident

HEADER = "Filename\tType\tSize\tUsed\tPriority\n"
AREA = "/swapfile file 2097148 0 -2\n"


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """RLIMIT_CORE of this process, as these tests would have it."""
    found = {"core": (1, 1)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: found["core"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: found.update(core=pair))
    return found


class Machine:
    """A /proc and a cgroup tree."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.cgroups = folder / "proc", folder / "cgroup"
        (self.proc / "sys/kernel").mkdir(parents=True)
        (self.proc / "self").mkdir()
        (self.cgroups / "system.slice/mayfly.service").mkdir(parents=True)
        self.core("core")
        self.swaps("")
        self.cgroup("0::/system.slice/mayfly.service\n")

    def core(self, pattern: str) -> None:
        (self.proc / "sys/kernel/core_pattern").write_text(pattern + "\n")

    def swaps(self, areas: str) -> None:
        (self.proc / "swaps").write_text(HEADER + areas)

    def cgroup(self, text: str) -> None:
        (self.proc / "self/cgroup").write_text(text)

    def swap_max(self, name: str, text: str) -> None:
        (self.cgroups / name / "memory.swap.max").write_text(text + "\n")

    def why(self) -> str:
        return resident.why_unsafe(self.proc, self.cgroups)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class TestSwap:
    def test_none(self, machine: Machine) -> None:
        assert machine.why() == ""

    def test_any_is_unsafe(self, machine: Machine) -> None:
        machine.swaps(AREA)
        assert "swap is on" in machine.why()

    @pytest.mark.parametrize("where", ["system.slice/mayfly.service", "system.slice"])
    def test_a_cgroup_that_may_not_swap_is_safe(self, machine: Machine, where: str) -> None:
        machine.swaps(AREA)
        machine.swap_max(where, "0")
        assert machine.why() == ""

    @pytest.mark.parametrize("most", ["max", "1048576", "00x"])
    def test_one_that_may_swap_a_little_is_not(self, machine: Machine, most: str) -> None:
        machine.swaps(AREA)
        machine.swap_max("system.slice/mayfly.service", most)
        assert "swap is on" in machine.why()

    @pytest.mark.parametrize("own", ["4:memory:/system.slice\n", "0::/../../system.slice\n", ""])
    def test_a_cgroup_that_cannot_be_told_is_not(self, machine: Machine, own: str) -> None:
        machine.swaps(AREA)
        machine.swap_max("system.slice", "0")
        machine.cgroup(own)
        assert "swap is on" in machine.why()

    def test_a_kernel_that_does_not_say_is_not(self, machine: Machine) -> None:
        (machine.proc / "swaps").unlink()
        assert "does not say" in machine.why()


class TestCoreDumps:
    @pytest.mark.parametrize("core", [(resource.RLIM_INFINITY, resource.RLIM_INFINITY), (0, 4096), (2, 2), (1, -1)])
    def test_allowed_now_or_later(
        self, machine: Machine, limit: dict[str, tuple[int, int]], core: tuple[int, int]
    ) -> None:
        limit["core"] = core
        assert "core dumps are allowed" in machine.why()

    def test_piped_to_a_program_a_limit_of_zero_does_not_stop_them(
        self, machine: Machine, limit: dict[str, tuple[int, int]]
    ) -> None:
        machine.core("|/usr/lib/systemd/systemd-coredump %P")
        assert machine.why() == ""
        limit["core"] = (0, 0)
        assert "piped to a program" in machine.why()
        machine.core("core")
        assert machine.why() == ""

    def test_sent_to_a_socket(self, machine: Machine) -> None:
        machine.core("@/run/coredump.socket")
        assert "a socket" in machine.why()

    def test_a_kernel_that_does_not_say(self, machine: Machine) -> None:
        (machine.proc / "sys/kernel/core_pattern").unlink()
        assert "does not say" in machine.why()

    @pytest.mark.parametrize(("hard", "made"), [(0, (0, 0)), (1, (1, 1)), (4096, (1, 1)), (-1, (1, 1))])
    def test_forbidden_for_good(self, limit: dict[str, tuple[int, int]], hard: int, made: tuple[int, int]) -> None:
        limit["core"] = (0, hard)
        resident.forbid_core_dumps()
        assert limit["core"] == made


CRASH = """
import os, resource, signal, sys
from stream.vault import resident
if sys.argv[1] == "forbidden":
    resident.forbid_core_dumps()
else:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
os.kill(os.getpid(), signal.SIGABRT)
"""


def crashed(how: str, folder: Path) -> int:
    with subprocess.Popen([sys.executable, "-c", CRASH, how], cwd=folder, env={"PYTHONPATH": str(Path.cwd())}) as child:
        return child.wait()


def test_a_process_that_forbade_it_leaves_no_core(tmp_path: Path) -> None:
    assert crashed("forbidden", tmp_path) == -signal.SIGABRT
    assert list(tmp_path.iterdir()) == []


def test_gateway_and_worker_refuse_to_start_where_memory_could_reach_a_disk(tmp_path: Path) -> None:
    """Before they touch anything else: the settings name nothing that could be reached."""
    path = tmp_path / "settings.json"
    values = {"kafka": "127.0.0.1:1", "s3_url": "http://127.0.0.1:1", "bucket": "b", "state_dir": str(tmp_path)}
    values |= dict.fromkeys(("s3_access_key", "s3_secret_key", "internal_token"), "x") | {"secret": "00" * 32}
    path.write_text(json.dumps(values))
    unsafe = "from stream.vault import resident; resident.why_unsafe = lambda: 'swap is on'; "
    for run in (
        "from services.gateway.__main__ import main; import sys; sys.exit(main())",
        "from services.worker import main; main()",
    ):
        ended = subprocess.run(
            [sys.executable, "-c", unsafe + run, "--port", "1"],
            env={"MAYFLY_SETTINGS": str(path), "PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode in {1, 2}
        assert b"expected memory that no disk can see: swap is on" in ended.stderr
