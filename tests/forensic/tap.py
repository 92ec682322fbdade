"""Keys told by a tapped worker to the test, over a socket: fixed frames of tag, 16 bytes of id, 32 bytes of key."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

PATH_VARIABLE = "MAYFLY_FORENSIC_TAP"
ID_BYTES, KEY_BYTES = 16, 32
FRAME_BYTES = 1 + ID_BYTES + KEY_BYTES

ENTRY, NODE, ROOT_SECRET, GONE = b"e", b"n", b"r", b"x"
KINDS = {ENTRY: "data key", NODE: "page or root key", ROOT_SECRET: "root store secret"}


class Tap:
    """Hears what is told. `dead` keys must be nowhere; `live` ones are in use."""

    def __init__(self) -> None:
        self.dead: dict[str, list[bytes]] = defaultdict(list)
        self.live: dict[tuple[bytes, bytes], bytes] = {}

    async def listen(self, path: Path) -> asyncio.Server:
        """Until the server is closed."""
        return await asyncio.start_unix_server(self._heard, path)

    async def _heard(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                frame = await reader.readexactly(FRAME_BYTES)
                tag, name, key = frame[:1], frame[1 : 1 + ID_BYTES], frame[1 + ID_BYTES :]
                if tag == GONE:
                    for kind in (ENTRY, NODE):
                        if (kind, name) in self.live:
                            self.dead[KINDS[kind]].append(self.live.pop((kind, name)))
                else:
                    if (older := self.live.get((tag, name))) not in (None, key):
                        self.dead[KINDS[tag]].append(older)
                    self.live[tag, name] = key
        except asyncio.IncompleteReadError:
            pass  # that worker has ended
        finally:
            writer.close()
