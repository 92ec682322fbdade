"""What can go wrong inside an engine. Messages carry sizes and names, never pixels."""

from __future__ import annotations

from stream.errors import BadRequest, LostLease, StoreUnavailable


class Undecodable(BadRequest):
    """The input is not a whole picture or clip of a format that is read here."""

    kind = "undecodable-media"
    status = 422


class TooManyPixels(BadRequest):
    """The input declares more pixels than the cap: refused before any of them is decoded."""

    kind = "too-many-pixels"
    status = 413


class TooLong(BadRequest):
    """The clip has more frames than the cap: refused before any of them is drawn."""

    kind = "too-long"
    status = 413


class HostileMedia(BadRequest):
    """The input ended the process that decoded it: a codec crashed on it."""

    kind = "hostile-media"
    status = 422


class DecodeLimit(BadRequest):
    """Decoding took more memory, CPU time, frames or seconds than one file may cost."""

    kind = "decode-limit"
    status = 422


class ContentRefused(BadRequest):
    """The content gate of this app took the picture for one of naked people."""

    kind = "content-refused"
    status = 422


class BadParams(BadRequest):
    """A parameter of the operation is unknown, of another type or out of its range."""

    kind = "bad-params"
    status = 422


class UnknownOperation(BadRequest):
    """No engine makes this."""

    kind = "unknown-operation"
    status = 404


class NoPerson(BadRequest):
    """The operation needs a person and none was found: the same picture will never work, so it is permanent."""

    kind = "no-person"
    status = 422


class NoFace(BadRequest):
    """The operation needs a face and none was found, or none large enough: permanent."""

    kind = "no-face"
    status = 422


class NoGarment(BadRequest):
    """The operation needs clothes and none are seen: permanent."""

    kind = "no-garment"
    status = 422


class Cancelled(LostLease):
    """The lease was withdrawn while the engine ran; nothing was produced."""

    kind = "cancelled"


class WeightsUnavailable(StoreUnavailable):
    """A model file is missing or is not, byte for byte, the pinned one."""

    kind = "weights-unavailable"


class NonCommercialWeights(BadRequest):
    """A deployment that earns money was configured with a model whose terms forbid that."""

    kind = "non-commercial-weights"


class BadModel(StoreUnavailable):
    """A big model's folder or its row cannot be used as it is."""

    kind = "bad-model"


class EngineFault(StoreUnavailable):
    """The inference runtime or the encoder failed on input that was good; another attempt may succeed."""

    kind = "engine-fault"
