"""What a thread's calls left below the frame that runs now: overwritten.

libjpeg-turbo, for one, gathers a block's code in a local buffer (jchuff.c, `BUFSIZE`), and a piece of the last picture
stays there until something else comes to lie on it. No allocator sees a stack, so none overwrites it.

x86-64 and glibc; elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from typing import Final

NEAR_BYTES: Final = 256 << 10
"""So much is overwritten; what lies deeper is given back to the kernel, which gives zeros for it (madvise(2))."""
MARGIN_BYTES: Final = 1 << 10
"""Below the caller's frame, for the frames of the calls that overwrite."""

_DONTNEED: Final = 4
_RSP: Final = 40 + 15 * 8  # in ucontext_t: uc_mcontext.gregs[REG_RSP], sys/ucontext.h
_CONTEXT_BYTES, _ATTRIBUTES_BYTES = 2048, 64  # more than ucontext_t (968) and pthread_attr_t (56) take

_HERE: Final = platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.pthread_self.restype = ctypes.c_ulong
_libc.pthread_getattr_np.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
_libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def wipe() -> None:
    """Of the calling thread, which must not be the process's first: that one's stack has no end that is known."""
    if not _HERE:
        return
    top, low = pointer() - MARGIN_BYTES, lowest()
    edge = max(low, (top - NEAR_BYTES) // mmap.PAGESIZE * mmap.PAGESIZE)
    if edge > low and _libc.madvise(low, edge - low, _DONTNEED):
        edge = low  # the kernel takes no pages that are locked in memory
    _libc.memset(edge, 0, top - edge)


def pointer() -> int:
    """The stack pointer, about: in a call like those that overwrite."""
    context = ctypes.create_string_buffer(_CONTEXT_BYTES)
    _libc.getcontext(context)
    return int.from_bytes(context.raw[_RSP : _RSP + 8], "little")


def lowest() -> int:
    """The lowest address that this thread's stack may take."""
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    address, size, guard = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    if error := _libc.pthread_getattr_np(_libc.pthread_self(), attributes):
        raise OSError(error, "expected to be told where the thread's stack is")
    _libc.pthread_attr_getstack(attributes, ctypes.byref(address), ctypes.byref(size))
    _libc.pthread_attr_getguardsize(attributes, ctypes.byref(guard))
    _libc.pthread_attr_destroy(attributes)
    assert address.value is not None
    return address.value + guard.value
