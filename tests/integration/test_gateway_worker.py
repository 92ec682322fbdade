"""The gateway's contract, held to by a real worker: the whole system, as `mayfly up` runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.local.stack import LocalStack
from services.local.system import System as Running
from tests.contract import test_gateway_api as contract
from tests.contract.test_gateway_api import Caller, System

pytestmark = pytest.mark.stack


@pytest_asyncio.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with LocalStack(tmp_path_factory.mktemp("stack")) as stack, Running(stack) as running:
        system = System(running.url, running.settings)
        yield system
        for caller in system.callers:
            await caller.aclose()


@pytest_asyncio.fixture
async def caller(gateway: System) -> Caller:
    """The first tenant of this gateway."""
    return gateway.callers[0] if gateway.callers else await gateway.tenant()


class TestWorker(contract.GatewayApi):
    """All of it."""
