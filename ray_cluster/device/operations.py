"""The seven operations that no server may see the pictures of, by the names that policies have for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from ray_cluster.device import filters, makeup, props
from ray_cluster.device.person import Facts, People, analysis
from ray_cluster.device.retouch import face_enhance, face_retouch
from ray_cluster.device.tracker import Faces
from ray_cluster.engines import weights
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.errors import BadParams, NoPerson, UnknownOperation


class Options(msgspec.Struct, frozen=True):
    """`style`: of live effects, empty for the first; `strength`: of retouching, 0..1."""

    style: str = ""
    strength: float = 0.7


class Tools:
    """The networks of one clip, camera or picture, loaded when first used. Not thread-safe."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or weights.directory()
        self._faces: Faces | None = None
        self._people: People | None = None

    @property
    def faces(self) -> Faces:
        """Finds faces."""
        self._faces = self._faces or Faces(self._folder)
        return self._faces

    @property
    def people(self) -> People:
        """Finds people."""
        self._people = self._people or People(self._folder)
        return self._people

    def forget(self) -> None:
        """Another picture."""
        for one in (self._faces, self._people):
            if one is not None:
                one.forget()


class Operation(msgspec.Struct, frozen=True):
    """`make`: picture, tools and options in; a picture (H x W x 3), a mask (H x W) or facts out."""

    name: str
    says: str
    make: Callable[[Pixels, Tools, Options], Any]
    styles: tuple[str, ...] = ()
    needs_face: bool = False
    moves: bool = True  # it takes clips


def find(name: str) -> Operation:
    """The operation of that name. Raises UnknownOperation."""
    try:
        return OPERATIONS[name]
    except KeyError:
        raise UnknownOperation(f"expected one of {', '.join(OPERATIONS)}, got another operation") from None


def apply(operation: Operation, picture: Pixels, tools: Tools, options: Options) -> Pixels | Facts:
    """What it makes of one picture, or of the next frame. Raises BadParams for a style that it does not have."""
    if options.style and options.style not in operation.styles:
        known = ", ".join(operation.styles) or "none"
        raise BadParams(f"expected a style of {operation.name}: {known}; got another")
    if not 0 <= options.strength <= 1:
        raise BadParams(f"expected a strength from 0 to 1, got {options.strength:g}")
    made: Pixels | Facts = operation.make(picture, tools, options)
    return made


def alone(operation: Operation, picture: Pixels, tools: Tools, options: Options) -> Pixels | Facts:
    """The same for a picture that stands alone: without a face where one is needed it raises NoPerson."""
    tools.forget()
    if operation.needs_face and not tools.faces(picture):
        raise NoPerson("expected a face in the picture, found none; take one where a face is in clear view")
    tools.forget()
    return apply(operation, picture, tools, options)


def _style(options: Options, styles: tuple[str, ...]) -> Any:
    return options.style or styles[0]


def _analysis(picture: Pixels, tools: Tools, _: Options) -> Facts:
    return analysis(picture, tools.faces(picture), tools.people.segment(picture))


OPERATIONS: Final[dict[str, Operation]] = {
    one.name: one
    for one in (
        Operation(
            "face_retouch",
            "the skin of faces evened, its texture kept",
            lambda picture, tools, options: face_retouch(picture, tools.faces(picture), options.strength),
            needs_face=True,
        ),
        Operation(
            "face_enhance",
            "faces clearer: contrast, eyes, light",
            lambda picture, tools, options: face_enhance(picture, tools.faces(picture), options.strength),
            needs_face=True,
        ),
        Operation(
            "segment",
            "a mask of the people",
            lambda picture, tools, _: np.asarray(tools.people.segment(picture)),
        ),
        Operation("analysis", "facts of faces and people, as JSON", _analysis, moves=False),
        Operation(
            "live_filter",
            "another mood of colours",
            lambda picture, _, options: filters.live_filter(picture, _style(options, filters.NAMES)),
            styles=filters.NAMES,
        ),
        Operation(
            "live_prop",
            "something worn on faces",
            lambda picture, tools, options: props.live_prop(
                picture, tools.faces(picture), _style(options, props.NAMES)
            ),
            styles=props.NAMES,
            needs_face=True,
        ),
        Operation(
            "live_makeup",
            "faces made up",
            lambda picture, tools, options: makeup.live_makeup(
                picture, tools.faces(picture), _style(options, makeup.NAMES)
            ),
            styles=makeup.NAMES,
            needs_face=True,
        ),
    )
}
