"""No code path hands media to third parties: who opens a picture, who carries its bytes, and what a tenant may name.

Whoever adds a module to these lists adds a way for media to travel, and must be able to say why it leads nowhere else.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import msgspec

from services.gateway import bodies

ROOT = Path(__file__).parent.parent.parent
CODE = [path for folder in ("services", "stream", "ray_cluster") for path in sorted((ROOT / folder).rglob("*.py"))]

OPENS_MEDIA = {
    "ray_cluster/attempt.py",  # the engine, for the job that its user asked for
    "services/disclosed.py",  # a recipient, on their own machine, with their own key
    "services/gateway/download.py",  # to the tenant whose asset it is, as the answer to its request
    "services/gateway/render/picture.py",  # to the tenant who sent it, on the same connection
    "services/gateway/upload.py",
}
CARRIES_BYTES = {  # between our own processes and custody, whose URLs nobody else makes
    "ray_cluster/actors.py",
    "ray_cluster/attempt.py",
    "services/backup.py",
    "services/disclosed.py",
    "services/gateway/__main__.py",
    "services/gateway/core.py",
    "services/restoring.py",
    "stream/vault/custody.py",
}
SIGNS_URLS = {"services/backup.py", "services/restoring.py", "services/gateway/render/picture.py"} | {
    f"stream/{name}.py"
    for name in ("agents/disclosures", "agents/dispatch", "agents/owner", "vault/custody", "vault/shelf")
}
CLIENTS = {"aiohttp", "aiosmtplib", "boto3", "ftplib", "http.client", "httpx", "minio", "requests", "smtplib", "socket"}
"""By which something could be sent anywhere."""


def imports(path: Path) -> set[str]:
    """Modules and names that a file imports: `a.b` and `a.b.c` for `from a.b import c`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def those(wanted: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in CODE if wanted in imports(path)}


def test_few_open_media_and_none_of_them_can_send_it_elsewhere() -> None:
    assert those("stream.vault.stream_seal") == OPENS_MEDIA
    for name in OPENS_MEDIA:
        assert not imports(ROOT / name) & CLIENTS, name


def test_bytes_travel_between_us_and_custody_by_urls_that_only_custody_signs() -> None:
    assert those("stream.vault.courier.Courier") == CARRIES_BYTES
    signing = {str(path.relative_to(ROOT)) for path in CODE if re.search(r"\b(?:get|put)_url\(", path.read_text())}
    assert signing == SIGNS_URLS


def test_no_body_of_the_public_api_names_a_place_to_send_anything_to() -> None:
    named = {
        f"{name}.{field.name}"
        for name, kind in vars(bodies).items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        for field in msgspec.structs.fields(kind)
    }
    assert named
    assert not [name for name in named if re.search(r"url|uri|hook|callback|host|endpoint|share|recipient", name)]
