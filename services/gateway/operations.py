"""Routes for operators and the curious: health, readiness, metrics. No key, and nothing of any tenant."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.gateway.core import Core


@get("/healthz", name="healthz", summary="Is the process alive?", media_type="text/plain")
async def healthz() -> str:
    """Always 200 while requests are answered."""
    return "ok"


@get("/readyz", name="readyz", summary="Can every partition be served?", media_type="text/plain")
async def readyz(core: NamedDependency[Core]) -> Response[str]:
    """503 until all tenants are read and every partition has had an owner."""
    missing = core.owners.missing
    if not core.flights.stopping.is_set() and core.caught_up.is_set() and not missing:
        return Response("ready")
    return Response(f"not ready: {len(missing)} partitions without owner", status_code=503)


@get("/metrics", name="metrics", summary="Prometheus metrics", include_in_schema=False)
async def metrics() -> Response[bytes]:
    """Counts without content."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8"))
