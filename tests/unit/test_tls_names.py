"""A worker can be scraped by a client that insists on the name in its certificate."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from services import tls

EXAMPLE = Path(__file__).parents[2] / "deploy/prometheus/prometheus.yml"


def worker() -> dict[str, object]:
    jobs = yaml.safe_load(EXAMPLE.read_text())["scrape_configs"]
    found: dict[str, object] = next(job for job in jobs if job["job_name"] == "mayfly-worker")["tls_config"]
    return found


async def meet(folder: Path, name: str) -> None:
    """Shake hands, with the name checked as Prometheus does."""
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=tls.server_context(str(folder))
    )
    context = tls.client_context(str(folder))
    assert context is not None
    context.check_hostname = True
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        writer.close()


async def test_the_example_names_what_is_in_the_certificate(tmp_path: Path) -> None:
    tls.create(tmp_path, datetime.now(UTC))
    assert worker()["server_name"] == tls.NODE
    await meet(tmp_path, str(worker()["server_name"]))
    with pytest.raises(ssl.SSLCertVerificationError):
        await meet(tmp_path, "another")


def test_the_example_reads_the_rules():
    (rules,) = yaml.safe_load(EXAMPLE.read_text())["rule_files"]
    assert (EXAMPLE.parent / rules).is_file()
