"""One SeaweedFS process as the S3 server."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import sys
from pathlib import Path
from typing import Final

import minio
import msgspec
import urllib3

from services.local.children import ChildFailed, Children
from services.local.endpoints import write_secret
from services.local.ports import LOOPBACK, free_ports

BOOT_TIMEOUT_S: Final = 60.0
REQUEST_TIMEOUT_S: Final = 3.0
ACCESS_KEY: Final = "mayfly"


class S3(msgspec.Struct, frozen=True):
    """A served endpoint. Its repr hides the credentials."""

    url: str
    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"S3({self.url!r})"


async def start_s3(children: Children, *, bucket: str, sockets: Path) -> S3:
    """Boot the server on `children.run_dir / s3` with one private bucket. Raises ChildFailed.

    sockets: a folder with a short path, since a Unix socket's name holds 107 bytes at most.
    """
    port, master, volume, filer = free_ports(4)
    data = children.run_dir / "s3"
    data.mkdir(exist_ok=True)
    served = S3(f"http://{LOOPBACK}:{port}", ACCESS_KEY, secrets.token_hex(32))
    identities = children.run_dir / "s3.json"
    write_secret(identities, json.dumps(_identities(served)).encode())
    child = children.start(
        "s3",
        [
            str(Path(sys.executable).with_name("weed")),
            "-logtostderr=true",
            # `mini` serves in 1 s what `server -s3 -filer` serves in 6; less its extras, it needs four ports.
            "mini",
            f"-dir={data}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            f"-master.port={master}",
            f"-volume.port={volume}",
            f"-filer.port={filer}",
            f"-filer.localSocket={sockets / 'filer.sock'}",
            f"-s3.port={port}",
            f"-s3.localSocket={sockets / 's3.sock'}",
            f"-s3.config={identities}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
        ],
    )
    await children.until(child, lambda: asyncio.to_thread(_round_trip, served, bucket), timeout_s=BOOT_TIMEOUT_S)
    await asyncio.to_thread(_refuses_strangers, served)
    return served


def client(served: S3) -> minio.Minio:
    """A client that answers fast or fails."""
    http = urllib3.PoolManager(timeout=REQUEST_TIMEOUT_S, retries=False)
    host = served.url.removeprefix("http://")
    return minio.Minio(host, served.access_key, served.secret_key, secure=False, http_client=http)


def _identities(served: S3) -> dict[str, object]:
    credentials = [{"accessKey": served.access_key, "secretKey": served.secret_key}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "mayfly", "actions": actions, "credentials": credentials}]}


def _round_trip(served: S3, bucket: str) -> None:
    """Served, not merely listening: an object goes in, comes out and goes away."""
    s3 = client(served)
    if not s3.bucket_exists(bucket):
        s3.make_bucket(bucket)
    name = f"ready-{secrets.token_hex(4)}"
    s3.put_object(bucket, name, io.BytesIO(b"ready"), 5)
    answer = s3.get_object(bucket, name)
    try:
        answer.read()
    finally:
        answer.close()
        answer.release_conn()
    s3.remove_object(bucket, name)


def _refuses_strangers(served: S3) -> None:
    try:
        client(S3(served.url, served.access_key, "wrong")).list_buckets()
    except minio.error.S3Error:
        return
    raise ChildFailed("expected s3 to refuse a wrong secret key, but it answered: its identity file was not read")
