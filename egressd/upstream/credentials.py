"""Where secrets lie on a VM: `credentialName` as a directory, and the node's mesh identity.

A Kubernetes secret is a set of named files; here it is a directory of that name under the node's
`tls.credentialsDir`. The mesh identity is a directory of the three files that Istio's agent writes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from egressd.registry.profile import NodeProfile


class CredentialError(Exception):
    """A secret cannot be found. The message names the place and the fix."""


class Credential(NamedTuple):
    """Paths of PEM files; "" = not part of it."""

    certificate: str = ""
    key: str = ""
    ca: str = ""
    crl: str = ""


_NAMES = {
    # Kubernetes TLS secrets (tls.crt, ...), Istio's generic secrets (cert, ...).
    "certificate": ("tls.crt", "cert"),
    "key": ("tls.key", "key"),
    "ca": ("ca.crt", "cacert"),
    "crl": ("ca.crl", "crl"),
}
_SPIFFE = "spiffe://"
_TRUST_DOMAIN = "cluster.local"
CERT_CHAIN, KEY, ROOT_CERT = "cert-chain.pem", "key.pem", "root-cert.pem"


def find_credential(profile: NodeProfile, name: str) -> Credential:
    """The files of a `credentialName` (Istio `ClientTLSSettings`, `ServerTLSSettings`); a CA may lie
    apart in NAME-cacert, as Istio's gateways take it. Raises `CredentialError`."""
    if not profile.credentials_dir:
        raise CredentialError(
            f"credentialName {name}: the node has no tls.credentialsDir; set it in the bootstrap file "
            "to the directory that has one directory a secret"
        )
    plain = name.removeprefix("kubernetes://").removeprefix("file://")
    if not plain or plain in (".", "..") or "/" in plain:
        raise CredentialError(f"credentialName {name!r}: expected the plain name of a directory")
    place = Path(profile.credentials_dir) / plain
    apart = place.with_name(f"{plain}-cacert")
    found = {part: _first(place, files) for part, files in _NAMES.items()}
    found["ca"] = found["ca"] or _first(apart, _NAMES["ca"])
    found["crl"] = found["crl"] or _first(apart, _NAMES["crl"])
    if not any(found.values()):
        raise CredentialError(
            f"credentialName {name}: {place} has neither tls.crt and tls.key nor ca.crt"
        )
    return Credential(**found)


def _first(place: Path, files: tuple[str, ...]) -> str:
    return next((str(place / file) for file in files if os.path.exists(place / file)), "")


def trust_domain(certificate: str) -> str:
    """The trust domain of a mesh identity's file; Istio's default where it names none."""
    try:
        leaf = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return _TRUST_DOMAIN
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        if uri.startswith(_SPIFFE):
            return uri.removeprefix(_SPIFFE).partition("/")[0]
    return _TRUST_DOMAIN


def mesh_identity(profile: NodeProfile) -> Credential:
    """The node's own certificate, key and root (Istio ISTIO_MUTUAL). Raises `CredentialError`."""
    if not profile.identity_dir:
        raise CredentialError(
            "ISTIO_MUTUAL: the node has no mesh identity; set tls.identityDir in the bootstrap file "
            f"to the directory with {CERT_CHAIN}, {KEY} and {ROOT_CERT}"
        )
    place = Path(profile.identity_dir)
    return Credential(str(place / CERT_CHAIN), str(place / KEY), str(place / ROOT_CERT))
