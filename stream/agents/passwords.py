"""Passwords as argon2id hashes (RFC 9106), off the event loop, a few at a time: each takes 19 MiB.

Parameters are the OWASP Password Storage Cheat Sheet's first choice: 19 MiB, two passes, one lane.
"""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_AT_A_TIME = asyncio.Semaphore(2)
_NOBODY = _HASHER.hash("a password that nobody has")


async def hashed(password: str) -> str:
    """An encoded hash, with its salt and parameters."""
    async with _AT_A_TIME:
        return await asyncio.to_thread(_HASHER.hash, password)


async def matches(encoded: str, password: str) -> bool:
    """Whether it is the password. Without a hash (nobody has this account) it takes as long, and is False."""
    async with _AT_A_TIME:
        right = await asyncio.to_thread(_verify, encoded or _NOBODY, password)
    return right and bool(encoded)


def _verify(encoded: str, password: str) -> bool:
    try:
        return bool(_HASHER.verify(encoded, password))
    except VerificationError:
        return False
