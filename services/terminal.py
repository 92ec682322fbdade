"""How commands speak to people: tables that a file or a pipe can take, and a refusal in one sentence."""

from __future__ import annotations

import typer
from rich.console import Console

WIDTH = 130  # of what is not a terminal, in characters


def console(width: int = WIDTH) -> Console:
    """A file or a pipe has no width: tables then take what they need, instead of the 80 columns that rich presumes."""
    made = Console()
    return made if made.is_terminal else Console(width=width)


def failed(what: str, sentence: str) -> typer.Exit:
    """To be raised: says on stderr what was not done and why, and ends with exit status 1."""
    Console(stderr=True).print(f"{what}: {sentence}", soft_wrap=True, highlight=False, markup=False)
    return typer.Exit(1)
