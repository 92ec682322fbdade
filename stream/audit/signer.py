"""The Ed25519 key that signs receipts and checkpoints, in a folder; former public keys stay listed.

A canonical receipt begins with `{`, a checkpoint with its origin: no signature of one can be taken for the other's.

Rotation: `rotate` puts a fresh key in place and keeps the former one beside it, since each partition's log must still
sign the leaf that names the fresh key (`signing_key.py`) with it. When all logs have, `forget_former` unlinks it.

    signing.key     the seed of the present key        {key id}.pub     the public part of each key there was
    {key id}.former the seed of a key that some log may still be signed by
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stream.errors import BrokenPromise

SEED_BYTES = 32
KEY_ID_DIGITS = 8
_SEED, _PUBLIC, _FORMER = "signing.key", ".pub", ".former"


class UnknownSigningKey(BrokenPromise):
    """A leaf was signed by a key whose public part is not listed any more: its receipt cannot be served."""

    kind: ClassVar[str] = "signing-key-unknown"


def key_id(public: bytes) -> str:
    """The name of a public key: the first 8 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:KEY_ID_DIGITS]


def signed_by(public: bytes, signature: bytes, message: bytes) -> bool:
    """Did the holder of this key sign the message? False also for what is no key or no signature."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class RotationPending(BrokenPromise):
    """A rotation is not finished: some log is still signed by the key before."""

    kind: ClassVar[str] = "rotation-pending"
    status: ClassVar[int] = 409


class Signer:
    """Signs with one key (`seed`: 32 random bytes) and lists the public parts of those before it, by key id.

    `seeds`: of former keys that some log is still signed by.
    """

    def __init__(self, seed: bytes, former: Mapping[str, bytes] | None = None, seeds: Iterable[bytes] = ()) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._private.public_key().public_bytes_raw()
        self.key_id = key_id(self.public)
        self.publics = {**(former or {}), self.key_id: self.public}
        self._former = {signer.key_id: signer for signer in map(Signer, seeds)}

    def __repr__(self) -> str:
        return f"Signer({self.key_id})"

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._private.sign(message)

    def under(self, name: str) -> Signer:
        """The signer that signs by this key, present or former. Raises UnknownSigningKey."""
        if name == self.key_id:
            return self
        try:
            return self._former[name]
        except KeyError:
            raise UnknownSigningKey(
                f"expected to sign by the key {name}, which was forgotten before this log named its successor: "
                f"bring {name}{_FORMER} back"
            ) from None

    def public_of(self, name: str) -> bytes:
        """The public key of this id, present or former. Raises UnknownSigningKey."""
        try:
            return self.publics[name]
        except KeyError:
            raise UnknownSigningKey(
                f"expected the public key {name} among {sorted(self.publics)}: bring its .pub file back"
            ) from None


def open_signer(folder: Path) -> Signer:
    """The signer of this folder; its first caller makes the key. Any number of processes may call at once."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / _SEED).exists():
        fresh = _fresh(folder)
        try:
            (folder / _SEED).hardlink_to(fresh)  # fails if another process was first
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return _read(folder)


def rotate(folder: Path) -> Signer:
    """Put a fresh key in place. Receipts that the former key signed stay verifiable: its public part stays.

    Raises RotationPending while the last rotation is not finished (`forget_former`).
    """
    present = open_signer(folder)
    if pending := former_of(folder):
        raise RotationPending(f"expected every log to be signed by {present.key_id}; some may still be by {pending[0]}")
    kept = folder / f"{present.key_id}{_FORMER}"
    kept.unlink(missing_ok=True)  # of a rotation that stopped here
    kept.hardlink_to(folder / _SEED)  # before the fresh key: stopped here, nothing has changed
    _fresh(folder).replace(folder / _SEED)
    return _read(folder)


def former_of(folder: Path) -> list[str]:
    """The ids of keys that are not present, and not forgotten either."""
    present = _read(folder).key_id
    return [name for path in sorted(folder.glob(f"*{_FORMER}")) if (name := path.stem) != present]


def forget_former(folder: Path) -> None:
    """Every log is signed by the present key: overwrite and unlink those before it. Idempotent."""
    for path in folder.glob(f"*{_FORMER}"):
        if path.samefile(folder / _SEED):  # left by a rotation that stopped half-way
            path.unlink()
            continue
        with path.open("r+b", buffering=0) as file:
            file.write(bytes(SEED_BYTES))
            os.fsync(file.fileno())
        path.unlink()


def _read(folder: Path) -> Signer:
    former = [bytes.fromhex(path.read_text("ascii")) for path in sorted(folder.glob(f"*{_PUBLIC}"))]
    seeds = []
    for path in folder.glob(f"*{_FORMER}"):
        with contextlib.suppress(FileNotFoundError):  # it was forgotten just now
            seeds.append(path.read_bytes())
    signer = Signer((folder / _SEED).read_bytes(), {key_id(public): public for public in former}, seeds)
    if signer.public not in former:
        (folder / f"{signer.key_id}{_PUBLIC}").write_text(signer.public.hex(), "ascii")
    return signer


def _fresh(folder: Path) -> Path:
    path = folder / f"{os.urandom(8).hex()}.new"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, os.urandom(SEED_BYTES))
        os.fsync(file)
    finally:
        os.close(file)
    return path
