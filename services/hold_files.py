"""Legal holds on their way, each a file of its own until somebody lets go."""

from __future__ import annotations

from pathlib import Path

import msgspec

from services.case_files import CaseFiles, NoSuchCase
from stream.agents.cases import Case

__all__ = ["HoldFiles", "NoSuchCase", "Opened", "Proposed"]


class Proposed(msgspec.Struct, frozen=True, tag="proposed"):
    """A case that gathers signatures, by approver's name."""

    case: Case
    signatures: dict[str, bytes]


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """A case that the owner of a partition holds."""

    case: str  # hex of its commitment
    partition: int


State = Proposed | Opened


class HoldFiles(CaseFiles[State]):
    """The folder of holds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, State)
