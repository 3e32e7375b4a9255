"""Certificate files and credentials: gone, bad, old, or of another key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.destination_rule import ClientTLSMode, ClientTLSSettings, DestinationRule
from egressd.api.export import is_exported
from egressd.api.gateway import Gateway, ServerTLSMode, ServerTLSSettings
from egressd.api.resource import Resource
from egressd.registry.profile import NodeProfile
from egressd.upstream.credentials import Credential, CredentialError, find_credential

_VERIFYING = (ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL)
_ENDING = (ServerTLSMode.SIMPLE, *_VERIFYING)


class Pair(NamedTuple):
    """A chain or CA, and the key of it, "" for none; `found` in place of both is what is wrong."""

    field: str
    chain: str = ""
    key: str = ""
    found: str = ""


def certificates(subject: Subject, now: datetime, expiry: timedelta) -> Iterator[Finding]:
    """EG0503 to EG0507, of every file and credential that a DestinationRule or Gateway of this node
    names (Istio `InvalidGatewayCredential`)."""
    for resource, pair in _named(subject):
        if pair.found:
            yield finding("EG0507", resource, pair.field, pair.found)
        else:
            yield from _check(resource, pair, now, expiry)


def _named(subject: Subject) -> Iterator[tuple[Resource, Pair]]:
    profile = subject.profile
    for resource, rule in subject.rules():
        if _is_used(resource, rule, profile):
            for path, tls in _client_settings(rule):
                for pair in _client(path, tls, profile):
                    yield resource, pair
    for resource, gateway in subject.each(Gateway):
        if gateway.selector.items() <= profile.labels.items():
            for index, server in enumerate(gateway.servers):
                if server.tls is not None and server.tls.mode in _ENDING:
                    for pair in _server(f"spec.servers[{index}].tls", server.tls, profile):
                        yield resource, pair


def _is_used(resource: Resource, rule: DestinationRule, profile: NodeProfile) -> bool:
    selector = rule.workload_selector
    is_chosen = selector is None or selector.match_labels.items() <= profile.labels.items()
    return is_chosen and is_exported(resource, profile.namespace)


def _client_settings(rule: DestinationRule) -> Iterator[tuple[str, ClientTLSSettings]]:
    policies = [("spec.trafficPolicy", rule.traffic_policy)]
    policies += [
        (f"spec.subsets[{n}].trafficPolicy", s.traffic_policy) for n, s in enumerate(rule.subsets)
    ]
    for path, policy in policies:
        if policy is None:
            continue
        levels = [(f"{path}.tls", policy.tls)]
        levels += [
            (f"{path}.portLevelSettings[{n}].tls", level.tls)
            for n, level in enumerate(policy.port_level_settings)
        ]
        for where, tls in levels:
            if tls is not None and tls.mode in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL):
                yield where, tls


def _client(path: str, tls: ClientTLSSettings, profile: NodeProfile) -> Iterator[Pair]:
    if tls.credential_name:
        where = f"{path}.credentialName"
        mutual = tls.mode is ClientTLSMode.MUTUAL
        yield from _credential(where, tls.credential_name, profile, has_key=mutual)
        return
    if tls.client_certificate:
        yield Pair(f"{path}.clientCertificate", tls.client_certificate, tls.private_key)
    if tls.ca_certificates:
        yield Pair(f"{path}.caCertificates", tls.ca_certificates)


def _server(path: str, tls: ServerTLSSettings, profile: NodeProfile) -> Iterator[Pair]:
    verifies = tls.mode in _VERIFYING
    ca_name = tls.ca_cert_credential_name
    for index, name in enumerate(tls.credential_names):
        has_ca = verifies and not ca_name and not index
        where = f"{path}.credentialNames[{index}]"
        yield from _credential(where, name, profile, has_key=True, has_ca=has_ca)
    if tls.credential_name:
        has_ca = verifies and not ca_name
        where = f"{path}.credentialName"
        yield from _credential(where, tls.credential_name, profile, has_key=True, has_ca=has_ca)
    if ca_name and verifies:
        yield from _credential(f"{path}.caCertCredentialName", ca_name, profile, has_ca=True)
    for index, one in enumerate(tls.tls_certificates):
        where = f"{path}.tlsCertificates[{index}].serverCertificate"
        yield Pair(where, one.server_certificate, one.private_key)
    if tls.server_certificate:
        yield Pair(f"{path}.serverCertificate", tls.server_certificate, tls.private_key)
    if tls.ca_certificates:
        yield Pair(f"{path}.caCertificates", tls.ca_certificates)


def _credential(
    field: str, name: str, profile: NodeProfile, *, has_key: bool = False, has_ca: bool = False
) -> Iterator[Pair]:
    """The files of a credential; `has_key`: a certificate and its key are needed, `has_ca`: a CA is."""
    try:
        found = find_credential(profile, name)
    except CredentialError as error:
        yield Pair(field, found=str(error))
        return
    if has_key and (missing := _missing(found)):
        yield Pair(field, found=f"credential {name} has no {missing}")
    elif has_key:
        yield Pair(field, found.certificate, found.key)
    if has_ca and not found.ca:
        yield Pair(field, found=f"credential {name} has no ca.crt to verify clients with")
    elif found.ca:
        yield Pair(field, found.ca)


def _missing(found: Credential) -> str:
    parts = (("tls.crt", found.certificate), ("tls.key", found.key))
    return " and no ".join(name for name, file in parts if not file)


def _check(resource: Resource, pair: Pair, now: datetime, expiry: timedelta) -> Iterator[Finding]:
    chain, key, path = pair.chain, pair.key, pair.field
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
