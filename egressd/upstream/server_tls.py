"""TLS that ends at a Gateway's port: contexts from files that may change, client certificates checked.

Source: Istio `ServerTLSSettings`. Files are looked at once a second at most and re-read on change; new
ones that do not load leave the old context in force.
"""

from __future__ import annotations

import hashlib
import ssl
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from time import time

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from egressd.api.gateway import ServerTLSMode, ServerTLSSettings, TLSProtocol
from egressd.registry.profile import NodeProfile
from egressd.upstream.credentials import (
    Credential,
    CredentialError,
    find_credential,
    mesh_identity,
)
from egressd.upstream.ecdh_curves import UnknownCurves, set_curves
from egressd.upstream.tls import Stamp, TlsConfigError, is_settled, names_match, stamp_of

_RECHECK_S = 1.0
_MUTUAL = frozenset({ServerTLSMode.MUTUAL, ServerTLSMode.ISTIO_MUTUAL})
_VERSIONS = {
    TLSProtocol.TLSV1_0: ssl.TLSVersion.TLSv1,
    TLSProtocol.TLSV1_1: ssl.TLSVersion.TLSv1_1,
    TLSProtocol.TLSV1_2: ssl.TLSVersion.TLSv1_2,
    TLSProtocol.TLSV1_3: ssl.TLSVersion.TLSv1_3,
}


@dataclass(frozen=True, slots=True)
class ServerTlsSpec:
    """How a server ends TLS. Paths of PEM files; "" = unset."""

    mode: ServerTLSMode
    certificates: tuple[tuple[str, str], ...]  # (chain, key), the kinds of key differ (RSA, ECDSA)
    ca_file: str = ""
    crl_file: str = ""
    min_version: TLSProtocol = TLSProtocol.TLS_AUTO  # Istio: 1.2
    max_version: TLSProtocol = TLSProtocol.TLS_AUTO
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    spki_pins: tuple[str, ...] = ()  # base64 SHA-256 of the public key
    hash_pins: tuple[str, ...] = ()  # hex SHA-256 of the certificate
    skips_clients: bool = False  # no client certificate is asked for, whatever the mode


def server_tls_spec(settings: ServerTLSSettings, profile: NodeProfile) -> ServerTlsSpec:
    """Istio `ServerTLSSettings` with secrets looked up. Raises `TlsConfigError`."""
    try:
        credentials, ca = _credentials(settings, profile)
    except CredentialError as error:
        raise TlsConfigError(str(error)) from None
    certificates = tuple((one.certificate, one.key) for one in credentials)
    if not certificates or not all(chain and key for chain, key in certificates):
        raise TlsConfigError("the server has no certificate and key")
    return ServerTlsSpec(
        mode=settings.mode,
        certificates=certificates,
        ca_file=ca.ca,
        crl_file=settings.ca_crl or ca.crl,
        min_version=settings.min_protocol_version,
        max_version=settings.max_protocol_version,
        cipher_suites=settings.cipher_suites,
        ecdh_curves=settings.ecdh_curves,
        subject_alt_names=settings.subject_alt_names,
        spki_pins=settings.verify_certificate_spki,
        hash_pins=settings.verify_certificate_hash,
        skips_clients=bool(settings.insecure_skip_verify),
    )


def _credentials(
    settings: ServerTLSSettings, profile: NodeProfile
) -> tuple[tuple[Credential, ...], Credential]:
    """The server's own certificates, and the one whose CA clients are verified with."""
    if settings.mode is ServerTLSMode.ISTIO_MUTUAL:
        identity = mesh_identity(profile)
        return (identity,), identity
    names = settings.credential_names or tuple(filter(None, (settings.credential_name,)))
    if names:
        found = tuple(find_credential(profile, name) for name in names)
        if settings.ca_cert_credential_name:
            return found, find_credential(profile, settings.ca_cert_credential_name)
        return found, found[0]
    if settings.tls_certificates:
        listed = tuple(
            Credential(one.server_certificate, one.private_key, one.ca_certificates)
            for one in settings.tls_certificates
        )
        ca = settings.ca_certificates or next((one.ca for one in listed if one.ca), "")
        return listed, Credential(ca=ca)
    own = Credential(
        settings.server_certificate, settings.private_key, settings.ca_certificates, settings.ca_crl
    )
    return (own,), own


class ServerContextEntry:
    """The context of one server setting."""

    __slots__ = ("checked", "context", "error", "seen", "stamp")

    def __init__(self, context: ssl.SSLContext, stamp: Stamp, now: float) -> None:
        self.context = context
        self.stamp = stamp
        self.seen = stamp  # of the last look
        self.checked = now
        self.error = ""  # why newer files are not in use


