"""The options of what talks to etcd."""

from __future__ import annotations

import pytest

from adapters.etcd.options import Connection, Options, Target, read_options, targets
from egressd.api.secret import SecretUrl
from egressd.registry.adapter import AdapterConfigError

USER = {"user": "node", "password": "secret"}


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("10.0.0.1", Target("10.0.0.1", 2379, False)),
        ("etcd.corp:2380", Target("etcd.corp", 2380, False)),
        ("http://etcd.corp/", Target("etcd.corp", 2379, False)),
        ("https://etcd.corp:443", Target("etcd.corp", 443, True)),
        ("https://[::1]:2379", Target("::1", 2379, True)),
    ],
)
def test_an_endpoint_is_a_url_or_host_and_port(endpoint: str, expected: Target) -> None:
    assert targets("corp", (SecretUrl(endpoint),)) == (expected,)
    assert targets("corp", (SecretUrl(expected.url),)) == (expected,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"endpoint": "x"},
            'options.endpoint: found an unknown option, expected "endpoints"',
        ),
        ({"endpoints": "x"}, "options.endpoints: found 'x', expected a list of http://HOST:PORT"),
        ({"endpoints": []}, "options.endpoints: found none, expected a list of http://HOST:PORT"),
        (
            {"endpoints": ["a", "ftp://b"]},
            "options.endpoints[1]: found 'ftp://b', expected http://",
        ),
        (
            {"endpoints": ["http://u@b"]},
            "options.endpoints[0]: found 'http://[redacted]@b', expected http://",
        ),
        ({"endpoints": ["http://b/v3"]}, "options.endpoints[0]: found 'http://b/v3', expected"),
        ({"endpoints": ["b:0"]}, "options.endpoints[0]: found 'b:0', expected http://HOST:PORT"),
        ({"layout": "flat"}, "options.layout: found 'flat', expected one of istio, skydns"),
        ({"prefix": "/a"}, "options.prefix: found '/a', expected a prefix that ends in /"),
        ({"user": "node"}, "options.password: found nothing, expected user together with password"),
        ({"password": "secret"}, "options.user: found nothing, expected user together with"),
        ({**USER, "passwordFile": "/p"}, "options.password: found a password beside passwordFile"),
        ({**USER, "password": 7}, "options.password: found int, not shown, expected `str`"),
        (
            {"tls": {"caFile": "/ca"}},
            "options.tls: found TLS settings, expected endpoints that begin",
        ),
        ({"tls": {"keyFile": "/k"}}, "options.tls.certFile: found nothing, expected certFile and"),
        ({"tls": {"caPath": "/d"}}, "options.tls.caPath: found '/d', expected caFile"),
        (
            {"tls": {"insecureSkipVerify": True}},
            "options.tls.insecureSkipVerify: found true, expected",
        ),
        ({"requestTimeout": "soon"}, "options.requestTimeout: found 'soon', expected a duration"),
        ({"pageSize": 0}, "options.pageSize: found 0, expected `int` >= 1"),
        ({"domain": "A"}, "options.domain: found 'A', expected a DNS name in lower case"),
        ({"port": 70000}, "options.port: found 70000, expected `int` <= 65535"),
    ],
)
def test_a_bad_option_is_named_with_what_is_expected(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(AdapterConfigError) as told:
        read_options("corp", options, Options)
    assert f"adapter corp: {message}" in str(told.value)


def test_a_store_of_the_fleet_takes_no_options_of_the_adapter() -> None:
    with pytest.raises(AdapterConfigError, match=r"options\.layout: found an unknown option"):
        read_options("etcd", {"layout": "istio"}, Connection)
    assert read_options("etcd", USER, Connection).user == "node"
