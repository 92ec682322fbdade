"""The text of a root key does not stay in a process that had OpenBao wrap and unwrap it; a planted copy is found."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from services.local.openbao import OpenBao
from services.local.system import HYGIENE
from stream.vault.openbao import decode64, encode64, size64

MASK = 0x5A
TIMES = 20

# The key comes masked and the search is done by the parent: the process that is searched never had the needle.
CHILD = """
import asyncio, base64, sys
from pathlib import Path
from stream.vault.openbao import Transit
from stream.vault.rootstore_openbao import OpenBaoRootStore

url, mount, token, ca, planted = sys.argv[1:]
key = bytes(byte ^ {mask} for byte in sys.stdin.buffer.read(32))
kept = base64.b64encode(key) if planted == "planted" else b""
transit = Transit(url, mount=mount, token_path=Path(token), ca_path=ca)
store = OpenBaoRootStore(transit, 0)

async def main():
    for _ in range({times}):
        wrapped = await store.wrap(key)
        assert await store.unwrap(wrapped) == key
        await store.destroy_before(wrapped)

asyncio.run(main())
print("done", flush=True)
sys.stdin.read()
"""


async def found_in_a_worker(openbao: OpenBao, *, planted: bool) -> int:
    cluster = await openbao.cluster()
    key = secrets.token_bytes(32)
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", CHILD.format(mask=MASK, times=TIMES)),
            *(cluster.url, cluster.mount, cluster.token_path, "", "planted" if planted else "clean"),
        ],
        env={**os.environ, **HYGIENE},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(bytes(byte ^ MASK for byte in key))
            process.stdin.flush()
            assert process.stdout.readline() == b"done\n"
            # Two thirds of the text: its end may be padded or followed by anything.
            return occurrences(process.pid, base64.b64encode(key)[:32])
        finally:
            process.stdin.close()
            process.wait(10)


def occurrences(pid: int, needle: bytes) -> int:
    """In all memory that the process can write to."""
    found = 0
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            memory.seek(begin)
            try:
                found += memory.read(end - begin).count(needle)
            except OSError:  # [vvar] and its like
                continue
    return found


async def test_no_text_of_a_root_key_stays(openbao: OpenBao) -> None:
    assert await found_in_a_worker(openbao, planted=False) == 0


async def test_a_planted_copy_is_found(openbao: OpenBao) -> None:
    assert await found_in_a_worker(openbao, planted=True) >= 1


@pytest.mark.parametrize("size", range(40))
def test_base64_is_that_of_the_library(size: int) -> None:
    raw = os.urandom(size)
    text, back = bytearray(size64(size)), bytearray(size)
    encode64(raw, memoryview(text))
    assert bytes(text) == base64.b64encode(raw)
    decode64(memoryview(text), memoryview(back))
    assert back == raw


@pytest.mark.parametrize("text", [b"", b"AAA", b"AAAAA", b"A?==", b"=AAA"])
def test_what_is_no_base64_of_that_length_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="expected base64"):
        decode64(memoryview(text), memoryview(bytearray(1)))
