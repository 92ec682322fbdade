"""A warm child process in which files of strangers are decoded, seen from its parent.

A file that crashes a codec, spins in it or blows it up ends the child, never the actor: the parent raises a named
error, and the next file finds a fresh child. Bytes go over and pictures come back through memory shared by the two
(memfd: never on a disk, sealed so that the child cannot shrink it under our feet); both are zeroed after each use.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec
import numpy as np

from ray_cluster.engines import errors
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.errors import DecodeLimit, EngineFault, HostileMedia
from ray_cluster.engines.interface import Plaintext
from ray_cluster.engines.shared import Shared
from stream.errors import MayflyError
from stream.vault import hygiene

T = TypeVar("T")

_LENGTH_BYTES: Final = 4
_READY_S: Final = 30.0
_MESSAGE_S: Final = 1.0
"""Within which a message that has begun is whole: they are written at once."""
_PASSED_ON: Final = ("LD_LIBRARY_PATH", "OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
_KINDS: Final = {
    cls.kind: cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, MayflyError)
}


class Limits(msgspec.Struct, frozen=True):
    """What one file may cost: heap beyond the idle child's, CPU seconds, seconds waited for a picture, its bytes."""

    memory_bytes: int = 1 << 30
    cpu_s: int = 120
    wait_s: float = 30.0
    out_bytes: int = 256 << 20
    frames: int = 3600


class Setup(msgspec.Struct, frozen=True):
    """What a child is told once. `modules`: where its functions are; `gate_weights`: a folder, '' for no gate."""

    limits: Limits = Limits()
    modules: tuple[str, ...] = ("ray_cluster.engines.decode", "ray_cluster.engines.clip", "ray_cluster.engines.gate")
    gate_weights: str = ""


class Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """Make pictures of the first `size` bytes; or, in the middle of many, whether to go on."""

    function: str = ""
    size: int = 0
    options: dict[str, Any] = {}
    more: bool = False


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """`word`: ready, picture, end or error."""

    word: str
    shape: tuple[int, ...] = ()
    kind: str = ""
    text: str = ""


