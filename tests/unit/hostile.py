"""Confined functions that do what a codec does to a hostile file, for the child of `test_engine_cell`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ray_cluster.engines.confine import confined
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.interface import Plaintext


@confined
def echo(data: Plaintext) -> Pixels:
    return np.frombuffer(data, np.uint8).reshape(1, -1, 1).copy()


@confined
def count(data: Plaintext, *, frames: int) -> Iterator[Pixels]:
    for index in range(frames):
        yield np.full((4, 4, 3), index % 251, np.uint8)


@confined
def crash(data: Plaintext) -> Pixels:
    ctypes.string_at(0)
    raise AssertionError


@confined
def spin(data: Plaintext) -> Pixels:
    while True:
        pass


@confined
def swell(data: Plaintext) -> Pixels:
    return np.ones((1 << 31, 1, 1), np.uint8)


@confined
def overflow(data: Plaintext, *, size: int) -> Pixels:
    return np.zeros((size, 1, 1), np.uint8)


@confined
def killed(data: Plaintext) -> Pixels:
    raise ChildProcessError(os.getpid())


@confined
def babble(data: Plaintext) -> Pixels:
    """What a child that a file has taken over might say to its parent, on any descriptor that it has."""
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            if not os.get_blocking(number):
                continue
            os.write(number, bytes(data))
    while True:
        pass


@confined
def reach(data: Plaintext, *, way: str) -> Pixels:
    """Raises what the system answers; a way that is open gives a picture."""
    ways = {
        "file": lambda: Path("/etc/hostname").read_bytes(),
        "write": lambda: Path("/tmp/mayfly-hostile").write_bytes(b"x"),
        "unlink": lambda: Path("/tmp/mayfly-hostile").unlink(),
        "socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "local socket": socket.socketpair,
        "program": lambda: subprocess.run(["/bin/true"], check=True),
        "fork": os.fork,
        "kill": lambda: os.kill(os.getppid(), 0),
    }
    ways[way]()
    return np.zeros((1, 1, 3), np.uint8)
