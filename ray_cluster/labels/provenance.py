"""C2PA manifests: a signed statement inside the file that this was made by AI, and that nothing of it changed since.

It says what made it and of which kind it is, under the operator's key. It has no time, no title, no picture of its own,
and names nobody; the two random numbers that the standard wants are kept nowhere.
"""

from __future__ import annotations

import io
import json
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

from ray_cluster.labels.errors import BadSigningKey, Unlabellable
from ray_cluster.labels.xmp import SOURCE_TYPE

KEY_FILE: Final = "key.pem"
CHAIN_FILE: Final = "chain.pem"
SIGNED: Final = frozenset({"image/jpeg", "image/png", "image/webp", "video/mp4"})


class Found(NamedTuple):
    """What a reader finds. `state`: absent, altered, invalid, valid (its signer is nobody we know) or trusted."""

    state: str
    signer: str = ""
    generator: str = ""
    made_by_ai: bool = False


class Signer:
    """The operator's key, read once. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        """`key.pem` (ES256, PKCS #8) and `chain.pem` (its certificate first, then the CA's) in `folder`.

        Raises:
            BadSigningKey: they are missing or cannot sign.

        """
        import c2pa  # noqa: PLC0415 - 8 MB that only those who sign need

        self._c2pa = c2pa
        try:
            chain, key = (folder / CHAIN_FILE).read_bytes(), (folder / KEY_FILE).read_bytes()
            info = c2pa.C2paSignerInfo(alg=c2pa.C2paSigningAlg.ES256, sign_cert=chain, private_key=key, ta_url=None)
            self._signer = c2pa.Signer.from_info(info)
        except OSError as error:
            raise BadSigningKey(f"expected {KEY_FILE} and {CHAIN_FILE} in {folder}, got {error.strerror}") from None
        except c2pa.C2paError:
            raise BadSigningKey(f"expected an ES256 key and its certificates in {folder}, got others") from None
        self._context = _context()

    def sign(self, media: bytes | bytearray, media_type: str) -> bytearray:
        """A copy of `media` with a manifest. Raises Unlabellable."""
        action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
        manifest = {
            "claim_generator_info": [{"name": "Mayfly", "version": metadata_version()}],
            "format": media_type,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
        source, signed = io.BytesIO(media), io.BytesIO()
        try:
            self._c2pa.Builder(json.dumps(manifest), context=self._context).sign(
                self._signer, media_type, source, signed
            )
            with signed.getbuffer() as view:
                return bytearray(view)
        except self._c2pa.C2paError:
            raise Unlabellable(f"expected the C2PA library to sign {media_type}, it did not; another attempt") from None
        finally:
            for file in (source, signed):
                with file.getbuffer() as view:
                    view[:] = bytes(len(view))


def read(media: bytes | bytearray, media_type: str, anchors: bytes = b"") -> Found:
    """The manifest in `media`, judged. `anchors`: PEM certificates of signers to trust."""
    import c2pa  # noqa: PLC0415

    try:
        with c2pa.Reader(media_type, io.BytesIO(media), context=_context(anchors)) as reader:
            told: dict[str, Any] = json.loads(reader.json())
    except c2pa.C2paError as error:
        return Found("absent" if "ManifestNotFound" in type(error).__name__ + str(error) else "invalid")
    active = told.get("manifests", {}).get(told.get("active_manifest"), {})
    codes = [one.get("code", "") for one in told.get("validation_status") or ()]
    state = {"Valid": "valid", "Trusted": "trusted"}.get(told.get("validation_state", ""), "invalid")
    if any(code.endswith("mismatch") for code in codes):
        state = "altered"
    signature, made = active.get("signature_info") or {}, active.get("claim_generator_info") or [{}]
    signer = " / ".join(filter(None, (signature.get("issuer"), signature.get("common_name"))))
    by_ai = "trainedalgorithmicmedia" in json.dumps(active.get("assertions", [])).lower()
    return Found(state, signer, str(made[0].get("name", "")), made_by_ai=by_ai)


def metadata_version() -> str:
    """Ours; an uninstalled checkout has none."""
    try:
        return metadata.version("mayfly")
    except metadata.PackageNotFoundError:
        return "0"


def _context(anchors: bytes = b"") -> Any:
    import c2pa  # noqa: PLC0415

    settings: dict[str, Any] = {
        "builder": {"thumbnail": {"enabled": False}},  # a second picture inside: 60 ms and the file's size again
        "verify": {"ocsp_fetch": False, "remote_manifest_fetch": False, "verify_trust": bool(anchors)},
    }
    if anchors:
        settings["trust"] = {"user_anchors": anchors.decode()}
    return c2pa.Context(settings=c2pa.Settings.from_dict(settings))
