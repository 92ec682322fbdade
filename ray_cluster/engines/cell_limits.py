"""What a process may no longer do once it has looked at somebody's file: memory, CPU time, files, programs, sockets.

Linux on x86-64 only, like the lock: elsewhere nothing is decoded rather than decoded unguarded.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Iterable
from typing import Any, Final

from ray_cluster.engines.errors import EngineFault

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_AUDIT_ARCH_X86_64: Final = 0xC000003E
_X32_BIT: Final = 0x40000000

# Classic BPF (linux/filter.h, linux/seccomp.h): load a word of seccomp_data, jump if equal, at least, any bit; return.
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _FLAGS_AT = 0, 4, 16
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _ABSENT = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_CLONE, _CLONE3, _CLONE_THREAD = 56, 435, 0x10000

SOCKETS: Final = (41, 42, 43, 44, 46, 49, 50, 53, 288)
"""socket, connect, accept, sendto, sendmsg, bind, listen, socketpair, accept4."""
_DENIED: Final = (
    # a way in or out: sockets, and io_uring, which opens them without a system call of its own
    *(*SOCKETS, 425, 426, 427),
    # files by name: open, creat, openat, openat2, rename, link, unlink, mkdir, symlink, mount, name_to_handle
    *(2, 85, 257, 437, 82, 264, 316, 86, 265, 87, 263, 83, 258, 88, 266, 165, 303, 304),
    # programs and other processes: fork, vfork, execve, kill, ptrace, execveat, process_vm_*, pidfd_*
    *(57, 58, 59, 62, 101, 322, 310, 311, 424, 434, 438),
    # the kernel's own doors: keyctl, unshare, setns, bpf, userfaultfd, perf_event_open
    *(248, 249, 250, 272, 308, 321, 323, 298),
)
"""System calls of x86-64, from its `syscall_64.tbl`. Threads stay: codecs use them."""


def close_doors(out_bytes: int) -> None:
    """From here on: no program, no socket, no file by name, no core dump, no file over `out_bytes`. For good.

    Raises:
        EngineFault: this machine or its kernel cannot.

    """
    if platform.machine() != "x86_64":
        raise EngineFault(f"expected an x86-64 machine to decode on, got {platform.machine()}; run engines on one")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (out_bytes, out_bytes))
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_DUMPABLE, 0)
    refuse(_DENIED)


def refuse(calls: Iterable[int], *, kill: bool = False) -> None:
    """From here on these system calls, and a new process instead of a thread, are EPERM; or end this one. For good.

    Raises:
        EngineFault: this kernel cannot.

    """
    libc = ctypes.CDLL(None, use_errno=True)
    program = _program(calls, _KILL if kill else _REFUSE)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(header))


def _prctl(libc: ctypes.CDLL, option: int, *values: Any) -> None:
    if libc.prctl(option, *values, *[0] * (4 - len(values))):
        told = os.strerror(ctypes.get_errno())
        raise EngineFault(f"expected the kernel to take prctl {option}, got {told}; engines need seccomp")


def allow_cpu(seconds: int) -> None:
    """The process is killed (SIGXCPU) once it has used so many seconds more than now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def allow_memory(more_bytes: int) -> None:
    """The heap may grow by so much; what asks for more gets no memory. Shared mappings are not counted."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - before doors are closed
        data_pages = int(file.read().split()[5])
    limit = data_pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _program(calls: Iterable[int], verdict: int) -> bytes:
    """Kill another architecture's calls; `verdict` for x32's, `calls` and a process for a thread; allow the rest.

    clone3 hides its flags behind a pointer: it "does not exist", and the C library uses clone.
    """
    numbers = [(_JUMP_AT_LEAST, _X32_BIT), *((_JUMP_EQUAL, number) for number in sorted(calls))]
    lines = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    lines += [(jump, len(numbers) - at + 4, 0, value) for at, (jump, value) in enumerate(numbers)]  # to the verdict
    lines += [
        (_JUMP_EQUAL, 5, 0, _CLONE3),  # to _ABSENT
        (_JUMP_EQUAL, 0, 2, _CLONE),  # or to _ALLOW
        (_LOAD, 0, 0, _FLAGS_AT),
        (_JUMP_ANY_BIT, 0, 1, _CLONE_THREAD),  # or to the verdict
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, verdict),
        (_RETURN, 0, 0, _ABSENT),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)
