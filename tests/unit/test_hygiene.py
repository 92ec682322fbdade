"""What is freed is overwritten, small pieces too: a process that freed a key is searched for it by its parent."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ray_cluster.pools import default_pools, environment
from services.local.ray_head import ray_env
from stream.vault import hygiene

HALF = 16  # what the allocator writes into a freed block may take the first half
SEED = random.SystemRandom().getrandbits(64)
KEY = [random.Random(SEED).randbytes(32)[HALF:]]

# The child is told how to make the key, not the key. A thread that ends empties its cache, so main frees too.
CHILD = """
import random, sys, threading

def work():
    made = [random.Random(int(sys.argv[1])).randbytes(32) for _ in range(300)]
    made.clear()

thread = threading.Thread(target=work)
thread.start()
thread.join()
work()
print("done", flush=True)
sys.stdin.read()
"""


def left(environment: dict[str, str], child: str, needles: list[bytes]) -> int:
    """How often any of these lies in the memory of a child that is done."""
    with subprocess.Popen(
        [sys.executable, "-c", child, str(SEED)],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        found = occurrences(process.pid, needles)
        process.communicate()
    return found


def occurrences(pid: int, needles: list[bytes]) -> int:
    found = 0
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if rights.startswith("rw"):
                begin, end = (int(part, 16) for part in span.split("-"))
                memory.seek(begin)
                data = memory.read(end - begin)
                found += sum(data.count(needle) for needle in needles)
    return found


SEALER = """
import random, sys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

chunk = bytearray(random.Random(int(sys.argv[1])).randbytes(1 << 17))
AESGCM(bytes(32)).encrypt_into(bytes(12), chunk, None, bytearray(len(chunk) + 16))
chunk[:] = bytes(len(chunk))
print("done", flush=True)
sys.stdin.read()
"""


def test_sealing_leaves_nothing_on_the_stack() -> None:
    chunk = random.Random(SEED).randbytes(1 << 17)
    needles = [chunk[at : at + HALF] for at in range(len(chunk) - 1024, len(chunk), HALF)]
    assert left(hygiene.ENVIRONMENT, SEALER, needles) == 0


@pytest.mark.skipif("avx512f" not in Path("/proc/cpuinfo").read_text(), reason="this processor has no AVX-512")
def test_sealing_with_avx512_leaves_some() -> None:
    chunk = random.Random(SEED).randbytes(1 << 17)
    needles = [chunk[at : at + HALF] for at in range(len(chunk) - 1024, len(chunk), HALF)]
    assert left({n: v for n, v in hygiene.ENVIRONMENT.items() if n != "OPENSSL_ia32cap"}, SEALER, needles) > 0


def test_nothing_freed_stays() -> None:
    assert left(hygiene.ENVIRONMENT, CHILD, KEY) == 0


@pytest.mark.parametrize(
    "weaker",
    [
        {"PYTHONMALLOC": "malloc"},
        {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.perturb=165"},
    ],
    ids=["nothing", "all but the thread's cache"],
)
def test_it_takes_both(weaker: dict[str, str]) -> None:
    assert left(weaker, CHILD, KEY) > 0


def test_ray_and_every_actor_have_it() -> None:
    assert hygiene.ENVIRONMENT.items() <= ray_env("token").items()
    for pool in default_pools():
        assert hygiene.ENVIRONMENT.items() <= environment(pool).items()
