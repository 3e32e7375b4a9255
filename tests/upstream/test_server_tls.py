"""TLS that ends at the node: which files, which contexts, whose certificates."""

from __future__ import annotations

import hashlib
import os
import ssl
from base64 import b64encode
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from egressd.api.gateway import ServerTLSMode, ServerTLSSettings, TLSCertificate, TLSProtocol
from egressd.registry.profile import NodeProfile
from egressd.upstream.server_tls import (
    ServerContextCache,
    ServerTlsSpec,
    client_principals,
    server_context,
    server_tls_spec,
    verify_client,
)
from egressd.upstream.tls import TlsConfigError

AUTHORITY = trustme.CA()
SERVER = AUTHORITY.issue_cert("a.x")
CLIENT = AUTHORITY.issue_cert("client.x", common_name="client")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("pem")
    AUTHORITY.cert_pem.write_to_path(str(found / "ca.pem"))
    SERVER.cert_chain_pems[0].write_to_path(str(found / "cert.pem"))
    SERVER.private_key_pem.write_to_path(str(found / "key.pem"))
    return found


def spec(place: Path, **more: Any) -> ServerTlsSpec:
    given = {"mode": ServerTLSMode.SIMPLE, "ca_file": str(place / "ca.pem")} | more
    pair = (str(place / "cert.pem"), str(place / "key.pem"))
    return ServerTlsSpec(certificates=(pair,), **given)


