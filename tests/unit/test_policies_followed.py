"""A worker goes by the policies that it began with, and ends when others are in force."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from services import policies_followed
from stream.metrics import worker as metrics
from stream.policies import compiler
from tests.unit.desk import POLICIES, Desk

TEXT = (POLICIES / "testapp.toml").read_text()


async def test_what_does_not_compile_is_counted_and_another_policy_ends_the_worker(tmp_path: Path) -> None:
    folder, ended = tmp_path / "policies", asyncio.Event()
    folder.mkdir()
    path = folder / "testapp.toml"
    path.write_text(TEXT)
    desk = await Desk(tmp_path).open()
    tools = replace(desk.estate.tools, policies=compiler.load_all(str(folder)), end=ended.set)
    following = asyncio.create_task(policies_followed.follow(str(folder), tools, every_s=0.01))
    counted = metrics.POLICIES_UNREAD._value.get()
    path.write_text(TEXT.replace("upload_received", "uplod_received"))
    async with asyncio.timeout(10):
        while metrics.POLICIES_UNREAD._value.get() == counted:
            await asyncio.sleep(0.01)
    assert not ended.is_set()
    path.write_text(TEXT.replace('"1 h"', '"30 min"'))
    async with asyncio.timeout(10):
        await following
    assert ended.is_set()
