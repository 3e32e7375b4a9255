"""Where the API server is and how to log in, from a kubeconfig or a pod's service account."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
import yaml

from adapters.http import Endpoint
from adapters.http.tls import tls_context
from adapters.kubernetes import make_adapter
from adapters.kubernetes.kubeconfig import Access, AccessError, load_access
from egressd.registry.adapter import AdapterConfigError, AdapterContext


def kubeconfig(
    directory: Path,
    user: Mapping[str, object] | None = None,
    cluster: Mapping[str, object] | None = None,
) -> str:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": "prod",
        "clusters": [
            {"name": "c", "cluster": {"server": "https://k8s.example:6443", **(cluster or {})}},
            {"name": "d", "cluster": {"server": "https://rancher/k8s/clusters/c-1/"}},
        ],
        "users": [{"name": "u", "user": dict(user or {"token": "secret"})}],
        "contexts": [
            {"name": "prod", "context": {"cluster": "c", "user": "u", "namespace": "x"}},
            {"name": "test", "context": {"cluster": "d", "user": "u"}},
            {"name": "torn", "context": {"cluster": "e", "user": "u"}},
        ],
    }
    path = directory / "config"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def access(path: str, context: str = "", environment: Mapping[str, str] | None = None) -> Access:
    return load_access(path, context, environment or {})


def test_the_current_context_names_server_and_token(tmp_path: Path) -> None:
    found = access(kubeconfig(tmp_path))
    assert found.endpoint == Endpoint("https", "k8s.example", 6443)
    assert (found.prefix, found.token.read().reveal()) == ("", "secret")


def test_another_context_may_be_named_and_a_server_may_have_a_path(tmp_path: Path) -> None:
    found = access(kubeconfig(tmp_path), "test")
    assert found.endpoint == Endpoint("https", "rancher", 443)
    assert found.prefix == "/k8s/clusters/c-1"


def test_files_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    user = {"tokenFile": "token", "client-certificate": "c.pem", "client-key": "/k.pem"}
    cluster = {"certificate-authority": "ca.pem", "tls-server-name": "kubernetes"}
    found = access(kubeconfig(tmp_path, user, cluster))
    assert found.token.read().reveal() == "from-file"
    assert found.tls.cert_file == str(tmp_path / "c.pem")
    assert (found.tls.key_file, found.tls.ca_file) == ("/k.pem", str(tmp_path / "ca.pem"))
    assert (found.tls.server_name, found.tls.insecure_skip_verify) == ("kubernetes", False)


def test_inline_certificates_are_loaded_without_a_file(tmp_path: Path) -> None:
    ca = trustme.CA()
    issued = ca.issue_cert("node")
    inline = {
        "client-certificate-data": issued.cert_chain_pems[0].bytes(),
        "client-key-data": issued.private_key_pem.bytes(),
    }
    user = {field: base64.b64encode(pem).decode() for field, pem in inline.items()}
    cluster = {"certificate-authority-data": base64.b64encode(ca.cert_pem.bytes()).decode()}
    found = access(kubeconfig(tmp_path, user, cluster))
    assert Path(found.tls.ca_file).read_bytes() == ca.cert_pem.bytes()
    assert len(tls_context(found.tls).get_ca_certs()) == 1
    found.close()
    for descriptor in found.descriptors:
        with pytest.raises(OSError):
            os.fstat(descriptor)


@pytest.mark.parametrize(
    ("user", "cluster", "message"),
    [
        ({"exec": {"command": "aws"}}, {}, "users: exec: found a login that is not supported"),
        ({"auth-provider": {"name": "gcp"}}, {}, "users: auth-provider: found a login"),
        ({"username": "a", "password": "b"}, {}, "users: username: found a login"),
        ({"token": "t", "as": "root"}, {}, "users: as: found a login"),
        ({"client-certificate": "c.pem"}, {}, "users: found a client certificate without its key"),
        ({"client-key-data": "no base64!"}, {}, "client-key-data: found"),
        ({"token": 5}, {}, "Expected `str`, got `int`"),
        ({}, {"proxy-url": "http://p"}, "clusters: proxy-url: found http://p, expected a direct"),
        ({}, {"server": "k8s:6443"}, "clusters: server: found 'k8s:6443', expected an https://"),
        ({}, {"server": "https://k8s:x"}, "clusters: server: found 'https://k8s:x'"),
    ],
)
def test_what_is_not_acted_on_is_refused(
    tmp_path: Path, user: dict[str, object], cluster: dict[str, object], message: str
) -> None:
    with pytest.raises(AccessError) as error:
        access(kubeconfig(tmp_path, user or None, cluster))
    assert message in str(error.value)
    assert str(tmp_path / "config") in str(error.value)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("dev", "current-context: found 'dev', expected one of prod, test, torn"),
        ("torn", "clusters: found no 'e' of context torn"),
    ],
)
def test_a_context_must_be_there(tmp_path: Path, context: str, message: str) -> None:
    with pytest.raises(AccessError, match=message):
        access(kubeconfig(tmp_path), context)


def test_a_pod_uses_its_service_account(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("projected")
    environment = {
        "KUBERNETES_SERVICE_HOST": "fd00::1",
        "KUBERNETES_SERVICE_PORT": "6443",
        "KUBECONFIG": "/unused",
    }
    found = load_access("", "", environment, str(tmp_path))
    assert found.endpoint.url == "https://[fd00::1]:6443"
    assert found.tls.ca_file == str(tmp_path / "ca.crt")
    assert found.token.read().reveal() == "projected"
    (tmp_path / "token").write_text("rotated")
    assert found.token.read().reveal() == "rotated"


def test_outside_of_a_pod_kubeconfig_is_named_by_the_environment(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path)
    assert access("", environment={"KUBECONFIG": path}).token.read().reveal() == "secret"
    with pytest.raises(AccessError, match="expected the path of one kubeconfig"):
        access("", environment={"KUBECONFIG": f"{path}:{path}"})
    with pytest.raises(AccessError, match="found nothing"):
        access("")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"namespaces": ["A"]}, "options.namespaces: found ['A'], expected a list of namespaces"),
        ({"namespace": "a"}, 'options.namespace: found an unknown option, expected "namespaces"'),
        ({"exclude": ["web"]}, "options.exclude: found ['web'], expected a list of shell patterns"),
        ({"addresses": "nodePort"}, "options.addresses: found 'nodePort', expected one of"),
        ({"watchTimeout": 60}, "options.watchTimeout: found 60, expected a duration"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(AdapterConfigError) as error:
        make_adapter(AdapterContext(name="k"), options)
    assert f"adapter k: {message}" in str(error.value)
