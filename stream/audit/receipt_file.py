"""The file served for an asset's receipt, and its verification: offline, trusting nobody but a public key.

The file holds neither the asset's id nor its salt, so it proves to who has them that the asset is covered, and to
nobody else.
"""

from __future__ import annotations

import base64
import binascii
from typing import ClassVar, Literal, TypeVar

import msgspec
import rfc8785

from stream.audit.checkpoint import Checkpoint, WrongCheckpoint, open_note, origin_of, parse_checkpoint
from stream.audit.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from stream.audit.receipts import SALT_BYTES, Absent, Receipt, commitment
from stream.audit.signer import key_id, signed_by
from stream.errors import BadRequest
from stream.ids import entry_of

FORMAT: Literal["mayfly-receipt/1"] = "mayfly-receipt/1"

S = TypeVar("S", Receipt, Absent)


class BadReceipt(BadRequest):
    """This file does not prove what it was asked to prove."""

    kind: ClassVar[str] = "receipt-bad"
    status: ClassVar[int] = 422


class MalformedReceipt(BadReceipt):
    """Not a receipt file."""

    kind: ClassVar[str] = "receipt-malformed"


class UntrustedKey(BadReceipt):
    """The log is signed by another key than the one that is trusted."""

    kind: ClassVar[str] = "receipt-untrusted-key"


class AlteredReceipt(BadReceipt):
    """A statement is neither in the log nor signed as it stands: it was changed after it was issued."""

    kind: ClassVar[str] = "receipt-altered"


class WrongSignature(BadReceipt):
    """The log holds this statement, but the signature is not its key's over it."""

    kind: ClassVar[str] = "receipt-wrong-signature"


class NotInLog(BadReceipt):
    """The statement is signed, but the log under this checkpoint does not hold it where the file says."""

    kind: ClassVar[str] = "receipt-not-in-log"


class WrongPath(BadReceipt):
    """The commitment is not among those that the receipt covers."""

    kind: ClassVar[str] = "receipt-wrong-path"


class WrongId(BadReceipt):
    """What was given is no asset's id."""

    kind: ClassVar[str] = "receipt-wrong-id"


class WrongSalt(BadReceipt):
    """What was given is no salt."""

    kind: ClassVar[str] = "receipt-wrong-salt"


class NotThisAsset(BadReceipt):
    """Id and salt, with the file's class and deadline, do not open the commitment; a hash cannot tell which differs."""

    kind: ClassVar[str] = "receipt-not-this-asset"


class WrongAbsence(BadReceipt):
    """The statement of absence completes another receipt."""

    kind: ClassVar[str] = "receipt-wrong-absence"


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a leaf is in a Merkle tree, and its inclusion proof (hex, from the leaf up)."""

    index: int
    hashes: list[str]


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A statement as the log holds it, its signature (base64), and its proof under the file's checkpoint."""

    statement: msgspec.Raw
    signature: str
    log: Proof


class ReceiptFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `GET /v1/receipts/{partition}/{leaf}` returns, as canonical JSON. `absent` comes at t_gone."""

    format: Literal["mayfly-receipt/1"] = FORMAT
    keys: dict[str, str]  # key id → public key (base64), of every signature below
    commitment: str
    data_class: str
    deadline_ms: int
    path: Proof  # of the commitment, in the tree whose root the receipt states
    checkpoint: str  # signed note
    erased: Evidence
    absent: Evidence | None = None

    def encode(self) -> bytes:
        """Canonical JSON."""
        return rfc8785.dumps(msgspec.json.decode(msgspec.json.encode(self)))


class Verdict(msgspec.Struct, frozen=True):
    """What a file proves. `trusted`: the log's key was compared with one that the caller trusts."""

    receipt: Receipt
    absent: Absent | None
    data_class: str
    deadline_ms: int
    log_size: int
    key_id: str
    trusted: bool


