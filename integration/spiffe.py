"""Mesh identities for tests: certificates with a SPIFFE URI, in the files that Istio's agent writes."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def write_identity(authority: trustme.CA, directory: Path, *uris: str, name: str = "") -> None:
    """cert-chain.pem, key.pem and root-cert.pem, each put in place whole. Without URIs the certificate
    has a common name alone."""
    ca_key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    ca_cert = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    named = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(named))
        .issuer_name(ca_cert.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_cert.public_key()),
            critical=False,
        )
    )
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=True)
    cert = builder.sign(ca_key, hashes.SHA256())  # type: ignore[arg-type]
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in (
        ("cert-chain.pem", cert.public_bytes(serialization.Encoding.PEM)),
        ("key.pem", private),
        ("root-cert.pem", authority.cert_pem.bytes()),
    ):
        beside = directory / f".{name}.new"
        beside.write_bytes(data)
        beside.replace(directory / name)


def server_context(directory: Path) -> ssl.SSLContext:
    """A peer of the mesh that asks for a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert-chain.pem", directory / "key.pem")
    context.load_verify_locations(directory / "root-cert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context
