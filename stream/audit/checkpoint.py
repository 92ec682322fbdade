"""Signed checkpoints: C2SP tlog-checkpoint inside C2SP signed-note, so that any transparency-log tool reads them.

mayfly/3
17
<base64 of the root>

— mayfly/3 <base64 of key id ‖ Ed25519 signature>
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import ClassVar

import msgspec

from stream.audit.merkle import HASH_BYTES
from stream.audit.signer import Signer, signed_by
from stream.errors import BadRequest

MAX_NOTE_BYTES = 16_384
MAX_SIZE_DIGITS = 18
_ED25519 = b"\x01"  # signature type of signed-note
_NOTE_ID_BYTES = 4


class WrongCheckpoint(BadRequest):
    """The checkpoint is not one, is another log's, or was not signed by the key it names."""

    kind: ClassVar[str] = "receipt-wrong-checkpoint"
    status: ClassVar[int] = 422


class Checkpoint(msgspec.Struct, frozen=True):
    """A log's head: `size` leaves have this root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text, which signatures cover."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def origin_of(partition: int) -> str:
    """The name of a partition's log and of its key."""
    return f"mayfly/{partition}"


def sign_note(text: str, name: str, signer: Signer) -> str:
    """The signed note. `text` ends in a newline; `name` holds no space and no plus."""
    signature = note_id(name, signer.public) + signer.sign(text.encode())
    return f"{text}\n— {name} {base64.b64encode(signature).decode()}\n"


def open_note(note: str, name: str, public: bytes) -> str:
    """The text of a note that the holder of this key signed under this name. Raises WrongCheckpoint.

    Other signatures (witnesses, other keys) are ignored, as signed-note demands.
    """
    text, signatures = _split(note)
    for line in signatures.removesuffix("\n").split("\n"):
        dash, _, rest = line.partition(" ")
        signer, _, encoded = rest.partition(" ")
        if dash != "—":
            raise WrongCheckpoint("expected signature lines to begin with an em dash")
        signature = _base64(encoded)
        if signer == name and signature[:_NOTE_ID_BYTES] == note_id(name, public):
            if signed_by(public, signature[_NOTE_ID_BYTES:], text.encode()):
                return text
            raise WrongCheckpoint(f"expected a signature by {name} over this text; the text or the signature differs")
    raise WrongCheckpoint(f"expected a signature by {name} under this key, found none")


def decode_note(raw: bytes) -> str:
    """A note as it came, as text. Raises WrongCheckpoint."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise WrongCheckpoint("expected a signed note in UTF-8") from None


def parse_note(note: str) -> Checkpoint:
    """What a signed note claims; its signatures are not looked at. Raises WrongCheckpoint."""
    return parse_checkpoint(_split(note)[0])


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in a note's text. Raises WrongCheckpoint; extension lines are refused, since we write none."""
    origin, size, root, end = [*text.split("\n"), "", "", ""][:4]
    if not size.isdecimal() or len(size) > MAX_SIZE_DIGITS:
        raise WrongCheckpoint("expected the number of leaves in the second line")
    checkpoint = Checkpoint(origin, int(size), _base64(root))
    if end or checkpoint.text() != text or len(checkpoint.root) != HASH_BYTES:
        raise WrongCheckpoint("expected three lines: origin, size, root")
    return checkpoint


def note_id(name: str, public: bytes) -> bytes:
    """The 4 bytes by which a signature line names its key."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_NOTE_ID_BYTES]


def _split(note: str) -> tuple[str, str]:
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or not signatures.endswith("\n") or len(note.encode()) > MAX_NOTE_BYTES:
        raise WrongCheckpoint("expected a text, a blank line and signature lines")
    return text + "\n", signatures


def _base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise WrongCheckpoint("expected base64") from None
    if base64.b64encode(raw).decode() != text:
        raise WrongCheckpoint("expected canonical base64")  # else a flipped padding bit would pass
    return raw
