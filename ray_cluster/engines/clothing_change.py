"""Operations `clothing_change` and `fashion`: what somebody wears in another colour, pattern or cloth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from ray_cluster.engines import fabric, garment
from ray_cluster.engines.decode import Pixels
from ray_cluster.engines.errors import NoGarment
from ray_cluster.engines.fabric import Cloth, Pattern
from ray_cluster.engines.follow import Follow
from ray_cluster.engines.people import PeopleEngine, PeopleParams, Sight
from ray_cluster.engines.people_clip import PeopleClips
from ray_cluster.engines.wipe import wipe

Colour = Annotated[str, Meta(pattern="^#[0-9a-fA-F]{6}$")]
Style = Literal["denim", "tartan", "leather", "linen", "breton", "velvet", "tweed", "polka"]

STYLES: dict[Style, Cloth] = {
    "denim": Cloth((58, 84, 122), "herringbone", (84, 112, 150), pitch=0.035, relief=1.15),
    "tartan": Cloth((122, 26, 34), "checks", (24, 54, 46), pitch=0.19),
    "leather": Cloth((52, 36, 30), sheen=0.9, relief=1.3),
    "linen": Cloth((222, 208, 180), "herringbone", (212, 196, 166), pitch=0.02, relief=0.9),
    "breton": Cloth((238, 236, 228), "hoops", (30, 44, 84), pitch=0.13),
    "velvet": Cloth((76, 22, 88), sheen=0.45, relief=1.25),
    "tweed": Cloth((96, 84, 66), "herringbone", (132, 118, 94), pitch=0.06),
    "polka": Cloth((28, 92, 96), "dots", (244, 238, 222), pitch=0.15),
}


class ClothingParams(PeopleParams, frozen=True):
    """`colour` and `second` as `#rrggbb`; `part`: the main cloth of the trunk, or all that is worn.

    A picture of a garment as input 1 is worn instead of colour and pattern.
    """

    colour: Colour = "#2a5f8f"
    pattern: Pattern = "plain"
    second: Colour = "#f0f0ec"
    part: garment.Part = "main"


class FashionParams(PeopleParams, frozen=True):
    """`style` is the cloth; `part` as above."""

    style: Style = "denim"
    part: garment.Part = "main"


class ClothingChange(PeopleEngine[ClothingParams]):
    """A photo, and a picture of a garment if one is to be worn."""

    params: ClassVar[type[PeopleParams]] = ClothingParams
    pictures: ClassVar[int] = 2

    def edit(
        self, sights: Sequence[Sight], wanted: ClothingParams, *, seed: int, step: Callable[[float], None]
    ) -> Pixels:
        """Input 0 in other clothes."""
        del seed
        cloth = Cloth(fabric.rgb(wanted.colour), wanted.pattern, fabric.rgb(wanted.second))
        image = fabric.swatch(sights[1].pixels) if len(sights) > 1 else None
        return wear(sights[0], cloth, wanted.part, step, image=image)


class Fashion(PeopleClips[FashionParams]):
    """A photo or a clip."""

    params: ClassVar[type[PeopleParams]] = FashionParams
    kept: ClassVar[float] = 0.1

    def edit(
        self, sights: Sequence[Sight], wanted: FashionParams, *, seed: int, step: Callable[[float], None]
    ) -> Pixels:
        """The photo in clothes of that style."""
        del seed
        return wear(sights[0], STYLES[wanted.style], wanted.part, step)

    def edit_frame(
        self, sight: Sight, wanted: FashionParams, follow: Follow, *, seed: int, step: Callable[[float], None]
    ) -> Pixels:
        """The frame in clothes of that style, whose outline and pattern move as the cloth does."""
        del seed
        return wear(sight, STYLES[wanted.style], wanted.part, step, follow=follow)


def wear(
    sight: Sight,
    cloth: Cloth,
    part: garment.Part,
    step: Callable[[float], None],
    *,
    image: Pixels | None = None,
    follow: Follow | None = None,
) -> Pixels:
    """`sight` with the largest person in `cloth`, or in what `image` shows; in a clip, `follow` keeps its outline calm.

    Raises:
        NoPerson: nobody is there.
        NoGarment: they wear nothing that is seen.

    """
    alpha = _outline(sight, part, follow)
    step(0.6)
    made = fabric.dress(sight.pixels, alpha, sight.body(), cloth, image)
    wipe(alpha, None if image is None else np.asarray(image))
    return made


def _outline(sight: Sight, part: garment.Part, follow: Follow | None) -> NDArray[np.float32]:
    try:
        found: NDArray[np.float32] | None = garment.find(sight, part)
    except NoGarment:
        if follow is None:
            raise
        found = None
    alpha = found if follow is None else follow.outline(found)
    if alpha is None or not alpha.any():
        raise NoGarment("expected clothes in view, found none; send a photo that shows the upper body, dressed")
    return alpha
