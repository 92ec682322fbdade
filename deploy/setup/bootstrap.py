"""`make setup`: from a machine with Python 3.11 to `.venv`, model weights and Kafka's jars.

Needs the standard library only. Every download is pinned by hash in a file of this repository. A stamp over those
files makes the next call a moment's work; whatever goes wrong is one sentence, with the tools' output in a log.
"""
# ruff: noqa: INP001, T201, S603 - a script that prints, and runs what it says itself

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
HOME = Path(os.environ.get("MAYFLY_HOME") or ROOT / ".mayfly").resolve()
BOOTSTRAP = ROOT / ".mayfly" / "bootstrap"
LOG = ROOT / ".mayfly" / "setup.log"
STAMP = VENV / "mayfly.stamp"
COMMAND = VENV / "bin" / "mayfly"

INPUTS = (
    "pyproject.toml",
    "requirements.lock",
    "requirements-bootstrap.lock",
    "requirements-weights.lock",
    "ray_cluster/engines/weights.toml",
    "services/local/jars.toml",
    "deploy/setup/bootstrap.py",
)
WANTED_PYTHON = (3, 11)
NEEDED_BYTES = 4 << 30  # packages 1.2 GB, their cache as much again, jars, weights, a demo's data

# What pyproject's entry point says, without building a wheel to say it.
LAUNCHER = """\
#!{python}
import sys

from services.command import main

sys.exit(main())
"""


class UnreadyError(Exception):
    """One sentence about what is missing."""


def main() -> int:
    """Bring everything up to date; 0, or 1 after one sentence on standard error."""
    try:
        check_python()
        LOG.parent.mkdir(parents=True, exist_ok=True)
        with (LOG.parent / "setup.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at once: the second finds it done
            stamp = digest()
            if not up_to_date(stamp):
                build(stamp)
    except UnreadyError as error:
        print(f"make setup: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"make setup: expected to write below {ROOT}, got: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def build(stamp: str) -> None:
    """Everything; each step is quick when it has nothing to do."""
    began = time.monotonic()
    check_room()
    LOG.write_bytes(b"")
    STAMP.unlink(missing_ok=True)
    uv = install_uv()
    step("an environment in .venv", make_environment)
    step("packages from requirements.lock", lambda: sync(uv))
    link_project()
    step("model weights and Kafka's jars", lambda: fetch(uv))
    STAMP.write_text(stamp)
    say(f"make setup: ready in {time.monotonic() - began:.0f} s")


def check_python() -> None:
    """The lock is for one Python only."""
    if sys.version_info[:2] != WANTED_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise UnreadyError(f"expected Python 3.11, got {found}: install it, or name it with `make setup PYTHON=…`")
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        raise UnreadyError(
            f"expected Python's module {' and '.join(missing)}, but it is absent: install it "
            "(Debian keeps both in the package python3-venv)"
        )


def check_room() -> None:
    """A full disk half-way is an ugly way to find out."""
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_BYTES:
        raise UnreadyError(
            f"expected {NEEDED_BYTES / 1e9:.1f} GB of free disk at {ROOT}, got {free / 1e9:.1f} GB: make room there"
        )


def digest() -> str:
    """Changes with anything that decides what is installed."""
    whole = hashlib.sha256(sys.version.encode())
    for name in INPUTS:
        whole.update(name.encode() + b"\0" + hashlib.sha256((ROOT / name).read_bytes()).digest())
    return whole.hexdigest()


def up_to_date(stamp: str) -> bool:
    """The stamp is written last, so it vouches for the rest; only what a `rm` may have taken is looked at again."""
    there = STAMP.exists() and STAMP.read_text() == stamp
    return there and COMMAND.exists() and (HOME / "jars").exists() and (HOME / "weights").exists()


def install_uv() -> Path:
    """The installer, in an environment of its own that outlives the packages it syncs."""
    uv = BOOTSTRAP / "bin" / "uv"
    lock = ROOT / "requirements-bootstrap.lock"
    stamp = BOOTSTRAP / "mayfly.stamp"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not (uv.exists() and stamp.exists() and stamp.read_text() == wanted):
        pip = [BOOTSTRAP / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check"]

        def install() -> None:
            run(sys.executable, "-m", "venv", "--clear", BOOTSTRAP)
            run(*pip, "--no-deps", "--require-hashes", "-r", lock)

        step("uv, the installer", install)
        stamp.write_text(wanted)
    return uv


def make_environment() -> None:
    """Kept if it is already one of this Python."""
    python = VENV / "bin" / "python"
    if not python.exists() or Path(os.path.realpath(python)) != Path(os.path.realpath(sys.executable)):
        run(sys.executable, "-m", "venv", "--clear", "--without-pip", VENV)


def sync(uv: Path) -> None:
    """Exactly what the lock names: no more, no less."""
    lock = ROOT / "requirements.lock"
    run(uv, "pip", "sync", "--python", VENV / "bin" / "python", "--require-hashes", lock)


def link_project() -> None:
    """The three packages become importable where they are, and `mayfly` a command."""
    (VENV / "lib" / "python3.11" / "site-packages" / "mayfly.pth").write_text(f"{ROOT}\n")
    COMMAND.write_text(LAUNCHER.format(python=VENV / "bin" / "python"))
    COMMAND.chmod(0o755)


def fetch(uv: Path) -> None:
    """In the new environment, by the module that the stack itself verifies with."""
    run(VENV / "bin" / "python", "-m", "services.local.fetch", uv, ROOT / "requirements-weights.lock")


def step(what: str, action: Callable[[], None]) -> None:
    """Do it and say how long it took."""
    began = time.monotonic()
    action()
    say(f"  {what}: {time.monotonic() - began:.1f} s")


def run(*command: object) -> None:
    """Its output goes to the log; a failure becomes one sentence with its last line."""
    with LOG.open("ab+") as log:
        start = log.seek(0, os.SEEK_END)
        environment = {**os.environ, "MAYFLY_HOME": str(HOME)}
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
            check=False,
        )
        if done.returncode:
            log.seek(start)
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
            word = lines[-1] if lines else "it said nothing"
            name = Path(str(command[0])).name
            raise UnreadyError(f"expected {name} to succeed, got exit code {done.returncode}: {word} (see {LOG})")


def say(text: str) -> None:
    """To whoever waits."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
