"""A clip through a drawing function, frame by frame: bounded memory, cancel points, sound kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from ray_cluster.engines.clip import MAX_FRAMES_PER_SECOND, Clip, Sound
from ray_cluster.engines.decode import Pixels, even, fit
from ray_cluster.engines.encode import MEDIA_TYPE, VideoWriter
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check
from ray_cluster.engines.steady import Motion, Steady
from ray_cluster.engines.wipe import wipe

Draw = Callable[[Pixels, Motion | None], Pixels]
"""A frame, and how it came from the last one if that is known; the frame is left as it is."""


def redraw(
    data: Plaintext,
    draw: Draw,
    *,
    longer_side_px: int,
    report: Report,
    cancelled: IsCancelled,
    rate: int = MAX_FRAMES_PER_SECOND,
    blend: bool = True,
) -> Result:
    """The clip in `data` with each frame drawn anew by `draw`, as an MP4.

    A frame that repeats the one before is not drawn again. `blend` carries the last drawing along (`steady.py`).

    Raises:
        Undecodable: not a clip, or one with too many damaged frames.
        TooLong: more frames than are taken.

    """
    report("decode", 0.0)
    with ExitStack() as open_:
        sound = Sound.of(data)
        open_.callback(sound.close if sound else lambda: None)
        clip = open_.enter_context(Clip(data, rate=rate))
        calm = Steady()
        open_.callback(calm.close)
        video: VideoWriter | None = None
        last: Pixels | None = None
        drawn: Pixels | None = None
        count = clip.shape.frames
        for index, frame in enumerate(clip.frames()):
            check(cancelled)
            report("draw", 0.01 + 0.97 * index / count)
            if drawn is None or frame is not last:
                wipe(last, drawn)
                last = frame
                photo = fit(frame, longer_side_px)
                motion = calm.watch(photo)
                fresh = draw(photo, motion)
                drawn = even(calm.calm(fresh) if blend else fresh)
                wipe(photo if photo is not frame else None)
            if video is None:
                height, width = drawn.shape[:2]
                video = open_.enter_context(
                    VideoWriter(
                        width,
                        height,
                        count,
                        clip.rate,
                        sound=sound,
                        sounds=sound.packets if sound else 0,
                    )
                )
            video.write(drawn)
        assert video is not None  # a clip has a frame
        media = video.close()
        wipe(last, drawn)
    report("done", 1.0)
    facts: dict[str, int | float] = {"frames_damaged": clip.damaged, "sound": int(sound is not None)}
    return Result(media, MEDIA_TYPE, count, width, height, facts)
