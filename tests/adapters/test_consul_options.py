"""The options of the Consul adapter: strict, and completed from Consul's environment variables."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from adapters.consul.options import read_options
from adapters.http import Endpoint
from adapters.options import seconds
from egressd.api.secret import Secret
from egressd.registry.adapter import AdapterConfigError


def endpoint(address: str, environment: Mapping[str, str] | None = None) -> Endpoint:
    return read_options("c", {"address": address} if address else {}, environment or {})[1]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", Endpoint("http", "127.0.0.1", 8500)),
        ("vm:81", Endpoint("http", "vm", 81)),
        ("http://vm", Endpoint("http", "vm", 8500)),
        ("https://vm", Endpoint("https", "vm", 8501)),
        ("https://[::1]:9/", Endpoint("https", "::1", 9)),
        ("unix:///run/consul.sock", Endpoint("unix", path="/run/consul.sock")),
    ],
)
def test_an_address_is_a_url_or_host_and_port(address: str, expected: Endpoint) -> None:
    assert endpoint(address) == expected


def test_the_environment_fills_what_the_options_leave_out() -> None:
    environment = {
        "CONSUL_HTTP_ADDR": "vm:81",
        "CONSUL_HTTP_SSL": "true",
        "CONSUL_HTTP_TOKEN": "secret",
        "CONSUL_HTTP_TOKEN_FILE": "/unused",
        "CONSUL_CACERT": "/ca.pem",
        "CONSUL_CLIENT_CERT": "/cert.pem",
        "CONSUL_CLIENT_KEY": "/key.pem",
        "CONSUL_TLS_SERVER_NAME": "consul.example",
        "CONSUL_HTTP_SSL_VERIFY": "false",
        "CONSUL_NAMESPACE": "shop",
        "CONSUL_PARTITION": "eu",
    }
    options, end = read_options("c", {}, environment)
    assert end == Endpoint("https", "vm", 81)
    assert (options.token, options.token_file) == (Secret("secret"), "")
    assert (options.consul_namespace, options.partition) == ("shop", "eu")
    tls = options.tls
    assert (tls.ca_file, tls.cert_file, tls.key_file) == ("/ca.pem", "/cert.pem", "/key.pem")
    assert (tls.server_name, tls.insecure_skip_verify) == ("consul.example", True)


def test_a_token_file_of_the_options_wins_over_a_token_of_the_environment() -> None:
    options, _ = read_options("c", {"tokenFile": "/t"}, {"CONSUL_HTTP_TOKEN": "secret"})
    assert (options.token, options.token_file) == (Secret(), "/t")


def test_all_datacenters_may_be_meant() -> None:
    options = {"datacenters": "*", "hostTemplate": "{name}.service.{dc}.{domain}"}
    assert read_options("c", options, {})[0].datacenters == "*"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adress": "x"}, 'options.adress: found an unknown option, expected "address" (did'),
        ({"tls": {"ca": "x"}}, "options.tls.ca: found an unknown option, expected one of caFile,"),
        ({"tls": {"caFile": 1}}, "options.tls.caFile: found 1, expected `str`, got `int`"),
        ({"address": "ftp://x"}, "options.address: found 'ftp://x', expected http://HOST:PORT"),
        ({"address": "vm:99999"}, "options.address: found 'vm:99999', expected http://HOST:PORT"),
        ({"address": "http://u@vm"}, "options.address: found 'http://[redacted]@vm', expected"),
        ({"address": "http://vm/path"}, "options.address: found 'http://vm/path', expected"),
        ({"health": "good"}, "options.health: found 'good', expected one of passing, warning, any"),
        ({"wait": "soon"}, "options.wait: found 'soon', expected a duration such as 30s"),
        ({"concurrency": 0}, "options.concurrency: found 0, expected `int` >= 1"),
        ({"include": "web"}, "options.include: found 'web', expected `array`, got `str`"),
        ({"token": "a", "tokenFile": "b"}, "options.token: found a token beside tokenFile"),
        ({"token": 7}, "options.token: found int, not shown, expected `str`, got `int`"),
        ({"tls": {"certFile": "x"}}, "options.tls.keyFile: found nothing, expected certFile and"),
        ({"protocol": "smoke"}, "options.protocol: found 'smoke', expected one of HTTP, HTTPS"),
        ({"hostTemplate": "web"}, "options.hostTemplate: found 'web', expected a host in lower"),
        ({"hostTemplate": "{name}.{x}"}, "options.hostTemplate: found '{name}.{x}', expected a"),
        (
            {"hostTemplate": "{name}.{dc}"},
            "options.hostTemplate: found '{name}.{dc}', expected data",
        ),
        (
            {"datacenter": "a", "datacenters": ["b"]},
            "options.datacenters: found datacenters beside",
        ),
        ({"datacenters": ["a", "a"]}, "options.datacenters: found ['a', 'a'], expected different"),
        ({"datacenters": "all"}, "options.datacenters: found 'all', expected a list of datacen"),
        ({"taggedAddress": "far"}, "options.taggedAddress: found 'far', expected one of lan, wan"),
        ({"consulNamespace": "*"}, "options.consulNamespace: found '*', expected the name of a"),
        ({"meta": {"a": 1}}, "options.meta"),
        ({"watches": -1}, "options.watches: found -1, expected `int` >= 0"),
        ({"domain": "a_b"}, "options.domain: found 'a_b', expected a DNS name in"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: Mapping[str, object], message: str) -> None:
    with pytest.raises(AdapterConfigError) as refused:
        read_options("c", options, {})
    assert str(refused.value).startswith(f"adapter c: {message}")


@pytest.mark.parametrize(
    ("text", "value"), [("500ms", 0.5), ("30s", 30), ("1.5m", 90), ("1h", 3600)]
)
def test_a_duration_is_in_seconds(text: str, value: float) -> None:
    assert seconds(text) == value
