"""What commands for operators share: which owner has an id, how they sign, how ages and moments are shown."""

from __future__ import annotations

import asyncio
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from services import approvers, owner_call, settings
from services.cli_hold import utc
from services.local.running import running, settings_file
from services.settings import Settings
from services.unanswered import Unanswered
from stream.agents import operators
from stream.audit.operated import Action
from stream.ids import Mint, UnknownId

AsJson = Annotated[bool, typer.Option("--json", help="For programs")]
By = Annotated[str, typer.Option("--by", help="Your registered name, if the log is to name your key")]
Key = Annotated[Path | None, typer.Option("--key", help="The file with your private key")]

_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))


def ask(partition: int, request: msgspec.Struct, reply: type[owner_call.T]) -> owner_call.T:
    """The answer of a partition's owner. Raises OwnerRefused, OwnerAway, NotRunning."""
    return asyncio.run(owner_call.ask(_known(), _ports(), partition, request, reply))


def ask_every(request: msgspec.Struct, reply: type[owner_call.T]) -> tuple[list[owner_call.T], list[Unanswered]]:
    """The answers of all owners, by partition, and who gave none. Raises as `ask` does, OwnerAway if nobody answers."""
    found, silent = asyncio.run(owner_call.ask_every(_known(), _ports(), request, reply))
    return [answer for _, answer in found], silent


def partitions() -> int:
    """How many there are."""
    return _known().partitions


def partition_of(row_id: str) -> int:
    """Where an id of ours belongs. Raises UnknownId."""
    known = _known()
    try:
        partition = Mint(bytes.fromhex(known.secret), known.partitions).partition_of(row_id)
    except ValueError:
        partition = known.partitions
    if partition >= known.partitions:
        raise UnknownId("expected an id as `ls` shows it")
    return partition


def signatures(action: Action, target: str, by: str, key: Path | None) -> dict[str, bytes]:
    """Of whoever wants to be named; none for who does not. Raises BadApprovers."""
    if not by and key is None:
        return {}
    if not by or key is None:
        raise approvers.BadApprovers("expected --by and --key together, or neither")
    return {by: approvers.sign(key, operators.signed_part(action, target))}


def print_json(value: Any) -> None:
    """As programs read it; what never ends is null."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def age(seconds: float) -> str:
    """Such as `42 s`, `3.5 min`, `2.0 d`."""
    return next((f"{seconds / unit:.1f} {name}" for unit, name in _UNITS if seconds >= unit), f"{seconds:.0f} s")


def moment(seconds: float) -> str:
    """Such as `2027-01-31 12:00:00 UTC`, or `never`."""
    return "never" if math.isinf(seconds) else utc(seconds)


def seconds(text: str) -> float:
    """Of `90`, `90s`, `15m`, `2h`, `3d`. Raises BadParameter."""
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}.get(text[-1:], 0.0)
    digits = text[:-1] if unit else text
    if not digits.isascii() or not digits.isdigit():
        raise typer.BadParameter("expected a number and s, m, h or d, such as 15m")
    return float(digits) * (unit or 1.0)


def _known() -> Settings:
    return settings.load(settings_file())


def _ports() -> list[int]:
    return list(running().workers.values())
