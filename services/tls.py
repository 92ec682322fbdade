"""Mutual TLS between gateways and workers. Whoever holds a certificate of our CA is one of us; addresses move."""

from __future__ import annotations

import os
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_SKEW: Final = timedelta(minutes=5)
_LIFE: Final = timedelta(days=90)
_CA_USAGE: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def client_context(tls_dir: str) -> ssl.SSLContext | None:
    """For calls to workers; None where `tls_dir` is empty (tests only)."""
    if not tls_dir:
        return None
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=Path(tls_dir) / "ca.pem")
    context.check_hostname = False  # the CA is ours alone and signs nodes only; owners move between addresses
    context.load_cert_chain(Path(tls_dir) / "node.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


NODE = "mayfly"
"""The name in a node's certificate, for clients that insist on one, such as Prometheus. Our own go by the CA."""


def server_context(tls_dir: str) -> ssl.SSLContext | None:
    """For calls from workers; None where `tls_dir` is empty (tests only)."""
    if not tls_dir:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=Path(tls_dir) / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(Path(tls_dir) / "node.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def create(tls_dir: Path, now: datetime) -> None:
    """A CA of our own and one certificate for every node of a local stack; the CA's key is kept nowhere."""
    ca_key, node_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, node_name = _name("mayfly CA"), _name("mayfly node")
    ca = (
        _certificate(ca_name, ca_key, now)
        .issuer_name(ca_name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    node = (
        _certificate(node_name, node_key, now)
        .issuer_name(ca_name)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NODE)]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    private = node_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    tls_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    (tls_dir / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    handle = os.open(tls_dir / "node.pem", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(node.public_bytes(Encoding.PEM) + private)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
    )
