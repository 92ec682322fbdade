"""Header and sealed body as one Kafka value: `version ‖ msgpack([header, sealed body])`."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

import msgspec

from stream.errors import BadRequest

VERSION = b"\x01"

T = TypeVar("T")


class Undecodable(BadRequest):
    """A record that no version of this code ever wrote: it is parked, not dropped."""

    kind: ClassVar[str] = "undecodable"
    status: ClassVar[int] = 422


class Codec(Generic[T]):
    """Encodes and decodes values whose header is of one tagged union `T`."""

    def __init__(self, header: type[T] | object) -> None:
        self._decoder: msgspec.msgpack.Decoder[tuple[T, bytes]] = msgspec.msgpack.Decoder(
            tuple[header, bytes]  # type: ignore[valid-type]
        )
        self._encoder = msgspec.msgpack.Encoder()

    def encode(self, header: T, sealed: bytes = b"") -> bytes:
        """The value to put on Kafka. `sealed` is ciphertext already."""
        return VERSION + self._encoder.encode((header, sealed))

    def decode(self, value: bytes | None) -> tuple[T, bytes]:
        """(header, sealed body). Raises Undecodable, whose message holds no byte of the value."""
        if not value or value[:1] != VERSION:
            raise Undecodable(f"expected a value of version {VERSION.hex()}, got {len(value or b'')} bytes of another")
        try:
            return self._decoder.decode(value[1:])
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Undecodable(f"expected [header, sealed body]: {type(error).__name__}") from None
