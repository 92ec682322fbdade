"""Everything that the system could have written: files, files without a name, and the memory of its processes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.local.processes import MARK_VARIABLE, PROC, Child, look_up, members

PIECE_BYTES = 8 << 20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PRESENT, SWAPPED, OF_A_FILE = np.uint64(1 << 63), np.uint64(1 << 62), np.uint64(1 << 61)
RAY_TITLE = re.compile(r"ray::(\w+)")
DELETED = " (deleted)"


@dataclass(slots=True, frozen=True)
class Piece:
    """Some bytes of a place; `joined`: they follow those of the piece before."""

    data: bytes
    joined: bool
    where: str


def of_file(path: Path) -> Iterator[Piece]:
    """A regular file's bytes, holes included."""
    with suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
        joined = False
        while data := file.read(PIECE_BYTES):
            yield Piece(data, joined, str(path))
            joined = True


def files_below(*folders: Path, skip: Iterable[Path] = (), since: float = 0.0) -> Iterator[Path]:
    """Every regular file that was written at or after `since`."""
    skipped = {str(path) for path in skip}
    for folder in folders:
        for where, names, files in os.walk(folder):
            names[:] = [name for name in names if f"{where}/{name}" not in skipped]
            for name in files:
                path = Path(where) / name
                with suppress(FileNotFoundError):
                    found = path.lstat()
                    if stat.S_ISREG(found.st_mode) and max(found.st_mtime, found.st_ctime) >= since:
                        yield path


def processes(children: Iterable[Child]) -> dict[int, str]:
    """pid → name, of every live process of the system: the children's sessions, their descendants, and marked ones."""
    children = list(children)
    marks = {f"{MARK_VARIABLE}={child.mark}".encode() for child in children}
    found = {process.pid: child.name for child in children for process in members(child)}
    parents: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and look_up(pid := int(entry.name)):
            with suppress(OSError):
                parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if marks & set((entry / "environ").read_bytes().split(b"\0")):
                    found.setdefault(pid, "marked")
    while more := {pid: found[parent] for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    found.pop(os.getpid(), None)
    return {pid: _called(pid, name) for pid, name in found.items()}


TUNABLES = "GLIBC_TUNABLES"


def environment(pid: int) -> dict[str, str]:
    """What it was started with."""
    found: dict[str, str] = {}
    for pair in (PROC / str(pid) / "environ").read_bytes().decode(errors="replace").split("\0"):
        if pair.startswith("glibc.") and TUNABLES in found:
            found[TUNABLES] += f":{pair}"  # glibc's loader cuts its list in place, at each colon
        elif "=" in pair:
            name, _, value = pair.partition("=")
            found[name] = value
    return found


def nameless(pid: int) -> Iterator[Path]:
    """Paths below /proc of regular files that it has open and that have no name any more, or never had one."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for entry in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                if str(entry.readlink()).endswith(DELETED) and stat.S_ISREG(entry.stat().st_mode):
                    yield entry


def memory(pid: int) -> Iterator[Piece]:
    """Every page that is in memory or swapped out, whatever its protection; not those of unchanged files.

    (Such a page is what lies on the disk: a program, a library, or a file that is scanned as one.)
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        maps = (PROC / str(pid) / "maps").read_text().splitlines()
        with (
            (PROC / str(pid) / "pagemap").open("rb", buffering=0) as flags,
            (PROC / str(pid) / "mem").open("rb", buffering=0) as pages,
        ):
            for line in maps:
                fields = line.split(None, 5)
                name = fields[5] if len(fields) > 5 else ""
                if name in {"[vvar]", "[vvar_vclock]", "[vsyscall]", "[vdso]"}:
                    continue
                start, end = (int(number, 16) for number in fields[0].split("-"))
                kept = name.endswith(DELETED) or name.startswith(("/dev/shm", "/memfd")) or not name.startswith("/")
                for first, last in _runs(flags, start, end, whole=kept):
                    yield from _read(pages, first, last, name or "anonymous")


def _runs(flags: object, start: int, end: int, *, whole: bool) -> Iterator[tuple[int, int]]:
    """Address ranges of the pages to read."""
    flags.seek(start // PAGE_BYTES * 8)  # type: ignore[attr-defined]
    raw = flags.read((end - start) // PAGE_BYTES * 8)  # type: ignore[attr-defined]
    pages = np.frombuffer(raw[: len(raw) // 8 * 8], np.uint64)
    wanted = (pages & (PRESENT | SWAPPED)) != 0
    if not whole:
        wanted &= (pages & OF_A_FILE) == 0
    edges = np.flatnonzero(np.diff(np.concatenate(([False], wanted, [False])).astype(np.int8)))
    for first, last in edges.reshape(-1, 2):
        yield start + int(first) * PAGE_BYTES, start + int(last) * PAGE_BYTES


def _read(pages: object, first: int, last: int, name: str) -> Iterator[Piece]:
    joined = False
    while first < last:
        try:
            pages.seek(first)  # type: ignore[attr-defined]
            data = pages.read(min(PIECE_BYTES, last - first))  # type: ignore[attr-defined]
        except OSError:  # unmapped since, or a device's
            return
        if not data:
            return
        yield Piece(data, joined, f"{name} at {first:#x}")
        joined, first = True, first + len(data)


def _called(pid: int, name: str) -> str:
    """What a person knows it as."""
    with suppress(OSError):
        line = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        if found := RAY_TITLE.match(line):
            return f"{name} {found[1]}"
        if name == "ray":
            return f"ray {Path(line.split(' ')[0]).name}" if line else "ray"
    return name
