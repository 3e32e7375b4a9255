"""Istio `ValidateGateway`: servers, their ports, hosts and TLS settings."""

from __future__ import annotations

from egressd.api.gateway import Gateway, Server, ServerTLSMode, ServerTLSSettings, TLSProtocol
from egressd.api.names import (
    A_PROTOCOL,
    UNIX,
    is_host,
    is_host_label,
    is_http,
    is_ip,
    is_protocol,
    is_tls,
    is_unix_path,
)
from egressd.api.report import Report, quoted
from egressd.api.rules.shared import check_port

A_GATEWAY_HOST = (
    'a full DNS name, "*.name" or "*"; in front, if at all, a namespace, "." or "*" and "/"'
)
_PASSING = frozenset((ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH))
_TERMINATING = frozenset(
    (ServerTLSMode.SIMPLE, ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL)
)
_MUTUAL = frozenset((ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL))


def check_gateway(spec: Gateway, report: Report) -> None:
    """Reports each rule that the Gateway breaks."""
    if not spec.servers:
        report.error("spec.servers", "no server", "at least one server")
    names: set[str] = set()
    for index, server in enumerate(spec.servers):
        path = f"spec.servers[{index}]"
        _check_hosts(server, path, report)
        _check_port(server, path, report)
        if server.port.name in names:
            found = f"{quoted(server.port.name)} a second time"
            report.error(f"{path}.port.name", found, "a port name of its own")
        names.add(server.port.name)
        _check_bind(server, path, report)
        if server.tls is not None:
            check_server_tls(server.tls, f"{path}.tls", report)
        _check_tls_fits_port(server, path, report)


def _check_hosts(server: Server, path: str, report: Report) -> None:
    if not server.hosts:
        report.error(f"{path}.hosts", "no host", "at least one host")
    for index, entry in enumerate(server.hosts):
        namespace, slash, host = entry.rpartition("/")
        known = host == "*" or ("." in host and is_host(host)) or is_ip(host)
        if not known or (slash and namespace not in ("*", ".") and not is_host_label(namespace)):
            report.error(f"{path}.hosts[{index}]", quoted(entry), A_GATEWAY_HOST)


def _check_port(server: Server, path: str, report: Report) -> None:
    port = server.port
    if not is_protocol(port.protocol):
        report.error(f"{path}.port.protocol", quoted(port.protocol), A_PROTOCOL)
    if port.number or not server.bind.startswith(UNIX):
        check_port(port.number, f"{path}.port.number", report)
    if port.target_port:
        expected = "no targetPort: it means nothing in a Gateway"
        report.error(f"{path}.port.targetPort", str(port.target_port), expected)
    if not port.name:
        report.error(f"{path}.port.name", '""', "a port name")


def _check_bind(server: Server, path: str, report: Report) -> None:
    if server.bind.startswith(UNIX):
        if not is_unix_path(server.bind.removeprefix(UNIX)):
            expected = "an absolute path of a file or an abstract name (@name)"
            report.error(f"{path}.bind", quoted(server.bind), expected)
        if server.port.number:
            found = f"{server.port.number} beside a Unix socket"
            report.error(f"{path}.port.number", found, "0")
    elif server.bind and not is_ip(server.bind):
        report.error(f"{path}.bind", quoted(server.bind), "an IP address or unix:///path")


def _check_tls_fits_port(server: Server, path: str, report: Report) -> None:
    protocol, tls = server.port.protocol, server.tls
    given = [f"{path}.port.protocol"]
    if not is_protocol(protocol):
        return
    if is_tls(protocol):
        if tls is None:
            report.error(f"{path}.tls", "nothing", f"TLS settings for {protocol}", given)
        elif tls.https_redirect:
            expected = "false: only plain HTTP is redirected"
            report.warn(f"{path}.tls.httpsRedirect", "true", expected)
        return
    if tls is None:
        return
    if not is_http(protocol):
        report.error(f"{path}.tls", f"TLS settings for {protocol}", "none, or HTTPS or TLS", given)
    elif (
        tls.mode not in _PASSING
        or tls.ca_certificates
        or tls.private_key
        or (tls.server_certificate)
    ):
        expected = f"httpsRedirect alone: {protocol} is plain text"
        report.error(f"{path}.tls", "TLS settings for a plain text port", expected, given)


