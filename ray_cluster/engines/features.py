"""What detection found in one picture: data class `face_feature`, sealed by the caller like a picture."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ray_cluster.engines.errors import EngineFault, Undecodable
from ray_cluster.engines.interface import Plaintext

MEDIA_TYPE = "application/vnd.mayfly.features+msgpack"
MESH_POINTS = 468
POSE_POINTS = 33
MASK_LONGER_SIDE_PX = 512
_TAG = b"features.1"


class Face(msgspec.Struct, frozen=True):
    """Box (x0, y0, x1, y1) in pixels, score 0..1, mesh as float32 `MESH_POINTS` x 3 (x, y in pixels, z likewise).

    `presence`, 0..1: how sure the mesh's network is that a person's face is there. Cats have boxes too, and less than
    0.1 of it. What a promise says of faces holds for every box; only what redraws a face asks for this.
    """

    box: tuple[float, float, float, float]
    score: float
    mesh: bytes
    presence: float = 1.0

    def __repr__(self) -> str:
        """Nothing of the person."""
        return "Face(…)"


class Pose(msgspec.Struct, frozen=True):
    """Points as float32 `POSE_POINTS` x 4 (x, y, z in pixels, visibility 0..1), score 0..1, mask as a grey PNG.

    The mask covers the whole picture, scaled to a longer side of at most `MASK_LONGER_SIDE_PX`, 255 on the person.
    """

    points: bytes
    score: float
    mask: bytes

    def __repr__(self) -> str:
        """Nothing of the person."""
        return "Pose(…)"


class Features(msgspec.Struct, frozen=True, tag="features.1"):
    """Faces and poses of a picture of `width` x `height` pixels, the largest first."""

    width: int
    height: int
    faces: tuple[Face, ...]
    poses: tuple[Pose, ...]


def is_features(data: Plaintext) -> bool:
    """Whether `data` begins as MessagePack that `dump` made: no picture or clip begins like that."""
    return _TAG in bytes(data[: len(_TAG) + 16])


def dump(features: Features) -> bytearray:
    """As MessagePack."""
    out = bytearray()
    msgspec.msgpack.Encoder().encode_into(features, out)
    return out


def parse(data: Plaintext) -> Features:
    """Back from MessagePack; other shapes raise Undecodable."""
    try:
        return msgspec.msgpack.decode(data, type=Features)
    except msgspec.DecodeError:
        raise Undecodable(f"expected {MEDIA_TYPE} as input 1, got other bytes; send what detect made") from None


def mask_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the mask of a picture of that size."""
    scale = min(1.0, MASK_LONGER_SIDE_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def pack_mask(mask: NDArray[np.float32]) -> bytes:
    """A 0..1 mask of `mask_size` as a PNG."""
    ok, coded = cv2.imencode(".png", (np.clip(mask, 0, 1) * 255).astype(np.uint8))
    if not ok:
        raise EngineFault("expected OpenCV to encode a mask, it did not; another attempt may")
    return coded.tobytes()


def unpack_mask(coded: bytes, width: int, height: int) -> NDArray[np.float32]:
    """The mask at `height` x `width`, 0..1."""
    mask = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise Undecodable("expected a PNG as mask of the features, got other bytes; detect again")
    wide = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide, np.float32) / np.float32(255)


def points(coded: bytes, columns: int) -> NDArray[np.float32]:
    """Packed float32 rows of `columns`."""
    rows, rest = divmod(len(coded), 4 * columns)
    if rest or rows not in (MESH_POINTS, POSE_POINTS):
        raise Undecodable(f"expected {MESH_POINTS} or {POSE_POINTS} points in the features, got {rows}; detect again")
    return np.frombuffer(coded, np.float32).reshape(rows, columns).copy()
