"""Files that `make setup` fetches: each is known by its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import msgspec

from stream.errors import StoreUnavailable


class MissingPart(StoreUnavailable):
    """Something that `make setup` fetches is absent or is not what it was."""

    kind: ClassVar[str] = "missing-part"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A file and what its bytes must hash to."""

    file: str
    sha256: str

    def verify(self, folder: Path) -> Path:
        """Its path. Raises MissingPart unless it is there, byte for byte."""
        path = folder / self.file
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise MissingPart(f"expected {self.file} in {folder}, but it is absent: run `make setup`") from None
        if found != self.sha256:
            raise MissingPart(
                f"expected {self.file} with sha256 {self.sha256}, got {found}: delete {path} and run `make setup`"
            )
        return path

    def is_in(self, folder: Path) -> bool:
        """Whether the folder has it, byte for byte."""
        try:
            self.verify(folder)
        except MissingPart:
            return False
        return True
