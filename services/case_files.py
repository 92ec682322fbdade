"""Cases on their way: one file each in a folder, under a digest of the case's id, mode 0600.

A proposed case names whom it is about, so its file keeps that only until the case is carried out; then it says no more
than its commitment and its partition.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import msgspec

from stream.errors import BadRequest
from stream.ids import digest

DIGITS = 32

S = TypeVar("S")


class NoSuchCase(BadRequest):
    """No case of this id is on its way, or open; or one is already."""

    kind: ClassVar[str] = "no-such-case"


class CaseFiles(Generic[S]):
    """The folder. `S`: a tagged union of what a file may say."""

    def __init__(self, folder: Path, state: object) -> None:
        self._folder = folder
        self._decoder: msgspec.json.Decoder[S] = msgspec.json.Decoder(state)

    def read(self, case_id: str) -> S:
        """Raises NoSuchCase."""
        try:
            return self._decoder.decode(self._path(case_id).read_bytes())
        except (OSError, msgspec.MsgspecError):
            raise NoSuchCase("expected the id of a case that was proposed here, by `propose`") from None

    def propose(self, case_id: str, state: S) -> None:
        """Raises NoSuchCase where the id is in use."""
        if self._path(case_id).exists():
            raise NoSuchCase("expected a case id that is not in use: release or withdraw that case first")
        self.write(case_id, state)

    def write(self, case_id: str, state: S) -> None:
        """In one step, whole or not at all."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path(case_id).with_suffix(".new")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as writing:
            writing.write(msgspec.json.encode(state))
        fresh.replace(self._path(case_id))

    def remove(self, case_id: str) -> None:
        """It is over."""
        self._path(case_id).unlink(missing_ok=True)

    def _path(self, case_id: str) -> Path:
        return self._folder / f"{digest('mayfly case', case_id).hex()[:DIGITS]}.json"
