"""Istio `networking.istio.io` Gateway: the messages as immutable types, one class a message."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from egressd.api.message import (
    Message,
    UInt32,
)


class ServerTLSMode(enum.StrEnum):
    """Istio `ServerTLSSettings.TLSmode`."""

    PASSTHROUGH = "PASSTHROUGH"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"


class TLSProtocol(enum.StrEnum):
    """Istio `ServerTLSSettings.TLSProtocol`."""

    TLS_AUTO = "TLS_AUTO"
    TLSV1_0 = "TLSV1_0"
    TLSV1_1 = "TLSV1_1"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


class Gateway(Message, frozen=True):
    """Istio `Gateway`."""

    servers: tuple[Server, ...] = ()
    selector: Mapping[str, str] = msgspec.field(default_factory=dict)


class Server(Message, frozen=True):
    """Istio `Server`."""

    port: Port
    hosts: tuple[str, ...]
    bind: str = ""
    tls: ServerTLSSettings | None = None
    default_endpoint: str = ""
    name: str = ""


class Port(Message, frozen=True):
    """Istio `Port`."""

    DEPRECATED: ClassVar[frozenset[str]] = frozenset({"targetPort"})
    number: UInt32
    protocol: str
    name: str
    target_port: UInt32 = 0


class ServerTLSSettings(Message, frozen=True):
    """Istio `ServerTLSSettings`."""

    https_redirect: bool = False
    mode: ServerTLSMode = ServerTLSMode.PASSTHROUGH
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: str = ""
    credential_names: tuple[str, ...] = ()
    ca_cert_credential_name: str = ""
    tls_certificates: tuple[TLSCertificate, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    verify_certificate_spki: tuple[str, ...] = ()
    verify_certificate_hash: tuple[str, ...] = ()
    min_protocol_version: TLSProtocol = TLSProtocol.TLS_AUTO
    max_protocol_version: TLSProtocol = TLSProtocol.TLS_AUTO
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()
    insecure_skip_verify: bool | None = None


class TLSCertificate(Message, frozen=True):
    """Istio `ServerTLSSettings.TLSCertificate`."""

    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
