"""Operation `detect`: a photo in, its faces and poses out, as sealed-by-the-caller `Features`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ray_cluster.engines import features
from ray_cluster.engines.decode import decode
from ray_cluster.engines.finder import Finder, shared
from ray_cluster.engines.interface import IsCancelled, Plaintext, Report, Result, check, first, parse
from ray_cluster.engines.scrub import scrubbed
from ray_cluster.engines.wipe import wipe


class DetectParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """None yet."""


class Detect:
    """Faces with mesh, people with pose and mask. Finding nobody is a result, not an error."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._finder: Finder | None = None

    def load(self) -> None:
        """Verify and load the five networks."""
        self._finder = self._finder or shared(self._folder)

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
        """The first input's features as MessagePack. Deterministic; `seed` changes nothing."""
        del seed
        parse(params, DetectParams)
        self.load()
        assert self._finder is not None
        check(cancelled)
        report("decode", 0.0)
        photo = decode(first(inputs))
        check(cancelled)
        report("detect", 0.2)
        found = self._finder(photo)
        wipe(photo)
        check(cancelled)
        report("done", 1.0)
        facts: dict[str, int | float] = {"faces": len(found.faces), "poses": len(found.poses)}
        return Result(features.dump(found), features.MEDIA_TYPE, 0, found.width, found.height, facts)
