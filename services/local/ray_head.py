"""A Ray head that keeps what passes through it in memory and answers only holders of a token."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path
from typing import Final, NamedTuple

from services.local.children import Children
from services.local.endpoints import write_secret
from services.local.ports import free_ports
from stream.vault import hygiene

BOOT_TIMEOUT_S: Final = 90.0
OBJECT_STORE_BYTES: Final = 128 << 20  # plaintext never goes there; sealed keys and progress are small
ADDRESS: Final = re.compile(r"--address='([^']+)'")

SYSTEM_CONFIG: Final = '{"automatic_object_spilling_enabled":false,"local_fs_capacity_threshold":0.0}'
"""A full object store is an error, never a file."""


class Ray(NamedTuple):
    """A served head."""

    address: str  # host:port
    token_path: str


def ray_env(token_path: str) -> dict[str, str]:
    """What the head, and every driver that joins it, has in its environment."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token_path,
        # The control store would keep the arguments' shape and names of every call after it returned.
        "RAY_task_events_report_interval_ms": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # By default 15: beside Kafka and workers on the same cores, engines would run when nobody else wants to.
        "RAY_worker_niceness": "0",
        **hygiene.ENVIRONMENT,
    }


async def start_ray(children: Children, *, temp_dir: Path, cpus: float) -> Ray:
    """Boot a head whose sessions, sockets and objects lie in `temp_dir` (a tmpfs, with a short path).

    It listens beyond loopback (a driver given 127.0.0.1 dials the host's own address and times out), hence the token.
    cpus: logical CPUs to grant, whatever the machine has. Raises ChildFailed.
    """
    token = children.run_dir / "ray.token"
    write_secret(token, secrets.token_hex(32).encode())
    (port,) = free_ports(1)
    child = children.start(
        "ray",
        [
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--head",
            "--block",
            f"--port={port}",
            # From the kernel: a fixed range meets the ports of whoever else runs here.
            "--min-worker-port=0",
            "--max-worker-port=0",
            f"--num-cpus={cpus:g}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--temp-dir={temp_dir}",
            f"--plasma-directory={temp_dir}",
            f"--system-config={SYSTEM_CONFIG}",
            "--include-dashboard=false",
            "--include-log-monitor=false",  # a worker's output stays in its own file
            "--disable-usage-stats",
        ],
        env=ray_env(str(token)) | {"PYTHONPATH": python_path()},
    )
    log = Path(child.log)

    def address() -> str:
        """Its help prints the address once every process of the node is up."""
        found = ADDRESS.search(log.read_text())
        if found is None:
            raise TimeoutError("its processes are still starting")
        return found[1]

    await children.until(child, address, timeout_s=BOOT_TIMEOUT_S)
    return Ray(address(), str(token))


def python_path() -> str:
    """Workers must import our packages from where we did."""
    ours = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))