class ServerContextCache:
    """One entry a server setting."""

    def __init__(self) -> None:
        self._entries: dict[ServerTlsSpec, ServerContextEntry] = {}

    def get(self, spec: ServerTlsSpec, now: float) -> ServerContextEntry:
        """The entry in force; `now` is monotonic seconds. Raises `TlsConfigError` when there never was
        a good one."""
        entry = self._entries.get(spec)
        if entry is not None and now - entry.checked < _RECHECK_S:
            return entry
        if entry is None:
            stamp = _stamp(spec)  # before the load: what changes meanwhile is seen next time
            entry = ServerContextEntry(server_context(spec), stamp, now)
            self._entries[spec] = entry
            return entry
        entry.checked = now
        try:
            stamp = _stamp(spec)
            seen, entry.seen = entry.seen, stamp
            if stamp != entry.stamp and is_settled(stamp, seen, time()):
                entry.context, entry.stamp, entry.error = server_context(spec), stamp, ""
        except TlsConfigError as error:
            entry.error = str(error)
        return entry


def _stamp(spec: ServerTlsSpec) -> Stamp:
    files = [file for pair in spec.certificates for file in pair]
    return stamp_of((*files, spec.ca_file, spec.crl_file))


def server_context(spec: ServerTlsSpec) -> ssl.SSLContext:
    """A server context of a setting. Raises `TlsConfigError`, naming the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS.get(spec.min_version, ssl.TLSVersion.TLSv1_2)
    if spec.max_version in _VERSIONS:
        context.maximum_version = _VERSIONS[spec.max_version]
    context.set_alpn_protocols(["http/1.1"])
    _set_ciphers(context, spec.cipher_suites)
    if spec.ecdh_curves:
        try:
            set_curves(context, spec.ecdh_curves)
        except UnknownCurves as error:
            raise TlsConfigError(f"ecdhCurves: {error}") from None
    for chain, key in spec.certificates:
        try:
            context.load_cert_chain(chain, key)
        except (OSError, ssl.SSLError) as error:
            raise TlsConfigError(f"serverCertificate {chain}, {key}: {_words(error)}") from None
    if spec.skips_clients:
        return context
    if spec.mode in _MUTUAL:
        context.verify_mode = ssl.CERT_REQUIRED
    elif spec.mode is ServerTLSMode.OPTIONAL_MUTUAL:
        context.verify_mode = ssl.CERT_OPTIONAL
    if context.verify_mode is not ssl.CERT_NONE:
        _load_roots(context, spec)
    return context


def _set_ciphers(context: ssl.SSLContext, names: tuple[str, ...]) -> None:
    """Names that this OpenSSL does not know are left out, as Istio does; TLS 1.3's are fixed."""
    known = []
    for name in names:
        probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with suppress(ssl.SSLError):
            probe.set_ciphers(name)
            known.append(name)
    if names and not known:
        raise TlsConfigError(f"cipherSuites: OpenSSL knows none of {', '.join(names)}")
    if known:
        context.set_ciphers(":".join(known))


def _load_roots(context: ssl.SSLContext, spec: ServerTlsSpec) -> None:
    if not spec.ca_file:
        raise TlsConfigError(f"mode {spec.mode} needs caCertificates to verify clients with")
    for file in (spec.ca_file, spec.crl_file):
        if file:
            try:
                context.load_verify_locations(file)
            except (OSError, ssl.SSLError) as error:
                raise TlsConfigError(f"{file}: {_words(error)}") from None
    if spec.crl_file:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


def _words(error: Exception) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) else str(error) or "not usable"


def verify_client(tls: ssl.SSLSocket, spec: ServerTlsSpec) -> str | None:
    """What OpenSSL does not check of a client certificate: names and pins. None: good."""
    if not (spec.subject_alt_names or spec.spki_pins or spec.hash_pins):
        return None
    raw = tls.getpeercert(binary_form=True)
    if raw is None:
        return None  # OPTIONAL_MUTUAL: none was shown; MUTUAL has refused the handshake
    names = _alt_names(tls)
    if spec.subject_alt_names and not any(
        names_match(name, wanted) for name in names for wanted in spec.subject_alt_names
    ):
        return f"client certificate has {', '.join(names) or 'no SAN'}, not one of subjectAltNames"
    if not spec.spki_pins and not spec.hash_pins:
        return None
    if hashlib.sha256(raw).hexdigest() in {p.replace(":", "").lower() for p in spec.hash_pins}:
        return None
    key = x509.load_der_x509_certificate(raw).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if b64encode(hashlib.sha256(spki).digest()).decode() in spec.spki_pins:
        return None
    return "client certificate is not one of verifyCertificateSpki, verifyCertificateHash"


def client_principals(tls: ssl.SSLSocket) -> tuple[str, ...]:
    """The identities of a client certificate, as Envoy's RBAC takes them: its URI names, without any its
    DNS names, without any its subject (RFC 2253: "CN=a,O=b"); () without a certificate."""
    for kind in ("URI", "DNS"):
        if names := tuple(_alt_names(tls, kind)):
            return names
    raw = tls.getpeercert(binary_form=True)
    if raw is None:
        return ()
    subject = x509.load_der_x509_certificate(raw).subject.rfc4514_string()
    return (subject,) if subject else ()


def _alt_names(tls: ssl.SSLSocket, kind: str = "") -> list[str]:
    """The subjectAltNames of the peer's certificate, all or those of one kind."""
    entries = (tls.getpeercert() or {}).get("subjectAltName", ())
    pairs = [entry for entry in entries if isinstance(entry, tuple) and len(entry) > 1]
    return [str(name) for found, name, *_ in pairs if kind in ("", found)]
