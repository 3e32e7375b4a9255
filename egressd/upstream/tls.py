"""TLS origination: contexts of files and flags, and the names that a peer is verified by.

Source: Istio `ClientTLSSettings`. Certificates are verified unless `insecureSkipVerify` says
otherwise; the SAN against `subjectAltNames`, or else against the SNI (RFC 9525).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from os import stat
from typing import NamedTuple

from egressd.upstream.spec import TlsSpec

Stamp = tuple[tuple[str, int, int, int], ...]
_STILL_S = 1.0
"""Name, modification time (ns), inode and size of each file."""


class TlsConfigError(Exception):
    """A file of a TLS setting cannot be used. The message names the file and the reason."""


class ContextKey(NamedTuple):
    """What a client context is made of. The server name is none of it: it is given to each connection,
    so that names which clients invent cost no context."""

    ca_file: str  # "": the system's roots
    crl_file: str
    certificate_file: str
    key_file: str
    alpn: tuple[str, ...]
    verifies: bool  # the peer's chain
    checks_name: bool  # the peer's SAN against the connection's server name


def context_key(spec: TlsSpec) -> ContextKey:
    """The context that connections of a setting share with those of other settings."""
    verifies = not spec.insecure_skip_verify
    # With names given, `verify_peer` checks them after the handshake: ssl knows one name only.
    checks_name = bool(spec.sni and spec.verify_host and not spec.subject_alt_names and verifies)
    return ContextKey(
        spec.ca_file,
        spec.crl_file,
        spec.certificate_file,
        spec.key_file,
        spec.alpn,
        verifies,
        checks_name,
    )


def files_stamp(key: ContextKey) -> Stamp:
    """What tells one state of a context's files from another. Raises `TlsConfigError`."""
    return stamp_of((key.ca_file, key.certificate_file, key.key_file, key.crl_file))


def stamp_of(files: Iterable[str]) -> Stamp:
    """What tells one state of files from another; "" is none. Raises `TlsConfigError`."""
    stamps = []
    for file in files:
        if file:
            try:
                found = stat(file)
            except OSError as error:
                raise TlsConfigError(f"{file}: {error.strerror}") from None
            except ValueError as error:  # a NUL in the name
                raise TlsConfigError(f"{file!r}: {error}") from None
            stamps.append((file, found.st_mtime_ns, found.st_ino, found.st_size))
    return tuple(stamps)


def is_settled(stamp: Stamp, seen: Stamp, now_s: float) -> bool:
    """Whether files that changed are whole, as far as can be told: they were the same at the look before
    (`seen`), or have not changed for a while by the wall clock (`now_s`). A bundle that is being written
    loads with what it has so far, and a certificate is replaced before its key."""
    return stamp == seen or all(now_s - changed / 1e9 >= _STILL_S for _, changed, _, _ in stamp)


def client_context(key: ContextKey) -> ssl.SSLContext:
    """Load a client context: tens of milliseconds with the system's roots. Raises `TlsConfigError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(key.alpn))
    _load_roots(context, key)
    if key.certificate_file:
        try:
            context.load_cert_chain(key.certificate_file, key.key_file or None)
        except (OSError, ssl.SSLError) as error:
            files = f"{key.certificate_file}, {key.key_file}"
            raise TlsConfigError(f"clientCertificate {files}: {_words(error)}") from None
    context.check_hostname = key.checks_name
    context.verify_mode = ssl.CERT_REQUIRED if key.verifies else ssl.CERT_NONE
    return context


def _load_roots(context: ssl.SSLContext, key: ContextKey) -> None:
    try:
        if key.ca_file:
            context.load_verify_locations(key.ca_file)
        elif key.verifies:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    except (OSError, ssl.SSLError) as error:
        raise TlsConfigError(f"caCertificates {key.ca_file}: {_words(error)}") from None
    if key.crl_file:
        try:
            context.load_verify_locations(key.crl_file)
        except (OSError, ssl.SSLError) as error:
            raise TlsConfigError(f"caCrl {key.crl_file}: {_words(error)}") from None
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


def _words(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return str(error) or "no certificate found"


def verify_peer(tls: ssl.SSLSocket, spec: TlsSpec) -> str | None:
    """Check the peer's SANs against `subjectAltNames`. None: good; else what was found and wanted."""
    if spec.insecure_skip_verify or not spec.subject_alt_names:
        return None
    certificate = tls.getpeercert() or {}
    entries = certificate.get("subjectAltName", ())
    found = [str(entry[1]) for entry in entries if isinstance(entry, tuple) and len(entry) > 1]
    for name in found:
        if any(names_match(name, wanted) for wanted in spec.subject_alt_names):
            return None
    return (
        "certificate verify failed: SAN matcher: "
        f"certificate has {', '.join(found) or 'no SAN'}; "
        f"expected {' or '.join(spec.subject_alt_names)}"
    )


def names_match(found: str, wanted: str) -> bool:
    """DNS names compare without case, a wildcard covers one label; URIs and addresses exactly."""
    if "://" in found or "://" in wanted:
        return found == wanted
    found, wanted = found.lower(), wanted.lower()
    if found.startswith("*."):
        return wanted == found or wanted.partition(".")[2] == found[2:]
    return found == wanted
