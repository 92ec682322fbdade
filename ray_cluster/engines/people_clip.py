"""Operations on people that take clips too: one person followed through them, edited frame by frame, sound kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from ray_cluster.engines.decode import Pixels, is_clip
from ray_cluster.engines.errors import NoGarment, NoPerson
from ray_cluster.engines.follow import Follow
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check, first, parse
from ray_cluster.engines.people import PeopleEngine, PeopleParams, Sight
from ray_cluster.engines.redraw import redraw
from ray_cluster.engines.scrub import scrubbed
from ray_cluster.engines.steady import Motion
from ray_cluster.engines.wipe import wipe

CLIP_SIDE_PX = 960

P = TypeVar("P", bound=PeopleParams)


class PeopleClips(PeopleEngine[P]):
    """As `PeopleEngine`; a clip as input 0 gives a clip, longer side at most CLIP_SIDE_PX.

    `kept` is the share of the last drawing in the next, where the picture merely moved.
    """

    kept: ClassVar[float]

    def edit_frame(
        self, sight: Sight, wanted: P, follow: Follow, *, seed: int, step: Callable[[float], None]
    ) -> Pixels:
        """As `edit`, for one frame of a clip, whose fields `follow` can steady."""
        del follow
        return self.edit([sight], wanted, seed=seed, step=step)

    @scrubbed
    def run(
        self,
        inputs: Sequence[Plaintext],
        params: dict[str, Any],
        *,
        seed: int,
        report: Report,
        cancelled: IsCancelled,
    ) -> Result:
        """As `PeopleEngine.run`. Frames in which nobody is found stay as they are.

        Raises:
            NoPerson, NoGarment: that is so for every frame of the clip.

        """
        media = first(inputs)
        if not is_clip(media):
            return super().run(inputs, params, seed=seed, report=report, cancelled=cancelled)
        wanted: Any = parse(params, self.params)
        self.load()
        follow, found = Follow(), False
        absent: NoPerson | NoGarment | None = None

        def draw(frame: Pixels, motion: Motion | None) -> Pixels:
            nonlocal found, absent
            sight = follow.sight(self.find(frame, None), motion)
            try:
                made = self.edit_frame(sight, wanted, follow, seed=seed, step=lambda _: check(cancelled))
                found = True
            except (NoPerson, NoGarment) as error:
                made, absent = frame.copy(), error
            return follow.calm(frame, made, self.kept)

        try:
            result = redraw(media, draw, longer_side_px=CLIP_SIDE_PX, report=report, cancelled=cancelled, blend=False)
        finally:
            follow.close()
        if absent is not None and not found:
            wipe(result.media)
            raise absent
        return result
