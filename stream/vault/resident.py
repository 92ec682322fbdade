"""Whether this process's memory stays memory: no core dump can be written of it, and no page of it swapped out.

RAM-only apps are promised that nothing of theirs ever lies on a disk, so a process that serves them refuses to start
where either could happen.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import ClassVar, Final

from stream.errors import BrokenPromise

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")

NO_CORE: Final = 1
"""RLIMIT_CORE, in bytes. 0 forbids files only; 1 is too small for a file, and also keeps a core from being piped to a
program (`do_coredump` in fs/coredump.c takes it for a crash of that program)."""


class MemoryUnsafe(BrokenPromise):
    """Pages of this process could reach a disk: what is promised to be in memory only is not taken."""

    kind: ClassVar[str] = "memory-unsafe"
    status: ClassVar[int] = 501


def forbid_core_dumps() -> None:
    """Of this process and what it starts, for good. Where the hard limit is 0 already it stays."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 0 if hard == 0 else NO_CORE
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def why_unsafe(proc: Path = PROC, cgroups: Path = CGROUPS) -> str:
    """What could carry this process's memory to a disk, and what to do about it; '' if nothing can."""
    return _core(proc) or swappable(proc, cgroups)


def check() -> None:
    """Forbid core dumps, and look. Raises MemoryUnsafe."""
    forbid_core_dumps()
    if why := why_unsafe():
        raise MemoryUnsafe(f"expected memory that no disk can see: {why}")


def _core(proc: Path) -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if max(soft, hard) > NO_CORE or resource.RLIM_INFINITY in {soft, hard}:
        return "core dumps are allowed: set RLIMIT_CORE to 1 byte"
    try:
        pattern = (proc / "sys/kernel/core_pattern").read_text().strip()
    except OSError:
        return "the kernel does not say where core dumps go: let this process read /proc/sys/kernel/core_pattern"
    if pattern.startswith("@"):  # a socket: its server decides, whatever the limit
        return "core dumps go to a socket: set kernel.core_pattern to a file"
    if pattern.startswith("|") and soft != NO_CORE:
        return "core dumps are piped to a program, which a limit of 0 does not stop: set RLIMIT_CORE to 1 byte"
    return ""


def swappable(proc: Path = PROC, cgroups: Path = CGROUPS) -> str:
    """What this process's pages could be swapped to, and what to do about it; '' if they cannot be."""
    try:
        areas = (proc / "swaps").read_text().splitlines()[1:]
        own = (proc / "self/cgroup").read_text()
    except OSError:
        return "the kernel does not say what it swaps to: let this process read /proc/swaps"
    if not areas or _never_swapped(own, cgroups):
        return ""
    return "swap is on: turn it off (`swapoff -a`), or give this service's cgroup `memory.swap.max` of 0"


def _never_swapped(own: str, cgroups: Path) -> bool:
    """Whether this cgroup (version 2), or one above it, may not swap."""
    name = next((line.removeprefix("0::/") for line in own.splitlines() if line.startswith("0::/")), None)
    if name is None or ".." in Path(name).parts:  # another namespace's, or version 1, whose limits are of both together
        return False
    here = cgroups / name
    for folder in (here, *here.parents):
        if not folder.is_relative_to(cgroups):
            break
        try:
            if (folder / "memory.swap.max").read_text().strip() == "0":
                return True
        except OSError:
            continue  # the root has no such file
    return False
