"""TLS to a source: the options, and the context that follows the files."""

from __future__ import annotations

import ssl

import msgspec

from adapters.http.files import WatchedFiles
from egressd.registry.adapter_options import SecretPath


class Tls(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """TLS to a source. Files are PEM and read again when they change."""

    ca_file: str = ""  # empty with ca_path empty: the system's roots
    ca_path: str = ""
    cert_file: str = ""
    key_file: SecretPath = ""
    server_name: str = ""  # empty: the host of the address
    insecure_skip_verify: bool = False


class ClientContext:
    """The TLS context of now: made anew when a file changed."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._files = WatchedFiles(tls.ca_file, tls.cert_file, tls.key_file)
        self._context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext:
        """Raises OSError (`ssl.SSLError` is one)."""
        if self._files.changed() or self._context is None:
            self._context = tls_context(self._tls)
        return self._context


def tls_context(tls: Tls) -> ssl.SSLContext:
    """A verifying client context; not verifying only where the options say so. Raises OSError."""
    context = ssl.create_default_context(cafile=tls.ca_file or None, capath=tls.ca_path or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
