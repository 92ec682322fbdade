"""One booted stack for the whole run, booted when the first test asks for it and ended with the run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.local.endpoints import Endpoints
from services.local.stack import LocalStack


@pytest_asyncio.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    """Kafka and S3, served; `stack.endpoints` tells where. Use topics and object names of your own."""
    async with LocalStack(tmp_path_factory.mktemp("stack")) as booted:
        yield booted


@pytest_asyncio.fixture(scope="session")
async def ray_stack(stack: LocalStack) -> Endpoints:
    """The same stack with its Ray head up; joining it is the test's own business, with `ray_env(ray_token_path)`."""
    return await stack.ray()
