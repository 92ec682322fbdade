"""Memory to be written once. Python's own `bytes(n)` and `bytearray(n)` fill it with zeros first.

Those zeros took a sixth of the time of sealing. What is handed out must be overwritten whole, or dropped unread: it
holds whatever lay there before.
"""

from __future__ import annotations

import ctypes
from typing import Final

_WRITABLE: Final = 0x200  # PyBUF_WRITE

_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.argtypes, _new_bytes.restype = (ctypes.c_void_p, ctypes.c_ssize_t), ctypes.py_object
_address = ctypes.pythonapi.PyBytes_AsString
_address.argtypes, _address.restype = (ctypes.py_object,), ctypes.c_void_p
_view = ctypes.pythonapi.PyMemoryView_FromMemory
_view.argtypes, _view.restype = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int), ctypes.py_object
_new_bytearray = ctypes.pythonapi.PyByteArray_FromStringAndSize
_new_bytearray.argtypes, _new_bytearray.restype = (ctypes.c_void_p, ctypes.c_ssize_t), ctypes.py_object


class Blank:
    """A `bytes` of known size, written through `view` and then handed out by `finish`.

    The C API allows it: a `bytes` made without contents may be written until somebody else sees it.
    """

    __slots__ = ("_raw", "view")

    def __init__(self, size: int) -> None:
        self._raw: bytes = _new_bytes(None, size)
        self.view: memoryview = _view(_address(self._raw), size, _WRITABLE)

    def finish(self) -> bytes:
        """The bytes; `view` is closed."""
        self.view.release()
        return self._raw


def blank(size: int) -> bytearray:
    """A `bytearray` of this size."""
    made: bytearray = _new_bytearray(None, size)
    return made
