"""Where the booted stack answers; the file that children and `mayfly status` read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Self

import msgspec

FILE_NAME: Final = "endpoints.json"


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and credentials of one boot. Its repr hides the credentials."""

    kafka: str  # host:port
    s3_url: str  # http://host:port
    s3_access_key: str
    s3_secret_key: str
    bucket: str
    ray_address: str = ""  # host:port; empty until Ray is asked for
    ray_token_path: str = ""

    def __repr__(self) -> str:
        return f"Endpoints(kafka={self.kafka!r}, s3_url={self.s3_url!r}, ray_address={self.ray_address!r})"

    def save(self, run_dir: Path) -> None:
        """Write the run folder's file, readable by its owner only."""
        write_secret(run_dir / FILE_NAME, msgspec.json.encode(self))

    @classmethod
    def load(cls, run_dir: Path) -> Self:
        """Raises FileNotFoundError when no stack is up."""
        return msgspec.json.decode((run_dir / FILE_NAME).read_bytes(), type=cls)


def write_secret(path: Path, data: bytes) -> None:
    """Replace `path` in one step; it is never readable by others, not even for a moment."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    part.replace(path)
