"""One picture: looked at and sealed onto the shelf as it comes, handed to an actor, and its result opened again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from services.gateway.intake import Intake, Limits, Strip
from services.gateway.render.desk import Desk
from stream.agents.api_render import Granted, Offered
from stream.events.bus import Outcome
from stream.events.lease import Piece, Task
from stream.ids import Kind, digest
from stream.vault.envelope import seal_bytes, seal_key
from stream.vault.purposes import lease_info, params_info, stream_name
from stream.vault.secret import Key
from stream.vault.stream_seal import Opener, Sealer, plain_size

ROOM_S: Final = 5.0  # a picture waits so long for room, while its sender does
SLICE_BYTES: Final = 256 * 1024
RESULT_ROLE: Final = "result"


class Asked(msgspec.Struct, frozen=True):
    """What is done with every picture of a request."""

    tenant: str
    app: str
    operation: str
    params: bytes

    def __repr__(self) -> str:
        return "<Asked>"


class Made(msgspec.Struct, frozen=True):
    """A result, still sealed."""

    media_type: str
    size_bytes: int


class Picture:
    """Its keys and ciphertext are this gateway's alone until `wipe()`, after which nothing of it is left here."""

    def __init__(self, desk: Desk, asked: Asked, granted: Granted) -> None:
        def mint(kind: Kind) -> str:
            return desk.mint.mint(kind, asked.tenant, 0)  # random; nothing is placed by it

        self.job = mint(Kind.JOB)
        self._desk, self._asked, self._role = desk, asked, granted.input_role
        self._input = mint(Kind.ASSET)
        # One, of whatever classes: an engine makes one file, in which a mask is the transparency of its picture.
        self._output = mint(Kind.ASSET)
        self._keys = {asset: Key.new() for asset in (self._input, self._output)}
        limits = Limits(granted.max_bytes, granted.max_pixels, granted.max_duration_s)
        self._intake, self._strip = Intake(limits, frozenset(granted.accept)), Strip()
        self._sealer = Sealer(self._keys[self._input], stream_name(self._input), asked.app)
        self._sealed = bytearray()
        self._booked = self._size = 0

    def __repr__(self) -> str:
        return "<Picture>"

    async def take(self, chunk: bytes) -> None:
        """The next bytes. Raises what is wrong with them, and NoRoomLeft."""
        self._intake.feed(chunk)
        self._size += len(chunk)
        head = b"" if self._sealed else self._sealer.header()
        await self._keep(head + self._sealer.update(self._strip.feed(chunk, self._intake.media_type)))

    async def finish(self) -> None:
        """They were all. Raises what is wrong with the whole."""
        self._intake.finish()
        await self._keep(self._sealer.final())
        booked, self._booked = self._booked, 0
        self._desk.shelf.put(self._input, self._sealed, lambda: self._desk.inputs.give(booked))

    def task(self, offered: Offered) -> Task:
        """What the offered actor is to be told; tickets of an offer before are void."""
        asked, shelf = self._asked, self._desk.shelf
        shelf.void(self._input, self._output)

        def piece(asset: str, role: str, url: str, size: int = 0) -> Piece:
            info = lease_info(asset, asked.app, fence=offered.fence, role=role)
            return Piece(role, asset, url, seal_key(self._keys[asset], offered.public, info), size)

        until_s = self._desk.ticket_s
        source = piece(self._input, self._role, shelf.get_url(self._input, until_s), self._size)
        return Task(
            job=self.job,
            fence=offered.fence,
            app=asked.app,
            operation=asked.operation,
            offer=offered.offer,
            inputs=(source,),
            outputs=(piece(self._output, RESULT_ROLE, shelf.put_url(self._output, until_s)),),
            sealed_params=seal_bytes(asked.params, offered.public, params_info(asked.app, fence=offered.fence)),
            seed=int.from_bytes(digest("seed", self.job)[:4], "big"),
        )

    def made(self, outcome: Outcome) -> Made:
        """What the actor brought: its word on the type, the shelf's on the size. Raises NoSuchObject, Truncated."""
        (facts,) = outcome.outputs
        return Made(facts.media_type, plain_size(len(self._desk.shelf.get(self._output))))

    def opened(self) -> Iterator[bytes]:
        """The result's plaintext, piece by piece. Raises Tampered."""
        sealed = self._desk.shelf.get(self._output)
        opener = Opener(self._keys[self._output], stream_name(self._output), self._asked.app)
        for at in range(0, len(sealed), SLICE_BYTES):
            if plain := opener.update(sealed[at : at + SLICE_BYTES]):
                yield plain
        yield opener.final()

    def wipe(self) -> None:
        """Overwrite keys, plaintext held back and ciphertext; no ticket is good any more. Idempotent."""
        self._sealer.wipe()
        self._strip.wipe()
        for key in self._keys.values():
            key.wipe()
        self._sealed[:] = bytes(len(self._sealed))
        self._desk.shelf.drop(self._input, self._output)
        self._desk.inputs.give(self._booked)
        self._booked = 0

    async def _keep(self, sealed: bytes) -> None:
        await self._desk.inputs.take(len(sealed), wait_s=ROOM_S)
        self._booked += len(sealed)
        self._sealed += sealed
