"""Processes as Linux tells of them, told apart by start time: a pid alone is only a number that gets reused."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

PROC: Final = Path("/proc")
MARK_VARIABLE: Final = "MAYFLY_RUN"
"""An environment variable whose random value every descendant of a run inherits."""

# Positions in /proc/PID/stat after the command's closing parenthesis; see proc(5).
STATE, SESSION, STARTED = 0, 3, 19


class Process(msgspec.Struct, frozen=True):
    """One live process."""

    pid: int
    session: int
    started_ticks: int  # since boot; unlike wall time it never shifts


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A child on record: the leader of a session of its own."""

    name: str
    pid: int
    started_ticks: int
    boot_id: str
    mark: str
    log: str


def look_up(pid: int) -> Process | None:
    """The live process of this number, if any; one that has ended and awaits its parent does not count."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[STATE] in "ZX":
        return None
    return Process(pid, int(fields[SESSION]), int(fields[STARTED]))


def boot_id() -> str:
    """Differs after each boot of the machine, when pids and ticks begin again."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def members(child: Child) -> list[Process]:
    """Every live process of the child's session, also after the child itself is gone.

    The session is the child's if its leader has the recorded start time or a member carries the run's mark: a number
    that went to a stranger proves neither. (Processes that retitle themselves, as Ray's do, overwrite the memory in
    which the mark is read, so it cannot be asked of each.)
    """
    if child.boot_id != boot_id():
        return []
    everyone = (look_up(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
    session = [process for process in everyone if process is not None and process.session == child.pid]
    ours = any(
        (process.pid == child.pid and process.started_ticks == child.started_ticks) or _marked(process.pid, child.mark)
        for process in session
    )
    return session if ours else []


def kill(process: Process) -> None:
    """SIGKILL this very process: the handle is opened before its start time is looked at again."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(process.pid)
        try:
            if look_up(process.pid) == process:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def _marked(pid: int, mark: str) -> bool:
    try:
        return f"{MARK_VARIABLE}={mark}".encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
