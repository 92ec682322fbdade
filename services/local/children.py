"""Child processes that never outlive their use.

A child gets its own session, so that ^C in a terminal reaches only us, and is recorded by pid and start time before
its program runs. What a killed parent left behind is then found by that record, never by a name.
"""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from services.local.processes import MARK_VARIABLE, Child, boot_id, kill, look_up, members
from stream.errors import StoreUnavailable

POLL_S: Final = 0.05
STOP_GRACE_S: Final = 4.0
KILL_WAIT_S: Final = 5.0
LOG_TAIL_BYTES: Final = 16_384
LOG_LINE_CHARS: Final = 300

# The program starts only once its pid is on record: a parent killed in between leaves a shell that reads end-of-file.
GATE: Final = 'read -r go && exec "$@" </dev/null'

Check = Callable[[], object]


class ChildFailed(StoreUnavailable):
    """A child process ended, or never served; the message names it and its last log line."""

    kind: ClassVar[str] = "child-failed"


class StackBusy(StoreUnavailable):
    """Another live process runs a stack in this folder."""

    kind: ClassVar[str] = "stack-busy"


class Children:
    """The processes of one run folder. One holder at a time: the kernel frees the lock with its holder."""

    def __init__(self, run_dir: Path) -> None:
        """Take the folder and end what an earlier holder left in it (`swept`: their names). Raises StackBusy."""
        self.run_dir = run_dir
        self._records = run_dir / "children"
        self._records.mkdir(parents=True, exist_ok=True)
        self._lock = (run_dir / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise StackBusy(
                f"expected no other stack in {run_dir}, but one runs there: end it, or choose another MAYFLY_HOME"
            ) from None
        self._mark = secrets.token_hex(16)
        self._running: dict[str, tuple[Child, subprocess.Popen[bytes]]] = {}
        self._how: dict[str, tuple[Sequence[str], Mapping[str, str] | None]] = {}  # each was started last
        self.swept = _sweep(self._records)

    def start(self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Child:
        """Run `argv` with its output in `NAME.log`; `env` is added to ours. Raises ChildFailed."""
        self._how[name] = argv, env
        return self._start(name, fresh_log=True)

    def _start(self, name: str, *, fresh_log: bool) -> Child:
        argv, env = self._how[name]
        log = self.run_dir / f"{name}.log"
        with log.open("wb" if fresh_log else "ab") as output:
            process = subprocess.Popen(  # noqa: S603 - argv is ours
                ["/bin/sh", "-c", GATE, name, *argv],
                env={**os.environ, **(env or {}), MARK_VARIABLE: self._mark},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        found = look_up(process.pid)
        if found is None or process.stdin is None:
            raise ChildFailed(f"{name} ended before it began (log: {log})")
        child = Child(
            name=name,
            pid=process.pid,
            started_ticks=found.started_ticks,
            boot_id=boot_id(),
            mark=self._mark,
            log=str(log),
        )
        (self._records / f"{name}.json").write_bytes(msgspec.json.encode(child))
        self._running[name] = (child, process)
        with process.stdin as gate:
            gate.write(b"go\n")
        return child

    async def restart(self, name: str) -> Child:
        """Kill what is left of a child, and start it as it was started; its log goes on. Raises ChildFailed."""
        await self.stop([name], grace_s=0.0)
        return self._start(name, fresh_log=False)

    async def until(self, child: Child, check: Check, *, timeout_s: float) -> None:
        """Poll `check` (plain or async) until it returns without raising. Raises ChildFailed, at once if it died."""
        end = time.monotonic() + timeout_s
        last: Exception | None = None
        while time.monotonic() < end:
            self.expect(child)
            try:
                outcome = check()
                if inspect.isawaitable(outcome):
                    await outcome
            except Exception as error:  # noqa: BLE001 - any failure means "not yet"
                last = error
            else:
                return
            await asyncio.sleep(POLL_S)
        raise ChildFailed(
            f"expected {child.name} to serve within {timeout_s:g} s, got {type(last).__name__} ({last}); {_word(child)}"
        )

    def expect(self, child: Child) -> None:
        """Raise ChildFailed if this child of ours has ended."""
        code = self._running[child.name][1].poll()
        if code is not None:
            raise ChildFailed(f"expected {child.name} to run, but it ended with exit code {code}; {_word(child)}")

    async def watch(self) -> None:
        """Wait, until cancelled, that a child ends which nobody stopped; then raise ChildFailed."""
        while True:
            for child, _ in list(self._running.values()):
                self.expect(child)
            await asyncio.sleep(POLL_S)

    def running(self) -> list[Child]:
        """Those started and not stopped."""
        return [child for child, _ in self._running.values()]

    async def stop(self, names: Iterable[str] | None = None, *, grace_s: float = STOP_GRACE_S) -> None:
        """End the named children (default: all) at once: SIGTERM to each, SIGKILL for what is left after `grace_s`."""
        chosen = [self._running[name] for name in (list(self._running) if names is None else names)]
        for _, process in chosen:
            process.terminate()
        end = time.monotonic() + grace_s
        while time.monotonic() < end and any(map(_anything_left, chosen)):  # noqa: ASYNC110 - nothing tells of grandchildren
            await asyncio.sleep(POLL_S)
        for child, process in chosen:
            _end(child)
            process.wait(KILL_WAIT_S)
            del self._running[child.name]
            (self._records / f"{child.name}.json").unlink()

    def release(self) -> None:
        """Give the folder back; after `stop`."""
        self._lock.close()


def last_line(log: Path) -> str:
    """The last line with a word in it, shortened; it is what a person sees of a child that died."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return next((line.strip()[:LOG_LINE_CHARS] for line in reversed(lines) if line.strip()), "(nothing)")


def read_records(run_dir: Path) -> list[Child]:
    """The children on record in a run folder, running or not."""
    return [
        msgspec.json.decode(path.read_bytes(), type=Child) for path in sorted((run_dir / "children").glob("*.json"))
    ]


def _sweep(records: Path) -> list[str]:
    """End what a killed parent left. Held by the folder's lock, so no other parent is alive."""
    ended = []
    for path in sorted(records.glob("*.json")):
        try:
            child = msgspec.json.decode(path.read_bytes(), type=Child)
        except msgspec.MsgspecError:  # the parent died while writing: its child never passed the gate
            path.unlink()
            continue
        if _end(child):
            ended.append(child.name)
        path.unlink()
    return ended


def _end(child: Child) -> bool:
    """Kill the child's whole session until nothing of it is left; whether there was anything."""
    end = time.monotonic() + KILL_WAIT_S
    found = False
    while (left := members(child)) and time.monotonic() < end:  # again: a member may have forked meanwhile
        found = True
        for process in left:
            kill(process)
    return found


def _anything_left(entry: tuple[Child, subprocess.Popen[bytes]]) -> bool:
    child, process = entry
    return process.poll() is None or bool(members(child))


def _word(child: Child) -> str:
    return f"its last words: {last_line(Path(child.log))} (log: {child.log})"
