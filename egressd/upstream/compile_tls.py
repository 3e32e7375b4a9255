"""The TLS part of a cluster (Istio `ClientTLSSettings`): which files, names and server name."""

from __future__ import annotations

from egressd.api.destination_rule import ClientTLSMode, ClientTLSSettings, TunnelSettings
from egressd.registry.lookup import Service
from egressd.registry.profile import NodeProfile
from egressd.routing.table import ClusterKey
from egressd.upstream.credentials import Credential, find_credential, mesh_identity, trust_domain
from egressd.upstream.spec import TlsSpec, TunnelSpec

ISTIO_ALPN = ("istio-http/1.1", "istio", "http/1.1")


def tls_spec(
    tls: ClientTLSSettings | None,
    service: Service,
    key: ClusterKey,
    profile: NodeProfile,
    accounts: tuple[str, ...] = (),
) -> TlsSpec | None:
    """None for plain text. `accounts` are the service accounts that the endpoints run as. Raises
    `CredentialError` where a secret or the identity is not there: where TLS is asked for and cannot be
    done, nothing is sent plain."""
    if tls is None or tls.mode is ClientTLSMode.DISABLE:
        return None
    names = tls.subject_alt_names or service.subject_alt_names
    if tls.mode is ClientTLSMode.ISTIO_MUTUAL:
        files = client_files(tls, profile)
        if accounts and not tls.subject_alt_names:
            place = f"spiffe://{trust_domain(files.certificate)}/ns/{service.namespace}/sa"
            names = (*names, *(f"{place}/{account}" for account in accounts))
        return TlsSpec(
            mode=str(tls.mode),
            # Istio: the server name says which cluster is meant, for gateways on the way.
            sni=tls.sni or f"outbound_.{key.port}_.{key.subset}_.{key.host}",
            ca_file=files.ca,
            certificate_file=files.certificate,
            key_file=files.key,
            subject_alt_names=names,
            alpn=ISTIO_ALPN,
            verify_host=False,
        )
    files = client_files(tls, profile)
    return TlsSpec(
        mode=str(tls.mode),
        sni=tls.sni or ("" if key.host.startswith("*") else key.host),
        ca_file=files.ca,
        certificate_file=files.certificate,
        key_file=files.key,
        subject_alt_names=names,
        insecure_skip_verify=bool(tls.insecure_skip_verify),
        crl_file=files.crl,
    )


def client_files(tls: ClientTLSSettings, profile: NodeProfile) -> Credential:
    """The files that TLS settings name, whatever is in them. Raises `CredentialError`."""
    if tls.mode is ClientTLSMode.ISTIO_MUTUAL:
        return mesh_identity(profile)
    if not tls.credential_name:
        return Credential(tls.client_certificate, tls.private_key, tls.ca_certificates, tls.ca_crl)
    found = find_credential(profile, tls.credential_name)
    if tls.mode is ClientTLSMode.SIMPLE:
        found = Credential(ca=found.ca, crl=found.crl)
    return found._replace(crl=tls.ca_crl or found.crl)


def tunnel_spec(tunnel: TunnelSettings | None) -> TunnelSpec | None:
    """Istio `TrafficPolicy.tunnel`."""
    if tunnel is None:
        return None
    return TunnelSpec(tunnel.target_host, tunnel.target_port, tunnel.protocol or "CONNECT")
