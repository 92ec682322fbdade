"""One booted stack for the whole run, booted when the first test marked `stack` asks for it and ended with the run."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import hypothesis
import pytest
import pytest_asyncio

from services.local.children import Children, StackBusy
from services.local.endpoints import Endpoints
from services.local.openbao import OpenBao, start_openbao
from services.local.stack import LocalStack, clear_ram, make_ram, sweep
from services.local.system import System
from tests import twins
from tests.mailbox import Mailbox

UNIT = Path(__file__).parent / "unit"


def pytest_configure() -> None:
    """SIGTERM (a CI's limit, `timeout`) ends a run like ^C: the stack is closed, not orphaned."""
    signal.signal(signal.SIGTERM, _end)
    # No test is about time: on a busy machine an example may take as long as it likes.
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")


def _end(signum: int, frame: FrameType | None) -> None:
    """Once: whoever ends a group of processes may tell each of us several times, and what closes is to go on."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.default_int_handler(signum, frame)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for the stack says so, and is no unit test: one of the two parts of `python -m tests` has none."""
    for item in items:
        marked = item.get_closest_marker("stack") is not None
        if not marked and "stack" in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid} asks for the stack: expected the mark `stack`")
        if marked and UNIT in item.path.parents:
            raise pytest.UsageError(f"{item.nodeid} is marked `stack`: expected it in another folder than tests/unit")


@pytest.fixture(scope="session")
def runs() -> Path:
    """Where run folders lie. What runs that were killed have left is ended; folders of live ones are locked."""
    runs = Path(tempfile.gettempdir()) / f"mayfly-tests-{os.getuid()}"
    runs.mkdir(mode=0o700, exist_ok=True)
    looking = os.open(runs, os.O_RDONLY)
    try:
        fcntl.flock(looking, fcntl.LOCK_EX)  # two runs that begin at once would sweep the same folders
        for left in runs.iterdir():
            with suppress(StackBusy):
                if (left / "lock").exists():  # else it was made a moment ago, and is about to be locked
                    sweep(left)
                    shutil.rmtree(left)
    finally:
        os.close(looking)
    return runs


@pytest_asyncio.fixture(scope="session")
async def stack(runs: Path) -> AsyncIterator[LocalStack]:
    """Kafka and S3, served; `stack.endpoints` tells where. Use topics and object names of your own.

    What runs on it is not traced: that would cost half as much CPU again, and make it another system than users run.
    What is covered of stream/ is what the tests' own processes cover.
    """
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    run_dir = Path(tempfile.mkdtemp(dir=runs))
    async with LocalStack(run_dir) as booted:
        yield booted
    shutil.rmtree(run_dir)


@pytest_asyncio.fixture(scope="session")
async def openbao(runs: Path) -> AsyncIterator[OpenBao]:
    """A server of its own, booted in 2 s: the tests of a root store need no other. Use `cluster()` of your own."""
    run_dir = Path(tempfile.mkdtemp(dir=runs))
    children, ram = Children(run_dir), make_ram(run_dir)
    try:
        yield await start_openbao(children, data=ram / "openbao")
    finally:
        await children.stop()
        clear_ram(run_dir)
        children.release()
        shutil.rmtree(run_dir)


@pytest_asyncio.fixture(scope="session")
async def ray_stack(stack: LocalStack) -> Endpoints:
    """The same stack with its Ray head up; joining it is the test's own business, with `ray_env(ray_token_path)`."""
    return await stack.ray()


@pytest_asyncio.fixture(scope="session")
async def mailbox() -> AsyncIterator[Mailbox]:
    """A mail server on loopback, to which the system sends its codes."""
    async with Mailbox() as box:
        yield box


@pytest_asyncio.fixture(scope="session")
async def system(stack: LocalStack, mailbox: Mailbox) -> AsyncIterator[System]:
    """Gateway, two workers and Ray on the shared stack: real parts, a clock that may be advanced, short retries."""
    async with System(
        stack,
        workers=2,
        demo_clock=True,
        policies_extra=str(twins.write(stack.run_dir / "policies")),
        retry_after_s=(0.2,),
        max_image_bytes=1 << 20,
        content_free_s=600.0,
        approvers_path=str(stack.run_dir / "approvers.json"),
        smtp_host="127.0.0.1",
        smtp_port=mailbox.port,
        smtp_tls=False,
        region="CN",
    ) as running:
        yield running
