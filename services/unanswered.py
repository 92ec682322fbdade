"""Partitions that gave no answer: what a command lists is then not all there is, and it says so."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import typer
from rich.console import Console

EXIT = 4
"""Status of a command that listed what it could, while some partition gave no answer."""


class Unanswered(msgspec.Struct, frozen=True):
    """`reason`: the stable kind of an error; `owner-away` where no worker serves the partition."""

    partition: int
    reason: str


def tell(found: Sequence[Unanswered]) -> None:
    """Nothing if all answered; else a line on stderr, and exit status 4. To be called once the rest is printed."""
    if not found:
        return
    which = ", ".join(f"{one.partition} ({one.reason})" for one in found)
    sentence = f"not all: no answer of partition {which}. `mayfly status` shows who serves what"
    Console(stderr=True).print(sentence, soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(EXIT)
