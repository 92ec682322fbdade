"""The decoding child: it opens files that strangers sent, so that the process with keys and models need not.

python -m ray_cluster.engines.cell_child REQUESTS ANSWERS INPUT OUTPUT SETUP     (four inherited descriptors, JSON)

It says that it is ready, shuts every door (`cell_limits`), and serves one request at a time: the bytes lie in INPUT, a
function that `confine` knows makes pictures of them, each is laid into OUTPUT and told. Its parent's end is its own.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import pkgutil
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from ray_cluster.engines import cell_limits, confine, gate
from ray_cluster.engines.cell import Ask, Said, Setup, receive, send
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.errors import DecodeLimit
from ray_cluster.engines.scrub import SIZES, scrub
from ray_cluster.engines.shared import Shared
from ray_cluster.engines.wipe import wipe
from stream.errors import MayflyError

SMALL_BYTES: Final = 4 * SIZES
"""Only of smaller pictures NumPy keeps anything: what decoding them makes on its way may be a quarter of their size."""


TOO_MUCH: Final = "expected a file that decodes in the memory it may take, it needs more; send a smaller one"


def main() -> None:
    """Serve until the parent closes its end."""
    requests, answers, *inherited = (int(word) for word in sys.argv[1:5])
    given, made = (Shared(number) for number in inherited)
    setup = msgspec.json.decode(sys.argv[5], type=Setup)
    pending: queue.SimpleQueue[Ask] = queue.SimpleQueue()
    for module in setup.modules:
        importlib.import_module(module)
    functions = confine.known()
    _open_codecs()
    if setup.gate_weights:
        gate.load(Path(setup.gate_weights))
    cell_limits.allow_memory(setup.limits.memory_bytes)
    threading.Thread(target=_listen, args=(requests, pending), daemon=True).start()
    cell_limits.close_doors(setup.limits.out_bytes)
    send(answers, Said("ready"))
    while True:
        ask = pending.get()
        cell_limits.allow_cpu(setup.limits.cpu_s)
        try:
            view = given.bytes(ask.size)
            _serve(functions[ask.function](view, **ask.options), made, answers, pending)
            said = Said("end")
        except MayflyError as error:
            said = Said("error", kind=error.kind, text=str(error))
        except Exception as error:  # noqa: BLE001 - its text may quote the file; its class says enough
            much = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.EFBIG)
            said = (
                Said("error", kind=DecodeLimit.kind, text=TOO_MUCH)
                if much
                else Said("error", kind=type(error).__name__)
            )
        send(answers, said)


def _serve(found: Pixels | Iterator[Pixels], made: Shared, answers: int, pending: queue.SimpleQueue[Ask]) -> None:
    small = False
    try:
        for pixels in (found,) if isinstance(found, np.ndarray) else found:
            small |= pixels.nbytes < SMALL_BYTES
            made.view(pixels.nbytes).reshape(pixels.shape)[:] = pixels
            wipe(pixels if pixels.flags.writeable else None)
            send(answers, Said("picture", shape=pixels.shape))
            if not pending.get().more:
                return
    finally:
        if small:
            scrub()


def _listen(requests: int, pending: queue.SimpleQueue[Ask]) -> None:
    while (ask := receive(requests, Ask)) is not None:
        pending.put(ask)
    os._exit(0)  # the parent is gone; a codec may be in the middle of something


def _open_codecs() -> None:
    """What libraries load when they are first used must be loaded before files can no longer be opened."""
    import av  # noqa: PLC0415 - only here, where it will be needed
    import cv2  # noqa: PLC0415

    cv2.imdecode(np.frombuffer(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1], np.uint8), cv2.IMREAD_COLOR)
    with contextlib.suppress(av.FFmpegError):
        av.open(io.BytesIO(b"not a clip"), "r").close()
    for module in pkgutil.walk_packages(av.__path__, "av."):  # it imports a kind of stream when it meets one
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    silence = av.AudioFrame.from_ndarray(np.zeros((1, 16), np.int16), format="s16", layout="mono")
    silence.sample_rate = 8000
    av.AudioResampler(format="s16", layout="stereo", rate=16000).resample(silence)


if __name__ == "__main__":
    main()
