"""Cases on their way: one file each in the state folder, under a digest of the case's id, mode 0600.

A proposed case names whom it is about, so its file keeps that only until the case is open; then it says no more than
its commitment and its partition, which a release needs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import msgspec

from stream.agents.cases import Case
from stream.errors import BadRequest
from stream.ids import digest

DIGITS = 32


class NoSuchCase(BadRequest):
    """No case of this id is on its way, or open; or one is already."""

    kind: ClassVar[str] = "no-such-case"


class Proposed(msgspec.Struct, frozen=True, tag="proposed"):
    """A case that gathers signatures, by approver's name."""

    case: Case
    signatures: dict[str, bytes]


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """A case that the owner of a partition holds."""

    case: str  # hex of its commitment
    partition: int


State = Proposed | Opened

_decoder: msgspec.json.Decoder[State] = msgspec.json.Decoder(State)


class HoldFiles:
    """The folder. `propose` refuses an id that is in use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, case_id: str) -> State:
        """Raises NoSuchCase."""
        try:
            return _decoder.decode(self._path(case_id).read_bytes())
        except (OSError, msgspec.MsgspecError):
            raise NoSuchCase("expected the id of a case that was proposed here: see `mayfly hold propose`") from None

    def propose(self, proposed: Proposed) -> None:
        """Raises NoSuchCase where the id is in use."""
        if self._path(proposed.case.id).exists():
            raise NoSuchCase("expected a case id that is not in use: release or withdraw that case first")
        self.write(proposed.case.id, proposed)

    def write(self, case_id: str, state: State) -> None:
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
