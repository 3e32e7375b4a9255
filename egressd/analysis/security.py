"""TLS: ports called in plain, TLS twice, certificates that are gone, old or of another key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.destination_rule import ClientTLSMode, ClientTLSSettings
from egressd.api.gateway import Gateway
from egressd.api.names import is_tls
from egressd.api.resource import Resource
from egressd.api.virtual_service import Destination, VirtualService
from egressd.upstream.compile import UnknownCluster, compile_cluster


def plain_and_double(subject: Subject) -> Iterator[Finding]:
    """EG0501: an http route to a TLS port without TLS; EG0502: a tls route that is wrapped again."""
    for resource, spec in subject.each(VirtualService):
        targets = [
            (f"spec.http[{n}].route[{m}].destination", target.destination)
            for n, route in enumerate(spec.http)
            for m, target in enumerate(route.route)
        ]
        for path, destination in targets:
            host, port, protocol, secured = _called(subject, resource, destination)
            if is_tls(protocol) and not secured:
                found = f"{host} port {port} speaks {protocol}"
                yield finding("EG0501", resource, path, found)
        closed = [
            (f"spec.tls[{n}].route[{m}].destination", to.destination)
            for n, tls in enumerate(spec.tls)
            for m, to in enumerate(tls.route)
        ]
        for path, destination in closed:
            host, _, _, secured = _called(subject, resource, destination)
            if secured:
                yield finding("EG0502", resource, path, f"{secured} originates TLS for {host}")


def _called(
    subject: Subject, resource: Resource, destination: Destination
) -> tuple[str, int, str, str]:
    """Host, port, protocol and, where TLS is originated, the rule that says so."""
    key = subject.key(resource, destination)
    service = subject.service(key.host)
    port = next((p for p in (service.ports if service else ()) if p.number == key.port), None)
    if port is None:
        return key.host, key.port, "", ""
    try:
        spec = compile_cluster(subject.view, key, subject.profile)
    except UnknownCluster:
        return key.host, key.port, "", ""
    return key.host, key.port, port.protocol, spec.destination_rule if spec.tls else ""


def certificates(subject: Subject, now: datetime, expiry: timedelta) -> Iterator[Finding]:
    """EG0503 to EG0506, of every file that a DestinationRule or Gateway names."""
    for resource, path, chain, key in _pairs(subject):
        yield from _check(resource, path, chain, key, now, expiry)


def _pairs(subject: Subject) -> Iterator[tuple[Resource, str, str, str]]:
    for resource, rule in subject.rules():
        policies = [("spec.trafficPolicy", rule.traffic_policy)]
        policies += [
            (f"spec.subsets[{n}].trafficPolicy", s.traffic_policy)
            for n, s in enumerate(rule.subsets)
        ]
        for path, policy in policies:
            if policy is None:
                continue
            yield from _client(resource, f"{path}.tls", policy.tls)
            for n, level in enumerate(policy.port_level_settings):
                yield from _client(resource, f"{path}.portLevelSettings[{n}].tls", level.tls)
    for resource, gateway in subject.each(Gateway):
        for n, server in enumerate(gateway.servers):
            tls = server.tls
            if tls is not None:
                path = f"spec.servers[{n}].tls"
                if tls.server_certificate:
                    where = f"{path}.serverCertificate"
                    yield resource, where, tls.server_certificate, tls.private_key
                if tls.ca_certificates:
                    yield resource, f"{path}.caCertificates", tls.ca_certificates, ""


def _client(
    resource: Resource, path: str, tls: ClientTLSSettings | None
) -> Iterator[tuple[Resource, str, str, str]]:
    if tls is None or tls.mode is ClientTLSMode.DISABLE:
        return
    if tls.client_certificate:
        yield resource, f"{path}.clientCertificate", tls.client_certificate, tls.private_key
    if tls.ca_certificates:
        yield resource, f"{path}.caCertificates", tls.ca_certificates, ""


def _check(
    resource: Resource, path: str, chain: str, key: str, now: datetime, expiry: timedelta
) -> Iterator[Finding]:
    try:
        found = x509.load_pem_x509_certificates(Path(chain).read_bytes())
    except (OSError, ValueError) as error:
        yield finding("EG0503", resource, path, f"{chain}: {_words(error)}")
        return
    ends = min(certificate.not_valid_after_utc for certificate in found)
    if ends <= now:
        yield finding("EG0505", resource, path, f"{chain} ended {ends:%Y-%m-%d %H:%M} UTC")
    elif ends <= now + expiry:
        yield finding("EG0504", resource, path, f"{chain} ends {ends:%Y-%m-%d %H:%M} UTC")
    if key:
        try:
            private = load_pem_private_key(Path(key).read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            yield finding("EG0503", resource, path, f"{key}: {_words(error)}")
            return
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if private.public_key().public_bytes(*form) != found[0].public_key().public_bytes(*form):
            yield finding("EG0506", resource, path, f"{key} is not the key of {chain}")


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "no PEM of the kind that is expected"
