"""Presigned S3 URLs, made without asking anybody: AWS Signature Version 4 in the query, payload unsigned, path style.

The payload needs no signature of S3's: it is sealed, so whoever changes it is found out when it is opened.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from functools import lru_cache
from urllib.parse import quote, urlsplit

_MAX_EXPIRES_S = 7 * 24 * 3600  # SigV4's own limit


class Signer:
    """Signs for one endpoint and one access key."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str, region: str = "us-east-1") -> None:
        """`endpoint` is `http(s)://host[:port]`."""
        self.endpoint = endpoint.rstrip("/")
        self._host = urlsplit(self.endpoint).netloc
        self._access_key = access_key
        self._secret = b"AWS4" + secret_key.encode()
        self._region = region

    def url(self, method: str, path: str, *, expires_s: int, now: float, query: dict[str, str] | None = None) -> str:
        """The URL by which anybody may `method` `path` (a "/"-led object path) for `expires_s` seconds from `now`."""
        if not 0 < expires_s <= _MAX_EXPIRES_S:
            raise ValueError(f"expected 1 to {_MAX_EXPIRES_S} seconds, got {expires_s}: sign for the lease's length")
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        scope = f"{stamp[:8]}/{self._region}/s3/aws4_request"
        fields = {
            **(query or {}),
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self._access_key}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(expires_s),
            "X-Amz-SignedHeaders": "host",
        }
        encoded = "&".join(f"{_encode(k)}={_encode(v)}" for k, v in sorted(fields.items()))
        path = quote(path, safe="/-_.~")
        request = f"{method}\n{path}\n{encoded}\nhost:{self._host}\n\nhost\nUNSIGNED-PAYLOAD"
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = _hmac(_day_key(self._secret, stamp[:8], self._region), to_sign).hex()
        return f"{self.endpoint}{path}?{encoded}&X-Amz-Signature={signature}"

    def __repr__(self) -> str:
        return f"<Signer {self.endpoint}>"


@lru_cache(maxsize=4)
def _day_key(secret: bytes, day: str, region: str) -> bytes:
    return _hmac(_hmac(_hmac(_hmac(secret, day), region), "s3"), "aws4_request")


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.digest(key, message.encode(), "sha256")


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")
