"""An extract as a folder: what leaves the house, all of it sealed, and how its recipient opens it.

manifest.json   which case, which files, and the sealed data key of each; it names nobody
extract.sealed  everything that the records say, and what the pictures are
media/*.sealed  pictures and videos as they lay in custody
"""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, ClassVar

import msgspec

from stream.agents.api_cases import Extract, Piece
from stream.errors import BadRequest
from stream.ids import entry_of
from stream.vault.courier import Courier
from stream.vault.envelope import Recipient
from stream.vault.purposes import disclosed_key_info, disclosure_info, stream_name
from stream.vault.stream_seal import Opener

FORMAT = "mayfly/disclosure-manifest/1"
MANIFEST, SEALED, MEDIA = "manifest.json", "extract.sealed", "media"
READ_BYTES = 1 << 20


class BadExtract(BadRequest):
    """The folder cannot be made, or is no extract."""

    kind: ClassVar[str] = "bad-extract"


class Part(msgspec.Struct, frozen=True):
    """One picture or video of the extract."""

    asset: str
    file: str
    sealed_key: bytes


class Manifest(msgspec.Struct, frozen=True):
    """What is in the folder."""

    format: str
    case: str
    app: str
    media: tuple[Part, ...]


def create(folder: Path) -> None:
    """A new folder that only its owner may read, before anything is asked for. Raises BadExtract."""
    try:
        folder.mkdir(mode=0o700, parents=True)
        (folder / MEDIA).mkdir(mode=0o700)
    except OSError as error:
        raise BadExtract(f"expected to make a new folder for the extract, got: {error.strerror}") from None


async def write(folder: Path, extract: Extract) -> None:
    """Ciphertext as it comes; nothing is opened here. The manifest comes last, so that a folder with one is whole."""
    _file(folder / SEALED, extract.sealed)
    parts: list[Part] = []
    async with Courier() as courier:
        for piece in extract.pieces:
            name = f"{MEDIA}/{entry_of(piece.asset).hex()}.sealed"
            await _fetch(courier, piece, folder / name)
            parts.append(Part(piece.asset, name, piece.sealed_key))
    view = extract.view
    _file(folder / MANIFEST, msgspec.json.encode(Manifest(FORMAT, view.case, view.app, tuple(parts))))


def opened(folder: Path, recipient: Recipient) -> bytes:
    """What the records say, as JSON. Raises BadExtract, Tampered."""
    manifest = _manifest(folder)
    info = disclosure_info(bytes.fromhex(manifest.case), manifest.app)
    return recipient.open_bytes((folder / SEALED).read_bytes(), info)


def open_media(folder: Path, recipient: Recipient, out: Path) -> list[Path]:
    """Each picture and video, opened into `out`. Raises BadExtract, Tampered, Truncated."""
    manifest = _manifest(folder)
    case, made = bytes.fromhex(manifest.case), []
    for part in manifest.media:
        key = recipient.open_key(part.sealed_key, disclosed_key_info(part.asset, case, manifest.app))
        opener = Opener(key, stream_name(part.asset), manifest.app)
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.append(out / part.asset)
        source = folder / MEDIA / Path(part.file).name  # whatever a manifest says, nothing is read beside it
        with source.open("rb") as sealed, made[-1].open("xb") as plain:
            while chunk := sealed.read(READ_BYTES):
                plain.write(opener.update(chunk))
            plain.write(opener.final())
        key.wipe()
    return made


async def _fetch(courier: Courier, piece: Piece, path: Path) -> None:
    with _new(path) as file:
        async with aclosing(courier.get_stream(piece.url)) as chunks:
            async for chunk in chunks:
                file.write(chunk)


def _file(path: Path, content: bytes) -> None:
    with _new(path) as file:
        file.write(content)


def _new(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _manifest(folder: Path) -> Manifest:
    try:
        found = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise BadExtract(f"expected the folder of an extract: {type(error).__name__}") from None
    if found.format != FORMAT:
        raise BadExtract(f"expected an extract of format {FORMAT}, got another")
    return found