class Cell:
    """One child, started at once and again after each death. Not thread-safe; a reading must be closed or run out."""

    def __init__(self, setup: Setup | None = None) -> None:
        self._setup = setup or Setup()
        self.deaths = 0
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        self._child.kill()
        self._child.wait()
        os.close(self._requests)
        os.close(self._answers)
        self._given.close()
        self._made.close()

    def picture(self, function: str, data: Plaintext, options: dict[str, Any]) -> Pixels:
        """What `function` makes of `data`: an array of our own."""
        found = list(self.pictures(function, data, options))
        if len(found) != 1:
            raise EngineFault(f"expected one picture of the decoding child, got {len(found)}; another attempt may work")
        return found[0]

    def pictures(self, function: str, data: Plaintext, options: dict[str, Any]) -> Iterator[Pixels]:
        """One array of our own after another; leaving early ends the reading.

        Raises:
            BadRequest: what the function raises; `HostileMedia` and `DecodeLimit` where the file ended the child.
            EngineFault: the child did not start, or was killed from outside.

        """
        self._await_ready()
        life, open_, used = self.deaths, True, 0
        try:
            self._given.view(len(data))[: len(data)] = np.frombuffer(data, np.uint8)
            self._tell(Ask(function=function, size=len(data), options=options))
            for count in range(self._setup.limits.frames + 1):
                said = self._hear(self._setup.limits.wait_s)
                if said.word != "picture":
                    open_ = False
                    if said.word == "error":
                        raise _error(said)
                    return
                if count == self._setup.limits.frames:
                    raise DecodeLimit(f"expected at most {count} frames, got more; send a shorter clip")
                pixels = self._take(said.shape)
                used = max(used, pixels.nbytes)
                yield pixels
                self._tell(Ask(more=True))
        finally:
            if life == self.deaths:
                if open_:
                    self._leave_off()
                self._given.blank(len(data))
                self._made.blank(used)

    def _take(self, shape: tuple[int, ...]) -> Pixels:
        pixels = np.empty(shape, np.uint8)
        if not self._made.holds(pixels.nbytes):
            self._bury()
            raise HostileMedia("expected the decoding child to lay out a picture, it did not; send another file")
        pixels[:] = self._made.view(pixels.nbytes).reshape(shape)
        return pixels

    def _leave_off(self) -> None:
        """In the middle of a reading: the child stops, or is stopped."""
        with suppress(MayflyError):
            self._tell(Ask())
            while self._hear(self._setup.limits.wait_s).word == "picture":
                self._tell(Ask())

    def _start(self) -> None:
        theirs_in, self._requests = os.pipe()
        self._answers, theirs_out = os.pipe()
        self._given, self._made = Shared(), Shared()
        passed = (theirs_in, theirs_out, self._given.number, self._made.number)
        env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [
                sys.executable,
                "-m",
                "ray_cluster.engines.cell_child",
                *map(str, passed),
                msgspec.json.encode(self._setup).decode(),
            ],
            env=env | hygiene.ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # codecs say there what they saw
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._ready = False

    def _await_ready(self) -> None:
        if self._child.poll() is not None:  # while nothing was asked of it: somebody else ended it
            self._bury()
        if not self._ready:
            said = self._hear(_READY_S)
            if said.word != "ready":
                raise EngineFault("expected the decoding child to start, it did not; another attempt may work")
            self._ready = True

    def _tell(self, ask: Ask) -> None:
        with suppress(BrokenPipeError):  # why it died is told by what is heard next
            send(self._requests, ask)

    def _hear(self, wait_s: float) -> Said:
        waiting = select.poll()
        waiting.register(self._answers, select.POLLIN)
        if not waiting.poll(wait_s * 1000):
            self._bury()
            raise DecodeLimit(f"expected a picture within {wait_s:g} s, got none; export the file again")
        said = receive(self._answers, Said, _MESSAGE_S)
        if said is None:
            raise self._death()
        return said

    def _death(self) -> MayflyError:
        """Why the child is gone, or speaks nonsense; the next is started."""
        ready, code = self._ready, 0
        with suppress(subprocess.TimeoutExpired):
            code = self._child.wait(_MESSAGE_S)
        self._bury()
        if not ready or code in (-signal.SIGKILL, -signal.SIGTERM):
            return EngineFault("expected the decoding child to go on, it was ended from outside; another attempt may")
        if code == -signal.SIGXCPU:
            return DecodeLimit("expected a file that decodes within its CPU time, it took more; export it again")
        return HostileMedia("expected a file that decodes, it ended the decoder; export it again")

    def _bury(self) -> None:
        self.close()
        self.deaths += 1
        self._start()


def send(to: int, message: msgspec.Struct) -> None:
    """A message with its length in front."""
    body = msgspec.msgpack.encode(message)
    os.write(to, len(body).to_bytes(_LENGTH_BYTES, "big") + body)  # under PIPE_BUF: whole or not at all


def receive(source: int, kind: type[T], wait_s: float | None = None) -> T | None:
    """The next message; None at the end, for what is none, and for one that stops for `wait_s` in its middle."""
    head = _read(source, _LENGTH_BYTES, wait_s)
    size = int.from_bytes(head, "big")
    body = _read(source, size, wait_s) if len(head) == _LENGTH_BYTES and size <= select.PIPE_BUF else b""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError:
        return None


def _read(source: int, size: int, wait_s: float | None) -> bytes:
    waiting = select.poll()
    waiting.register(source, select.POLLIN)
    got = b""
    while len(got) < size and waiting.poll(None if wait_s is None else wait_s * 1000):
        part = os.read(source, size - len(got))
        if not part:
            break
        got += part
    return got


def _error(said: Said) -> MayflyError:
    if said.kind in _KINDS:
        return _KINDS[said.kind](said.text)
    return EngineFault(f"expected the decoding child to decode or to refuse, got {said.kind}; another attempt may work")
