"""Which functions open files of strangers, and where they run: in this process's decoding child, if it has one.

Engine actors turn a child on when they load; in tests, in `mayfly local` (where the file is the user's own) and in the
child itself, a confined function simply runs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from ray_cluster.engines.cell import Cell
    from ray_cluster.engines.interface import Plaintext

F = TypeVar("F", bound=Callable[..., Any])

_known: dict[str, Callable[..., Any]] = {}
_cell: Cell | None = None


def confined(function: F) -> F:
    """A function of (data, **options) that returns one picture, or a generator function that yields many.

    Options are plain values; pictures are uint8 arrays. Where a child is on, it is called there.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    _known[name] = function

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def many(data: Plaintext, **options: Any) -> Any:
            return _cell.pictures(name, data, options) if _cell else function(data, **options)

        return cast("F", many)

    @functools.wraps(function)
    def one(data: Plaintext, **options: Any) -> Any:
        return _cell.picture(name, data, options) if _cell else function(data, **options)

    return cast("F", one)


def known() -> dict[str, Callable[..., Any]]:
    """Every confined function of the modules that were imported, by name."""
    return dict(_known)


def turn_on(*, gate: bool = False) -> None:
    """From now on, files are decoded in a child, which warms itself meanwhile. Once more changes nothing.

    `gate`: it loads the content gate's network too.
    """
    global _cell  # noqa: PLW0603 - one per process, like the runtime
    from ray_cluster.engines import weights  # noqa: PLC0415
    from ray_cluster.engines.cell import Cell, Setup  # noqa: PLC0415 - it imports decode, which imports this

    _cell = _cell or Cell(Setup(gate_weights=str(weights.directory()) if gate else ""))


def turn_off() -> None:
    """End the child; files are decoded here again."""
    global _cell  # noqa: PLW0603
    if _cell:
        _cell.close()
    _cell = None