def check_server_tls(tls: ServerTLSSettings, path: str, report: Report) -> None:
    """Istio `validateTLSOptions`."""
    given = [f"{path}.mode"]
    certificates = {
        "serverCertificate": tls.server_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
        "credentialName": tls.credential_name,
        "credentialNames": tls.credential_names,
        "tlsCertificates": tls.tls_certificates,
    }
    _check_one_source(tls, path, report)
    old = (TLSProtocol.TLSV1_0, TLSProtocol.TLSV1_1)
    if tls.min_protocol_version in old and not tls.cipher_suites:
        expected = "cipherSuites beside it: the defaults hold none for TLS below 1.2"
        report.warn(f"{path}.minProtocolVersion", str(tls.min_protocol_version), expected)
    if tls.mode is ServerTLSMode.ISTIO_MUTUAL:
        for name, value in certificates.items():
            if value:
                expected = "no certificates with mode ISTIO_MUTUAL: it uses the mesh's own"
                report.error(f"{path}.{name}", name, expected, given)
    elif tls.mode in _PASSING:
        for name, value in (certificates | {"caCrl": tls.ca_crl}).items():
            if value:
                expected = f"another mode: {tls.mode} uses no certificates"
                report.warn(f"{path}.{name}", name, expected, given)
    else:
        _check_terminating(tls, path, report)


def _check_one_source(tls: ServerTLSSettings, path: str, report: Report) -> None:
    """Istio takes the server's certificates from one place: of its CRD, in whatever mode."""
    sources = {
        "credentialName": tls.credential_name,
        "credentialNames": tls.credential_names,
        "tlsCertificates": tls.tls_certificates,
    }
    if tls.mode in _TERMINATING and tls.server_certificate and tls.private_key:
        sources = {"serverCertificate": tls.server_certificate, **sources}
    first, *others = [name for name, value in sources.items() if value] or [""]
    for name in others:
        report.error(f"{path}.{name}", f"{name} beside {first}", "only one of the two")


def _check_terminating(tls: ServerTLSSettings, path: str, report: Report) -> None:
    """SIMPLE and the MUTUAL modes need certificates from one of three places."""
    given = [f"{path}.mode"]
    for name, value in (
        ("serverCertificate", tls.server_certificate), ("privateKey", tls.private_key),
    ):  # fmt: skip
        if value:
            expected = "credentialName, how secrets are named now; the file is read all the same"
            report.warn(f"{path}.{name}", f"the old spelling: a file {quoted(value)}", expected)
    sources = {
        "serverCertificate": tls.server_certificate,
        "credentialName": tls.credential_name,
        "credentialNames": tls.credential_names,
        "tlsCertificates": tls.tls_certificates,
    }
    if not (tls.credential_name or tls.credential_names or tls.tls_certificates):
        needed = {"serverCertificate": tls.server_certificate, "privateKey": tls.private_key}
        for name, value in needed.items():
            if not value:
                expected = f"a file: mode {tls.mode} needs it (or credentialName)"
                others = [f"{path}.{source}" for source in sources]
                report.error(f"{path}.{name}", "nothing", expected, [*given, *others])
    has_ca = tls.ca_certificates or tls.ca_cert_credential_name
    if tls.mode in _MUTUAL and not (has_ca or tls.credential_name or tls.credential_names):
        expected = f"a file: mode {tls.mode} verifies clients with it (or credentialName)"
        report.error(f"{path}.caCertificates", "nothing", expected, given)
    if tls.ca_crl and tls.mode is ServerTLSMode.SIMPLE and not tls.credential_name:
        report.error(f"{path}.caCrl", quoted(tls.ca_crl), "no CRL with mode SIMPLE", given)
    for index, pair in enumerate(tls.tls_certificates):
        for name, value in (
            ("serverCertificate", pair.server_certificate),
            ("privateKey", pair.private_key),
        ):
            if not value:
                report.error(f"{path}.tlsCertificates[{index}].{name}", "nothing", "a file")