def shaken(
    server: ssl.SSLContext, *, shows: trustme.LeafCert | None = CLIENT, curve: str = ""
) -> Any:
    """The server's side of a finished handshake. Raises `ssl.SSLError`."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if curve:
        client.set_ecdh_curve(curve)
    AUTHORITY.configure_trust(client)
    if shows is not None:
        shows.configure_cert(client)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname="a.x")
    for _ in range(4):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return ours


def verified(place: Path, **more: Any) -> str | None:
    wanted = spec(place, mode=ServerTLSMode.MUTUAL, **more)
    return verify_client(shaken(server_context(wanted)), wanted)


# -- which files -----------------------------------------------------------------------------


def secret(place: Path, *files: str) -> None:
    place.mkdir()
    for file in files:
        (place / file).touch()


def test_files_of_the_settings(tmp_path: Path) -> None:
    own = ServerTLSSettings(
        server_certificate="c", private_key="k", ca_certificates="a", ca_crl="l"
    )
    made = server_tls_spec(own, NodeProfile())
    assert (made.certificates, made.ca_file, made.crl_file) == ((("c", "k"),), "a", "l")


def test_several_certificates_share_a_ca() -> None:
    pairs = (TLSCertificate("c1", "k1"), TLSCertificate("c2", "k2", "a2"))
    made = server_tls_spec(ServerTLSSettings(tls_certificates=pairs), NodeProfile())
    assert (made.certificates, made.ca_file) == ((("c1", "k1"), ("c2", "k2")), "a2")


def test_secrets_by_name(tmp_path: Path) -> None:
    secret(tmp_path / "kubernetes", "tls.crt", "tls.key", "ca.crt")
    secret(tmp_path / "generic", "cert", "key")
    secret(tmp_path / "generic-cacert", "cacert", "crl")
    profile = NodeProfile(credentials_dir=str(tmp_path))
    first = server_tls_spec(ServerTLSSettings(credential_name="kubernetes://kubernetes"), profile)
    assert first.certificates == (
        (f"{tmp_path}/kubernetes/tls.crt", f"{tmp_path}/kubernetes/tls.key"),
    )
    assert first.ca_file == f"{tmp_path}/kubernetes/ca.crt"
    second = server_tls_spec(ServerTLSSettings(credential_names=("generic",)), profile)
    assert second.ca_file == f"{tmp_path}/generic-cacert/cacert"
    assert second.crl_file == f"{tmp_path}/generic-cacert/crl"
    other_ca = ServerTLSSettings(credential_name="generic", ca_cert_credential_name="kubernetes")
    assert server_tls_spec(other_ca, profile).ca_file == f"{tmp_path}/kubernetes/ca.crt"


def test_the_mesh_identity(tmp_path: Path) -> None:
    settings = ServerTLSSettings(mode=ServerTLSMode.ISTIO_MUTUAL)
    made = server_tls_spec(settings, NodeProfile(identity_dir="/id"))
    assert made.certificates == (("/id/cert-chain.pem", "/id/key.pem"),)
    assert made.ca_file == "/id/root-cert.pem"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (ServerTLSSettings(), "no certificate and key"),
        (ServerTLSSettings(credential_name="web"), "has neither tls.crt"),
        (ServerTLSSettings(credential_name="../web"), "expected the plain name"),
        (ServerTLSSettings(mode=ServerTLSMode.ISTIO_MUTUAL), "no mesh identity"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, settings: ServerTLSSettings, why: str) -> None:
    with pytest.raises(TlsConfigError, match=why):
        server_tls_spec(settings, NodeProfile(credentials_dir=str(tmp_path)))


def test_a_node_without_credentials_says_so() -> None:
    with pytest.raises(TlsConfigError, match=r"no tls\.credentialsDir"):
        server_tls_spec(ServerTLSSettings(credential_name="web"), NodeProfile())


# -- contexts --------------------------------------------------------------------------------


def looks(cache: ServerContextCache, wanted: ServerTlsSpec, *times: float) -> ssl.SSLContext:
    """The context after looks at these times: files are read once they have been still."""
    return [cache.get(wanted, now).context for now in times][-1]


def rewrite(file: Path, text: str, at: int) -> None:
    file.write_text(text)
    os.utime(file, (at, at))


def test_a_context_stands_while_its_files_do(tmp_path: Path, place: Path) -> None:
    pem = (place / "cert.pem").read_text()
    for name in ("key.pem", "ca.pem", "cert.pem"):
        rewrite(tmp_path / name, (place / name).read_text(), 1)
    cache, wanted = ServerContextCache(), spec(tmp_path)
    context = looks(cache, wanted, 0.0)
    assert looks(cache, wanted, 0.5, 5.0) is context
    rewrite(tmp_path / "cert.pem", pem, 2)
    assert looks(cache, wanted, 5.5) is context, "looked at once a second"
    assert looks(cache, wanted, 7.0, 9.0, 11.0) is not context


def test_newer_files_that_do_not_load_leave_the_old_context_in_force(
    tmp_path: Path, place: Path
) -> None:
    pem = (place / "cert.pem").read_text()
    for name in ("key.pem", "ca.pem", "cert.pem"):
        rewrite(tmp_path / name, (place / name).read_text(), 1)
    cache, wanted = ServerContextCache(), spec(tmp_path)
    context = looks(cache, wanted, 0.0)
    rewrite(tmp_path / "cert.pem", "nonsense", 2)
    assert looks(cache, wanted, 2.0, 4.0, 6.0) is context
    assert "cert.pem" in cache.get(wanted, 6.0).error
    (tmp_path / "cert.pem").unlink()
    assert looks(cache, wanted, 8.0, 10.0) is context
    rewrite(tmp_path / "cert.pem", pem, 3)
    assert looks(cache, wanted, 12.0, 14.0, 16.0) is not context
    assert cache.get(wanted, 16.0).error == ""


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"certificates": (("no.pem", "no.key"),)}, "serverCertificate no.pem"),
        ({"mode": ServerTLSMode.MUTUAL, "ca_file": ""}, "needs caCertificates"),
        ({"mode": ServerTLSMode.MUTUAL, "ca_file": "no.pem"}, "no.pem: no such file"),
        ({"mode": ServerTLSMode.MUTUAL, "crl_file": "no.crl"}, "no.crl: no such file"),
        ({"cipher_suites": ("NONSENSE",)}, "OpenSSL knows none"),
        ({"ecdh_curves": ("P-256", "NONSENSE")}, "ecdhCurves: OpenSSL does not know NONSENSE"),
    ],
)
def test_what_cannot_be_used_is_named(place: Path, more: dict[str, Any], why: str) -> None:
    given = spec(place)
    with pytest.raises(TlsConfigError, match=why):
        server_context(
            ServerTlsSpec(
                **{name: more.get(name, getattr(given, name)) for name in given.__slots__}
            )
        )


@pytest.mark.parametrize(
    ("curves", "client", "agree"),
    [
        (("P-384",), "secp384r1", True),
        (("P-384",), "prime256v1", False),
        (("X25519", "P-521"), "secp521r1", True),
        (("X25519", "P-521"), "prime256v1", False),
        ((), "prime256v1", True),
    ],
)
def test_keys_are_exchanged_by_the_curves_alone(
    place: Path, curves: tuple[str, ...], client: str, agree: bool
) -> None:
    server = server_context(spec(place, ecdh_curves=curves))
    with nullcontext() if agree else pytest.raises(ssl.SSLError):
        assert shaken(server, curve=client).version() == "TLSv1.3"


def test_versions_and_ciphers(place: Path) -> None:
    made = server_context(
        spec(
            place,
            min_version=TLSProtocol.TLSV1_2,
            max_version=TLSProtocol.TLSV1_2,
            cipher_suites=("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "NO"),
        )
    )
    assert made.maximum_version is ssl.TLSVersion.TLSv1_2
    names = {cipher["name"] for cipher in made.get_ciphers()}
    assert "ECDHE-ECDSA-AES128-GCM-SHA256" in names and "AES256-SHA" not in names


@pytest.mark.parametrize(
    ("mode", "skips", "asks"),
    [
        (ServerTLSMode.SIMPLE, False, ssl.CERT_NONE),
        (ServerTLSMode.OPTIONAL_MUTUAL, False, ssl.CERT_OPTIONAL),
        (ServerTLSMode.MUTUAL, False, ssl.CERT_REQUIRED),
        (ServerTLSMode.MUTUAL, True, ssl.CERT_NONE),
    ],
)
def test_who_is_asked_for_a_certificate(
    place: Path, mode: ServerTLSMode, skips: bool, asks: ssl.VerifyMode
) -> None:
    assert server_context(spec(place, mode=mode, skips_clients=skips)).verify_mode is asks


# -- clients ---------------------------------------------------------------------------------


def der() -> bytes:
    return ssl.PEM_cert_to_DER_cert(CLIENT.cert_chain_pems[0].bytes().decode())


def spki_pin() -> str:
    key = x509.load_der_x509_certificate(der()).public_key()
    data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(hashlib.sha256(data).digest()).decode()


def test_names_and_pins_of_a_client(place: Path) -> None:
    digest = hashlib.sha256(der()).hexdigest()
    assert verified(place) is None
    assert verified(place, subject_alt_names=("other.x", "client.x")) is None
    refused = verified(place, subject_alt_names=("other.x",))
    assert refused is not None and "client.x, not one of subjectAltNames" in refused
    assert verified(place, hash_pins=(digest,)) is None
    colons = ":".join(digest[at : at + 2] for at in range(0, 64, 2)).upper()
    assert verified(place, hash_pins=(colons,)) is None
    assert verified(place, spki_pins=(spki_pin(),)) is None
    refused = verified(place, hash_pins=("00" * 32,), spki_pins=("AAAA",))
    assert refused is not None and "verifyCertificateSpki" in refused


def test_a_client_that_shows_nothing_is_the_mode_s_matter(place: Path) -> None:
    wanted = spec(place, mode=ServerTLSMode.OPTIONAL_MUTUAL, subject_alt_names=("client.x",))
    tls = shaken(server_context(wanted), shows=None)
    assert verify_client(tls, wanted) is None
    assert client_principals(tls) == ()
    with pytest.raises(ssl.SSLError):
        shaken(server_context(spec(place, mode=ServerTLSMode.MUTUAL)), shows=None)


def test_principals_are_names_of_the_certificate(place: Path) -> None:
    context = server_context(spec(place, mode=ServerTLSMode.MUTUAL))
    assert client_principals(shaken(context)) == ("client.x",)
    by_address = AUTHORITY.issue_cert("10.0.0.1", common_name="by address")
    (subject,) = client_principals(shaken(context, shows=by_address))
    assert "CN=by address" in subject
