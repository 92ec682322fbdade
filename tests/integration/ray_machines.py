"""A Ray cluster that makes its machines itself: every one of them is a raylet here, started by Ray's autoscaler v2.

Ray's own `AutoscalingCluster` cannot be used: it ends with `ray stop`, which kills every Ray of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any, Self

import psutil
from aiohttp import web
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from services.local.children import Child, Children
from services.local.endpoints import write_secret
from services.local.ports import free_ports
from services.local.ray_head import BOOT_TIMEOUT_S, python_path, ray_env

IDLE_S = 6.0
OBJECT_STORE_BYTES = 100 << 20
HOST = "127.0.0.1"


class Machines:
    """Boot with `start`; `address` and `token_path` are a Ray head's. The head itself has room for nothing."""

    def __init__(self, children: Children, ram: Path, types: dict[str, dict[str, Any]]) -> None:
        self._children, self._ram, self._types = children, ram, types
        port, self._metrics_port = free_ports(2)
        self.address = f"{HOST}:{port}"
        self.token_path = str(children.run_dir / "ray.token")
        self._child: Child | None = None

    async def start(self) -> None:
        # A process reads its token once: where it has joined another cluster before, this one has the same.
        known = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", ""))
        token = known.read_bytes() if known.is_file() else secrets.token_hex(32).encode()
        write_secret(Path(self.token_path), token)
        config = self._children.run_dir / "autoscaling.json"
        config.write_text(json.dumps(self._config()))
        self._child = self._children.start(
            "machines",
            [
                str(Path(sys.executable).with_name("ray")),
                *("start", "--head", "--block", "--node-ip-address", HOST, "--port", self.address.partition(":")[2]),
                *("--num-cpus=0", "--num-gpus=0", f"--object-store-memory={OBJECT_STORE_BYTES}"),
                *(f"--autoscaling-config={config}", f"--temp-dir={self._ram / 'ray'}", "--disable-usage-stats"),
                *("--include-dashboard=false", "--include-log-monitor=false", "--dashboard-agent-listen-port=0"),
                *("--min-worker-port=0", "--max-worker-port=0"),
            ],
            env=ray_env(self.token_path)
            | {
                "PYTHONPATH": python_path(),
                "RAY_FAKE_CLUSTER": "1",
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
                "AUTOSCALER_METRIC_PORT": str(self._metrics_port),
                "RAY_enable_autoscaler_v2": "1",
                "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
                "RAY_health_check_initial_delay_ms": "1000",
                "RAY_health_check_period_ms": "500",
                "RAY_health_check_timeout_ms": "1000",
                "RAY_health_check_failure_threshold": "2",
            },
        )
        log = Path(self._child.log)

        def served() -> None:
            if "Ray runtime started" not in log.read_text():
                raise TimeoutError

        await self._children.until(self._child, served, timeout_s=BOOT_TIMEOUT_S)

    def raylets(self) -> list[psutil.Process]:
        """Of the machines that were made, without the head's: the youngest last."""
        assert self._child is not None
        found = []
        for process in psutil.Process(self._child.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # gone since they were listed
                if process.name() == "raylet" and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return sorted(found, key=psutil.Process.create_time)[1:]

    def _config(self) -> dict[str, Any]:
        head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
        lists = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
        lists += ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude")
        return {
            "cluster_name": "machines",
            "max_workers": 8,
            "upscaling_speed": 100.0,
            "idle_timeout_minutes": IDLE_S / 60,
            "provider": {
                "type": "external",
                "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
                "gcs_address": self.address,
                "head_node_id": FAKE_HEAD_NODE_ID,
                "launch_multiple": True,
            },
            "available_node_types": self._types | {"ray.head.default": head},
            "head_node_type": "ray.head.default",
            "auth": {},
            "docker": {},
            "file_mounts": {},
            "file_mounts_sync_continuously": False,
            "rsync_filter": [],
            **{name: [] for name in lists},
        }


class Shelf:
    """Custody in this process: what was put can be got. A test of Ray needs no S3."""

    def __init__(self) -> None:
        self._held: dict[str, bytes] = {}
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{name}", self._answer)
        self._runner = web.AppRunner(app)
        (self._port,) = free_ports(1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def get_url(self, name: str, _expires_s: int) -> str:
        return f"http://{HOST}:{self._port}/{name}"

    put_url = get_url

    async def _answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if request.method == "PUT":
            self._held[name] = await request.read()
            return web.Response()
        return web.Response(body=self._held[name]) if name in self._held else web.Response(status=404)
