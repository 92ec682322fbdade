"""The text of a root key does not stay in a process that had OpenBao wrap and unwrap it; a planted copy is found."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import secrets
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from services.local.openbao import Cluster, OpenBao
from stream.vault import hygiene
from stream.vault.openbao import Transit, decode64, encode64, size64
from stream.vault.rootstore import RootStoreUnavailable
from stream.vault.rootstore_openbao import OpenBaoRootStore

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


async def found_in_a_worker(cluster: Cluster, *, ca_path: str = "", clean: bool = True, planted: bool = False) -> int:
    arguments = (cluster.url, cluster.mount, cluster.token_path, ca_path, "planted" if planted else "clean")
    return await asyncio.to_thread(_found, arguments, hygiene.ENVIRONMENT if clean else {})


def _found(arguments: tuple[str, ...], environment: dict[str, str]) -> int:
    key = secrets.token_bytes(32)
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(mask=MASK, times=TIMES), *arguments],
        env={**os.environ, **environment},
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


@pytest.mark.parametrize("clean", [True, False])
async def test_no_text_of_a_root_key_stays(openbao: OpenBao, clean: bool) -> None:
    assert await found_in_a_worker(await openbao.cluster(), clean=clean) == 0


async def test_a_planted_copy_is_found(openbao: OpenBao) -> None:
    assert await found_in_a_worker(await openbao.cluster(), planted=True) >= 1


async def test_none_stays_when_it_went_through_tls(openbao: OpenBao, tmp_path: Path) -> None:
    async with behind_tls(openbao, tmp_path) as cluster:
        assert await found_in_a_worker(cluster, ca_path=str(tmp_path / "ca.pem")) == 0


async def test_a_server_that_our_ca_did_not_sign_is_told_nothing(openbao: OpenBao, tmp_path: Path) -> None:
    async with behind_tls(openbao, tmp_path) as cluster:
        transit = Transit(cluster.url, mount=cluster.mount, token_path=Path(cluster.token_path))
        with contextlib.closing(transit), pytest.raises(RootStoreUnavailable, match="SSLCertVerificationError"):
            await OpenBaoRootStore(transit, 0).used()


@asynccontextmanager
async def behind_tls(openbao: OpenBao, folder: Path) -> AsyncIterator[Cluster]:
    """The same server, spoken to by TLS under a CA of our own (`ca.pem` in the folder)."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "node.pem").write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "node.pem")

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while some := await source.read(4096):
            target.write(some)
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond, back = await asyncio.open_connection("127.0.0.1", int(cluster.url.rpartition(":")[2]))
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(carry(reader, back), carry(beyond, writer))

    cluster = await openbao.cluster()
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        yield msgspec.structs.replace(cluster, url=f"https://localhost:{port}")


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
