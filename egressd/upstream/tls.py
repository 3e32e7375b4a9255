"""TLS origination: contexts from files that may change, sessions to resume, names to verify.

Source: Istio `ClientTLSSettings`. Certificates are verified unless `insecureSkipVerify` says
otherwise; the SAN against `subjectAltNames`, or else against the SNI (RFC 9525).
"""

from __future__ import annotations

import ssl
from os import stat

from egressd.upstream.spec import TlsSpec

_RECHECK_S = 1.0
_MAX_SESSIONS = 1024
Stamp = tuple[tuple[str, int, int, int], ...]


class TlsConfigError(Exception):
    """A file of a TLS setting cannot be used. The message names the file and the reason."""


class ContextEntry:
    """The context of one TLS setting, with the sessions of its endpoints."""

    __slots__ = ("_sessions", "checked", "context", "error", "spec", "stamp")

    def __init__(self, spec: TlsSpec, context: ssl.SSLContext, stamp: Stamp, now: float) -> None:
        self.spec = spec
        self.context = context
        self.stamp = stamp
        self.checked = now
        self.error = ""  # why newer files are not in use
        self._sessions: dict[str, ssl.SSLSession] = {}

    def session(self, endpoint: str) -> ssl.SSLSession | None:
        """The session to resume with an endpoint."""
        return self._sessions.get(endpoint)

    def remember_session(self, endpoint: str, session: ssl.SSLSession | None) -> None:
        """Keep the last session of an endpoint."""
        if session is not None:
            if len(self._sessions) >= _MAX_SESSIONS:
                self._sessions.clear()
            self._sessions[endpoint] = session


class ContextCache:
    """One entry a TLS setting; files are looked at once a second at most and re-read on change."""

    def __init__(self) -> None:
        self._entries: dict[TlsSpec, ContextEntry] = {}

    def get(self, spec: TlsSpec, now: float) -> ContextEntry:
        """The entry in force. Files that changed and do not load leave the old one in force.

        Raises `TlsConfigError` when there is none yet.
        """
        entry = self._entries.get(spec)
        if entry is not None and now - entry.checked < _RECHECK_S:
            return entry
        if entry is None:
            stamp = _stamp(spec)  # before the load: what changes meanwhile is seen next time
            entry = ContextEntry(spec, client_context(spec), stamp, now)
            self._entries[spec] = entry
            return entry
        entry.checked = now
        try:
            stamp = _stamp(spec)
            if stamp != entry.stamp:
                entry = ContextEntry(spec, client_context(spec), stamp, now)
                self._entries[spec] = entry
        except TlsConfigError as error:
            entry.error = str(error)
        return entry


def _files(spec: TlsSpec) -> tuple[str, ...]:
    files = (spec.ca_file, spec.certificate_file, spec.key_file, spec.crl_file)
    return tuple(file for file in files if file)


def _stamp(spec: TlsSpec) -> Stamp:
    stamps = []
    for file in _files(spec):
        try:
            found = stat(file)
        except OSError as error:
            raise TlsConfigError(f"{file}: {error.strerror}") from None
        stamps.append((file, found.st_mtime_ns, found.st_ino, found.st_size))
    return tuple(stamps)


def client_context(spec: TlsSpec) -> ssl.SSLContext:
    """A client context of a setting. Raises `TlsConfigError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(spec.alpn))
    _load_roots(context, spec)
    if spec.certificate_file:
        try:
            context.load_cert_chain(spec.certificate_file, spec.key_file or None)
        except (OSError, ssl.SSLError) as error:
            files = f"{spec.certificate_file}, {spec.key_file}"
            raise TlsConfigError(f"clientCertificate {files}: {_words(error)}") from None
    # With names given, `verify_peer` checks them after the handshake: ssl knows one name only.
    context.check_hostname = bool(
        spec.sni
        and spec.verify_host
        and not spec.subject_alt_names
        and not spec.insecure_skip_verify
    )
    context.verify_mode = ssl.CERT_NONE if spec.insecure_skip_verify else ssl.CERT_REQUIRED
    return context


def _load_roots(context: ssl.SSLContext, spec: TlsSpec) -> None:
    try:
        if spec.ca_file:
            context.load_verify_locations(spec.ca_file)
        elif not spec.insecure_skip_verify:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    except (OSError, ssl.SSLError) as error:
        raise TlsConfigError(f"caCertificates {spec.ca_file}: {_words(error)}") from None
    if spec.crl_file:
        try:
            context.load_verify_locations(spec.crl_file)
        except (OSError, ssl.SSLError) as error:
            raise TlsConfigError(f"caCrl {spec.crl_file}: {_words(error)}") from None
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
