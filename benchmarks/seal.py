"""What sealing media costs, against the bare cipher and against Tink's streaming AEAD.

    python -m benchmarks.seal

Whole media, bytes in and bytes out: `seal` and `open_` against one `AESGCM` call over the same bytes, and against a
Tink stream that is written to memory in one piece (both of its AES256-GCM templates; the faster one is the peer). In
pieces, as an upload comes: `Sealer` and `Opener` against Tink's streams, fed the same pieces; what comes out is counted
and dropped. Contenders take turns, each in rounds of several calls of which the first is not counted: so each finds
memory as it leaves it itself. The last line is one JSON object; `seal_vs_raw`, `open_vs_raw` and `seal_vs_tink` are for
whole media of 8 MiB: how many times as fast ours is. `raw_vs_tink`: what no sealing on one core can much exceed.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import tink
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tink import streaming_aead

from stream.vault.secret import Key
from stream.vault.stream_seal import Opener, Sealer, open_, seal

MIB = 1 << 20
WHOLE_BYTES = (MIB, 8 * MIB, 32 * MIB)
HEADLINE_BYTES = 8 * MIB
PIECES_BYTES = (64 << 10, 256 << 10, MIB)
ROUNDS = 5
CALLS = 6
ASSET, APP = b"asset-0123456789", "genzo"
TEMPLATES = ("AES256_GCM_HKDF_1MB", "AES256_GCM_HKDF_4KB")


class Memory(io.BytesIO):
    """Keeps what was written to it when Tink closes it."""

    def close(self) -> None:
        """Stay open."""


class Counter(io.RawIOBase):
    """Takes everything, keeps nothing."""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """All of it."""
        return len(data)


def say(words: str) -> None:
    """Progress, for whoever waits."""
    print(words, file=sys.stderr, flush=True)


def measured(contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            work()
            for _ in range(CALLS - 1):
                began = time.perf_counter()
                work()
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in taken.items()}


def tink_streams() -> dict[str, Any]:
    """A primitive for each template, under a fresh key."""
    streaming_aead.register()
    return {
        name: tink.new_keyset_handle(getattr(streaming_aead.streaming_aead_key_templates, name)).primitive(
            streaming_aead.StreamingAead
        )
        for name in TEMPLATES
    }


def tink_seal(primitive: Any, pieces: Iterator[memoryview], sink: io.IOBase) -> None:
    """Everything through one encrypting stream."""
    with primitive.new_encrypting_stream(sink, ASSET) as stream:
        for piece in pieces:
            stream.write(piece)


def tink_sealed(primitive: Any, plain: bytes) -> bytes:
    """Bytes to bytes."""
    memory = Memory()
    tink_seal(primitive, iter([memoryview(plain)]), memory)
    return memory.getvalue()


def tink_opened(primitive: Any, sealed: bytes) -> bytes:
    """Bytes to bytes."""
    with primitive.new_decrypting_stream(io.BytesIO(sealed), ASSET) as stream:
        plain: bytes = stream.read()
    return plain


def whole(size: int, streams: dict[str, Any]) -> dict[str, float]:
    """Median seconds of each contender, media of `size` bytes in one piece."""
    plain, nonce = os.urandom(size), os.urandom(12)
    key, raw = Key.new(), AESGCM(os.urandom(32))
    raw_sealed, sealed = raw.encrypt(nonce, plain, None), seal(key, ASSET, APP, plain)
    assert bytes(open_(key, ASSET, APP, sealed).view) == plain
    contenders: dict[str, Callable[[], object]] = {
        "raw seal": lambda: raw.encrypt(nonce, plain, None),
        "seal": lambda: seal(key, ASSET, APP, plain),
        "raw open": lambda: raw.decrypt(nonce, raw_sealed, None),
        "open": lambda: open_(key, ASSET, APP, sealed),
    }
    for name, primitive in streams.items():
        theirs = tink_sealed(primitive, plain)
        assert tink_opened(primitive, theirs) == plain
        contenders[f"{name} seal"] = partial(tink_sealed, primitive, plain)
        contenders[f"{name} open"] = partial(tink_opened, primitive, theirs)
    return measured(contenders)


def in_pieces(size: int, piece: int, streams: dict[str, Any]) -> dict[str, float]:
    """Median seconds of each contender, the same media in pieces; what comes out is dropped."""
    plain, key = os.urandom(size), Key.new()
    sealed = seal(key, ASSET, APP, plain)

    def cut(data: bytes) -> Iterator[memoryview]:
        view = memoryview(data)
        return (view[at : at + piece] for at in range(0, len(view), piece))

    def sealer() -> None:
        ours, sink = Sealer(key, ASSET, APP), Counter()
        sink.write(ours.header())
        for each in cut(plain):
            sink.write(ours.update(each))
        sink.write(ours.final())

    def opener() -> None:
        ours, sink = Opener(key, ASSET, APP), Counter()
        for each in cut(sealed):
            sink.write(ours.update(each))
        sink.write(ours.final())

    def tink_sealer(primitive: Any) -> None:
        tink_seal(primitive, cut(plain), Counter())

    def tink_opener(primitive: Any, theirs: bytes) -> None:
        with primitive.new_decrypting_stream(io.BytesIO(theirs), ASSET) as stream:
            while stream.read(piece):
                pass

    contenders: dict[str, Callable[[], object]] = {"seal": sealer, "open": opener}
    for name, primitive in streams.items():
        theirs = tink_sealed(primitive, plain)
        contenders[f"{name} seal"] = partial(tink_sealer, primitive)
        contenders[f"{name} open"] = partial(tink_opener, primitive, theirs)
    return measured(contenders)


def peer(taken: dict[str, float], act: str) -> str:
    """The faster of Tink's templates."""
    return min(TEMPLATES, key=lambda name: taken[f"{name} {act}"])


