"""The options of the Eureka adapter: strict, and never telling a password."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from adapters.eureka.options import Server, read_options
from adapters.http import Endpoint
from egressd.api.secret import Secret
from egressd.registry.adapter import AdapterConfigError


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://eureka:8761/eureka/", Server(Endpoint("http", "eureka", 8761), "/eureka")),
        ("https://eureka", Server(Endpoint("https", "eureka", 443), "/eureka")),
        ("http://[::1]:81/eureka/v2", Server(Endpoint("http", "::1", 81), "/eureka/v2")),
        ("http://u:p%40@a/", Server(Endpoint("http", "a", 80), "/eureka", "u", Secret("p@"))),
    ],
)
def test_a_server_is_a_url_as_clients_have_it(url: str, server: Server) -> None:
    assert read_options("e", {"servers": [url]})[1] == (server,)
    assert "p@" not in server.url


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"server": "x"}, 'options.server: found an unknown option, expected "servers"'),
        ({"servers": []}, "options.servers: found an empty list, expected URLs"),
        (
            {"servers": "http://u:p@a"},
            "options.servers: found 'http://[redacted]@a', expected `array`",
        ),
        (
            {"servers": ["ftp://u:p@a"]},
            "options.servers[0]: found 'ftp://[redacted]@a', expected http(s)://",
        ),
        ({"servers": ["http://a", "b:8761"]}, "options.servers[1]: found 'b:8761', expected"),
        ({"servers": ["http://u:p@a?b=c"]}, "options.servers[0]: found a query or fragment, exp"),
        ({"servers": ["http://a:99999"]}, "options.servers[0]: found no URL, expected http(s)"),
        ({"password": "p"}, "options.username: found nothing, expected one beside a password"),
        (
            {"username": "u", "password": "p", "passwordFile": "/p"},
            "options.password: found a password beside passwordFile, expected one of them",
        ),
        ({"password": 7}, "options.password: found int, not shown, expected `str`, got `int`"),
        ({"interval": "30"}, "options.interval: found '30', expected a duration such as 30s"),
        (
            {"hosts": ["x.eureka"]},
            "options.hosts: found ['x.eureka'], expected DNS names in lower",
        ),
        ({"servers": ["a", ["u:p"]]}, "options.servers: found ['a', '[redacted]'], expected `str`"),
        ({"hosts": []}, "options.hosts: found [], expected DNS names in lower case with {name}"),
        ({"statuses": ["up"]}, "options.statuses: found ['up'], expected a list of UP, DOWN,"),
        ({"groupBy": "ip"}, "options.groupBy: found 'ip', expected one of app, vip, secureVip"),
        ({"port": "any"}, "options.port: found 'any', expected one of auto, plain, secure"),
        ({"tls": {"keyFile": "k"}}, "options.tls.certFile: found nothing, expected certFile and"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: Mapping[str, object], message: str) -> None:
    with pytest.raises(AdapterConfigError) as refused:
        read_options("e", options)
    assert str(refused.value).startswith(f"adapter e: {message}")
