"""A body as it comes → what is asked, and each picture's bytes. A form, or one picture alone. Nothing is held back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any, Final

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from services.gateway.bodies import MAX_JSON_BYTES
from services.gateway.errors import BadBody, BodyTooLarge
from services.gateway.render.errors import BadForm, TooManyPictures

FORM: Final = "multipart/form-data"
FIELDS: Final = ("operation", "params")
_MAX_FIELDS: Final = 8
_MAX_IDLE_BYTES: Final = 64 * 1024  # of headers, and of what may stand before and after the parts and is passed over


class Field(msgspec.Struct, frozen=True):
    """A part that is no file."""

    name: str
    value: bytes

    def __repr__(self) -> str:
        return "<Field>"


class Begins(msgspec.Struct, frozen=True):
    """The next picture's bytes follow."""


class Ends(msgspec.Struct, frozen=True):
    """They are all here."""


Event = Field | Begins | bytes | Ends


def is_form(content_type: str) -> bool:
    """Whether a body of this type is a form; anything else is one picture."""
    return bool(parse_options_header(content_type)[0] == FORM)


async def events(content_type: str, body: AsyncIterator[bytes], max_pictures: int) -> AsyncGenerator[Event]:
    """Fields, then of each picture Begins, its bytes, Ends. Raises BadForm, TooManyPictures, what `body` raises."""
    if not is_form(content_type):
        yield Begins()
        async for chunk in body:
            yield chunk
        yield Ends()
        return
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    try:
        async for event in _parts(PushMultipartParser(boundary), body, max_pictures):
            yield event
    except MultipartError:
        raise BadForm("expected multipart/form-data (RFC 7578) to its closing boundary, got something else") from None


async def _parts(parser: PushMultipartParser, body: AsyncIterator[bytes], most: int) -> AsyncGenerator[Event]:
    pictures = fields = 0
    name, value = "", bytearray()
    async for event in _parsed(parser, body):
        if isinstance(event, MultipartSegment):
            if event.filename is not None:
                name, pictures = "", pictures + 1
                if pictures > most:
                    raise TooManyPictures(f"expected at most {most} pictures in one request: send several")
                yield Begins()
                continue
            name, fields, value = event.name or "", fields + 1, bytearray()
            if pictures or name not in FIELDS or fields > _MAX_FIELDS:
                raise BadForm(f"expected the fields {', '.join(FIELDS)}, then files (parts with a filename)")
        elif event is None:
            yield Field(name, bytes(value)) if name else Ends()
        elif name:
            value += event
            if len(value) > MAX_JSON_BYTES:
                raise BodyTooLarge(f"expected a field of at most {MAX_JSON_BYTES} bytes: it is longer")
        else:
            yield bytes(event)


async def _parsed(parser: PushMultipartParser, body: AsyncIterator[bytes]) -> AsyncGenerator[Any]:
    """The parser's own events: a segment, its bytes, None."""
    idle = 0
    async for chunk in body:
        idle += len(chunk)
        for event in parser.parse(chunk):
            idle = 0
            yield event
        if idle > _MAX_IDLE_BYTES:
            raise BadForm(f"expected a part at least every {_MAX_IDLE_BYTES} bytes: is the boundary the right one?")
    parser.close()


def params_of(value: bytes) -> dict[str, Any]:
    """The field `params`. Raises BadBody, whose message repeats nothing."""
    with suppress(msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return msgspec.json.decode(value, type=dict[str, Any])
    raise BadBody("expected `params` to be a JSON object")