def main() -> None:
    """Measure all, say so."""
    streams = tink_streams()
    rates: dict[str, dict[str, int]] = {}
    ratios: dict[int, dict[str, float]] = {}
    for size in WHOLE_BYTES:
        taken = whole(size, streams)
        faster = peer(taken, "seal")
        rates[f"{size // MIB} MiB"] = {name: round(size / seconds / 1e6) for name, seconds in taken.items()}
        ratios[size] = {
            "seal_vs_raw": round(taken["raw seal"] / taken["seal"], 2),
            "open_vs_raw": round(taken["raw open"] / taken["open"], 2),
            "seal_vs_tink": round(taken[f"{faster} seal"] / taken["seal"], 1),
            "raw_vs_tink": round(taken[f"{faster} seal"] / taken["raw seal"], 1),
            "open_vs_tink": round(taken[f"{peer(taken, 'open')} open"] / taken["open"], 1),
        }
        say(f"{size // MIB} MiB whole, peer {faster}: {ratios[size]}; MB/s: {rates[f'{size // MIB} MiB']}")
    pieces: dict[str, dict[str, float]] = {}
    for piece in PIECES_BYTES:
        taken = in_pieces(HEADLINE_BYTES, piece, streams)
        pieces[f"{piece >> 10} KiB"] = {
            "seal_vs_tink": round(taken[f"{peer(taken, 'seal')} seal"] / taken["seal"], 2),
            "open_vs_tink": round(taken[f"{peer(taken, 'open')} open"] / taken["open"], 2),
        }
        speed = {name: round(HEADLINE_BYTES / seconds / 1e6) for name, seconds in taken.items()}
        rates[f"in pieces of {piece >> 10} KiB"] = speed
        say(f"in pieces of {piece >> 10} KiB: {pieces[f'{piece >> 10} KiB']}; MB/s: {speed}")
    whole_ratios = {f"{size // MIB} MiB": each for size, each in ratios.items()}
    print(json.dumps({**ratios[HEADLINE_BYTES], "whole": whole_ratios, "in_pieces": pieces, "mb_per_s": rates}))


if __name__ == "__main__":
    main()