def verify(file: bytes, asset_id: str, salt: str, *, trusted_key: bytes | None = None) -> Verdict:
    """Does this file prove that this asset was erased? Raises a BadReceipt or WrongCheckpoint that says why not.

    `salt`: 32 hex digits, as job status lists it. `trusted_key`: the 32-byte public key that must have signed the log;
    it then vouches for statements signed by its predecessors too, since the log holds them.
    """
    parsed = _decode(file, ReceiptFile)
    keys = _keys(parsed)
    checkpoint, signer = _checkpoint(parsed.checkpoint, keys)
    if trusted_key is not None and keys[signer] != trusted_key:
        raise UntrustedKey(
            f"expected a log signed by {key_id(trusted_key)}, got one signed by {signer}: if the key was rotated, "
            "check the receipt against an exported log too"
        )
    receipt, erased_hash = _proven(parsed.erased, Receipt, keys, checkpoint)
    absent = None
    if parsed.absent is not None:
        absent, _ = _proven(parsed.absent, Absent, keys, checkpoint)
        if (absent.erased_index, absent.erased_hash) != (parsed.erased.log.index, erased_hash.hex()):
            raise WrongAbsence(f"expected absence of what leaf {parsed.erased.log.index} erased, got another's")
    used = {signer, receipt.key_id} | ({absent.key_id} if absent is not None else set())
    if used != keys.keys() or checkpoint.origin != origin_of(receipt.partition):
        raise MalformedReceipt(
            "expected the keys of all signatures, and no other, and the log of the receipt's partition"
        )
    covered, root = _hash(parsed.commitment), _hash(receipt.merkle_root)
    path = [_hash(each) for each in parsed.path.hashes]
    if not verify_inclusion(leaf_hash(covered), parsed.path.index, receipt.count, path, root):
        raise WrongPath("expected a path from the commitment to the receipt's root, got one that ends elsewhere")
    if covered != commitment(_salt(salt), _asset(asset_id), parsed.data_class, parsed.deadline_ms):
        raise NotThisAsset(
            "expected the id and salt of the asset this file is about; compare them with the job's status"
        )
    return Verdict(
        receipt, absent, parsed.data_class, parsed.deadline_ms, checkpoint.size, signer, trusted_key is not None
    )


def note_of(file: bytes) -> str:
    """The checkpoint that the file is proven under, not yet verified. Raises MalformedReceipt."""
    return _decode(file, ReceiptFile).checkpoint


def _proven(evidence: Evidence, kind: type[S], keys: dict[str, bytes], checkpoint: Checkpoint) -> tuple[S, bytes]:
    """The statement and its leaf hash, if it is signed by a key of the file and in the log."""
    try:
        leaf = rfc8785.dumps(msgspec.json.decode(evidence.statement))
    except (rfc8785.CanonicalizationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedReceipt(f"expected a statement in canonical JSON: {type(error).__name__}") from None
    statement, hashed = _decode(leaf, kind), leaf_hash(leaf)
    public = keys.get(statement.key_id, b"")
    signed = signed_by(public, _base64(evidence.signature), leaf)
    proof = [_hash(each) for each in evidence.log.hashes]
    logged = verify_inclusion(hashed, evidence.log.index, checkpoint.size, proof, checkpoint.root)
    if signed and logged:
        return statement, hashed
    if signed:
        raise NotInLog(f"expected the statement at leaf {evidence.log.index} of {checkpoint.size}; the log has another")
    if logged:
        raise WrongSignature(f"expected a signature by {statement.key_id} over the statement, got another")
    raise AlteredReceipt("expected a statement as it was signed and logged; it is neither")


def _checkpoint(note: str, keys: dict[str, bytes]) -> tuple[Checkpoint, str]:
    """The checkpoint, and which of the file's keys signed it."""
    origin = note.partition("\n")[0]
    failure = WrongCheckpoint("expected a key that signed the checkpoint")
    for name, public in keys.items():
        try:
            return parse_checkpoint(open_note(note, origin, public)), name
        except WrongCheckpoint as error:
            failure = error
    raise failure


def _keys(file: ReceiptFile) -> dict[str, bytes]:
    keys = {name: _base64(text) for name, text in file.keys.items()}
    if any(key_id(public) != name for name, public in keys.items()):
        raise MalformedReceipt("expected each key's id to be that of its public key")
    return keys


D = TypeVar("D", bound=msgspec.Struct)


def _decode(raw: bytes, kind: type[D]) -> D:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedReceipt(
            f"expected the JSON of a {kind.__name__}, got {len(raw)} bytes of something else"
        ) from None


def _hash(text: str) -> bytes:
    """Lower-case hex of 32 bytes only: each value has one spelling, so no altered bit goes unseen."""
    raw = _hex(text)
    if raw is None or len(raw) != HASH_BYTES:
        raise MalformedReceipt(f"expected {2 * HASH_BYTES} lower-case hex digits")
    return raw


def _hex(text: str) -> bytes | None:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return raw if raw.hex() == text else None


def _base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise MalformedReceipt("expected base64") from None
    if base64.b64encode(raw).decode() != text:
        raise MalformedReceipt("expected canonical base64")
    return raw


def _salt(text: str) -> bytes:
    raw = _hex(text)
    if raw is None or len(raw) != SALT_BYTES:
        raise WrongSalt(f"expected a salt of {2 * SALT_BYTES} lower-case hex digits, as the job's status lists it")
    return raw


def _asset(text: str) -> str:
    try:
        entry_of(text)
    except ValueError:
        raise WrongId("expected an asset's id, as the job's status lists it") from None
    return text
